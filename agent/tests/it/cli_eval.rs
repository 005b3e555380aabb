//! `tunesmith eval --tasks` and `score` as a stranger meets them.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;
use tunesmith_harness::{eval::journal::Journal, hash::sha256};

use crate::cli::tunesmith;

/// A directory with a task file and its rows.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let task = |name: &str, more: &str| {
        let text = format!(
            "task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: rows.jsonl}}}}\ntest_split: test\n\
             output_type: multiple_choice\ndoc_to_text: \"{{{{q}}}}\"\ndoc_to_target: a\ndoc_to_choice: [\"yes\", \"no\"]\n{more}"
        );
        fs::write(dir.path().join(format!("{name}.yaml")), text).unwrap();
    };
    task("even", "");
    task("ported", "process_docs: !function code.change\n");
    task("away", "dataset_path: own/thing\ndataset_kwargs: {}\n");
    let row = |i: usize| json!({"q": format!("Is {i} even?"), "a": i % 2}).to_string() + "\n";
    fs::write(dir.path().join("rows.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
    fs::write(dir.path().join("code.py"), "def change(docs):\n    return docs\n").unwrap();
    fs::write(dir.path().join("broken.yaml"), "task: [x\n  y: {").unwrap();
    fs::write(dir.path().join("noise.yaml"), [0xffu8, 0, 0x80, b'\n']).unwrap();
    fs::write(dir.path().join("deep.yaml"), "[".repeat(100_000)).unwrap();
    dir
}

#[test]
fn what_cannot_be_evaluated_is_refused_in_one_or_two_lines() {
    let dir = place();
    for (more, said) in [
        (&["--tasks", "evenn", "--include", "."][..], "is called \"evenn\"; did you mean \"even\"?"),
        (&["--tasks", "nothing.yaml"], "name a task file, or folders of them with --include"),
        (&["--tasks", "away.yaml"], "fetch it and name it with: --dataset own/thing=PATH"),
        (&["--tasks", "away.yaml", "--dataset", "own"], "is not NAME=PATH"),
        (&["--tasks", "away.yaml", "--dataset", "own/thing=nowhere"], "nowhere: there is no such file"),
        (&["--tasks", "away.yaml", "--dataset", "own/thing=even.yaml"], "even.yaml"),
        (&["--tasks", "ported.yaml"], "which has no native port"),
        (&["--tasks", "broken.yaml"], "broken.yaml: line 2: "),
        (&["--tasks", "noise.yaml"], "noise.yaml: is not UTF-8"),
        (&["--tasks", "deep.yaml"], "deep.yaml: line 1: recursion limit exceeded"),
        (&["--tasks", "even.yaml", "--out", "rows.jsonl"], "name another --out"),
        (&["--tasks", "even.yaml", "--out", "/proc/nowhere"], "name another --out"),
        (&["--tasks", "even.yaml", "--baseline", "rows.jsonl"], "rows.jsonl"),
        (&["--tasks", "even.yaml", "--markdown", "."], "--markdown .: is a directory, not a file"),
        (&["--tasks", "even.yaml", "--cluster", "who"], "the column `who` that --cluster names"),
        (&["--tasks", "even.yaml", "--limit", "nan"], "--limit"),
        (&["--tasks", "even.yaml", "--adapter", "x"], "--model random takes no --adapter"),
    ] {
        let given = [&["eval", "--model", "random"][..], more].concat();
        let err = tunesmith(dir.path(), &given).refused(2).to_owned();
        assert!(err.contains(said), "{more:?}: {err}");
    }
    let err = tunesmith(dir.path(), &["score", "."]).refused(2).to_owned();
    assert!(err.contains("evaluation.json: is not there; name the --out directory"), "{err}");
}

#[test]
fn an_evaluation_is_gone_on_with_scored_again_and_compared() {
    let dir = place();
    let eval = |model: &str, out: &str, more: &[&str]| {
        let args = ["eval", "--model", model, "--tasks", "even.yaml", "--out", out];
        tunesmith(dir.path(), &[&args[..], more].concat())
    };
    let planned = eval("random", "never", &["--dry-run", "--json"]).ok().json();
    assert_eq!(planned["tasks"], json!([{"task": "even", "rows": 40, "requests": 80, "n_shot": 0}]));
    assert!(!dir.path().join("never").exists());

    let files = ["--markdown", "to/a.md", "--html", "to/a.html", "--junit", "to/a.xml"];
    let first = eval("random", "a", &[&["--json"][..], &files].concat()).ok().json();
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(first, serde_json::from_str::<serde_json::Value>(&read("a/results.json")).unwrap());
    assert!(read("to/a.md").contains("| even |") && read("to/a.html").contains("<svg"), "{}", read("to/a.md"));
    assert!(read("to/a.xml").contains("<testsuite name=\"eval\" tests=\"2\" failures=\"0\" errors=\"0\">"));
    assert!(eval("random", "a", &[]).refused(2).contains("go on with --resume"));
    assert!(eval("constant", "a", &["--resume"]).refused(2).contains("of another model or adapter"));
    assert_eq!(eval("random", "a", &["--resume", "--json"]).ok().json(), first);
    assert_eq!(tunesmith(dir.path(), &["score", "a", "--json"]).ok().json(), first);

    // Other metrics need no new answers; other prompts do.
    let with = |more: &str, from: &str, to: &str| {
        let text = read("even.yaml").replace(from, to) + more;
        fs::write(dir.path().join("even.yaml"), text).unwrap();
    };
    with("metric_list: [{metric: acc_bytes}]\n", "", "");
    let again = tunesmith(dir.path(), &["score", "a", "--json"]).ok().json();
    assert_eq!(again["results"]["even"]["acc_bytes,none"], first["results"]["even"]["acc_norm,none"].clone());
    with("", "{{q}}", "{{q}} Say:");
    let err = tunesmith(dir.path(), &["score", "a"]).refused(2).to_owned();
    assert!(err.contains("prompts or examples of the tasks have changed since the model was asked"), "{err}");
    with("", "{{q}} Say:", "{{q}}");
    tunesmith(dir.path(), &["score", "a"]).ok();
    let rows: String = read("rows.jsonl").split_inclusive('\n').take(20).collect();
    fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let err = tunesmith(dir.path(), &["score", "a"]).refused(2).to_owned();
    assert!(err.contains("rows, prompts or examples of the tasks have changed"), "{err}");
}

#[test]
fn an_evaluation_from_the_root_reads_what_is_named_and_never_everything() {
    let dir = place();
    let (task, rows) = (dir.path().join("even.yaml"), dir.path().join("rows.jsonl"));
    let text = fs::read_to_string(&task).unwrap().replace("rows.jsonl", rows.to_str().unwrap());
    fs::write(&task, text).unwrap();
    let eval = |more: &[&str]| {
        let args = ["eval", "--model", "constant", "--tasks", task.to_str().unwrap()];
        tunesmith(Path::new("/"), &[&args[..], more].concat())
    };
    eval(&[]).ok();
    assert!(eval(&["--data-dir", "/"]).refused(2).contains("--data-dir /: is everything"));
    assert!(eval(&["--include", "/"]).refused(2).contains("`/` is everything; name what the job needs"));
}

#[test]
fn a_cache_in_use_is_refused_and_another_may_be_named() {
    let dir = place();
    let model = "random 0";
    let name = format!("cache/{}.jsonl", &sha256(model.as_bytes())[..32]);
    fs::create_dir(dir.path().join("cache")).unwrap();
    let used = Journal::open(&dir.path().join(name), model).unwrap();
    let eval = || tunesmith(dir.path(), &["eval", "--model", "random", "--tasks", "even.yaml", "--cache", "cache"]);
    let said = eval().refused(2).to_owned();
    assert!(
        said.contains("another process is writing these answers; wait for it to end, or name another place"),
        "{said}"
    );
    drop(used);
    eval().ok();
}

#[test]
fn being_worse_than_the_baseline_beyond_noise_is_three() {
    let dir = place();
    // Of many rows with the first choice right, answers that are all alike get every one.
    let rows: String =
        (0..200).map(|i| json!({"q": format!("Is {} even?", 2 * i), "a": 0}).to_string() + "\n").collect();
    fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let eval = |model: &str, more: &[&str]| {
        tunesmith(dir.path(), &[&["eval", "--model", model, "--tasks", "even.yaml"][..], more].concat())
    };
    eval("constant", &["--out", "base"]).ok();
    eval("constant", &["--baseline", "base"]).ok();
    let worse = eval("random", &["--baseline", "base", "--junit", "worse.xml"]);
    assert_eq!(worse.code, 3, "{worse:?}");
    assert!(worse.out.contains("worse than the baseline: even, acc: "), "{worse:?}");
    assert!(fs::read_to_string(dir.path().join("worse.xml")).unwrap().contains("failures=\"2\""));
}

#[test]
fn the_tasks_in_the_repository_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_str().unwrap();
    let tasks = format!("{root}/evals/tasks");
    let given = ["--include", &tasks, "--data-dir", root, "--tasks", "tunesmith", "--bootstrap-iters", "100"];
    let dir = tempfile::tempdir().unwrap();
    let results = tunesmith(dir.path(), &[&["eval", "--model", "constant", "--json"][..], &given].concat()).ok().json();
    let scores = &results["results"];
    // Bytes drawn at random need eight bits each.
    assert_eq!(scores["tunesmith_tales"]["bits_per_byte,none"], 8.0);
    assert_eq!(scores["tunesmith_sums"]["exact_match,last-number"], 0.0);
    assert_eq!(results["n-shot"], json!({"tunesmith_museum": 3, "tunesmith_sums": 3, "tunesmith_tales": 0}));
    let share = scores["tunesmith_museum"]["acc,none"].as_f64().unwrap();
    assert!((0.1..0.4).contains(&share), "{share}");
}
