use std::{fs, path::Path};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    event::Rows,
    grade::Measured,
    score::{Score, Verdict},
    task::{Goal, JobKind, Outcome, Scope, Task},
};

fn task() -> Task {
    Task {
        request: "route these messages".into(),
        files: vec!["rows.csv".into()],
        test: None,
        test_share: None,
        base: None,
        goals: vec![Goal::at_least("accuracy", 0.8)],
        artifacts: Vec::new(),
        minutes: Some(10.0),
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        max_bytes: None,
        seed: 1,
    }
}

fn started(task: Task) -> Kind {
    Kind::Started {
        task,
        planner: "playbook".into(),
        version: "0.1.0".into(),
        rows: Rows { read: 100, open: 80, sealed: 20, dropped: 0, templated: 0, near_groups: 0 },
        layers: vec!["files: enforced".into(), "network: enforced".into()],
        before: None,
        inputs: Vec::new(),
    }
}

fn scoped() -> Kind {
    let text = |text: &str| text.to_owned();
    Kind::Scoped {
        scope: Scope {
            base: text("nano"),
            base_sha256: text("b"),
            data_sha256: text("d"),
            kind: JobKind::Classification,
            input: text("text"),
            target: text("label"),
            answer_after: None,
            method: text("lora"),
            max_length: 128,
            metric: text("accuracy"),
        },
    }
}

fn step(number: u32, tool: &str, args: Value, output: Value) -> [Kind; 2] {
    let (id, tool) = (format!("call_{number}"), tool.to_owned());
    let called = Kind::Called { step: number, id: id.clone(), tool: tool.clone(), args };
    let (ok, seconds, jobs, fault, asked) = (true, 1.5, Vec::new(), None, None);
    [called, Kind::Returned { step: number, id, tool, ok, output, seconds, jobs, fault, asked }]
}

fn scored(number: u32, value: f64) -> Kind {
    let why = format!("fell to {value}");
    let score = Score { scorer: "train.loss".into(), value: Some(value), interval: None, verdict: Verdict::Pass, why };
    Kind::Scored { step: Some(number), score }
}

fn measured(right: usize) -> Measured {
    let value = right as f64 / 20.0;
    Measured {
        value,
        interval: (0.0, 1.0),
        n: 20,
        exact_match: Some(value),
        format_failures: Some(0.0),
        macro_f1: None,
        field_accuracy: None,
        perplexity: None,
    }
}

/// The base is right on the first two rows, the tuned model on the first `right`.
fn graded(right: usize) -> Kind {
    let grade = Grade {
        metric: "accuracy".into(),
        base: measured(2),
        tuned: Some(measured(right)),
        gain: None,
        baselines: Default::default(),
        artifacts: Vec::new(),
        confusion: None,
        errors: Vec::new(),
        unusable: Vec::new(),
        items: (0..20).map(|row| (row < 2, Some(row < right))).collect(),
        passages: Vec::new(),
    };
    Kind::Graded { grade: Box::new(grade), jobs: Vec::new() }
}

fn ended(outcome: Outcome, dir: &Path) -> Kind {
    Kind::Ended { outcome, why: "as measured".into(), run: dir.into() }
}

/// A run of these events, each a second after the one before, `late` seconds after the first second of all.
fn run(parent: &Path, late: i64, kinds: impl FnOnce(&Path) -> Vec<Kind>) -> Run {
    let run = Run::create(parent, "run", Timestamp::from_second(late).unwrap()).unwrap();
    let mut log = run.create_log().unwrap();
    for (second, kind) in kinds(run.dir()).into_iter().enumerate() {
        log.append(kind, Timestamp::from_second(late * (second as i64 + 1)).unwrap()).unwrap();
    }
    let manifest = Manifest {
        version: "0.1.0".into(),
        created: Timestamp::from_second(late).unwrap(),
        task: task(),
        planner: "playbook".into(),
        base: run.base(),
        device: Some("cpu".into()),
        layers: Vec::new(),
        inputs: Vec::new(),
        terms: None,
        hashes: [("sealed".to_owned(), "s".to_owned())].into(),
    };
    run.write_manifest(&manifest).unwrap();
    run
}

