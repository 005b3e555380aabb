//! The limits of a job: those that the kernel holds, and those that are polled.
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::tree::Process;
use super::{disk, sys, tree};
use crate::{Limit, Limits, Peaks};

/// Polling takes at most a twentieth of a processor.
const SHARE: u32 = 20;
const FASTEST: Duration = Duration::from_millis(25);
/// A job that ends before this is not looked at but at its end.
const FIRST: Duration = Duration::from_millis(5);
const SLOWEST: Duration = Duration::from_secs(2);
/// More files than this at once is a leak.
const OPEN_FILES: u64 = 8192;
/// The kernel refuses tasks at twice the limit, or twice this: those between are seen, and end the job.
const SPARE_TASKS: u32 = 128;
/// The first change of memory that is worth a closer look.
const NOTABLE: u64 = 4 << 20;

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

/// Looks at a running job now and then.
pub(super) struct Meter {
    limits: Limits,
    workdir: PathBuf,
    page: u64,
    ticks: u64,
    /// The most that was seen.
    pub peaks: Peaks,
    /// Processor time at the last look: of processes that the kernel ends with their namespaces nobody else tells it.
    pub cpu: Duration,
    /// The control group of the job, where it has one.
    pub group: Option<Group>,
    /// Bytes of files that were deleted and are open, at the last look.
    deleted: u64,
    next: Instant,
    next_disk: Instant,
}

impl Meter {
    pub fn new(limits: Limits, workdir: PathBuf) -> Self {
        let (page, ticks) = sys::units();
        let now = Instant::now();
        let (peaks, cpu, group) = (Peaks::default(), Duration::ZERO, Group::make(&limits).ok());
        Meter { limits, workdir, page, ticks, peaks, cpu, group, deleted: 0, next: now + FIRST, next_disk: now }
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Names the limit that the job, all processes below `root`, has passed, if any.
    pub fn look(&mut self, root: i32) -> Option<Limit> {
        let start = Instant::now();
        let tree = tree::quickly_below(root);
        let nameless = tree::nameless(&tree);
        self.deleted = nameless.disk;
        let passed =
            [self.tasks(&tree), self.cpu(&tree), self.memory(&tree, nameless.memory)].into_iter().flatten().next();
        let passed = passed.or_else(|| self.group.as_ref()?.reached());
        let passed = passed.or_else(|| if start >= self.next_disk { self.disk() } else { None });
        let now = Instant::now();
        self.next = now + ((now - start) * SHARE).clamp(FASTEST, SLOWEST);
        passed
    }

    fn tasks(&mut self, tree: &[Process]) -> Option<Limit> {
        let tasks = tree::tasks(tree);
        self.peaks.processes = self.peaks.processes.max(Some(tasks));
        (tasks > u64::from(self.limits.processes?)).then_some(Limit::Processes)
    }

    fn cpu(&mut self, tree: &[Process]) -> Option<Limit> {
        self.cpu = self.cpu.max(sys::ended_usage().0 + tree::cpu(tree, self.ticks));
        (self.cpu > self.limits.cpu?).then_some(Limit::Cpu)
    }

    fn memory(&mut self, tree: &[Process], files: u64) -> Option<Limit> {
        let (limit, peak) = (self.limits.memory.unwrap_or(u64::MAX), self.peaks.memory.unwrap_or(0));
        let upper = tree::resident(tree, self.page) + files;
        // The exact number costs a walk over all pages, so it is only taken where it could matter.
        if upper > limit || upper > peak + peak / 16 + NOTABLE {
            let exact = tree::proportional(tree, self.page, files);
            self.peaks.memory = Some(peak.max(exact));
            return (exact > limit).then_some(Limit::Memory);
        }
        None
    }

    /// Measures the workdir, on a pace of its own because it may hold many files.
    pub fn disk(&mut self) -> Option<Limit> {
        let (bytes, files) = (self.limits.disk_bytes.unwrap_or(u64::MAX), self.limits.files.unwrap_or(u64::MAX));
        if (bytes, files) == (u64::MAX, u64::MAX) {
            return None;
        }
        let start = Instant::now();
        let used = disk::usage(&self.workdir);
        let now = Instant::now();
        self.next_disk = now + ((now - start) * SHARE).max(FASTEST);
        let Ok(used) = used else { return Some(Limit::Disk) };
        let used = disk::Usage { bytes: used.bytes + self.deleted, ..used };
        self.peaks.disk_bytes = self.peaks.disk_bytes.max(Some(used.bytes));
        self.peaks.files = self.peaks.files.max(Some(used.files));
        match () {
            () if used.bytes > bytes => Some(Limit::Disk),
            () if used.files > files => Some(Limit::Files),
            () => None,
        }
    }
}
