//! Everywhere but Linux: jobs are watched by the clock alone, and every other layer is reported as missing.
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Input, Policy, Stop};
use crate::{Ended, Finished, Layer, Limit, Net, Peaks, Status};

const PACE: Duration = Duration::from_millis(20);

pub(crate) fn close_inherited() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn try_trace(_pid: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn try_signal(_pid: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn try_calls() -> Vec<&'static str> {
    Vec::new()
}

pub(crate) fn fork_daemon() -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No file ever comes.
pub(crate) fn receive(_socket: std::os::fd::BorrowedFd<'_>) -> io::Result<([u8; 4], Option<std::os::fd::OwnedFd>)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An input that stays open needs Linux.
pub(crate) fn hand_over(_socket: std::os::fd::BorrowedFd<'_>, _file: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn total_memory() -> Option<u64> {
    None
}

pub(crate) fn layers(_confined: bool, _without: &[crate::Mechanism]) -> Vec<(Layer, Status)> {
    let status = |layer| match layer {
        Layer::Environment => Status::Enforced,
        _ => Status::Unavailable("only Linux is supported".into()),
    };
    Layer::ALL.map(|layer| (layer, status(layer))).into()
}

pub(crate) fn supervise(policy: Policy, input: Input, socket: &UnixStream, confined: bool) -> Finished {
    let start = Instant::now();
    let only_hosts = confined && matches!(policy.job.net, Net::Hosts(_));
    let ended = match launch(&policy, input) {
        _ if !policy.required.is_empty() => Ended::Failed("layers are required that only Linux has".into()),
        _ if only_hosts => Ended::Failed("a job that may reach some hosts only needs Linux's namespaces".into()),
        Ok(child) => watch(child, policy.job.limits.wall.map(|wall| start + wall), socket),
        Err(error) => Ended::Failed(format!("cannot run `{}`: {error}", policy.program.display())),
    };
    let (peaks, layers) = (Peaks::default(), layers(confined, &policy.without));
    Finished { ended, wall: start.elapsed(), cpu: None, peaks, layers, refused_hosts: Vec::new() }
}

fn launch(policy: &Policy, input: Input) -> io::Result<Child> {
    let mut command = Command::new(&policy.program);
    command.args(policy.job.argv.iter().skip(1)).current_dir(&policy.workdir).process_group(0);
    command.env_clear().env("PATH", crate::local::PATH).env("LANG", "C.UTF-8").env("HOME", &policy.workdir);
    command.envs(&policy.job.env);
    command.stdin(if matches!(input, Input::Bytes(_)) { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let (Some(mut pipe), Input::Bytes(bytes)) = (child.stdin.take(), input) {
        std::thread::spawn(move || io::Write::write_all(&mut pipe, &bytes));
    }
    Ok(child)
}

fn watch(mut child: Child, deadline: Option<Instant>, mut socket: &UnixStream) -> Ended {
    let ended = loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return ended(status),
            Err(error) => return Ended::Failed(error.to_string()),
        }
        let mut byte = [0];
        match socket.read(&mut byte) {
            Ok(1) if Stop::from_byte(byte[0]) == Stop::Output => break Ended::Limit(Limit::Output),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            _ => break Ended::Cancelled,
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Ended::Limit(Limit::Wall);
        }
        std::thread::sleep(PACE);
    };
    // The group goes first; killing the child alone would leave its children.
    let _ = Command::new("/bin/kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.kill();
    let _ = child.wait();
    ended
}

fn ended(status: ExitStatus) -> Ended {
    status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or_default()), Ended::Exit)
}
