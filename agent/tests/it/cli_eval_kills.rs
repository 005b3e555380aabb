//! Evaluations killed at random moments: each goes on where it was, and ends with the same bytes.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tunesmith_lm::rng::Rng;

use crate::{
    cli::{Said, base, command},
    cli_kills::kin,
};

const TASK: &str = "task: kills
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: \"{{q}} Is it even?\"
doc_to_target: a
doc_to_choice: [\"yes\", \"no\", \"perhaps\"]
";

const ROLLING: &str = "task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: \"\"
doc_to_target: q
";

const FILES: [&str; 4] = ["results.json", "samples_kills.jsonl", "samples_texts.jsonl", "evaluation.json"];

#[test]
fn four_kills_of_an_evaluation_lose_at_most_the_batch_at_hand() {
    survive(4, 1);
}

#[test]
#[ignore = "many evaluations: fifty kills"]
fn soak_fifty_kills_of_an_evaluation_lose_at_most_the_batch_at_hand() {
    survive(50, 2);
}

#[test]
fn a_cancelled_evaluation_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("kills.yaml"), TASK).unwrap();
    let row = |i: usize| format!("{{\"q\": \"{}\", \"a\": 0}}\n", format!("Number {i}. ").repeat(30));
    fs::write(dir.path().join("rows.jsonl"), (0..4_000).map(row).collect::<String>()).unwrap();
    let base = base().to_str().unwrap();
    let args = ["eval", "--model", base, "--tasks", "kills.yaml", "--out", "out"];
    let child = command(dir.path(), &args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    while answers(dir.path(), "out").len() < 2 {
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.err.ends_with("error: cancelled; --resume goes on with the answers in out\n"), "{said:?}");
}

fn survive(kills: usize, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("kills.yaml"), TASK).unwrap();
    fs::write(dir.path().join("texts.yaml"), ROLLING).unwrap();
    let row = |i: usize| {
        format!("{{\"q\": \"{} {i}.\", \"a\": {}}}\n", "Look at this number, please:".repeat(1 + i % 7), i % 2)
    };
    fs::write(dir.path().join("rows.jsonl"), (0..400).map(row).collect::<String>()).unwrap();
    let began = Instant::now();
    assert!(start(dir.path(), "unbroken").wait().unwrap().success());
    let took = began.elapsed();
    let unbroken = answers(dir.path(), "unbroken");
    let (mut rng, mut done, mut in_the_middle, mut round) = (Rng::new(seed, "kills of evaluations"), 0, 0, 0);
    while done < kills {
        let out = format!("round-{round}");
        let ended = loop {
            let mut child = start(dir.path(), &out);
            // Up to as long as the whole takes, so that some reach the end.
            let pause = Duration::from_micros(rng.below(took.as_micros() as usize) as u64);
            let began = Instant::now();
            while began.elapsed() < pause && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            while !kin(dir.path()).is_empty() {
                std::thread::yield_now();
            }
            done += 1;
            let kept = answers(dir.path(), &out);
            // What was kept is what an unbroken evaluation has then: only the batch at hand is asked again.
            assert!(unbroken.starts_with(&kept), "kill {done}");
            in_the_middle += usize::from(kept.len() > 1 && kept.len() < unbroken.len());
            if done == kills {
                break start(dir.path(), &out).wait().unwrap();
            }
        };
        assert!(ended.success(), "{ended}");
        assert_eq!(answers(dir.path(), &out), unbroken);
        for file in FILES {
            let read = |out: &str| fs::read(dir.path().join(out).join(file)).unwrap();
            assert!(read(&out) == read("unbroken"), "{file} of {out} differs");
        }
        round += 1;
    }
    assert_eq!(
        distinct(&unbroken),
        unbroken.iter().map(|line| batch(line)).sum::<usize>(),
        "a request was answered twice"
    );
    // Had every kill met a process that had not begun, or was done, nothing would be proved.
    assert!(in_the_middle * 4 >= kills, "only {in_the_middle} of {kills} kills met an evaluation in the middle");
    println!("{kills} kills in {round} evaluations of {} batches, {in_the_middle} in the middle", unbroken.len() - 1);
}

fn start(dir: &Path, out: &str) -> std::process::Child {
    let base = base().to_str().unwrap();
    let args = [
        "eval",
        "--model",
        base,
        "--tasks",
        "kills.yaml,texts.yaml",
        "--out",
        out,
        "--resume",
        "--bootstrap-iters",
        "100",
    ];
    command(dir, &args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The whole lines of the answers: a header, and then a batch each.
fn answers(dir: &Path, out: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.join(out).join("answers.jsonl")).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
}

fn batch(line: &str) -> usize {
    serde_json::from_str::<Value>(line).unwrap().as_array().map_or(0, Vec::len)
}

fn distinct(lines: &[String]) -> usize {
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = lines.iter().filter_map(Value::as_array).flatten().map(|answer| answer[0].as_str().unwrap());
    keys.collect::<BTreeSet<&str>>().len()
}
