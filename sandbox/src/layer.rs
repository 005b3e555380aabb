//! The layers that confinement is made of, and how much of each is there.
use std::fmt;
use std::str::FromStr;

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

impl Layer {
    /// Every layer, in the order in which they are shown.
    pub const ALL: [Layer; 12] = [
        Layer::Files,
        Layer::Metadata,
        Layer::Network,
        Layer::Syscalls,
        Layer::Environment,
        Layer::Descriptors,
        Layer::Privileges,
        Layer::Signals,
        Layer::Tree,
        Layer::Memory,
        Layer::Processes,
        Layer::Disk,
    ];

    /// The name by which a layer is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Files => "files",
            Layer::Metadata => "metadata",
            Layer::Network => "network",
            Layer::Syscalls => "syscalls",
            Layer::Environment => "environment",
            Layer::Descriptors => "descriptors",
            Layer::Privileges => "privileges",
            Layer::Signals => "signals",
            Layer::Tree => "tree",
            Layer::Memory => "memory",
            Layer::Processes => "processes",
            Layer::Disk => "disk",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no layer has.
#[derive(Debug, thiserror::Error)]
#[error("there is no layer `{0}`; the layers are {names}", names = Layer::ALL.map(Layer::name).join(", "))]
pub struct UnknownLayer(String);

impl FromStr for Layer {
    type Err = UnknownLayer;

    fn from_str(name: &str) -> Result<Self, UnknownLayer> {
        Layer::ALL.into_iter().find(|layer| layer.name() == name).ok_or_else(|| UnknownLayer(name.into()))
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
