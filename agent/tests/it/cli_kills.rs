//! Whole runs killed at random moments: their logs open and verify, and nothing that they started is alive a second later.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith_harness::log;
use tunesmith_lm::rng::Rng;

use crate::cli::{base, command, tickets, tunesmith};

const TASK: &str = "Fine-tune a small model to route these messages to the right intent.";

/// Daemons, a process that ignores signals, and one that is stopped, for a third of a second.
const TREE: &str =
    "setsid sleep 60 & (setsid sleep 60 &) & (trap '' TERM INT HUP; sleep 60) & sh -c 'kill -STOP $$' & sleep 0.3";

/// How soon everything must be dead.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn two_kills_of_a_run_leave_a_whole_log_and_no_process() {
    survive(2, 1);
}

#[test]
#[ignore = "many runs: twenty kills"]
fn soak_twenty_kills_of_a_run_leave_a_whole_log_and_no_process() {
    survive(20, 2);
}

fn survive(kills: usize, seed: u64) {
    let mut rng = Rng::new(seed, "kills of runs");
    let (mut seen, mut events, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..kills {
        let (lines, pause) = (1 + rng.below(14), Duration::from_millis(rng.below(300) as u64));
        let run = Killed::after(lines, pause);
        slowest = slowest.max(run.dies());
        seen += run.processes;
        events += run.events();
    }
    // Had every run been killed before it began, nothing would be proved.
    assert!(seen > kills && events > kills, "{kills} kills met {seen} processes and {events} events");
    println!(
        "{kills} kills ended {seen} processes, the slowest within {} ms; {events} events verify",
        slowest.as_millis()
    );
}

/// A run that was killed.
struct Killed {
    dir: TempDir,
    /// How many processes were alive then.
    processes: usize,
    at: Instant,
}

impl Killed {
    /// Starts a run and kills it, and it alone, when its log has so many lines, or stands still, and a while has passed.
    fn after(lines: usize, pause: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
        fs::write(dir.path().join("script.jsonl"), script()).unwrap();
        let base = base().to_str().unwrap();
        let given = ["--file", "rows.csv", "--base", base, "--planner", "scripted:script.jsonl", "--approve", "auto"];
        let mut command = command(dir.path(), &[&["run", TASK][..], &given].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (mut length, mut grown) = (0, Instant::now());
        while length < lines && grown.elapsed() < Duration::from_secs(3) {
            let now = text(dir.path()).lines().count();
            if now != length {
                (length, grown) = (now, Instant::now());
            }
            assert!(child.try_wait().unwrap().is_none(), "the run ended by itself after {length} lines");
            std::thread::yield_now();
        }
        let reached = Instant::now();
        while reached.elapsed() < pause {
            std::thread::yield_now();
        }
        let processes = kin(dir.path()).len();
        child.kill().unwrap();
        let at = Instant::now();
        child.wait().unwrap();
        Killed { dir, processes, at }
    }

    /// Waits until nothing of the run is alive, and says how long that took.
    fn dies(&self) -> Duration {
        loop {
            let (left, took) = (kin(self.dir.path()), self.at.elapsed());
            if left.is_empty() {
                return took;
            }
            assert!(took < SOON, "alive are {left:?}");
            std::thread::yield_now();
        }
    }

    /// How many events its log holds, each of which must verify.
    fn events(&self) -> usize {
        let Some(run) = run_in(self.dir.path()) else { return 0 };
        let path = run.join("events.jsonl");
        if !path.exists() {
            return 0;
        }
        let history = log::scan(&path).unwrap();
        let shown = tunesmith(self.dir.path(), &["runs", "show", run.to_str().unwrap(), "--json"]).ok().json();
        let whole =
            json!({"events": history.events.len(), "head": history.head, "torn_bytes": history.torn, "broken": null});
        assert_eq!(shown["log"], whole);
        history.events.len()
    }
}

/// A planner that leaves processes behind and then trains for longer than any test waits.
fn script() -> String {
    let columns = json!({"kind": "classification", "input": "text", "target": "intent", "max_length": 128});
    let mut plan = columns.clone();
    plan["metric"] = "accuracy".into();
    plan["why"] = "each message has one intent".into();
    let train = json!({"name": "tuned", "epochs": 1000, "learning_rate": 1e-3, "patience": 0});
    let shell = json!({"command": TREE});
    let calls = [("plan", plan), ("shell", shell), ("data_prepare", columns), ("train", train)];
    let turn = |(at, (name, arguments)): (usize, &(&str, Value))| {
        json!({"text": "", "calls": [{"id": at.to_string(), "name": name, "arguments": arguments}]}).to_string() + "\n"
    };
    calls.iter().enumerate().map(turn).collect()
}

fn run_in(dir: &Path) -> Option<std::path::PathBuf> {
    Some(fs::read_dir(dir.join("runs")).ok()?.next()?.unwrap().path())
}

fn text(dir: &Path) -> String {
    run_in(dir).and_then(|run| fs::read_to_string(run.join("events.jsonl")).ok()).unwrap_or_default()
}

/// The processes that work in a directory, or have it for a home.
pub fn kin(dir: &Path) -> Vec<String> {
    let mark = format!("HOME={}", dir.to_str().unwrap());
    let ours = |pid: &String| {
        let process = Path::new("/proc").join(pid);
        let environ = fs::read(process.join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
            || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
    };
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(ours).collect()
}
