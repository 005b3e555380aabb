//! How late a run is: whatever hangs, the binary has left within two seconds of its deadline.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tunesmith_evals::{cheats::COLUMNS, data::generator};
use tunesmith_harness::rows::write_jsonl;

use crate::scripts::{Scripts, columns, plan};

/// What may pass between the deadline and the end of the process.
const LATE: f64 = 2.0;

const PLAYBOOK: &str = "the playbook";

/// Calls up to a training, and with `train`.
fn calls<'a>(train: Value, after: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    let mut calls = vec![("plan", plan()), ("data_prepare", columns()), ("train", train)];
    calls.extend(after.iter().cloned());
    calls
}

fn finish() -> (&'static str, Value) {
    ("finish", json!({"summary": "done", "adapter": "tuned"}))
}

/// A case: what hangs, and the run of it, for so many seconds.
struct Case {
    name: &'static str,
    seconds: f64,
    scripts: Scripts,
    more: Vec<String>,
    /// What is killed after the run, and what must stay open until then.
    _held: Option<TcpListener>,
}

fn case(name: &'static str, seconds: f64, calls: &[(&str, Value)]) -> Case {
    Case { name, seconds, scripts: Scripts::new(calls), more: Vec::new(), _held: None }
}

impl Case {
    fn with(mut self, more: &[&str]) -> Self {
        self.more.extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    fn command(&self) -> Command {
        let minutes = (self.seconds / 60.0).to_string();
        let mut all = vec!["--minutes", &minutes];
        all.extend(self.more.iter().map(String::as_str));
        self.scripts.command(&all)
    }

    /// Seconds between the deadline and the end, with the exit code.
    fn late(&self) -> (f64, i32) {
        let mut command = self.command();
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let status = child.wait().unwrap();
        let late = began.elapsed().as_secs_f64() - self.seconds;
        (late, status.code().unwrap_or(-1))
    }
}

/// A server that takes connections and never says a word.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("url:http://127.0.0.1:{port}/v1#m"))
}

fn long_training(seconds: f64) -> Case {
    let train = json!({"name": "tuned", "epochs": 1_000, "patience": 0});
    case("a training that would take longer", seconds, &calls(train, &[finish()]))
}

fn long_grading(seconds: f64) -> Case {
    let [input, target] = COLUMNS;
    let columns = json!({"kind": "classification", "input": input, "target": target, "max_length": 128});
    let mut plan = columns.clone();
    (plan["metric"], plan["why"]) = ("accuracy".into(), "each has one".into());
    let train = json!({"name": "tuned", "max_steps": 2});
    let calls = [("plan", plan), ("data_prepare", columns), ("train", train), finish()];
    let case = case("a grader that has to stop", seconds, &calls);
    // Far more rows than can be scored in the time.
    let mut rows = generator("tickets").unwrap().rows(3, 4_200);
    let sealed = rows.split_off(200);
    for (name, rows) in [("open.jsonl", &rows), ("test.jsonl", &sealed)] {
        write_jsonl(&case.scripts.dir.path().join(name), rows).unwrap();
    }
    case.with(&["--file", "open.jsonl", "--test", "test.jsonl", "--base", "nano"])
}

/// More rows than can be read and set aside in the time.
fn long_reading(seconds: f64) -> Case {
    let case = case("reading of rows", seconds, &[finish()]);
    let rows = (0..400_000_u64)
        .map(|n| format!("hello world number {n} and {} more words here,{}\n", n * 7919 % 10_007, n % 4));
    let text: String = std::iter::once("text,label\n".to_owned()).chain(rows).collect();
    fs::write(case.scripts.dir.path().join("many.csv"), text).unwrap();
    case.with(&["--file", "many.csv"])
}

fn hung_command(seconds: f64) -> Case {
    let call = ("shell", json!({"command": "trap '' TERM INT; sleep 600 & wait; wait", "timeout": 600}));
    case("a command that hangs", seconds, &[call, ("finish", json!({"summary": "s"}))])
}

