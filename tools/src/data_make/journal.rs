//! What was asked and answered: on the disk before anything is made of it, so that no answer is paid for twice.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tunesmith_harness::{ask::Answer, run::append_line};

use super::{MADE, purse::Cost, write::JOURNAL};
use crate::files::{open_regular, read_small};

/// Largest journal that is read, in bytes: its answers are held.
const MOST_BYTES: u64 = 2 << 30;
const VERSION: u32 = 1;

/// What the answers in a journal depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub data_make: u32,
    /// Hash of the spec, with the seed rows in it.
    pub spec: String,
    /// Hashes of the files that it names.
    pub inputs: Vec<String>,
    /// Who is asked for rows, and who judges them.
    pub teacher: Option<String>,
    /// See `teacher`.
    pub judge: Option<String>,
}

impl Header {
    /// The header of a journal.
    pub fn new(spec: String, inputs: Vec<String>, teacher: Option<String>, judge: Option<String>) -> Header {
        Header { data_make: VERSION, spec, inputs, teacher, judge }
    }
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was answered.
    Answer(Answer),
    /// The model would not answer.
    Declined(String),
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first.
    Begun(Header),
    /// This question is asked now, at no more than this.
    Asking { id: String, most: Cost },
    /// It was not asked after all, and cost nothing.
    Unasked { id: String },
    /// A question's reply, and what it took.
    Replied { id: String, reply: Reply, cost: Cost },
    /// What a program said of a row; nothing is wrong with one that it accepts.
    Checked { id: String, wrong: Option<String> },
}

/// The journal of one making. While it is open, no other process can open it.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    state: State,
    /// What the replies took that arrived since it was opened.
    pub now: Cost,
}

/// What the lines amount to.
#[derive(Default)]
struct State {
    begun: Option<Header>,
    /// What those questions can have taken, each time that they were asked, which have no reply.
    asked: HashMap<String, Vec<Cost>>,
    replies: HashMap<String, Reply>,
    checks: HashMap<String, Option<String>>,
    spent: Spent,
}

/// What was spent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// On replies.
    pub kept: Cost,
    /// At most, on questions whose reply never arrived whole: it broke off, or the process that asked them died.
    pub lost: Cost,
}

impl Spent {
    /// Both together.
    pub fn all(self) -> Cost {
        self.kept.plus(self.lost)
    }
}

impl Default for Spent {
    fn default() -> Self {
        Spent { kept: Cost::NONE, lost: Cost::NONE }
    }
}

/// Why a journal cannot be used, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Opening, reading or writing failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A line that nobody here wrote.
    #[error("{}: line {line} is damaged ({why}); remove the directory to begin anew", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It belongs to something else.
    #[error("{}: was begun with another {what}; name another directory, or go back to that", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// Another process writes it.
    #[error("{}: another process is making this data set; wait for it to end", .0.display())]
    Busy(PathBuf),
}

impl Journal {
    /// Opens a journal that depends on `header`, or begins one. A last line that was not finished is dropped.
    pub fn open(path: &Path, header: &Header) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io { path: path.into(), error };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        // A job of an earlier step may have put a link or a pipe in its place.
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.cast_signed());
        }
        let file = options.open(path).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(JournalError::Busy(path.into()));
        }
        let text = read_small(path, MOST_BYTES).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let mut journal =
            Journal { path: path.into(), file, len: whole as u64, state: State::default(), now: Cost::NONE };
        journal.file.set_len(journal.len).map_err(failed)?;
        for (at, line) in text[..whole].lines().enumerate() {
            let damaged = |why: String| JournalError::Damaged { path: path.into(), line: at + 1, why };
            let line: Line = serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
            if matches!(line, Line::Begun(_)) != (at == 0) {
                return Err(damaged("it does not belong there".into()));
            }
            journal.state.take(line);
        }
        match &journal.state.begun {
            None => journal.write(Line::Begun(header.clone()))?,
            Some(begun) => {
                let differs = [
                    ("version of Tunesmith", begun.data_make != header.data_make),
                    ("spec", begun.spec != header.spec),
                    ("content of a file that the spec names", begun.inputs != header.inputs),
                    ("--teacher", begun.teacher != header.teacher),
                    ("--judge", begun.judge != header.judge),
                ];
                if let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) {
                    return Err(JournalError::Other { path: path.into(), what });
                }
            }
        }
        Ok(journal)
    }

    /// The reply to a question, if it is known.
    pub fn reply(&self, id: &str) -> Option<&Reply> {
        self.state.replies.get(id)
    }

    /// What a program said of a row, if it was asked.
    pub fn check(&self, id: &str) -> Option<&Option<String>> {
        self.state.checks.get(id)
    }

    /// What was spent so far, with what is under way. It is no part of what is made: what was lost depends on when a process
    /// died.
    pub fn spent(&self) -> Spent {
        self.state.all_spent()
    }

    /// This question is about to be asked.
    pub fn asking(&mut self, id: String, most: Cost) -> Result<(), JournalError> {
        self.write(Line::Asking { id, most })
    }

    /// It was not asked after all.
    pub fn unasked(&mut self, id: String) -> Result<(), JournalError> {
        self.write(Line::Unasked { id })
    }

    /// Keeps a reply: once this returns it is on the disk, and if it does not, nothing of it is.
    pub fn replied(&mut self, id: String, reply: Reply, cost: Cost) -> Result<(), JournalError> {
        self.write(Line::Replied { id, reply, cost })?;
        self.now = self.now.plus(cost);
        Ok(())
    }

    /// Keeps what a program said of a row.
    pub fn checked(&mut self, id: String, wrong: Option<String>) -> Result<(), JournalError> {
        self.write(Line::Checked { id, wrong })
    }

    fn write(&mut self, line: Line) -> Result<(), JournalError> {
        append_line(&mut self.file, &mut self.len, &line)
            .map_err(|error| JournalError::Io { path: self.path.clone(), error })?;
        self.state.take(line);
        Ok(())
    }
}

