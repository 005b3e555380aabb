//! The log file: one event a line, each with the SHA-256 of the line before.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    event::{Event, Kind, standing},
    hash::sha256,
    redact,
};

/// What stands in `prev` of the first event.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The open log of a run. One process at a time may hold it.
///
/// The chain shows that lines were neither changed nor taken out of the middle. That the end was not cut off shows only
/// a comparison of [`Log::head`] with a head kept elsewhere.
pub struct Log {
    path: PathBuf,
    store: Box<dyn Store>,
    /// Number of the next event.
    seq: u64,
    /// Hash of the last line.
    head: String,
    /// Bytes of whole lines; everything after them is dropped.
    len: u64,
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Opening, reading or writing failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No space is left; the log holds every event up to the one that did not fit.
    #[error("{}: the disk is full; the run is recorded up to event {}: free some space and start again", .path.display(), .events)]
    Full {
        /// The log.
        path: PathBuf,
        /// Events that the log holds.
        events: u64,
    },
    /// A line is not what was written.
    #[error("{}: the log is damaged at line {}: {}; what stands before it can be trusted", .path.display(), .at.line, .at.why)]
    Broken {
        /// The log.
        path: PathBuf,
        /// Where and why.
        at: Break,
    },
    /// Another process holds the log.
    #[error("{}: another process is writing this run; wait for it to end", .0.display())]
    Busy(PathBuf),
    /// A run that goes on comes to something else than its log holds.
    #[error("the run does not go on from its log: next is {was} there, and {now} here; start a new run instead")]
    Diverged {
        /// What the log holds.
        was: &'static str,
        /// What would happen now.
        now: &'static str,
    },
    /// An event would not survive being read back, for example because a number in it is not finite.
    #[error("event {seq} cannot be recorded: {why}")]
    Unwritable {
        /// The number that it would have had.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// The place at which a log stops being what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// What a log says.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The events that count, up to the break where there is one; without the line before it, where that may be the changed
    /// one, and without those that the user took back.
    pub events: Vec<Event>,
    /// Events that were written, those that do not count included.
    pub written: u64,
    /// Hash of the last line of `events`.
    pub head: String,
    /// Bytes of a last line that was being written when the process died.
    pub torn: usize,
    /// Where the chain breaks.
    pub broken: Option<Break>,
}

impl Log {
    /// Starts the log of a new run; `path` must not exist.
    pub fn create(path: &Path) -> Result<Log, LogError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(io_error(path))?;
        lock(&file, path)?;
        // A new file outlives a power cut only once its directory is on the disk too. Some file systems cannot do that,
        // which is no reason not to run.
        let _ = path.parent().map(|dir| File::open(dir).and_then(|dir| dir.sync_all()));
        Ok(Log { path: path.into(), store: Box::new(file), seq: 0, head: GENESIS.into(), len: 0 })
    }

    /// Opens a log to write on; drops a torn last line and refuses a log whose chain is broken.
    pub fn open(path: &Path) -> Result<Log, LogError> {
        let mut file = OpenOptions::new().append(true).open(path).map_err(io_error(path))?;
        lock(&file, path)?;
        let bytes = std::fs::read(path).map_err(io_error(path))?;
        let history = parse(&bytes);
        if let Some(at) = history.broken {
            return Err(LogError::Broken { path: path.into(), at });
        }
        let len = (bytes.len() - history.torn) as u64;
        if history.torn > 0 {
            file.cut(len).map_err(io_error(path))?;
        }
        let seq = history.written;
        Ok(Log { path: path.into(), store: Box::new(file), seq, head: history.head, len })
    }

