//! What is told of a training run: after each step and at its end.

use serde::{Deserialize, Serialize};

use super::{
    audit::Audit,
    checkpoint::StorageWarning,
    faults::{Finding, Signal},
    memory::Plan,
};
use crate::engine::{params::Slots, trained::Params};

/// A finished training run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The trained numbers at the best evaluation (at the end, where none was finished).
    pub params: Params,
    /// Their layout.
    pub slots: Slots,
    /// What happened.
    pub report: Report,
}

/// What happened in a training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Optimizer steps taken and planned.
    pub steps: (usize, usize),
    /// `(step, training loss)` in nats per token (per row with [`Weighting::Row`]).
    pub curve: Vec<(usize, f64)>,
    /// `(step, evaluation loss)`.
    pub valid_curve: Vec<(usize, f64)>,
    /// `(step, share of evaluation rows that are right)`: that greedy decoding answers exactly, given the right tokens so
    /// far; with [`Objective::Dpo`], pairs whose chosen answer has gained more than the rejected one.
    pub exact_curve: Vec<(usize, f64)>,
    /// Step of the best evaluation; `None` where none was finished.
    pub best_step: Option<usize>,
    /// Why it ended.
    pub stopped: Stopped,
    /// The gradient audit.
    pub audit: Audit,
    /// Largest norm of the gradient before clipping.
    pub max_grad_norm: f64,
    /// Tokens worked through in training.
    pub tokens: usize,
    /// Of these, tokens that were predicted.
    pub trained_tokens: usize,
    /// Numbers that were trained.
    pub parameters: usize,
    /// How steps were cut into parts, each from the step after this one on; where memory was short, not as asked.
    #[serde(default)]
    pub plans: Vec<(usize, Plan)>,
    /// What went wrong with files in this process, without ending the run.
    #[serde(default)]
    pub storage_warnings: Vec<StorageWarning>,
    /// Faults that were found and did not stop training.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the curves say at the end.
    #[serde(default)]
    pub signals: Vec<Signal>,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All planned steps were taken.
    #[default]
    Done,
    /// The evaluation had not improved for too long, or could not improve.
    Early,
    /// The deadline came first.
    Deadline,
}

/// How far training is, for whoever watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: usize,
    /// Optimizer steps planned.
    pub total: usize,
    /// Passes over the rows so far, with the part of the last one.
    pub epoch: f64,
    /// Loss of this step.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of this step's gradient before clipping.
    pub grad_norm: f64,
    /// Loss of the last evaluation.
    pub valid_loss: Option<f64>,
    /// Share of exact rows in the last evaluation.
    pub valid_exact: Option<f64>,
    /// Whether that evaluation was made after this step.
    pub evaluated: bool,
    /// Tokens worked through so far by this process.
    pub tokens: usize,
    /// Tokens worked through so far in the whole run, also before it was interrupted.
    pub all_tokens: usize,
    /// Seconds that this process spent in optimizer steps alone; never part of a result.
    pub seconds: f64,
    /// How this step was cut into parts.
    pub plan: Plan,
    /// What went wrong with files since the last call.
    pub warnings: Vec<StorageWarning>,
    /// What the curves say so far, looked at with each evaluation and after each hundredth of the steps.
    pub signals: Vec<Signal>,
}
