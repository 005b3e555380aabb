//! Using up what a job is limited in, by a known amount; an attack that gets all of it says so.
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::linux::sys::{self, call, own};
use crate::linux::{Attack, got_through};

pub const ALL: &[(&str, Attack)] = &[
    ("fork-bomb", fork_bomb),
    ("fork-tree", fork_tree),
    ("thread-bomb", thread_bomb),
    ("zombies", zombies),
    ("memory-of-one", memory_of_one),
    ("memory-of-many", memory_of_many),
    ("memory-files", memory_files),
    ("memory-in-sockets", memory_in_sockets),
    ("deleted-files", deleted_files),
    ("empty-files", empty_files),
    ("deep-folders", deep_folders),
    ("reserved-blocks", reserved_blocks),
    ("spin", spin),
    ("spin-of-many", spin_of_many),
    ("ignore-time", ignore_time),
    ("open-files", open_files),
];

const MB: usize = 1_000_000;
/// Long enough for a poll to see what is held.
const HOLD: Duration = Duration::from_millis(1200);

fn hold() -> io::Result<()> {
    std::thread::sleep(HOLD);
    got_through()
}

fn fork_bomb() -> io::Result<()> {
    for _ in 0..300 {
        if sys::fork()? {
            std::thread::sleep(HOLD);
            std::process::exit(0);
        }
    }
    hold()
}

/// Every process forks, so that 256 are there after eight rounds.
fn fork_tree() -> io::Result<()> {
    let mut first = true;
    for _ in 0..8 {
        first &= !sys::fork()?;
    }
    std::thread::sleep(HOLD);
    if first { got_through() } else { Ok(()) }
}

fn thread_bomb() -> io::Result<()> {
    let sleeper = || std::thread::Builder::new().stack_size(1 << 16).spawn(|| std::thread::sleep(HOLD));
    let threads = (0..300).map(|_| sleeper()).collect::<io::Result<Vec<_>>>()?;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    got_through()
}

/// Processes that have ended and that nobody waits for still fill the table of processes.
fn zombies() -> io::Result<()> {
    for _ in 0..300 {
        if sys::fork()? {
            std::process::exit(0);
        }
    }
    hold()
}

fn memory_of_one() -> io::Result<()> {
    let bytes = vec![1_u8; 300 * MB];
    hold()?;
    drop(bytes);
    Ok(())
}

/// None of the processes has much.
fn memory_of_many() -> io::Result<()> {
    for _ in 0..6 {
        if sys::fork()? {
            let bytes = vec![1_u8; 50 * MB];
            std::thread::sleep(HOLD);
            std::process::exit(i32::from(bytes[7]));
        }
    }
    hold()
}

/// Files in memory that no process has mapped.
fn memory_files() -> io::Result<()> {
    let chunk = vec![1_u8; MB];
    let mut files = Vec::new();
    for _ in 0..10 {
        let mut file = File::from(own(call!(libc::SYS_memfd_create, c"bomb", 0)?));
        for _ in 0..30 {
            file.write_all(&chunk)?;
        }
        files.push(file);
    }
    hold()
}

/// Messages that nobody takes lie in the kernel.
fn memory_in_sockets() -> io::Result<()> {
    // A process starts with a lower bound than it may have.
    let more = crate::linux::secrets::vector(4096, 4096);
    let _ = call!(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &more[..], 0);
    let chunk = vec![1_u8; 1 << 16];
    let mut pairs = Vec::new();
    let mut bytes = 0;
    while bytes < 200 * MB {
        let (one, other) = UnixStream::pair()?;
        for mut end in [&one, &other] {
            end.set_nonblocking(true)?;
            while let Ok(count) = end.write(&chunk) {
                bytes += count;
            }
        }
        pairs.push((one, other));
    }
    hold()
}

/// Files without a byte take a place each in the disk's table.
fn empty_files() -> io::Result<()> {
    for number in 0..5000 {
        File::create(format!("f{number}"))?;
    }
    hold()
}

/// Files without a name fill a disk as well as any.
fn deleted_files() -> io::Result<()> {
    let chunk = vec![1_u8; MB];
    let mut files = Vec::new();
    for _ in 0..10 {
        let mut file = File::create("gone")?;
        fs::remove_file("gone")?;
        for _ in 0..10 {
            file.write_all(&chunk)?;
        }
        files.push(file);
    }
    hold()
}

/// Writes below a path that is longer than any call takes.
fn deep_folders() -> io::Result<()> {
    let name = "d".repeat(200);
    for _ in 0..30 {
        fs::create_dir(&name)?;
        std::env::set_current_dir(&name)?;
    }
    let chunk = vec![1_u8; 10 * MB];
    for number in 0..10 {
        fs::write(format!("f{number}"), &chunk)?;
    }
    hold()
}

/// Has the disk keep blocks without writing them.
fn reserved_blocks() -> io::Result<()> {
    for number in 0..10 {
        let file = File::create(format!("f{number}"))?;
        call!(libc::SYS_fallocate, file.as_raw_fd(), 0, 0, 10 * MB)?;
        file.write_all_at(b"x", 0)?;
    }
    hold()
}

/// Works until this process has taken so much processor time, however busy the machine is.
fn busy(time: Duration) -> io::Result<()> {
    let mut count = 0_u64;
    while used()? < time {
        for _ in 0..10_000 {
            count = std::hint::black_box(count.wrapping_add(1));
        }
    }
    Ok(())
}

fn used() -> io::Result<Duration> {
    let mut time = [0_u8; 16];
    call!(libc::SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, &mut time[..])?;
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| time[at + byte]));
    Ok(Duration::from_secs(word(0)) + Duration::from_nanos(word(8)))
}

/// Blocks every signal that can be blocked, then works.
fn spin() -> io::Result<()> {
    let all = [0xff_u8; 8];
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &all[..], 0, 8)?;
    busy(Duration::from_millis(1500))?;
    got_through()
}

/// None of the processes takes long.
fn spin_of_many() -> io::Result<()> {
    for _ in 0..30 {
        if sys::fork()? {
            busy(Duration::from_millis(50))?;
            std::process::exit(0);
        }
        call!(libc::SYS_wait4, -1, 0, 0, 0)?;
    }
    got_through()
}

/// Blocks every signal that can be blocked, then waits.
fn ignore_time() -> io::Result<()> {
    let all = [0xff_u8; 8];
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &all[..], 0, 8)?;
    hold()
}

/// More descriptors than a job may have.
fn open_files() -> io::Result<()> {
    // A process starts with a lower bound than it may have.
    let more = crate::linux::secrets::vector(10_000, 10_000);
    call!(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &more[..], 0)?;
    for _ in 0..9_000 {
        call!(libc::SYS_dup, 1)?;
    }
    got_through()
}
