//! Recipes of `data prepare`, from the command line.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use tunesmith_harness::rows;

use crate::cli::{base, tickets, tunesmith};

const RECIPE: &str = r#"
seed = 5
valid_share = 0.2
test_share = 0.1
format = "parquet"
[steps]
set = { text = "{title}: {text}" }
clean = ["html", "spaces"]
keep = [{ column = "label", none_of = ["spam"] }]
against = ["evals.jsonl"]
near = 0.85
[rows]
label = "label"
"#;

/// Sixty rows in two files, one of them broken in a line, with a repeated row, a nearly repeated one, one of an eval set
/// and one that a condition leaves out.
fn files(dir: &Path) {
    let row = |at: usize, text: &str, label: &str| json!({"title": format!("T{at}"), "text": text, "label": label});
    let words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"];
    let text = |at: usize| {
        let word = |n: usize| words[(at * (n + 3) + n * n) % 8];
        format!("<p>row {at} says {} {} {} {}&nbsp;{at}</p>", word(0), word(1), word(2), word(3))
    };
    let mut rows: Vec<String> = (0..60).map(|at| row(at, &text(at), ["a", "b", "c"][at % 3]).to_string()).collect();
    rows.push(rows[3].clone());
    rows.push(row(4, &text(4).replace("says", "SAYS"), "a").to_string());
    rows.push(row(5, "How do I locate the card that I ordered last week?", "b").to_string());
    rows.push(row(6, "buy now", "spam").to_string());
    rows.insert(30, "{\"text\": ".to_owned());
    fs::create_dir(dir.join("in")).unwrap();
    fs::write(dir.join("in/a.jsonl"), rows[..40].join("\n")).unwrap();
    fs::write(dir.join("in/b.jsonl"), rows[40..].join("\n")).unwrap();
    fs::write(dir.join("evals.jsonl"), json!({"q": "how do i locate the card that i ordered last week"}).to_string())
        .unwrap();
    fs::write(dir.join("recipe.toml"), RECIPE).unwrap();
}

fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn rows_follow_a_recipe_that_is_replayed_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let run = |args: &[&str]| tunesmith(dir.path(), &[&["data", "prepare"], args].concat());
    let made = run(&["in", "--recipe", "recipe.toml", "--out", "out", "--json"]).ok().json();
    let stage = |name: &str, before: u64, after: u64| json!({"name": name, "before": before, "after": after});
    let stages = [
        stage("change", 64, 64),
        stage("keep", 64, 63),
        stage("against", 63, 62),
        stage("duplicates", 62, 61),
        stage("near", 61, 60),
    ];
    let parts = json!({"train.parquet": 42, "valid.parquet": 12, "test.parquet": 6});
    assert_eq!(
        (&made["rows"], &made["bad_lines"], &made["stages"], &made["parts"]),
        (&json!(64), &json!(1), &json!(stages), &parts)
    );
    let files = content(&dir.path().join("out"));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let want = ["README.md", "left_out.jsonl", "manifest.json", "test.parquet", "train.parquet", "valid.parquet"];
    assert_eq!(names, want);
    let left = String::from_utf8(files["left_out.jsonl"].clone()).unwrap();
    let left: Vec<Value> = left.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |file: &str, line: u64| json!({"file": format!("in/{file}"), "line": line});
    let mut repeated = place("b.jsonl", 22);
    repeated["stage"] = json!("duplicates");
    repeated["repeats"] = place("a.jsonl", 4);
    assert!(left.contains(&repeated), "{left:#?}");
    assert_eq!(left.iter().filter(|row| row["stage"] == "read" && row["line"] == 31).count(), 1, "{left:#?}");
    assert_eq!(left.len(), 5);
    // Every label has its share in every part, and all texts are cleaned.
    let table = rows::read(&dir.path().join("out/valid.parquet")).unwrap();
    for label in ["a", "b", "c"] {
        assert_eq!(table.rows.iter().filter(|row| row["label"] == label).count(), 4);
    }
    assert!(table.rows.iter().all(|row| row["text"].as_str().unwrap().starts_with("T")), "{table:?}");
    assert!(table.rows.iter().all(|row| !row["text"].as_str().unwrap().contains(['<', '&', '\u{a0}'])), "{table:?}");

    let again = run(&["in", "--recipe", "out/manifest.json", "--out", "again", "--json"]).ok().json();
    assert_eq!(again["replayed"], "same");
    assert_eq!(content(&dir.path().join("again")), files);
    let said = run(&["in", "--recipe", "out/manifest.json", "--seed", "6", "--out", "other"]).ok().out;
    assert!(said.ends_with("replayed on other inputs, or with another recipe, base or version than in the manifest\n"));
    // A manifest that claims other bytes of the same inputs is not believed.
    let forged = String::from_utf8(files["manifest.json"].clone()).unwrap().replace("\"rows\": 42", "\"rows\": 43");
    fs::write(dir.path().join("forged.json"), forged).unwrap();
    let said = run(&["in", "--recipe", "forged.json", "--out", "forged"]);
    assert_eq!((said.code, said.out.contains("replayed: other bytes than in the manifest")), (3, true), "{said:?}");
}

