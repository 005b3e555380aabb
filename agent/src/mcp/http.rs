//! The server over streamable HTTP: on this machine unless the user says otherwise, and for those alone who have the token.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService, streamable_http_server::session::local::LocalSessionManager,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tunesmith_harness::hash::sha256;
use tunesmith_sandbox::Cancel;

use super::serve::Server;

/// Connections at the same time.
const MOST: usize = 64;
/// How long a caller may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the server is.
pub const PATH: &str = "/mcp";

/// A secret that only those have who were told.
pub fn token() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(sha256(&bytes))
}

/// Serves until it is cancelled. `hosts` are names by which others reach this machine, beside those of this machine alone.
pub async fn serve(
    server: Server,
    listener: TcpListener,
    hosts: &[String],
    token: &str,
    cancel: &Cancel,
) -> io::Result<()> {
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    // No page in a browser has business here, whatever it calls itself, and a name that is not ours may be anybody's.
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(here.into_iter().chain(hosts.iter().cloned()))
        .enforce_origin_validation();
    let service = StreamableHttpService::new(move || Ok(server.clone()), Arc::<LocalSessionManager>::default(), config);
    let door = Door { service, wanted: sha256(format!("Bearer {token}").as_bytes()).into() };
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let (stream, _) = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // One caller's failure, or too many files open for a moment.
                Err(_) => { tokio::time::sleep(Duration::from_millis(50)).await; continue }
            },
        };
        let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
        let (door, cancel) = (door.clone(), cancel.clone());
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(door.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            let connection = http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            tokio::select! {
                // Whatever ends one connection is nobody else's business.
                _ = connection.serve_connection(TokioIo::new(stream), answer) => {}
                () = cancel.cancelled() => {}
            }
        });
    }
}

/// Whether an address is on this machine alone.
pub fn is_local(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}

/// Lets those in who have the token.
#[derive(Clone)]
struct Door {
    service: StreamableHttpService<Server, LocalSessionManager>,
    /// The hash of what the header must say: comparing hashes tells nothing about the token by its time.
    wanted: Arc<str>,
}

impl Door {
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let given = request.headers().get(header::AUTHORIZATION);
        if given.is_none_or(|given| *sha256(given.as_bytes()) != *self.wanted) {
            let mut refused = plain(StatusCode::UNAUTHORIZED, "send the token that tunesmith mcp printed\n");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            return refused;
        }
        match request.uri().path() {
            PATH => self.service.handle(request).await,
            _ => plain(StatusCode::NOT_FOUND, "the server is at /mcp\n"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    response
}
