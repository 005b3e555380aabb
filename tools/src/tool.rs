//! What a tool is: a typed action with a schema, called with validated arguments.

use std::{future::Future, path::Path, time::Instant};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tunesmith_harness::{ask::Ask, event::JobRecord, score::Score};
use tunesmith_sandbox::{Cancel, Local, Workdir};

use crate::hub::Hub;

/// What a tool may use.
pub struct Cx<'a> {
    /// The workdir of the run: all paths that the planner names are inside it.
    pub dir: &'a Workdir,
    /// Starts sandboxed jobs.
    pub jobs: &'a Local,
    /// The base model of the run: a directory in Hugging Face format or a GGUF file, outside the workdir, read-only.
    pub base: &'a Path,
    /// Seed of everything random.
    pub seed: u64,
    /// When the run must have ended.
    pub deadline: Option<Instant>,
    /// Set when the user cancels.
    pub cancel: Cancel,
    /// The model that may be asked, where the run hands one out.
    pub ask: Option<&'a dyn Ask>,
    /// The Hub, where the run may use the network.
    pub hub: Option<&'a Hub>,
    /// Hosts that the user allows commands to reach.
    pub hosts: &'a [String],
    /// Receives live progress; never part of a result.
    pub on: &'a (dyn Fn(Progress) + Send + Sync),
}

/// How far a long step is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, for example `train` or `evaluate base`.
    pub what: String,
    /// Units done.
    pub done: usize,
    /// Units in all.
    pub total: usize,
    /// Training loss of the last step, nats per token.
    pub loss: Option<f64>,
    /// Last evaluation loss.
    pub valid_loss: Option<f64>,
    /// Tokens per second since the start.
    pub tokens_per_second: Option<f64>,
    /// Seconds left at this rate.
    pub eta_seconds: Option<f64>,
    /// Share of the machine's measured arithmetic in use.
    pub utilisation: Option<f64>,
    /// Most memory that the work has held, in bytes.
    pub peak_memory: Option<u64>,
    /// What is worth a line of its own.
    pub note: Option<String>,
    /// What went wrong without ending the work.
    pub warning: Option<String>,
    /// A sandboxed job that has ended; it belongs into the log.
    pub job: Option<JobEnd>,
}

/// What is kept of a sandboxed job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobEnd {
    /// What it took.
    pub record: JobRecord,
    /// How it was confined less than its run declares.
    pub degraded: Option<String>,
}

/// A typed action. Its own file also holds the scorer of its step.
pub trait Tool: Send + Sync + 'static {
    /// The name that the planner calls.
    const NAME: &'static str;
    /// The arguments; their doc comment is the description that the planner reads.
    type Args: DeserializeOwned + JsonSchema + Send;
    /// The result.
    type Output: Serialize + DeserializeOwned;
    /// Does it.
    fn call(&self, cx: &Cx<'_>, args: Self::Args) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
    /// Does it once more where the process died in the middle of the same call. Whatever writes its result in one piece
    /// can be done again; what cannot says so.
    fn call_again(
        &self,
        cx: &Cx<'_>,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send {
        self.call(cx, args)
    }
    /// Judges the step from its output and its files. No scores by default.
    fn scores(&self, _output: &Self::Output, _dir: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

/// A [`Tool`] with its types erased.
pub trait AnyTool: Send + Sync {
    /// The name that the planner calls.
    fn name(&self) -> &str;
    /// One or two sentences for the planner.
    fn description(&self) -> &str;
    /// JSON Schema of the arguments: no references, properties in declaration order.
    fn schema(&self) -> &Value;
    /// The schema that a model can be kept to, where more of it is known than a planner reads.
    fn strict(&self) -> &Value {
        self.schema()
    }
    /// Validates `args` against the schema (every error listed by JSON pointer), then calls.
    fn call<'a>(&'a self, cx: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>>;
    /// The same where the process died in the middle of this call. What is not known to be repeatable is not repeated.
    fn call_again<'a>(&'a self, _: &'a Cx<'a>, _: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async { Err(ToolError::Failed(INTERRUPTED.to_owned())) })
    }
    /// Judges the step.
    fn scores(&self, output: &Value, dir: &Workdir) -> Vec<Score>;
}

/// What a planner hears of a call that was interrupted and is not repeated.
pub const INTERRUPTED: &str = "this was interrupted before it ended, and it is not known how much of it was done; look, then \
                               call again what is missing";

/// Why a tool did not do what was asked. All of these are shown to the planner.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The arguments do not fit the schema.
    #[error("invalid arguments: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
    /// The run's policy does not allow it.
    #[error("not allowed: {0}")]
    Denied(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// A limit of the step or the run ended it.
    #[error("stopped by a limit: {0}")]
    Limit(String),
    /// The machine lacks something, for example space on the disk; no other call would help.
    #[error("{0}")]
    Resource(String),
    /// The user cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// One field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{pointer}{}{message}", if .pointer.is_empty() { "" } else { ": " })]
pub struct FieldError {
    /// JSON pointer to the field; empty for the whole.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}
