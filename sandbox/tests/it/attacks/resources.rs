//! Using up what a job is limited in.
use std::fs;
use std::time::Duration;

use tunesmith_sandbox::Layer::{Disk, Memory, Processes};
use tunesmith_sandbox::{Ended, Limit, Limits};

use super::attack::{Attack, got_through, passed, program, shell};

const MB: u64 = 1_000_000;

fn tight(limits: &mut Limits) {
    limits.memory = Some(100 * MB);
    limits.processes = Some(64);
    limits.file_bytes = Some(40 * MB);
    limits.disk_bytes = Some(30 * MB);
    limits.files = Some(2000);
    limits.output_bytes = Some(MB);
    limits.cpu = Some(Duration::from_millis(500));
}

pub fn all() -> Vec<Attack> {
    let forks = |name| program(name, Processes, |run| passed(run, Limit::Processes)).limited(tight).alone();
    let memory = |name| program(name, Memory, |run| passed(run, Limit::Memory)).limited(tight);
    let disk = |name| program(name, Disk, |run| passed(run, Limit::Disk)).limited(tight);
    let fill = |name, script| shell(name, Disk, script, |run| passed(run, Limit::Disk)).limited(tight);
    let flood =
        |name, script| shell(name, Disk, script, |run| run.output.len() as u64 > 2 * MB).everywhere().limited(tight);
    let spin = |name| program(name, Processes, |run| passed(run, Limit::Cpu)).everywhere().limited(tight);
    vec![
        forks("fork-bomb"),
        forks("fork-tree"),
        forks("thread-bomb"),
        forks("zombies"),
        memory("memory-of-one"),
        memory("memory-of-many"),
        memory("memory-files"),
        memory("memory-in-sockets"),
        disk("deleted-files"),
        program("empty-files", Disk, |run| passed(run, Limit::Files)).limited(tight),
        disk("deep-folders"),
        disk("reserved-blocks"),
        fill(
            "many files",
            "for i in 1 2 3 4 5 6 7 8 9 10; do head -c 10000000 /dev/zero > f$i; done; sleep 0.5; echo \"$TOKEN\"",
        ),
        fill(
            "a file whose name is not text",
            "for i in 1 2 3 4; do head -c 20000000 /dev/zero > \"$(printf '\\377\\n%s' $i)\"; done; sleep 0.5; echo \"$TOKEN\"",
        ),
        fill(
            "files in a directory that cannot be read",
            "mkdir closed; for i in 1 2 3 4; do head -c 20000000 /dev/zero > closed/f$i; done; chmod 0 closed; sleep 0.5; echo \"$TOKEN\"",
        ),
        fill(
            "files in a directory that is renamed all the time",
            "mkdir a; for i in 1 2 3 4; do head -c 20000000 /dev/zero > a/f$i; done; i=0; while [ $i -lt 300 ]; do mv a b; mv b a; i=$((i+1)); done; echo \"$TOKEN\"",
        ),
        shell("one large file", Disk, "head -c 100000000 /dev/zero > f; echo \"$TOKEN\"", |run| {
            got_through(run) && fs::metadata(run.inside("f")).unwrap().len() > 40 * MB
        })
        .limited(tight),
        shell("a sparse file", Disk, "truncate -s 10G f; echo \"$TOKEN\"", |run| {
            got_through(run) && fs::metadata(run.inside("f")).unwrap().len() > 40 * MB
        })
        .limited(tight),
        flood("a flood of lines", "yes | head -c 5000000"),
        flood("a flood without a line's end", "head -c 5000000 /dev/zero | tr '\\0' a"),
        flood("a flood of errors", "yes | head -c 5000000 >&2"),
        spin("spin").alone(),
        spin("spin-of-many").alone(),
        program("ignore-time", Processes, got_through)
            .everywhere()
            .limited(|limits| limits.wall = Some(Duration::from_millis(300))),
        shell("sleep through the time limit", Processes, "trap '' TERM INT HUP; sleep 1; echo \"$TOKEN\"", |run| {
            got_through(run) && run.ended() != Some(&Ended::Limit(Limit::Wall))
        })
        .everywhere()
        .limited(|limits| limits.wall = Some(Duration::from_millis(300))),
        program("open-files", Processes, got_through).everywhere().kernel("a program may not open that many files"),
    ]
}
