//! The way out for a job that may reach some hosts: an HTTP proxy of the caller's, at which the job's network ends.
//!
//! The job has a network of its own, in which there is nothing but this proxy. What it encrypts stays encrypted.
mod head;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::unix::ReadHalf;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::hosts::{Hosts, Target};
use crate::{Net, platform};
use head::{Kind, Refusal, Request};

/// The port in the job's network at which the proxy listens.
#[cfg(target_os = "linux")]
pub(crate) const PORT: u16 = 3128;
/// Connections at the same time.
const MOST: usize = 64;
/// Refused hosts that are remembered.
const REMEMBERED: usize = 32;

/// The environment of a job that may reach these hosts. What is the job's own needs no proxy, unless that name stands for
/// what is outside.
#[cfg(target_os = "linux")]
pub(crate) fn variables(hosts: &[String]) -> impl Iterator<Item = (&'static str, String)> {
    let named = |own: &&str| hosts.iter().any(|host| crate::hosts::names(host, own));
    let direct: Vec<&str> = ["localhost", "127.0.0.1", "::1"].into_iter().filter(|own| !named(own)).collect();
    let direct = ["no_proxy", "NO_PROXY"].map(|name| (name, direct.join(",")));
    let proxied = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    proxied.map(|name| (name, format!("http://127.0.0.1:{PORT}"))).into_iter().chain(direct)
}

type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// When a connection is given up.
struct Patience {
    /// The head of a request must have arrived after this.
    head: Duration,
    /// A server must have answered after this.
    connect: Duration,
    /// Nothing was heard from either side for so long.
    idle: Duration,
}

/// The proxy of one job.
pub(crate) struct Proxy {
    hosts: Hosts,
    find: fn(Target) -> Addresses,
    patience: Patience,
    refused: Mutex<Vec<String>>,
}

impl Proxy {
    /// The proxy of a job that may reach some hosts only.
    pub fn of(net: &Net) -> io::Result<Option<Arc<Self>>> {
        let Net::Hosts(hosts) = net else { return Ok(None) };
        let seconds = Duration::from_secs;
        let patience = Patience { head: seconds(30), connect: seconds(30), idle: seconds(60) };
        Ok(Some(Arc::new(Proxy { hosts: Hosts::new(hosts)?, find, patience, refused: Mutex::default() })))
    }

    /// Serves the job from when its listener arrives until its supervisor answers, and gives the answer's length.
    pub async fn serve_until_answer(self: Arc<Self>, from: &mut ReadHalf<'_>) -> io::Result<u32> {
        let socket: &UnixStream = from.as_ref();
        let (word, file) = socket.async_io(Interest::READABLE, || platform::receive(socket.as_fd())).await?;
        // A job that was not started, or that is not confined, has none.
        let Some(file) = file else { return Ok(u32::from_le_bytes(word)) };
        let listener = std::net::TcpListener::from(file);
        listener.set_nonblocking(true)?;
        tokio::select! {
            length = from.read_u32_le() => length,
            never = self.serve(TcpListener::from_std(listener)?) => match never {},
        }
    }

