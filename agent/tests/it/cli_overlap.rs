//! Eval rows in training rows, from the command line.

use std::fs;

use serde_json::{Value, json};

use crate::cli::tunesmith;

const QUESTIONS: [&str; 3] = [
    "Natalia sold 48 clips to her friends in April, and then she sold half as many clips in May. How many did she sell?",
    "A robe takes 2,000 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
    "How do I locate my card?",
];

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn what_stands_in_training_rows_is_listed_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    fs::create_dir(place("train")).unwrap();
    fs::write(place("test.jsonl"), lines(&QUESTIONS.map(|text| json!({"question": text, "answer": 1})))).unwrap();
    let half = QUESTIONS[0].split_once(". ").unwrap().0;
    fs::write(
        place("train/a.jsonl"),
        lines(&[json!({"prompt": "Hello"}), json!({"prompt": format!("{half} as well")})]),
    )
    .unwrap();
    fs::write(
        place("train/b.csv"),
        format!("text,label\nnothing,a\n\"{}\",b\nHOW do i locate my card,c\n", QUESTIONS[1]),
    )
    .unwrap();

    let args = ["data", "overlap", "train", "--against", "test.jsonl", "--out", "found.jsonl", "--json"];
    let said = tunesmith(dir.path(), &args);
    assert_eq!((said.code, &*said.err), (3, ""), "{said:?}");
    let row = |line: usize, kind: &str, share: f64, place: Value| {
        json!({
            "file": "test.jsonl", "line": line, "kind": kind, "share": share, "text": QUESTIONS[line - 1], "count": 1, "rows": [place],
        })
    };
    let found = json!([
        row(1, "half", 19.0 / 24.0, json!({"file": "train/a.jsonl", "line": 2, "kind": "half", "share": 19.0 / 24.0})),
        row(2, "verbatim", 1.0, json!({"file": "train/b.csv", "line": 3, "kind": "verbatim", "share": 1.0})),
        row(3, "near", 1.0, json!({"file": "train/b.csv", "line": 4, "kind": "near", "share": 1.0})),
    ]);
    let want = json!({
        "train_rows": 5, "bad_lines": 0, "eval_rows": 3, "verbatim": 1, "near": 1, "half": 1, "train_rows_matched": 3,
        "found": &found, "path": "found.jsonl",
    });
    assert_eq!(said.json(), want);
    let written = fs::read_to_string(place("found.jsonl")).unwrap();
    let written: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(written), found);

    let said = tunesmith(dir.path(), &["data", "overlap", "train", "--against", "test.jsonl"]);
    let first =
        "3 eval rows held against 5 training rows: 3 found, 1 verbatim, 1 near, 1 by half, in 3 training rows\n";
    assert!(said.code == 3 && said.out.starts_with(first), "{said:?}");
    assert!(said.out.contains("test.jsonl:2  verbatim  100.0 %  train/b.csv:3"), "{said:?}");
}

#[test]
fn rows_that_share_nothing_are_clean_and_bad_lines_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.jsonl"), lines(&QUESTIONS.map(|text| json!({"question": text})))).unwrap();
    fs::write(dir.path().join("train.jsonl"), "{\"text\": \"How do I find my purse?\"}\n{\"text\"\n").unwrap();
    let said = tunesmith(dir.path(), &["data", "overlap", "train.jsonl", "--against", "test.jsonl"]).ok();
    let (first, second) = said.out.split_once('\n').unwrap();
    assert_eq!(first, "3 eval rows held against 1 training row: none was found");
    assert!(
        second.starts_with(
            "warning: 1 line of the training files could not be read and were left out; the first: train.jsonl: line 2"
        ),
        "{said:?}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.csv"), "text,label\nHow do I locate my card?,a\n").unwrap();
    fs::write(dir.path().join("labels.csv"), "label\na\nb\n").unwrap();
    let refused = |args: &[&str]| tunesmith(dir.path(), &[&["data", "overlap"], args].concat()).refused(2).to_owned();
    let missing = "error: no.csv: there is no such file; check the path\n";
    assert_eq!(refused(&["no.csv", "--against", "test.csv"]), missing);
    assert_eq!(refused(&["test.csv", "--against", "no.csv"]), missing);
    let column = "error: test.csv: has no column \"question\"; it has text, label\n";
    assert_eq!(refused(&["test.csv", "--against", "test.csv", "--column", "question"]), column);
    let nothing = "error: the eval rows hold no text of three words or more to look for; name their column of texts with --column\n";
    assert_eq!(refused(&["test.csv", "--against", "labels.csv"]), nothing);
    assert_eq!(
        refused(&["test.csv", "--against", "test.csv", "--out", "labels.csv"]),
        "error: labels.csv: is there already; name another --out\n"
    );
}
