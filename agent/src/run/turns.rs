//! Turns of a run that the user steers: what the workdir was before each, and how the last one is taken back.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tunesmith_harness::{
    event::{Cost, Event, Kind, paid, seconds_used},
    figures::bytes,
    log::{self, Log},
    run::Run,
};
use tunesmith_tools::files::open_regular;

use super::{Failure, beat, prepare, resume};
use crate::read_output;

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

/// Bytes of a workdir that is copied: more would keep the user waiting.
const LARGEST: u64 = 2 << 30;

/// Turns that can be taken back, the last ones: each takes a copy of the workdir.
const TURNS: usize = 3;

/// Keeps the workdir as it is before the turn whose first event has this number, in a run's directory that may hold `most` bytes.
pub(super) fn keep(run: &Run, seq: u64, most: u64) -> io::Result<()> {
    let names = fs::read_dir(run.before()).into_iter().flatten().flatten();
    let mut turns: Vec<u64> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    turns.sort_unstable();
    turns.iter().rev().skip(TURNS - 1).try_for_each(|turn| remove(&kept(run, *turn)))?;
    // Holes of a file are filled in its copy. Half of what is left stays with the run.
    let size = length(&run.work())?;
    if size > (most.saturating_sub(run.bytes()) / 2).min(LARGEST) {
        return Err(io::Error::other(format!("a copy of the workdir would take {}", bytes(size))));
    }
    let (to, half) = (kept(run, seq), run.before().join(".part"));
    remove(&half)?;
    remove(&to)?;
    fs::create_dir_all(run.before())?;
    copy(&run.work(), &half).inspect_err(|_| drop(remove(&half)))?;
    fs::rename(&half, &to)
}

/// Takes back what the user said last, and all that came of it; `None` where nothing was said after the request.
///
/// What it cost stays spent. A run that was graded keeps its result: sealed rows are scored once, and nobody chooses by them.
pub fn undo(run: &Run) -> Result<Option<Undone>, Failure> {
    let mut log = Log::open(&run.log())?;
    let events = log::read(&run.log())?;
    finish_undoing(run, &events)?;
    let said = events.iter().enumerate().rev().find_map(|(at, event)| match &event.kind {
        Kind::Instructed { text } => Some((at, text.clone())),
        _ => None,
    });
    let Some((at, text)) = said else { return Ok(None) };
    if events.iter().any(|event| matches!(event.kind, Kind::Graded { .. })) {
        return Err(Failure::new(
            2,
            "the run was graded on its sealed rows, so nothing of it is taken back; start another",
        ));
    }
    // A turn begins with its process.
    let began = events[..at].iter().rposition(|event| matches!(event.kind, Kind::Resumed { .. })).unwrap_or(at);
    let (from, turn) = (events[began].seq, &events[began..]);
    let steps = turn.iter().filter(|event| matches!(event.kind, Kind::Called { .. })).count();
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    let files = is_kept(run, &kept(run, from));
    // Steps to come have the same numbers.
    for step in
        turn.iter().filter_map(|event| if let Kind::Called { step, .. } = event.kind { Some(step) } else { None })
    {
        read_output::forget(&run.outputs(), step).map_err(|error| prepare::unwritten(&run.outputs(), &error))?;
    }
    let used = resume::used(&events, beat::last_seen(run)) - seconds_used(&events[..began]) - undone_before(turn);
    let undone = log.append(Kind::Undone { from, steps, cost: cost(turn), used: used.max(0.0) }, Timestamp::now())?;
    log.sync()?;
    finish_undoing(run, &[undone])?;
    Ok(Some(Undone { text, steps, files }))
}

