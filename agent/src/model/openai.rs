//! Any OpenAI-compatible endpoint, over async-openai as transport.
//!
//! async-openai builds the request and splits the event stream; statuses, retries, time limits and the reading of
//! replies are ours, because compatible servers are compatible only in outline.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_openai::{Client, config::Config, error::OpenAIError, middleware::ReqwestService};
use futures_util::{StreamExt, future::BoxFuture};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tunesmith_harness::ask::Price;

use super::{
    ChatModel, Delta, ErrorKind, ModelError, Reply, Request,
    catalogue::Facts,
    transport::{Http, Seen, Transport},
    wire,
};

/// Where a model answers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Base address, without `/chat/completions`.
    pub base: String,
    /// The model's name.
    pub model: String,
    /// The key, if there is one; never shown, not even by `Debug`.
    pub key: Option<SecretString>,
    /// What is known of the model.
    pub facts: Facts,
}

/// How long to wait, and how often to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the answer's head: a local server may load the model first.
    pub head: Duration,
    /// Longest silence within an answer: some models think before they speak.
    pub idle: Duration,
    /// Requests per turn, the first one included.
    pub tries: u32,
    /// Wait before the second request; doubles from then on.
    pub backoff: Duration,
    /// A provider that asks for a longer wait than this gets none: the error goes up.
    pub longest_wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(300),
            idle: Duration::from_secs(180),
            tries: 5,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(120),
        }
    }
}

/// A model behind an OpenAI-compatible endpoint.
pub struct OpenAi {
    endpoint: Endpoint,
    address: Address,
    client: reqwest::Client,
    http: Http,
    pace: Pace,
    seed: u64,
    /// Fields that this server has refused; it is not asked with them again.
    refused: Mutex<BTreeSet<String>>,
    /// The window, as the server has told it; 0 before.
    told: AtomicU64,
    /// How often it was asked for the window.
    probes: AtomicU32,
}

impl OpenAi {
    /// A model at `endpoint`; `seed` is that of the jitter between tries.
    pub fn new(endpoint: Endpoint, seed: u64) -> Result<Self, ModelError> {
        OpenAi::with_pace(endpoint, seed, Pace::default())
    }

    /// The same with other limits.
    pub fn with_pace(endpoint: Endpoint, seed: u64, pace: Pace) -> Result<Self, ModelError> {
        let address = Address::new(&endpoint)?;
        // No redirects: a request, with its key, goes to the configured host and to no other.
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(pace.connect)
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&endpoint.base) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| ModelError::new(ErrorKind::Network, format!("cannot set up http: {error}")))?;
        let http = BoxCloneSyncService::new(ReqwestService::new(client.clone()));
        Ok(OpenAi {
            endpoint,
            address,
            client,
            http,
            pace,
            seed,
            refused: Mutex::default(),
            told: 0.into(),
            probes: 0.into(),
        })
    }

    /// The base address.
    pub fn base(&self) -> &str {
        &self.address.base
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.endpoint.model
    }

    /// What the server calls the most tokens of a reply. OpenAI's newer models take no other name for it, and other
    /// servers take no other than the old one.
    pub fn most_tokens(&self) -> &'static str {
        if self.is_openai() { "max_completion_tokens" } else { "max_tokens" }
    }

    fn is_openai(&self) -> bool {
        self.address.base.starts_with("https://api.openai.com/")
    }

    fn to(&self) -> wire::To<'_> {
        wire::To {
            base: &self.address.base,
            model: &self.endpoint.model,
            most_tokens: self.most_tokens(),
            strict_tools: self.is_openai(),
        }
    }

    /// One request, and its whole reply. `seen` says what was noticed on the way.
    async fn once(
        &self,
        body: &Value,
        seen: &Arc<Seen>,
        on: &mut (dyn FnMut(Delta<'_>) + Send),
    ) -> Result<Reply, ModelError> {
        let Pace { head, idle, .. } = self.pace;
        let transport = Transport { http: self.http.clone(), head, idle, seen: seen.clone() };
        let client = Client::build(self.client.clone(), self.address.clone()).with_http_service(transport);
        let mut stream = client.chat().create_stream_byot::<_, Value>(body).await.map_err(model_error)?;
        let mut gathering = wire::Gathering::default();
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => gathering.take(&chunk, on)?,
                // What is lost after the end is the usage at most, which then stays unknown.
                Err(_) if gathering.is_finished() => break,
                Err(error) => {
                    let fault = seen.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return Err(fault.unwrap_or_else(|| model_error(error)));
                }
            }
        }
        if !gathering.is_finished() && !seen.done.load(Ordering::Relaxed) {
            return Err(ModelError::new(ErrorKind::Network, "the stream broke off before the reply was complete"));
        }
        gathering.reply(self.to(), self.endpoint.facts.price)
    }

    /// How long to wait before try number `next` (from 1), or `None` when the provider asks for too long.
    fn wait(&self, error: &ModelError, next: u32) -> Option<Duration> {
        match error.retry_after {
            Some(wait) => (wait <= self.pace.longest_wait).then_some(wait),
            None => {
                let full = self.pace.backoff.saturating_mul(1 << next.saturating_sub(1).min(16));
                // Between half and all of it, so that runs that failed together do not come back together.
                Some(full.min(self.pace.longest_wait).mul_f64(0.5 + 0.5 * unit(self.seed, u64::from(next))))
            }
        }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error without the key, should a server repeat it.
    fn without_key(&self, mut error: ModelError) -> ModelError {
        if let Some(key) = &self.endpoint.key {
            error.message = error.message.replace(key.expose_secret(), "[key]");
        }
        error
    }
}

