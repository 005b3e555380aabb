//! The layers that confinement is made of, and how much of each is there.
use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that keeps a job from reaching out of its workdir or past its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Contents of files: reads by allow-list, writes in the workdir only.
    Files,
    /// No TCP, UDP or other sockets, and no connections to local servers.
    Network,
    /// No system calls that look into other processes or change the machine.
    Syscalls,
    /// No variable but the allowed ones.
    Environment,
    /// No file that was open in the parent.
    Descriptors,
    /// No privilege gained by running a program, and none kept that the job does not need.
    Privileges,
    /// No process outlives the job.
    Tree,
    /// No signal to a process outside.
    Signals,
    /// A bound on memory.
    Memory,
    /// A bound on processes and threads.
    Processes,
    /// A bound on the bytes in the workdir.
    Disk,
    /// Names, modes and times of files outside.
    Metadata,
}

impl Layer {
    /// Whether a job should not run unnoticed without this layer.
    pub fn is_base(self) -> bool {
        use Layer::{Descriptors, Environment, Files, Network, Syscalls, Tree};
        matches!(self, Files | Network | Syscalls | Environment | Descriptors | Tree)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Files => "files",
            Layer::Network => "network",
            Layer::Syscalls => "system calls",
            Layer::Environment => "environment",
            Layer::Descriptors => "open files",
            Layer::Privileges => "privileges",
            Layer::Tree => "process tree",
            Layer::Signals => "signals",
            Layer::Memory => "memory",
            Layer::Processes => "processes",
            Layer::Disk => "disk",
            Layer::Metadata => "file metadata",
        })
    }
}

/// A part of the kernel that several layers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Namespaces for mounts, processes, network, IPC and host name, and as root a user of the job's own.
    Namespaces,
    /// Landlock's rules for files, TCP and signals.
    Landlock,
}

/// How much of a layer is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of it.
    Enforced,
    /// Most of it; the text says what is missing.
    Partial(String),
    /// Nothing; the text says why.
    Unavailable(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Enforced => f.write_str("enforced"),
            Status::Partial(gap) => write!(f, "partial: {gap}"),
            Status::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}
