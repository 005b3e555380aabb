//! A model behind an OpenAI-compatible endpoint, as eval tasks ask it.
//!
//! `/completions` scores continuations where the server repeats prompts with their log-probabilities, and generates;
//! `/chat/completions` generates with the server's own template. What a server cannot do exactly is refused.

mod echo;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tunesmith_harness::{
    eval::{
        python::strings,
        request::{self, Generation},
    },
    model::{LanguageModel, Loglikelihood, Message, ModelError, OnProgress},
};
use tunesmith_sandbox::Cancel;

use super::{ErrorKind, openai::OpenAi};

/// New tokens where a task does not say, as in lm-eval.
const MAX_GEN_TOKS: usize = 256;

/// Stop strings that are sent: more are refused by OpenAI's own API. All of them are cut off here.
const MOST_STOPS: usize = 4;

/// lm-eval's seed of every request.
const SEED: usize = 1234;

/// What fingerprints of endpoints begin with; those of models here are hashes.
const FINGERPRINT: &str = "endpoint ";

/// Which of an endpoint's two ways to answer is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Prompts as they are.
    Completions,
    /// Conversations, which the server renders.
    Chat,
}

impl Api {
    /// Its path under the base address.
    pub fn path(self) -> &'static str {
        match self {
            Api::Completions => "/completions",
            Api::Chat => "/chat/completions",
        }
    }
}

/// A model that answers elsewhere. Its calls block, so they belong on a thread that may wait.
pub struct Scored {
    /// Where it answers.
    pub model: OpenAi,
    /// In which way.
    pub api: Api,
    /// Requests that are under way side by side.
    pub at_once: usize,
    /// The runtime that sends.
    pub runtime: Handle,
    /// Ends the waiting.
    pub cancel: Cancel,
}

impl Scored {
    /// What names the model of an endpoint: address, name and way of asking.
    pub fn fingerprint(base: &str, model: &str, api: Api) -> String {
        format!("{FINGERPRINT}{base}{} {model}", api.path())
    }

    /// Whether such a model gave the answers of this fingerprint.
    pub fn gave(fingerprint: &str) -> bool {
        fingerprint.starts_with(FINGERPRINT)
    }

