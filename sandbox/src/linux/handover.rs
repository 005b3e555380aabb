//! How the listener in a job's network comes to the caller, who serves it: a socket stays in the network it was made in.
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::proxy::PORT;
use crate::wire::LISTENER;

/// Listens in the network of the calling process for the caller, at the other end of the supervisor's socket.
pub(super) fn hand_over_listener() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let files = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut more = SendAncillaryBuffer::new(&mut space);
    if !more.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("there is no room for the listener"));
    }
    let sent = sendmsg(io::stdin(), &[IoSlice::new(&LISTENER)], &mut more, SendFlags::NOSIGNAL)?;
    if sent == LISTENER.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The next four bytes from the supervisor, and the listener that came with them.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<([u8; 4], Option<TcpListener>)> {
    let mut word = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut more = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut more, RecvFlags::CMSG_CLOEXEC)?;
    let files = more.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let listener = files.flatten().next().map(TcpListener::from);
    // A supervisor writes at least four bytes at once.
    if got.bytes == word.len() { Ok((word, listener)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
