//! The Hub's own client for Python, where there is one.

use std::{io::Write, process::Command};

use serde_json::Value;

use super::FakeHub;

/// Runs a script with the client; what it prints is JSON. Nothing where there is no interpreter, which is said.
pub fn python(hub: &FakeHub, token: &str, script: &str) -> Option<Value> {
    let Some(python) = std::env::var_os("TUNESMITH_PEER_HUB") else {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let why = "TUNESMITH_PEER_HUB names no interpreter with huggingface_hub";
        // Not by a macro, whose output is kept back of a test that passes.
        let line = format!("SKIPPED the part of {test} with the Hub's own client: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.args(["-c", script]).current_dir(home.path()).env("HF_HOME", home.path()).env("HF_ENDPOINT", &hub.endpoint);
    command.env("HF_TOKEN", token).env("HF_XET_TELEMETRY_ENABLED", "0").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}
