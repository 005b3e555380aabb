//! Requests to the Hub: what is sent, how far redirects are followed, and what a refusal means.

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, RANGE, RETRY_AFTER},
    redirect::Policy,
};
use serde::de::DeserializeOwned;
use tunesmith_harness::text::visible;

use super::{HubConfig, HubError, Kind, RepoId};

/// Most bytes of an answer that is not a file, and most values in it: each takes many times its bytes when it is read.
const LARGEST: usize = 32 << 20;
const VALUES: usize = 1 << 20;
/// Longest time that such an answer may take; one that trickles in never ends.
const WHOLE: Duration = Duration::from_secs(300);
/// Redirects of one file.
const HOPS: usize = 5;
/// How often a request is sent while the server has a fault or nobody answers, and the pause before it is sent again.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Longest wait, in seconds, that a server is believed to ask for: a day.
const LONGEST_WAIT: u64 = 86_400;

/// Sends requests.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    viewer: Url,
    token: Option<HeaderValue>,
    offline: bool,
    whole: Duration,
}

/// What a request is about, for what a refusal means.
#[derive(Clone, Copy)]
pub enum About<'a> {
    /// A list.
    List,
    /// A repository, or something in it.
    Repo(Kind, &'a RepoId),
    /// A file of a repository.
    File(Kind, &'a RepoId, &'a str),
}

