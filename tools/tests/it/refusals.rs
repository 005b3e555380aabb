//! Hostile and wrong arguments: refused with the field that is wrong, before anything is started.

use std::os::unix::fs::symlink;

use serde_json::json;
use tunesmith_sandbox::{Layer, Status};
use tunesmith_tools::tool::ToolError;

use crate::support::{Place, tickets};

const HOSTILE: [&str; 5] = ["/etc/passwd", "../secret", "a/../../secret", "nul\0byte", ""];

#[tokio::test]
async fn paths_out_of_the_workdir_are_refused_by_every_tool() {
    let place = Place::with(tickets(2));
    symlink("/etc", place.path("link")).unwrap();
    for path in HOSTILE.into_iter().chain(["link/passwd"]) {
        assert_eq!(place.refused("data_inspect", json!({"file": path})).await, ["/file"], "{path:?}");
        assert_eq!(place.refused("read_file", json!({"path": path})).await, ["/path"], "{path:?}");
        assert_eq!(place.refused("train", json!({"data": path})).await, ["/data"], "{path:?}");
        assert_eq!(place.refused("evaluate", json!({"data": path})).await, ["/data"], "{path:?}");
        assert_eq!(
            place.refused("generate", json!({"prompts": ["hi"], "adapter": path})).await,
            ["/adapter"],
            "{path:?}"
        );
        let finish = json!({"summary": "done", "adapter": path, "artifacts": ["missing.gguf", path]});
        assert_eq!(place.refused("finish", finish).await, ["/adapter", "/artifacts/0", "/artifacts/1"], "{path:?}");
    }
    for path in ["/tmp/x.gguf", "../x.gguf", "link/x.gguf", "data/train.jsonl"] {
        assert_eq!(place.refused("convert", json!({"path": path})).await, ["/path"], "{path}");
    }
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_makes_nothing_wait() {
    let place = Place::with(tickets(2));
    std::fs::remove_file(place.path("data/train.jsonl")).unwrap();
    let made = place.ok("shell", json!({"command": "mkfifo data/train.jsonl ship.bin prepared.jsonl"})).await;
    assert_eq!(made["ended"], json!({"exit": 0}), "{made}");
    let plan = json!({"kind": "classification", "input": "a", "target": "b", "metric": "accuracy", "max_length": 64, "why": "x"});
    // The columns are not known then, which is no reason to refuse the plan.
    assert_eq!(place.ok("plan", plan).await["input"], "a");
    assert_eq!(place.refused("finish", json!({"summary": "done", "artifacts": ["ship.bin"]})).await, ["/artifacts/0"]);
    assert!(place.error("read_file", json!({"path": "ship.bin"})).await.contains("neither a file nor a directory"));
}

#[tokio::test]
async fn a_plan_must_fit_the_data() {
    let place = Place::with(tickets(2));
    let plan = |kind: &str, input: &str, target: &str, metric: &str| {
        let columns = json!({"kind": kind, "input": input, "target": target, "metric": metric});
        let mut plan = json!({"max_length": 64, "why": "it fits", "steps": ["train"]});
        plan.as_object_mut().unwrap().extend(columns.as_object().unwrap().clone());
        plan
    };
    let output = place.ok("plan", plan("classification", "text", "intent", "accuracy")).await;
    assert_eq!(output["kind"], "classification");
    assert_eq!(output["method"], "lora");
    assert_eq!(
        place.refused("plan", plan("classification", "body", "label", "f1")).await,
        ["/metric", "/input", "/target"]
    );
    assert_eq!(place.refused("plan", plan("extraction", "text", "text", "exact_match")).await, ["/target"]);
    let mut marked = plan("generation", "text", "intent", "exact_match");
    marked["answer_after"] = json!("####");
    assert_eq!(place.ok("plan", marked.clone()).await["answer_after"], "####");
    marked["kind"] = json!("extraction");
    assert_eq!(place.refused("plan", marked).await, ["/answer_after"]);
    let said = place.error("plan", plan("classification", "body", "intent", "accuracy")).await;
    assert_eq!(said, "invalid arguments: /input: the data has no column \"body\"; it has text, intent");
}

#[tokio::test]
async fn files_are_read_in_parts_and_shown_safely() {
    let place = Place::new();
    place.write("notes.txt", "one\n\u{1b}[31mtwo é\n");
    let output = place.ok("read_file", json!({"path": "notes.txt", "limit": 14})).await;
    assert_eq!(output, json!({"text": "one\n\\u{1b}[31mtwo ", "bytes": 16, "next_offset": 13}));
    let output = place.ok("read_file", json!({"path": "notes.txt", "offset": 13})).await;
    assert_eq!(output, json!({"text": "é\n", "bytes": 16, "next_offset": null}));
    place.write("sub/a", "");
    assert_eq!(place.ok("read_file", json!({"path": "."})).await["text"], "notes.txt\nsub/");
}

#[tokio::test]
async fn the_shell_is_confined_or_refused() {
    let place = Place::new();
    let run = place.call("shell", json!({"command": "echo out; echo err >&2; cat /etc/shadow; exit 3"})).await;
    if !place.jobs.missing().is_empty() {
        assert!(matches!(run, Err(ToolError::Denied(_))), "{run:?}");
        return;
    }
    let output = run.unwrap();
    assert_eq!(output["ended"], json!({"exit": 3}));
    assert_eq!(output["stdout"], "out");
    let stderr = output["stderr"].as_str().unwrap();
    assert!(stderr.starts_with("err\ncat: /etc/shadow: "), "{stderr}");
    assert_eq!(output.as_object().unwrap().keys().collect::<Vec<_>>(), ["stdout", "stderr", "ended"]);
    let slow = place.ok("shell", json!({"command": "exec sleep 60", "timeout": 1})).await;
    assert_eq!(slow["ended"], json!({"limit": "wall"}));
}

#[tokio::test]
async fn commands_run_side_by_side_while_other_work_goes_on() {
    let place = Place::new();
    if !place.jobs.missing().is_empty() {
        return;
    }
    // Making the base takes longer than all of this.
    crate::support::base();
    let began = std::time::Instant::now();
    let second = || place.ok("shell", json!({"command": "exec sleep 1"}));
    let ticks = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        for _ in 0..20 {
            ticks.tick().await;
        }
        began.elapsed().as_secs_f64()
    };
    // On one thread: whatever waited in it would hold up all four.
    let (a, b, c, ticked) = tokio::join!(second(), second(), second(), ticks);
    assert!([a, b, c].iter().all(|output| output["ended"] == json!({"exit": 0})));
    let took = began.elapsed().as_secs_f64();
    assert!(took < 2.9 && ticked < took, "{took} s for three seconds, twenty ticks in {ticked} s");
}

