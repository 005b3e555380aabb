//! What becomes of runs afterwards: held against each other, exported as training data, and removed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tunesmith_harness::log::Log;

use crate::{
    cli::{Said, anywhere, base, tunesmith},
    cli_runs::{good, place, run, script, words},
};

/// The run in a directory of runs, which holds one.
fn only(dir: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

#[test]
fn runs_that_were_made_are_compared_exported_and_removed() {
    let (dir, args) = place(good());
    let dir = dir.path();
    for to in ["a", "b"] {
        run(dir, &words(&args, &["--dir", to])).ok();
    }
    let other = json!({"name": "tuned", "epochs": 1, "learning_rate": 1e-4, "patience": 0});
    fs::write(dir.join("script.jsonl"), script(other)).unwrap();
    run(dir, &words(&args, &["--dir", "c", "--seed", "7"]));
    let [a, b, c] = ["a", "b", "c"].map(|name| only(&dir.join(name)).to_str().unwrap().to_owned());

    // The same request, data and planner give the same steps, scores and files.
    let same = tunesmith(dir, &["runs", "diff", &a, &b]).ok();
    assert!(same.out.ends_with("\n\nthe same: 4 steps, times aside\n"), "{}", same.out);
    let found = tunesmith(dir, &["runs", "diff", &a, &c, "--json"]);
    let diff = found.json();
    assert_eq!((found.code, &diff["same"]), (3, &json!(false)));
    let at = |part: &Value| -> Vec<String> {
        part.as_array().unwrap().iter().map(|difference| difference["at"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(at(&diff["setup"]), ["/seed"]);
    let train = diff["steps"].as_array().unwrap().iter().find(|step| step["tool"] == "train").unwrap();
    assert_eq!(at(&train["differences"])[..2], ["/args/epochs", "/args/learning_rate"]);
    assert!(at(&diff["result"]).contains(&"/outcome".to_owned()), "{diff}");
    assert_eq!(diff["grade"]["rows"][0]["test"], "mcnemar_exact");
    let lines = tunesmith(dir, &["runs", "diff", &a, &c]).out;
    assert!(lines.contains("/args/learning_rate  0.01 → 0.0001") && lines.contains("B is worse than A"), "{lines}");

    exported(dir, &a, &c);

    let names = [a.as_str(), c.as_str()];
    let said = tunesmith(dir, &["runs", "rm", names[0], names[1]]);
    assert!(said.refused(5).contains("give --yes") && Path::new(&a).exists(), "{said:?}");
    let said = tunesmith(dir, &["runs", "rm", names[0], names[1], names[0], "--yes"]).ok();
    assert!(
        said.out.contains("goal met") && said.out.lines().last().unwrap().starts_with("removed 2 runs, "),
        "{said:?}"
    );
    assert!(!Path::new(&a).exists() && !Path::new(&c).exists() && Path::new(&b).exists());
}

/// Rows of two runs, which our own tools take.
fn exported(dir: &Path, a: &str, c: &str) {
    let said = tunesmith(dir, &["runs", "export", a, c, "--out", "planner.jsonl"]).ok();
    assert_eq!(said.out, "wrote planner.jsonl: 2 runs, 8 steps, 0 left out\n");
    let text = fs::read_to_string(dir.join("planner.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let roles: Vec<&str> =
        rows[0]["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    let turns = ["assistant", "tool"];
    assert_eq!(roles, [&["system", "user"][..], &turns, &turns, &turns, &["assistant"]].concat());
    let call = &rows[0]["messages"][6]["tool_calls"][0]["function"];
    assert_eq!(call, &json!({"name": "train", "arguments": good().to_string()}));
    let metadata = &rows[0]["metadata"];
    assert_eq!((&metadata["outcome"], &metadata["metric"]), (&json!("met"), &json!("accuracy")));
    // No row of the user's is in it.
    assert!(!text.contains("asks number"), "{text}");
    // The same line on standard output.
    assert_eq!(tunesmith(dir, &["runs", "export", a]).ok().out, format!("{}\n", text.lines().next().unwrap()));

    let seen = tunesmith(dir, &["data", "inspect", "planner.jsonl", "--json"]).ok().json();
    assert_eq!(seen["format"], "messages", "{seen}");
    let base = base().to_str().unwrap();
    let train = ["train", "--data", "planner.jsonl", "--objective", "sft", "--base", base, "--out", "planner"];
    let said: Said = tunesmith(dir, &[&train[..], &["--max-steps", "1"]].concat()).ok();
    assert!(dir.join("planner/adapter_model.safetensors").exists(), "{said:?}");
}

/// What looks like a run: its directories, and a log with one event.
fn made(dir: &Path, name: &str) -> PathBuf {
    let run = dir.join(name);
    for part in ["base", "work/data", "sealed"] {
        fs::create_dir_all(run.join(part)).unwrap();
    }
    fs::write(run.join("work/data/train.jsonl"), "{}\n").unwrap();
    fs::write(run.join("events.jsonl"), "").unwrap();
    run
}

#[test]
fn only_whole_runs_that_nobody_uses_are_removed_and_links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let runs = dir.join("runs");
    let outside = dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept.txt"), "mine").unwrap();
    let rm = |args: &[&str]| tunesmith(dir, &[&["runs", "rm", "--yes"], args].concat());

    let used = made(&runs, "used");
    let log = Log::open(&used.join("events.jsonl")).unwrap();
    assert!(rm(&["used"]).refused(5).contains("a process is working on this run"));
    drop(log);

    let mixed = made(&runs, "mixed");
    fs::write(mixed.join("notes.txt"), "mine").unwrap();
    assert!(rm(&["used", "mixed"]).refused(2).contains("holds \"notes.txt\", which is no part of a run"));
    assert!(used.exists(), "one that may not go stops all");

    symlink(&mixed, runs.join("link")).unwrap();
    for link in ["link", "link/", "./runs/link/"] {
        assert!(rm(&[link]).refused(2).contains("a link, not a run"), "{link}");
    }
    for nothing in ["nothing", "../outside", "..", "/"] {
        assert!(rm(&[nothing]).refused(2).contains("see `tunesmith runs list`"), "{nothing}");
    }

    // What a job left in its workdir leads nowhere.
    symlink(&outside, used.join("work/out")).unwrap();
    symlink("/", used.join("work/root")).unwrap();
    let said = rm(&["used"]).ok();
    // What it took on this disk, and nothing of what the links lead to.
    assert!(said.out.contains("removed 1 run, ") && !said.out.contains(" MB") && !said.out.contains(" GB"), "{said:?}");
    assert!(!used.exists() && outside.join("kept.txt").exists());
}

#[test]
fn runs_are_removed_by_their_age_unless_it_is_not_known() {
    let (dir, args) = place(good());
    let dir = dir.path();
    let args: Vec<String> = args.into_iter().filter(|arg| arg != "--approve" && arg != "auto").collect();
    assert_eq!(run(dir, &words(&args, &["--approve", "never"])).code, 5);
    made(&dir.join("runs"), "unknown");
    let rm = |days: &str| tunesmith(dir, &["runs", "rm", "--older-than", days, "--yes"]);
    assert_eq!(rm("1").ok().out, "no run to remove\n");
    assert!(rm("0").ok().out.contains("removed 1 run, "));
    assert!(only(&dir.join("runs")).ends_with("unknown"));
    for wrong in ["-1", "nan", "soon"] {
        rm(wrong).refused(2);
    }
    assert!(tunesmith(dir, &["runs", "rm"]).refused(2).contains("RUN"));
}

#[test]
fn completions_name_every_command_that_help_shows() {
    let help = anywhere(&["--help"]).ok().out;
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()))
        .collect();
    assert!(commands.len() > 14 && commands.contains(&"completions"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = anywhere(&["completions", shell]).ok().out;
        let words: Vec<&str> = script.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
        for command in commands.iter().copied().filter(|command| *command != "help").chain(["diff", "export"]) {
            assert!(words.contains(&command), "{shell}: {command}");
        }
        assert!(script.contains("only-good"), "{shell}");
        if shell == "bash" {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &script).unwrap();
            // The one script without descriptions: hidden commands are not in it.
            assert!(!words.contains(&"grade"));
            assert!(Command::new("bash").arg("-n").arg(file.path()).status().unwrap().success());
        }
    }
    assert!(anywhere(&["completions", "--help"]).ok().out.contains("tunesmith completions bash > "));
}
