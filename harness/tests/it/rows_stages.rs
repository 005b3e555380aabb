//! Stages between reading and writing.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tunesmith_harness::{
    near::Jaccard,
    recipe::Row,
    rows::{Bad, Count, Left, Reading, Source, Stages, key},
};

const QUARANTINE: Reading = Reading { bad: Bad::Quarantine, documents: tunesmith_harness::rows::Documents::Whole };

fn text(row: &Row) -> String {
    row["text"].as_str().unwrap().to_owned()
}

fn stages() -> Stages {
    let by_text = |row: &Row| key(row, &["text".to_owned()]);
    Stages::new()
        .map("lower case", |row| row["text"] = text(row).to_lowercase().into())
        .filter("short", |row| text(row).len() > 1)
        .distinct("repeated", by_text)
        .map("marked", |row| {
            row.insert("marked".into(), true.into());
        })
        .filter("odd", |row| row["n"].as_u64().unwrap() % 2 == 1)
        .split(&[0.8, 0.2], 7, by_text)
}

fn written(dir: &tempfile::TempDir, name: &str, lines: impl IntoIterator<Item = String>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, lines.into_iter().collect::<String>()).unwrap();
    path
}

fn count(name: &str, before: u64, after: u64) -> Count {
    Count { name: name.into(), before, after }
}

#[test]
fn rows_go_through_stages_in_order_and_are_counted_at_each() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        "{\"text\":\"AA\",\"n\":1}",
        "{\"text\":\"b\",\"n\":3}",
        "broken",
        "{\"text\":\"aa\",\"n\":5}",
        "{\"text\":\"cc\",\"n\":6}",
        "{\"text\":\"dd\",\"n\":7}",
    ];
    let path = written(&dir, "t.jsonl", rows.map(|row| format!("{row}\n")));
    let mut flow = stages().run(&Source::find(&[path], &QUARANTINE).unwrap());
    let passed: Vec<_> = flow.by_ref().map(Result::unwrap).collect();
    let rows: Vec<(u64, Value)> =
        passed.iter().flat_map(|p| p.lines.iter().copied().zip(p.rows.iter().cloned().map(Value::Object))).collect();
    assert_eq!(
        rows,
        [(1, json!({"text": "aa", "n": 1, "marked": true})), (6, json!({"text": "dd", "n": 7, "marked": true}))]
    );
    assert_eq!((flow.read, flow.bad), (5, 1));
    assert_eq!(
        flow.counts(),
        [
            count("lower case", 5, 5),
            count("short", 5, 4),
            count("repeated", 4, 3),
            count("marked", 3, 3),
            count("odd", 3, 2)
        ]
    );
}

#[test]
fn what_comes_through_depends_on_no_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let line =
        |n: u64| format!("{}\n", json!({"text": format!("text {} {}", n * 7919 % 20_011, "x".repeat(40)), "n": n}));
    let path = written(&dir, "t.jsonl", (0..40_000).map(line));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let source = Source::find(std::slice::from_ref(&path), &Reading::default()).unwrap();
        pool.install(|| stages().run(&source).map(Result::unwrap).collect::<Vec<_>>())
    };
    let one = on(1);
    assert!(one.len() > 2);
    assert_eq!(one.iter().map(|passed| passed.rows.len()).sum::<usize>(), 10_005);
    assert_eq!(one, on(4));
}

#[test]
fn a_part_follows_from_content_and_seed_alone() {
    let dir = tempfile::tempdir().unwrap();
    let line = |n: u64| format!("{}\n", json!({"text": format!("text {n}"), "n": 2 * n + 1}));
    let parts = |lines: Vec<u64>, seed: u64| {
        let path = written(&dir, "t.jsonl", lines.into_iter().map(line));
        let source = Source::find(&[path], &Reading::default()).unwrap();
        let split = Stages::new().split(&[0.8, 0.2], seed, |row| key(row, &[])).run(&source);
        let mut parts: Vec<(String, usize)> =
            split.map(Result::unwrap).flat_map(|p| p.rows.iter().map(text).zip(p.parts).collect::<Vec<_>>()).collect();
        parts.sort();
        parts
    };
    let all = parts((0..2000).collect(), 1);
    let in_second = all.iter().filter(|(_, part)| *part == 1).count();
    assert!((340..460).contains(&in_second), "{in_second}");
    assert_eq!(parts((0..2000).rev().collect(), 1), all);
    let half: Vec<_> = parts((0..1000).collect(), 1);
    assert!(half.iter().all(|row| all.contains(row)));
    assert_ne!(parts((0..2000).collect(), 2), all);
}

#[test]
fn keys_tell_contents_apart_and_not_orders_of_columns() {
    let of = |row: Value| key(row.as_object().unwrap(), &[]);
    assert_eq!(of(json!({"a": {"x": 1, "y": 2}, "b": 3})), of(json!({"b": 3, "a": {"y": 2, "x": 1}})));
    let different = [
        json!({}),
        json!({"a": null}),
        json!({"a": false}),
        json!({"a": 1}),
        json!({"a": "1"}),
        json!({"a": [1]}),
        json!({"a": [1, []]}),
        json!({"a": [[1]]}),
        json!({"a": {}}),
        json!({"ab": "c"}),
        json!({"a": "bc"}),
        json!({"a": "b", "c": ""}),
    ];
    let keys: std::collections::BTreeSet<u128> = different.iter().cloned().map(of).collect();
    assert_eq!(keys.len(), different.len());
    let row = json!({"a": 1, "b": 2});
    let by =
        |columns: &[&str]| key(row.as_object().unwrap(), &columns.iter().map(|&c| c.to_owned()).collect::<Vec<_>>());
    assert_ne!(by(&["a"]), by(&["b"]));
    assert_eq!(by(&["a"]), key(json!({"b": 9, "a": 1}).as_object().unwrap(), &["a".to_owned()]));
}

#[test]
fn what_is_left_out_is_told_with_its_stage_and_what_it_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let line = |text: &str| format!("{}\n", json!({"text": text}));
    let long = "the card that I ordered two weeks ago has still not come to my house";
    let first = written(&dir, "a.jsonl", [line(long), line("b"), line("c"), line("b")]);
    let second = written(&dir, "b.jsonl", [line("c"), line(&long.replace("my", "our")), line("d")]);
    let stages = Stages::new()
        .each("no d", |row| if row["text"] == "d" { Err("it is d".into()) } else { Ok(()) })
        .distinct("repeated", |row| key(row, &[]))
        .unlike("near", Jaccard::new(0.8).unwrap(), 0, text);
    let mut flow = stages.run(&Source::find(&[first, second], &QUARANTINE).unwrap());
    let passed: Vec<_> = flow.by_ref().map(Result::unwrap).collect();
    let left: Vec<(usize, Left)> =
        passed.iter().flat_map(|p| p.left.iter().map(|left| (p.file, left.clone()))).collect();
    let of = |line, stage, why: &str, like| Left { line, stage, why: why.into(), like };
    assert_eq!(
        left,
        [
            (0, of(4, 1, "", Some((0, 2)))),
            (1, of(3, 0, "it is d", None)),
            (1, of(1, 1, "", Some((0, 3)))),
            (1, of(2, 2, "", Some((0, 1))))
        ]
    );
    assert_eq!(flow.counts(), [count("no d", 7, 6), count("repeated", 6, 4), count("near", 4, 3)]);
}
