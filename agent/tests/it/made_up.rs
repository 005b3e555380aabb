//! Requests without rows, for which a model writes some.

use std::{fs, net::TcpListener, path::PathBuf, time::Instant};

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
        let usage = json!({"prompt": 300, "completion": 100});
        json!({"text": json!({"rows": rows}).to_string(), "usage": usage, "usd": 0.5}).to_string() + "\n"
    };
    let task = "i run a pizza place and want whatsapps sorted into: order, complaint, opening hours. i have no examples, so make \
                some up, 60 or so";
    let base = base().to_str().unwrap();
    let run = |more: &[&str]| tunesmith(dir, &[&["run", task, "--base", base, "--json"], more].concat());
    let dry = |more: &[&str]| run(&[&["--dry-run"], more].concat());
    // Without a model that writes there is nothing to plan, and it is said what to add.
    assert!(dry(&[]).refused(5).contains("name a model that does with --teacher"));
    let teacher = ["--teacher", "scripted:teacher.jsonl"];

    // A dry run asks nothing, which a script without turns could not answer: it says what would be asked.
    fs::write(dir.join("teacher.jsonl"), "").unwrap();
    let plan = dry(&teacher).ok().json();
    let plan = &plan["to_make"];
    assert_eq!(
        [&plan["by"], &plan["columns"], &plan["rows"], &plan["labels"], &plan["questions"]],
        [
            &json!("a script"),
            &json!(["text", "label"]),
            &json!(60),
            &json!([["complaint", 20], ["opening hours", 20], ["order", 20]]),
            &json!(12)
        ]
    );
    let said = tunesmith(dir, &[&["run", task, "--base", base, "--dry-run"], &teacher[..]].concat()).ok();
    assert!(said.out.contains("rows of text, label would be written by a script; a dry run asks no model"), "{said:?}");
    assert!(!dir.join("runs").exists());

    // What was written is paid for by the run that wanted it.
    fs::write(dir.join("teacher.jsonl"), (0..60).map(turn).collect::<String>()).unwrap();
    let said = run(&[&teacher[..], &["--approve", "never"]].concat());
    assert!(said.code == 5 && said.err.contains("60 rows written by"), "{said:?}");
    let entries = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let (made, runs): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.partition(|path| path.file_name().unwrap().to_str().unwrap().starts_with("made-"));
    let rows = fs::read_to_string(made[0].join("rows.jsonl")).unwrap();
    let labels = |label: &str| rows.lines().filter(|line| line.contains(&format!("\"label\":\"{label}\""))).count();
    assert_eq!((made.len(), ["order", "complaint", "opening hours"].map(labels)), (1, [20; 3]));
    let read = |file: PathBuf| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
    let cost = || {
        let cost = read(runs[0].join("report.json"))["cost"].take();
        (cost["tokens"].as_u64().unwrap(), cost["usd"].as_f64().unwrap())
    };
    let questions = read(made[0].join("manifest.json"))["cost"]["questions"].as_u64().unwrap();
    assert!(questions >= 12, "{questions}");
    assert_eq!(cost(), (questions * 400, questions as f64 * 0.5));
    // Going on with it pays for nothing more, and forgets nothing.
    let name = runs[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(tunesmith(dir, &["resume", name, "--approve", "never"]).code, 5);
    assert_eq!(cost(), (questions * 400, questions as f64 * 0.5));

    // Once they are there, all can be planned with them.
    fs::write(dir.join("teacher.jsonl"), "").unwrap();
    let plan = dry(&teacher).ok().json();
    assert_eq!(
        (&plan["kind"], &plan["inputs"], &plan["target"], &plan["rows"]["read"]),
        (&json!("classification"), &json!(["text"]), &json!("label"), &json!(60))
    );
    // Beside rows of one's own nothing is made up.
    fs::write(dir.join("rows.csv"), "text,label\na,b\n").unwrap();
    let both = dry(&[&teacher[..], &["--file", "rows.csv"]].concat());
    assert!(both.refused(5).contains("only where there are none"));
}

#[test]
fn a_teacher_that_never_answers_is_left_at_the_deadline() {
    let place = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let teacher = format!("url:http://{}/v1#m", listener.local_addr().unwrap());
    let task = "sort messages into: order, complaint. i have no examples, so make some up, 60 or so";
    let began = Instant::now();
    let said = tunesmith(place.path(), &["run", task, "--teacher", &teacher, "--minutes", "0.05", "--approve", "auto"]);
    let seconds = began.elapsed().as_secs_f64();
    assert!(said.refused(4).contains("give it more --minutes") && seconds < 5.0, "{seconds} {said:?}");
}
