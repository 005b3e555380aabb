//! The tower service under async-openai: types every failure by its status, and watches the stream.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
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

use super::{ErrorKind, ModelError, events::Events, openai::causes, typed};

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
    /// What is noticed on the way.
    pub seen: Arc<Seen>,
}

/// What the transport noticed of one request.
#[derive(Default)]
pub struct Seen {
    /// The stream's `[DONE]` went by, which async-openai swallows.
    pub done: AtomicBool,
    /// It may have cost something: an answer began, or none came in time.
    pub spent: AtomicBool,
    /// The stream ended without having said anything.
    pub empty: AtomicBool,
    /// What went wrong within the stream, of which async-openai keeps the words alone.
    pub fault: Mutex<Option<ModelError>>,
}

impl Seen {
    /// Takes note of what went wrong.
    fn failed(&self, error: ModelError) -> std::io::Error {
        let words = error.message.clone();
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        std::io::Error::other(words)
    }
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
                this.seen.spent.store(!unreached, Ordering::Relaxed);
            })?;
            if !response.status().is_success() {
                return Err(boxed(refusal(response, this.idle).await));
            }
            this.seen.spent.store(true, Ordering::Relaxed);
            watched(response, this.idle, this.seen).await
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
    typed::typed(Some(status), &String::from_utf8_lossy(&body), retry_after)
}

/// The same answer as events in one form, with silence turned into an error and `[DONE]` noticed. An answer in plain
/// JSON, from a server that does not stream, becomes a stream of one event.
async fn watched(response: Response, idle: Duration, seen: Arc<Seen>) -> Result<Response, OpenAIError> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (is_json, is_page) = (kind.starts_with("application/json"), kind.starts_with("text/html"));
    if is_page {
        let message = "it answers with a web page; check the base address, which often ends with /v1";
        return Err(boxed(ModelError::new(ErrorKind::Protocol, message)));
    }
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    let body = Response::from(http::Response::new(body)).bytes_stream().boxed();
    let mut pieces = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(idle, body.next()).await {
            Ok(next) => {
                let broken = |error: reqwest::Error| ModelError::new(ErrorKind::Network, causes(&error));
                next.map(|piece| (piece.map_err(broken), Some(body)))
            }
            Err(_) => Some((Err(silent("next piece", idle)), None)),
        }
    })
    .boxed();
    if is_json {
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece.map_err(boxed)?);
            if whole.len() > MOST_BYTES {
                return Err(boxed(too_large()));
            }
        }
        let value: Value = serde_json::from_slice(&whole).map_err(|error| {
            boxed(ModelError::new(ErrorKind::Protocol, format!("the answer is not the JSON it claims to be: {error}")))
        })?;
        seen.done.store(true, Ordering::Relaxed);
        let event = format!("data: {value}\n\ndata: [DONE]\n\n");
        return Ok(http::Response::from_parts(parts, Body::from(event)).into());
    }
    let mut events = Events::default();
    seen.empty.store(true, Ordering::Relaxed);
    let clean = pieces.map(move |piece| {
        seen.empty.store(false, Ordering::Relaxed);
        let taken = piece.and_then(|piece| events.take(&piece)).map_err(|error| seen.failed(error))?;
        seen.done.fetch_or(taken.done, Ordering::Relaxed);
        Ok::<_, std::io::Error>(taken.text)
    });
    Ok(http::Response::from_parts(parts, Body::wrap_stream(clean)).into())
}

/// `Retry-After` as a duration, in any of its three forms. A date is taken relative to the answer's own `Date`, so that no clock is read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = headers.get("retry-after-ms").and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    if let Some(wait) = milliseconds.and_then(|wait| Duration::try_from_secs_f64(wait / 1000.0).ok()) {
        return Some(wait);
    }
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
