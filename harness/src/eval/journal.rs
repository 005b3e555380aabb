//! Answers that survive: every batch of answers is on the disk before anything is made of it.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::request::{Request, Response};
use crate::{hash::sha256, rows::not_a_file, run::append_line};

/// The largest journal that is read, in bytes: its answers are held in memory.
const MOST_BYTES: u64 = 2 << 30;

/// What names a request: the SHA-256 of its text and of the number of its repetition.
pub fn key(request: &Request, repeat: usize) -> String {
    // A request is strings and finite numbers, which always can be written.
    let text = serde_json::to_string(&(request, repeat)).unwrap_or_default();
    sha256(text.as_bytes())
}

/// The answers of one model, kept in a file: one batch a line, each line whole or not there.
///
/// It serves as the journal of an evaluation and, shared by many, as a cache.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    answers: HashMap<String, Response>,
}

/// Why answers cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Opening, reading or writing failed.
    #[error("{}: {error}{}", .path.display(), advice(.error))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A line that nobody here wrote.
    #[error("{}: line {line} is damaged ({why}); remove the file to ask the model again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The answers of something else.
    #[error("{}: holds answers of another model ({found}); choose another place or remove the file", .path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Whose answers they are.
        found: String,
    },
    /// Another process writes it.
    #[error("{}: another process is writing these answers; wait for it to end, or name another place", .0.display())]
    Busy(PathBuf),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and go on with --resume",
        _ => "",
    }
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Version of the format.
    answers: u32,
    /// Fingerprint of the model that gave them.
    model: String,
}

const VERSION: u32 = 1;

impl Journal {
    /// Opens the answers of a model, or starts them. A last line that was not finished is dropped.
    pub fn open(path: &Path, model: &str) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io { path: path.into(), error };
        if let Some(what) = not_a_file(path) {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, format!("{what}, not a file"))));
        }
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(JournalError::Busy(path.into()));
        }
        let bytes = read(path).map_err(failed)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut journal = Journal { path: path.into(), file, len: whole as u64, answers: HashMap::new() };
        journal.file.set_len(journal.len).map_err(failed)?;
        match parse(path, &bytes[..whole])? {
            Some((found, answers)) if found == model => journal.answers = answers,
            Some((found, _)) => return Err(JournalError::OtherModel { path: path.into(), found }),
            None => journal.write(&Header { answers: VERSION, model: model.into() })?,
        }
        Ok(journal)
    }

    /// Reads the answers in a file without changing it, and whose they are.
    pub fn read(path: &Path) -> Result<(String, HashMap<String, Response>), JournalError> {
        let failed = |error| JournalError::Io { path: path.into(), error };
        let bytes = read(path).map_err(failed)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        parse(path, &bytes[..whole])?.ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidData, "it is empty")))
    }

    /// The answer to the request of this key, if it is known.
    pub fn get(&self, key: &str) -> Option<&Response> {
        self.answers.get(key)
    }

    /// All answers by key.
    pub fn answers(&self) -> &HashMap<String, Response> {
        &self.answers
    }

    /// Keeps a batch: once this returns it is on the disk, and if it does not, nothing of it is.
    pub fn append(&mut self, batch: Vec<(String, Response)>) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.write(&batch)?;
        self.answers.extend(batch);
        Ok(())
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        append_line(&mut self.file, &mut self.len, line)
            .map_err(|error| JournalError::Io { path: self.path.clone(), error })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if let Some(what) = not_a_file(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{what}, not a file")));
    }
    let bytes = std::fs::metadata(path)?.len();
    if bytes > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large to be a journal"));
    }
    std::fs::read(path)
}

type Answers = (String, HashMap<String, Response>);

/// The model and its answers; nothing in an empty file.
fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Answers>, JournalError> {
    let damaged = |line: usize, why: String| JournalError::Damaged { path: path.into(), line: line + 1, why };
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').enumerate();
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let header: Header = serde_json::from_slice(first).map_err(|error| damaged(0, error.to_string()))?;
    if header.answers != VERSION {
        return Err(damaged(0, format!("version {} is not read", header.answers)));
    }
    let mut answers = HashMap::new();
    for (at, line) in lines {
        let batch: Vec<(String, Response)> =
            serde_json::from_slice(line).map_err(|error| damaged(at, error.to_string()))?;
        answers.extend(batch);
    }
    Ok(Some((header.model, answers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sum: f64) -> Response {
        Response::Loglikelihood { sum, greedy: false }
    }

    #[test]
    fn answers_come_back_bit_for_bit_and_a_torn_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        let values = [0.1 + 0.2, -1e300, f64::NEG_INFINITY, f64::NAN, -0.0];
        let mut journal = Journal::open(&path, "m").unwrap();
        journal.append(values.iter().enumerate().map(|(i, v)| (i.to_string(), answer(*v))).collect()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        drop(journal);
        std::fs::write(&path, [whole.as_slice(), b"[[\"9\",{\"rol"].concat()).unwrap();
        let mut journal = Journal::open(&path, "m").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        for (i, value) in values.iter().enumerate() {
            let Some(Response::Loglikelihood { sum, .. }) = journal.get(&i.to_string()) else { panic!("{i} is lost") };
            assert!(sum.to_bits() == value.to_bits() || sum.is_nan() && value.is_nan(), "{value}");
        }
        assert_eq!(journal.get("9"), None);
        journal.append(vec![("9".into(), Response::Text("a\nb".into()))]).unwrap();
        assert_eq!(Journal::read(&path).unwrap().1.len(), 6);
    }

    #[test]
    fn what_is_not_a_journal_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let opened = |text: &str, model: &str| {
            std::fs::write(&path, text).unwrap();
            Journal::open(&path, model).err().map(|e| e.to_string().replace(&path.display().to_string(), "a"))
        };
        let head = "{\"answers\":1,\"model\":\"m\"}\n";
        assert_eq!(opened(head, "m"), None);
        let other = "a: holds answers of another model (m); choose another place or remove the file";
        assert_eq!(opened(head, "n").as_deref(), Some(other));
        assert!(opened("{\"answers\":2,\"model\":\"m\"}\n", "m").unwrap().contains("version 2 is not read"));
        assert!(opened(&format!("{head}[[1]]\n"), "m").unwrap().starts_with("a: line 2 is damaged (invalid type"));
        assert!(opened("\u{0}\n", "m").unwrap().starts_with("a: line 1 is damaged"));
        assert!(Journal::open(dir.path(), "m").err().unwrap().to_string().contains("not a file"));
    }

    #[test]
    fn two_processes_do_not_write_the_same_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let _held = Journal::open(&path, "m").unwrap();
        assert!(matches!(Journal::open(&path, "m"), Err(JournalError::Busy(_))));
    }

    #[test]
    fn requests_are_told_apart_by_all_they_say() {
        let request = |context: &str, continuation: &str| Request::Loglikelihood {
            context: context.into(),
            continuation: continuation.into(),
        };
        let keys = [
            key(&request("a", "b"), 0),
            key(&request("ab", ""), 0),
            key(&request("", "ab"), 0),
            key(&request("a", "b"), 1),
            key(&Request::LoglikelihoodRolling { text: "a".into() }, 0),
        ];
        let distinct: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
