//! The way into the supervisor.
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::wire::{self, Input, Policy};
use crate::{Layer, Status, platform, probe};

/// Becomes a supervisor if this process was started as one; a binary calls it before anything else.
///
/// Returns `None` in an ordinary process, and the exit code to leave with in a supervisor.
pub fn init_main() -> Option<ExitCode> {
    // Other commands may have arguments that are not UTF-8; those of a supervisor are.
    let mut args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    match args.next()?.as_str() {
        wire::INIT => {
            let confined = args.next().as_deref() == Some(wire::CONFINED);
            Some(supervise(confined, args.next().as_deref() == Some(wire::INPUT)))
        }
        probe::PROBE => Some(probe::run(&args.collect::<Vec<_>>())),
        _ => None,
    }
}

fn supervise(confined: bool, open: bool) -> ExitCode {
    let closed = if confined { platform::close_inherited() } else { Ok(()) };
    match converse(confined, open, closed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the supervisor of a job cannot go on: {error}");
            ExitCode::from(70)
        }
    }
}

fn converse(confined: bool, open: bool, closed: io::Result<()>) -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let pipe = if open { platform::receive(socket.as_fd())?.1 } else { None };
    let policy: Policy = wire::read(&mut socket)?;
    let input = match (pipe, policy.stdin) {
        (Some(pipe), _) => Input::Pipe(pipe),
        (None, Some(length)) => Input::Bytes(read_exactly(&mut socket, length)?),
        (None, None) => Input::Null,
    };
    socket.set_nonblocking(true)?;
    let mut finished = platform::supervise(policy, input, &socket, confined);
    if let Err(error) = closed {
        let layer = finished.layers.iter_mut().find(|(layer, _)| *layer == Layer::Descriptors);
        layer.into_iter().for_each(|(_, status)| *status = Status::Unavailable(error.to_string()));
    }
    socket.set_nonblocking(false)?;
    wire::write(&mut socket, &finished)
}

fn read_exactly(from: &mut UnixStream, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