    /// The hosts that were asked for and not allowed, the first ones.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves until it is dropped, and all connections with it.
    async fn serve(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            if connections.len() >= MOST {
                connections.join_next().await;
                continue;
            }
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => drop(connections.spawn(self.clone().connection(client))),
                    // No file is free, or the client has gone; others may come.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self: Arc<Self>, mut client: TcpStream) {
        let mut bytes = Vec::new();
        let read = timeout(self.patience.head, read_head(&mut client, &mut bytes)).await;
        let request = match read {
            Ok(None) => return,
            Ok(Some(head)) => head.and_then(|length| {
                let rest = bytes.split_off(length);
                Ok((head::read(&bytes)?, rest))
            }),
            Err(_) => Err(Refusal::new("408 Request Timeout", "the request did not arrive in time")),
        };
        let served = match request {
            Ok((request, rest)) => self.serve_one(&mut client, request, rest).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = served {
            // The client may be gone already, which is its own affair.
            let _ = timeout(self.patience.idle, client.write_all(refusal.answer().as_bytes())).await;
        }
        part(client).await;
    }

    async fn serve_one(&self, client: &mut TcpStream, request: Request, rest: Vec<u8>) -> Result<(), Refusal> {
        let addresses = self.addresses(&request.target).await?;
        let connected = timeout(self.patience.connect, TcpStream::connect(&addresses[..])).await;
        let mut server = match connected {
            Ok(Ok(server)) => server,
            Ok(Err(error)) => {
                return Err(Refusal::new("502 Bad Gateway", format!("cannot reach {}: {error}", request.target)));
            }
            Err(_) => {
                return Err(Refusal::new("504 Gateway Timeout", format!("{} does not answer", request.target)));
            }
        };
        // Whole requests and answers are passed on as they come.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        // From here on the answer is the server's, whatever becomes of the connections.
        let begun = match &request.kind {
            Kind::Tunnel => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
            Kind::Forward { head, .. } => server.write_all(head.as_bytes()).await,
        };
        if begun.is_ok() {
            self.relay(client, &mut server, &request.kind, &rest).await;
        }
        Ok(())
    }

    /// Where the host is; only addresses that the job may reach.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Refusal> {
        if !self.hosts.name(target) {
            return Err(self.refuse(target, &format!("the job may not reach {target}")));
        }
        let found = match target.address() {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => match timeout(self.patience.connect, (self.find)(target.clone())).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    return Err(Refusal::new("502 Bad Gateway", format!("cannot find {target}: {error}")));
                }
                Err(_) => return Err(Refusal::new("504 Gateway Timeout", format!("cannot find {target} in time"))),
            },
        };
        let allowed = |at: &&SocketAddr| self.hosts.address(at.ip(), target.port);
        let reachable: Vec<SocketAddr> = found.iter().filter(allowed).copied().collect();
        match found.first() {
            Some(first) if reachable.is_empty() => {
                let itself = Target { host: first.ip().to_canonical().to_string(), port: target.port };
                Err(self.refuse(&itself, &format!("{target} is at {itself}, which is not a public address")))
            }
            _ => Ok(reachable),
        }
    }

    fn refuse(&self, target: &Target, why: &str) -> Refusal {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let name = target.to_string();
        if refused.len() < REMEMBERED && !refused.contains(&name) {
            refused.push(name);
        }
        let how = format!("--net {target} (sandbox) or --allow network:{target} (run)");
        Refusal::new("403 Forbidden", format!("{why}; the user can allow it with {how}"))
    }

    /// Passes bytes on in both directions until both are done, or for a request until its answer is.
    async fn relay(&self, client: &mut TcpStream, server: &mut TcpStream, kind: &Kind, rest: &[u8]) {
        let (is_tunnel, most) = match kind {
            Kind::Tunnel => (true, u64::MAX),
            Kind::Forward { body, .. } => (false, *body),
        };
        let clock = Clock { start: Instant::now(), heard: AtomicU64::new(0) };
        let (from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut upwards = rest.chain(from_client).take(most);
        let up = async {
            let _ = clock.pass(&mut upwards, &mut to_server).await;
            if is_tunnel {
                let _ = to_server.shutdown().await;
            }
        };
        let down = async {
            let _ = clock.pass(&mut from_server, &mut to_client).await;
            let _ = to_client.shutdown().await;
        };
        let both = async {
            tokio::pin!(up, down);
            tokio::select! {
                () = &mut down => if is_tunnel { up.await },
                () = &mut up => down.await,
            }
        };
        tokio::select! {
            () = both => {}
            () = clock.silent_for(self.patience.idle) => {}
        }
    }
}

/// When a connection was heard of last.
struct Clock {
    start: Instant,
    /// Milliseconds after the start.
    heard: AtomicU64,
}

impl Clock {
    async fn pass(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut chunk = vec![0; 16 << 10];
        loop {
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            self.hear();
            to.write_all(&chunk[..count]).await?;
            self.hear();
        }
    }

    fn hear(&self) {
        self.heard.store(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    async fn silent_for(&self, idle: Duration) {
        loop {
            let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
            match (heard + idle).checked_sub(self.start.elapsed()) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

/// Reads until the empty line; says how long the head is, or nothing where the client has gone before.
async fn read_head(client: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Result<usize, Refusal>> {
    let mut chunk = [0; 4 << 10];
    loop {
        let seen = bytes.len().saturating_sub(3);
        let count = client.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend(&chunk[..count]);
        let end = bytes[seen..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| seen + at + 4);
        match end {
            Some(length) if length <= head::LONGEST => return Some(Ok(length)),
            None if bytes.len() < head::LONGEST => {}
            _ => return Some(Err(Refusal::new("431 Request Header Fields Too Large", "the head is too long"))),
        }
    }
}

/// Lets the client read the end of its answer: closing while it still sends would take that from it.
async fn part(mut client: TcpStream) {
    let rest = async {
        let _ = client.shutdown().await;
        let _ = tokio::io::copy(&mut (&mut client).take(1 << 20), &mut tokio::io::sink()).await;
    };
    let _ = timeout(Duration::from_secs(1), rest).await;
}

fn find(target: Target) -> Addresses {
    Box::pin(async move { Ok(tokio::net::lookup_host((target.host, target.port)).await?.collect()) })
}

#[cfg(test)]
mod tests;
