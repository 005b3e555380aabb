//! Continued pretraining on raw text, from files to a graded adapter.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Said, tunesmith};

/// A handbook that nobody has read: paragraphs of its own words, the same in every call.
fn handbook(paragraphs: usize) -> String {
    let pick = |list: &[&str], at: usize| list[at % list.len()].to_owned();
    let sentence = |at: usize| {
        let who = pick(&["the harbour clerk", "the night porter", "the purser", "the quay foreman", "the bosun"], at);
        let what = pick(&["the blue ledger", "the tide sheet", "the berth list", "the customs slip"], at / 5 + at);
        let ship = pick(
            &["the Heron", "the Maria", "the old dredger", "the mail packet", "a lugger", "the pilot boat"],
            at / 7,
        );
        let when =
            pick(&["before the noon gun", "at slack water", "when the ferry has cleared", "by lamp time"], at / 3);
        match at % 3 {
            0 => format!("No crew of {ship} may leave until {who} has signed line {at} of {what} {when}."),
            1 => format!("If {what} of {ship} is missing, {who} writes number {at} in the margin {when}."),
            _ => format!("It is for {who} to keep {what} dry and to show page {at} to {ship} {when}."),
        }
    };
    let paragraph = |at: usize| {
        let heading = if at.is_multiple_of(8) { format!("## Chapter {}\n\n", at / 8 + 1) } else { String::new() };
        heading + &(0..3).map(|n| sentence(at * 7 + n * (n + at % 5) + at / 11)).collect::<Vec<_>>().join(" ")
    };
    (0..paragraphs).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_handbook_is_read_on_and_the_gain_is_measured_on_passages_that_nobody_has_seen() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    fs::create_dir(dir.join("handbook")).unwrap();
    let text = handbook(240);
    let middle = text[..text.len() / 2].rfind("\n\n").unwrap();
    fs::write(dir.join("handbook/one.md"), format!("---\ntitle: Harbour\n---\n{}", &text[..middle])).unwrap();
    fs::write(dir.join("handbook/two.txt"), &text[middle..]).unwrap();
    let task = "Make it know our handbook: it should read the lot. Perplexity below 100, please.";
    let plan = ["run", task, "--file", "handbook", "--dry-run", "--json"];
    let plan = tunesmith(dir, &plan).ok().json();
    assert_eq!(
        (&plan["kind"], &plan["metric"], &plan["inputs"]),
        (&json!("pretraining"), &json!("bits_per_byte"), &json!(["text"]))
    );
    assert_eq!(plan["goals"], json!([{"metric": "perplexity", "at_most": 100.0}]));
    assert!(plan["notes"].to_string().contains("texts are read in passages"), "{plan}");

    let said: Said = tunesmith(dir, &["run", task, "--file", "handbook", "--minutes", "1.5", "--approve", "auto"]);
    // Where the machine slows down after its speed was measured, training ends at the deadline, and says so.
    let outcome = match said.code {
        0 => "met",
        4 if said.out.contains("training ended at the deadline") => "budget",
        _ => panic!("{said:?}"),
    };
    let run = fs::read_dir(dir.join("runs")).unwrap().next().unwrap().unwrap().path();
    let report: Value = serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap();
    let number = |at: &str| report.pointer(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let (base, tuned) = (number("/base/value"), number("/tuned/value"));
    assert_eq!((&report["metric"], &report["outcome"]), (&json!("bits_per_byte"), &json!(outcome)), "{said:?}");
    assert!(tuned < base && tuned > 0.05, "{base} to {tuned}");
    assert!((number("/gain/value") - (base - tuned)).abs() < 1e-9 && number("/gain/interval/0") > 0.0, "{report}");
    assert!(number("/gain/p_value") < 0.001 && number("/tuned/perplexity") < number("/base/perplexity"), "{report}");
    assert_eq!((&report["tuned"]["exact_match"], &report["baselines"]["majority"]), (&Value::Null, &Value::Null));
    assert_eq!(number("/base/n"), number("/rows/sealed"));
    assert!(said.out.contains("bits per byte fell from"), "{}", said.out);
    // No share anywhere: neither in the list of runs nor where it is graded again.
    let run = run.to_str().unwrap();
    let (listed, again) = (tunesmith(dir, &["runs", "list"]).ok(), tunesmith(dir, &["grade", run]).ok());
    let (base, tuned) = (format!("{base:.3}"), format!("{tuned:.3}"));
    assert!(listed.out.contains(&base) && listed.out.contains(&tuned) && !listed.out.contains('%'), "{}", listed.out);
    assert!(again.out.contains(&format!("bits per byte: base {base}, tuned {tuned}\n")), "{}", again.out);
    let run = std::path::Path::new(run);
    let page = fs::read_to_string(run.join("report.md")).unwrap();
    assert!(page.contains("| tuned |") && page.contains("perplexity ≤ 100.000"), "{page}");
}

#[test]
fn raw_text_is_not_taken_for_answers() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    fs::write(dir.join("book.txt"), handbook(60)).unwrap();
    for task in [
        "train a model that answers questions about our handbook",
        "sort these messages into urgent and not urgent",
        "extract the name and the date from each mail",
    ] {
        let said = tunesmith(dir, &["run", task, "--file", "book.txt", "--dry-run"]);
        assert!(said.refused(5).contains("raw text without answers can only be read on"), "{task}: {said:?}");
    }
    for (goal, metric) in [("accuracy>=0.9", "accuracy"), ("gain>=0.05", "gain")] {
        let args = ["run", "continue pretraining on this", "--file", "book.txt", "--goal", goal, "--dry-run"];
        let said = tunesmith(dir, &args);
        let why =
            format!("has no {metric} to set a goal for; the metrics that work are bits_per_byte<=X, perplexity<=X");
        assert!(said.refused(5).contains(&why), "{said:?}");
    }
    let said = tunesmith(dir, &["run", "continue pretraining on this, 5 points better", "--file", "book.txt"]);
    assert!(said.refused(5).contains("bits_per_byte<=X"), "{said:?}");
}
