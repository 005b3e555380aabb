//! The system calls that the standard library does not offer. The only unsafe code of the crate.
#![allow(unsafe_code)]
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use libc::{c_int, c_long, c_ulong, pid_t};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: c_long) -> io::Result<c_int> {
    check(c_int::try_from(result).unwrap_or(c_int::MAX))
}

/// Runs a closure in the forked child of a single-threaded process, just before the program is executed.
pub(super) fn before_exec(command: &mut Command, f: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the only caller is the supervisor, which has one thread. No other thread can hold a lock, the
    // allocator's included, at the time of the fork, so the child may run any code.
    unsafe { command.pre_exec(f) };
}

/// Closes every file from number 3 on that an earlier program left open.
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: called first thing in a fresh single-threaded process, when no Rust value owns such a file yet.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }).map(drop)
}

/// Marks every file from number 3 on to be closed when a program is executed.
pub(super) fn close_on_exec() -> io::Result<()> {
    // SAFETY: sets a flag of file descriptors and closes none.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

fn prctl(option: c_int, argument: c_ulong) -> io::Result<c_int> {
    let zero: c_ulong = 0;
    // SAFETY: every option used here takes plain numbers, and the unused arguments are zero as the kernel demands.
    check(unsafe { libc::prctl(option, argument, zero, zero, zero) })
}

/// Makes orphaned descendants children of this process.
pub(super) fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// Keeps other processes of the same user from tracing this one and from reading its memory.
pub(super) fn hide() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0).map(drop)
}

/// Keeps programs with the set-user-id bit from gaining privileges.
pub(super) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Has the kernel kill this process when its parent dies, and fails if that has happened already.
pub(super) fn die_with(parent: u32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong)?;
    if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// The same where the parent's number cannot be known, because it is in another namespace.
pub(super) fn die_with_any_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong).map(drop)
}

/// Starts a session of its own, away from the terminal.
pub(super) fn new_session() -> io::Result<()> {
    // SAFETY: takes no arguments.
    check(unsafe { libc::setsid() }).map(drop)
}

/// CAP_DAC_OVERRIDE: lets root write a workdir that belongs to somebody else.
pub(super) const FILES_OF_OTHERS: c_ulong = 1;

/// Takes from the next program every capability but the one that is kept.
pub(super) fn drop_capabilities(kept: Option<c_ulong>) -> io::Result<()> {
    // Both fail where there is nothing to take: old kernels know no ambient set, ordinary users have no bounding set
    // to change, and what they have is not handed on to the next program.
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong);
    for capability in (0..64).filter(|capability| Some(*capability) != kept) {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            // A container that gives root no CAP_SETPCAP has restricted it already.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => break,
            other => other?,
        };
    }
    Ok(())
}

/// Forks into new namespaces; 0 in the child, which is the first process of its own.
pub(super) fn fork_into(namespaces: c_int) -> io::Result<pid_t> {
    let flags = c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without a stack of its own the child goes on with a copy of this one, as after fork. The caller has one
    // thread, so the child finds no lock held.
    check_long(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// Ends the process without running what was registered for its end.
pub(super) fn leave(code: c_int) -> ! {
    // SAFETY: takes a plain number and does not return.
    unsafe { libc::_exit(code) }
}

/// Adds attributes to a mount, if `deep` with all mounts below it. With `users` the files of a mount that is not attached
/// yet are shown as that user namespace maps their owners.
pub(super) fn set_mount(
    mount: BorrowedFd<'_>,
    attributes: u64,
    users: Option<BorrowedFd<'_>>,
    deep: bool,
) -> io::Result<()> {
    let mapped = if users.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: attributes | mapped,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.map_or(0, |users| u64::from(users.as_raw_fd().cast_unsigned())),
    };
    let flags = libc::AT_EMPTY_PATH | if deep { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is an empty string that ends in NUL, and the pointer is to a live structure of the size given.
    check_long(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size)
    })
    .map(drop)
}

/// Switches the loopback interface of this process's network on.
pub(super) fn loopback_up() -> io::Result<()> {
    // SAFETY: takes plain numbers.
    let socket = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeros are a valid value of this structure.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the pointer is to a live structure with a name that ends in NUL.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The user this process runs as.
pub(super) fn real_user() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::getuid() }
}

/// The process group of a process.
pub(super) fn group_of(pid: pid_t) -> Option<pid_t> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::getpgid(pid) }).ok()
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = c_int;

