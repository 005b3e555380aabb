//! `tunesmith train`: a LoRA adapter, by hand.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tunesmith_harness::{
    figures::{bytes, counted, duration, percent},
    text::visible,
};
use tunesmith_lm::{engine::device, train::Checkpoint};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    data_prepare::{Job, Part, Preparation},
    files::{name, part},
    inputs::Named,
    train,
    worker::Work,
};

use super::{
    data::{self, Mapping},
    numbers::whole,
    print, print_json,
    require::Require,
    sandbox::size,
    table::count,
    unfinished::{Begun, Unfinished},
    usage,
    work::{Bench, found, holding, remove},
};
use crate::run::Failure;

mod settings;

use settings::{Settings, settings};

const EXAMPLE: &str = "\
Example:
  tunesmith train --base nano --data tickets.csv --out adapter --learning-rate 3e-3 --epochs 10

After a crash or a kill the same command with --resume goes on from the last checkpoint, in DIR.partial, to the same bytes.
A file of rows is prepared first (see `tunesmith data prepare --help`), unless --objective says what its rows are: messages,
prompt and completion, text, ShareGPT's conversations, or Alpaca's instruction, input and output (sft), prompt, chosen and
rejected (dpo), or text (text, also a .txt file); then --data may also be a folder or a pattern.

--spec is a TOML file of settings, and --set gives one: lora_dropout, target_modules (names, a regular expression or all-linear),
exclude_modules, layers_to_transform, rank_pattern, alpha_pattern, modules_to_save, use_rslora, use_dora, loraplus_lr_ratio,
beta, train_on (full, completion, assistant), max_length, valid_share, micro_tokens, decay, min_lr_ratio, max_grad_norm,
weighting (row, token), eval_steps, select (exact, loss), shuffle, and those of the options, which go before both.";

/// Train a LoRA adapter in PEFT's format, or a whole model
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Model to start from: nano, a directory, a .gguf file or a Hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "MODEL")]
    base: String,
    /// A directory made by `data prepare`, or a file of rows, which is prepared first; with --objective any files of rows
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// New directory for the adapter
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Settings, where options do not give them
    #[arg(long, value_name = "FILE.toml")]
    spec: Option<PathBuf>,
    /// One setting, as in a line of that file
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
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
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Rows as they are named, and what must be readable for them.
type Given = (PathBuf, PathBuf);

/// Prepares rows where that is needed, and trains.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    device::check(&args.device).map_err(|error| usage(error.to_string()))?;
    let settings = settings(&args)?;
    let bench = Bench::new(&args.require, cancel)?;
    let (given, base) = (found(&args.data)?, bench.model(&args.base).await?);
    if args.dry_run {
        return dry_run(&args, &settings, &bench, (given, base)).await;
    }
    let out = match Unfinished::begin(&args.out, args.resume, files(&settings))? {
        Begun::Work(out) => out,
        Begun::Finished => return finished(&args),
    };
    let made = make(&args, &settings, &bench, (given, base), &out).await.map_err(|failure| out.failed(failure))?;
    let made = train::Output { adapter: out.keep()?, ..made };
    if args.json {
        print_json(&made)?;
    } else {
        trained(&made, &args, &settings).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// What a finished result has.
fn files(settings: &train::Settings) -> &'static [&'static str] {
    match settings.method {
        train::What::Lora => &["adapter_config.json", "adapter_model.safetensors", "training.json"],
        train::What::Full => &["config.json", "model.safetensors", "training.json"],
    }
}

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
    settings: &train::Settings,
    bench: &Bench<'_>,
    (given, base): (Given, PathBuf),
    out: &Unfinished,
) -> Result<train::Output, Failure> {
    let reads = vec![base.clone(), given.1.clone()];
    let job = job(args, settings, bench, (given, base), (&out.path(), out.dir())).await?;
    let checkpoints = train::Checkpoints {
        dir: out.checkpoints(),
        save_steps: args.save_steps,
        save_total_limit: args.save_total_limit,
    };
    let job = train::Job { checkpoints: Some(checkpoints), ..job };
    bench.run(&Work::Train(job), out.dir(), reads, "train").await
}

