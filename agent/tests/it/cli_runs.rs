//! Whole runs: what they print, and what `runs` makes of logs whose process was stopped, killed or damaged.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use serde_json::{Value, json};
use tunesmith_harness::log;

use crate::cli::{Said, base, command, tickets, tunesmith};

const TASK: &str = "Fine-tune a small model to route these messages to the right intent.";

/// A planner that trains as the test says and then hands in.
pub fn script(train: Value) -> String {
    let columns = json!({"kind": "classification", "input": "text", "target": "intent", "max_length": 128});
    let mut plan = columns.clone();
    plan["metric"] = "accuracy".into();
    plan["why"] = "each message has one intent".into();
    let finish = json!({"summary": "done", "adapter": "tuned"});
    let calls = [("plan", plan), ("data_prepare", columns), ("train", train), ("finish", finish)];
    let turn = |(at, (name, arguments)): (usize, &(&str, Value))| {
        json!({"text": "", "calls": [{"id": at.to_string(), "name": name, "arguments": arguments}]}).to_string() + "\n"
    };
    calls.iter().enumerate().map(turn).collect()
}

/// A directory with rows and a script, and the arguments of a run on them.
pub fn place(train: Value) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    fs::write(dir.path().join("script.jsonl"), script(train)).unwrap();
    let base = base().to_str().unwrap();
    let args = [
        "run",
        TASK,
        "--file",
        "rows.csv",
        "--base",
        base,
        "--planner",
        "scripted:script.jsonl",
        "--approve",
        "auto",
        "--minutes",
        "5",
    ];
    (dir, args.map(str::to_owned).to_vec())
}

