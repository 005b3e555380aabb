//! What a model is asked, and what it answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Message, ModelError};

/// One row of a data set, columns in the order of the file.
pub type Doc = serde_json::Map<String, Value>;

/// One question to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How likely is `continuation` after `context`?
    Loglikelihood {
        /// What comes before; may be empty.
        context: String,
        /// What is scored, with its leading delimiter.
        continuation: String,
    },
    /// How likely is the whole text, in windows of the model's length?
    LoglikelihoodRolling {
        /// The text.
        text: String,
    },
    /// What follows `context`?
    GenerateUntil {
        /// The prompt.
        context: String,
        /// How to go on and when to stop.
        settings: Generation,
    },
}

/// How text is generated: lm-eval's `generation_kwargs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Strings that end the text and are cut off.
    pub until: Vec<String>,
    /// Most new tokens; the model's own default (256) where a task does not say.
    pub max_gen_toks: Option<usize>,
    /// Whether tokens are drawn; otherwise decoding is greedy.
    pub do_sample: bool,
    /// Temperature of the draws; 0 is greedy.
    pub temperature: f64,
    /// Share of the probability that is drawn from; 1 is all.
    pub top_p: f64,
    /// Number of the most likely tokens that are drawn from; `None` is all.
    pub top_k: Option<usize>,
    /// Which repetition of the request this is: each is another draw.
    #[serde(skip)]
    pub repeat: usize,
}

/// One answer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Loglikelihood`].
    Loglikelihood {
        /// Sum of the natural-log probabilities of the continuation's tokens.
        #[serde(with = "number")]
        sum: f64,
        /// Whether greedy decoding would have produced exactly this continuation.
        greedy: bool,
    },
    /// To [`Request::LoglikelihoodRolling`]: the sum over all tokens.
    Rolling(#[serde(with = "number")] f64),
    /// To [`Request::GenerateUntil`]: the text up to, not including, the stop.
    Text(String),
}

/// A number that JSON has no word for, such as minus infinity, as text.
mod number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() { to.serialize_f64(*number) } else { to.collect_str(number) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Word(String),
        }
        match Written::deserialize(from)? {
            Written::Number(number) => Ok(number),
            Written::Word(word) => word.parse().map_err(D::Error::custom),
        }
    }
}

/// A conversation as the text of a request, for a model that renders it where it runs: its messages as JSON.
pub fn chat(messages: &[Message]) -> Result<String, ModelError> {
    serde_json::to_string(messages).map_err(|error| ModelError(error.to_string()))
}

/// The conversation in a text that [`chat`] made.
pub fn messages(text: &str) -> Result<Vec<Message>, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError(format!("a prompt is no conversation ({error})")))
}

/// A request with its place in a task: lm-eval's `Instance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Position of the row in the evaluated split.
    pub doc_id: usize,
    /// Position among the requests of the row: the choice, for multiple choice.
    pub idx: usize,
    /// How often it is asked: lm-eval's `repeats`.
    pub repeats: usize,
    /// The question.
    pub request: Request,
}
