//! Runs commands confined to a work directory.
//!
//! A [`Job`] is a command with limits. [`Local`] starts it inside a [`Workdir`] under a supervisor: the same binary,
//! re-executed, single-threaded, which confines the job, watches its limits and kills its whole process tree. The
//! supervisor is entered through [`init_main`], which a binary that starts jobs calls before anything else.
//!
//! Confinement is made of [`Layer`]s, and a layer of what the kernel offers:
//!
//! | what | needs | gives |
//! |---|---|---|
//! | always | nothing | variables by allow-list, no file of the parent open, own session, no new privileges, limits, death of the whole tree |
//! | seccomp | Linux 3.17 | no system call that looks into other processes or changes the machine; without a network of its own, no connections |
//! | Landlock | Linux 5.13 to 6.12 | reads by allow-list, writes in the workdir, no TCP, no signals to the outside |
//! | namespaces | Linux 5.12, allowed to this user | a view of its own: nothing else has even a name; own /proc, /tmp, loopback, IPC and host name |
//! | a user of its own | root, idmapped mounts of the workdir's file system | owns nothing on this machine; the workdir it sees as its own |
//! | control groups v2 | the memory and pids controllers delegated | the kernel holds these limits, which are polled elsewhere |
//!
//! A layer that is not all there is reported by [`Local::layers`] and in [`Finished::layers`], and [`Local::requiring`]
//! makes it an error; it is never passed over in silence.
//!
//! # What is not confined
//!
//! - Without namespaces, names, modes and times of files outside can be seen and, with the caller's rights, changed;
//!   contents cannot. Of `/proc`, a job's first process sees its own part, and the processes that it starts do not see
//!   theirs.
//! - Without namespaces, daemons of a job outlive a supervisor that somebody outside kills with SIGKILL.
//! - A job with [`Net::Hosts`] may say anything to these hosts, and ask for any name that such a server answers to.
//! - A job with [`Net::Full`] shares the network of the machine, abstract sockets of others excepted.
//! - Memory (without control groups) and the workdir's size are polled: a burst passes them for a moment, and
//!   [`Peaks`] tells by how much.
//! - Memory that the kernel holds for a job counts exactly only with control groups; elsewhere, of its sockets, all but 64
//!   count as full.
//! - The kernel itself: its system calls that programs need are there for attackers too.

pub mod attacks;
mod cancel;
mod check;
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