/// Whether a process with these words in its command line is alive on this machine.
fn alive(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).any(|line| line.contains(words))
}

#[tokio::test]
async fn a_command_out_of_time_leaves_no_child_and_a_command_sees_no_variable_of_ours() {
    let place = Place::new();
    if !place.jobs.missing().is_empty() {
        return;
    }
    // Two children, one of them in a session of its own.
    let command = "sleep 61.7531 & setsid sleep 62.7531 & wait";
    let slow = place.ok("shell", json!({"command": command, "timeout": 1})).await;
    assert_eq!(slow["ended"], json!({"limit": "wall"}));
    assert!(!alive("sleep 61.7531") && !alive("sleep 62.7531"));
    let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    names.retain(|name| !["PATH", "HOME", "LANG", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()));
    assert!(names.len() > 3, "cargo gives every test variables of its own");
    let env = place.ok("shell", json!({"command": "env"})).await["stdout"].as_str().unwrap().to_owned();
    let seen = |name: &&String| env.lines().any(|line| line.split('=').next() == Some(name));
    assert_eq!(names.iter().filter(seen).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn a_command_writes_in_its_workdir_and_nowhere_else() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    if !place.jobs.missing().is_empty() {
        return;
    }
    // Everybody may write there, as far as the file system is asked.
    std::fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = outside.path().join("file");
    let shown = path.display();
    let output = place.ok("shell", json!({"command": format!("echo in > file; echo out > {shown}")})).await;
    assert_ne!(output["ended"], json!({"exit": 0}));
    assert_eq!((std::fs::read_to_string(place.path("file")).unwrap().as_str(), path.exists()), ("in\n", false));
}

#[tokio::test]
async fn the_shell_reaches_no_host_but_those_that_the_user_allowed() {
    let mut place = Place::new();
    place.hosts = vec!["a.example".into(), "*.b.example".into()];
    let ask = |hosts: serde_json::Value| json!({"command": "echo $https_proxy", "hosts": hosts});
    if !place.jobs.missing().is_empty() {
        return;
    }
    for host in ["c.example", "a.example:22", "b.example", "a/b"] {
        let denied = place.call("shell", ask(json!(["a.example", host]))).await;
        let why =
            format!("not allowed: this run may not reach {host}; the user can allow it with --allow network:{host}");
        assert_eq!(denied.map_err(|error| error.to_string()), Err(why));
    }
    assert_eq!(place.ok("shell", ask(json!([]))).await["stdout"], "");
    let metadata = place.jobs.layers().into_iter().find(|(layer, _)| *layer == Layer::Metadata);
    let allowed = place.call("shell", ask(json!(["A.example", "x.b.example"]))).await;
    match metadata {
        Some((_, Status::Enforced)) => assert_eq!(allowed.unwrap()["stdout"], "http://127.0.0.1:3128"),
        // Such a job needs namespaces.
        _ => assert!(matches!(allowed, Err(ToolError::Failed(_))), "{allowed:?}"),
    }
}
