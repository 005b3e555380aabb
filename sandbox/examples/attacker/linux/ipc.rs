//! Memory, queues and semaphores that every process of the machine shares.
use std::io;

use crate::linux::sys::{self, call};
use crate::linux::{Attack, c_text, number, variable};

pub const ALL: &[(&str, Attack)] = &[
    ("shared-memory", shared_memory),
    ("message-queue", message_queue),
    ("semaphore", semaphore),
    ("posix-queue", posix_queue),
    ("remove-ipc", remove),
];

/// How long a message of the host is.
const LENGTH: usize = 16;
const CREATE: i32 = libc::IPC_CREAT | 0o600;

fn key() -> io::Result<i32> {
    number("HOST_KEY")
}

fn print(bytes: &[u8]) {
    println!("{}", String::from_utf8_lossy(bytes));
}

/// Makes one of each under this key, with a secret in it; what the host does.
pub fn make(key: i32, secret: &str) -> io::Result<()> {
    let mut text = [b' '; LENGTH];
    text[..secret.len()].copy_from_slice(secret.as_bytes());
    let memory = call!(libc::SYS_shmget, key, 4096, CREATE)?;
    let place = call!(libc::SYS_shmat, memory, 0, 0)? as u64;
    let (from, to) =
        (crate::linux::secrets::vector(text.as_ptr() as u64, 16), crate::linux::secrets::vector(place, 16));
    // The kernel copies, so that no pointer has to be followed here.
    call!(libc::SYS_process_vm_writev, std::process::id(), &from[..], 1, &to[..], 1, 0)?;
    let queue = call!(libc::SYS_msgget, key, CREATE)?;
    let message = [&1_u64.to_ne_bytes()[..], &text[..]].concat();
    call!(libc::SYS_msgsnd, queue, &message[..], LENGTH, 0)?;
    let set = call!(libc::SYS_semget, key, 1, CREATE)?;
    call!(libc::SYS_semctl, set, 0, libc::SETVAL, 41)?;
    let mut shape = [0_u8; 64];
    shape[8] = 1;
    shape[16] = LENGTH as u8;
    let queue = call!(
        libc::SYS_mq_open,
        &*c_text(&format!("tunesmith-{key}"))?,
        libc::O_CREAT | libc::O_RDWR,
        0o600,
        &shape[..]
    )?;
    call!(libc::SYS_mq_timedsend, queue, &text[..], LENGTH, 1, 0).map(drop)
}

/// The semaphore's value, which the host watches.
pub fn value(key: i32) -> io::Result<i64> {
    call!(libc::SYS_semctl, call!(libc::SYS_semget, key, 1, 0)?, 0, libc::GETVAL, 0)
}

/// Removes what [`make`] made.
fn remove() -> io::Result<()> {
    let key = key()?;
    let _ = call!(libc::SYS_shmget, key, 0, 0).and_then(|id| call!(libc::SYS_shmctl, id, libc::IPC_RMID, 0));
    let _ = call!(libc::SYS_msgget, key, 0).and_then(|id| call!(libc::SYS_msgctl, id, libc::IPC_RMID, 0));
    let _ = call!(libc::SYS_semget, key, 1, 0).and_then(|id| call!(libc::SYS_semctl, id, 0, libc::IPC_RMID, 0));
    let _ = call!(libc::SYS_mq_unlink, &*c_text(&format!("tunesmith-{key}"))?);
    Ok(())
}

fn shared_memory() -> io::Result<()> {
    let place = call!(libc::SYS_shmat, call!(libc::SYS_shmget, key()?, 4096, 0)?, 0, libc::SHM_RDONLY)? as u64;
    let mut pipe = [0_u8; 8];
    call!(libc::SYS_pipe2, &mut pipe[..], 0)?;
    let end = |at: usize| i32::from_ne_bytes([0, 1, 2, 3].map(|byte| pipe[at + byte]));
    call!(libc::SYS_write, end(4), place, LENGTH)?;
    let mut text = [0_u8; LENGTH];
    call!(libc::SYS_read, end(0), &mut text[..], LENGTH)?;
    print(&text);
    Ok(())
}

fn message_queue() -> io::Result<()> {
    let mut message = [0_u8; 8 + LENGTH];
    call!(libc::SYS_msgrcv, call!(libc::SYS_msgget, key()?, 0)?, &mut message[..], LENGTH, 0, libc::IPC_NOWAIT)?;
    print(&message[8..]);
    Ok(())
}

fn semaphore() -> io::Result<()> {
    call!(libc::SYS_semctl, call!(libc::SYS_semget, key()?, 1, 0)?, 0, libc::SETVAL, 42).map(drop)
}

fn posix_queue() -> io::Result<()> {
    let name = c_text(&format!("tunesmith-{}", variable("HOST_KEY")?))?;
    let queue = sys::own(call!(libc::SYS_mq_open, &*name, libc::O_RDWR | libc::O_NONBLOCK, 0, 0)?);
    let mut text = [0_u8; LENGTH];
    use std::os::fd::AsRawFd;
    call!(libc::SYS_mq_timedreceive, queue.as_raw_fd(), &mut text[..], LENGTH, 0, 0)?;
    print(&text);
    Ok(())
}