impl ChatModel for OpenAi {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        on: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            let once = request.form.once;
            let mut body = wire::request(self.to(), request);
            for field in self.refused().iter() {
                wire::without(&mut body, field);
            }
            let mut tried = 0;
            let mut lost = false;
            loop {
                tried += 1;
                let seen = Arc::new(Seen::default());
                let error = match self.once(&body, &seen, on).await {
                    // What a lost attempt cost is unknown, and so is the sum with it.
                    Ok(reply) if lost && self.endpoint.facts.price != Some(Price::FREE) => {
                        return Ok(Reply { usage: None, usd: None, ..reply });
                    }
                    Ok(reply) => return Ok(reply),
                    Err(error) => self.without_key(error),
                };
                if let Some(window) = error.window {
                    self.told.store(window, Ordering::Relaxed);
                }
                // llama-cpp-python ends a stream like this where it refuses a request, and says why without one.
                if seen.empty.load(Ordering::Relaxed) {
                    wire::without(&mut body, "stream_options");
                    body["stream"] = Value::Bool(false);
                }
                lost |= seen.spent.load(Ordering::Relaxed);
                let error = ModelError { spent: lost, ..error };
                // Some servers know no usage while streaming, which then stays unknown, or no schemas.
                let refused =
                    (error.kind == ErrorKind::Refused).then(|| wire::unknown(&body, &error.message)).flatten();
                let dropped = refused.as_ref().is_some_and(|field| wire::without(&mut body, field));
                // What it says of a schema need not hold for the next one.
                self.refused().extend(refused.filter(|field| field != "response_format"));
                let wait = if dropped {
                    Some(Duration::ZERO)
                } else if error.is_transient() {
                    self.wait(&error, tried)
                } else {
                    None
                };
                let more = tried < self.pace.tries && !(once && lost);
                let Some(wait) = wait.filter(|_| more) else { return Err(error) };
                tracing::info!(tried, seconds = wait.as_secs_f64(), %error, "asking again");
                on(Delta::Again { error: &error, wait });
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
        })
    }

    fn window(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(self.window_known())
    }
}

/// The error under async-openai's.
fn model_error(error: OpenAIError) -> ModelError {
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<ModelError>() {
            Ok(error) => *error,
            Err(other) => ModelError::new(ErrorKind::Network, other.to_string()),
        },
        // The chain of causes holds what helps ("connection refused"); the address alone does not.
        OpenAIError::Reqwest(error) => ModelError::new(ErrorKind::Network, causes(&error)),
        OpenAIError::StreamError(error) => ModelError::new(ErrorKind::Network, format!("the stream broke: {error}")),
        OpenAIError::JSONDeserialize(error, _) => {
            ModelError::new(ErrorKind::Protocol, format!("a piece of the answer is not JSON: {error}"))
        }
        other => ModelError::new(ErrorKind::Protocol, other.to_string()),
    }
}

/// An error and what caused it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Whether an address is this machine's own.
pub fn is_loopback(base: &str) -> bool {
    let host = reqwest::Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// A number in 0..1 that depends on nothing but `seed` and `n` (splitmix64).
fn unit(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Where requests go and with which headers. async-openai's own configuration would add what it finds in the
/// environment (organisation, project, key), whatever the host.
#[derive(Clone)]
struct Address {
    base: String,
    headers: HeaderMap,
    key: SecretString,
}

impl Address {
    fn new(endpoint: &Endpoint) -> Result<Self, ModelError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &endpoint.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| {
                ModelError::new(ErrorKind::Auth, "the key has characters that no header may hold; check the variable")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let base = endpoint.base.trim_end_matches('/').to_owned();
        Ok(Address { base, headers, key: endpoint.key.clone().unwrap_or_default() })
    }
}

impl Config for Address {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.key
    }
}

mod post;
mod probe;
#[cfg(test)]
mod tests;