fn trained(loss: f64, seconds: f64, dir: &Path) -> Value {
    json!({"adapter": "a", "valid_loss": loss, "seconds": seconds, "note": format!("in {}/work", dir.display())})
}

fn whole(dir: &Path, seconds: f64) -> Vec<Kind> {
    let mut kinds = vec![started(task())];
    kinds.extend(step(1, "plan", json!({"kind": "classification"}), json!({"kind": "classification"})));
    kinds.push(scoped());
    let (text, tokens, usd) = (format!("it took {seconds} s"), Some(0), Some(0.0));
    kinds.push(Kind::Said {
        text,
        tokens,
        usd,
        calls: Vec::new(),
        repairs: Vec::new(),
        finish: Value::Null,
        opaque: None,
    });
    kinds.extend(step(2, "train", json!({"learning_rate": 0.01}), trained(0.5, seconds, dir)));
    kinds.push(scored(2, 0.5));
    kinds.extend(step(3, "finish", json!({"adapter": "a"}), json!({"adapter": "a"})));
    kinds.push(graded(19));
    kinds.push(ended(Outcome::Met, dir));
    kinds
}

fn other(dir: &Path) -> Vec<Kind> {
    let task = Task { request: "sort these messages".into(), seed: 2, ..task() };
    let mut kinds = vec![started(task)];
    kinds.extend(step(1, "plan", json!({"kind": "classification"}), json!({"kind": "classification"})));
    kinds.push(scoped());
    let shown = json!({"stdout": "a\u{1b}[31m", "exit": 0});
    kinds.extend(step(2, "shell", json!({"command": "head data/train.jsonl"}), shown));
    let mut output = trained(0.75, 3.0, dir);
    output["labels"] = json!({"a/b": 1});
    kinds.extend(step(3, "train", json!({"learning_rate": 0.1, "epochs": 2}), output));
    kinds.push(scored(3, 0.75));
    kinds.extend(step(4, "finish", json!({"adapter": "a"}), json!({"adapter": "a"})));
    kinds.push(graded(9));
    kinds.push(ended(Outcome::NotMet, dir));
    kinds
}

#[test]
fn two_runs_of_the_same_thing_are_the_same_whatever_they_took() {
    let place = tempfile::tempdir().unwrap();
    let a = run(place.path(), 1, |dir| whole(dir, 1.0));
    let b = run(place.path(), 9, |dir| whole(dir, 2.0));
    let found = diff(&a, &b);
    assert!(found.same, "{found:?}");
    assert_eq!((found.setup, found.result, found.notes), (vec![], vec![], vec![]));
    assert_eq!(found.summary, "the same: 3 steps, times aside");
    // Also where one was moved after its end.
    let moved = place.path().join("moved");
    fs::rename(b.dir(), &moved).unwrap();
    assert!(diff(&a, &Run::open(&moved).unwrap()).same);
}

#[test]
fn what_differs_is_told_field_by_field() {
    let place = tempfile::tempdir().unwrap();
    let a = run(place.path(), 1, |dir| whole(dir, 1.0));
    let b = run(place.path(), 2, other);
    let found = diff(&a, &b);
    let shown = |run: &Run, name: &str| (run.dir().display().to_string(), format!("runs/{name}"));
    let places = [shown(&a, "a"), shown(&b, "b")];
    let plain = |text: String| places.iter().fold(text, |text, (dir, name)| text.replace(dir, name));
    insta::assert_snapshot!("diff_lines", plain(found.lines().join("\n")));
    insta::assert_snapshot!("diff_json", plain(serde_json::to_string_pretty(&found).unwrap()));
    assert_eq!(found.grade.unwrap().rows[0].test, compare::Test::McnemarExact);
}