/// Lowers a resource limit for good; never raises one. `slack` lies between the soft and the hard limit.
pub(super) fn lower_limit(resource: Resource, value: u64, slack: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable rlimit.
    check(unsafe { libc::getrlimit(resource, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max.min(value);
    limit.rlim_max = limit.rlim_max.min(value.saturating_add(slack));
    // SAFETY: the pointer is to a live rlimit.
    check(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

/// Sends a signal; a process that is gone already is no error.
pub(super) fn kill(pid: pid_t, signal: c_int) {
    // SAFETY: takes plain numbers. The caller names single processes only.
    unsafe { libc::kill(pid, signal) };
}

/// What [`reap`] found.
pub(super) enum Reaped {
    /// This child ended with this raw status.
    Child(pid_t, c_int),
    /// There are children, and none has ended.
    NoneEnded,
    /// There is no child at all.
    NoneLeft,
}

/// Takes note of one child that has ended, without waiting.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: the pointer is to a live, writable integer.
    match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
        0 => Reaped::NoneEnded,
        pid if pid > 0 => Reaped::Child(pid, status),
        _ => Reaped::NoneLeft,
    }
}

/// Processor time of all descendants that have ended, and the largest memory of one of them in bytes.
pub(super) fn ended_usage() -> (Duration, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live, writable rusage, and all zeros are a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    (time(usage.ru_utime) + time(usage.ru_stime), usage.ru_maxrss.unsigned_abs() << 10)
}

/// A file that becomes readable when a process ends.
pub(super) fn process_file(pid: pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes plain numbers.
    let fd = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file without a name, in memory.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    // SAFETY: the name is a constant that ends in NUL.
    let fd = check(unsafe { libc::memfd_create(c"stdin".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until one of the files can be read, or for this long.
pub(super) fn wait_readable(files: &[BorrowedFd<'_>], timeout: Duration) {
    let entry = |file: &BorrowedFd<'_>| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<_> = files.iter().map(entry).collect();
    let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the pointer and the length describe a live vector. An interrupted wait is only a short one.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
}

/// Whether a file can be read, or has ended.
pub(super) fn is_readable(file: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live structure.
    unsafe { libc::poll(&raw mut entry, 1, 0) > 0 }
}

/// The version of Landlock that the kernel speaks; 0 for none.
pub(super) fn landlock_version() -> c_int {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory and answers with a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    check_long(version).unwrap_or(0)
}

/// Whether the kernel filters system calls.
pub(super) fn can_filter() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the pointer is to a live integer that the kernel only reads.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &action) };
    check_long(answer).is_ok()
}

/// How many bytes a page has and how many ticks a second of processor time.
pub(super) fn units() -> (u64, u64) {
    // SAFETY: both take a plain number.
    let (page, ticks) = unsafe { (libc::sysconf(libc::_SC_PAGESIZE), libc::sysconf(libc::_SC_CLK_TCK)) };
    (page.max(1).unsigned_abs(), ticks.max(1).unsigned_abs())
}

/// Tries to trace another process; lets it go at once.
pub(super) fn try_trace(pid: pid_t) -> io::Result<()> {
    let none = std::ptr::null_mut::<u8>();
    // SAFETY: these requests use no memory of this process.
    check_long(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) })?;
    Ok(())
}

/// Says whether a signal could be sent to a process, without sending one.
pub(super) fn try_signal(pid: pid_t) -> io::Result<()> {
    // SAFETY: takes plain numbers; signal 0 is none.
    check(unsafe { libc::kill(pid, 0) }).map(drop)
}

/// Makes system calls that a filter should deny, in ways that do nothing, and names those that it did not deny.
pub(super) fn try_calls() -> Vec<&'static str> {
    let caller = c_long::from(std::os::unix::process::parent_id().cast_signed());
    let namespaces = c_long::from(libc::CLONE_NEWUSER | libc::CLONE_FS);
    let (vsock, packet) = (c_long::from(libc::AF_VSOCK), c_long::from(libc::AF_PACKET));
    let (datagram, stream) = (c_long::from(libc::SOCK_DGRAM), c_long::from(libc::SOCK_STREAM));
    // A call with nothing in it, with a file that is not open, or with flags that exclude each other.
    let calls: &[(&str, c_long, [c_long; 3])] = &[
        ("bpf", libc::SYS_bpf, [-1, 0, 0]),
        ("clone", libc::SYS_clone, [namespaces, 0, 0]),
        ("clone3", libc::SYS_clone3, [0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0]),
        ("ioctl TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0]),
        ("keyctl", libc::SYS_keyctl, [-1, 0, 0]),
        ("kill everybody", libc::SYS_kill, [-1, 0, 0]),
        ("mq_open", libc::SYS_mq_open, [0, 0, 0]),
        ("msgctl", libc::SYS_msgctl, [-1, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [-1, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0]),
        ("prlimit64 of the caller", libc::SYS_prlimit64, [caller, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [caller, 0, 0]),
        ("semget", libc::SYS_semget, [0, 0, 0]),
        ("setns", libc::SYS_setns, [-1, 0, 0]),
        ("shmget", libc::SYS_shmget, [0, 0, 0]),
        ("socket AF_PACKET", libc::SYS_socket, [packet, datagram, 0]),
        ("socket AF_VSOCK", libc::SYS_socket, [vsock, stream, 0]),
        ("unshare", libc::SYS_unshare, [1, 0, 0]),
    ];
    let denied = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS));
    let passed = calls.iter().filter(|(_, number, [a, b, c])| {
        // SAFETY: no argument is a valid pointer, so the kernel touches no memory of this process, and every call
        // fails or does nothing; a socket that is made stays open until the probe ends.
        let result = unsafe { libc::syscall(*number, *a, *b, *c, 0, 0, 0) };
        !check_long(result).is_err_and(|error| denied(&error))
    });
    passed.map(|(name, ..)| *name).collect()
}

/// Starts a session and leaves a child behind in it; true in that child.
pub(super) fn fork_daemon() -> io::Result<bool> {
    // SAFETY: the only caller is a probe, which has one thread.
    if check(unsafe { libc::fork() })? != 0 {
        return Ok(false);
    }
    new_session()?;
    // SAFETY: as above.
    if check(unsafe { libc::fork() })? != 0 {
        std::process::exit(0);
    }
    Ok(true)
}