impl Client {
    pub fn new(config: &HubConfig) -> Result<Self, HubError> {
        let wrong = || HubError::Endpoint(config.endpoint.clone());
        let address = |text: &str| {
            let url = Url::parse(text).map_err(|_| wrong())?;
            let usable = matches!(url.scheme(), "http" | "https") && url.host().is_some() && !url.cannot_be_a_base();
            usable.then_some(url).ok_or_else(wrong)
        };
        let endpoint = address(&config.endpoint)?;
        let viewer = match &config.viewer {
            Some(viewer) => address(viewer)?,
            None => viewer_of(&endpoint),
        };
        let token = config.token.as_deref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| HubError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            // Each redirect is looked at: it may mean another name, or lead to another host.
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60));
        let http = http.build().map_err(|_| wrong())?;
        Ok(Client { http, endpoint, viewer, token: token.transpose()?, offline: config.offline, whole: WHOLE })
    }

    /// An address of the Hub, of path parts that need not be fit for one.
    pub fn url(&self, parts: &[&str]) -> Url {
        joined(&self.endpoint, parts)
    }

    /// An address of the data-set viewer.
    pub fn viewer(&self, part: &str) -> Url {
        joined(&self.viewer, &[part])
    }

    /// Whether the viewer is told the token.
    pub fn viewer_knows_token(&self) -> bool {
        self.token.is_some() && self.viewer.origin() == self.endpoint.origin()
    }

    /// The JSON at an address.
    pub async fn json<T: DeserializeOwned>(&self, url: Url, about: About<'_>) -> Result<T, HubError> {
        Ok(self.page(url, about).await?.0)
    }

    /// The same, and the address of the next page where there is one.
    pub async fn page<T: DeserializeOwned>(&self, url: Url, about: About<'_>) -> Result<(T, Option<Url>), HubError> {
        let response = self.send(&url, None).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, about).await);
        }
        let next = next(response.headers()).and_then(|next| url.join(&next).ok());
        // A page elsewhere would be somebody else's list.
        let next = next.filter(|next| next.origin() == url.origin());
        let bytes = self.body(response, LARGEST).await?;
        if bytes.iter().filter(|byte| b",:[{".contains(byte)).count() > VALUES {
            return Err(self.senseless(&format!("more than {VALUES} values")));
        }
        let read = serde_json::from_slice(&bytes);
        Ok((read.map_err(|error| self.senseless(&error.to_string()))?, next))
    }

    /// A file from its byte `from` on. Redirects are followed, the token is not sent to another host.
    pub async fn file(&self, mut url: Url, from: u64, about: About<'_>) -> Result<Response, HubError> {
        for _ in 0..HOPS {
            let response = self.send(&url, (from > 0).then_some(from)).await?;
            if !response.status().is_redirection() {
                return match response.status() {
                    status if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
                    _ => Err(self.refusal(response, about).await),
                };
            }
            let to = location(&response).and_then(|to| url.join(&to).ok());
            let to = to.filter(|to| to.scheme() == "https" || to.scheme() == "http" && url.scheme() == "http");
            url = to.ok_or_else(|| self.senseless("a redirect that leads nowhere"))?;
        }
        Err(self.senseless("too many redirects"))
    }

    /// A small file whole.
    pub async fn small(&self, url: Url, most: usize, about: About<'_>) -> Result<Vec<u8>, HubError> {
        let response = self.file(url, 0, about).await?;
        self.body(response, most).await
    }

    /// Sends a request, again where the server has a fault that may pass.
    async fn send(&self, url: &Url, from: Option<u64>) -> Result<Response, HubError> {
        if self.offline {
            return Err(HubError::Offline(String::new()));
        }
        let mut attempt = 1;
        loop {
            let mut request = self.http.request(Method::GET, url.clone());
            if let Some(token) = self.token.clone().filter(|_| url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, token);
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            match request.send().await {
                Ok(response) if attempt == ATTEMPTS || !passing(response.status()) => return Ok(response),
                Err(error) if attempt == ATTEMPTS => return Err(self.unreachable(&error)),
                _ => tokio::time::sleep(PAUSE * attempt).await,
            }
            attempt += 1;
        }
    }

    /// A body of at most `most` bytes.
    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, HubError> {
        let read = async {
            let mut bytes = Vec::new();
            while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
                if bytes.len() + part.len() > most {
                    return Err(self.senseless(&format!("more than {most} bytes")));
                }
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        let late = |_| self.senseless(&format!("it takes more than {} seconds", self.whole.as_secs()));
        tokio::time::timeout(self.whole, read).await.map_err(late)?
    }

    fn unreachable(&self, error: &reqwest::Error) -> HubError {
        match () {
            () if error.is_connect() || error.is_timeout() || error.is_request() => HubError::Unreachable(self.name()),
            () => self.senseless("the connection broke off"),
        }
    }

    /// What a refusal means.
    async fn refusal(&self, response: Response, about: About<'_>) -> HubError {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let code = text("x-error-code").unwrap_or_default();
        let authenticated = self.token.is_some();
        let endpoint = self.name();
        let repo = match about {
            About::List => None,
            About::Repo(kind, repo) | About::File(kind, repo, _) => Some((kind, repo)),
        };
        if status.is_redirection() {
            let new = location(&response).and_then(|to| renamed(&to));
            return match (repo, new) {
                (Some((_, repo)), Some(new)) if new != repo.id() => HubError::Renamed { old: repo.id(), new },
                _ => self.senseless("a redirect that leads nowhere"),
            };
        }
        let no_token = text("x-error-message").is_some_and(|message| message.starts_with("Invalid credentials"));
        match (code.as_str(), repo) {
            ("GatedRepo", Some((kind, repo))) => {
                let prefix = if kind == Kind::Dataset { "datasets/" } else { "" };
                let page = format!("{endpoint}/{prefix}{}", repo.id());
                return HubError::Gated { id: repo.id(), page, authenticated };
            }
            ("RevisionNotFound", Some((_, repo))) => {
                return HubError::NoRevision { id: repo.id(), revision: repo.revision().into() };
            }
            _ => {}
        }
        match (status.as_u16(), about) {
            (401, _) if no_token => HubError::Unauthorized(endpoint),
            (404, About::File(_, repo, path)) if code != "RepoNotFound" => {
                HubError::NoFile { id: repo.id(), path: path.into() }
            }
            // To strangers the Hub says 401 of what is not there.
            (401 | 404, About::Repo(kind, repo) | About::File(kind, repo, _)) => {
                HubError::NoRepo { endpoint, kind, id: repo.id(), authenticated }
            }
            (401, _) => HubError::Unauthorized(endpoint),
            (403, _) => HubError::Forbidden(endpoint),
            (404, _) => HubError::NotFound(endpoint),
            (429, _) => {
                let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                HubError::RateLimited { endpoint, seconds: seconds.filter(|seconds| *seconds <= LONGEST_WAIT) }
            }
            (status @ 500..600, _) => HubError::Server { endpoint, status },
            _ => {
                let said = text("x-error-message").unwrap_or_default();
                let why = format!("status {status} {}", visible(&said)).trim_end().chars().take(300).collect();
                HubError::Other { endpoint, why }
            }
        }
    }

    /// An answer that is not what the Hub's interface says.
    pub fn senseless(&self, why: &str) -> HubError {
        HubError::Senseless { endpoint: self.name(), why: visible(why).chars().take(200).collect() }
    }

    /// The endpoint as it is shown, without a password that may be in it.
    pub fn name(&self) -> String {
        let mut url = self.endpoint.clone();
        let _ = (url.set_username(""), url.set_password(None));
        url.as_str().trim_end_matches('/').to_owned()
    }
}

