//! The planner's models: one trait, and what goes in and comes out of it.
//!
//! Only this module speaks to a language model that plans.

pub mod asker;
pub mod catalogue;
mod events;
pub mod intake;
pub mod local;
mod opaque;
pub mod openai;
pub mod resident;
pub mod scored;
pub mod scripted;
pub mod spec;
mod strict;
mod transport;
pub mod trial;
mod typed;
mod wire;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_harness::ask::Price;
pub use tunesmith_harness::event::Call;

/// A language model that can call tools.
pub trait ChatModel: Send + Sync {
    /// Asks for the next turn of the assistant. `on` hears the reply as it arrives.
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        on: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>>;

    /// It gave this reply in an earlier process of the run; what plays a script goes on behind it.
    fn heard(&self, _reply: &Reply) {}

    /// Tokens that a conversation and its reply may have together, where that is known or the server says it.
    fn window(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
}

/// What a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The conversation so far, oldest first.
    pub messages: &'a [Message],
    /// The tools it may call.
    pub tools: &'a [ToolSpec],
    /// How the reply should be.
    pub form: Form<'a>,
}

/// How a reply should be; what is left out, the provider decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// JSON Schema of the text.
    pub schema: Option<&'a Value>,
    /// Most tokens.
    pub max_tokens: Option<u64>,
    /// How freely it is drawn.
    pub temperature: Option<f64>,
    /// Seed of the draw.
    pub seed: Option<u64>,
    /// Whether an attempt that may have cost something is the last one, because whoever asks pays for each.
    pub once: bool,
}

/// A tool, as a model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// The name to call.
    pub name: String,
    /// One or two sentences.
    pub description: String,
    /// JSON Schema of the arguments, as the model reads it.
    pub schema: Value,
    /// The schema that a model which can be kept to one is kept to.
    pub strict: Value,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Who the model is and how it works.
    System(String),
    /// The user.
    User(String),
    /// A reminder of the loop's, after a turn that brought nothing. Providers know no such role; it is sent as the user's.
    Note(String),
    /// The model itself.
    Assistant {
        /// What it said.
        text: String,
        /// What it called.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
        /// What its provider wants back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Opaque>,
    },
    /// The result of a call.
    Tool {
        /// The call's id.
        id: String,
        /// The result, as text.
        content: String,
    },
}

/// Fields of an assistant's message that only its provider understands, such as its reasoning.
///
/// Some providers refuse the next request without them, others refuse fields that they do not know; so they go back to
/// where they came from and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opaque {
    /// Base address that sent them.
    pub base: String,
    /// The model that wrote them.
    pub model: String,
    /// The fields, in the order in which they came; empty where only calls have something.
    pub fields: Map<String, Value>,
}

/// The assistant's turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What it said.
    #[serde(default)]
    pub text: String,
    /// What it wants called, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Why it stopped.
    #[serde(default)]
    pub finish: Finish,
    /// Tokens, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Dollars, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// What its provider wants back with the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
}

/// Why a model stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    #[default]
    Stop,
    /// It wants tools called.
    Calls,
    /// It ran into its length limit.
    Length,
    /// A filter stopped it.
    Filter,
    /// Anything else, in the provider's word; empty when it gave none.
    Other(String),
}

impl Finish {
    /// Whether what was said has its end.
    pub fn is_whole(&self) -> bool {
        matches!(self, Finish::Stop | Finish::Calls)
    }
}

/// Tokens of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt: u64,
    /// Tokens written.
    pub completion: u64,
}

impl Usage {
    /// What it costs at a price.
    pub fn usd(self, price: Price) -> f64 {
        self.prompt as f64 * price.read + self.completion as f64 * price.written
    }
}

/// A piece of a reply as it arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta<'a> {
    /// More text.
    Text(&'a str),
    /// A call has begun.
    Call {
        /// The tool.
        name: &'a str,
    },
    /// The attempt failed; all that was heard of this reply is void.
    Again {
        /// What went wrong.
        error: &'a ModelError,
        /// How long it waits before it asks again.
        wait: Duration,
    },
}

/// Why a model gave no reply.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelError {
    /// The kind; decides what happens next.
    pub kind: ErrorKind,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// One line.
    pub message: String,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether one of the attempts may have cost something.
    pub spent: bool,
    /// Tokens that the model takes, where the error says it of a conversation that is too long.
    pub window: Option<u64>,
}

/// The kinds of [`ModelError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The key is missing, wrong or not allowed.
    Auth,
    /// The account cannot pay.
    Billing,
    /// Too many requests.
    Rate,
    /// The conversation does not fit the model.
    ContextTooLong,
    /// The provider understood and declined.
    Refused,
    /// The provider failed.
    Server,
    /// It could not be reached, or the connection broke.
    Network,
    /// It answered something that is not a reply.
    Protocol,
}

impl ModelError {
    /// An error without an HTTP status.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ModelError { kind, status: None, message: message.into(), retry_after: None, spent: false, window: None }
    }

    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Rate | ErrorKind::Server | ErrorKind::Network)
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::Auth => "the provider rejects the key",
            ErrorKind::Billing => "the provider wants payment",
            ErrorKind::Rate => "the provider limits the rate",
            ErrorKind::ContextTooLong => "the conversation is too long for the model",
            ErrorKind::Refused => "the provider declined the request",
            ErrorKind::Server => "the provider failed",
            ErrorKind::Network => "the provider cannot be reached",
            ErrorKind::Protocol => "the provider's answer makes no sense",
        };
        match self.status {
            Some(status) => write!(f, "{what} (http {status}): {}", self.message),
            None => write!(f, "{what}: {}", self.message),
        }
    }
}

impl std::error::Error for ModelError {}
