//! Secrets of other programs: their memory, descriptors and keys.
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::linux::sys::{call, own};
use crate::linux::{Attack, c_text, number, variable};

pub const ALL: &[(&str, Attack)] = &[
    ("caller-memory", caller_memory),
    ("process-memory-file", process_memory_file),
    ("process-vm-readv", process_vm_readv),
    ("ptrace-peek", ptrace_peek),
    ("pidfd-getfd", take_descriptor),
    ("keyring", keyring),
    ("kernel-log", kernel_log),
];

/// Bytes of an answer that are looked at.
const ROOM: usize = 4096;

fn print(bytes: &[u8]) {
    println!("{}", String::from_utf8_lossy(bytes));
}

/// Looks for the caller's variables in the stack of the caller itself.
fn caller_memory() -> io::Result<()> {
    let caller = fs::read_to_string("caller")?;
    let caller = caller.trim();
    let maps = fs::read_to_string(format!("/proc/{caller}/maps"))?;
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).ok_or(io::ErrorKind::NotFound)?;
    let range = stack.split_once(' ').and_then(|(range, _)| range.split_once('-')).ok_or(io::ErrorKind::NotFound)?;
    let address = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let (start, end) = (address(range.0)?, address(range.1)?);
    let mut memory = File::open(format!("/proc/{caller}/mem"))?;
    memory.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    // The last pages may not be readable; what came before is what counts.
    let _ = memory.take(end - start).read_to_end(&mut bytes);
    let found = bytes.windows(7).position(|window| window == b"SECRET=").ok_or(io::ErrorKind::NotFound)?;
    print(&bytes[found..(found + 32).min(bytes.len())]);
    Ok(())
}

fn process_memory_file() -> io::Result<()> {
    let memory = File::open(format!("/proc/{}/mem", variable("HOST_PID")?))?;
    let mut bytes = [0; 16];
    memory.read_exact_at(&mut bytes, number("HOST_MEMORY")?)?;
    print(&bytes);
    Ok(())
}

/// A vector of one buffer, as the kernel wants it.
pub fn vector(address: u64, length: u64) -> Vec<u8> {
    [address.to_ne_bytes(), length.to_ne_bytes()].concat()
}

fn process_vm_readv() -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    let local = vector(bytes.as_mut_ptr() as u64, 16);
    let remote = vector(number("HOST_MEMORY")?, 16);
    call!(libc::SYS_process_vm_readv, number::<i32>("HOST_PID")?, &local[..], 1, &remote[..], 1, 0)?;
    print(&bytes);
    Ok(())
}

/// Attaches, waits for the stop, reads two words and lets go.
fn ptrace_peek() -> io::Result<()> {
    let pid: i32 = number("HOST_PID")?;
    let address: u64 = number("HOST_MEMORY")?;
    call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, pid, 0, 0)?;
    call!(libc::SYS_wait4, pid, 0, libc::__WALL, 0)?;
    let mut text = Vec::new();
    for offset in [0, 8] {
        let mut word = [0_u8; 8];
        call!(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, pid, address + offset, &mut word[..])?;
        text.extend(word);
    }
    call!(libc::SYS_ptrace, libc::PTRACE_DETACH, pid, 0, 0)?;
    print(&text);
    Ok(())
}

fn take_descriptor() -> io::Result<()> {
    let process = call!(libc::SYS_pidfd_open, number::<i32>("HOST_PID")?, 0)?;
    let file = File::from(own(call!(libc::SYS_pidfd_getfd, process, number::<i32>("HOST_FILE")?, 0)?));
    let mut bytes = [0; 16];
    let count = file.read_at(&mut bytes, 0)?;
    print(&bytes[..count]);
    Ok(())
}

fn keyring() -> io::Result<()> {
    const SEARCH: i32 = 10;
    const READ: i32 = 11;
    const USER_KEYRING: i32 = -4;
    let name = c_text(&variable("HOST_KEY")?)?;
    let key = call!(libc::SYS_keyctl, SEARCH, USER_KEYRING, c"user", &*name, 0)?;
    let mut bytes = [0_u8; ROOM];
    let count = call!(libc::SYS_keyctl, READ, key, &mut bytes[..], ROOM)?;
    print(&bytes[..usize::try_from(count).unwrap_or(0).min(ROOM)]);
    Ok(())
}

fn kernel_log() -> io::Result<()> {
    const READ_ALL: i32 = 3;
    let mut bytes = [0_u8; ROOM];
    call!(libc::SYS_syslog, READ_ALL, &mut bytes[..], ROOM)?;
    crate::linux::got_through()
}