/// Puts the workdir back for turns that these events say were taken back, also where a process died in the middle of it.
pub(super) fn finish_undoing(run: &Run, events: &[Event]) -> Result<(), Failure> {
    for event in events.iter().rev() {
        let Kind::Undone { from, .. } = event.kind else { continue };
        let before = kept(run, from);
        if is_kept(run, &before) {
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
    // Half removed, it would be put back again.
    let gone = run.before().join(".gone");
    remove(&gone)?;
    fs::rename(before, &gone)?;
    remove(&gone)
}

/// Where the workdir is kept as it was before the turn that begins with this event.
fn kept(run: &Run, seq: u64) -> PathBuf {
    run.before().join(seq.to_string())
}

/// Whether a copy is there, and in its own place: a link must not lead to other files.
fn is_kept(run: &Run, before: &Path) -> bool {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    is_dir(&run.before()) && is_dir(&run.work()) && is_dir(before)
}

/// What replies, lost replies and the questions of tools cost; unknown where one of them is. What was taken back before has an
/// event of its own, which stands.
fn cost(turn: &[Event]) -> Cost {
    let counts = turn.iter().filter(|event| !matches!(event.kind, Kind::Undone { .. }));
    counts.filter_map(|event| paid(&event.kind)).fold(Cost::NOTHING, |sum, more| Cost {
        tokens: sum.tokens.zip(more.tokens).map(|(a, b)| a.saturating_add(b)),
        usd: sum.usd.zip(more.usd).map(|(a, b)| a + b),
    })
}

/// Seconds of the turns in this one that were taken back before.
fn undone_before(turn: &[Event]) -> f64 {
    let used = |event: &Event| if let Kind::Undone { used, .. } = event.kind { used } else { 0.0 };
    turn.iter().map(used).sum()
}

/// Bytes of all files in a directory.
fn length(dir: &Path) -> io::Result<u64> {
    fs::read_dir(dir)?.try_fold(0u64, |sum, entry| {
        let entry = entry?;
        let found = entry.metadata()?;
        let more = if found.is_dir() { length(&entry.path())? } else { found.len() };
        Ok(sum.saturating_add(more))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn put(run: &Run, name: &str, text: &str) {
        let path = run.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Every file with what it holds, and every link with where it leads.
    fn files(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().into_string().unwrap();
            if kind.is_dir() {
                found.extend(files(&path).into_iter().map(|(inner, text)| (format!("{name}/{inner}"), text)));
            } else if kind.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn log_of(run: &Run, kinds: Vec<Kind>) {
        let mut log = run.create_log().unwrap();
        kinds.into_iter().for_each(|kind| drop(log.append(kind, Timestamp::now()).unwrap()));
    }

    fn resumed() -> Kind {
        Kind::Resumed { version: "1".into(), used: 0.0, task: None, terms: None, lost: None }
    }

    fn instructed(text: &str) -> Kind {
        Kind::Instructed { text: text.into() }
    }

    fn called(step: u32) -> Kind {
        Kind::Called { step, id: "c".into(), tool: "train".into(), args: serde_json::Value::Null }
    }

    #[test]
    fn a_turn_is_taken_back_with_its_files_and_paid_for() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        put(&run, "data/train.jsonl", "rows");
        put(&run, "kept", "old");
        symlink("/etc/hostname", run.work().join("link")).unwrap();
        let said = |usd| Kind::words("w", Some(5), usd);
        // What a guard says begins no turn.
        let guard = || Kind::Told { step: None, content: "Call a tool.".into() };
        log_of(
            &run,
            vec![
                said(Some(1.0)),
                guard(),
                resumed(),
                instructed("first"),
                called(1),
                guard(),
                said(Some(0.5)),
                called(2),
            ],
        );
        let before = files(&run.work());
        keep(&run, 2, u64::MAX).unwrap();
        put(&run, "kept", "new");
        put(&run, "adapters/a/model", "weights");
        fs::remove_file(run.work().join("data/train.jsonl")).unwrap();

        let undone = undo(&run).unwrap();
        assert_eq!(undone, Some(Undone { text: "first".into(), steps: 2, files: true }));
        assert_eq!(files(&run.work()), before);
        assert_eq!(files(&run.before()), BTreeMap::new());
        let events = log::read(&run.log()).unwrap();
        let cost = Cost { tokens: Some(5), usd: Some(0.5) };
        let Kind::Undone { used, .. } = events.last().unwrap().kind else { panic!("{events:?}") };
        assert_eq!(events.last().unwrap().kind, Kind::Undone { from: 2, steps: 2, cost, used });
        assert_eq!((events.len(), undo(&run).unwrap()), (3, None));
    }

    #[test]
    fn a_run_that_was_graded_keeps_its_result() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        let grade = serde_json::from_value(serde_json::json!({
            "metric": "accuracy", "base": {"value": 0.5, "interval": [0.0, 1.0], "n": 10}, "baselines": {},
            "artifacts": [], "errors": [], "unusable": [], "items": [],
        }));
        log_of(&run, vec![resumed(), instructed("a"), Kind::Graded { grade: grade.unwrap(), jobs: Vec::new() }]);
        let refused = undo(&run).unwrap_err();
        assert_eq!((refused.exit, refused.message.contains("sealed rows")), (2, true), "{}", refused.message);
        assert_eq!(log::read(&run.log()).unwrap().len(), 3);
    }

    #[test]
    fn a_process_that_died_in_the_middle_of_it_is_finished_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        put(&run, "kept", "old");
        keep(&run, 0, u64::MAX).unwrap();
        let cost = Cost { tokens: Some(0), usd: Some(0.0) };
        log_of(&run, vec![resumed(), instructed("a"), Kind::Undone { from: 0, steps: 0, cost, used: 0.0 }]);
        fs::remove_file(run.work().join("kept")).unwrap();
        finish_undoing(&run, &log::read(&run.log()).unwrap()).unwrap();
        assert_eq!(files(&run.work()), BTreeMap::from([("kept".to_owned(), "old".to_owned())]));
    }

    #[test]
    fn an_undo_that_dies_after_it_put_the_files_back_puts_none_back_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        put(&run, "kept", "old");
        keep(&run, 0, u64::MAX).unwrap();
        let cost = Cost { tokens: Some(0), usd: Some(0.0) };
        log_of(&run, vec![resumed(), instructed("a"), Kind::Undone { from: 0, steps: 0, cost, used: 0.0 }]);
        let events = log::read(&run.log()).unwrap();
        finish_undoing(&run, &events).unwrap();
        // What died while it removed the copy left a part of it.
        fs::create_dir_all(run.before().join(".gone/half")).unwrap();
        put(&run, "kept", "newer");
        finish_undoing(&run, &events).unwrap();
        assert_eq!(files(&run.work()), BTreeMap::from([("kept".to_owned(), "newer".to_owned())]));
    }

    #[test]
    fn copies_of_the_last_turns_are_kept_where_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        put(&run, "weights", &"w".repeat(1 << 20));
        (0..5).for_each(|seq| keep(&run, seq * 10, u64::MAX).unwrap());
        let mut left: Vec<_> = fs::read_dir(run.before()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["20", "30", "40"]);
        let refused = keep(&run, 50, 5 << 20).unwrap_err().to_string();
        assert!(refused.starts_with("a copy of the workdir would take 1"), "{refused}");
    }

    #[test]
    fn a_link_in_the_place_of_a_copy_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        put(&run, "kept", "old");
        log_of(&run, vec![resumed(), instructed("a")]);
        fs::create_dir(run.before()).unwrap();
        fs::create_dir(dir.path().join("private")).unwrap();
        symlink(dir.path().join("private"), kept(&run, 0)).unwrap();
        assert_eq!(undo(&run).unwrap(), Some(Undone { text: "a".into(), steps: 0, files: false }));
        assert_eq!(files(&run.work()), BTreeMap::from([("kept".to_owned(), "old".to_owned())]));
    }
}