    /// Appends one event and hands it to the system; [`Log::sync`] makes it last.
    ///
    /// After an error the log ends with the event before and may be appended to again.
    pub fn append(&mut self, kind: Kind, at: Timestamp) -> Result<Event, LogError> {
        // What is hashed is what is kept, so secrets are taken out before.
        let kind = redact::record(kind).map_err(|why| LogError::Unwritable { seq: self.seq, why })?;
        let event = Event { seq: self.seq, at, prev: self.head.clone(), kind };
        let mut line = write_line(&event).map_err(|why| LogError::Unwritable { seq: self.seq, why })?;
        let head = sha256(line.as_bytes());
        line.push('\n');
        if let Err(error) = self.store.put(line.as_bytes()) {
            // Half a line may have been written. Making a file shorter needs no space; if even that fails, readers drop
            // the half line as torn.
            let _ = self.store.cut(self.len);
            return Err(self.failed(error));
        }
        self.seq += 1;
        self.len += line.len() as u64;
        self.head = head;
        Ok(event)
    }

    /// Waits until everything appended is on the disk; to be called once per finished step.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.store.sync().map_err(|error| self.failed(error))
    }

    /// Number of the next event.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Hash of the last line: whoever keeps it can tell later that nothing was cut off.
    pub fn head(&self) -> &str {
        &self.head
    }

    fn failed(&self, error: io::Error) -> LogError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Full { path, events: self.seq },
            _ => LogError::Io { path, error },
        }
    }
}

/// Reads the events of a log without changing it; a torn last line is left out, a broken chain is an error.
pub fn read(path: &Path) -> Result<Vec<Event>, LogError> {
    let history = scan(path)?;
    match history.broken {
        Some(at) => Err(LogError::Broken { path: path.into(), at }),
        None => Ok(history.events),
    }
}

/// Reads as much of a log as can be trusted and says what is wrong with the rest.
pub fn scan(path: &Path) -> Result<History, LogError> {
    Ok(parse(&std::fs::read(path).map_err(io_error(path))?))
}

/// Whether some process has this log open to write on, which ends with that process however it dies.
pub fn in_use(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn parse(bytes: &[u8]) -> History {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let torn = bytes.len() - whole;
    let mut history = History { events: Vec::new(), written: 0, head: GENESIS.into(), torn, broken: None };
    let lines = bytes[..whole].split_inclusive(|&b| b == b'\n');
    let mut before = GENESIS.to_owned();
    for (n, line) in lines.enumerate() {
        let line = &line[..line.len() - 1];
        match read_line(line, n as u64, &history.head) {
            Ok(event) => {
                history.events.push(event);
                before = std::mem::replace(&mut history.head, sha256(line));
            }
            Err(Wrong { why, chain }) => {
                // Either line may be the changed one, so neither is believed.
                if chain && history.events.pop().is_some() {
                    history.head = before;
                }
                history.broken = Some(Break { line: n + 1, why });
                break;
            }
        }
    }
    history.written = history.events.len() as u64;
    history.events = standing(history.events);
    history
}

/// What is wrong with a line, and whether the line before may be to blame.
struct Wrong {
    why: String,
    chain: bool,
}

fn read_line(line: &[u8], seq: u64, prev: &str) -> Result<Event, Wrong> {
    let unknown = |e| Wrong { why: format!("it is not an event that this version knows ({e})"), chain: false };
    let event: Event = serde_json::from_slice(line).map_err(unknown)?;
    if event.prev != prev {
        let why = "it does not follow from the line before, so one of the two was changed".into();
        return Err(Wrong { why, chain: true });
    }
    if event.seq != seq {
        return Err(Wrong { why: format!("it is numbered {} instead of {seq}", event.seq), chain: false });
    }
    Ok(event)
}

/// The line of an event, after making sure that it can be read back: JSON has no infinities, and a log that its own
/// reader refuses would lose the whole run.
fn write_line(event: &Event) -> Result<String, String> {
    let line = serde_json::to_string(event).map_err(|e| e.to_string())?;
    match serde_json::from_str::<Event>(&line) {
        Ok(_) => Ok(line),
        Err(e) => Err(format!("it does not read back ({e}); a number in it is probably not finite")),
    }
}

fn lock(file: &File, path: &Path) -> Result<(), LogError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(LogError::Busy(path.into())),
        // Some network file systems know no locks; a run there is as good as any other.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> LogError {
    move |error| LogError::Io { path: path.into(), error }
}

/// What a log is kept in: a file, or in tests something that fails on purpose.
trait Store: Send {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Store for File {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests;