#[test]
fn rows_are_divided_by_time_or_content_in_one_pass_or_two() {
    let dir = tempfile::tempdir().unwrap();
    let row =
        |at: usize| json!({"n": at, "day": format!("2024-02-{:02}", 1 + at * 7 % 20), "who": at % 10}).to_string();
    fs::write(dir.path().join("rows.jsonl"), (0..200).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let parts = |args: &[&str]| {
        let out = format!("out{}", args.join(""));
        let all = [&["data", "prepare", "rows.jsonl", "--rows", "--out", &out, "--json"], args].concat();
        let made = tunesmith(dir.path(), &all).ok().json();
        let read = |file: &String| rows::read(&dir.path().join(&out).join(file)).unwrap().rows;
        made["parts"].as_object().unwrap().keys().map(|file| (file.clone(), read(file))).collect::<BTreeMap<_, _>>()
    };
    let column = |rows: &[tunesmith_harness::recipe::Row], name: &str| {
        rows.iter().map(|row| row[name].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let by_time = parts(&["--time", "day", "--test-share", "0.2"]);
    let days = |part: &str| column(&by_time[part], "day");
    assert_eq!((by_time["valid.jsonl"].len(), by_time["test.jsonl"].len()), (20, 40));
    assert!(days("train.jsonl").last() < days("valid.jsonl").first());
    assert!(days("valid.jsonl").last() < days("test.jsonl").first());
    let by_group = parts(&["--group", "who", "--valid-share", "0.3"]);
    let who = |part: &str| column(&by_group[part], "who");
    assert_eq!((who("train.jsonl").intersection(&who("valid.jsonl")).count(), by_group.len()), (0, 2));
    let whole = parts(&["--valid-share", "0"]);
    assert_eq!((whole.len(), whole["train.jsonl"].len()), (1, 200));
    let few = parts(&["--label", "who", "--most-per-label", "3", "--valid-share", "0"]);
    assert_eq!(few["train.jsonl"].len(), 30);
    let many = parts(&["--label", "who", "--least-per-label", "25", "--valid-share", "0"]);
    assert_eq!(many["train.jsonl"].len(), 250);
}

#[test]
fn examples_in_parquet_are_trained_on_and_scored() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(30)).unwrap();
    let base = base().to_str().unwrap();
    let run = |args: &[&str]| tunesmith(dir.path(), args).ok();
    let options = ["--base", base, "--test-share", "0.1", "--clean", "lower", "--json"];
    let prepare = |out: &str, more: &[&str]| {
        run(&[&["data", "prepare", "rows.csv", "--out", out], &options[..], more].concat()).json()
    };
    let made = prepare("parquet", &["--format", "parquet"]);
    assert_eq!((&made["train"], &made["valid"], &made["test"]), (&json!(72), &json!(9), &json!(9)));
    assert!(made["example"].as_str().unwrap().contains("anna asks"), "{made}");
    prepare("lines", &[]);
    let train = |data: &str, out: &str| {
        run(&["train", "--base", base, "--data", data, "--out", out, "--max-steps", "4", "--json"]);
        fs::read(dir.path().join(out).join("adapter_model.safetensors")).unwrap()
    };
    assert_eq!(train("parquet", "a"), train("lines", "b"), "both forms hold the same examples");
    let eval = |data: &str| {
        run(&["eval", "--model", base, "--adapter", "a", "--data", data, "--json"]).json()["results"].clone()
    };
    assert_eq!(eval("parquet")["valid"], eval("lines")["valid"]);
    assert_eq!(eval("parquet/test.parquet")["test"]["n"], eval("lines/test.jsonl")["test"]["n"]);
}

#[test]
fn what_cannot_be_prepared_is_said_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let refused = |args: &[&str], code: i32| {
        let said = tunesmith(dir.path(), &[&["data", "prepare", "in", "--out", "out"], args].concat());
        assert!(!dir.path().join("out").exists());
        said.refused(code).to_owned()
    };
    fs::write(dir.path().join("bad.toml"), "[steps]\nnears = 0.8\n").unwrap();
    let said = refused(&["--recipe", "bad.toml"], 2);
    assert!(said.contains("bad.toml: ") && said.contains("unknown field `nears`"), "{said}");
    fs::write(dir.path().join("bad.json"), "{}").unwrap();
    assert!(refused(&["--recipe", "bad.json"], 2).starts_with("error: bad.json: is no manifest: missing field"));
    assert_eq!(
        refused(&["--rows", "--input", "text"], 2),
        "error: --input maps columns for examples; with --rows, leave it out\n"
    );
    assert_eq!(
        refused(&["--rows", "--most-per-label", "3"], 2),
        "error: most_per_label and least_per_label need a column of labels; name it with label\n"
    );
    assert_eq!(
        refused(&["--rows", "--time", "title"], 2),
        "error: no row is left of 64 (keep 64 to 0); ask less of rows\n"
    );
    assert_eq!(
        refused(&["--rows", "--group", "nobody"], 2),
        "error: no row has a column \"nobody\", which a step asks for; check its name\n"
    );
    assert_eq!(
        refused(&["--kind", "classification", "--input", "text", "--target", "label", "--valid-share", "0"], 2),
        "error: examples need a share of at least 0.01 to validate on; with --rows there may be none\n"
    );
    assert!(refused(&["--against", "nowhere.jsonl"], 2).contains("nowhere.jsonl: there is no such file"));
}