    /// The answers to `requests`, in their order; the first error ends them all.
    fn each<'a, T, R>(
        &'a self,
        requests: &'a [T],
        on: OnProgress<'_>,
        one: impl AsyncFn(&'a Self, &'a T) -> Result<R, ModelError>,
    ) -> Result<Vec<R>, ModelError> {
        self.runtime.block_on(async {
            let mut answers = stream::iter(requests).map(|request| one(self, request)).buffered(self.at_once.max(1));
            let mut done = Vec::with_capacity(requests.len());
            loop {
                let next = tokio::select! {
                    next = answers.next() => next,
                    () = self.cancel.cancelled() => return Err(ModelError("stopped while the endpoint answered".into())),
                };
                let Some(answer) = next else { return Ok(done) };
                done.push(answer?);
                on(done.len(), requests.len());
            }
        })
    }

    async fn post(&self, body: &Value) -> Result<Value, ModelError> {
        let path = self.api.path();
        self.model.post(path, body).await.map_err(|error| {
            let advice = match (error.kind, error.status) {
                (ErrorKind::Refused, Some(404 | 405)) => match self.api {
                    Api::Completions => {
                        "; does the address end in /v1, and does the server have /completions? \
                                         --chat-template asks /chat/completions"
                    }
                    Api::Chat => "; does the address end in /v1, and is this the model's name there?",
                },
                (ErrorKind::Network, _) => "; is the server running?",
                (ErrorKind::ContextTooLong, _) => "; take fewer --fewshot examples or a server with a longer context",
                _ => "",
            };
            ModelError(format!("{}{path}: {error}{advice}", self.model.base()))
        })
    }

    async fn score(&self, context: &str, continuation: &str) -> Result<Loglikelihood, ModelError> {
        let body = json!({
            "model": self.model.name(),
            "prompt": format!("{context}{continuation}"),
            // 0 means without end to some servers; what is generated is not looked at.
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "echo": true,
            "seed": SEED,
        });
        let answer = self.post(&body).await?;
        echo::loglikelihood(&answer, context, continuation).map_err(|why| {
            let base = self.model.base();
            ModelError(format!(
                "{base} cannot be asked for log-likelihoods: it {why}; take a server that repeats prompts with \
                 log-probabilities (echo, logprobs), or tasks that generate"
            ))
        })
    }

    /// lm-eval's convention: blanks at the end of the context belong to the continuation.
    async fn pair(&self, (context, continuation): &(String, String)) -> Result<Loglikelihood, ModelError> {
        let kept = strings::rstrip(context);
        if kept.is_empty() && !context.is_empty() {
            return Err(ModelError("a context has nothing but blanks; let it be empty or have text".into()));
        }
        let continuation = [&context[kept.len()..], continuation].concat();
        if continuation.is_empty() {
            return Err(ModelError("a continuation is empty; drop rows with empty answers".into()));
        }
        self.score(kept, &continuation).await
    }

    async fn generate(&self, (context, settings): &(String, Generation)) -> Result<String, ModelError> {
        let most = match self.api {
            Api::Chat => self.model.most_tokens(),
            Api::Completions => "max_tokens",
        };
        let mut body = json!({
            "model": self.model.name(),
            most: settings.max_gen_toks.unwrap_or(MAX_GEN_TOKS),
            "temperature": if settings.do_sample { settings.temperature } else { 0.0 },
            // Each repetition is another draw.
            "seed": SEED + settings.repeat,
        });
        let stops: Vec<&String> = settings.until.iter().filter(|stop| !stop.is_empty()).collect();
        if !stops.is_empty() {
            body["stop"] = json!(stops[..stops.len().min(MOST_STOPS)]);
        }
        if settings.do_sample && settings.top_p < 1.0 {
            body["top_p"] = json!(settings.top_p);
        }
        if let Some(top_k) = settings.top_k.filter(|_| settings.do_sample) {
            body["top_k"] = json!(top_k);
        }
        match self.api {
            Api::Completions => body["prompt"] = json!(context),
            Api::Chat => body["messages"] = json!(request::messages(context)?),
        }
        let answer = self.post(&body).await?;
        let choice = &answer["choices"][0];
        let text = match self.api {
            Api::Completions => &choice["text"],
            Api::Chat => &choice["message"]["content"],
        };
        let text = match text {
            Value::String(text) => text.as_str(),
            // A model that thinks first, or a filter, may end without a word.
            Value::Null if choice["finish_reason"].is_string() => "",
            _ => return Err(ModelError(format!("{}{}: gives no text", self.model.base(), self.api.path()))),
        };
        let end = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        Ok(text[..end.unwrap_or(text.len())].to_owned())
    }

    fn can_score(&self) -> Result<(), ModelError> {
        match self.api {
            Api::Completions => Ok(()),
            Api::Chat => Err(ModelError(
                "/chat/completions gives no log-likelihoods of prompts; leave out --chat-template, or take tasks that \
                 generate"
                    .into(),
            )),
        }
    }
}

impl LanguageModel for Scored {
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError> {
        self.can_score()?;
        self.each(requests, on, async |model, pair| model.pair(pair).await)
    }

    /// Exact where the server puts its first token before the prompt and the text fits into its context; else refused.
    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
        self.can_score()?;
        self.each(texts, on, async |model, text| match text.is_empty() {
            true => Ok(0.0),
            false => Ok(model.score("", text).await?.sum),
        })
    }

    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError> {
        self.each(requests, on, async |model, request| model.generate(request).await)
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError> {
        request::chat(messages)
    }

    /// Unknown: what does not fit is refused by the server.
    fn max_length(&self) -> usize {
        usize::MAX
    }

    fn fingerprint(&self) -> String {
        Scored::fingerprint(self.model.base(), self.model.name(), self.api)
    }
}
