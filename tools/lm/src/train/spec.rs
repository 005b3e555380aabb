//! What decides a training run.

use serde::{Deserialize, Serialize};

use crate::optim::{Course, Schedule, steps_of};

/// Everything that decides a training run. Names follow PEFT's and transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Passes over the rows.
    pub epochs: usize,
    /// Stops after this many optimizer steps, if that is sooner; the schedule is laid out for it.
    pub max_steps: Option<usize>,
    /// Rows, packs of rows or pairs of answers per optimizer step.
    pub batch_size: usize,
    /// Tokens worked on at a time; a step with more accumulates gradients, with the same result.
    pub micro_tokens: usize,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Warm-up: steps when at least 1, else a share of all steps.
    pub warmup: f64,
    /// Length of the last fall of [`Schedule::WarmupStableDecay`]: steps when at least 1, else a share of all steps.
    pub decay: f64,
    /// Floor of the learning rate of [`Schedule::Cosine`] and [`Schedule::WarmupStableDecay`], as a share of its peak.
    pub min_lr_ratio: f64,
    /// Decoupled weight decay; never on norms and biases.
    pub weight_decay: f64,
    /// LoRA+: how much faster B learns than A (Hayou et al., 2024); 1 is plain LoRA.
    pub loraplus_lr_ratio: f64,
    /// Largest norm of the gradient; `None` does not clip.
    pub max_grad_norm: Option<f64>,
    /// How rows of different lengths count.
    pub weighting: Weighting,
    /// Optimizer steps between evaluations; `None` evaluates after each epoch.
    pub eval_steps: Option<usize>,
    /// Evaluations without improvement before training stops early; `None` never does. With [`Select::Exact`] it also
    /// stops when every row is exact.
    pub patience: Option<usize>,
    /// What "best" means.
    pub select: Select,
    /// Most tokens of rows that are packed to count as one of `batch_size`; `None`: each row counts alone.
    pub packing: Option<usize>,
    /// What is learned from the rows.
    pub objective: Objective,
    /// Whether each epoch takes the rows in another order.
    pub shuffle: bool,
    /// Seed of initial adapters, of the order of rows and of dropout.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            learning_rate: 2e-4,
            epochs: 3,
            max_steps: None,
            batch_size: 16,
            micro_tokens: 4096,
            schedule: Schedule::Linear,
            warmup: 0.0,
            decay: 0.1,
            min_lr_ratio: 0.0,
            weight_decay: 0.0,
            loraplus_lr_ratio: 1.0,
            max_grad_norm: Some(1.0),
            weighting: Weighting::Token,
            eval_steps: None,
            patience: None,
            select: Select::Loss,
            packing: None,
            objective: Objective::Sft,
            shuffle: true,
            seed: 0,
        }
    }
}

impl Spec {
    /// The learning rate of each of `total` steps.
    pub fn course(&self, total: usize) -> Course {
        let Spec { schedule, min_lr_ratio, .. } = *self;
        let (warmup, decay) = (steps_of(self.warmup, total), steps_of(self.decay, total));
        Course { schedule, warmup, decay, total, min_lr_ratio }
    }
}

/// What is learned from the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// To say the trained tokens of each row.
    #[default]
    Sft,
    /// To prefer the chosen to the rejected answer (Rafailov et al., 2023). Rows are pairs, chosen and rejected in turn.
    Dpo {
        /// How strongly the model is held to what it was.
        beta: f64,
    },
}

/// How rows of different lengths count in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// Each trained token of the step counts the same, over all accumulated parts (transformers' rule).
    #[default]
    Token,
    /// Each row counts the same: the mean over its tokens, then over the rows.
    Row,
}

/// Which checkpoint is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The lowest evaluation loss.
    #[default]
    Loss,
    /// The highest share of rows that greedy decoding answers exactly; the loss breaks ties.
    Exact,
}
