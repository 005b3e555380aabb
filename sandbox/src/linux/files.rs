//! Files, TCP and signals by Landlock: what a job may read, and that it writes nothing but its workdir.
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use crate::wire::Policy;
use crate::{Devices, Net};

/// The rights asked for; on an older kernel the crate leaves out what that kernel does not know.
const WANTED: ABI = ABI::V6;

/// Programs and libraries.
pub(super) const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// What the dynamic loader, the C library and common tools look at. No secrets: neither all of /etc nor all of /proc.
pub(super) const SETTINGS: &[&str] = &[
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/python3",
    "/etc/terminfo",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Who the users of the machine are; a job with a view of its own sees others.
const USERS: &[&str] = &["/etc/group", "/etc/passwd"];

/// Whom programs trust that use the network, and how they find others on it.
const NETWORK: (&[&str], &[&str]) = (
    &["/etc/ca-certificates", "/etc/pki", "/etc/services", "/etc/ssl"],
    &["/etc/gai.conf", "/etc/hosts", "/etc/resolv.conf"],
);

/// What programs that use the network look at; those of a job with a proxy find nobody themselves.
pub(super) fn of_network(net: &Net) -> Vec<&'static str> {
    match net {
        Net::None => Vec::new(),
        Net::Hosts(_) => NETWORK.0.to_vec(),
        Net::Full => [NETWORK.0, NETWORK.1].concat(),
    }
}

/// Where programs put temporary files in a view of their own: all are one directory of the workdir.
pub(super) const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Devices of every job.
pub(super) const DEVICES: &[&str] = &["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// What programs look at that compute on graphics processors.
pub(super) const GPU_SETTINGS: &[&str] =
    &["/proc/driver/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/class/drm", "/sys/module/nvidia"];

/// The files of the graphics processors of this machine: NVIDIA's, AMD's, and those that only compute.
pub(super) fn gpus() -> Vec<PathBuf> {
    let in_directory = |directory: &str, starts: &[&str]| -> Vec<PathBuf> {
        let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let meant = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            starts.iter().any(|start| name.starts_with(start)) && !path.is_dir()
        };
        names.filter(meant).collect()
    };
    let mut files = in_directory("/dev", &["nvidia", "kfd"]);
    files.extend(in_directory("/dev/nvidia-caps", &["nvidia-cap"]));
    files.extend(in_directory("/dev/dri", &["renderD"]));
    files.sort();
    files
}

/// Collects the rules for a job; paths that do not exist are left out. With a view of its own, which is entered already,
/// a job may read all that it sees, and has a network of its own.
pub(super) fn rules(policy: &Policy, program: &Path, own_view: bool) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(WANTED))?;
    if policy.job.net != Net::Full && !own_view {
        ruleset = ruleset.handle_access(AccessNet::from_all(WANTED))?;
    }
    let ruleset = ruleset.scope(Scope::from_all(WANTED))?.create()?;
    let ruleset = if own_view {
        ruleset.add_rules(path_beneath_rules(["/"], read()))?.add_rules(path_beneath_rules(TEMPORARY, write()))?
    } else {
        ruleset
            .add_rules(path_beneath_rules(SYSTEM, read()))?
            .add_rules(path_beneath_rules(SETTINGS, read()))?
            .add_rules(path_beneath_rules(USERS, read()))?
            .add_rules(path_beneath_rules(of_network(&policy.job.net), read()))?
            .add_rules(path_beneath_rules(&policy.job.reads, read()))?
    };
    let (gpus, settings) = match policy.job.devices {
        Devices::Gpu => (gpus(), GPU_SETTINGS),
        Devices::None => (Vec::new(), [].as_slice()),
    };
    ruleset
        .add_rules(path_beneath_rules(gpus, AccessFs::from_file(WANTED)))?
        .add_rules(path_beneath_rules(settings, read()))?
        .add_rules(path_beneath_rules([program], read()))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::from_file(WANTED)))?
        .add_rules(path_beneath_rules(&policy.job.writes, write() | AccessFs::IoctlDev))?
        .add_rules(path_beneath_rules([&policy.workdir], write()))
}

/// Adds what the calling process may know about itself, and confines it for good.
pub(super) fn enforce(ruleset: RulesetCreated, own_view: bool) -> Result<(), RulesetError> {
    let itself = PathFd::new(Path::new("/proc/self"));
    let ruleset = match itself {
        Ok(itself) if !own_view => ruleset.add_rule(PathBeneath::new(itself, read()))?,
        _ => ruleset,
    };
    ruleset.restrict_self()?;
    Ok(())
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::from_read(WANTED)
}

/// Everything but making devices and controlling them; a device that a job is given by name it may control.
fn write() -> BitFlags<AccessFs> {
    AccessFs::from_all(WANTED) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}