/// Prepares and times the same, and says what it would take; nothing of it is kept.
async fn dry_run(
    args: &Args,
    settings: &train::Settings,
    bench: &Bench<'_>,
    (given, base): (Given, PathBuf),
) -> Result<u8, Failure> {
    let dir = bench.private()?;
    let reads = vec![base.clone(), given.1.clone()];
    let job = job(args, settings, bench, (given, base), (&dir.path().join("adapter"), &dir)).await?;
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
        estimate.lines(settings.micro_tokens).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// The worker's order, without checkpoints; rows are prepared where they are not yet.
async fn job(
    args: &Args,
    settings: &train::Settings,
    bench: &Bench<'_>,
    ((given, folder), base): (Given, PathBuf),
    (out, dir): (&Path, &Workdir),
) -> Result<train::Job, Failure> {
    let prepared = given.join("recipe.json").is_file() || (given.is_dir() && settings.objective.is_none());
    let data = if prepared {
        already(args)?
    } else if settings.objective.is_some() {
        raw(args)?;
        given
    } else if given != folder {
        let why = "is a pattern; name --objective for files in TRL's formats, or one file to prepare";
        return Err(usage(format!("{}: {why}", args.data.display())));
    } else {
        // Beside the adapter, so that it can be scored on the same recipe.
        let to = out.join("prepared");
        // The same rows make the same files, so that what an interrupted process left of them is of no use.
        remove(&to);
        let mut recipe = Preparation { seed: args.seed, ..Preparation::default() };
        let files = vec![Named { name: args.data.display().to_string(), path: given.clone() }];
        args.mapping.fill(&mut recipe, bench, (&files, &[given])).await?;
        let job = Job { recipe, files, against: Vec::new(), base: Some(base.clone()), out: to.clone() };
        data::prepare(bench, job, dir).await?;
        to
    };
    Ok(train::Job {
        base,
        data,
        out: out.to_owned(),
        settings: settings.clone(),
        seed: args.seed,
        device: args.device.clone(),
        checkpoints: None,
        memory: args.memory,
        dry_run: false,
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
    })
}

/// Rows in TRL's formats, ShareGPT's or Alpaca's, whose columns have their names already.
fn raw(args: &Args) -> Result<(), Failure> {
    match args.mapping.given().as_slice() {
        [] => Ok(()),
        given => Err(usage(format!(
            "{} maps columns for rows that are prepared; with an objective, rows have a format of their own: leave one out",
            given.join(" ")
        ))),
    }
}

/// A directory that `data prepare` made, which its recipe describes and no option changes.
fn already(args: &Args) -> Result<PathBuf, Failure> {
    let made = "make it with `tunesmith data prepare`, or name the file of rows";
    let parts = [Part::Train, Part::Valid].map(|of| name(&part(&args.data, of)));
    let dir = holding(&args.data, &["recipe.json", &parts[0], &parts[1]], made)?;
    match args.mapping.given().as_slice() {
        [] => Ok(dir),
        given => Err(usage(format!(
            "{}: is prepared already, so {} changes nothing; leave that out, or prepare the rows again with it",
            args.data.display(),
            given.join(" ")
        ))),
    }
}

fn trained(made: &train::Output, args: &Args, settings: &train::Settings) -> Vec<String> {
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
        let what = if settings.objective == Some(train::Goal::Dpo) { "pairs told apart" } else { "answers exact" };
        lines.push(format!("validation: loss {loss:.3}, {} of {what}{best}", percent(exact)));
    }
    if let Some(tally) = &made.tally {
        let tokens = [tally.trained, tally.tokens].map(|tokens| count(tokens as u64));
        lines.push(format!("{} of {} tokens of the rows are trained", tokens[0], tokens[1]));
        lines.extend(tally.warnings().iter().map(|warning| format!("warning: {warning}")));
    }
    let adapter = visible(&made.adapter);
    lines.push(format!("written to {adapter}"));
    lines.push(match settings.method {
        train::What::Lora => {
            format!("next: tunesmith generate --model {} --adapter {adapter} --prompt TEXT", visible(&args.base))
        }
        train::What::Full => format!("next: tunesmith generate --model {adapter} --prompt TEXT"),
    });
    lines
}
