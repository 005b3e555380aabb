//! Files, folders and patterns as one data set: of a run, and of training by hand.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use serde_json::{Value, json};
use tunesmith_harness::rows::{Compression, Layout, Writer};

use crate::cli::{Said, base, tickets, tunesmith};

const TASK: &str = "Fine-tune a small model to route these messages to the right intent.";

/// A directory with three files of rows, of which two lines give none: CSV, JSON lines in a folder, and packed.
fn three_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let csv = tickets(40);
    let mut lines = csv.lines().skip(1);
    let mut part = |n: usize| lines.by_ref().take(n).collect::<Vec<_>>();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("data/more")).unwrap();
    fs::write(at("data/a.csv"), format!("text,intent\n{}\nonly one field\n", part(50).join("\n"))).unwrap();
    let cut =
        |line: &str| line.rsplit_once(',').map(|(text, label)| (text.trim_matches('"').to_owned(), label.to_owned()));
    let object = |line: &str| cut(line).map(|(text, intent)| json!({"intent": intent, "text": text}).to_string());
    let json: Vec<String> = part(40).into_iter().filter_map(object).collect();
    fs::write(at("data/more/b.jsonl"), format!("{}\n{{\"text\": NaN}}\n", json.join("\n"))).unwrap();
    let rows = part(30).into_iter().filter_map(cut).map(|(text, intent)| json!({"text": text, "intent": intent}));
    let mut packed = Writer::create(&at("c.jsonl.gz"), Layout::JsonLines(Compression::Gzip)).unwrap();
    packed.write(rows.map(|row| row.as_object().unwrap().clone())).unwrap();
    packed.finish().unwrap();
    dir
}

