//! Whole runs of the binary that a script plans: what several tests lay out and look at alike.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use tunesmith_harness::{
    event::{Event, Kind},
    log,
    run::Run,
    task::Outcome,
};

use crate::cli::{Said, base, command, tickets};

/// A directory with rows and a script.
pub struct Scripts {
    pub dir: tempfile::TempDir,
}

impl Scripts {
    /// One turn for each call.
    pub fn new(calls: &[(&str, Value)]) -> Self {
        Scripts::with_rows(calls, &tickets(40))
    }

    pub fn with_rows(calls: &[(&str, Value)], rows: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let turn = |(at, (name, arguments)): (usize, &(&str, Value))| {
            json!({"text": "", "calls": [{"id": at.to_string(), "name": name, "arguments": arguments}]}).to_string()
        };
        let script: Vec<String> = calls.iter().enumerate().map(turn).collect();
        fs::write(dir.path().join("script.jsonl"), script.join("\n")).unwrap();
        fs::write(dir.path().join("rows.csv"), rows).unwrap();
        Scripts { dir }
    }

    /// A run that the script plans, on the small base, unless `more` names others.
    pub fn command(&self, more: &[&str]) -> Command {
        let base = base().to_str().unwrap();
        let usual = [
            ("--file", "rows.csv"),
            ("--base", base),
            ("--approve", "auto"),
            ("--share", "samples"),
            ("--planner", "scripted:script.jsonl"),
        ];
        let usual = usual.into_iter().filter(|(flag, _)| !more.contains(flag));
        let all: Vec<&str> = ["run", "Learn these rows."]
            .into_iter()
            .chain(usual.flat_map(|(flag, value)| [flag, value]))
            .chain(more.iter().copied())
            .collect();
        command(self.dir.path(), &all)
    }

    pub fn run(&self, more: &[&str]) -> Said {
        self.command(more).output().unwrap().into()
    }

    pub fn resume(&self, more: &[&str]) -> Said {
        let run = self.path();
        let all: Vec<&str> = ["resume", run.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
        command(self.dir.path(), &all).output().unwrap().into()
    }

    /// The only run.
    pub fn path(&self) -> PathBuf {
        let mut runs = Run::list(&self.dir.path().join("runs")).unwrap();
        assert_eq!(runs.len(), 1);
        runs.remove(0).dir
    }

    pub fn events(&self) -> Vec<Event> {
        log::read(&self.path().join("events.jsonl")).unwrap()
    }

    pub fn end(&self) -> (Outcome, String) {
        match self.events().pop().unwrap().kind {
            Kind::Ended { outcome, why, .. } => (outcome, why),
            other => panic!("{other:?}"),
        }
    }
}

/// What the rows of [`tickets`] are.
pub fn columns() -> Value {
    json!({"kind": "classification", "input": "text", "target": "intent", "max_length": 128})
}

/// A plan for them.
pub fn plan() -> Value {
    let mut plan = columns();
    plan["metric"] = "accuracy".into();
    plan["why"] = "each message has one intent".into();
    plan
}
