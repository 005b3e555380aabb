//! The limits of a job that the kernel holds.
use std::io;

use super::{sys, tree};
use crate::Limits;

/// More files than this at once is a leak.
const OPEN_FILES: u64 = 8192;
/// The kernel refuses tasks at twice the limit, or twice this: those between are seen, and end the job.
const SPARE_TASKS: u32 = 128;

/// Resource limits, ready to be set in the child.
#[derive(Clone, Copy)]
pub(super) struct KernelLimits {
    file_bytes: u64,
    cpu_seconds: u64,
    tasks: u64,
    data_bytes: u64,
}

impl KernelLimits {
    /// With namespaces of its own, or a user of its own, the kernel counts the job's tasks alone.
    pub fn of(limits: &Limits, alone: bool) -> Self {
        // Else it counts all tasks of the user, those outside the job too; for root it counts none.
        let others = if alone || sys::is_root() || limits.processes.is_none() { 0 } else { tree::tasks_of_user() };
        KernelLimits {
            file_bytes: limits.file_bytes.unwrap_or(u64::MAX),
            cpu_seconds: limits.cpu.map_or(u64::MAX, |cpu| cpu.as_secs().saturating_add(1)),
            tasks: limits.processes.map_or(u64::MAX, |count| others + u64::from(count.max(SPARE_TASKS)) * 2),
            // Polling may miss a single huge request; this does not. It counts memory that is reserved and never
            // used, stacks of threads above all, so it is far above what is asked for.
            data_bytes: limits.memory.map_or(u64::MAX, |bytes| bytes.saturating_mul(2).saturating_add(1 << 30)),
        }
    }

    /// Sets the limits of the calling process for good.
    pub fn set(self) -> io::Result<()> {
        sys::lower_limit(libc::RLIMIT_CORE, 0, 0)?;
        sys::lower_limit(libc::RLIMIT_NOFILE, OPEN_FILES, 0)?;
        sys::lower_limit(libc::RLIMIT_FSIZE, self.file_bytes, 0)?;
        // A job that ignores the signal at the soft limit is killed at the hard one.
        sys::lower_limit(libc::RLIMIT_CPU, self.cpu_seconds, 1)?;
        sys::lower_limit(libc::RLIMIT_NPROC, self.tasks, 0)?;
        sys::lower_limit(libc::RLIMIT_DATA, self.data_bytes, 0)
    }
}
