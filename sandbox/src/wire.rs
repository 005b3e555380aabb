//! What the caller and the supervisor say to each other over one local socket.
//!
//! The caller sends a frame with the [`Policy`], the bytes of the job's standard input, and later at most one
//! [`Stop`] byte; before all that comes [`FILE`], with the end of a pipe, if the input stays open ([`INPUT`]). The
//! supervisor answers with one frame, the [`Finished`](crate::Finished); before it comes [`FILE`], with a listener in the
//! job's network, if the job may reach some hosts. A closed socket means that the other side is dead.
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Job, Layer, Mechanism};

/// The first argument of a supervisor.
pub(crate) const INIT: &str = "sandbox-init";

/// The second argument of a supervisor that confines its job; any other merely watches it.
pub(crate) const CONFINED: &str = "confined";

/// The third argument of a supervisor whose job has an input that stays open.
pub(crate) const INPUT: &str = "input";

/// The length of no frame: a file comes with it.
#[cfg(target_os = "linux")]
pub(crate) const FILE: [u8; 4] = [0; 4];

/// What a job reads.
pub(crate) enum Input {
    /// Nothing.
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
    /// What comes through this pipe.
    Pipe(OwnedFd),
}

/// Everything a supervisor has to know.
#[derive(Serialize, Deserialize)]
pub(crate) struct Policy {
    /// The job, without its input.
    pub job: Job,
    /// The absolute path of the program that `job.argv[0]` names.
    pub program: PathBuf,
    /// The canonical workdir.
    pub workdir: PathBuf,
    /// What is not to be used, although the kernel may have it.
    pub without: Vec<Mechanism>,
    /// The layers without any of which the job must not start.
    pub required: Vec<Layer>,
    /// How many bytes of input follow the policy; `None` for no input, or one that stays open.
    pub stdin: Option<u64>,
}

/// Why the caller wants the job to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Somebody asked for it.
    Cancel = b'c' as isize,
    /// It printed too much.
    Output = b'o' as isize,
}

impl Stop {
    pub(crate) fn to_byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        if byte == Stop::Output.to_byte() { Stop::Output } else { Stop::Cancel }
    }
}

/// A length and JSON.
pub(crate) fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// Reads one frame.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = Vec::new();
    from.take(u64::from(u32::from_le_bytes(length))).read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Writes one frame.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&frame(message)?)
}
