//! What a model must offer to be scored. Implemented by `tools::models`.

pub mod calibration;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::eval::request::Generation;

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Message { role: "user".into(), content: content.into() }
    }
}

/// Log-likelihood of one continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loglikelihood {
    /// Sum of the natural-log probabilities of the continuation's tokens.
    pub sum: f64,
    /// Number of those tokens.
    pub tokens: usize,
    /// Whether greedy decoding would have produced exactly this continuation.
    pub greedy: bool,
}

/// One generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The text up to, not including, the stop.
    pub text: String,
    /// Whether it ended at a stop token or string rather than at the length limit.
    pub stopped: bool,
}

/// An error of a model, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(pub String);

/// Called with (done, total) while a model works through requests.
pub type OnProgress<'a> = &'a mut dyn FnMut(usize, usize);

/// A model that answers texts as they are, without a template: what eval tasks ask. Synchronous.
///
/// Results are in the order of the requests. What a model cannot answer it refuses; it never approximates.
pub trait LanguageModel {
    /// For each (context, continuation), how likely the continuation is, with lm-eval's conventions of tokenization.
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError>;

    /// For each text, the sum of the log-likelihoods of all its tokens, in windows of the model's length.
    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError>;

    /// For each (context, settings), the text up to, not including, the first stop.
    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError>;

    /// The prompt that the model's chat template makes of a conversation. The last message begins the answer where its
    /// role is `assistant`; otherwise the prompt for an answer is added.
    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError>;

    /// Longest sequence in tokens.
    fn max_length(&self) -> usize;

    /// What names this model and no other, for example a hash of its weights; part of the key of cached answers.
    fn fingerprint(&self) -> String;
}

/// A model that answers chats, rendered by its own template, as the grader asks. Synchronous.
pub trait ChatLanguageModel {
    /// For each prompt, the log-likelihood of each of its continuations (each followed by the end-of-turn token).
    /// The prompt's computation is shared between its continuations. Results are in the order of the requests.
    fn loglikelihood(
        &mut self,
        requests: &[(Vec<Message>, Vec<String>)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Vec<Loglikelihood>>, ModelError>;

    /// Greedy text for each prompt, at most `max_new_tokens` tokens, ending at the end-of-turn token.
    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        max_new_tokens: usize,
        on: OnProgress<'_>,
    ) -> Result<Vec<Generated>, ModelError>;

    /// For each text as it stands, the log-likelihood of all its tokens, in windows of the model's length.
    fn read(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<Loglikelihood>, ModelError>;

    /// Longest sequence in tokens.
    fn max_length(&self) -> usize;
}

/// Opens models for the grader, which knows nothing about how they work.
pub trait Models {
    /// Opens the base, or the base with an adapter applied to it.
    fn open(&self, base: &Path, adapter: Option<&Path>) -> Result<Box<dyn ChatLanguageModel>, ModelError>;
    /// Checks that an adapter fits `base`: only expected tensors, of the right shapes, all finite, trained on this base.
    fn check_adapter(&self, base: &Path, adapter: &Path) -> Result<(), ModelError>;
}
