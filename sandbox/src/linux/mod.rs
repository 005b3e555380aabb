//! Confinement on Linux: Landlock for files, TCP and signals, seccomp for system calls, a subreaper for the tree.
mod calls;
mod cgroup;
mod disk;
mod files;
mod handover;
mod kernel;
mod launch;
mod limits;
mod meter;
mod spaces;
mod supervise;
mod sys;
mod temporary;
mod tree;
mod view;

use std::io;

pub(crate) use handover::{hand_over, receive};
pub(crate) use supervise::supervise;

/// What must be done before the supervisor opens its first file.
pub(crate) fn close_inherited() -> io::Result<()> {
    sys::close_inherited()
}

/// What a probe may do and safe code cannot: trace a process.
pub(crate) fn try_trace(pid: i32) -> io::Result<()> {
    sys::try_trace(pid)
}

/// What a probe may do and safe code cannot: make calls that are to be denied; names those that were not.
pub(crate) fn try_calls() -> Vec<&'static str> {
    sys::try_calls()
}

/// What a probe may do and safe code cannot: leave a daemon behind; true in the daemon.
pub(crate) fn fork_daemon() -> io::Result<bool> {
    sys::fork_daemon()
}

/// Sends no signal, but says whether one could be sent.
pub(crate) fn try_signal(pid: i32) -> io::Result<()> {
    sys::try_signal(pid)
}

/// Bytes of memory of the machine.
pub(crate) fn total_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}
