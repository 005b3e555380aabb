//! Lines that a person types while the program does other things, which may end the waiting for them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
    termios::{QueueSelector, tcflush},
};

/// How long it may take until a reader notices that nobody waits for it.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Somebody waits for an answer, as long as there is this value.
#[derive(Debug, Default)]
pub struct Waiting(Arc<AtomicBool>);

/// Whether somebody still waits.
#[derive(Clone, Debug)]
pub struct Waited(Arc<AtomicBool>);

impl Waiting {
    /// What a reader on another thread looks at.
    pub fn seen(&self) -> Waited {
        Waited(self.0.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Drops what was typed by now: it was no answer to a question that is only asked now.
pub fn forget() {
    // Nothing is typed ahead where there is no terminal.
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
}

/// The next line of the terminal on standard input, without its end; `None` at its end and as soon as nobody waits.
///
/// It is read byte by byte and past any buffer, so that what is not read stays for whoever reads next.
pub fn line(waited: &Waited) -> Option<String> {
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    loop {
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK));
        // Looked at behind the waiting: what is typed by then belongs to somebody else.
        if waited.0.load(Ordering::SeqCst) {
            return None;
        }
        match ready {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        let mut byte = [0];
        match read(&stdin, &mut byte) {
            Ok(0) if bytes.is_empty() => return None,
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => bytes.push(byte[0]),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
