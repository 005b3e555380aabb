//! Contents of files outside.
use tunesmith_sandbox::Layer::{Descriptors, Files};

use super::attack::{Attack, program, shell, told_secret};

pub fn all() -> Vec<Attack> {
    let cat = |name, script| shell(name, Files, script, told_secret);
    let mut attacks = vec![
        cat("read by an absolute path", "cat \"$OUT/canary\""),
        cat("read by ..", "cat ../outside/canary"),
        cat("read through a link", "ln -s \"$OUT/canary\" link; cat link"),
        cat("read through a link to the directory", "ln -s \"$OUT\" folder; cat folder/canary"),
        cat("read through a link to the root", "ln -s / folder; cat \"folder$OUT/canary\""),
        cat("read through a hard link", "ln \"$OUT/canary\" hard; cat hard"),
        cat("read by /proc/self/root", "cat \"/proc/self/root$OUT/canary\""),
        cat("read by /proc/self/cwd", "cat /proc/self/cwd/../outside/canary"),
        cat("read by the parent's root", "cat \"/proc/$PPID/root$OUT/canary\""),
        cat("read by the parent's directory", "cat /proc/$PPID/cwd/canary"),
        cat("read by the caller's directory", "cat /proc/$(cat caller)/cwd/canary"),
        cat("read by a descriptor of the caller", "cat /proc/$(cat caller)/fd/7"),
        cat("list a directory", "ls \"$OUT/list\""),
        cat("run a program outside", "\"$OUT/tool\""),
        cat("read the caller's home", "cat \"$OUT/../home/.netrc\""),
        cat("read the workdir of another run", "cat \"$OUT/../other-run/log\""),
        cat("move a file into the workdir", "mv \"$OUT/canary\" mine; cat mine"),
        cat("read from a supervisor of the job's own", "\"$COMPANION\" --open \"$NESTED\" \"$PWD\""),
        program("read-path-descriptor", Files, told_secret),
        program("read-openat2", Files, told_secret),
        program("read-handle", Files, told_secret).root("opening by handle needs a capability"),
        program("read-race", Files, told_secret),
    ];
    attacks.push(shell("read from an inherited descriptor", Descriptors, "cat <&7", told_secret));
    attacks.push(program("forge-report", Descriptors, |run| {
        std::fs::read(run.outside("forged")).unwrap() != b"" || run.finished.as_ref().is_some_and(|it| it.success())
    }));
    attacks
}
