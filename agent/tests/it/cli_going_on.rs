//! Whole runs killed at random moments and gone on with: they come to the same result, and no finished step is done twice.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tunesmith_harness::{event::Kind, log};
use tunesmith_lm::rng::Rng;

use crate::cli::{Said, base, command, tickets, tunesmith};

const TASK: &str = "Fine-tune a small model to route these messages to the right intent, and give me a GGUF file.";

#[test]
fn a_run_killed_three_times_and_gone_on_with_comes_to_the_same_result() {
    survive(3, 1, scripted);
}

#[test]
fn a_playbook_killed_twice_and_gone_on_with_comes_to_its_end() {
    survive(2, 2, playbook);
}

#[test]
#[ignore = "fifty kills, ten minutes"]
fn soak_fifty_kills_of_runs_that_go_on() {
    survive(30, 3, scripted);
    survive(20, 4, playbook);
}

/// The arguments of a run in a directory that is laid out for it.
fn scripted(dir: &Path) -> Vec<String> {
    let columns = json!({"kind": "classification", "input": "text", "target": "intent", "max_length": 128});
    let mut plan = columns.clone();
    plan["metric"] = "accuracy".into();
    plan["why"] = "each message has one intent".into();
    let calls = [
        ("data_inspect", json!({})),
        ("plan", plan),
        ("data_prepare", columns),
        ("evaluate", json!({})),
        ("train", json!({"name": "tuned", "epochs": 40, "learning_rate": 1e-2, "patience": 0})),
        ("evaluate", json!({"adapter": "tuned"})),
        ("convert", json!({"adapter": "tuned", "to": "gguf", "quant": "q8_0"})),
        ("finish", json!({"summary": "done", "adapter": "tuned", "artifacts": ["model-q8_0.gguf"]})),
    ];
    let turn = |(at, (name, arguments)): (usize, &(&str, Value))| {
        json!({"text": "", "calls": [{"id": at.to_string(), "name": name, "arguments": arguments}]}).to_string() + "\n"
    };
    fs::write(dir.join("script.jsonl"), calls.iter().enumerate().map(turn).collect::<String>()).unwrap();
    arguments(dir, "scripted:script.jsonl")
}

fn playbook(dir: &Path) -> Vec<String> {
    arguments(dir, "playbook")
}

fn arguments(dir: &Path, planner: &str) -> Vec<String> {
    fs::write(dir.join("rows.csv"), tickets(60)).unwrap();
    let base = base().to_str().unwrap();
    let given = ["--file", "rows.csv", "--base", base, "--planner", planner, "--approve", "auto"];
    ["run", TASK].into_iter().chain(given).map(str::to_owned).collect()
}

/// Kills runs until there were so many kills, each as often as it lasts, and compares each with one that was let be.
fn survive(kills: usize, seed: u64, lay_out: fn(&Path) -> Vec<String>) {
    let whole = tempfile::tempdir().unwrap();
    let args = lay_out(whole.path());
    let said = run(whole.path(), &args);
    let expected = Result::of(whole.path(), &said);
    let mut rng = Rng::new(seed, "kills of runs that go on");
    let (mut left, mut met, mut runs) = (kills, 0, 0);
    while left > 0 {
        let dir = tempfile::tempdir().unwrap();
        let args = lay_out(dir.path());
        runs += 1;
        // Each process of a run gets further than the one before.
        let mut lines = 1;
        while left > 0 {
            left -= 1;
            lines += 1 + rng.below(9);
            let killed = killed(dir.path(), &going_on(dir.path(), &args), lines, rng.below(200) as u64);
            met += usize::from(killed);
            if !killed {
                break;
            }
        }
        let said = run(dir.path(), &going_on(dir.path(), &args));
        // A process that was not killed has ended the run.
        if said.code != 2 {
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        }
        assert_eq!(Result::of(dir.path(), &said), expected, "{}", said.err);
        every_step_once(dir.path());
    }
    assert!(met * 2 > kills, "only {met} of {kills} kills met a run");
    println!("{kills} kills met {met} processes of {runs} runs; all came to the same result");
}

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct Result {
    outcome: Value,
    tuned: Value,
    artifacts: Value,
    /// SHA-256 of each file of the adapter.
    adapter: Value,
}

