//! A program outside: it has secrets, it listens, and it can be attacked.
//!
//! `attacker host SERVICE` prints a line of variables for the attack, then `heard` for everything that reaches it, and
//! ends with its standard input. Its secret is in the variable `SECRET`, what it waits for in `TOKEN`.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::linux::sys::{call, own};
use crate::linux::{c_text, ipc, outside, token, variable};

const PAUSE: Duration = Duration::from_millis(5);
/// How long what was sent at the last moment may take to arrive.
const GRACE: Duration = Duration::from_millis(40);

pub fn run(service: &str) -> io::Result<()> {
    let secret = variable("SECRET")?;
    let mut about = vec![format!("HOST_PID={}", std::process::id())];
    about.extend(match service {
        "plain" => Vec::new(),
        "powerless" => powerless()?,
        "tcp" => tcp()?,
        "udp" => udp()?,
        "unix" => unix()?,
        "giver" => giver()?,
        "caller" => caller()?,
        "memory" => memory(&secret)?,
        "file" => file(&secret)?,
        "key" => key(&secret)?,
        "shm" => shared(&secret)?,
        "ipc" => shared_objects(&secret)?,
        "terminal" => terminal()?,
        "signal" => signal()?,
        "noise" => noise(secret)?,
        "chatter" => chatter(secret)?,
        "attribute" => attribute(&secret)?,
        other => return Err(io::Error::other(format!("there is no service `{other}`"))),
    });
    println!("{}", about.join(" "));
    io::stdin().read_to_end(&mut Vec::new())?;
    thread::sleep(GRACE);
    Ok(())
}

/// Says `heard` if this is what the attack was given to say.
fn hear(mut from: impl Read) {
    let mut bytes = [0; 256];
    let count = from.read(&mut bytes).unwrap_or(0);
    check(&bytes[..count]);
}

fn check(bytes: &[u8]) {
    if token().is_ok_and(|token| bytes.windows(token.len()).any(|window| window == token.as_bytes())) {
        println!("heard");
    }
}

fn tcp() -> io::Result<Vec<String>> {
    let (four, six) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("[::1]:0").ok());
    let mut about = vec![format!("HOST_TCP={}", four.local_addr()?.port())];
    let serve = |listener: TcpListener| thread::spawn(move || listener.incoming().flatten().for_each(hear));
    if let Some(six) = six {
        about.push(format!("HOST_TCP6={}", six.local_addr()?.port()));
        serve(six);
    }
    serve(four);
    Ok(about)
}

fn udp() -> io::Result<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let about = format!("HOST_UDP={}", socket.local_addr()?.port());
    thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(count) = socket.recv(&mut bytes) {
            check(&bytes[..count]);
        }
    });
    Ok(vec![about])
}

fn unix() -> io::Result<Vec<String>> {
    let name = format!("tunesmith-{}", std::process::id());
    let abstracted = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    for listener in [UnixListener::bind(outside("stream")?)?, abstracted] {
        thread::spawn(move || listener.incoming().flatten().for_each(hear));
    }
    let datagram = UnixDatagram::bind(outside("datagram")?)?;
    thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(count) = datagram.recv(&mut bytes) {
            check(&bytes[..count]);
        }
    });
    let packets = own(call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)?);
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(outside("packets")?.as_bytes());
    address.push(0);
    call!(libc::SYS_bind, packets.as_raw_fd(), &address[..], address.len())?;
    call!(libc::SYS_listen, packets.as_raw_fd(), 4)?;
    thread::spawn(move || {
        while let Ok(fd) = call!(libc::SYS_accept, packets.as_raw_fd(), 0, 0) {
            hear(File::from(own(fd)));
        }
    });
    Ok(vec![format!("HOST_ABSTRACT={name}")])
}

/// A message of one byte with room for one descriptor beside it, as the kernel wants it.
fn message(part: &[u8], control: &[u8]) -> Vec<u8> {
    let words = [0, 0, part.as_ptr() as u64, 1, control.as_ptr() as u64, control.len() as u64, 0];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Hands an open file with the secret to everybody who connects.
fn giver() -> io::Result<Vec<String>> {
    let listener = UnixListener::bind(outside("giver")?)?;
    let secret = outside("canary")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(file) = File::open(&secret) else { continue };
            let byte = [b'x'];
            let part = crate::linux::secrets::vector(byte.as_ptr() as u64, 1);
            let mut control = 20_u64.to_ne_bytes().to_vec();
            control.extend(libc::SOL_SOCKET.to_ne_bytes());
            control.extend(libc::SCM_RIGHTS.to_ne_bytes());
            control.extend(i64::from(file.as_raw_fd()).to_ne_bytes());
            let _ = call!(libc::SYS_sendmsg, stream.as_raw_fd(), &message(&part, &control)[..], 0);
        }
    });
    Ok(Vec::new())
}

/// Takes a descriptor out of a message.
pub fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let (mut byte, mut control) = ([0_u8; 1], [0_u8; 24]);
    let part = crate::linux::secrets::vector(byte.as_mut_ptr() as u64, 1);
    let mut header = message(&part, &control);
    // The kernel writes through the pointer in the header, so it is taken from a borrow for writing.
    header[32..40].copy_from_slice(&(control.as_mut_ptr() as u64).to_ne_bytes());
    call!(libc::SYS_recvmsg, stream.as_raw_fd(), &mut header[..], 0)?;
    match i32::from_ne_bytes([16, 17, 18, 19].map(|at| std::hint::black_box(&control)[at])) {
        0 => Err(io::Error::other("no descriptor came")),
        fd => Ok(own(fd.into())),
    }
}