pub fn words(args: &[String], more: &[&'static str]) -> Vec<String> {
    args.iter().cloned().chain(more.iter().map(|more| (*more).to_owned())).collect()
}

fn start(dir: &Path, args: &[String]) -> Child {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    command(dir, &args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn run(dir: &Path, args: &[String]) -> Said {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    tunesmith(dir, &args)
}

/// The one run in `runs`.
fn run_dir(dir: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

pub fn good() -> Value {
    json!({"name": "tuned", "epochs": 14, "learning_rate": 1e-2, "patience": 0})
}

/// Far more steps than any test waits for.
fn endless() -> Value {
    json!({"name": "tuned", "epochs": 1000, "learning_rate": 1e-3, "patience": 0})
}

#[test]
fn json_output_is_the_log_and_nothing_else() {
    let (dir, args) = place(good());
    let said = run(dir.path(), &words(&args, &["--json"])).ok();
    let log = fs::read_to_string(run_dir(dir.path()).join("events.jsonl")).unwrap();
    assert_eq!(said.out, log);
    let last: Value = serde_json::from_str(log.lines().next_back().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["outcome"]), (&json!("ended"), &json!("met")));
    assert_eq!(last["run"], json!(run_dir(dir.path()).canonicalize().unwrap()));
}

#[test]
fn a_run_in_plain_lines_ends_with_the_verdict_and_what_to_do_next() {
    let (dir, args) = place(good());
    let said = run(dir.path(), &args).ok();
    assert!(!said.out.contains('\u{1b}'), "{}", said.out);
    let line = |start: &str| {
        said.out.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {}", said.out))
    };
    for start in [
        " 1  plan  ",
        " 2  data_prepare  ",
        " 3  train  ",
        " 4  finish  ",
        "Goal met: ",
        "base ",
        "tuned ",
        "naive Bayes ",
        "report  ",
    ] {
        line(start);
    }
    let run = run_dir(dir.path());
    let history = log::scan(&run.join("events.jsonl")).unwrap();
    assert_eq!(line("log     "), format!("log     {}", history.head));
    assert!(said.out.contains("tunesmith generate --model "), "{}", said.out);

    let name = run.file_name().unwrap().to_str().unwrap();
    let shown = tunesmith(dir.path(), &["runs", "show", name, "--json"]).ok().json();
    let fields: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["summary", "log", "report"]);
    assert_eq!(shown["summary"]["outcome"], "met");
    assert_eq!(
        shown["log"],
        json!({"events": history.events.len(), "head": history.head, "torn_bytes": 0, "broken": null})
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap();
    assert_eq!(shown["report"], report);
    let listed = tunesmith(dir.path(), &["runs", "list"]).ok().out;
    assert!(listed.contains(name) && listed.contains("goal met"), "{listed}");

    let again = tunesmith(dir.path(), &["grade", run.to_str().unwrap(), "--json"]).ok().json();
    assert_eq!(again["equals_log"], true, "{again}");
}

#[test]
fn a_run_by_a_model_that_lacks_the_wanted_file_does_not_meet_its_goal() {
    let (dir, mut args) = place(good());
    args[1] = format!("{TASK} Give me a GGUF file.");
    args.extend(["--test-share", "0.3"].map(str::to_owned));
    let said = run(dir.path(), &args);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("the request asks for a file that was not handed in (gguf)"), "{said:?}");

    // What the run was graded on and by is in its manifest, and a change of it is found out.
    let run = run_dir(dir.path());
    let manifest: Value = serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    let names: Vec<&String> = manifest["hashes"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["base", "data", "sealed", "template", "tokenizer"]);
    assert_eq!((&manifest["task"]["artifacts"], manifest.get("scope")), (&json!(["gguf"]), None));
    let grade = |code| tunesmith(dir.path(), &["grade", run.to_str().unwrap()]).refused(code).to_owned();
    for (file, code, why) in [
        ("work/prepared/recipe.json", 3, "prepared/recipe.json is not what data_prepare wrote"),
        ("work/data/train.jsonl", 3, "work/data/train.jsonl is not what it was when the scope was frozen"),
        ("sealed/rows.jsonl", 70, "sealed/rows.jsonl is not what was sealed when the run began"),
    ] {
        let whole = fs::read(run.join(file)).unwrap();
        fs::write(run.join(file), [&whole[..], b" "].concat()).unwrap();
        let said = grade(code);
        assert!(said.contains(why), "{said}");
        fs::write(run.join(file), whole).unwrap();
    }
    let weights = run.join("work/tuned/adapter_model.safetensors");
    fs::write(&weights, [fs::read(&weights).unwrap(), vec![0]].concat()).unwrap();
    let said = tunesmith(dir.path(), &["grade", run.to_str().unwrap()]);
    let lines: Vec<&str> = said.out.lines().skip(1).collect();
    let why = "work/tuned did not pass: lineage: adapter_model.safetensors is not what the training step wrote";
    assert_eq!((said.code, lines), (3, vec![why, "the log says something else"]), "{said:?}");
}

#[test]
fn two_runs_are_compared_on_their_sealed_rows() {
    let (dir, args) = place(json!({"name": "tuned", "max_steps": 1, "learning_rate": 1e-6}));
    run(dir.path(), &words(&args, &["--dir", "weak"]));
    fs::write(dir.path().join("script.jsonl"), script(good())).unwrap();
    run(dir.path(), &words(&args, &["--dir", "strong"])).ok();
    let only = |runs: &str| fs::read_dir(dir.path().join(runs)).unwrap().next().unwrap().unwrap().path();
    let (weak, strong) = (only("weak"), only("strong"));
    let compare =
        |a: &Path, b: &Path| tunesmith(dir.path(), &["compare", "--json", a.to_str().unwrap(), b.to_str().unwrap()]);
    let better = compare(&weak, &strong).ok().json();
    let row = &better["rows"][0];
    let got = ["task", "metric", "test", "verdict", "unmatched"].map(|field| &row[field]);
    assert_eq!(
        got,
        [&json!("sealed rows"), &json!("accuracy"), &json!("mcnemar_exact"), &json!("better"), &json!([0, 0])]
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(strong.join("report.json")).unwrap()).unwrap();
    assert_eq!([&row["n"], &row["b"]["value"]], [&report["tuned"]["n"], &report["tuned"]["value"]]);
    let worse = compare(&strong, &weak);
    assert_eq!((worse.code, &worse.json()["verdict"]), (3, &json!("worse")));
}

#[test]
fn a_run_is_graded_with_a_base_of_its_own_wherever_it_was_moved() {
    let (dir, mut args) = place(good());
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    for file in fs::read_dir(base()).unwrap().map(|file| file.unwrap()) {
        fs::copy(file.path(), own.join(file.file_name())).unwrap();
    }
    *args.iter_mut().find(|arg| **arg == base().to_str().unwrap()).unwrap() = "own".into();
    run(dir.path(), &args).ok();
    let moved = dir.path().join("moved");
    fs::rename(run_dir(dir.path()), &moved).unwrap();
    let grade = || tunesmith(dir.path(), &["grade", "moved", "--json"]);
    assert_eq!(grade().ok().json()["equals_log"], true);
    fs::rename(&own, dir.path().join("away")).unwrap();
    let said = grade().refused(5).to_owned();
    assert!(said.contains("the base cannot be read: ") && said.contains("put it back"), "{said}");
    fs::rename(dir.path().join("away"), moved.join("base")).unwrap();
    assert_eq!(grade().ok().json()["equals_log"], true);
}

#[test]
fn a_plan_on_another_base_is_refused() {
    let (dir, args) = place(good());
    let path = dir.path().join("script.jsonl");
    let script = fs::read_to_string(&path).unwrap().replacen("\"metric\":", "\"base\":\"other\",\"metric\":", 1);
    fs::write(&path, script).unwrap();
    let said = run(dir.path(), &words(&args, &["--json"]));
    let wanted = format!("the base of this run is {:?}, not \"other\"; leave it out", base());
    let line = said.out.lines().find(|line| line.contains("\"returned\"")).unwrap();
    let returned: Value = serde_json::from_str(line).unwrap();
    assert!(returned["output"].as_str().unwrap().contains(&wanted), "{returned}");
}

#[test]
fn never_approving_asks_nobody_and_names_the_steps() {
    let (dir, args) = place(good());
    let args: Vec<String> = args.into_iter().filter(|arg| arg != "--approve" && arg != "auto").collect();
    let said = run(dir.path(), &words(&args, &["--approve", "never"]));
    assert_eq!(said.code, 5, "{said:?}");
    assert!(!said.out.contains("let scripted") && !said.err.contains("let scripted"), "{said:?}");
}

/// Waits for a line of a child's output.
fn wait_for(child: &mut Child, what: &str) -> BufReader<std::process::ChildStdout> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before {what}");
    }
    out
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Runs until training has begun and sends a signal.
fn stopped_by(name: &str) -> (tempfile::TempDir, Option<i32>) {
    let (dir, args) = place(endless());
    let mut child = start(dir.path(), &words(&args, &["--json"]));
    let out = wait_for(&mut child, "\"tool\":\"train\"");
    signal(&child, name);
    drop(out);
    let code = child.wait().unwrap().code();
    (dir, code)
}

#[test]
fn ctrl_c_in_training_ends_with_130_and_a_whole_log() {
    let (dir, code) = stopped_by("-INT");
    assert_eq!(code, Some(130));
    let run = run_dir(dir.path());
    let events = log::read(&run.join("events.jsonl")).unwrap();
    let last = serde_json::to_value(events.last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["outcome"]), (&json!("ended"), &json!("cancelled")));
    let shown = tunesmith(dir.path(), &["runs", "show", run.to_str().unwrap()]).ok().out;
    assert!(shown.contains("outcome  cancelled"), "{shown}");
}