#[test]
fn other_sealed_rows_are_compared_as_other_rows() {
    let place = tempfile::tempdir().unwrap();
    let a = run(place.path(), 1, |dir| whole(dir, 1.0));
    let b = run(place.path(), 2, other);
    let mut manifest = b.manifest().unwrap();
    manifest.hashes.insert("sealed".into(), "t".into());
    b.write_manifest(&manifest).unwrap();
    let found = diff(&a, &b);
    assert_eq!(found.grade.unwrap().rows[0].test, compare::Test::FisherExact);
    assert!(found.setup.iter().any(|difference| difference.at == "/hashes/sealed"));
}

#[test]
fn a_log_that_was_cut_off_or_changed_is_compared_as_far_as_it_goes() {
    let place = tempfile::tempdir().unwrap();
    let a = run(place.path(), 1, |dir| whole(dir, 1.0));
    let b = run(place.path(), 2, |dir| whole(dir, 1.0));
    let log = fs::read_to_string(b.log()).unwrap();
    fs::write(b.log(), format!("{log}{{\"seq\":")).unwrap();
    let found = diff(&a, &b);
    assert!(found.same);
    assert_eq!(found.notes, ["B: the log's last line was cut off (7 bytes) and is left out"]);

    fs::write(b.log(), log.replacen("route these", "sort these", 1)).unwrap();
    let found = diff(&a, &b);
    assert!(!found.same && found.steps.iter().all(|step| step.b.is_none()), "{found:?}");
    assert!(found.notes[0].starts_with("B: the log is damaged at line 2: "), "{:?}", found.notes);

    fs::remove_file(b.log()).unwrap();
    let found = diff(&b, &b);
    assert_eq!((found.same, found.steps.len()), (false, 0));
    assert_eq!(found.summary, "nothing differs in what can be read, but not all can");
}

#[test]
fn steps_of_the_same_tool_are_matched_by_their_arguments() {
    let place = tempfile::tempdir().unwrap();
    let trains = |rates: &[f64]| -> Vec<Kind> {
        let step = |(at, rate): (usize, &f64)| step(at as u32 + 1, "train", json!({"learning_rate": rate}), json!({}));
        [started(task())].into_iter().chain(rates.iter().enumerate().flat_map(step)).collect()
    };
    let pairs = |a: &[f64], b: &[f64]| -> Vec<(Option<u32>, Option<u32>)> {
        let a = run(place.path(), 1, |_| trains(a));
        let b = run(place.path(), 2, |_| trains(b));
        diff(&a, &b).steps.iter().map(|step| (step.a, step.b)).collect()
    };
    assert_eq!(pairs(&[1.0, 2.0, 3.0], &[2.0, 3.0]), [(Some(1), None), (Some(2), Some(1)), (Some(3), Some(2))]);
    assert_eq!(pairs(&[1.0, 3.0], &[1.0, 2.0, 3.0]), [(Some(1), Some(1)), (None, Some(2)), (Some(2), Some(3))]);
    assert_eq!(pairs(&[1.0], &[2.0]), [(Some(1), Some(1))]);
    assert_eq!(pairs(&[], &[2.0]), [(None, Some(1))]);
    // Too many to try all: by their places.
    let many: Vec<f64> = (0..2_100).map(f64::from).collect();
    let other: Vec<f64> = many.iter().map(|rate| rate + 0.5).collect();
    let places: Vec<_> = (1..=2_100).map(|at| (Some(at), Some(at))).collect();
    assert_eq!(pairs(&many, &other), places);
}

#[test]
fn lists_are_compared_by_their_items_where_few_differ() {
    let at = |a: Value, b: Value| -> Vec<String> {
        values::differences(&a, &b).into_iter().map(|difference| difference.at).collect()
    };
    assert_eq!(at(json!({"a": [1, 2, 3]}), json!({"a": [1, 5, 3]})), ["/a/1"]);
    assert_eq!(at(json!({"a": [1, 2, 3, 4, 5]}), json!({"a": [0, 0, 0, 0, 0]})), ["/a"]);
    assert_eq!(at(json!({"a": [1]}), json!({"a": [1, 2]})), ["/a"]);
    assert_eq!(at(json!({"a/b": 1, "c~d": {"e": null}}), json!({"c~d": {}})), ["/a~1b", "/c~0d/e"]);
    assert_eq!(at(json!(1), json!(1)), Vec::<String>::new());
}
