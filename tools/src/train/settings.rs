//! Everything that can be said about a training run by hand; the tool's arguments are the part that planners need.

use std::{collections::BTreeMap, ops::RangeBounds};

use serde::{Deserialize, Serialize};
use tunesmith_lm::{
    engine::params::Method,
    error::Result,
    lora::{LoraConfig, Targets},
    optim::Schedule,
    rows,
    train::{Objective, Select, Spec, Weighting},
};

/// Settings of a training run, with the names of PEFT, TRL and transformers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What is trained: an adapter, or every weight.
    pub method: What,
    /// Rank.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Dropout before A.
    pub lora_dropout: f64,
    /// Linear layers that get an adapter: the ends of their names, a regular expression, or `all-linear`.
    pub target_modules: Targets,
    /// Linear layers that do not, although they match.
    pub exclude_modules: Option<Targets>,
    /// Decoder layers that get one; `None`: all.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Ranks of modules, by regular expressions.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of modules, by regular expressions.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Modules that are trained whole beside the adapter.
    pub modules_to_save: Vec<String>,
    /// Whether the scale is alpha / sqrt(r).
    pub use_rslora: bool,
    /// Whether DoRA's magnitudes are trained.
    pub use_dora: bool,
    /// LoRA+: how much faster B learns than A.
    pub loraplus_lr_ratio: f64,
    /// What is learned from rows in TRL's formats; `None`: to answer, from prepared rows.
    pub objective: Option<Goal>,
    /// DPO: how strongly the model is held to what it was.
    pub beta: f64,
    /// Which tokens of rows of messages or text are trained; `None`: completions where rows have them, else everything.
    pub train_on: Option<rows::Train>,
    /// Whether rows are packed to `max_length` tokens.
    pub packing: bool,
    /// Longest row in tokens; `None`: what the base takes, at most 1024.
    pub max_length: Option<usize>,
    /// Share of the rows of a file that is kept for validation.
    pub valid_share: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Passes over the rows.
    pub epochs: usize,
    /// Stops after this many steps.
    pub max_steps: Option<usize>,
    /// Rows, packs or pairs per step.
    pub batch_size: usize,
    /// Tokens worked on at a time.
    pub micro_tokens: usize,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Warm-up: steps from 1 up, below that a share of all steps.
    pub warmup: f64,
    /// Last fall of warmup_stable_decay, likewise.
    pub decay: f64,
    /// Floor of the learning rate as a share of its peak.
    pub min_lr_ratio: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 does not clip.
    pub max_grad_norm: f64,
    /// What counts the same in the loss.
    pub weighting: Weighting,
    /// Steps between evaluations; `None`: each epoch.
    pub eval_steps: Option<usize>,
    /// Evaluations without improvement before training stops; 0 never stops early.
    pub patience: usize,
    /// What the best checkpoint has.
    pub select: Select,
    /// Whether each epoch takes the rows in another order.
    pub shuffle: bool,
}

/// What of the model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An adapter.
    #[default]
    Lora,
    /// Every weight.
    Full,
}

/// What is learned from the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// To answer.
    Sft,
    /// To prefer one answer to another.
    Dpo,
    /// To go on with raw text.
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        let (lora, spec) = (LoraConfig::default(), Spec::default());
        Settings {
            method: What::Lora,
            r: lora.r,
            lora_alpha: lora.lora_alpha,
            lora_dropout: lora.lora_dropout,
            target_modules: lora.target_modules,
            exclude_modules: None,
            layers_to_transform: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: Vec::new(),
            use_rslora: false,
            use_dora: false,
            loraplus_lr_ratio: spec.loraplus_lr_ratio,
            objective: None,
            beta: 0.1,
            train_on: None,
            packing: false,
            max_length: None,
            valid_share: 0.1,
            learning_rate: 2e-3,
            epochs: 10,
            max_steps: None,
            batch_size: 16,
            micro_tokens: spec.micro_tokens,
            schedule: Schedule::Linear,
            warmup: 0.0,
            decay: spec.decay,
            min_lr_ratio: 0.0,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            weighting: Weighting::Row,
            eval_steps: None,
            patience: 3,
            select: Select::Exact,
            shuffle: true,
        }
    }
}

/// Rows that are longer than this are cut where nothing else is asked for (TRL's default).
const MAX_LENGTH: usize = 1024;

