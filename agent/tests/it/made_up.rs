//! Requests without rows, for which a model writes some.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{base, tunesmith};

/// Texts that share no words, so that none is too like another.
fn text(at: usize) -> String {
    let syllables = ["ka", "lo", "mi", "ru", "te", "vo", "sha", "pin", "dor", "gel", "fum", "zi"];
    let word = |n: usize| {
        let code = ((at * 8 + n) as u32).wrapping_mul(2_654_435_761) >> 7;
        [1, 12, 144].map(|unit| syllables[(code / unit) as usize % 12]).concat()
    };
    (0..8).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn rows_that_a_request_wants_made_up_are_written_once_and_planned_with() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let turn = |turn: usize| {
        let rows: Vec<Value> = (0..5).map(|row| json!({"text": text(turn * 5 + row)})).collect();
        json!({"text": json!({"rows": rows}).to_string()}).to_string() + "\n"
    };
    fs::write(dir.join("teacher.jsonl"), (0..60).map(turn).collect::<String>()).unwrap();
    let task = "i run a pizza place and want whatsapps sorted into: order, complaint, opening hours. i have no examples, so make \
                some up, 60 or so";
    let base = base().to_str().unwrap();
    let run = |more: &[&str]| tunesmith(dir, &[&["run", task, "--base", base, "--dry-run", "--json"], more].concat());
    // Without a model that writes there is nothing to plan, and it is said what to add.
    assert!(run(&[]).refused(5).contains("name a model that does with --teacher"));
    let teacher = ["--teacher", "scripted:teacher.jsonl"];
    let said = run(&teacher);
    assert!(said.err.contains("60 rows written by"), "{said:?}");
    let plan = said.ok().json();
    assert_eq!(
        (&plan["kind"], &plan["inputs"], &plan["target"]),
        (&json!("classification"), &json!(["text"]), &json!("label"))
    );
    assert_eq!(plan["rows"]["read"], 60);
    let made = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let rows = fs::read_to_string(made[0].join("rows.jsonl")).unwrap();
    let labels = |label: &str| rows.lines().filter(|line| line.contains(&format!("\"label\":\"{label}\""))).count();
    assert_eq!((made.len(), ["order", "complaint", "opening hours"].map(labels)), (1, [20; 3]));
    // What was written is paid for once.
    fs::write(dir.join("teacher.jsonl"), "").unwrap();
    assert_eq!(run(&teacher).ok().json()["rows"], plan["rows"]);
    // Beside rows of one's own nothing is made up.
    fs::write(dir.join("rows.csv"), "text,label\na,b\n").unwrap();
    let both = run(&[&teacher[..], &["--file", "rows.csv"]].concat());
    assert!(both.refused(5).contains("only where there are none"));
}