#[test]
fn sigterm_is_taken_as_ctrl_c() {
    assert_eq!(stopped_by("-TERM").1, Some(130));
}

#[test]
fn a_run_that_was_killed_can_be_shown() {
    let (dir, code) = stopped_by("-KILL");
    assert_eq!(code, None);
    let run = run_dir(dir.path());
    let listed = tunesmith(dir.path(), &["runs", "list", "--json"]).ok().json();
    assert_eq!(
        (&listed[0]["outcome"], &listed[0]["steps"], &listed[0]["problem"]),
        (&Value::Null, &json!(3), &Value::Null)
    );
    let shown = tunesmith(dir.path(), &["runs", "show", run.to_str().unwrap()]).ok().out;
    assert!(shown.contains(" 3  train         not finished") && shown.contains("the run did not end"), "{shown}");

    // Half a line at the end, as a power cut leaves it.
    let path = run.join("events.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"seq\":9,\"at\"")).unwrap();
    let shown = tunesmith(dir.path(), &["runs", "show", run.to_str().unwrap()]).ok().out;
    assert!(shown.contains("the log's last line was cut off (13 bytes) and is left out"), "{shown}");
    assert!(shown.contains(" 3  train         not finished"), "{shown}");

    // A line that somebody changed.
    fs::write(&path, whole.replacen("data_prepare", "data_repaired", 1)).unwrap();
    let shown = tunesmith(dir.path(), &["runs", "show", run.to_str().unwrap()]).ok().out;
    assert!(shown.contains("the log is damaged at line "), "{shown}");
    let listed = tunesmith(dir.path(), &["runs", "list"]).ok().out;
    assert!(listed.contains("did not end, log damaged"), "{listed}");
}

