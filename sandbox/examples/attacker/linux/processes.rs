//! Other processes: signals, memory, settings, and daemons that stay.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::linux::secrets::vector;
use crate::linux::sys::{self, call};
use crate::linux::{Attack, c_text, got_through, number, variable};

pub const ALL: &[(&str, Attack)] = &[
    ("signal-everybody", signal_everybody),
    ("pidfd-signal", pidfd_signal),
    ("queue-signal", queue_signal),
    ("trace-to-death", trace_to_death),
    ("process-vm-writev", process_vm_writev),
    ("process-memory-write", process_memory_write),
    ("prlimit", limit_other),
    ("setpriority", slow_other),
    ("sched-setaffinity", pin_other),
    ("sched-setscheduler", idle_other),
    ("setuid", become_other_user),
    ("setgroups", join_group),
    ("print-user", print_user),
    ("daemon", daemon),
    ("daemon-clone-parent", daemon_of_the_parent),
    ("daemon-subreaper", daemon_below_a_subreaper),
    ("daemon-named", daemon_with_a_name),
    ("daemon-forking", daemon_that_keeps_forking),
];

fn host() -> io::Result<i32> {
    number("HOST_PID")
}

/// A signal that nobody minds but the test's program outside, which listens for it.
fn signal_everybody() -> io::Result<()> {
    call!(libc::SYS_kill, -1, libc::SIGURG).map(drop)
}

fn pidfd_signal() -> io::Result<()> {
    let process = call!(libc::SYS_pidfd_open, host()?, 0)?;
    call!(libc::SYS_pidfd_send_signal, process, libc::SIGKILL, 0, 0).map(drop)
}

fn queue_signal() -> io::Result<()> {
    // The number of the signal, no error, and a code that processes may use.
    let mut info = [0_u8; 128];
    info[..4].copy_from_slice(&libc::SIGKILL.to_ne_bytes());
    info[8..12].copy_from_slice(&libc::SI_QUEUE.to_ne_bytes());
    call!(libc::SYS_rt_sigqueueinfo, host()?, libc::SIGKILL, &info[..]).map(drop)
}

/// A tracer that ends can take what it traces with it.
fn trace_to_death() -> io::Result<()> {
    call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, host()?, 0, libc::PTRACE_O_EXITKILL).map(drop)
}

fn process_vm_writev() -> io::Result<()> {
    let word = 1_u64.to_ne_bytes();
    let local = vector(word.as_ptr() as u64, 8);
    let remote = vector(number::<u64>("HOST_MAILBOX")?, 8);
    call!(libc::SYS_process_vm_writev, host()?, &local[..], 1, &remote[..], 1, 0).map(drop)
}

fn process_memory_write() -> io::Result<()> {
    let memory = File::options().write(true).open(format!("/proc/{}/mem", host()?))?;
    memory.write_all_at(&1_u64.to_ne_bytes(), number("HOST_MAILBOX")?)
}

fn limit_other() -> io::Result<()> {
    let limit = vector(77, 77);
    call!(libc::SYS_prlimit64, host()?, libc::RLIMIT_NOFILE, &limit[..], 0).map(drop)
}

fn slow_other() -> io::Result<()> {
    call!(libc::SYS_setpriority, libc::PRIO_PROCESS, host()?, 19).map(drop)
}

fn pin_other() -> io::Result<()> {
    let first = 1_u64.to_ne_bytes();
    call!(libc::SYS_sched_setaffinity, host()?, first.len(), &first[..]).map(drop)
}

fn idle_other() -> io::Result<()> {
    let priority = [0_u8; 4];
    call!(libc::SYS_sched_setscheduler, host()?, libc::SCHED_IDLE, &priority[..]).map(drop)
}

fn become_other_user() -> io::Result<()> {
    const OTHER: i64 = 12345;
    call!(libc::SYS_setresuid, OTHER, OTHER, OTHER)?;
    if call!(libc::SYS_geteuid)? == OTHER { got_through() } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Joins a group that the caller is not in.
fn join_group() -> io::Result<()> {
    const OTHER: u32 = 12345;
    call!(libc::SYS_setgroups, 1, &OTHER.to_ne_bytes()[..])?;
    got_through()
}

/// What a program with the set-user-id bit does: says whether it runs as root now.
fn print_user() -> io::Result<()> {
    if call!(libc::SYS_geteuid)? == 0 { got_through() } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Whether a daemon goes on: three seconds at most, and no longer than the test wants.
/// A daemon ends by itself when nobody has looked for it in good time, even on a machine that is busy with much else.
fn goes_on(start: Instant) -> bool {
    start.elapsed() < Duration::from_secs(10) && !std::fs::exists("end").unwrap_or(true)
}

/// Writes to a file in the workdir every few milliseconds.
fn beat() -> io::Result<()> {
    let file = File::create("beat")?;
    let start = Instant::now();
    let mut count = 0_u64;
    while goes_on(start) {
        count += 1;
        file.write_all_at(count.to_string().as_bytes(), 0)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Returns once a daemon has written its first beat.
fn wait_for_beat() -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(3);
    while std::fs::read("beat").unwrap_or_default().is_empty() {
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // With this variable the job stays, so that it is its time limit that ends it.
    if variable("STAY").is_ok() {
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

/// Leaves the session and the parent, and forgets the signal that a parent's death would send.
fn detach() -> io::Result<()> {
    call!(libc::SYS_setsid)?;
    call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0)?;
    if !sys::fork()? {
        std::process::exit(0);
    }
    call!(libc::SYS_setsid).map(drop)
}

fn ignore_signals() -> io::Result<()> {
    let all = [0xff_u8; 8];
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &all[..], 0, 8).map(drop)
}

fn daemon() -> io::Result<()> {
    if sys::fork()? {
        ignore_signals()?;
        detach()?;
        return beat();
    }
    wait_for_beat()
}

/// The child becomes a sibling: a child of whoever started the job.
fn daemon_of_the_parent() -> io::Result<()> {
    if sys::clone(libc::CLONE_PARENT)? {
        call!(libc::SYS_setsid)?;
        return beat();
    }
    wait_for_beat()
}

fn daemon_below_a_subreaper() -> io::Result<()> {
    call!(libc::SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)?;
    daemon()
}

/// A name that looks like the rest of a line of /proc/PID/stat.
fn daemon_with_a_name() -> io::Result<()> {
    let name = c_text(") Z 1 1 1 (x")?;
    call!(libc::SYS_prctl, libc::PR_SET_NAME, &*name, 0, 0, 0)?;
    daemon()
}

/// Lives on in a new process every time it has written, so that no list of processes is true for long.
fn daemon_that_keeps_forking() -> io::Result<()> {
    if !sys::fork()? {
        return wait_for_beat();
    }
    let start = Instant::now();
    let mut count = 0_u64;
    while goes_on(start) {
        count += 1;
        std::fs::write("beat", count.to_string())?;
        call!(libc::SYS_setsid).ok();
        if !sys::fork()? {
            std::process::exit(0);
        }
    }
    Ok(())
}
