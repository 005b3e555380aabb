//! What a run is asked to reach, and what it ended as.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What a run is to reach, in the user's words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The request, as typed.
    pub request: String,
    /// The user's data files, as given.
    pub files: Vec<PathBuf>,
    /// A test file of the user's own; without it rows are sealed from `files`.
    pub test: Option<PathBuf>,
    /// Share of rows to seal; `None` is the default rule of [`crate::seal`].
    pub test_share: Option<f64>,
    /// The base model if the user named one.
    pub base: Option<String>,
    /// Targets that must hold on the sealed rows.
    pub goals: Vec<Goal>,
    /// Kinds of files that must be handed in, for example `gguf`.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// Most bytes that each shipped model may take, or the adapter where no model is shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Wall-clock limit in minutes.
    pub minutes: Option<f64>,
    /// Most steps (tool calls) the planner may take.
    pub steps: Option<u32>,
    /// Most money the planner may cost, in US dollars.
    pub usd: Option<f64>,
    /// Most tokens that the planner's model, and models that tools ask, may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Most bytes that the run's directory may hold; `None` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Seed of everything random in the run, except which rows are sealed.
    pub seed: u64,
}

/// One target: `METRIC>=X`, or `METRIC<=X` where less is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Name of the metric, for example `accuracy`.
    pub metric: String,
    /// What meets the goal.
    #[serde(flatten)]
    pub bound: Bound,
}

/// On which side of a number a metric must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The least value that meets the goal; shares are fractions.
    AtLeast(f64),
    /// The most.
    AtMost(f64),
}

impl Goal {
    /// A metric that must reach a value.
    pub fn at_least(metric: impl Into<String>, value: f64) -> Goal {
        Goal { metric: metric.into(), bound: Bound::AtLeast(value) }
    }

    /// A metric that must not pass a value.
    pub fn at_most(metric: impl Into<String>, value: f64) -> Goal {
        Goal { metric: metric.into(), bound: Bound::AtMost(value) }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Bound::AtLeast(value) => write!(f, "{}>={value}", self.metric),
            Bound::AtMost(value) => write!(f, "{}<={value}", self.metric),
        }
    }
}

impl Bound {
    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Bound::AtLeast(value) | Bound::AtMost(value) => value,
        }
    }

    /// Whether a value meets it.
    pub fn is_met(self, value: f64) -> bool {
        // A share that was written as a percentage may differ in its last bit.
        match self {
            Bound::AtLeast(least) => value >= least - 1e-12,
            Bound::AtMost(most) => value <= most + 1e-12,
        }
    }
}

/// The kind of job a request and its data amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// One label out of a closed set for each input.
    Classification,
    /// A JSON object taken out of each input.
    Extraction,
    /// Free text for each input, compared by a rule.
    Generation,
    /// Raw text, which the model goes on reading: input and answer are the same column.
    Pretraining,
}

impl JobKind {
    /// Name of the headline metric.
    pub fn metric(self) -> &'static str {
        match self {
            JobKind::Classification => "accuracy",
            JobKind::Extraction | JobKind::Generation => "exact_match",
            JobKind::Pretraining => "bits_per_byte",
        }
    }
}

/// What may not change once a run has started, unless an `Amended` event says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// The base model as named: `nano`, a directory, a GGUF file or a Hub id.
    pub base: String,
    /// SHA-256 of the base's weights, config and tokenizer.
    pub base_sha256: String,
    /// SHA-256 of the open (not sealed) rows that the run may train on.
    pub data_sha256: String,
    /// The kind of job.
    pub kind: JobKind,
    /// The column of the input.
    pub input: String,
    /// The column of the answer.
    pub target: String,
    /// Generation: only what follows the last occurrence of this marker is compared.
    pub answer_after: Option<String>,
    /// The training method, for example `lora`.
    pub method: String,
    /// Longest example in tokens, at most; the recipe may say less.
    pub max_length: usize,
    /// Name of the headline metric.
    pub metric: String,
}

/// What a run ended as; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every goal holds on the sealed rows and every artefact passed its check.
    Met,
    /// The run finished, but a goal does not hold.
    NotMet,
    /// A budget or the deadline was reached.
    Budget,
    /// An approval, a credential or a resource is missing.
    Blocked,
    /// The planner could not plan.
    PlannerFailed,
    /// A defect of Tunesmith itself.
    Internal,
    /// The user cancelled.
    Cancelled,
}

impl Outcome {
    /// Whether the run ended as its planner let it end, not for want of a resource, by a defect or by the user.
    pub fn is_of_planner(self) -> bool {
        matches!(self, Outcome::Met | Outcome::NotMet | Outcome::Budget | Outcome::PlannerFailed)
    }

    /// The process exit code of this outcome.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Met => 0,
            Outcome::NotMet => 3,
            Outcome::Budget => 4,
            Outcome::Blocked => 5,
            Outcome::PlannerFailed => 6,
            Outcome::Internal => 70,
            Outcome::Cancelled => 130,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Met => "goal met",
            Outcome::NotMet => "goal not met",
            Outcome::Budget => "budget reached",
            Outcome::Blocked => "blocked",
            Outcome::PlannerFailed => "planner failed",
            Outcome::Internal => "internal error",
            Outcome::Cancelled => "cancelled",
        })
    }
}
