//! How much memory this process holds, and a bound on what reading hostile input may take.

use std::sync::{Mutex, PoisonError};

/// Bytes that the reading of rows or one prompt may take. A chat template from a stranger can double a text in its own
/// variables without end, which its fuel does not feel.
pub(crate) const ALLOWANCE: u64 = 2 << 30;

/// Bytes that the tasks of an evaluation with their data sets may take.
pub(crate) const TABLES: u64 = 8 << 30;

/// A figure of this process's memory in bytes, by its name in `/proc/self/status`; `None` where the system does not say.
pub(crate) fn status(name: &str) -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

/// A field in kilobytes, in bytes.
pub(crate) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Calls `f` while this process may take only so many bytes more. An allocation beyond them ends the process, and its
/// caller tells that memory ran out: only workers may call this, one thread at a time, and not inside `f`. Where the system
/// does not say what is held, nothing is bounded.
pub(crate) fn bounded<T>(bytes: u64, f: impl FnOnce() -> T) -> T {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = getrlimit(Resource::Data);
    let least = |limit: Option<u64>, other: u64| Some(limit.map_or(other, |limit| limit.min(other)));
    if let Some(held) = status("VmData:") {
        let current = least(before.current, held.saturating_add(bytes));
        // A limit below one that is set already is always allowed.
        let _ = setrlimit(Resource::Data, Rlimit { current, maximum: before.maximum });
    }
    let made = f();
    let _ = setrlimit(Resource::Data, before);
    made
}
