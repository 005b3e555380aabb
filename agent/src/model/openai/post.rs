//! One question with one whole answer, as scoring needs it: no stream, but the same statuses, waits and tries.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::{
    super::{ErrorKind, ModelError, transport, typed},
    Config, OpenAi, Pace, causes,
};

/// An answer may not be larger: log-probabilities take some hundred bytes for each token of a long prompt.
const MOST_BYTES: usize = 64 << 20;

impl OpenAi {
    /// The answer to `body` at `path`, for example `/completions`; asked again where that may help.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ModelError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.posted(path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.without_key(error),
            };
            let again = tried < self.pace.tries && error.is_transient();
            let Some(wait) = again.then(|| self.wait(&error, tried)).flatten() else { return Err(error) };
            tracing::info!(tried, seconds = wait.as_secs_f64(), %error, "asking again");
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn posted(&self, path: &str, body: &Value) -> Result<Value, ModelError> {
        let Pace { head, idle, .. } = self.pace;
        let request = self.client.post(self.address.url(path)).headers(self.address.headers());
        let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        let answer = self.fetched(request, head, idle).await?;
        match answer.get("error").filter(|error| !error.is_null()) {
            Some(error) => Err(typed::in_stream(error)),
            None => Ok(answer),
        }
    }

    /// The JSON that answers a request: its head, and then each piece, within a time.
    pub(super) async fn fetched(
        &self,
        request: reqwest::RequestBuilder,
        head: Duration,
        idle: Duration,
    ) -> Result<Value, ModelError> {
        let broken = |error: reqwest::Error| ModelError::new(ErrorKind::Network, causes(&error));
        let sent = tokio::time::timeout(head, request.send()).await;
        let response = sent.map_err(|_| transport::silent("answer", head))?.map_err(broken)?;
        if !response.status().is_success() {
            return Err(transport::refusal(response, idle).await);
        }
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        loop {
            let next = tokio::time::timeout(idle, stream.next()).await;
            let Some(piece) = next.map_err(|_| transport::silent("next piece", idle))? else { break };
            bytes.extend_from_slice(&piece.map_err(broken)?);
            if bytes.len() > MOST_BYTES {
                let message = format!("the answer is longer than {MOST_BYTES} bytes");
                return Err(ModelError::new(ErrorKind::Protocol, message));
            }
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| ModelError::new(ErrorKind::Protocol, format!("the answer is not JSON: {error}")))
    }
}
