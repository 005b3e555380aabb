//! The sandbox as a user meets it: what is required of it, and any command under it.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::cli::{Said, base, command, tickets, tunesmith};

/// Layers that are not enforced here, told apart by the self-test's own report of what is declared.
fn lacking(dir: &std::path::Path) -> Option<String> {
    let found = tunesmith(dir, &["sandbox", "--json", "--", "true"]).ok().json();
    let layers = found["layers"].as_array().unwrap().clone();
    layers.into_iter().find(|entry| entry["status"] != "enforced").map(|entry| entry["layer"].as_str().unwrap().into())
}

#[test]
fn a_layer_that_is_required_and_missing_stops_every_command_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(12)).unwrap();
    let base = base().to_str().unwrap();
    // Without confinement this layer is missing on every machine.
    let request = "Fine-tune a small model to route these messages";
    let run = ["run", request, "--file", "rows.csv", "--base", base, "--approve", "auto", "--sandbox", "none"];
    let refused = tunesmith(dir.path(), &[&run[..], &["--require", "tree,files"]].concat());
    assert_eq!(
        refused.refused(5),
        "error: the sandbox does not enforce what is required: files (unavailable: confinement is switched off); see \
         `tunesmith doctor`, or leave it out of --require and of sandbox.require in config.toml\n"
    );
    assert!(!dir.path().join("runs").exists());
    let Some(layer) = lacking(dir.path()) else { return };
    for command in [
        &["sandbox", "--require", &layer, "--", "touch", "ran"][..],
        &["data", "inspect", "rows.csv", "--require", &layer],
        &["eval", "--model", base, "--data", "rows.csv", "--require", &layer],
        &["generate", "--model", base, "--prompt", "a", "--require", &layer],
        &["convert", "--model", base, "--to", "gguf", "--out", "m.gguf", "--require", &layer],
        &["train", "--base", base, "--data", "rows.csv", "--out", "adapter", "--require", &layer],
        &["bench", "smoke", "--require", &layer],
        &["run", request, "--file", "rows.csv", "--base", base, "--dry-run", "--require", &layer],
    ] {
        let said = tunesmith(dir.path(), command);
        let want = format!("error: the sandbox does not enforce what is required: {layer} (");
        assert!(said.refused(5).starts_with(&want), "{command:?}: {said:?}");
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["rows.csv"]);
}

#[test]
fn the_settings_and_the_command_line_require_layers_together() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("settings/tunesmith");
    fs::create_dir_all(&settings).unwrap();
    let write = |text: &str| fs::write(settings.join("config.toml"), text).unwrap();
    let sandbox = |args: &[&str]| -> Said {
        let args = [&["sandbox"], args, &["--", "true"]].concat();
        command(dir.path(), &args).env("XDG_CONFIG_HOME", dir.path().join("settings")).output().unwrap().into()
    };
    write("[sandbox]\nrequire = [\"environment\", \"tree\"]\n");
    sandbox(&[]).ok();
    sandbox(&["--require", "tree"]).ok();
    if let Some(layer) = lacking(dir.path()) {
        sandbox(&["--require", &layer]).refused(5);
        write(&format!("[sandbox]\nrequire = [\"tree\", \"{layer}\"]\n"));
        sandbox(&["--require", "environment"]).refused(5);
    }
    write("[sandbox]\nrequire = [\"roof\"]\n");
    let said = sandbox(&[]);
    let text = said.refused(2);
    assert!(
        text.contains("tunesmith/config.toml: line 2: \"roof\": there is no layer `roof`; the layers are "),
        "{text}"
    );
    write("[sandbox]\nrequired = []\n");
    let said = sandbox(&[]);
    assert!(said.refused(2).contains("tunesmith/config.toml: line 2: unknown field `required`, expected `require`"));
    // A project's file that nobody has trusted decides nothing about jobs.
    if let Some(layer) = lacking(dir.path()) {
        fs::write(dir.path().join("tunesmith.toml"), format!("[sandbox]\nrequire = [\"{layer}\"]\n")).unwrap();
    }
    tunesmith(dir.path(), &["sandbox", "--", "true"]).ok();
}

