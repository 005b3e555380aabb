//! A session as a person has it: the built binary on a terminal of its own.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, json};

use crate::cli::{base, command, tickets, tunesmith};

/// What a person sees by now, and how much of it they have read.
#[derive(Default)]
struct Seen {
    text: String,
    read: usize,
    ended: bool,
}

/// A person at a terminal.
struct Person {
    child: Child,
    keys: File,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Person {
    fn at(dir: &Path, env: &[(&str, &str)]) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap();
        tcsetwinsize(&main, Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let side = || -> OwnedFd { open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap() };
        let mut command = command(dir, &[]);
        command.env("TERM", "xterm").env("NO_COLOR", "1").envs(env.iter().copied());
        let child = command.stdin(side()).stdout(Stdio::from(side())).stderr(Stdio::from(side())).spawn().unwrap();
        drop(command);
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let (mut screen, shown) = (File::from(main.try_clone().unwrap()), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Once nobody holds the other side, there is nothing more to read.
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                shown.0.lock().unwrap().text.push_str(&String::from_utf8_lossy(&bytes[..n]));
                shown.1.notify_all();
            }
            shown.0.lock().unwrap().ended = true;
            shown.1.notify_all();
        });
        Person { child, keys: File::from(main), seen }
    }

    /// Waits until these words are on the screen, behind all that was read before.
    fn sees(&self, words: &str) -> String {
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            if let Some(at) = seen.text[seen.read..].find(words) {
                let from = seen.read;
                seen.read += at + words.len();
                return seen.text[from..seen.read].to_owned();
            }
            assert!(!seen.ended, "no {words:?} in {}", &seen.text);
            let (next, late) = self.seen.1.wait_timeout(seen, Duration::from_secs(120)).unwrap();
            assert!(!late.timed_out(), "no {words:?} in {}", &next.text[next.read..]);
            seen = next;
        }
    }

    /// Types a line once the prompt is there: what is typed before may be lost.
    fn types(&mut self, line: &str) {
        self.sees("> ");
        self.presses(&format!("{line}\r"));
    }

    fn presses(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Ctrl-C while a run is at work: the terminal makes a signal of it.
    fn interrupts(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    fn leaves(mut self) -> i32 {
        self.presses("\u{4}");
        self.child.wait().unwrap().code().unwrap()
    }
}

fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tickets.csv"), tickets(40)).unwrap();
    dir
}

fn run_of(dir: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

fn shown(dir: &Path) -> Value {
    tunesmith(dir, &["runs", "show", run_of(dir).to_str().unwrap(), "--json"]).ok().json()
}

/// What a planner says, one line a turn.
fn script(dir: &Path, turns: &[Value]) -> String {
    let path = dir.join("script.jsonl");
    fs::write(&path, turns.iter().map(|turn| format!("{turn}\n")).collect::<String>()).unwrap();
    format!("scripted:{}", path.display())
}

#[test]
fn a_person_types_a_task_watches_it_and_leaves() {
    let dir = place();
    let mut person = Person::at(dir.path(), &[("OPENAI_API_KEY", "sk-test-0123456789abcdefghij")]);
    person.sees("playbook, runs in runs");
    person.sees("OPENAI_API_KEY is set: /model openai:MODEL lets such a model plan");
    person.types("/approve auto");
    person.sees("approve: auto; allowed: nothing more");
    person.types(&format!("/base {}", base().display()));
    person.sees("base: ");
    person.types("/mod");
    person.sees("error: there is no command /mod; did you mean /model?");
    person.sees("> ");
    person.presses("/bu\t steps 40\r");
    person.sees("a run may use: no limit of time, no limit of money, any number of tokens, 40 steps");
    person.types("Route these messages to the right team @tickets.csv. My key is hf_abcdefghijklmnopqrstuvwxyz012345");
    person.sees("files: tickets.csv");
    person.sees("data_inspect  ");
    person.sees("scope frozen: classification");
    person.sees("train  ");
    person.sees("report  ");
    person.types("/plan");
    person.sees("classification from \"text\" to \"intent\"");
    person.sees("ended: ");
    person.types("/budget");
    person.sees("the last run has used: ");
    person.types("/runs");
    person.sees("outcome");
    person.types("/undo");
    person.sees("error: nothing was said to this run after its request");
    person.sees("> ");
    assert_eq!(person.leaves(), 0);
    let history = dir.path().join(".local/state/tunesmith/history");
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o077, 0);
    let history = fs::read_to_string(history).unwrap();
    assert!(history.contains("Route these messages") && !history.contains("hf_abc"), "{history}");
    assert_eq!(shown(dir.path())["report"]["planner"], "playbook");
}

