//! Turns of a run that the user steers: what the workdir was before each, and how the last one is taken back.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tunesmith_harness::{
    event::{Cost, Event, Kind, LOST},
    log::{self, Log},
    run::Run,
};
use tunesmith_tools::files::open_regular;

use super::{Failure, prepare};

/// What was taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// What the user had said.
    pub text: String,
    /// Steps that were taken then.
    pub steps: u32,
    /// Whether the workdir is what it was before; it is not where no copy of it could be kept.
    pub files: bool,
}

/// Keeps the workdir as it is before the turn whose first event has this number.
pub(super) fn keep(run: &Run, seq: u64) -> io::Result<()> {
    let (to, half) = (kept(run, seq), run.before().join(".part"));
    remove(&half)?;
    remove(&to)?;
    fs::create_dir_all(run.before())?;
    copy(&run.work(), &half).inspect_err(|_| drop(remove(&half)))?;
    fs::rename(&half, &to)
}

/// Takes back what the user said last, and all that came of it; `None` where nothing was said after the request.
///
/// What it cost stays spent.
pub fn undo(run: &Run) -> Result<Option<Undone>, Failure> {
    let mut log = Log::open(&run.log())?;
    finish_undoing(run)?;
    let events = log::read(&run.log())?;
    let said = events.iter().enumerate().rev().find_map(|(at, event)| match &event.kind {
        Kind::Instructed { text } => Some((at, text.clone())),
        _ => None,
    });
    let Some((at, text)) = said else { return Ok(None) };
    // A turn begins with its process.
    let began = events[..at].iter().rposition(|event| matches!(event.kind, Kind::Resumed { .. })).unwrap_or(at);
    let (from, turn) = (events[began].seq, &events[began..]);
    let steps = turn.iter().filter(|event| matches!(event.kind, Kind::Called { .. })).count();
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    let files = kept(run, from).is_dir();
    log.append(Kind::Undone { from, steps, cost: cost(turn) }, Timestamp::now())?;
    log.sync()?;
    finish_undoing(run)?;
    Ok(Some(Undone { text, steps, files }))
}

/// Puts the workdir back for turns that were taken back, also where a process died in the middle of it.
pub(super) fn finish_undoing(run: &Run) -> Result<(), Failure> {
    for event in log::read(&run.log())?.iter().rev() {
        let Kind::Undone { from, .. } = event.kind else { continue };
        let before = kept(run, from);
        if before.is_dir() {
            put_back(run, &before).map_err(|error| prepare::unwritten(&run.work(), &error))?;
        }
    }
    Ok(())
}

fn put_back(run: &Run, before: &Path) -> io::Result<()> {
    for entry in fs::read_dir(run.work())? {
        remove(&entry?.path())?;
    }
    copy(before, &run.work())?;
    remove(before)
}

/// Where the workdir is kept as it was before the turn that begins with this event.
fn kept(run: &Run, seq: u64) -> PathBuf {
    run.before().join(seq.to_string())
}

/// What replies, lost replies and the questions of tools cost; unknown where one of them is.
fn cost(turn: &[Event]) -> Cost {
    let nothing = Cost { tokens: Some(0), usd: Some(0.0) };
    turn.iter().fold(nothing, |sum, event| {
        let (tokens, usd) = match &event.kind {
            Kind::Said { tokens, usd, .. } => (*tokens, *usd),
            Kind::Returned { asked: Some(Cost { tokens, usd }), .. } => (*tokens, *usd),
            Kind::Observed { what, value } if what == LOST => (None, value.as_f64()),
            _ => return sum,
        };
        Cost {
            tokens: sum.tokens.zip(tokens).map(|(a, b)| a.saturating_add(b)),
            usd: sum.usd.zip(usd).map(|(a, b)| a + b),
        }
    })
}

/// Copies a directory. What lies in it was written by jobs: links are copied as links, and what is neither a file, a link nor a
/// directory is left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            let mut file = open_regular(&source)?;
            let permissions = file.metadata()?.permissions();
            let mut made = fs::File::create_new(&target)?;
            io::copy(&mut file, &mut made)?;
            made.set_permissions(permissions)?;
        }
    }
    Ok(())
}

/// Removes whatever stands there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
