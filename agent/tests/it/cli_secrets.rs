//! Keys of the user in the environment of a run: none of them gets into a job, a file or a line that is printed.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::cli::{Said, base, command, tickets};

/// (variable, value); nobody else has these values.
const KEYS: [(&str, &str); 5] = [
    ("HF_TOKEN", "hf_Canary0of1the2hub3QwErTyUiOpAsDfGh"),
    ("OPENAI_API_KEY", "sk-proj-Canary4of5a6planner7ZxCvBnMq"),
    ("SOME_OTHER_API_KEY", "canary/of+a\"third&party"),
    ("TUNESMITH_API_KEY", "canary-of-an-address"),
    ("SOME_DATABASE_PASSWORD", "canary-of-a-database"),
];

/// Every file below, with what it holds.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.symlink_metadata().unwrap() {
            found if found.is_dir() => files(&path),
            found if found.is_file() => vec![(path.display().to_string(), fs::read(&path).unwrap())],
            _ => Vec::new(),
        })
        .collect()
}

/// Where a key, or most of it, can be read.
fn leaks(said: &Said, dir: &Path) -> Vec<String> {
    let mut places = files(&dir.join("runs"));
    places.push(("standard output".into(), said.out.clone().into_bytes()));
    places.push(("standard error".into(), said.err.clone().into_bytes()));
    let holds = |bytes: &[u8]| {
        let parts =
            ["Canary0of1the2hub3", "Canary4of5a6planner7", "canary/of+a", "canary-of-an-address", "canary-of-a-data"];
        parts.iter().any(|part| bytes.windows(part.len()).any(|window| window == part.as_bytes()))
    };
    places.into_iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place).collect()
}

fn run(dir: &Path, more: &[&str]) -> Said {
    fs::write(dir.join("rows.csv"), tickets(40)).unwrap();
    let task = "Fine-tune a small model to route these messages to the right intent.";
    let base = base().to_str().unwrap();
    let args =
        [&["-vv", "run", task, "--file", "rows.csv", "--base", base, "--approve", "auto", "--minutes", "5"], more];
    command(dir, &args.concat()).envs(KEYS).output().unwrap().into()
}

#[test]
fn a_run_of_the_playbook_leaves_no_key_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &[]);
    assert!([0, 3].contains(&said.code), "{said:?}");
    assert!(!said.err.is_empty(), "nothing was logged");
    assert_eq!(leaks(&said, dir.path()), Vec::<String>::new());
}

#[test]
fn a_planner_that_looks_for_keys_finds_none_and_cannot_write_one_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let shell = |id: &str, command: String| {
        let call = json!({"id": id, "name": "shell", "arguments": {"command": command}});
        json!({"text": format!("The key is {}, I think.", KEYS[0].1), "calls": [call]}).to_string() + "\n"
    };
    let pieces: Vec<String> = KEYS
        .iter()
        .map(|(_, value)| value.split_at(10))
        .map(|(head, tail)| format!("printf '%s%s\\n' '{head}' '{tail}'"))
        .collect();
    let commands = [
        "env; env > env.txt".to_owned(),
        "cat /proc/[0-9]*/environ > environ.bin; cat /proc/[0-9]*/cmdline > cmdline.bin; cat /proc/self/environ".into(),
        format!("cat {}/.cache/huggingface/token {}/secret.txt", dir.path().display(), dir.path().display()),
        pieces.join("; "),
        format!("{} | base64 -w 0", pieces[0]),
    ];
    fs::write(dir.path().join("secret.txt"), KEYS[1].1).unwrap();
    let mut script: String = commands.into_iter().enumerate().map(|(at, text)| shell(&at.to_string(), text)).collect();
    script +=
        &(json!({"calls": [{"id": "z", "name": "finish", "arguments": {"summary": KEYS[1].1}}]}).to_string() + "\n");
    fs::write(dir.path().join("script.jsonl"), script).unwrap();
    let said = run(dir.path(), &["--planner", "scripted:script.jsonl", "--share", "samples", "--json"]);
    assert_eq!(leaks(&said, dir.path()), Vec::<String>::new(), "{said:?}");
    let events: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outputs: Vec<&Value> =
        events.iter().filter(|e| e["kind"] == "returned" && e["tool"] == "shell").map(|e| &e["output"]).collect();
    assert_eq!(outputs.len(), 5, "{said:?}");
    // What was put together from pieces is known for what it is, whole or encoded.
    assert_eq!(outputs[3]["stdout"], "[redacted hf token]\n[redacted api key]\n[redacted]\n[redacted]\n[redacted]");
    assert!(outputs[4]["stdout"].as_str().unwrap().starts_with("[redacted]"), "{}", outputs[4]);
    // The job's environment was there to be read.
    assert!(outputs[0]["stdout"].as_str().unwrap().contains("PATH="), "{}", outputs[0]);
}

#[test]
fn an_error_does_not_repeat_a_key_that_was_typed() {
    let dir = tempfile::tempdir().unwrap();
    let key = KEYS[0].1;
    for args in
        [&["run", "tune", "--file", key][..], &["run", "tune", "--planner", key], &["runs", "show", key], &[key]]
    {
        let said: Said = command(dir.path(), args).envs(KEYS).output().unwrap().into();
        assert!(said.code != 0 && !said.err.contains("Canary") && !said.out.contains("Canary"), "{said:?}");
        assert!(said.err.contains("[redacted"), "{said:?}");
    }
}
