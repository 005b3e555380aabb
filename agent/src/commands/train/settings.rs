//! The settings of `tunesmith train`: options, a file, and single lines, each checked where it stands.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tunesmith_tools::train;

use super::Args;
use crate::{
    commands::{
        numbers::{self, whole},
        text, usage,
    },
    run::Failure,
};

/// Settings of the trainer; the defaults are the tool's.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Settings {
    /// What is trained: an adapter, or every weight [default: lora]
    #[arg(long, value_enum)]
    method: Option<What>,
    /// What is learned from rows in TRL's formats [default: prepared rows]
    #[arg(long, value_enum)]
    objective: Option<Goal>,
    /// Pack rows to max_length tokens
    #[arg(long)]
    packing: bool,
    /// Peak learning rate [default: 2e-3]
    #[arg(long, value_name = "X", value_parser = numbers::learning_rate)]
    learning_rate: Option<f64>,
    /// Passes over the rows [default: 10]
    #[arg(long, value_name = "N", value_parser = whole(1..=1000))]
    epochs: Option<usize>,
    /// Stop after so many steps [default: none]
    #[arg(long, value_name = "N", value_parser = whole(1..))]
    max_steps: Option<usize>,
    /// Rank of the adapter [default: 16]
    #[arg(long, value_name = "N", value_parser = whole(1..=1024))]
    r: Option<usize>,
    /// Numerator of the adapter's scale [default: 32]
    #[arg(long, value_name = "X", value_parser = numbers::alpha)]
    lora_alpha: Option<f64>,
    /// Rows per step [default: 16]
    #[arg(long, value_name = "N", value_parser = whole(1..=4096))]
    batch_size: Option<usize>,
    /// Course of the learning rate [default: linear]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Warm-up: steps from 1 up, below that a share of all [default: 0]
    #[arg(long, value_name = "X", value_parser = numbers::warmup)]
    warmup: Option<f64>,
    /// Weight decay [default: 0]
    #[arg(long, value_name = "X", value_parser = numbers::decay)]
    weight_decay: Option<f64>,
    /// Epochs without improvement before training stops; 0 never stops early [default: 3]
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Schedule {
    Constant,
    Linear,
    Cosine,
    #[value(name = "warmup_stable_decay")]
    WarmupStableDecay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
    Lora,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Goal {
    Sft,
    Dpo,
    Text,
}

/// The tool's defaults, then the file, then the options.
pub(super) fn settings(args: &Args) -> Result<train::Settings, Failure> {
    let mut fields = match &args.spec {
        None => Map::new(),
        Some(path) => read(path)?,
    };
    // Each source alone first, so that a mistake is told with where it stands.
    parse(&fields, &args.spec.as_ref().map_or_else(String::new, |path| path.display().to_string()))?;
    for line in &args.set {
        let one = set(line)?;
        parse(&one, &format!("--set {line}"))?;
        fields.extend(one);
    }
    let given = &args.settings;
    let schedule = given.schedule.map(|schedule| match schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
        Schedule::WarmupStableDecay => "warmup_stable_decay",
    });
    let method = given.method.map(|method| match method {
        What::Lora => "lora",
        What::Full => "full",
    });
    let objective = given.objective.map(|objective| match objective {
        Goal::Sft => "sft",
        Goal::Dpo => "dpo",
        Goal::Text => "text",
    });
    let options = [
        ("method", json!(method)),
        ("objective", json!(objective)),
        ("packing", json!(given.packing.then_some(true))),
        ("learning_rate", json!(given.learning_rate)),
        ("epochs", json!(given.epochs)),
        ("max_steps", json!(given.max_steps)),
        ("r", json!(given.r)),
        ("lora_alpha", json!(given.lora_alpha)),
        ("batch_size", json!(given.batch_size)),
        ("schedule", json!(schedule)),
        ("warmup", json!(given.warmup)),
        ("weight_decay", json!(given.weight_decay)),
        ("patience", json!(given.patience)),
    ];
    fields.extend(
        options.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)),
    );
    parse(&fields, "the settings")
}

/// Settings from fields that `source` gives.
fn parse(fields: &Map<String, Value>, source: &str) -> Result<train::Settings, Failure> {
    let wrong = |why: String| usage(format!("{source}: {why}"));
    if let Some((name, _)) = fields.iter().find(|(_, value)| endless(value)) {
        return Err(wrong(format!("{name} must be a finite number")));
    }
    let read = |fields: Map<String, Value>| serde_json::from_value::<train::Settings>(Value::Object(fields));
    let settings = read(fields.clone()).map_err(|error| {
        // A wrong type does not name its field, so that the one which is wrong alone is looked for.
        let alone =
            |(name, value): &(&String, &Value)| read(Map::from_iter([((*name).clone(), (*value).clone())])).is_err();
        let why = error.to_string();
        match fields.iter().find(alone) {
            Some((name, _)) if !why.starts_with("unknown field") => wrong(format!("{name}: {why}")),
            _ => wrong(why),
        }
    })?;
    settings.check().map_err(wrong)?;
    Ok(settings)
}

/// Whether a number of TOML is infinite or none, for which JSON has only null.
fn endless(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(endless),
        Value::Object(fields) => fields.values().any(endless),
        _ => false,
    }
}

/// A setting given as a line of TOML.
fn set(line: &str) -> Result<Map<String, Value>, Failure> {
    let wrong = |why: &str| usage(format!("--set {line}: {why}"));
    let (name, value) = line.split_once('=').ok_or_else(|| wrong("is not NAME=VALUE"))?;
    // A word that is no TOML value is a text, so that quotes need no quoting.
    let quoted = format!("{name}={}", Value::from(value.trim()));
    toml::from_str(line).or_else(|_| toml::from_str(&quoted)).map_err(|_| wrong("is not a setting"))
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let text = text(path)?;
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    toml::from_str(&text).map_err(|error| wrong(one_line(error.to_string())))
}