#[test]
fn a_person_stops_a_turn_says_what_to_do_instead_and_takes_it_back() {
    let dir = place();
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let long = |name: &str| call("train", json!({"name": name, "epochs": 200, "learning_rate": 1e-5}));
    let short = |name: &str| call("train", json!({"name": name, "max_steps": 4, "learning_rate": 1e-3}));
    let plan = json!({"kind": "classification", "input": "text", "target": "intent", "max_length": 128,
        "metric": "accuracy", "steps": ["train"], "why": "labels"});
    let prepared = json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.1});
    let planner = script(
        dir.path(),
        &[
            json!({"text": "First **the plan**.", "calls": [call("plan", plan)]}),
            json!({"calls": [call("data_prepare", prepared)]}),
            json!({"calls": [long("long"), call("evaluate", json!({}))]}),
            json!({"when": "the user said: make it short", "calls": [short("quick")]}),
            json!({"when": "\"adapter\":\"quick\"", "calls": [long("longer")]}),
            json!({"when": "the user said: only four steps", "calls": [short("four")]}),
            json!({"calls": [call("finish", json!({"summary": "done", "adapter": "four"}))]}),
        ],
    );
    let env = [("TUNESMITH_PLANNER", planner.as_str()), ("TUNESMITH_APPROVE", "auto")];
    let mut person = Person::at(dir.path(), &env);
    person.types(&format!("/base {}", base().display()));
    person.sees("base: ");
    person.types("Classify the messages @tickets.csv");
    person.sees("First the plan.");
    person.sees("loss ");
    person.interrupts();
    person.sees("stopping this turn");
    person.sees("stopped: say what to do instead");
    person.types("make it short");
    person.sees("going on after ");
    person.sees("quick, 4 of 4 steps");
    person.sees("5  train");
    person.sees("loss ");
    person.interrupts();
    let work = run_of(dir.path()).join("work");
    assert!(work.join("quick").is_dir());
    person.types("/undo");
    person.sees("taken back: \"make it short\" with 2 steps; the workdir is what it was before");
    assert!(!work.join("quick").exists());
    person.types("only four steps");
    person.sees("going on after ");
    person.sees("four, 4 of 4 steps");
    person.sees("report  ");
    person.sees("> ");
    assert_eq!(person.leaves(), 0);

    let shown = shown(dir.path());
    let report = &shown["report"];
    assert_eq!(report["instructions"], json!(["only four steps"]), "{report}");
    let steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| (&step["step"], &step["tool"])).collect();
    let want = [(1, "plan"), (2, "data_prepare"), (3, "train"), (4, "train"), (5, "finish")];
    assert_eq!(json!(steps), json!(want), "{report}");
    assert!(report["tuned"]["value"].is_number(), "{report}");
    let run = run_of(dir.path());
    let replayed = tunesmith(dir.path(), &["runs", "replay", run.to_str().unwrap()]);
    assert!(replayed.refused(2).contains("said something else"), "{replayed:?}");
    assert!(!run.join("before").join(".part").exists());
}

#[test]
fn a_question_gives_way_to_ctrl_c_and_a_second_one_ends_the_run() {
    let dir = place();
    let mut person = Person::at(dir.path(), &[]);
    person.types(&format!("/base {}", base().display()));
    person.sees("base: ");
    person.types("Route these messages to the right team @tickets.csv");
    person.sees("Do it? y, n, r for the rest of the run [n] ");
    person.interrupts();
    person.sees("stopped: /go goes on as it was");
    person.types("use fewer steps");
    person.sees("error: the playbook takes no words in the middle of a run");
    person.types("/go");
    person.sees("Do it? y, n, r for the rest of the run [n] ");
    person.presses("y\r");
    person.sees("loss ");
    person.interrupts();
    person.sees("stopping this turn");
    person.sees("stopped> ");
    person.presses("\u{3}");
    person.sees("the run has ended; tunesmith resume ");
    person.types("/go");
    person.sees("error: no run is stopped");
    let name = run_of(dir.path()).file_name().unwrap().to_str().unwrap().to_owned();
    person.types(&format!("/runs {name}"));
    person.sees("stopped: /go goes on as it was");
    person.sees("> ");
    assert_eq!(person.leaves(), 0);
    assert_eq!(shown(dir.path())["summary"]["outcome"], "cancelled");
}

#[test]
fn without_a_terminal_there_is_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("Usage: tunesmith") && said.out.is_empty(), "{said:?}");
}
