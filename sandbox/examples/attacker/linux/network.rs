//! Ways to be heard outside: sockets of every family, and descriptors handed over one.
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::linux::sys::{call, own};
use crate::linux::{Attack, got_through, number, outside, token, variable};

pub const ALL: &[(&str, Attack)] = &[
    ("tcp", tcp),
    ("tcp6", tcp6),
    ("tcp-fast-open", tcp_fast_open),
    ("multipath-tcp", multipath_tcp),
    ("udp", udp),
    ("udp-messages", udp_messages),
    ("dns", dns),
    ("raw", raw),
    ("packet", packet),
    ("netlink", netlink),
    ("vsock", vsock),
    ("unix-stream", unix_stream),
    ("unix-datagram", unix_datagram),
    ("unix-abstract", unix_abstract),
    ("unix-link", unix_link),
    ("unix-path-descriptor", unix_path_descriptor),
    ("unix-pair", unix_pair),
    ("unix-packets", unix_packets),
    ("handed-over", handed_over),
    ("listen-tcp", listen_tcp),
    ("listen-abstract", listen_abstract),
];

fn say(mut to: impl Write) -> io::Result<()> {
    to.write_all(token()?.as_bytes())
}

fn tcp() -> io::Result<()> {
    say(TcpStream::connect(("127.0.0.1", number("HOST_TCP")?))?)
}

fn tcp6() -> io::Result<()> {
    say(TcpStream::connect(("::1", number("HOST_TCP6")?))?)
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    Ok(own(call!(libc::SYS_socket, family, kind, protocol)?))
}

/// An IPv4 address on the loopback interface, as the kernel wants it.
fn address(port: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
    bytes
}

/// Connects by sending, without connect(2).
fn tcp_fast_open() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (text, to) = (token()?, address(number("HOST_TCP")?));
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_FASTOPEN);
    call!(libc::SYS_sendto, fd, text.as_bytes(), text.len(), flags, &to[..], to.len()).map(drop)
}

/// The same connection by another protocol number.
fn multipath_tcp() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let (text, to) = (token()?, address(number("HOST_TCP")?));
    call!(libc::SYS_connect, socket.as_raw_fd(), &to[..], to.len())?;
    call!(libc::SYS_write, socket.as_raw_fd(), text.as_bytes(), text.len()).map(drop)
}

fn udp() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(token()?.as_bytes(), ("127.0.0.1", number("HOST_UDP")?)).map(drop)
}

/// Without bind and connect, by the call that sends several messages.
fn udp_messages() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let (text, to) = (token()?, address(number("HOST_UDP")?));
    let part = crate::linux::secrets::vector(text.as_ptr() as u64, text.len() as u64);
    let mut message = Vec::new();
    for word in [to.as_ptr() as u64, to.len() as u64, part.as_ptr() as u64, 1, 0, 0, 0, 0] {
        message.extend(word.to_ne_bytes());
    }
    call!(libc::SYS_sendmmsg, socket.as_raw_fd(), &message[..], 1, 0).map(drop)
}

/// A question for a name that holds the token: the usual way out where only DNS is allowed.
fn dns() -> io::Result<()> {
    let name = token()?;
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.push(u8::try_from(name.len()).map_err(io::Error::other)?);
    query.extend(name.as_bytes());
    query.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(("127.0.0.1", number("HOST_UDP")?))?;
    socket.send(&query).map(drop)
}

/// Sends an echo request to this machine and hears it.
fn raw() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    let mut request = vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let to = address(0);
    call!(libc::SYS_sendto, socket.as_raw_fd(), &request[..], request.len(), 0, &to[..], to.len())?;
    request.resize(128, 0);
    call!(libc::SYS_recvfrom, socket.as_raw_fd(), &mut request[..], 128, 0, 0, 0)?;
    got_through()
}