#[test]
fn a_wrong_limit_a_wrong_layer_and_a_wrong_directory_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for (args, want) in [
        (&["--timeout", "0"][..], "must be a number above 0"),
        (&["--cpu", "0"], "must be a number above 0"),
        (&["--memory", "0"], "write it as a number with K, M or G"),
        (&["--memory", "lots"], "write it as a number with K, M or G"),
        (&["--processes", "0"], "0 is not in 1.."),
        (&["--disk", "0"], "write it as a number with K, M or G"),
        (&["--file-size", "0"], "write it as a number with K, M or G"),
        (&["--output", "0K"], "write it as a number with K, M or G"),
        (&["--require", "files,roof"], "there is no layer `roof`; the layers are files, metadata, network, "),
        (&["--require", ""], "there is no layer ``; the layers are files, "),
        (&["--dir", "/"], "jobs may write all of it; choose a directory of its own"),
        (&["--dir", "nowhere"], "nowhere: there is no such directory"),
        (&["--dir", "file"], "it is not a directory"),
        (&["--write", "/"], "the command may write all of it"),
        (&["--write", "nowhere"], "nowhere: there is no such file; check the path"),
        (&["--read", "nowhere"], "nowhere: there is no such file; check the path"),
        (&["--env", "NOT_THERE"], "--env NOT_THERE: "),
    ] {
        let said = tunesmith(dir.path(), &[&["sandbox"], args, &["--", "touch", "ran"]].concat());
        assert!(said.refused(2).contains(want), "{args:?}: {said:?}");
    }
    assert!(!dir.path().join("ran").exists());
}

#[test]
fn each_limit_ends_a_command_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fill = "head -c 3000000 /dev/zero > a; head -c 3000000 /dev/zero > b; sleep 20";
    for (args, script, want) in [
        (&["--cpu", "1"][..], "while :; do :; done", "the processor time is up; give more with --cpu\n"),
        (&["--disk", "4M"], fill, "the directory became too large; allow more with --disk\n"),
        (&["--output", "1K"], "yes", "too much output; allow more with --output\n"),
        (
            &["--memory", "40M"],
            // Held until somebody looks, however long that takes on a busy machine.
            "held=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 20",
            "the memory limit was reached; give more with --memory\n",
        ),
    ] {
        let args = [&["sandbox", "--timeout", "30"], args, &["--", "sh", "-c", script]].concat();
        let said = tunesmith(dir.path(), &args);
        assert_eq!((said.code, said.err.as_str()), (124, want), "{args:?}");
    }
    let args = ["sandbox", "--file-size", "1K", "--", "dd", "if=/dev/zero", "of=c", "bs=1M", "count=1"];
    let said = tunesmith(dir.path(), &args);
    assert_eq!(said.code, 124, "{said:?}");
    assert!(said.err.ends_with("a file became too large; allow larger ones with --file-size\n"), "{said:?}");
    // Whether the kernel refuses the fork or the supervisor sees too many, the command does not get its processes.
    let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 20 & done; wait";
    let said = tunesmith(dir.path(), &["sandbox", "--processes", "4", "--timeout", "10", "--", "sh", "-c", forks]);
    assert!(said.code == 124 || said.code == 2 && said.err.contains("fork"), "{said:?}");
}

#[test]
fn a_command_may_write_what_it_is_given_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["work", "given", "other"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let path = |name: &str| dir.path().canonicalize().unwrap().join(name).display().to_string();
    let write = |name: &str| format!("echo yes > {}/out", path(name));
    let run = |script: &str| {
        tunesmith(dir.path(), &["sandbox", "--dir", "work", "--write", "given", "--", "sh", "-c", script])
    };
    run(&write("given")).ok();
    assert_eq!(fs::read_to_string(dir.path().join("given/out")).unwrap(), "yes\n");
    assert_ne!(run(&write("other")).code, 0);
    assert!(!dir.path().join("other/out").exists());
}

#[test]
fn the_help_of_the_sandbox_has_an_example_and_its_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let help = tunesmith(dir.path(), &["sandbox", "--help"]).ok().out;
    assert!(help.contains("Example:\n  tunesmith sandbox --timeout 10 "), "{help}");
    assert!(help.contains("124 a limit was reached") && help.contains("5 a required layer is missing"), "{help}");
}

#[test]
fn the_doctor_tries_every_layer_and_says_when_a_required_one_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &["doctor", "--json"]);
    let checks = said.json()["sandbox"].as_array().unwrap().clone();
    let layers =
        "files metadata network syscalls environment descriptors privileges signals tree memory processes disk";
    for layer in layers.split(' ') {
        let of: Vec<&Value> = checks.iter().filter(|check| check["layer"] == layer).collect();
        assert!(!of.is_empty(), "{layer}: {checks:?}");
        assert!(of.iter().all(|check| check["tried"] != "not tried"), "{of:?}");
    }
    let whole = |layer: &str| checks.iter().filter(|c| c["layer"] == layer).all(|c| c["status"] == "enforced");
    for layer in layers.split(' ') {
        let asked = tunesmith(dir.path(), &["doctor", "--require", layer]);
        if whole(layer) {
            assert_eq!(asked.code, said.code, "{layer}: {asked:?}");
        } else {
            assert_eq!(asked.code, 5, "{layer}: {asked:?}");
            let want = format!("error: the sandbox does not enforce what is required: {layer} (");
            assert!(asked.err.starts_with(&want), "{asked:?}");
        }
    }
    tunesmith(dir.path(), &["doctor", "--require", "roof"]).refused(2);
}
