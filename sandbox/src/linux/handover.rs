//! How a file goes from one end of a supervisor's socket to the other: a listener in the job's network to the caller, who
//! serves it, because a socket stays in the network it was made in; and the end of a pipe to the job.
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::proxy::PORT;
use crate::wire::FILE;

/// Listens in the network of the calling process for the caller, at the other end of the supervisor's socket.
pub(super) fn hand_over_listener() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    hand_over(io::stdin().as_fd(), listener.as_fd())
}

/// Sends a file to the other end of a socket.
pub(crate) fn hand_over(socket: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut more = SendAncillaryBuffer::new(&mut space);
    if !more.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("there is no room for the file"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&FILE)], &mut more, SendFlags::NOSIGNAL)?;
    if sent == FILE.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The next four bytes from the other end, and the file that came with them.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<([u8; 4], Option<OwnedFd>)> {
    let mut word = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut more = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut more, RecvFlags::CMSG_CLOEXEC)?;
    let files = more.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file = files.flatten().next();
    // Both sides write at least four bytes at once.
    if got.bytes == word.len() { Ok((word, file)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
