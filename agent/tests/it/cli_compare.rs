//! `tunesmith compare`: what it prints, writes, and exits with.

use std::{fs, path::Path};

use serde_json::json;

use crate::cli::tunesmith;

/// Results of 300 items as an evaluation writes them, of which those that `right` says are right.
fn results(dir: &Path, right: impl Fn(usize) -> bool) {
    fs::create_dir(dir).unwrap();
    let share = (0..300).filter(|i| right(*i)).count() as f64 / 300.0;
    let file = json!({"results": {"t": {"acc,none": share, "acc_stderr,none": 0.03}}, "higher_is_better": {"t": {"acc": true}}});
    fs::write(dir.join("results.json"), file.to_string()).unwrap();
    let sample =
        |i: usize| json!({"doc_id": i, "doc": {"q": i}, "metrics": ["acc"], "acc": u8::from(right(i))}).to_string();
    fs::write(dir.join("samples_t.jsonl"), (0..300).map(sample).collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn compare_says_better_worse_or_cannot_tell_and_exits_with_3_where_it_is_worse() {
    let dir = tempfile::tempdir().unwrap();
    results(&dir.path().join("a"), |i| i % 2 == 0);
    results(&dir.path().join("b"), |i| i % 2 == 0 || i < 60);
    let better = tunesmith(dir.path(), &["compare", "a", "b", "--markdown", "out.md"]).ok();
    assert!(better.out.contains("better by 10.0 points"), "{}", better.out);
    assert!(better.out.ends_with("B is better than A: of 1 comparison, 1 better, 0 worse, 0 cannot be told\n"));
    let markdown = fs::read_to_string(dir.path().join("out.md")).unwrap();
    assert!(markdown.contains("| t | acc | 300 |") && markdown.contains("better by 10.0 points"), "{markdown}");
    let worse = tunesmith(dir.path(), &["compare", "b", "a", "--json"]);
    assert_eq!(worse.code, 3);
    assert_eq!(worse.json()["verdict"], "worse");
    assert_eq!(worse.json()["rows"][0]["test"], "mcnemar_exact");
    let same = tunesmith(dir.path(), &["compare", "a", "a"]).ok();
    assert!(same.out.ends_with("cannot tell A and B apart in 1 comparison\n"), "{}", same.out);
}

#[test]
fn compare_refuses_what_is_no_result_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    results(&dir.path().join("a"), |i| i % 2 == 0);
    fs::write(dir.path().join("broken.json"), "{\"results\": ").unwrap();
    let refused = |args: &[&str], want: &str| {
        let said = tunesmith(dir.path(), args);
        assert!(said.refused(2).contains(want), "{args:?}: {}", said.refused(2));
    };
    refused(&["compare", "a", "missing"], "missing: No such file");
    refused(&["compare", "a", "broken.json"], "broken.json: is damaged: EOF");
    refused(&["compare", "a", "a", "--alpha", "2"], "a level of 2 is not between 0 and 1");
    refused(&["compare", "a", "a", "--noise", "a"], "one run says nothing about noise");
    refused(&["compare", "a", "a", "--metric", "f1"], "no task and metric is in both");
    refused(&["compare", "a", "a", "--markdown", "/proc/x.md"], "--markdown /proc/x.md: cannot be written: ");
    refused(&["compare", "a", "a", "--cluster", "topic"], "the documents have no column \"topic\"; name one of q");
}
