//! Files outside that a job would make, change or remove.
use std::fs;

use tunesmith_sandbox::Layer::{Descriptors, Files};

use super::attack::{Attack, canary_changed, dropped, got_through, heard, new_outside, program, shell};

pub fn all() -> Vec<Attack> {
    let change = |name, script| shell(name, Files, script, canary_changed);
    let add = |name, script| shell(name, Files, script, new_outside);
    vec![
        change("write by an absolute path", "echo x > \"$OUT/canary\""),
        change("append", "echo x >> \"$OUT/canary\""),
        change("write by ..", "echo x > ../outside/canary"),
        change("write through a link", "ln -s \"$OUT/canary\" link; echo x > link"),
        change("write through a link to the directory", "ln -s \"$OUT\" folder; echo x > folder/canary"),
        change("write through a hard link", "ln \"$OUT/canary\" hard; echo x > hard"),
        change("write by /proc/self/root", "echo x > \"/proc/self/root$OUT/canary\""),
        change("write by the caller's directory", "echo x > /proc/$(cat caller)/cwd/canary"),
        change("remove a file", "rm -f \"$OUT/canary\""),
        change("rename a file", "mv \"$OUT/canary\" \"$OUT/other\""),
        change("replace a file", "echo x > mine; mv -f mine \"$OUT/canary\""),
        program("truncate", Files, canary_changed),
        program("exchange", Files, canary_changed),
        program("write-path-descriptor", Files, canary_changed),
        program("write-openat2", Files, canary_changed),
        program("write-race", Files, new_outside),
        program("unnamed-file", Files, new_outside),
        program("bind-socket-file", Files, new_outside),
        add("make a file", "echo x > \"$OUT/new\""),
        add("make a directory", "mkdir \"$OUT/new\""),
        add("make a link", "ln -s x \"$OUT/new\""),
        add("make a hard link", "echo x > mine; ln mine \"$OUT/new\""),
        add("make a FIFO", "mkfifo \"$OUT/new\""),
        shell("remove a directory", Files, "rmdir \"$OUT/empty\"", |run| !run.outside("empty").exists()),
        shell("write to /tmp", Files, "echo x > \"/tmp/$TOKEN\"", |run| dropped(run, "/tmp")),
        shell("write to /var/tmp", Files, "echo x > \"/var/tmp/$TOKEN\"", |run| dropped(run, "/var/tmp")),
        shell("write to /dev/shm", Files, "echo x > \"/dev/shm/$TOKEN\"", |run| dropped(run, "/dev/shm")),
        shell("leave a core dump", Files, "cd \"$OUT/empty\"; ulimit -c unlimited; kill -SEGV $$", |run| {
            fs::read_dir(run.outside("empty")).is_ok_and(|mut entries| entries.next().is_some())
        })
        .kernel("core dumps go elsewhere"),
        shell("write to the caller's terminal", Files, "echo \"$TOKEN\" > \"$HOST_TERMINAL\"", heard).host("terminal"),
        shell(
            "write to /proc/sys",
            Files,
            "printf %s \"$(cat /proc/sys/vm/swappiness)\" > /proc/sys/vm/swappiness && echo \"$TOKEN\"",
            got_through,
        )
        .root("only root may write there"),
        shell("write the core pattern", Files, "exec 9>>/proc/sys/kernel/core_pattern && echo \"$TOKEN\"", got_through)
            .root("only root may write there"),
        shell(
            "write to /sys",
            Files,
            "exec 9>>/sys/kernel/mm/transparent_hugepage/enabled && echo \"$TOKEN\"",
            got_through,
        )
        .root("only root may write there"),
        shell("write through an inherited descriptor", Descriptors, "echo x > /proc/self/fd/7", |run| {
            fs::read_to_string(run.outside("descriptor")).unwrap() != run.secret
        }),
        shell("write to a descriptor of the caller", Files, "echo x > /proc/$(cat caller)/fd/7", |run| {
            fs::read_to_string(run.outside("descriptor")).unwrap() != run.secret
        }),
    ]
}