/// Listens to all that passes the loopback interface until the host's own datagram passes.
fn packet() -> io::Result<()> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = socket(libc::AF_PACKET, libc::SOCK_RAW, all)?;
    let secret = b"sniff me: ";
    let mut frame = vec![0_u8; 4096];
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let count = call!(libc::SYS_recvfrom, socket.as_raw_fd(), &mut frame[..], 4096, 0, 0, 0)?;
        let seen = &frame[..usize::try_from(count).unwrap_or(0)];
        if let Some(at) = seen.windows(secret.len()).position(|window| window == secret) {
            println!("{}", String::from_utf8_lossy(&seen[at..]));
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Asks the kernel for all network interfaces.
fn netlink() -> io::Result<()> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let mut request = [0_u8; 32];
    request[0] = 32;
    request[4] = libc::RTM_GETLINK as u8;
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    call!(libc::SYS_write, socket.as_raw_fd(), &request[..], request.len())?;
    let mut answer = vec![0_u8; 4096];
    call!(libc::SYS_read, socket.as_raw_fd(), &mut answer[..], 4096)?;
    got_through()
}

/// Listens where the machine that this one runs on could connect.
fn vsock() -> io::Result<()> {
    let socket = socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    let mut any = [0_u8; 16];
    any[..2].copy_from_slice(&(libc::AF_VSOCK as u16).to_ne_bytes());
    any[4..12].fill(0xff);
    call!(libc::SYS_bind, socket.as_raw_fd(), &any[..], any.len())?;
    call!(libc::SYS_listen, socket.as_raw_fd(), 1)?;
    got_through()
}

fn unix_stream() -> io::Result<()> {
    say(UnixStream::connect(outside("stream")?)?)
}

fn unix_datagram() -> io::Result<()> {
    UnixDatagram::unbound()?.send_to(token()?.as_bytes(), outside("datagram")?).map(drop)
}

fn unix_abstract() -> io::Result<()> {
    say(UnixStream::connect_addr(&SocketAddr::from_abstract_name(variable("HOST_ABSTRACT")?)?)?)
}

/// By a name inside the workdir that leads out.
fn unix_link() -> io::Result<()> {
    std::os::unix::fs::symlink(outside("stream")?, "stream")?;
    say(UnixStream::connect("stream")?)
}

/// By a descriptor that names the socket without having opened it.
fn unix_path_descriptor() -> io::Result<()> {
    let file = std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(outside("stream")?)?;
    say(UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd()))?)
}

/// A socket of a pair can name another receiver in each message.
fn unix_pair() -> io::Result<()> {
    let (one, _other) = UnixDatagram::pair()?;
    one.send_to(token()?.as_bytes(), outside("datagram")?).map(drop)
}

/// The third kind of local sockets, to a listener of that kind.
fn unix_packets() -> io::Result<()> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)?;
    let path = outside("packets")?;
    let mut to = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    to.extend(path.as_bytes());
    to.push(0);
    call!(libc::SYS_connect, socket.as_raw_fd(), &to[..], to.len())?;
    let text = token()?;
    call!(libc::SYS_write, socket.as_raw_fd(), text.as_bytes(), text.len()).map(drop)
}

/// Takes an open file from a server outside and reads it.
fn handed_over() -> io::Result<()> {
    let stream = UnixStream::connect(outside("giver")?)?;
    let file = crate::linux::host::receive(&stream)?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text)?;
    println!("{text}");
    Ok(())
}

/// Waits for somebody outside to connect, and tells them.
fn listen_tcp() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", number("HOST_LISTEN")?))?;
    listener.set_nonblocking(true)?;
    patiently(|| say(listener.accept()?.0))
}

fn listen_abstract() -> io::Result<()> {
    let name = SocketAddr::from_abstract_name(format!("{}-job", variable("HOST_ABSTRACT")?))?;
    let listener = UnixListener::bind_addr(&name)?;
    listener.set_nonblocking(true)?;
    patiently(|| say(listener.accept()?.0))
}

fn patiently(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + Duration::from_millis(500);
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}
