//! `tunesmith train`: a LoRA adapter, by hand.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tunesmith_harness::{
    figures::{bytes, counted, duration, percent},
    text::visible,
};
use tunesmith_lm::train::Checkpoint;
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{data_prepare::Job, train, worker::Work};

use super::{
    data::{self, Mapping},
    numbers::{self, whole},
    print, print_json,
    sandbox::size,
    table::count,
    unfinished::{Begun, Unfinished},
    usage,
    work::{Bench, holding, input, remove},
};
use crate::run::Failure;

const EXAMPLE: &str = "\
Example:
  tunesmith train --base nano --data tickets.csv --out adapter --learning-rate 3e-3 --epochs 10

After a crash or a kill the same command with --resume goes on from the last checkpoint, in DIR.partial, to the same bytes.
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
    /// Seed of adapter, order and split
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Go on with an interrupted run of the same command
    #[arg(long)]
    resume: bool,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = Checkpoint::SAVE_STEPS, value_parser = whole(1..))]
    save_steps: usize,
    /// Checkpoints kept, the newest; each holds the best parameters as well
    #[arg(long, value_name = "N", default_value_t = Checkpoint::SAVE_TOTAL_LIMIT, value_parser = whole(1..))]
    save_total_limit: usize,
    /// Most memory to take, for example 512M or 2G [default: what is available]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Say what training would take, and train nothing
    #[arg(long)]
    dry_run: bool,
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
    let settings = settings(&args)?;
    let bench = Bench::new(cancel)?;
    let (given, base) = (input(&args.data)?, bench.model(&args.base)?);
    if args.dry_run {
        return dry_run(&args, &settings, &bench, (given, base)).await;
    }
    let out = match Unfinished::begin(&args.out, args.resume, &FILES)? {
        Begun::Work(out) => out,
        Begun::Finished => return finished(&args),
    };
    let made = make(&args, &settings, &bench, (given, base), &out).await.map_err(|failure| out.failed(failure))?;
    let made = train::Output { adapter: out.keep()?, ..made };
    if args.json {
        print_json(&made)?;
    } else {
        trained(&made, &args).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// What a finished adapter has.
const FILES: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "training.json"];

/// Says that an earlier process finished the run. A loop that calls again after each crash ends here.
fn finished(args: &Args) -> Result<u8, Failure> {
    let adapter = args.out.display().to_string();
    if args.json {
        print_json(&json!({"adapter": adapter, "finished": true}))?;
    } else {
        print(&format!("{} is finished already; nothing is left to do", visible(&adapter)));
    }
    Ok(0)
}

/// The work itself, from the start or from a checkpoint.
async fn make(
    args: &Args,
    settings: &train::Args,
    bench: &Bench<'_>,
    (given, base): (PathBuf, PathBuf),
    out: &Unfinished,
) -> Result<train::Output, Failure> {
    let job = job(args, settings, bench, (given, base.clone()), (&out.path(), out.dir())).await?;
    let checkpoints = train::Checkpoints {
        dir: out.checkpoints(),
        save_steps: args.save_steps,
        save_total_limit: args.save_total_limit,
    };
    let reads = vec![base, job.data.clone()];
    let job = train::Job { checkpoints: Some(checkpoints), ..job };
    bench.run(&Work::Train(job), out.dir(), reads, "train").await
}

/// Prepares and times the same, and says what it would take; nothing of it is kept.
async fn dry_run(
    args: &Args,
    settings: &train::Args,
    bench: &Bench<'_>,
    (given, base): (PathBuf, PathBuf),
) -> Result<u8, Failure> {
    let dir = bench.private()?;
    let job = job(args, settings, bench, (given, base.clone()), (&dir.path().join("adapter"), &dir)).await?;
    let (reads, spec) = (vec![base, job.data.clone()], job.spec.clone());
    let job = train::Job { dry_run: true, ..job };
    let made: train::Output = bench.run(&Work::Train(job), &dir, reads, "train").await?;
    let Some(estimate) = made.estimate else {
        return Err(Failure::new(70, "the worker's answer has no estimate"));
    };
    if args.json {
        print_json(&json!({"rows": made.rows, "estimate": estimate}))?;
    } else {
        let (training, valid) = made.rows;
        let (training, valid) = (counted(training, "row"), counted(valid, "row"));
        print(&format!("{training} to train on and {valid} to validate, {} tokens in all steps", estimate.tokens));
        estimate.lines(&spec).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// The worker's order, without checkpoints; rows are prepared where they are not yet.
async fn job(
    args: &Args,
    settings: &train::Args,
    bench: &Bench<'_>,
    (given, base): (PathBuf, PathBuf),
    (out, dir): (&Path, &Workdir),
) -> Result<train::Job, Failure> {
    let prepared = if given.is_dir() {
        already(args)?
    } else {
        // Beside the adapter, so that it can be scored on the same recipe.
        let to = out.join("prepared");
        // The same rows make the same files, so that what an interrupted process left of them is of no use.
        remove(&to);
        let mapping = args.mapping.args(bench, &given).await?;
        let job = Job { args: mapping, file: given, base: base.clone(), out: to.clone(), seed: args.seed };
        data::prepare(bench, job, dir).await?;
        to
    };
    Ok(train::Job {
        base,
        data: prepared,
        out: out.to_owned(),
        spec: settings.spec(args.seed),
        r: settings.r,
        lora_alpha: settings.lora_alpha,
        target_modules: settings.targets(),
        checkpoints: None,
        memory: args.memory,
        dry_run: false,
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
    })
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
    let resumed = made.resumed_from.map_or(String::new(), |step| format!(", resumed after step {step}"));
    let mut lines = vec![format!(
        "{} of {} steps on {} rows{resumed}, {}, {} numbers trained",
        made.steps.0,
        made.steps.1,
        made.rows.0,
        duration(made.seconds),
        count(made.parameters as u64)
    )];
    // A process that only finished the work of another one took no step of its own.
    let mut speed: Vec<String> = Vec::new();
    speed.extend((made.tokens_per_second > 0.0).then(|| format!("{:.0} tokens/s", made.tokens_per_second)));
    speed.extend(made.utilisation.map(|share| format!("{} of this machine's f32 peak", percent(share))));
    speed.extend(made.peak_memory.map(|most| format!("{} of memory at most", bytes(most))));
    lines.extend((!speed.is_empty()).then(|| speed.join(", ")));
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
