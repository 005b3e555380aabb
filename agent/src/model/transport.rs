//! The tower service under async-openai: types every failure by its status, and watches the stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_openai::{error::OpenAIError, middleware::HttpRequestFactory};
use futures_util::{StreamExt, future::BoxFuture, stream};
use reqwest::{
    Body, Response,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use super::{ErrorKind, ModelError};

/// Sends a request; reqwest in earnest, a function in tests.
pub type Http = BoxCloneSyncService<HttpRequestFactory, Response, OpenAIError>;

/// A reply may not be larger: a server could send for ever.
pub const MOST_BYTES: usize = 4 << 20;

/// The largest part of an error's body that is read.
const ERROR_BYTES: usize = 64 << 10;

/// Sends one request and guards its answer.
#[derive(Clone)]
pub struct Transport {
    /// What really sends.
    pub http: Http,
    /// Longest wait for the answer's head.
    pub head: Duration,
    /// Longest silence within the answer's body.
    pub idle: Duration,
    /// Set when the stream's `[DONE]` went by, which async-openai swallows.
    pub done: Arc<AtomicBool>,
    /// Set once the request may have cost something: an answer began, or none came in time.
    pub spent: Arc<AtomicBool>,
}

impl Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        // The clone that sends is made ready where it is used.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let sent = tokio::time::timeout(this.head, this.http.oneshot(request)).await;
            let response = sent.map_err(|_| boxed(silent("answer", this.head))).flatten().inspect_err(|error| {
                // Whoever could not be reached has answered nothing; a connection that broke later may have been too late.
                let unreached = matches!(error, OpenAIError::Reqwest(error) if error.is_connect());
                this.spent.store(!unreached, Ordering::Relaxed);
            })?;
            if !response.status().is_success() {
                return Err(boxed(refusal(response, this.idle).await));
            }
            this.spent.store(true, Ordering::Relaxed);
            watched(response, this.idle, this.done).await
        })
    }
}

/// The error of an answer that is not a success.
pub async fn refusal(response: Response, idle: Duration) -> ModelError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    // A body that breaks off or stalls still leaves the status, which matters more.
    while let Ok(Some(Ok(bytes))) = tokio::time::timeout(idle, stream.next()).await {
        body.extend_from_slice(&bytes);
        if body.len() > ERROR_BYTES {
            break;
        }
    }
    typed(status, &String::from_utf8_lossy(&body), retry_after)
}

/// The same answer, with silence turned into an error and `[DONE]` noticed. An answer in plain JSON, from a server
/// that does not stream, becomes a stream of one event.
async fn watched(response: Response, idle: Duration, done: Arc<AtomicBool>) -> Result<Response, OpenAIError> {
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    let bytes = http_body_stream(body);
    let silenced = stream::unfold(Some(bytes), move |bytes| async move {
        let mut bytes = bytes?;
        match tokio::time::timeout(idle, bytes.next()).await {
            Ok(next) => next.map(|next| (next, Some(bytes))),
            Err(_) => Some((Err(std::io::Error::other(silent("next piece", idle).message)), None)),
        }
    });
    if is_json {
        let mut whole = Vec::new();
        let mut silenced = std::pin::pin!(silenced);
        while let Some(bytes) = silenced.next().await {
            let error = |error: std::io::Error| ModelError::new(ErrorKind::Network, error.to_string());
            whole.extend_from_slice(&bytes.map_err(error).map_err(boxed)?);
            if whole.len() > MOST_BYTES {
                return Err(boxed(too_large()));
            }
        }
        let value: Value = serde_json::from_slice(&whole).map_err(|error| {
            boxed(ModelError::new(ErrorKind::Protocol, format!("the answer is not the JSON it claims to be: {error}")))
        })?;
        done.store(true, Ordering::Relaxed);
        let event = format!("data: {value}\n\ndata: [DONE]\n\n");
        return Ok(http::Response::from_parts(parts, Body::from(event)).into());
    }
    let mut line = Line::default();
    let seen = silenced.inspect(move |bytes| {
        if bytes.as_ref().is_ok_and(|bytes| line.saw_done(bytes)) {
            done.store(true, Ordering::Relaxed);
        }
    });
    Ok(http::Response::from_parts(parts, Body::wrap_stream(seen)).into())
}

/// The body as a stream of bytes.
fn http_body_stream(body: Body) -> stream::BoxStream<'static, std::io::Result<Vec<u8>>> {
    let response = Response::from(http::Response::new(body));
    response.bytes_stream().map(|next| next.map(|bytes| bytes.to_vec()).map_err(std::io::Error::other)).boxed()
}

/// The beginning of the line that is being read.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    /// Whether the stream's last line begins in or before `bytes`. In JSON a line break is escaped, so a line that
    /// starts like this is never part of a text.
    fn saw_done(&mut self, bytes: &[u8]) -> bool {
        let mut saw = false;
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.0.clear(),
                _ if self.0.len() < 16 => self.0.push(byte),
                _ => {}
            }
            saw |= self.0 == b"data: [DONE]" || self.0 == b"data:[DONE]";
        }
        saw
    }
}

/// What a status and its body mean.
pub fn typed(status: u16, body: &str, retry_after: Option<Duration>) -> ModelError {
    let lower = body.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let too_long = ["context_length", "context length", "context window", "maximum context", "prompt is too long"];
    let broke = ["insufficient_quota", "insufficient credit", "billing", "exceeded your current quota"];
    let kind = match status {
        401 | 403 => ErrorKind::Auth,
        402 => ErrorKind::Billing,
        429 if says(&broke) => ErrorKind::Billing,
        429 => ErrorKind::Rate,
        413 => ErrorKind::ContextTooLong,
        400 | 422 if says(&too_long) => ErrorKind::ContextTooLong,
        408 | 425 => ErrorKind::Server,
        400..=499 => ErrorKind::Refused,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    };
    ModelError { retry_after, status: Some(status), ..ModelError::new(kind, words(body)) }
}

/// The message inside an error body, whatever its shape, in one short line.
pub fn words(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let value = if let Value::Array(list) = &value { list.first().unwrap_or(&Value::Null) } else { &value };
    let paths = ["/error/message", "/message", "/detail", "/error", "/errors/0"];
    let found = paths.iter().find_map(|path| value.pointer(path)?.as_str());
    let text = found.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).take(400).collect();
    if text.is_empty() { "no message".to_owned() } else { text }
}

/// `Retry-After` as a duration. A date is taken relative to the answer's own `Date`, so that no clock is read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?;
    let now = jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?;
    let seconds = until.timestamp().as_second() - now.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The error of a reply that grows beyond [`MOST_BYTES`].
pub fn too_large() -> ModelError {
    ModelError::new(ErrorKind::Protocol, format!("the reply is longer than {MOST_BYTES} bytes"))
}

/// The error of a server that says nothing for so long.
pub fn silent(what: &str, limit: Duration) -> ModelError {
    ModelError::new(ErrorKind::Network, format!("no {what} for {} s", limit.as_secs()))
}

fn boxed(error: ModelError) -> OpenAIError {
    OpenAIError::Boxed(Box::new(error))
}