impl Settings {
    /// The trainer's settings, for a base that takes `longest` tokens.
    pub fn spec(&self, seed: u64, longest: usize) -> Spec {
        Spec {
            learning_rate: self.learning_rate,
            epochs: self.epochs,
            max_steps: self.max_steps,
            batch_size: self.batch_size,
            micro_tokens: self.micro_tokens,
            schedule: self.schedule,
            warmup: self.warmup,
            decay: self.decay,
            min_lr_ratio: self.min_lr_ratio,
            weight_decay: self.weight_decay,
            loraplus_lr_ratio: self.loraplus_lr_ratio,
            max_grad_norm: Some(self.max_grad_norm).filter(|norm| *norm > 0.0),
            weighting: self.weighting,
            eval_steps: self.eval_steps,
            patience: Some(self.patience).filter(|evaluations| *evaluations > 0),
            select: self.select,
            packing: self.packing.then(|| self.longest(longest)),
            objective: match self.objective {
                Some(Goal::Dpo) => Objective::Dpo { beta: self.beta },
                None | Some(Goal::Sft | Goal::Text) => Objective::Sft,
            },
            shuffle: self.shuffle,
            seed,
        }
    }

    /// Longest row, for a base that takes `longest` tokens.
    pub fn longest(&self, longest: usize) -> usize {
        self.max_length.unwrap_or(MAX_LENGTH).min(longest)
    }

    /// What is trained. `base` is the base's id on the Hub, or a name for people, and `revision` the commit of that id.
    pub fn trained(&self, base: String, revision: Option<String>) -> Result<Method> {
        if self.method == What::Full {
            return Ok(Method::Full);
        }
        let lora = LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: match &self.target_modules {
                Targets::Pattern(name) if name == "all-linear" => Targets::all_linear(),
                targets => targets.clone(),
            },
            exclude_modules: self.exclude_modules.clone(),
            layers_to_transform: self.layers_to_transform.clone(),
            rank_pattern: self.rank_pattern.clone(),
            alpha_pattern: self.alpha_pattern.clone(),
            modules_to_save: self.modules_to_save.clone(),
            base_model_name_or_path: Some(base),
            revision,
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
        };
        lora.check()?;
        Ok(Method::Lora(lora))
    }

    /// Holds every number to its range; the error names the setting.
    pub fn check(&self) -> std::result::Result<(), String> {
        fn within<T: PartialOrd + std::fmt::Display>(
            name: &str,
            value: T,
            range: impl RangeBounds<T>,
            what: &str,
        ) -> std::result::Result<(), String> {
            match range.contains(&value) {
                true => Ok(()),
                false => Err(format!("{name} is {value}, it must be {what}")),
            }
        }
        within("learning_rate", self.learning_rate, 1e-8..=1.0, "between 1e-8 and 1")?;
        within("epochs", self.epochs, 1..=1000, "between 1 and 1000")?;
        within("max_steps", self.max_steps.unwrap_or(1), 1.., "at least 1")?;
        within("r", self.r, 1..=1024, "between 1 and 1024")?;
        within("lora_alpha", self.lora_alpha, 0.001..=1e6, "between 0.001 and 1e6")?;
        within("lora_dropout", self.lora_dropout, 0.0..0.95, "at least 0 and below 0.95")?;
        within("loraplus_lr_ratio", self.loraplus_lr_ratio, 1.0..=1e4, "between 1 and 10000")?;
        within("beta", self.beta, 1e-6..=1e3, "between 1e-6 and 1000")?;
        within("max_length", self.max_length.unwrap_or(2), 2.., "at least 2")?;
        within("valid_share", self.valid_share, 0.0..=0.5, "between 0 and 0.5")?;
        within("batch_size", self.batch_size, 1..=4096, "between 1 and 4096")?;
        within("micro_tokens", self.micro_tokens, 1.., "at least 1")?;
        within("warmup", self.warmup, 0.0..=1e9, "between 0 and 1e9")?;
        within("decay", self.decay, 1e-9..=1e9, "between 1e-9 and 1e9")?;
        within("min_lr_ratio", self.min_lr_ratio, 0.0..1.0, "at least 0 and below 1")?;
        within("weight_decay", self.weight_decay, 0.0..=1.0, "between 0 and 1")?;
        within("max_grad_norm", self.max_grad_norm, 0.0..=1e9, "between 0 and 1e9")?;
        within("eval_steps", self.eval_steps.unwrap_or(1), 1.., "at least 1")?;
        match self.method {
            What::Full if *self != self.without_adapter() => {
                Err("method is full, so settings of adapters change nothing; leave them out".into())
            }
            _ => Ok(()),
        }
    }

    /// The same with the defaults of everything that only adapters have.
    fn without_adapter(&self) -> Self {
        let other = Settings::default();
        Settings {
            r: other.r,
            lora_alpha: other.lora_alpha,
            lora_dropout: other.lora_dropout,
            target_modules: other.target_modules,
            exclude_modules: other.exclude_modules,
            layers_to_transform: other.layers_to_transform,
            rank_pattern: other.rank_pattern,
            alpha_pattern: other.alpha_pattern,
            modules_to_save: other.modules_to_save,
            use_rslora: other.use_rslora,
            use_dora: other.use_dora,
            loraplus_lr_ratio: other.loraplus_lr_ratio,
            ..self.clone()
        }
    }
}
