//! The limits of a job that are polled, each by a thread that a slow look at something else does not hold up.
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::tree::Process;
use super::{disk, sys, tree};
use crate::{Ended, Limit, Limits, Peaks};

/// Each thread takes at most a twentieth of a processor, looks that take longer than a tenth of a second aside.
const SHARE: u32 = 20;
const FASTEST: Duration = Duration::from_millis(25);
/// A job that ends before this is not looked at but at its end.
const FIRST: Duration = Duration::from_millis(5);
const SLOWEST: Duration = Duration::from_secs(2);
/// Sockets whose contents count as nothing. Nobody says what waits in a socket, so each beyond these counts as full.
const FREE_SOCKETS: u64 = 64;
/// Bytes that may wait in a socket where the system does not say.
const SOCKET: u64 = 416 << 10;
/// The first change of memory that is worth a closer look.
const NOTABLE: u64 = 4 << 20;

/// What the threads have seen.
#[derive(Default)]
struct Seen {
    limits: Limits,
    peaks: Mutex<Peaks>,
    /// Processor time in microseconds. Of processes that the kernel ends with their namespaces nobody else tells it.
    cpu: AtomicU64,
    /// Bytes of memory that belong to files and sockets, and not to processes.
    beside: AtomicU64,
    /// Why the job must end.
    passed: OnceLock<Ended>,
}

/// Looks at a running job now and then, until this process ends.
pub(super) struct Meter {
    seen: Arc<Seen>,
    alarm: PipeReader,
}

/// The processes of a job.
#[derive(Clone, Copy)]
pub(super) struct Root {
    /// The process below which they all are.
    pub pid: i32,
    /// Whether it is the first of the job's namespaces, which inherits the times of orphans.
    pub is_first: bool,
}

impl Meter {
    /// Looks at the job with these processes and this workdir. No process may be forked from this one any more.
    pub fn start(limits: &Limits, workdir: PathBuf, root: Root) -> io::Result<Self> {
        let seen = Arc::new(Seen { limits: limits.clone(), ..Seen::default() });
        let (alarm, bell) = io::pipe()?;
        let looks = Processes::new(seen.clone(), root);
        repeat(FIRST, bell.try_clone()?, seen.clone(), move || looks.look());
        let (held, pid) = (seen.clone(), root.pid);
        repeat(FIRST, bell, seen.clone(), move || held.files(&workdir, pid));
        Ok(Meter { seen, alarm })
    }

    /// A file that can be read once the job must end.
    pub fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Why the job must end, if it must.
    pub fn passed(&self) -> Option<Ended> {
        self.seen.passed.get().cloned()
    }

    /// Processor time that was seen.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.seen.cpu.load(Ordering::Relaxed))
    }

    /// The most that was seen.
    pub fn peaks(&self) -> Peaks {
        *self.seen.peaks()
    }

    /// A last look at the workdir, when all processes have ended.
    pub fn last(&self, workdir: &std::path::Path) -> Option<Ended> {
        self.seen.disk(workdir, 0)
    }
}

/// Calls `look` again and again in a thread of its own, until it finds that the job must end.
fn repeat(
    first: Duration,
    mut bell: PipeWriter,
    seen: Arc<Seen>,
    mut look: impl FnMut() -> Option<Ended> + Send + 'static,
) {
    thread::spawn(move || {
        let mut pause = first;
        loop {
            thread::sleep(pause);
            let start = Instant::now();
            if let Some(ended) = look() {
                let _ = seen.passed.set(ended);
                // Whoever listened is gone when this fails.
                let _ = bell.write_all(b"!");
                return;
            }
            pause = (start.elapsed() * SHARE).clamp(FASTEST, SLOWEST);
        }
    });
}

impl Seen {
    fn peaks(&self) -> std::sync::MutexGuard<'_, Peaks> {
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the workdir, and at files without a name.
    fn files(&self, workdir: &std::path::Path, root: i32) -> Option<Ended> {
        let tree = tree::quickly_below(root);
        let nameless = tree::nameless(&tree);
        let most = fs::read_to_string("/proc/sys/net/core/wmem_max").ok();
        let socket = most.and_then(|most| most.trim().parse::<u64>().ok()).map_or(SOCKET, |most| 2 * most);
        let sockets = nameless.sockets.saturating_sub(FREE_SOCKETS) * socket;
        self.beside.store(nameless.memory + sockets, Ordering::Relaxed);
        self.disk(workdir, nameless.disk)
    }

    /// Looks at the workdir; `more` are bytes on disk that it does not show.
    fn disk(&self, workdir: &std::path::Path, more: u64) -> Option<Ended> {
        let (bytes, files) = (self.limits.disk_bytes.unwrap_or(u64::MAX), self.limits.files.unwrap_or(u64::MAX));
        if (bytes, files) == (u64::MAX, u64::MAX) {
            return None;
        }
        let used = match disk::usage(workdir) {
            Ok(used) => disk::Usage { bytes: used.bytes + more, ..used },
            Err(error) => return Some(Ended::Failed(format!("the workdir cannot be measured: {error}"))),
        };
        let mut peaks = self.peaks();
        peaks.disk_bytes = peaks.disk_bytes.max(Some(used.bytes));
        peaks.files = peaks.files.max(Some(used.files));
        match () {
            () if used.bytes > bytes => Some(Ended::Limit(Limit::Disk)),
            () if used.files > files => Some(Ended::Limit(Limit::Files)),
            () => None,
        }
    }
}

/// Looks at processes.
struct Processes {
    seen: Arc<Seen>,
    root: Root,
    page: u64,
    ticks: u64,
}

impl Processes {
    fn new(seen: Arc<Seen>, root: Root) -> Self {
        let (page, ticks) = sys::units();
        Processes { seen, root, page, ticks }
    }

    fn look(&self) -> Option<Ended> {
        let tree = tree::quickly_below(self.root.pid);
        let passed = [self.tasks(&tree), self.cpu(&tree), self.memory(&tree)];
        passed.into_iter().flatten().next().map(Ended::Limit)
    }

    fn tasks(&self, tree: &[Process]) -> Option<Limit> {
        let tasks = tree::tasks(tree);
        let mut peaks = self.seen.peaks();
        peaks.processes = peaks.processes.max(Some(tasks));
        (tasks > u64::from(self.seen.limits.processes?)).then_some(Limit::Processes)
    }

    fn cpu(&self, tree: &[Process]) -> Option<Limit> {
        let first = self.root.is_first.then(|| tree::read(self.root.pid)).flatten();
        let used = sys::ended_usage().0 + tree::cpu(tree.iter().chain(&first), self.ticks);
        let micros = u64::try_from(used.as_micros()).unwrap_or(u64::MAX);
        let most = self.seen.cpu.fetch_max(micros, Ordering::Relaxed).max(micros);
        (Duration::from_micros(most) > self.seen.limits.cpu?).then_some(Limit::Cpu)
    }

    fn memory(&self, tree: &[Process]) -> Option<Limit> {
        let limit = self.seen.limits.memory.unwrap_or(u64::MAX);
        let (peak, beside) = (self.seen.peaks().memory.unwrap_or(0), self.seen.beside.load(Ordering::Relaxed));
        let upper = tree::resident(tree, self.page) + beside;
        // The exact number costs a walk over all pages, so it is only taken where it could matter.
        if upper > limit || upper > peak + peak / 16 + NOTABLE {
            let exact = tree::proportional(tree, self.page, beside);
            self.seen.peaks().memory = Some(peak.max(exact));
            return (exact > limit).then_some(Limit::Memory);
        }
        None
    }
}