fn hung_program(seconds: f64) -> Case {
    let call = ("hang", json!({}));
    let case = case("a program of the user's that hangs", seconds, &[call, ("finish", json!({"summary": "s"}))]);
    hanging(
        case,
        "if [ \"$1\" = --schema ]; then\n\
        echo '{\"name\": \"hang\", \"description\": \"Hangs.\", \"parameters\": {\"type\": \"object\"}}'\n\
        exit 0\nfi\n",
    )
}

fn hung_schema(seconds: f64) -> Case {
    hanging(case("a program that never says what it takes", seconds, &[("finish", json!({"summary": "s"}))]), "")
}

/// With a program in the settings that hangs after these lines.
fn hanging(case: Case, lines: &str) -> Case {
    let dir = case.scripts.dir.path();
    let program = dir.join("hang.sh");
    fs::write(&program, format!("#!/bin/sh\n{lines}trap '' TERM INT\nsleep 600\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = dir.join(".config/tunesmith");
    fs::create_dir_all(&settings).unwrap();
    let command = format!("[tools.hang]\ncommand = [{:?}]\ntimeout = 600\n", program.display().to_string());
    fs::write(settings.join("config.toml"), command).unwrap();
    case.with(&["--share", "samples"])
}

fn hung_planner(seconds: f64) -> Case {
    let (listener, planner) = silent();
    let mut case = case("a planner that never answers", seconds, &[]).with(&["--planner", &planner]);
    case._held = Some(listener);
    case
}

/// With a chat template that says nothing, the model hears nothing and seldom comes to an end of its own.
fn endless_model(seconds: f64) -> Case {
    let case =
        case("a model in files that does not come to an end", seconds, &[]).with(&["--planner", "local:planner"]);
    crate::cli_local::planner(case.scripts.dir.path(), 65_536, Some("{{ messages[0].content }}"));
    case
}

fn playbook(seconds: f64) -> Case {
    case(PLAYBOOK, seconds, &[]).with(&["--planner", "playbook"])
}

/// All that can hang, with a deadline after so many seconds.
fn cases(seconds: f64) -> Vec<Case> {
    let makers = [
        long_reading,
        long_training,
        long_grading,
        hung_command,
        hung_program,
        hung_schema,
        hung_planner,
        endless_model,
        playbook,
    ];
    makers.into_iter().map(|make| make(seconds)).collect()
}

/// Plays cases, two at a time, and says how late each was.
fn play(cases: &[Case]) -> Vec<String> {
    let late = |case: &Case| {
        let (late, code) = case.late();
        println!("{:>5.1} s  {:<40} {late:>+6.2} s, exit code {code}", case.seconds, case.name);
        // The playbook may be done in time; all else ends at the limit.
        let wrong = late > LATE || code != 4 && !(case.name == PLAYBOOK && [0, 3].contains(&code));
        wrong.then(|| format!("{} with {} s: {late:+.2} s, exit code {code}", case.name, case.seconds))
    };
    cases.iter().filter_map(late).collect()
}

#[test]
fn whatever_hangs_the_run_has_left_within_two_seconds_of_its_deadline() {
    let mut all = vec![
        long_reading(1.0),
        long_training(8.0),
        hung_command(1.0),
        hung_schema(2.0),
        hung_planner(3.0),
        endless_model(5.0),
    ];
    all.push(long_grading(20.0));
    assert_eq!(play(&all), Vec::<String>::new());
}

#[test]
#[ignore = "every case at six deadlines, five minutes"]
fn soak_whatever_hangs_the_run_has_left_within_two_seconds_of_its_deadline() {
    let all: Vec<Case> = [0.05, 1.0, 3.0, 6.0, 12.0, 24.0].into_iter().flat_map(cases).collect();
    let began = Instant::now();
    assert_eq!(play(&all), Vec::<String>::new());
    println!("{} runs in {:?}", all.len(), Duration::from_secs(began.elapsed().as_secs()));
}
