//! The kernel's surface: what no job needs and what has had holes.
use tunesmith_sandbox::Layer::Syscalls;

use super::attack::{Attack, got_through, heard, program, shell, told_secret};

pub fn all() -> Vec<Attack> {
    let call = |name| program(name, Syscalls, got_through);
    let admin = "needs a capability";
    let userns = "ordinary users may make no user namespaces";
    vec![
        call("io-uring").kernel("the kernel has no rings, or they are switched off"),
        call("bpf").kernel("only root may load programs into the kernel"),
        call("userfaultfd").kernel("the kernel has no faults served by programs"),
        call("perf").kernel("ordinary users may not count events"),
        call("mount").root(admin),
        program("bind-mount", Syscalls, told_secret).root(admin),
        program("chroot", Syscalls, told_secret).root(admin),
        call("unshare").kernel(userns),
        call("clone").kernel(userns),
        call("clone3").kernel(userns),
        program("nested-mount", Syscalls, told_secret).kernel(userns),
        shell(
            "nested namespaces by a program",
            Syscalls,
            "unshare -Urmpf sh -c 'mkdir m; mount --bind \"$OUT\" m && cat m/canary'",
            told_secret,
        )
        .kernel(userns),
        call("setns").host("plain").root(admin),
        call("fsopen").root(admin),
        program("open-tree", Syscalls, told_secret).root(admin),
        call("call-32").kernel("the kernel has no 32-bit calls"),
        call("segment").kernel("the processor has no segments of a program's own"),
        program("type-into-terminal", Syscalls, heard).host("terminal").kernel("typing for others is switched off"),
        call("host-name").root(admin),
        call("clock").root(admin),
        call("fanotify").root(admin),
        call("compare-processes").host("plain").kernel("the kernel compares no processes"),
        call("lock-list").host("plain"),
    ]
}