/// Connects to what the attack opens, again and again.
fn caller() -> io::Result<Vec<String>> {
    let name = format!("tunesmith-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(format!("{name}-job"))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    thread::spawn(move || {
        loop {
            let _ = TcpStream::connect(("127.0.0.1", port)).map(hear);
            let _ = UnixStream::connect_addr(&address).map(hear);
            thread::sleep(PAUSE);
        }
    });
    Ok(vec![format!("HOST_LISTEN={port}"), format!("HOST_ABSTRACT={name}")])
}

/// Keeps the secret at a known place, and a mailbox beside it.
fn memory(secret: &str) -> io::Result<Vec<String>> {
    let mut text = [b' '; 16];
    text[..secret.len()].copy_from_slice(secret.as_bytes());
    let text: &'static [u8; 16] = Box::leak(Box::new(text));
    let mailbox: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    thread::spawn(move || {
        while mailbox.load(Ordering::SeqCst) == 0 {
            thread::sleep(PAUSE);
        }
        println!("heard");
    });
    let place = |at: u64| at.to_string();
    Ok(vec![
        format!("HOST_MEMORY={}", place(text.as_ptr() as u64)),
        format!("HOST_MAILBOX={}", place(mailbox.as_ptr() as u64)),
    ])
}

fn file(secret: &str) -> io::Result<Vec<String>> {
    let mut file = File::from(own(call!(libc::SYS_memfd_create, c"secret", 0)?));
    file.write_all(secret.as_bytes())?;
    let about = format!("HOST_FILE={}", file.as_raw_fd());
    Box::leak(Box::new(file));
    Ok(vec![about])
}

fn key(secret: &str) -> io::Result<Vec<String>> {
    const USER_KEYRING: i32 = -4;
    const SET_TIMEOUT: i32 = 15;
    let name = format!("tunesmith-{}", std::process::id());
    let text = secret.as_bytes();
    let key = call!(libc::SYS_add_key, c"user", &*c_text(&name)?, text, text.len(), USER_KEYRING)?;
    call!(libc::SYS_keyctl, SET_TIMEOUT, key, 20)?;
    Ok(vec![format!("HOST_KEY={name}")])
}

/// A file in /dev/shm, where programs share memory; the test removes it.
fn shared(secret: &str) -> io::Result<Vec<String>> {
    let name = format!("/dev/shm/tunesmith-{}", std::process::id());
    fs::write(&name, secret)?;
    Ok(vec![format!("HOST_SHARED={name}")])
}

fn shared_objects(secret: &str) -> io::Result<Vec<String>> {
    let key = 0x7400_0000 | std::process::id().cast_signed();
    ipc::make(key, secret)?;
    thread::spawn(move || {
        while ipc::value(key).is_ok_and(|value| value != 42) {
            thread::sleep(PAUSE);
        }
        if ipc::value(key).is_ok() {
            println!("heard");
        }
    });
    Ok(vec![format!("HOST_KEY={key}")])
}

/// A terminal; what is typed into it or printed on it is heard.
fn terminal() -> io::Result<Vec<String>> {
    let open = |path: &str| File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
    let screen = open("/dev/ptmx")?;
    let (unlocked, mut number) = ([0_u8; 4], [0_u8; 4]);
    call!(libc::SYS_ioctl, screen.as_raw_fd(), libc::TIOCSPTLCK, &unlocked[..])?;
    call!(libc::SYS_ioctl, screen.as_raw_fd(), libc::TIOCGPTN, &mut number[..])?;
    let path = format!("/dev/pts/{}", u32::from_ne_bytes(number));
    let keyboard = open(&path)?;
    for mut end in [screen, keyboard] {
        thread::spawn(move || {
            let mut bytes = [0; 256];
            let mut all = Vec::new();
            while let Ok(count) = end.read(&mut bytes) {
                all.extend(&bytes[..count]);
                check(&all);
            }
        });
    }
    Ok(vec![format!("HOST_TERMINAL={path}")])
}

/// Waits for a signal that everybody else ignores.
fn signal() -> io::Result<Vec<String>> {
    let only = (1_u64 << (libc::SIGURG - 1)).to_ne_bytes();
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &only[..], 0, 8)?;
    let mut signals = File::from(own(call!(libc::SYS_signalfd4, -1, &only[..], 8, 0)?));
    thread::spawn(move || {
        if signals.read(&mut [0; 128]).is_ok() {
            println!("heard");
        }
    });
    Ok(Vec::new())
}

/// Makes files whose name is the secret.
fn noise(secret: String) -> io::Result<Vec<String>> {
    let path = outside(&format!("noise/{secret}"))?;
    thread::spawn(move || {
        loop {
            let _ = fs::write(&path, "");
            let _ = fs::remove_file(&path);
            thread::sleep(PAUSE);
        }
    });
    Ok(Vec::new())
}

/// Sends the secret over the loopback interface.
fn chatter(secret: String) -> io::Result<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let to = socket.local_addr()?;
    thread::spawn(move || {
        loop {
            let _ = socket.send_to(format!("sniff me: {secret}").as_bytes(), to);
            thread::sleep(PAUSE);
        }
    });
    Ok(Vec::new())
}

/// Gives up every capability, as a program of the caller may have: what guards those that have some does not guard it.
fn powerless() -> io::Result<Vec<String>> {
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION.to_ne_bytes(), [0; 4]].concat();
    call!(libc::SYS_capset, &header[..], &[0_u8; 24][..])?;
    Ok(Vec::new())
}

fn attribute(secret: &str) -> io::Result<Vec<String>> {
    let path = c_text(&outside("canary")?)?;
    call!(libc::SYS_setxattr, &*path, c"user.secret", secret.as_bytes(), secret.len(), 0)?;
    Ok(Vec::new())
}
