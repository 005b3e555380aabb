//! Confinement on Linux: Landlock for files, TCP and signals, seccomp for system calls, a subreaper for the tree.
mod calls;
mod disk;
mod files;
mod limits;
mod supervise;
mod sys;
mod tree;

use std::io;

use crate::{Layer, Mechanism, Status};

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

/// What this kernel can confine.
pub(crate) fn layers(confined: bool, without: &[Mechanism]) -> Vec<(Layer, Status)> {
    use Status::{Enforced, Partial, Unavailable};
    let off = |status: Status| if confined { status } else { Unavailable("confinement is switched off".into()) };
    let landlock = if without.contains(&Mechanism::Landlock) { 0 } else { sys::landlock_version() };
    let filter = sys::can_filter();
    let files = match landlock {
        0 => Unavailable("this kernel has no Landlock; it needs Linux 5.13 with landlock in its list of LSMs".into()),
        1 | 2 => Partial("this kernel cannot keep files from being truncated; it needs Linux 6.2".into()),
        _ => Enforced,
    };
    let network = match (filter, landlock) {
        (true, _) => Enforced,
        (false, 4..) => Partial("TCP only, because this kernel does not filter system calls".into()),
        (false, _) => Unavailable("this kernel neither filters system calls nor knows Landlock's network rules".into()),
    };
    let calls = if filter { Enforced } else { Unavailable("this kernel does not filter system calls".into()) };
    let signals = match (landlock, filter) {
        (6.., _) => Enforced,
        (_, true) => Partial("only this program and its supervisor are out of reach; the rest needs Linux 6.12".into()),
        (_, false) => Unavailable("needs Linux 6.12".into()),
    };
    let environment = match confined {
        true => Enforced,
        false => Partial("nothing is handed on, but without confinement /proc shows other processes' variables".into()),
    };
    let polled = |what: &str| Partial(format!("polled: {what}"));
    let processes = if sys::is_root() { polled("root has no kernel limit on processes") } else { Enforced };
    vec![
        (Layer::Files, off(files)),
        (Layer::Network, off(network)),
        (Layer::Syscalls, off(calls)),
        (Layer::Environment, environment),
        (Layer::Descriptors, off(Enforced)),
        (Layer::Privileges, off(Enforced)),
        (Layer::Tree, Enforced),
        (Layer::Signals, off(signals)),
        (Layer::Memory, polled("a burst can pass the limit for a moment")),
        (Layer::Processes, processes),
        (Layer::Disk, polled("a burst can pass the limit for a moment, and deleted files that are open do not count")),
        (Layer::Metadata, Unavailable("stat, chmod and times of files outside need a mount namespace".into())),
    ]
}
