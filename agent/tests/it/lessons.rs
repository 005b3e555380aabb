//! Each lesson of the trade is kept: by a type, a gate or a detector, or by both planners.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tunesmith::prompt::{Lesson, lessons};
use tunesmith_lm::train::faults::Fault;

/// What every lesson of the trade that we know of is called here.
const TRADE: [&str; 25] = [
    "stale-memory",
    "known-recipes",
    "look-first",
    "match-columns",
    "check-base",
    "no-silent-swaps",
    "memory",
    "smoke-test",
    "one-job-first",
    "deadline",
    "time",
    "saved",
    "preflight",
    "plain-logs",
    "alerts",
    "one-change",
    "sweep",
    "memory-sizing",
    "read-errors",
    "verify",
    "monitoring",
    "held-out",
    "noise",
    "baselines",
    "adapter-precision",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Whether a source defines an item, a field or a test of this name.
fn defines(source: &str, name: &str) -> bool {
    let words = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"];
    source.lines().any(|line| {
        let mut line = line.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
        line.by_ref().any(|word| words.contains(&word)) && line.next() == Some(name)
    })
}

/// The sources of the playbook, as one text.
fn playbook() -> String {
    fn add(path: PathBuf, text: &mut String) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| add(entry.unwrap().path(), text));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let mut text = fs::read_to_string(root().join("agent/src/playbook.rs")).unwrap();
    add(root().join("agent/src/playbook"), &mut text);
    text
}

/// Whether what is said to keep a lesson is there.
fn stands(keeper: &str) -> bool {
    if let Some(fault) = keeper.strip_prefix("fault:") {
        return Fault::ALL.iter().any(|known| known.name() == fault);
    }
    let (file, name) = keeper.split_once("::").unwrap();
    fs::read_to_string(root().join(file)).is_ok_and(|source| defines(&source, name))
}

#[test]
fn each_lesson_is_enforced_or_told_to_models_and_acted_on_by_the_playbook() {
    let playbook = playbook();
    let wrong = |lesson: &Lesson| -> Vec<String> {
        let missing = lesson.enforced.iter().filter(|keeper| !stands(keeper)).map(|keeper| format!("no {keeper}"));
        let unknown = lesson.playbook.iter().filter(|name| !defines(&playbook, name));
        let unknown = unknown.map(|name| format!("the playbook has no {name}"));
        let kept = !lesson.enforced.is_empty() || lesson.told && !lesson.playbook.is_empty();
        let unkept = (!kept).then(|| "neither enforced nor with both planners".to_owned());
        // What only models are told would make the playbook the worse planner.
        let alone = (lesson.told && lesson.playbook.is_empty()).then(|| "not with the playbook".to_owned());
        let all = missing.chain(unknown).chain(unkept).chain(alone);
        all.map(|why| format!("{}: {why}", lesson.id)).collect()
    };
    let found: Vec<String> = lessons().unwrap().iter().flat_map(wrong).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_lesson_of_the_trade_and_no_silent_failure_is_missing() {
    let lessons = lessons().unwrap();
    let ids: BTreeSet<&str> = lessons.iter().map(|lesson| lesson.id.as_str()).collect();
    assert_eq!(ids.len(), lessons.len(), "each has a name of its own");
    let faults: Vec<String> = Fault::ALL.iter().map(|fault| fault.name().replace('_', "-")).collect();
    let wanted: BTreeSet<&str> = TRADE.into_iter().chain(faults.iter().map(String::as_str)).collect();
    assert_eq!(ids, wanted);
    let detectors = lessons.iter().flat_map(|lesson| &lesson.enforced).filter(|keeper| keeper.starts_with("fault:"));
    let detectors: BTreeSet<String> = detectors.cloned().collect();
    assert_eq!(detectors, Fault::ALL.iter().map(|fault| format!("fault:{}", fault.name())).collect());
}

#[test]
fn what_is_not_there_keeps_nothing() {
    for keeper in ["fault:unknown", "agent/src/steps.rs::no_such_item", "agent/src/nowhere.rs::take"] {
        assert!(!stands(keeper), "{keeper}");
    }
}
