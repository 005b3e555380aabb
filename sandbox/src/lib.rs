//! Runs commands confined to a work directory.
//!
//! A [`Job`] is a command with limits. [`Local`] starts it inside a [`Workdir`] under a supervisor: the same binary,
//! re-executed, single-threaded, which confines the job, watches its limits and kills its whole process tree. The
//! supervisor is entered through [`init_main`], which a binary that starts jobs calls before anything else.
//!
//! Confinement is made of [`Layer`]s. A layer that the kernel does not offer is reported by [`Local::layers`] and in
//! [`Finished::layers`]; it is never passed over in silence.
//!
//! # What is not confined yet
//!
//! - A job with [`Net::Hosts`] may say anything to these hosts, and ask for any name that such a server answers to.
//! - Names, modes and times of files outside can be seen and, with the caller's rights, changed; contents cannot.
//! - A job with [`Net::Full`] reaches local servers through sockets in the file system as well.
//! - Memory, the workdir's size and, for root, the number of processes are polled: a burst passes them for a moment.
//! - Pages of a file in memory that no process has mapped count for no limit but [`Limits::file_bytes`].
//! - Of `/proc`, a job's first process sees its own part, and the processes that it starts do not see theirs.

mod cancel;
mod doctor;
mod hosts;
mod job;
mod layer;
mod local;
mod proxy;
mod workdir;

mod init;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
mod probe;
mod wire;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use other as platform;

pub use cancel::Cancel;
pub use doctor::Check;
pub use hosts::allows;
pub use init::init_main;
pub use job::{Devices, Ended, Finished, Job, Limit, Limits, Line, Net, Peaks, Stdin};
pub use layer::{Layer, Mechanism, Status, UnknownLayer};
pub use local::{Local, Running};
pub use workdir::{PathError, Workdir};
