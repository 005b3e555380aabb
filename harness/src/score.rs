//! One judgement of a step or of a whole run.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_sandbox::Workdir;

/// One judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Who judged, for example `train.gradients` or `schema`.
    pub scorer: String,
    /// The value, where the judgement has one.
    pub value: Option<f64>,
    /// Its 95 % interval, where it has one.
    pub interval: Option<(f64, f64)>,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason in one line.
    pub why: String,
}

/// What a score says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was claimed or asked for holds.
    Pass,
    /// It holds, but something needs attention.
    Warn,
    /// It does not hold.
    Fail,
    /// It could not be told.
    Unknown,
}

/// What a scorer looks at: one step of a run.
pub struct Subject<'a> {
    /// Number of the step, from 1.
    pub step: u32,
    /// Name of the tool that was called.
    pub tool: &'a str,
    /// Its arguments.
    pub args: &'a Value,
    /// Its output, or `None` when it failed.
    pub output: Option<&'a Value>,
    /// The workdir, to check files rather than words.
    pub dir: &'a Workdir,
}

/// Judges steps.
pub trait Scorer: Send + Sync {
    /// Scores `subject`; empty when this scorer has nothing to say about it.
    fn score<'a>(&'a self, subject: &'a Subject<'a>) -> BoxFuture<'a, Vec<Score>>;
}
