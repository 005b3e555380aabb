#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::{
    event::Rows,
    grade::{Baselines, Grade, Measured},
    task::{JobKind, Scope},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_785_924_672 + second).unwrap()
}

fn task() -> Task {
    Task {
        request: "Route these messages".into(),
        files: vec!["tickets.csv".into()],
        test: None,
        test_share: None,
        base: None,
        goals: Vec::new(),
        artifacts: Vec::new(),
        max_bytes: None,
        minutes: None,
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        seed: 7,
    }
}

fn measured(value: f64) -> Measured {
    Measured {
        value,
        interval: (0.0, 1.0),
        n: 10,
        exact_match: Some(value),
        format_failures: Some(0.0),
        macro_f1: None,
        field_accuracy: None,
        perplexity: None,
    }
}

/// The events of a whole run.
fn story() -> Vec<Kind> {
    let rows = Rows { read: 10, open: 8, sealed: 2, dropped: 0, templated: 0, near_groups: 0 };
    let scope = Scope {
        base: "nano".into(),
        base_sha256: String::new(),
        data_sha256: String::new(),
        kind: JobKind::Classification,
        input: "text".into(),
        target: "intent".into(),
        answer_after: None,
        method: "lora".into(),
        max_length: 64,
        metric: "accuracy".into(),
    };
    let call = |step| Kind::Called { step, id: "c".into(), tool: "train".into(), args: json!({}) };
    let grade = Grade {
        metric: "accuracy".into(),
        base: measured(0.125),
        tuned: Some(measured(0.875)),
        gain: None,
        baselines: Baselines::default(),
        artifacts: Vec::new(),
        confusion: None,
        errors: Vec::new(),
        unusable: Vec::new(),
        items: vec![(true, Some(false))],
        passages: Vec::new(),
    };
    vec![
        Kind::Started {
            task: task(),
            planner: "playbook".into(),
            version: "0".into(),
            rows,
            layers: Vec::new(),
            inputs: Vec::new(),
            before: None,
        },
        Kind::Scoped { scope },
        call(1),
        call(2),
        Kind::Graded { grade: Box::new(grade), jobs: Vec::new() },
        Kind::Ended { outcome: Outcome::Met, why: "the gain is real".into(), run: "r".into() },
    ]
}

/// A run whose log holds the first `events` of the story.
fn run_of(runs: &Path, name: &str, events: usize) -> Run {
    let run = Run::create(runs, name, at(0)).unwrap();
    let mut log = run.create_log().unwrap();
    story().into_iter().take(events).for_each(|kind| drop(log.append(kind, at(1)).unwrap()));
    run
}

fn manifest() -> Manifest {
    Manifest {
        version: "0.1.0".into(),
        created: at(0),
        task: task(),
        planner: "playbook".into(),
        base: PathBuf::new(),
        device: None,
        layers: vec!["landlock".into()],
        inputs: vec![Input {
            path: "tickets.csv".into(),
            sha256: "ab".into(),
            bytes: 12,
            rows: 3,
            note: None,
            bad_rows: 1,
            bad: vec!["line 3: 1 fields where the header has 2".into()],
        }],
        terms: Some(Terms {
            share: "none".into(),
            approve: "auto".into(),
            allow: vec!["scope".into()],
            sandbox: "on".into(),
        }),
        hashes: BTreeMap::from([("base".into(), "cd".into())]),
    }
}

#[test]
fn a_new_run_has_its_name_its_parts_and_a_closed_sealed_part() {
    let root = tempfile::tempdir().unwrap();
    let runs = root.path().join("deep/runs");
    let names: Vec<String> = (0..3)
        .map(|_| Run::create(&runs, "Route: these\nmessages/../!", at(0)).unwrap())
        .map(|run| run.dir().file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let stem = "20260805T101112Z-route-these-messages";
    assert_eq!(names, [stem.to_owned(), format!("{stem}-2"), format!("{stem}-3")]);
    let run = Run { dir: runs.join(stem).canonicalize().unwrap() };
    assert!(run.base().is_dir() && run.work().is_dir());
    assert_eq!(fs::metadata(run.sealed()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_manifest_reads_back_and_is_replaced_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::create(root.path(), "x", at(0)).unwrap();
    run.write_manifest(&manifest()).unwrap();
    let mut second = manifest();
    second.device = Some("cpu, 2 cores".into());
    run.write_manifest(&second).unwrap();
    assert_eq!(run.manifest().unwrap(), second);
    let mut files: Vec<_> = fs::read_dir(run.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["base", "run.json", "sealed", "work"]);
    fs::write(run.dir().join("run.json"), "{").unwrap();
    assert!(matches!(run.manifest(), Err(RunError::Manifest { .. })));
}

#[test]
fn only_what_a_run_made_opens_as_one() {
    let root = tempfile::tempdir().unwrap();
    let run = run_of(root.path(), "x", 1);
    assert_eq!(Run::open(run.dir()).unwrap(), run);
    assert!(matches!(Run::open(root.path()), Err(RunError::NotARun(_))));
    assert!(matches!(Run::open(&root.path().join("none")), Err(RunError::Io { .. })));
}

#[test]
fn a_place_that_cannot_hold_runs_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Run::create(&file.join("runs"), "x", at(0)).unwrap_err().to_string();
    assert!(error.contains("file/runs: "), "{error}");
}

#[test]
fn a_list_tells_finished_killed_running_and_damaged_runs_apart() {
    let root = tempfile::tempdir().unwrap();
    let whole = run_of(root.path(), "a whole run", 6);
    let killed = run_of(root.path(), "b killed", 3);
    let text = fs::read_to_string(killed.log()).unwrap();
    fs::write(killed.log(), format!("{text}{{\"seq\":3,\"at\":\"20")).unwrap();
    let running = run_of(root.path(), "c running", 2);
    let _held = Log::open(&running.log()).unwrap();
    let damaged = run_of(root.path(), "d damaged", 6);
    let text = fs::read_to_string(damaged.log()).unwrap();
    fs::write(damaged.log(), text.replace("\"tuned\":{\"value\":0.875", "\"tuned\":{\"value\":0.999")).unwrap();
    let bare = Run::create(root.path(), "e bare", at(0)).unwrap();
    bare.write_manifest(&manifest()).unwrap();
    fs::create_dir(root.path().join("not a run")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();

    let unfinished = |run: &Run, steps| Summary {
        dir: run.dir().into(),
        started: Some(at(1)),
        request: Some("Route these messages".into()),
        outcome: None,
        why: None,
        metric: Some("accuracy".into()),
        base: None,
        tuned: None,
        steps,
        running: false,
        problem: None,
    };
    let list = Run::list(root.path()).unwrap();
    assert_eq!(list.len(), 5);
    let finished = Summary {
        outcome: Some(Outcome::Met),
        why: Some("the gain is real".into()),
        base: Some(0.125),
        tuned: Some(0.875),
        ..unfinished(&whole, 2)
    };
    assert_eq!(list[0], finished);
    assert_eq!(list[1], unfinished(&killed, 1));
    assert_eq!(list[2], Summary { running: true, ..unfinished(&running, 0) });
    // The changed grade is line 5; that it was changed shows at the line after it.
    let problem = list[3].problem.as_ref().unwrap();
    assert!(problem.contains("damaged at line 6"), "{problem}");
    assert_eq!((list[3].outcome, list[3].tuned), (None, None));
    assert_eq!((list[4].started, list[4].problem.is_some()), (None, true));
}

#[test]
fn no_runs_are_no_error() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(Run::list(&root.path().join("none")).unwrap(), []);
    assert_eq!(Run::list(root.path()).unwrap(), []);
}