#[test]
fn what_is_no_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tunesmith(dir.path(), &["runs", "list"]).ok().out, "no runs in runs\n");
    assert_eq!(tunesmith(dir.path(), &["runs", "list", "--json"]).ok().json(), json!([]));
    let said = tunesmith(dir.path(), &["runs", "show", "nothing"]);
    assert!(said.refused(2).contains("see `tunesmith runs list`"), "{said:?}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let args = ["run", TASK, "--file", "rows.csv", "--base", base().to_str().unwrap(), "--dry-run"];
    let said = tunesmith(dir.path(), &args).ok();
    assert!(said.out.contains("classification") && said.out.contains("intent"), "{}", said.out);
    assert!(!dir.path().join("runs").exists());
    let mut args = args.to_vec();
    args.push("--json");
    assert_eq!(tunesmith(dir.path(), &args).ok().json()["kind"], "classification");
}

#[test]
fn nobody_at_the_terminal_means_no_approval() {
    let (dir, args) = place(good());
    let args: Vec<String> = args.into_iter().filter(|arg| arg != "--approve" && arg != "auto").collect();
    let said = run(dir.path(), &args);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("--approve auto"), "{said:?}");
}

#[test]
fn a_second_signal_of_either_kind_leaves_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // More columns than a pipe holds, so that the command waits for a reader where no request to stop reaches it.
    let line = |cell: &str| (0..2000).map(|n| format!("{cell}{n}")).collect::<Vec<_>>().join(",") + "\n";
    fs::write(dir.path().join("wide.csv"), line("column") + &line("a") + &line("b")).unwrap();
    for second in ["-TERM", "-INT"] {
        let mut child = start(dir.path(), &["data", "inspect", "wide.csv", "--json"].map(str::to_owned));
        let _out = wait_for(&mut child, "rows");
        signal(&child, "-TERM");
        let mut told = String::new();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        while !told.contains("stopping") {
            assert_ne!(err.read_line(&mut told).unwrap(), 0, "{told}");
        }
        signal(&child, second);
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let (dir, args) = place(json!({"name": "tuned", "epochs": 1}));
    let full = |args: &[&str]| -> Said {
        let out = fs::File::options().write(true).open("/dev/full").unwrap();
        command(dir.path(), args).stdin(Stdio::null()).stdout(out).output().unwrap().into()
    };
    let why = "error: the output cannot be written: No space left on device (os error 28); write it to another place\n";
    let commands = [
        &["tools", "--schema"][..],
        &["tools"],
        &["--help"],
        &["data", "inspect", "rows.csv", "--json"],
        &["doctor", "--json"],
        &["sandbox", "--", "echo", "hello"],
    ];
    for args in commands {
        assert_eq!(full(args).refused(5), why, "{args:?}");
    }
    // The run itself goes on to its end, which is in its log.
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = full(&[&args[..], &["--json"]].concat());
    assert!(said.code == 5 && said.err.contains(why), "{said:?}");
    let run = run_dir(dir.path());
    let run = run.to_str().unwrap();
    assert_ne!(tunesmith(dir.path(), &["runs", "show", run, "--json"]).ok().json()["summary"]["outcome"], Value::Null);
    assert_eq!(full(&["runs", "show", run, "--json"]).refused(5), why);

    let mut child = start(dir.path(), &["tools", "--schema"].map(str::to_owned));
    drop(child.stdout.take());
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}
