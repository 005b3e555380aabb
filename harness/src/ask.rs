//! A question to some language model: how tools and judges reach one without knowing which it is.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Message;

/// The bytes that a chat template may add to a message, as tokens, at most.
const FRAME: u64 = 32;

/// Answers questions; whoever hands one out says which model it is and charges for it.
pub trait Ask: Send + Sync {
    /// The model, as its answers are attributed to it.
    fn name(&self) -> &str;
    /// What a token costs; `None` is unknown, which is never zero.
    fn price(&self) -> Option<Price>;
    /// Asks.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<Answer, AskError>> + Send + '_>>;
}

/// One question, whole in itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    /// The conversation that the answer follows.
    pub messages: Vec<Message>,
    /// JSON Schema that the answer should fit. Not every model keeps to it, so the answer is checked all the same.
    pub schema: Option<Value>,
    /// Most tokens of the answer.
    pub max_tokens: u64,
    /// How freely the answer is drawn; 0 is not at all.
    pub temperature: f64,
    /// Seed of the draw, where the model takes one.
    pub seed: u64,
}

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, without secrets.
    pub text: String,
    /// Whether it ran into the limit of its length.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Tokens read and written, where the provider says.
    pub tokens: Option<u64>,
    /// US dollars, where they are known.
    pub usd: Option<f64>,
}

/// US dollars for a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Read.
    pub read: f64,
    /// Written.
    pub written: f64,
}

impl Price {
    /// Nothing, as on the user's own machine.
    pub const FREE: Price = Price { read: 0.0, written: 0.0 };
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// This question is not answered, at what cost ever; another one may be.
    #[error("{0}")]
    Declined(String),
    /// The answer broke off, and may have cost as much as a whole one. Asked again, it may come.
    #[error("{0}")]
    Broken(String),
    /// A limit does not allow the question, which was not asked.
    #[error("{0}")]
    Budget(String),
    /// No question is answered, and this one cost nothing.
    #[error("{0}")]
    Failed(String),
    /// The user cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Question {
    /// Most tokens that the question can take. A token of any tokenizer in use holds at least one byte of the prompt.
    pub fn most_tokens(&self) -> u64 {
        self.most_read().saturating_add(self.max_tokens)
    }

    /// Most dollars that the question can take.
    pub fn most_usd(&self, price: Price) -> f64 {
        self.most_read() as f64 * price.read + self.max_tokens as f64 * price.written
    }

    fn most_read(&self) -> u64 {
        let messages = self.messages.iter().map(|message| message.content.len() as u64 + FRAME).sum::<u64>();
        // Some providers put the schema into the prompt.
        messages + self.schema.as_ref().map_or(0, |schema| schema.to_string().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_a_question_takes_counts_every_byte_that_is_sent() {
        let message = Message { role: "user".into(), content: "größe".into() };
        let mut question =
            Question { messages: vec![message], schema: None, max_tokens: 100, temperature: 1.0, seed: 0 };
        assert_eq!(question.most_tokens(), 7 + 32 + 100);
        question.schema = Some(serde_json::json!({"a": 1}));
        assert_eq!(question.most_tokens(), 7 + 32 + 7 + 100);
        assert_eq!(question.most_usd(Price { read: 0.5, written: 2.0 }), 46.0 * 0.5 + 200.0);
        assert_eq!(question.most_usd(Price::FREE), 0.0);
    }
}
