//! What other programs know.
use std::os::unix::fs::MetadataExt;

use tunesmith_sandbox::Layer::{Environment, Files, Privileges, Syscalls};

use super::attack::{Attack, got_through, program, shell, told_secret};
use super::place::Run;

/// A program in the workdir runs as somebody else than the one who starts it.
fn has_owner_bit(run: &Run) -> bool {
    std::fs::metadata(run.inside("mine")).is_ok_and(|metadata| metadata.mode() & 0o6000 != 0)
}

pub fn all() -> Vec<Attack> {
    let scan = "for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $file; done 2>/dev/null | grep ^SECRET=";
    vec![
        shell("print the environment", Environment, "env", told_secret),
        shell("read the job's own first variables", Environment, "cat /proc/self/environ", told_secret),
        shell("read the parent's variables", Environment, "cat /proc/$PPID/environ", told_secret),
        shell("read the caller's variables", Environment, "cat /proc/$(cat caller)/environ", told_secret),
        shell(
            "read the variables of a program without privileges",
            Environment,
            "cat /proc/$HOST_PID/environ",
            told_secret,
        )
        .host("powerless"),
        shell("read everybody's variables", Environment, scan, told_secret),
        shell(
            "read everybody's arguments",
            Files,
            "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep password",
            told_secret,
        )
        .host("plain"),
        program("caller-memory", Files, told_secret),
        program("process-memory-file", Files, told_secret).host("memory"),
        program("process-vm-readv", Syscalls, told_secret).host("memory"),
        program("ptrace-peek", Syscalls, told_secret).host("memory"),
        program("pidfd-getfd", Syscalls, told_secret).host("file"),
        shell("read a descriptor of another program", Files, "cat /proc/$HOST_PID/fd/$HOST_FILE", told_secret)
            .host("file"),
        shell("read memory that programs share", Files, "cat \"$HOST_SHARED\"", told_secret).host("shm"),
        program("keyring", Syscalls, told_secret).host("key"),
        program("kernel-log", Syscalls, got_through).kernel("only root may read the kernel's log"),
        program("shared-memory", Syscalls, told_secret).host("ipc"),
        program("message-queue", Syscalls, told_secret).host("ipc"),
        program("posix-queue", Syscalls, told_secret).host("ipc"),
        shell("run as root", Privileges, "test $(id -u) = 0 && echo \"$TOKEN\"", got_through)
            .root("only root can be root"),
        shell("leave a program that runs as its owner", Privileges, "cp /bin/sh mine; chmod 4755 mine", has_owner_bit),
        shell("leave a program that runs as its group", Privileges, "cp /bin/sh mine; chmod 2755 mine", has_owner_bit),
        program("owner-bit-by-open", Privileges, has_owner_bit),
        program("owner-bit-by-openat2", Privileges, has_owner_bit),
        program("owner-bit-by-mknod", Privileges, has_owner_bit),
        program("owner-bit-by-fchmodat2", Privileges, has_owner_bit).kernel("the kernel has no such call"),
        shell("run a program as its owner", Privileges, "\"$ROOTS\" print-user", got_through)
            .ordinary("root has nothing to gain, and only root can make such a program"),
    ]
}
