//! Attempts to escape, run as jobs by the self-test and by this crate's tests.
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use crate::platform;

/// The first argument of a probe.
pub(crate) const PROBE: &str = "sandbox-probe";
/// The attempt that attempts nothing.
pub(crate) const NOTHING: &str = "nothing";
/// The exit code of an attempt that was stopped; one that got through leaves with 0.
pub(crate) const STOPPED: u8 = 10;

/// How long an attempt keeps what it took, if nobody stops it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The variables that every job has.
const VARIABLES: &[&str] = &["HOME", "LANG", "PATH", "TMPDIR"];

/// Makes one attempt: its name, and for most of them what it aims at.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let name = args.first().map(String::as_str).unwrap_or_default();
    let target = args.get(1).map(String::as_str).unwrap_or_default();
    match attempt(name, target) {
        Ok(proof) => {
            println!("{proof}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("stopped: {error}");
            ExitCode::from(STOPPED)
        }
    }
}

fn attempt(name: &str, target: &str) -> io::Result<String> {
    let process = || target.parse::<i32>().map_err(io::Error::other);
    match name {
        NOTHING => Ok(String::new()),
        "read" => fs::read_to_string(target),
        "write" => fs::write(target, "escaped").map(|()| format!("wrote {target}")),
        "link" => {
            std::os::unix::fs::symlink(target, "link")?;
            fs::write("link", "escaped").map(|()| format!("wrote {target} through a link"))
        }
        "tcp" => TcpStream::connect(target).map(|_| format!("connected to {target}")),
        "udp" => datagram(target),
        "socket" => std::os::unix::net::UnixStream::connect(target).map(|_| format!("connected to {target}")),
        "env" => variables(),
        "files" => open_files(),
        "trace" => platform::try_trace(process()?).map(|()| format!("traced {target}")),
        "signal" => platform::try_signal(process()?).map(|()| format!("may signal {target}")),
        "calls" => calls(),
        "stat" => fs::metadata(target).map(|found| format!("{target} has {} bytes", found.len())),
        "chmod" => fs::set_permissions(target, fs::Permissions::from_mode(0o666)).map(|()| format!("changed {target}")),
        "privileges" => privileges(),
        "memory" => fill_memory(),
        "fork" => start_processes(),
        "fill" => fill_disk(),
        "wait" => {
            std::thread::sleep(PATIENCE);
            Ok(String::new())
        }
        "daemon" => daemon(),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no probe `{name}`"))),
    }
}

/// A datagram that nobody takes is refused, so a silent receiver has it.
fn datagram(target: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(target)?;
    socket.send(b"escaped")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    match socket.recv(&mut [0; 8]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(format!("sent a datagram to {target}")),
    }
}

fn variables() -> io::Result<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let more: Vec<_> = names.filter(|name| !VARIABLES.contains(&name.as_str())).collect();
    if more.is_empty() { Err(io::Error::other("only the fixed variables are visible")) } else { Ok(more.join(" ")) }
}

fn calls() -> io::Result<String> {
    let passed = platform::try_calls();
    if passed.is_empty() { Err(io::Error::other("every call was denied")) } else { Ok(passed.join(", ")) }
}

fn open_files() -> io::Result<String> {
    // The directory itself is open while it is listed, so a name that no longer resolves afterwards was that one.
    let names: Vec<_> = fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.path()).collect();
    let standard = |path: &std::path::Path| ["0", "1", "2"].iter().any(|number| path.ends_with(number));
    let more = names.into_iter().filter(|path| !standard(path) && fs::read_link(path).is_ok());
    let more: Vec<_> = more.map(|path| path.display().to_string()).collect();
    if more.is_empty() { Err(io::Error::other("only the standard files are open")) } else { Ok(more.join(" ")) }
}

/// What this process may do beyond its user's rights; what cannot be looked at counts as something. A job that has to
/// stay root keeps the capability to write its own files, whoever owns them: the files it reaches are another layer.
fn privileges() -> io::Result<String> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Ok("its rights cannot be seen".into()) };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let own_files = 1_u64 << 1;
    let none = |rights: Option<&str>| {
        let rights = rights.and_then(|rights| u64::from_str_radix(rights, 16).ok());
        rights.is_some_and(|rights| rights & !own_files == 0)
    };
    if field("NoNewPrivs:") != Some("1") {
        return Ok("a program may give it new privileges".into());
    }
    match ["CapEff:", "CapPrm:", "CapInh:"].into_iter().find(|name| !none(field(name))) {
        Some(name) => Ok(format!("it has {name} {}", field(name).unwrap_or_default())),
        None => Err(io::Error::other("it has no capability and can gain none")),
    }
}

/// Ten times what the self-test allows, kept for a while, in which a limit that is polled is noticed.
fn fill_memory() -> io::Result<String> {
    let filled = vec![1_u8; 320 << 20];
    std::thread::sleep(PATIENCE);
    Ok(format!("filled {} bytes of memory", filled.iter().map(|byte| u64::from(*byte)).sum::<u64>()))
}

fn start_processes() -> io::Result<String> {
    let own = std::env::args_os().next().unwrap_or_default();
    let start = |_| std::process::Command::new(&own).args([PROBE, "wait"]).spawn();
    let children = (0..80).map(start).collect::<io::Result<Vec<_>>>()?;
    std::thread::sleep(PATIENCE);
    Ok(format!("started {} processes", children.len()))
}

fn fill_disk() -> io::Result<String> {
    let piece = vec![1; 1 << 20];
    (0..40).try_for_each(|number| fs::write(format!("fill{number}"), &piece))?;
    std::thread::sleep(PATIENCE);
    Ok("filled 40 MB".into())
}

/// Leaves a daemon behind, in a session of its own, and prints its number.
fn daemon() -> io::Result<String> {
    let (mut from, mut to): (PipeReader, PipeWriter) = io::pipe()?;
    if platform::fork_daemon()? {
        write!(to, "{}", std::process::id())?;
        drop((from, to));
        std::thread::sleep(Duration::from_secs(60));
        std::process::exit(0);
    }
    drop(to);
    let mut pid = String::new();
    from.read_to_string(&mut pid)?;
    Ok(pid)
}
