//! What a planner may say of a training: the part of the settings that it sees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_lm::{
    lora::{TARGETS, Targets},
    optim::Schedule,
    train::{Select, Weighting},
};

use super::Settings;
use crate::data_prepare::PREPARED;

/// Trains a LoRA adapter on the prepared examples and keeps the best checkpoint by validation. Writes a directory
/// train-<n> in PEFT's format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Args {
    /// Directory that data_prepare wrote.
    pub data: String,
    /// Peak learning rate: 1e-3 to 5e-3 for bases of a few million parameters, about 2e-4 for large ones.
    #[schemars(range(min = 1e-8, max = 1.0))]
    pub learning_rate: f64,
    /// Passes over the rows.
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Stop after so many steps: for a smoke test.
    #[schemars(range(min = 1))]
    pub max_steps: Option<usize>,
    /// Rank.
    #[schemars(range(min = 1, max = 1024))]
    pub r: usize,
    /// Numerator of the scale.
    #[schemars(range(min = 0.001))]
    pub lora_alpha: f64,
    /// Share of an adapter's inputs that is dropped, against overfitting.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub lora_dropout: f64,
    /// Linear layers that get an adapter; the default is all seven.
    pub target_modules: Vec<Target>,
    /// Rows per step.
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: usize,
    /// Course of the learning rate.
    pub schedule: Course,
    /// Warm-up: steps from 1 up, below that a share of all steps.
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
    /// Weight decay.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// What counts the same in the loss.
    pub weighting: Weigh,
    /// Epochs without improvement before training stops; 0 never stops early.
    pub patience: usize,
    /// The best checkpoint: lowest validation loss, or most exact validation answers.
    pub select: Best,
    /// The directory's name, instead of train-<n>.
    #[schemars(length(min = 1, max = 60))]
    pub name: Option<String>,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            data: PREPARED.to_owned(),
            learning_rate: 2e-3,
            epochs: 10,
            max_steps: None,
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TARGET_ALL.to_vec(),
            batch_size: 16,
            schedule: Course::Linear,
            warmup: 0.0,
            weight_decay: 0.0,
            weighting: Weigh::Row,
            patience: 3,
            select: Best::Exact,
            name: None,
        }
    }
}

/// A linear layer of a decoder block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Target {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

const TARGET_ALL: [Target; 7] =
    [Target::QProj, Target::KProj, Target::VProj, Target::OProj, Target::GateProj, Target::UpProj, Target::DownProj];

/// The course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Course {
    Constant,
    Linear,
    Cosine,
}

/// What counts the same in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Weigh {
    Token,
    Row,
}

/// What the best checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Best {
    Loss,
    Exact,
}

impl From<Args> for Settings {
    fn from(args: Args) -> Self {
        let chosen = |(at, name): (usize, &str)| args.target_modules.contains(&TARGET_ALL[at]).then(|| name.to_owned());
        Settings {
            r: args.r,
            lora_alpha: args.lora_alpha,
            lora_dropout: args.lora_dropout,
            target_modules: Targets::Names(TARGETS.into_iter().enumerate().filter_map(chosen).collect()),
            learning_rate: args.learning_rate,
            epochs: args.epochs,
            max_steps: args.max_steps,
            batch_size: args.batch_size,
            schedule: match args.schedule {
                Course::Constant => Schedule::Constant,
                Course::Linear => Schedule::Linear,
                Course::Cosine => Schedule::Cosine,
            },
            warmup: args.warmup,
            weight_decay: args.weight_decay,
            weighting: match args.weighting {
                Weigh::Token => Weighting::Token,
                Weigh::Row => Weighting::Row,
            },
            patience: args.patience,
            select: match args.select {
                Best::Loss => Select::Loss,
                Best::Exact => Select::Exact,
            },
            ..Settings::default()
        }
    }
}
