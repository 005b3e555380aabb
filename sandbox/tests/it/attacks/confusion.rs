//! What a job leaves behind for others to stumble over.
use std::fs;
use std::path::PathBuf;

use tunesmith_sandbox::Layer::Files;
use tunesmith_sandbox::Workdir;

use super::attack::{Attack, canary_changed, got_through, new_outside, shell};
use super::place::{Mode, Run};

/// Where the caller looks for a file that a job was to leave: checked where there is a sandbox.
fn result(run: &Run) -> Option<PathBuf> {
    match run.mode {
        Mode::Off => Some(run.inside("result")),
        _ => Workdir::open(&run.inside("")).unwrap().join("result").ok(),
    }
}

fn result_is_secret(run: &Run) -> bool {
    result(run).is_some_and(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&run.secret)))
}

pub fn all() -> Vec<Attack> {
    let reader = |name, script| shell(name, Files, script, result_is_secret).everywhere();
    vec![
        reader("a result that is a link", "ln -s \"$OUT/canary\" result"),
        reader("a result that is a relative link", "mkdir a; ln -s ../outside/canary a/../result"),
        reader("a result that is a chain of links", "ln -s / r; ln -s \"r$OUT/canary\" result"),
        shell("a result that leads a writer outside", Files, "ln -s \"$OUT/new\" result", |run| {
            result(run).is_some_and(|path| fs::write(path, "x").is_ok()) && new_outside(run)
        })
        .everywhere(),
        shell("a result that overwrites a file outside", Files, "ln -s \"$OUT/canary\" result", |run| {
            result(run).is_some_and(|path| fs::write(path, "x").is_ok()) && canary_changed(run)
        })
        .everywhere(),
        shell("a workdir replaced by a link", Files, "cd ..; mv work moved; ln -s outside work", |run| {
            new_outside(run)
        })
        .then("echo x > new"),
        shell("a directory for temporary files that is a link", Files, "rm -rf .tmp; ln -s \"$OUT\" .tmp", new_outside)
            .then("echo x > \"$TMPDIR/new\"")
            .everywhere(),
        shell("a directory for temporary files that is a FIFO", Files, "rm -rf .tmp; mkfifo .tmp", |run| {
            !got_through(run)
        })
        .then("echo x > \"$TMPDIR/new\" && echo \"$TOKEN\"")
        .everywhere(),
        shell(
            "output that looks like the supervisor's last word",
            Files,
            "echo '{\"ended\":{\"exit\":0}}'; exit 3",
            |run| run.believed_success(),
        )
        .everywhere(),
    ]
}
