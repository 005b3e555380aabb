//! The built binary as a user meets it: help, usage errors, and what the other tests of the command line share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code and an error of one or two lines, and gives it without an estimate before it.
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        let estimated = self.err.split_once('\n').filter(|(first, _)| first.starts_with("estimate: "));
        let err = estimated.map_or(self.err.as_str(), |(_, rest)| rest);
        assert!(err.starts_with("error: ") && (1..=2).contains(&err.lines().count()), "{self:?}");
        err
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The binary, in a directory, with nothing of this machine's settings.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    command.args(args).current_dir(dir).env_clear().env("HOME", dir).env("PATH", "/usr/bin:/bin");
    command
}

/// Runs it to its end.
pub fn tunesmith(dir: &Path, args: &[&str]) -> Said {
    command(dir, args).output().unwrap().into()
}

/// Runs it in a directory that is removed.
pub fn anywhere(args: &[&str]) -> Said {
    tunesmith(tempfile::tempdir().unwrap().path(), args)
}

/// A base of the bundled one's kind, only smaller, pretrained by the command itself once per build directory.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let done = place.join("cli-base-2");
        if !done.join("model.safetensors").exists() {
            // Made beside its place and renamed, because another test process may do the same.
            let fresh = tempfile::Builder::new().prefix("cli-base").tempdir_in(place).unwrap();
            let out = fresh.path().join("base");
            let shape = "--vocab 600 --hidden 48 --inner 96 --layers 2 --heads 2 --kv-heads 1 --context 192 --sequence 128";
            let text = format!(
                "pretrain --generated-tokens 600000 --max-steps 200 --batch-size 16 --learning-rate 6e-3 --seed 1 {shape} --json --out"
            );
            let mut args: Vec<&str> = text.split(' ').collect();
            args.push(out.to_str().unwrap());
            let made = tunesmith(place, &args).ok().json();
            assert!(made["valid_loss"].as_f64().unwrap() < 4.0, "{made}");
            assert!(!out.join("checkpoints").exists());
            let _ = fs::rename(&out, &done);
        }
        done
    })
}

