//! Processes outside that would be disturbed, and processes of the job that would stay.
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use tunesmith_sandbox::Layer::{Files, Privileges, Signals, Syscalls, Tree};

use super::attack::{Attack, got_through, heard, host_died, program, shell, still_beating};

/// Ends a caller or a parent that has no handler for it.
const KILL_PARENT: &str = "kill -USR1 $PPID; sleep 0.1";
const KILL_CALLER: &str = "kill -USR1 $(cat caller); sleep 0.1";

pub fn all() -> Vec<Attack> {
    let other = |name, proof| program(name, Syscalls, proof).host("plain");
    let daemon = |name, how| program(name, Tree, still_beating).by(how);
    vec![
        shell("kill a process", Signals, "kill -KILL $HOST_PID", host_died).host("plain"),
        shell("kill a group", Signals, "kill -KILL -$HOST_PID", host_died).host("plain"),
        program("signal-everybody", Signals, heard).host("signal").alone(),
        program("pidfd-signal", Signals, host_died).host("plain"),
        program("queue-signal", Signals, host_died).host("plain"),
        shell("kill the parent", Signals, KILL_PARENT, |run| run.supervisor_lost || run.caller_killed),
        shell("kill the caller", Signals, KILL_CALLER, |run| run.caller_killed),
        program("trace-to-death", Syscalls, host_died).host("plain"),
        program("process-vm-writev", Syscalls, heard).host("memory"),
        program("process-memory-write", Files, heard).host("memory"),
        program("semaphore", Syscalls, heard).host("ipc"),
        program("prlimit", Syscalls, |run| run.host.limits.contains(" 77 ")).host("plain"),
        other("setpriority", |run| run.host.nice == "19"),
        other("sched-setaffinity", |run| run.host.processors == "0").kernel("the machine has one processor"),
        other("sched-setscheduler", |run| run.host.policy == "5"),
        shell("offer another process to the killer", Files, "echo 777 > /proc/$HOST_PID/oom_score_adj", |run| {
            run.host.score == "777"
        })
        .host("plain"),
        program("setuid", Privileges, got_through).root("only root may become somebody else"),
        program("setgroups", Privileges, got_through).root("only root may join groups"),
        shell("give away a file", Privileges, "echo x > mine; chown 12345 mine", |run| {
            fs::metadata(run.inside("mine")).is_ok_and(|metadata| metadata.uid() == 12345)
        })
        .root("only root may give files away"),
        shell("make a device", Privileges, "mknod disk b 254 0", |run| {
            fs::metadata(run.inside("disk")).is_ok_and(|metadata| metadata.file_type().is_block_device())
        })
        .root("only root may make devices"),
        daemon("a daemon after the end", "daemon"),
        daemon("a daemon below a subreaper of the job", "daemon-subreaper"),
        daemon("a daemon as a child of the job's parent", "daemon-clone-parent"),
        daemon("a daemon with a name that looks like another line", "daemon-named"),
        daemon("a daemon that keeps forking", "daemon-forking"),
        daemon("a daemon after the time limit", "daemon")
            .env(&[("STAY", "1")])
            .limited(|limits| limits.wall = Some(Duration::from_millis(500))),
        daemon("a daemon after the death of the caller", "daemon").env(&[("STAY", "1")]).killing_the_caller(),
        daemon("a forking daemon after the death of the caller", "daemon-forking")
            .env(&[("STAY", "1")])
            .killing_the_caller(),
    ]
}
