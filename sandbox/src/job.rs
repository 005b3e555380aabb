//! What to run, within which limits, and how it ended.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Layer, Status};

/// A command with its input, its rights and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The program and its arguments; a bare name is looked up in the job's `PATH`, a relative path in the workdir.
    pub argv: Vec<String>,
    /// What the job reads from its standard input.
    #[serde(default)]
    pub stdin: Stdin,
    /// Variables beside the fixed ones (`PATH`, `HOME`, `LANG`, `TMPDIR`), which they may override.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the job may reach over the network.
    #[serde(default)]
    pub net: Net,
    /// Which devices the job may use, beside those that every program needs.
    #[serde(default)]
    pub devices: Devices,
    /// Absolute paths that the job may read and execute, beside the system's libraries and programs.
    #[serde(default)]
    pub reads: Vec<PathBuf>,
    /// Absolute paths that the job may write, beside the workdir; they must exist.
    #[serde(default)]
    pub writes: Vec<PathBuf>,
    /// Bytes of the longest line of output that arrives in one piece.
    #[serde(default = "line_bytes")]
    pub line_bytes: usize,
    /// When the job is stopped.
    #[serde(default)]
    pub limits: Limits,
}

impl Job {
    /// A job without input, without network and with the default limits.
    pub fn new<A: Into<String>>(argv: impl IntoIterator<Item = A>) -> Self {
        Job {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Stdin::Null,
            env: BTreeMap::new(),
            net: Net::None,
            devices: Devices::None,
            reads: Vec::new(),
            writes: Vec::new(),
            line_bytes: line_bytes(),
            limits: Limits::default(),
        }
    }
}

fn line_bytes() -> usize {
    1 << 20
}

/// What a job reads from its standard input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// These bytes, then the end of the file.
    Bytes(Vec<u8>),
    /// What the caller writes to [`Running::stdin`](crate::Running::stdin), while the job runs. Linux only.
    Open,
}

/// What a job may reach over the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// Nothing, the loopback interface included.
    #[default]
    None,
    /// These hosts and nothing else, through an HTTP proxy that the caller serves and the job's environment names.
    ///
    /// Each is `HOST`, `HOST:PORT` or `*.DOMAIN` (what is below the domain); without a port these are 80 and 443. A name
    /// that leads to an address that is not public is refused, unless that address is allowed too, or `localhost`. Such a
    /// job needs namespaces, and does not start without; if it is not confined, it reaches everything.
    Hosts(Vec<String>),
    /// Everything.
    Full,
}

/// Which devices a job may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    /// Only those without a memory of their own: null, zero, full and random numbers.
    #[default]
    None,
    /// Graphics processors, to compute on.
    Gpu,
}

/// When a job is stopped; `None` means no limit, and zero is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Time since the start.
    pub wall: Option<Duration>,
    /// Processor time of all processes together.
    pub cpu: Option<Duration>,
    /// Bytes of memory of all processes together, shared pages counted once.
    pub memory: Option<u64>,
    /// Processes and threads at the same time.
    pub processes: Option<u32>,
    /// Bytes of the largest file.
    pub file_bytes: Option<u64>,
    /// Bytes in the workdir, whoever wrote them, and in files that were deleted and are open.
    pub disk_bytes: Option<u64>,
    /// Files and directories in the workdir, whoever made them.
    pub files: Option<u64>,
    /// Bytes on standard output and standard error together.
    pub output_bytes: Option<u64>,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Default for Limits {
    /// Ten minutes and three quarters of the machine's memory; the rest is out of the way of any ordinary job.
    fn default() -> Self {
        Limits {
            wall: Some(Duration::from_secs(600)),
            cpu: None,
            memory: Some(crate::platform::total_memory().map_or(4 * GIB, |bytes| bytes / 4 * 3)),
            processes: Some(512),
            file_bytes: Some(16 * GIB),
            disk_bytes: Some(32 * GIB),
            files: Some(1 << 20),
            output_bytes: Some(64 * MIB),
        }
    }
}

/// A line of the job's output, without its newline.
///
/// Bytes that are not UTF-8 are replaced, and a line longer than [`Job::line_bytes`] arrives in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// From standard output.
    Out(String),
    /// From standard error.
    Err(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It returned this exit code.
    Exit(i32),
    /// This signal killed it, and no limit was the reason.
    Signal(i32),
    /// It was killed because it passed this limit.
    Limit(Limit),
    /// It was killed because somebody asked for it.
    Cancelled,
    /// It could not be started or watched, for this reason.
    Failed(String),
}

/// A limit that a job passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// [`Limits::wall`].
    Wall,
    /// [`Limits::cpu`].
    Cpu,
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::file_bytes`].
    FileSize,
    /// [`Limits::disk_bytes`].
    Disk,
    /// [`Limits::files`].
    Files,
    /// [`Limits::output_bytes`].
    Output,
}

/// What is known about a job that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// How it ended.
    pub ended: Ended,
    /// How long it ran.
    pub wall: Duration,
    /// Processor time of all its processes, where known.
    pub cpu: Option<Duration>,
    /// The most that it took of everything.
    pub peaks: Peaks,
    /// What confined this very job.
    pub layers: Vec<(Layer, Status)>,
    /// Hosts that a job with [`Net::Hosts`] asked for and could not reach, because they were not allowed; the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_hosts: Vec<String>,
}

/// The most that a job took at once, as far as it was seen; `None` where nobody looked. A limit that is not the kernel's is
/// passed by the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    /// Bytes of memory of all its processes together.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Bytes in the workdir.
    pub disk_bytes: Option<u64>,
    /// Files and directories in the workdir.
    pub files: Option<u64>,
    /// Bytes that it printed.
    pub output_bytes: Option<u64>,
}

impl Finished {
    /// Whether the job returned exit code 0.
    pub fn success(&self) -> bool {
        self.ended == Ended::Exit(0)
    }
}