/// Rows of three kinds in a CSV.
pub fn tickets(each: usize) -> String {
    let kinds = [("card_arrival", "card", "arrive"), ("top_up", "money", "top up"), ("lost_phone", "phone", "find")];
    let names = ["Anna", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hal", "Ida", "Jon", "Kim", "Leo"];
    let mut csv = String::from("text,intent\n");
    for i in 0..each {
        for (label, thing, verb) in kinds {
            let name = names[i % names.len()];
            csv += &format!("\"{name} asks number {i}: my {thing} is the problem, can you {verb} it\",{label}\n");
        }
    }
    csv
}

#[test]
fn help_has_an_example_and_says_defaults() {
    let help = anywhere(&["--help"]).ok();
    assert!(help.out.contains("Example:\n  tunesmith run ") && help.out.contains("3 goal not met"), "{}", help.out);
    let run = anywhere(&["run", "--help"]).ok();
    assert!(run.out.contains("[default: runs]") && run.out.contains("Example:"), "{}", run.out);
    for hidden in ["worker", "grade"] {
        assert!(!help.out.contains(&format!("  {hidden} ")), "{}", help.out);
    }
    assert_eq!(anywhere(&["--version"]).ok().out, format!("tunesmith {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_are_two_lines_with_exit_code_2() {
    let check = |args: &[&str], want: &str| {
        let said = anywhere(args);
        assert_eq!(said.refused(2), want, "{args:?}");
        assert_eq!(said.out, "");
    };
    check(
        &["rnu", "x"],
        "error: unrecognized subcommand 'rnu'; tip: a similar subcommand exists: 'runs'\nsee: tunesmith --help\n",
    );
    check(&["run"], "error: the following required arguments were not provided: <TASK>\nsee: tunesmith run --help\n");
    check(
        &["run", "x", "--fiel", "a.csv"],
        "error: unexpected argument '--fiel' found; tip: a similar argument exists: '--file'\nsee: tunesmith run --help\n",
    );
    check(
        &["run", "x", "--file", "-dash.csv"],
        "error: \"-dash.csv\" begins with a dash, so it is taken for an option; write --file=-dash.csv\nsee: tunesmith run --help\n",
    );
    check(
        &["run", "x", "--minutes", "-1"],
        "error: invalid value '-1' for '--minutes <N>': must be a number above 0, and at most a million\nsee: tunesmith run --help\n",
    );
    check(&["run", "x", "-q"], "error: unexpected argument '-q' found\nsee: tunesmith run --help\n");
    check(
        &["run", "x", "--goal", "accuracy=1"],
        "error: invalid value 'accuracy=1' for '--goal <GOAL>': write it as METRIC>=X, for example accuracy>=0.9\nsee: tunesmith run --help\n",
    );
    check(
        &["runs", "show"],
        "error: the following required arguments were not provided: <RUN>\nsee: tunesmith runs show --help\n",
    );
    check(
        &["run", "x", "--planner", "gpt"],
        &format!("error: unknown planner \"gpt\"; use one of: {}\n", tunesmith::model::spec::FORMS),
    );
    check(&["bench", "smok"], "error: there is no suite \"smok\"; the suites are: quick, smoke\n");
    check(
        &["bench", "smoke", "--only", "x"],
        "error: smoke has no task \"x\"; its tasks are: orders, reports, routing\n",
    );
    check(&["bench", "smoke", "--junit", "."], "error: --junit .: is a directory, not a file; name another file\n");
    check(&["bench", "smoke", "--html", "."], "error: --html .: is a directory, not a file; name another file\n");
    check(
        &["bench", "smoke", "--junit", "/proc/none/place.xml"],
        "error: --junit /proc/none/place.xml: cannot be written: No such file or directory (os error 2); name another file\n",
    );
    check(
        &["generate", "--model", "nano"],
        "error: the following required arguments were not provided: <--prompt <TEXT>|--chat <FILE>>\nsee: tunesmith generate --help\n",
    );
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_usage_errors() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let text = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let first: Said = command(dir.path(), &[]).arg(text).output().unwrap().into();
    first.refused(2);
    let task: Said = command(dir.path(), &["run"]).arg(text).output().unwrap().into();
    task.refused(2);
}

#[test]
fn tools_are_listed_with_schemas() {
    let listed = anywhere(&["tools", "--schema"]).ok().json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let want = [
        "data_inspect",
        "plan",
        "data_make",
        "data_prepare",
        "train",
        "evaluate",
        "generate",
        "convert",
        "read_file",
        "shell",
        "hub_search",
        "finish",
    ];
    assert_eq!(names, want);
    for tool in listed.as_array().unwrap() {
        assert_eq!(tool["parameters"]["type"], "object", "{tool}");
        assert!(tool["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let plain = anywhere(&["tools", "--json"]).ok().json();
    assert_eq!(plain.as_array().unwrap().len(), want.len());
    assert_eq!(anywhere(&["tools"]).ok().out.lines().count(), want.len());
}

#[test]
fn the_doctor_tries_the_sandbox_and_names_keys_without_showing_them() {
    let dir = tempfile::tempdir().unwrap();
    let said: Said =
        command(dir.path(), &["doctor", "--json"]).env("OPENAI_API_KEY", "sk-secret").output().unwrap().into();
    let found = said.json();
    assert!(!said.out.contains("sk-secret"));
    let fields: Vec<&String> = found.as_object().unwrap().keys().collect();
    let want = [
        "version",
        "sandbox",
        "processor",
        "memory_bytes",
        "memory_available_bytes",
        "disk_free_bytes",
        "nano",
        "hub",
        "keys",
    ];
    assert_eq!(fields, want);
    let key =
        |name: &str| found["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap()["set"].clone();
    assert_eq!((key("OPENAI_API_KEY"), key("HF_TOKEN")), (true.into(), false.into()));
    assert!(found["sandbox"].as_array().unwrap().iter().any(|check| check["tried"] == "read a file outside"));
    assert_eq!(found["hub"]["reachable"], Value::Null);
    assert_eq!(said.code == 0, found["nano"]["present"] == true && sandboxed(&found), "{found}");
}

fn sandboxed(found: &Value) -> bool {
    let base = ["files", "network", "syscalls", "environment", "descriptors", "tree"];
    let checks = found["sandbox"].as_array().unwrap().iter();
    !checks.clone().any(|c| base.iter().any(|layer| c["layer"] == *layer) && c["status"].get("unavailable").is_some())
}

#[test]
fn any_command_can_be_confined() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &["sandbox", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(said.code, 3);
    let ended = said.json();
    assert_eq!(
        (&ended["ended"], &ended["stdout"], &ended["stderr"]),
        (&json(r#"{"exit":3}"#), &json(r#"["out"]"#), &json(r#"["err"]"#))
    );
    assert_eq!(tunesmith(dir.path(), &["sandbox", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    let late = tunesmith(dir.path(), &["sandbox", "--timeout", "0.2", "--", "sleep", "30"]);
    assert_eq!((late.code, late.err.as_str()), (124, "the time is up; give more with --timeout\n"));
    tunesmith(dir.path(), &["sandbox", "--", "no-such-program"]).refused(2);
}

#[test]
fn a_command_reaches_no_host_some_hosts_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let run = |net: &[&str]| {
        let command = ["--json", "--", "sh", "-c", "echo ${https_proxy-none}; test -e /etc/resolv.conf && echo all"];
        tunesmith(dir.path(), &[&["sandbox"], net, &command].concat())
    };
    assert_eq!(run(&[]).json()["stdout"], json(r#"["none"]"#));
    let some = run(&["--net", "a.example", "--net", "*.b.example:8443"]).json();
    if some["ended"]["failed"].is_null() {
        assert_eq!(some["stdout"], json(r#"["http://127.0.0.1:3128"]"#), "{some}");
        assert_eq!(some["refused_hosts"], json("[]"));
    }
    for all in [["--net"].as_slice(), &["--net", "a.example", "--net"]] {
        assert_eq!(run(all).json()["stdout"][0], "none", "{all:?}");
    }
    run(&["--net", "a/b"]).refused(2);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