impl Result {
    fn of(dir: &Path, said: &Said) -> Self {
        let run = run_in(dir).unwrap_or_else(|| panic!("{}", said.err));
        let text = fs::read_to_string(run.join("report.json"));
        let report: Value = serde_json::from_str(&text.unwrap_or_else(|e| panic!("{e}: {}", said.err))).unwrap();
        let events = log::read(&run.join("events.jsonl")).unwrap();
        let trained = events.iter().rev().find_map(|event| match &event.kind {
            Kind::Returned { tool, ok: true, output, .. } if tool == "train" => Some(output.clone()),
            _ => None,
        });
        let mut adapter = trained.unwrap()["provenance"]["files"].clone();
        adapter.as_object_mut().unwrap().retain(|name, _| name.ends_with("safetensors"));
        let artifacts =
            report["artifacts"].as_array().unwrap().iter().map(|a| json!([a["sha256"], a["value"]])).collect();
        Result { outcome: report["outcome"].clone(), tuned: report["tuned"].clone(), artifacts, adapter }
    }
}

/// Each step is called and returns once, the log is whole, and nothing of the run is left behind.
fn every_step_once(dir: &Path) {
    let run = run_in(dir).unwrap();
    let mut steps: BTreeMap<u32, [u32; 2]> = BTreeMap::new();
    for event in log::read(&run.join("events.jsonl")).unwrap() {
        match event.kind {
            Kind::Called { step, .. } => steps.entry(step).or_default()[0] += 1,
            Kind::Returned { step, .. } => steps.entry(step).or_default()[1] += 1,
            _ => {}
        }
    }
    assert!(steps.values().all(|times| *times == [1, 1]), "{steps:?}");
    let left = fs::read_dir(run.join("work/.checkpoints")).unwrap().map(|entry| fs::read_dir(entry.unwrap().path()));
    assert!(!run.join("alive").exists() && left.into_iter().all(|dir| dir.unwrap().count() == 0));
}

/// What starts the run, or goes on with it once it has begun.
fn going_on(dir: &Path, args: &[String]) -> Vec<String> {
    match run_in(dir) {
        Some(run) => vec!["resume".into(), run.to_str().unwrap().into()],
        None => args.to_vec(),
    }
}

/// Starts a process and kills it when the log has so many lines and a while has passed; false where it ended before.
fn killed(dir: &Path, args: &[String], lines: usize, pause: u64) -> bool {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = command(dir, &words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut reached = None;
    while reached.is_none_or(|at: Instant| at.elapsed() < Duration::from_millis(pause)) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached.is_none() && length(dir) >= lines {
            reached = Some(Instant::now());
        }
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

fn run(dir: &Path, args: &[String]) -> Said {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    tunesmith(dir, &words)
}

/// The run that has begun in a directory: its log is there.
fn run_in(dir: &Path) -> Option<PathBuf> {
    let runs = fs::read_dir(dir.join("runs")).ok()?;
    runs.filter_map(|entry| Some(entry.ok()?.path()))
        .find(|run| fs::read_to_string(run.join("events.jsonl")).is_ok_and(|text| text.lines().next().is_some()))
}

fn length(dir: &Path) -> usize {
    run_in(dir).and_then(|run| fs::read_to_string(run.join("events.jsonl")).ok()).map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_that_has_its_result_is_not_gone_on_with_and_one_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let args = scripted(dir.path());
    run(dir.path(), &args).ok();
    let name = run_in(dir.path()).unwrap();
    let again = tunesmith(dir.path(), &["resume", name.to_str().unwrap()]);
    assert!(again.refused(2).starts_with("error: the run has ended (goal met: "), "{}", again.err);
    let held = log::Log::open(&name.join("events.jsonl")).unwrap();
    let busy = tunesmith(dir.path(), &["resume", name.file_name().unwrap().to_str().unwrap()]);
    assert!(busy.refused(5).contains("another process is writing this run"), "{}", busy.err);
    drop(held);
    tunesmith(dir.path(), &["resume", "nothing"]).refused(2);
}