/// What was spent on all data sets that the tool makes in `dir`, with what a kill has lost, as their journals have it. Whatever
/// is no journal says nothing.
pub fn spent_in(dir: &Path) -> Cost {
    let journals = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| {
        let made = entry.file_name().to_string_lossy().starts_with(MADE) && entry.file_type().ok()?.is_dir();
        made.then(|| entry.path().join(JOURNAL))
    });
    journals.filter_map(|path| open_regular(&path).ok()).fold(Cost::NONE, |sum, file| {
        let lines = BufReader::new(file.take(MOST_BYTES)).split(b'\n').map_while(Result::ok);
        let mut state = State::default();
        lines.map_while(|line| serde_json::from_slice(&line).ok()).for_each(|line| {
            state.take(line);
            // What was said is not needed here.
            state.replies.clear();
        });
        sum.plus(state.all_spent().all())
    })
}

impl State {
    fn all_spent(&self) -> Spent {
        let lost = self.asked.values().flatten().copied().fold(Cost::NONE, Cost::plus);
        Spent { lost, ..self.spent }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Begun(header) => self.begun = Some(header),
            Line::Asking { id, most } => self.asked.entry(id).or_default().push(most),
            Line::Unasked { id } => self.answered(&id),
            Line::Replied { id, reply, cost } => {
                self.answered(&id);
                self.spent.kept = self.spent.kept.plus(cost);
                self.replies.insert(id, reply);
            }
            Line::Checked { id, wrong } => drop(self.checks.insert(id, wrong)),
        }
    }

    /// The last time that this question was asked is accounted for.
    fn answered(&mut self, id: &str) {
        if let Some(asked) = self.asked.get_mut(id) {
            asked.pop();
            if asked.is_empty() {
                self.asked.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(teacher: &str) -> Header {
        Header::new("spec".into(), Vec::new(), Some(teacher.into()), None)
    }

    fn cost(tokens: u64) -> Cost {
        Cost { questions: 1, tokens, usd: Some(0.5), exact: true }
    }

    #[test]
    fn replies_come_back_and_what_was_lost_counts_as_the_most_it_can_have_been() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let reply = Reply::Answer(Answer { text: "a\nb".into(), tokens: Some(7), ..Answer::default() });
        let mut journal = Journal::open(&path, &header("m")).unwrap();
        ["1", "2", "3"].into_iter().for_each(|id| journal.asking(id.into(), cost(100)).unwrap());
        journal.unasked("3".into()).unwrap();
        journal.replied("1".into(), reply.clone(), cost(7)).unwrap();
        journal.checked("row".into(), Some("wrong".into())).unwrap();
        let whole = std::fs::read(&path).unwrap();
        drop(journal);
        std::fs::write(&path, [whole.as_slice(), b"{\"replied\":{\"id\":\"2\""].concat()).unwrap();
        let mut journal = Journal::open(&path, &header("m")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert_eq!((journal.reply("1"), journal.reply("2"), journal.reply("3")), (Some(&reply), None, None));
        assert_eq!(journal.check("row"), Some(&Some("wrong".to_owned())));
        assert_eq!(journal.spent(), Spent { kept: cost(7), lost: cost(100) });
        // Asked again, and answered this time.
        journal.asking("2".into(), cost(100)).unwrap();
        journal.replied("2".into(), Reply::Declined("no".into()), cost(0)).unwrap();
        let Spent { kept, lost } = journal.spent();
        assert_eq!((kept.questions, kept.tokens, lost), (2, 7, cost(100)));
    }

    #[test]
    fn a_journal_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let error = |header: &Header| {
            let error = Journal::open(&path, header).err().map(|error| error.to_string()).unwrap_or_default();
            error.replace(&path.display().to_string(), "j")
        };
        assert_eq!(error(&header("m")), "");
        assert_eq!(
            error(&header("n")),
            "j: was begun with another --teacher; name another directory, or go back to that"
        );
        let other = Header { spec: "other".into(), ..header("m") };
        assert!(error(&other).starts_with("j: was begun with another spec"));
        std::fs::write(&path, "{\"checked\":{\"id\":\"a\",\"wrong\":null}}\n").unwrap();
        assert!(error(&header("m")).starts_with("j: line 1 is damaged (it does not belong there)"));
        std::fs::write(&path, "\u{0}\n").unwrap();
        assert!(error(&header("m")).starts_with("j: line 1 is damaged"));
    }

    #[test]
    #[cfg(unix)]
    fn a_journal_is_a_file_behind_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("mine"), "x").unwrap();
        std::os::unix::fs::symlink(at("mine"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for name in ["link", "pipe", "."] {
            assert!(matches!(Journal::open(&at(name), &header("m")), Err(JournalError::Io { .. })), "{name}");
        }
        assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "x");
    }

    #[test]
    fn two_processes_do_not_make_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let _held = Journal::open(&path, &header("m")).unwrap();
        assert!(matches!(Journal::open(&path, &header("m")), Err(JournalError::Busy(_))));
    }
}
