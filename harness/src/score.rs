//! One judgement of a step or of a whole run.

use serde::{Deserialize, Serialize};

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

impl Verdict {
    /// Its name, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }
}