/// Faults of servers that pass by themselves.
fn passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The Hub's viewer has a host of its own; a mirror is taken to serve it itself.
fn viewer_of(endpoint: &Url) -> Url {
    let own = endpoint.host_str().filter(|host| *host == "huggingface.co" || host.ends_with(".huggingface.co"));
    let mut viewer = endpoint.clone();
    if let Some(host) = own {
        let _ = viewer.set_host(Some(&format!("datasets-server.{host}")));
    }
    viewer
}

fn joined(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

fn location(response: &Response) -> Option<String> {
    response.headers().get(LOCATION)?.to_str().ok().map(str::to_owned)
}

/// The id in the address that a request about a repository was sent on to.
fn renamed(location: &str) -> Option<String> {
    let path = location.split("://").last()?.split(['?', '#']).next()?;
    let mut parts = path.split('/').skip_while(|part| !["models", "datasets"].contains(part)).skip(1);
    let id = format!("{}/{}", parts.next()?, parts.next()?);
    id.parse::<RepoId>().ok().map(|repo| repo.id())
}

/// The address after `rel="next"` in a `Link` header.
fn next(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn an_answer_that_trickles_in_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = HubConfig {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            token: None,
            cache_dir: "/nowhere".into(),
            viewer: None,
            offline: false,
        };
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            assert!(request.take_while(|line| !line.is_empty()).count() > 0);
            stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n[").unwrap();
            // Until the client goes away.
            assert_eq!(std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default(), 0);
        });
        let client = Client { whole: Duration::from_millis(100), ..Client::new(&config).unwrap() };
        let error = client.json::<Vec<u64>>(client.url(&["x"]), About::List).await.unwrap_err();
        assert!(error.to_string().contains("it takes more than 0 seconds"), "{error}");
    }

    #[test]
    fn the_viewer_stands_beside_the_hub_and_a_mirror_serves_its_own() {
        let of = |endpoint: &str| viewer_of(&Url::parse(endpoint).unwrap()).to_string();
        assert_eq!(of("https://huggingface.co"), "https://datasets-server.huggingface.co/");
        assert_eq!(of("http://127.0.0.1:9/x"), "http://127.0.0.1:9/x");
        assert_eq!(of("https://evilhuggingface.co"), "https://evilhuggingface.co/");
    }

    #[test]
    fn a_new_name_is_read_from_where_a_request_is_sent_on_to() {
        let new = |location: &str| renamed(location);
        assert_eq!(new("/api/models/new/name?x=1").as_deref(), Some("new/name"));
        assert_eq!(new("https://hub/api/datasets/new/name/revision/main").as_deref(), Some("new/name"));
        for other in ["", "/login", "/api/models/", "/api/models/..", "/api/models/a/\u{1b}[31m"] {
            assert_eq!(new(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_keeps_its_parts_apart() {
        let base = Url::parse("https://hub/mirror/").unwrap();
        let url = joined(&base, &["a", "../b?c", "refs/pr/1"]);
        assert_eq!(url.as_str(), "https://hub/mirror/a/..%2Fb%3Fc/refs%2Fpr%2F1");
    }
}
