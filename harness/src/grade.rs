//! The sealed grader: scores base, tuned model and shipped file on rows that nobody has seen.

use serde::{Deserialize, Serialize};

/// The grader's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Name of the headline metric: `accuracy` (label-scored) or `exact_match`.
    pub metric: String,
    /// The base on the sealed rows.
    pub base: Measured,
    /// The tuned model on the sealed rows; `None` when no adapter was handed in.
    pub tuned: Option<Measured>,
    /// Tuned minus base on the headline metric.
    pub gain: Option<Gain>,
    /// What needs no model. `None` where a baseline does not apply (generation).
    pub baselines: Baselines,
    /// Shipped files, each with its own score.
    pub artifacts: Vec<Artifact>,
    /// Classification: label texts in order and `counts[truth][prediction]` of the tuned model.
    pub confusion: Option<Confusion>,
    /// Up to ten rows that the tuned model gets wrong.
    pub errors: Vec<WrongRow>,
    /// Rows that the recipe could not turn into an example, by reason.
    pub unusable: Vec<(String, usize)>,
    /// Per sealed row, in file order: base right, tuned right.
    pub items: Vec<(bool, Option<bool>)>,
}

/// One model's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The headline metric as a fraction.
    pub value: f64,
    /// Its 95 % Wilson interval.
    pub interval: (f64, f64),
    /// Rows scored.
    pub n: usize,
    /// Exact match of greedy generation, as the shipped file will be used.
    pub exact_match: f64,
    /// Share of greedy generations that do not have the asked-for form.
    pub format_failures: f64,
}

/// The difference that training made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Tuned minus base.
    pub value: f64,
    /// 95 % interval (paired bootstrap with a fixed seed).
    pub interval: (f64, f64),
    /// Two-sided exact McNemar test.
    pub p_value: f64,
}

/// Scores that need no model, on the same rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// One over the number of labels.
    pub chance: Option<f64>,
    /// Always the most frequent label of the open rows.
    pub majority: Option<f64>,
    /// Multinomial naive Bayes over words of the open rows.
    pub naive_bayes: Option<f64>,
}

/// One shipped file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path relative to the run directory.
    pub path: String,
    /// `gguf`, `adapter`, `safetensors`.
    pub kind: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Score of this very file on the sealed rows, where it is a model.
    pub measured: Option<Measured>,
    /// Why the file failed its check, if it did.
    pub failed: Option<String>,
}

/// Confusion matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Label texts, in order.
    pub labels: Vec<String>,
    /// `counts[truth][prediction]`.
    pub counts: Vec<Vec<usize>>,
}

/// A row that the tuned model gets wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongRow {
    /// The input.
    pub input: String,
    /// What it should have said.
    pub expected: String,
    /// What it said.
    pub got: String,
}
