//! System calls by number, with arguments that cannot point to memory that is not there.
//!
//! An attacker makes calls that no library offers, so they are made by hand. Buffers are handed over as slices, and the
//! caller makes each at least as long as the call demands.
#![allow(unsafe_code)]
use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One argument of a system call.
pub enum Arg<'a> {
    Number(i64),
    From(&'a [u8]),
    Into(&'a mut [u8]),
}

macro_rules! numbers {
    ($($kind:ty),*) => { $(impl From<$kind> for Arg<'_> {
        fn from(value: $kind) -> Self {
            Arg::Number(value as i64)
        }
    })* };
}
numbers!(i32, u32, i64, u64, usize);

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(text: &'a CStr) -> Self {
        Arg::From(text.to_bytes_with_nul())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::From(bytes)
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Arg::Into(bytes)
    }
}

/// Makes a system call; `call!(number, arguments...)`.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        $crate::linux::sys::make($number, &mut [$($crate::linux::sys::Arg::from($argument)),*])
    };
}
pub(crate) use call;

/// Makes a system call with up to six arguments.
pub fn make(number: i64, arguments: &mut [Arg<'_>]) -> io::Result<i64> {
    let mut raw = [0_i64; 6];
    for (slot, argument) in raw.iter_mut().zip(arguments) {
        *slot = match argument {
            Arg::Number(number) => *number,
            Arg::From(bytes) => bytes.as_ptr() as i64,
            Arg::Into(bytes) => bytes.as_mut_ptr() as i64,
        };
    }
    let [a, b, c, d, e, f] = raw;
    // SAFETY: every pointer is to a live slice that the caller has made long enough, and only those borrowed for
    // writing are written by the calls that this program makes.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor that a call has just made.
pub fn own(fd: i64) -> OwnedFd {
    // SAFETY: callers hand over what the kernel has just returned, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Forks; true in the child.
pub fn fork() -> io::Result<bool> {
    // SAFETY: the attacks that fork have one thread, and so has the child.
    match unsafe { libc::fork() } {
        0 => Ok(true),
        pid if pid > 0 => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks by clone(2) with flags; true in the child.
pub fn clone(flags: i32) -> io::Result<bool> {
    // SAFETY: without memory of its own and with no stack given this is a fork, and there is one thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => Ok(true),
        pid if pid > 0 => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a system call of the 32-bit table, without pointers.
#[cfg(target_arch = "x86_64")]
pub fn call_32(number: i32, argument: i32) -> i32 {
    let result: i32;
    // SAFETY: the call takes plain numbers only; rbx belongs to the compiler, so it is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {argument:e}", "int 0x80", "pop rbx",
            argument = in(reg) argument, inlateout("eax") number => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// Memory shared with the kernel or with children, never given back.
pub fn map(length: usize, flags: i32, fd: i32, offset: i64) -> io::Result<&'static [std::sync::atomic::AtomicU32]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the place, so no other memory is replaced.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is that long, aligned to a page, never unmapped, and atomics may change under us.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), length / 4) })
}
