//! `tunesmith config`, and that files, environment and flags are heard in that order.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::cli::{Said, base, command, tickets, tunesmith};

fn settings(home: &Path, text: &str) {
    fs::create_dir_all(home.join(".config/tunesmith")).unwrap();
    fs::write(home.join(".config/tunesmith/config.toml"), text).unwrap();
}

fn setting(said: &Said, key: &str) -> Value {
    let said = said.json();
    let all = said["settings"].as_array().unwrap();
    all.iter().find(|setting| setting["key"] == key).unwrap().clone()
}

#[test]
fn config_shows_each_value_and_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    settings(dir.path(), "minutes = 30\nplanner = \"ollama:a\"\n");
    fs::write(dir.path().join("tunesmith.toml"), "minutes = 20\napprove = \"auto\"\n").unwrap();
    let show =
        |args: &[&str]| -> Said { command(dir.path(), args).env("TUNESMITH_STEPS", "9").output().unwrap().into() };
    let table = show(&["config"]).ok().out.replace(home, "~");
    let want = "\
key              value       source
planner          \"ollama:a\"  ~/.config/tunesmith/config.toml
share            \"none\"      default
approve          \"ask\"       default
allow            –           default
base             \"nano\"      default
dir              \"runs\"      default
minutes          20          ~/tunesmith.toml
usd              –           default
tokens           –           default
steps            9           TUNESMITH_STEPS
disk             \"32G\"       default
goals            –           default
sandbox.require  –           default
~/tunesmith.toml: approve without effect until you trust the file; see and trust with: tunesmith config trust
";
    assert_eq!(table, want);
    let said = show(&["config", "--json"]).ok();
    let from = format!("{home}/tunesmith.toml");
    assert_eq!(setting(&said, "minutes"), json!({"key": "minutes", "value": 20, "source": "project", "from": from}));
    let project = &said.json()["project"];
    assert_eq!((&project["trusted"], &project["without_effect"]), (&json!(false), &json!(["approve"])));
    assert_eq!(
        show(&["config", "path"]).ok().out.replace(home, "~"),
        "~/.config/tunesmith/config.toml\n~/tunesmith.toml\n"
    );
}

#[test]
fn trust_is_asked_for_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let trust = |more: &[&str]| tunesmith(dir.path(), &[&["config", "trust"], more].concat());
    assert!(trust(&[]).refused(2).contains("there is no tunesmith.toml here or above"));
    fs::write(dir.path().join("tunesmith.toml"), "approve = \"auto\"\nminutes = 5\n").unwrap();
    let nobody = trust(&[]);
    assert!(nobody.out.contains("\n  approve = \"auto\"\n") && !nobody.out.contains("minutes"), "{nobody:?}");
    assert!(nobody.refused(5).contains("nobody can be asked whether to trust "), "{nobody:?}");
    let approve = || setting(&tunesmith(dir.path(), &["config", "--json"]).ok(), "approve")["value"].clone();
    assert_eq!(approve(), "ask");
    assert!(trust(&["--yes"]).ok().out.ends_with("trusted, until the file changes\n"));
    assert_eq!(approve(), "auto");
    assert!(trust(&[]).ok().out.ends_with(" is trusted as it is\n"));
    fs::write(dir.path().join("tunesmith.toml"), "approve = \"auto\"\nminutes = 6\n").unwrap();
    assert_eq!(approve(), "ask");
}

#[test]
fn a_run_hears_flags_before_everything_and_an_untrusted_project_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(40)).unwrap();
    let task = "Fine-tune a small model to route these messages to the right intent.";
    let run = |env: &[(&str, &str)], more: &[&str]| -> Said {
        let args = [&["run", task, "--file", "rows.csv", "--base", base().to_str().unwrap()], more].concat();
        command(dir.path(), &args).envs(env.iter().copied()).output().unwrap().into()
    };
    // Everything that a hostile file could ask for; nobody can be asked, so the run ends before anything is done.
    let hostile =
        "approve = \"auto\"\nallow = [\"scope\"]\nplanner = \"url:http://127.0.0.1:9#m\"\nshare = \"samples\"\n";
    fs::write(dir.path().join("tunesmith.toml"), hostile).unwrap();
    let said = run(&[], &["--json"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(
        said.err.contains("tunesmith.toml: allow, approve, planner, share without effect until you trust"),
        "{said:?}"
    );
    assert!(said.out.contains("\"planner\":\"playbook\""), "{said:?}");

    settings(dir.path(), "planner = \"nobody\"\n");
    let known = "nobody";
    assert!(run(&[], &["--dry-run"]).err.contains(known));
    let said = run(&[("TUNESMITH_PLANNER", "somebody")], &["--dry-run"]);
    assert!(said.err.contains("somebody") && !said.err.contains(known), "{said:?}");
    let said = run(&[("TUNESMITH_PLANNER", "somebody")], &["--planner", "anybody", "--dry-run"]);
    assert!(said.err.contains("anybody") && !said.err.contains("somebody"), "{said:?}");
}
