//! System calls by seccomp: a list of those that no job needs and that reach around the other layers.
use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::Net;

/// Calls that are denied whatever their arguments are.
const DENIED: &[i64] = &[
    // Other processes' memory and files.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Rings of requests that no filter sees, and faults served by the job itself.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    // The kernel's inside.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_syslog,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Memory and queues shared with the whole machine.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Namespace flags of clone(2); clone3 takes them in memory and is denied as a whole.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// fchmodat2(2), whose number is the same everywhere and which not every C library names.
const FCHMODAT2: i64 = 452;

/// Calls that give a file its mode, by the argument that holds it. A program with the set-user-id or set-group-id bit that
/// a job leaves behind would run with the rights of the workdir's owner, whoever starts it.
const MODES: &[(i64, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Calls that do so only when they make a file, as the argument before says.
const OPENS: &[(i64, u8)] = &[
    (libc::SYS_openat, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 2),
];

/// Puts characters into a terminal's input: TIOCSTI and TIOCLINUX.
const TERMINAL_INPUT: &[u64] = &[0x5412, 0x541c];

/// Name the process that is signalled when something happens to a file: FIOSETOWN and SIOCSPGRP.
const OWNERS_OF_FILES: &[u64] = &[0x8901, 0x8902];

/// The same by fcntl: F_SETOWN, F_SETSIG and F_SETOWN_EX.
const SIGNALS_OF_FILES: &[u64] = &[8, 10, 15];

/// Calls whose first argument is the process to signal.
const SIGNALS: &[i64] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
];

/// Calls that change a process, by the argument that names it, where 0 is the caller. Priorities are denied
/// only where the job can name processes outside.
const OF_OTHERS: &[(i64, u8)] = &[
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
];

/// The filters for a job; `protected` are the processes and groups that it must not signal. A job with namespaces of its
/// own may use its network, and can name no process outside.
pub(super) fn filters(net: &Net, own_spaces: bool, protected: &[i32]) -> Result<Vec<BpfProgram>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let spaces = NAMESPACES.iter().map(|flag| masked(0, flag.cast_unsigned().into(), flag.cast_unsigned().into()));
    rules.insert(libc::SYS_clone, spaces.collect::<Result<_, _>>()?);
    let typed = TERMINAL_INPUT.iter().map(|request| equal(1, *request));
    let owned = OWNERS_OF_FILES.iter().filter(|_| !own_spaces).map(|request| equal(1, *request));
    rules.insert(libc::SYS_ioctl, typed.chain(owned).collect::<Result<_, _>>()?);
    if !own_spaces {
        let asked = SIGNALS_OF_FILES.iter().map(|command| equal(1, *command));
        rules.insert(libc::SYS_fcntl, asked.collect::<Result<_, _>>()?);
        rules.insert(libc::SYS_pidfd_send_signal, Vec::new());
    }
    let other = compare(0, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![other.clone()]);
    rules.insert(libc::SYS_get_robust_list, vec![other]);
    for (call, process) in OF_OTHERS.iter().filter(|_| !own_spaces) {
        rules.insert(*call, vec![compare(*process, SeccompCmpOp::Ne, 0)?]);
    }
    for call in SIGNALS {
        let signals = protected.iter().map(|pid| equal(0, pid.cast_unsigned().into()));
        rules.insert(*call, signals.collect::<Result<_, _>>()?);
    }
    rules.extend(sockets(net, own_spaces)?);
    rules.extend(modes()?);
    let denied = program(rules, libc::EPERM)?;
    // Both take their arguments in memory, where no filter sees them. Programs fall back to clone and openat when they are
    // told that the kernel does not know them.
    let unknown = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new()));
    let unknown = program(BTreeMap::from(unknown), libc::ENOSYS)?;
    let mut filters = vec![denied, unknown];
    if cfg!(target_arch = "x86_64") {
        filters.push(second_table());
    }
    Ok(filters)
}

/// Local stream sockets stay, connections to servers do not: Landlock does not see sockets with a path in the file
/// system, and a datagram socket can name its receiver in each message.
fn sockets(net: &Net, own_network: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    if *net != Net::Full && own_network {
        // Netlink and all families that nobody needs reach parts of the kernel that namespaces do not divide.
        let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|domain| domain.cast_unsigned().into());
        let condition = |domain| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, domain);
        let none = SeccompRule::new(known.into_iter().map(condition).collect::<Result<_, _>>()?)?;
        let rules = vec![none, masked(1, 0xf, libc::SOCK_RAW.cast_unsigned().into())?];
        return Ok(BTreeMap::from([(libc::SYS_socket, rules.clone()), (libc::SYS_socketpair, rules)]));
    }
    if *net == Net::Full {
        let bad = [libc::AF_VSOCK, libc::AF_PACKET, libc::AF_ALG].map(|domain| equal(0, domain.cast_unsigned().into()));
        return Ok(BTreeMap::from([(libc::SYS_socket, bad.into_iter().collect::<Result<_, _>>()?)]));
    }
    let local = libc::AF_UNIX.cast_unsigned().into();
    let kind = |kind: libc::c_int| masked(1, 0xf, kind.cast_unsigned().into());
    let rules = vec![compare(0, SeccompCmpOp::Ne, local)?, kind(libc::SOCK_DGRAM)?, kind(libc::SOCK_RAW)?];
    Ok(BTreeMap::from([
        (libc::SYS_socket, rules.clone()),
        (libc::SYS_socketpair, rules),
        (libc::SYS_connect, Vec::new()),
        // Whoever is outside could connect to a name that is not in the file system.
        (libc::SYS_bind, Vec::new()),
        (libc::SYS_listen, Vec::new()),
    ]))
}

/// Denies the set-user-id and set-group-id bits.
fn modes() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    let bits = [libc::S_ISUID, libc::S_ISGID].map(u64::from);
    let set = |argument: u8, bits: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), bits)
    };
    for (call, mode) in MODES {
        let denied = bits.iter().map(|bit| SeccompRule::new(vec![set(*mode, *bit)?]));
        rules.insert(*call, denied.collect::<Result<_, _>>()?);
    }
    // O_TMPFILE without the bit that O_DIRECTORY is as well.
    let makes = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY].map(|flag| u64::from(flag.cast_unsigned()));
    for (call, mode) in OPENS {
        let pairs = makes.iter().flat_map(|flag| bits.iter().map(move |bit| (*flag, *bit)));
        let denied = pairs.map(|(flag, bit)| SeccompRule::new(vec![set(mode - 1, flag)?, set(*mode, bit)?]));
        rules.insert(*call, denied.collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

fn compare(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?])
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    compare(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    compare(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, BackendError> {
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()
}

/// Denies the x32 table, whose numbers the rules above do not cover: the same calls with bit 30 set.
fn second_table() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_ABOVE: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| seccompiler::sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_ABOVE, 0, 1, 0x4000_0000),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
