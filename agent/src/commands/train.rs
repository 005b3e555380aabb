//! `tunesmith train`: a LoRA adapter, by hand.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tunesmith_harness::{
    figures::{duration, percent},
    text::visible,
};
use tunesmith_lm::engine::device;
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{data_prepare::Job, train, worker::Work};

use super::{
    data::{self, Mapping},
    numbers::{self, whole},
    print, print_json,
    table::count,
    usage,
    work::{Bench, Fresh, holding, input},
};
use crate::run::Failure;

const EXAMPLE: &str = "\
Example:
  tunesmith train --base nano --data tickets.csv --out adapter --learning-rate 3e-3 --epochs 10

--spec is a TOML file with the fields of the tool `train` (see `tunesmith tools --schema`); options go before it.";

/// Train a LoRA adapter in PEFT's format
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Model to start from: nano, a directory or a .gguf file
    #[arg(long, value_name = "MODEL")]
    base: String,
    /// A directory made by `data prepare`, or a file of rows, which is prepared first
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// New directory for the adapter
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Settings, where options do not give them
    #[arg(long, value_name = "FILE.toml")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mapping: Mapping,
    /// Where to compute: cpu, cuda, cuda:N or metal; the others need a build of their own
    #[arg(long, value_name = "DEVICE", default_value_t = train::cpu())]
    device: String,
    /// Seed of adapter, order and split
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Settings of the trainer; the defaults are the tool's.
#[derive(Clone, Debug, Default, clap::Args)]
struct Settings {
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
enum Schedule {
    Constant,
    Linear,
    Cosine,
}

/// Prepares rows where that is needed, and trains.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    device::check(&args.device).map_err(|error| usage(error.to_string()))?;
    let settings = settings(&args)?;
    let bench = Bench::new(cancel)?;
    let (given, base) = (input(&args.data)?, bench.model(&args.base)?);
    let out = Fresh::new(&args.out)?;
    let prepared = if given.is_dir() {
        already(&args)?
    } else {
        // Beside the adapter, so that it can be scored on the same recipe.
        let to = out.path().join("prepared");
        let mapping = args.mapping.args(&bench, &given).await?;
        let job = Job { args: mapping, file: given, base: base.clone(), out: to.clone(), seed: args.seed };
        data::prepare(&bench, job, out.dir()).await?;
        to
    };
    let job = train::Job {
        base: base.clone(),
        data: prepared.clone(),
        out: out.path().to_owned(),
        spec: settings.spec(args.seed),
        r: settings.r,
        lora_alpha: settings.lora_alpha,
        target_modules: settings.targets(),
        device: args.device.clone(),
    };
    let made = bench.run(&Work::Train(job), out.dir(), vec![base, prepared], "train").await?;
    let made = train::Output { adapter: out.keep()?, ..made };
    if args.json {
        print_json(&made)?;
    } else {
        trained(&made, &args).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// A directory that `data prepare` made, which its recipe describes and no option changes.
fn already(args: &Args) -> Result<PathBuf, Failure> {
    let made = "make it with `tunesmith data prepare`, or name the file of rows";
    let dir = holding(&args.data, &["recipe.json", "train.jsonl", "valid.jsonl"], made)?;
    match args.mapping.given().as_slice() {
        [] => Ok(dir),
        given => Err(usage(format!(
            "{}: is prepared already, so {} changes nothing; leave that out, or prepare the rows again with it",
            args.data.display(),
            given.join(" ")
        ))),
    }
}

/// The tool's defaults, then the file, then the options.
fn settings(args: &Args) -> Result<train::Args, Failure> {
    let mut fields = match &args.spec {
        None => Map::new(),
        Some(path) => read(path)?,
    };
    let given = &args.settings;
    let schedule = given.schedule.map(|schedule| match schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
    });
    let options = [
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
    let source = args.spec.as_ref().map_or_else(|| "the settings".to_owned(), |path| path.display().to_string());
    let wrong = |why: String| usage(format!("{source}: {why}"));
    let settings: train::Args =
        serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(error.to_string()))?;
    in_range(&settings).map_err(|name| wrong(format!("{name} is out of range; see `tunesmith tools --schema`")))?;
    Ok(settings)
}

/// Holds a file's settings to the tool's schema, as options are by their parsers; the error is a setting's name.
fn in_range(settings: &train::Args) -> Result<(), &'static str> {
    let checks = [
        ("learning_rate", (1e-8..=1.0).contains(&settings.learning_rate)),
        ("epochs", (1..=1000).contains(&settings.epochs)),
        ("max_steps", settings.max_steps != Some(0)),
        ("r", (1..=1024).contains(&settings.r)),
        ("lora_alpha", (0.001..=1e6).contains(&settings.lora_alpha)),
        ("batch_size", (1..=4096).contains(&settings.batch_size)),
        ("warmup", (0.0..=1e9).contains(&settings.warmup)),
        ("weight_decay", (0.0..=1.0).contains(&settings.weight_decay)),
    ];
    checks.into_iter().find(|(_, good)| !good).map_or(Ok(()), |(name, _)| Err(name))
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let text = super::text(path)?;
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    toml::from_str(&text).map_err(|error| wrong(one_line(error.to_string())))
}

fn trained(made: &train::Output, args: &Args) -> Vec<String> {
    let (first, last) = (made.curve.first().map(|p| p.1), made.curve.last().map(|p| p.1));
    let mut lines = vec![format!(
        "{} of {} steps on {} rows, {}, {:.0} tokens/s, {} numbers trained",
        made.steps.0,
        made.steps.1,
        made.rows.0,
        duration(made.seconds),
        made.tokens_per_second,
        count(made.parameters as u64)
    )];
    if let (Some(first), Some(last)) = (first, last) {
        lines.push(format!("loss {first:.3} to {last:.3}"));
    }
    if let (Some(loss), Some(exact)) = (made.valid_loss, made.valid_exact) {
        let best = made.best_step.map_or(String::new(), |step| format!(" (step {step} was kept)"));
        lines.push(format!("validation: loss {loss:.3}, {} of answers exact{best}", percent(exact)));
    }
    let adapter = visible(&made.adapter);
    lines.push(format!("written to {adapter}"));
    lines.push(format!("next: tunesmith generate --model {} --adapter {adapter} --prompt TEXT", visible(&args.base)));
    lines
}