fn run(dir: &Path, more: &[&str]) -> Said {
    let args = ["run", TASK, "--base", base().to_str().unwrap()];
    tunesmith(dir, &[&args[..], more].concat())
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_reads_files_folders_and_patterns_as_one_data_set_and_reports_every_file() {
    let dir = three_files();
    let said = run(dir.path(), &["--file", "data", "--file", "*.gz", "--file", "c.jsonl.gz", "--approve", "never"]);
    assert_eq!(said.code, 5, "{said:?}");
    let run = fs::read_dir(dir.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let bad_csv = "line 52: 1 fields where the header has 2; quote fields that hold a comma";
    let bad_json = "line 41: not JSON: expected value (column 10); NaN and Infinity are no JSON, write null";
    let file = |name: &str, rows: usize, bad: &[&str]| {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        let sha256 = tunesmith_harness::hash::sha256(&bytes);
        let mut file =
            json!({"path": name, "sha256": sha256, "bytes": bytes.len(), "rows": rows, "bad_rows": bad.len()});
        if !bad.is_empty() {
            file["bad"] = json!(bad);
        }
        file
    };
    let want = json!([
        file("data/a.csv", 50, &[bad_csv]),
        file("data/more/b.jsonl", 40, &[bad_json]),
        file("c.jsonl.gz", 30, &[])
    ]);
    assert_eq!(read(&run.join("run.json"))["inputs"], want);
    let report = read(&run.join("report.json"));
    assert_eq!(report["inputs"], want);
    assert_eq!(report["rows"]["read"], 120);
    let lines = |name: &str| fs::read_to_string(run.join(name)).unwrap().lines().count();
    assert_eq!(lines("work/data/train.jsonl") + lines("sealed/rows.jsonl") + held(&report), 120);
    for note in [
        format!("data/a.csv: left out: 1 line without a row, the first: {bad_csv}"),
        format!("data/more/b.jsonl: left out: 1 line without a row, the first: {bad_json}"),
        "c.jsonl.gz is not read: a file that is read already".to_owned(),
    ] {
        assert!(said.out.contains(&note), "{note}\n{said:?}");
    }
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    for input in want.as_array().unwrap() {
        assert!(html.contains(input["sha256"].as_str().unwrap()), "{input}");
    }
    assert!(html.contains("1 line without a row") && html.contains("<h3>Columns</h3>"), "{html}");
}

/// Rows on no side.
fn held(report: &Value) -> usize {
    report["rows"]["dropped"].as_u64().unwrap() as usize
}

#[test]
fn a_dry_run_says_what_was_left_out() {
    let dir = three_files();
    let preview = run(dir.path(), &["--file", "data", "--dry-run", "--json"]).ok().json();
    let notes = preview["notes"].as_array().unwrap();
    assert!(notes.len() == 2 && notes[0].as_str().unwrap().contains("1 line without a row"), "{preview}");
    assert_eq!(preview["rows"]["read"], 90);
}

#[test]
fn files_that_are_no_one_data_set_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("a.csv", &tickets(20));
    write("b.csv", "text,label\nhello,a\n");
    let refused = |files: &[&str]| {
        let files: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
        run(dir.path(), &files).refused(2).to_owned()
    };
    let want = "error: b.csv has no column \"intent\", which all rows of a.csv have; give files of one kind\n";
    assert_eq!(refused(&["a.csv", "b.csv"]), want);
    // Fields of JSON lines may be missing where they are missing in the first file too.
    write("c.jsonl", "{\"text\": 1, \"more\": 2}\n{\"text\": 1}\n");
    write("d.jsonl", "{\"text\": 1}\n");
    assert!(run(dir.path(), &["--file", "c.jsonl", "--file", "d.jsonl"]).refused(5).contains("are too few"));
    write("e.csv", "text,intent\n1\n2\n3,4\n");
    let want = "error: e.csv: 2 of 3 lines give no row, the first: line 2: 1 fields where the header has 2; quote fields \
                that hold a comma\n";
    assert_eq!(refused(&["e.csv"]), want);
    assert_eq!(refused(&["*.tsv"]), "error: *.tsv: fits no file; check the pattern\n");
    let odd = std::ffi::OsStr::from_bytes(b"odd/\xff.csv");
    fs::create_dir(dir.path().join("odd")).unwrap();
    fs::write(dir.path().join(odd), tickets(20)).unwrap();
    assert_eq!(refused(&["odd"]), "error: odd/\u{fffd}.csv: its name is not UTF-8; rename it\n");
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn training_takes_the_formats_that_inspect_proposes_from_folders_and_patterns() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("chats/more")).unwrap();
    let chat = |n: usize| {
        let turns = json!([{"from": "system", "value": "Count."}, {"from": "human", "value": format!("after {n}?")},
            {"from": "gpt", "value": format!("{}", n + 1)}]);
        json!({"conversations": turns}).to_string() + "\n"
    };
    let chats = |numbers: std::ops::Range<usize>| numbers.map(chat).collect::<String>();
    fs::write(dir.path().join("chats/a.jsonl"), chats(0..12)).unwrap();
    fs::write(dir.path().join("chats/more/b.jsonl"), chats(12..24)).unwrap();
    let alpaca = (0..20)
        .map(|n| json!({"instruction": "Say what comes next.", "input": n.to_string(), "output": (n + 1).to_string()}));
    fs::write(dir.path().join("alpaca.json"), Value::from_iter(alpaca).to_string()).unwrap();

    let proposed = tunesmith(dir.path(), &["data", "inspect", "chats", "--json"]).ok().json();
    assert_eq!(proposed["format"], "sharegpt");
    let fit = |found: &Value| {
        let fits = found["formats"].as_array().unwrap().iter();
        let arguments = fits.filter(|fit| fit["kind"] == found["format"]).flat_map(|fit| fit["arguments"].as_array());
        arguments.flatten().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let train = |found: &Value, data: &str, out: &str| {
        let mut args = fit(found);
        args.extend(
            ["--data", data, "--out", out, "--base", "nano", "--set", "max_steps=2", "--json"].map(str::to_owned),
        );
        tunesmith(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let rows = |said: Said| {
        let made = said.ok().json();
        made["rows"][0].as_u64().unwrap() + made["rows"][1].as_u64().unwrap()
    };
    assert_eq!(rows(train(&proposed, "chats", "one")), 24);
    assert_eq!(rows(train(&proposed, "chats/**/*.jsonl", "two")), 24);

    let found = tunesmith(dir.path(), &["data", "inspect", "alpaca.json", "--json"]).ok().json();
    assert_eq!(found["format"], "alpaca");
    assert_eq!(rows(train(&found, "alpaca.json", "three")), 20);

    fs::write(dir.path().join("chats/more/c.jsonl"), chat(1) + &chat(2).replace("human", "wizard")).unwrap();
    let why = train(&proposed, "chats", "four").refused(2).to_owned();
    assert!(why.contains("more/c.jsonl, line 2: turn 2 is from \"wizard\", which is no speaker"), "{why}");
}
