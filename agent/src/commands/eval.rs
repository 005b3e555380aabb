//! `tunesmith eval`: how good a model is, on examples with the grader's own measures, or on lm-eval's tasks.

use std::path::PathBuf;

use clap::Parser;
use tunesmith_harness::eval::{aggregate::Bootstrap, task::FEWSHOT_SEED};
use tunesmith_sandbox::Cancel;

use super::{numbers, require::Require, usage};
use crate::run::Failure;

mod endpoint;
mod examples;
mod outputs;
mod tasks;

pub use tasks::{Score, score};

const EXAMPLE: &str = "\
Examples:
  tunesmith eval --model nano --adapter adapter --data adapter/prepared
  tunesmith eval --model nano --tasks evals/tasks/museum.yaml --out scores
  tunesmith eval --model nano --include evals/tasks --tasks tunesmith --markdown scores.md
  tunesmith eval --model MODEL --tasks 'mmlu_*,arc_easy' --include LM_EVAL/tasks --dataset allenai/ai2_arc=arc --fewshot 5

--data is a directory made by `data prepare` (its validation part), a file of examples with recipe.json beside it, or
a file of rows together with --recipe. --tasks reads lm-eval's task files; data sets of the Hub are read from local
copies that --dataset names. MODEL may also be constant or random, which answer without thinking, or an endpoint as for
--planner, for example url:http://localhost:8000/v1#NAME.

Exit codes: 0 done · 2 usage or bad input · 3 worse than --baseline beyond noise · 5 blocked";

/// Score a model on examples or on lm-eval's tasks; --json prints lm-eval's results object
#[derive(Clone, Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// nano, a directory, a .gguf file or a Hub id; with --tasks also constant, random or an endpoint
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Adapter in PEFT's format [default: none]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Examples to score it on
    #[arg(long, value_name = "PATH", conflicts_with = "tasks", required_unless_present = "tasks")]
    data: Option<PathBuf>,
    /// How rows become examples: the recipe.json of a prepared directory
    #[arg(long, value_name = "FILE", requires = "data")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    tasks: Tasks,
    /// Only the first so many rows; with --tasks of each task, and below 1 a share
    #[arg(long, value_name = "N", value_parser = numbers::positive)]
    limit: Option<f64>,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is asked of lm-eval's tasks.
#[derive(Clone, Debug, clap::Args)]
struct Tasks {
    /// Names of tasks, groups and tags, patterns such as 'mmlu_*', or task files, apart by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Folder with task files; may be repeated
    #[arg(long, value_name = "DIR", requires = "tasks")]
    include: Vec<PathBuf>,
    /// Folder that relative paths of data in task files start from [default: the current one]
    #[arg(long, value_name = "DIR", requires = "tasks")]
    data_dir: Option<PathBuf>,
    /// Local copy of a data set of the Hub, as org/name=PATH or org/name:config=PATH; may be repeated
    #[arg(long, value_name = "NAME=PATH", requires = "tasks")]
    dataset: Vec<String>,
    /// Few-shot examples [default: what each task says]
    #[arg(long, value_name = "N", requires = "tasks", value_parser = numbers::whole(0..=1_000))]
    fewshot: Option<usize>,
    /// Seed of the draws of few-shot examples
    #[arg(long, value_name = "N", requires = "tasks", default_value_t = FEWSHOT_SEED)]
    fewshot_seed: u64,
    /// Render prompts by the model's chat template, examples as turns
    #[arg(long, requires = "tasks")]
    chat_template: bool,
    /// With --chat-template, put the examples into one turn
    #[arg(long, requires = "chat_template")]
    one_turn: bool,
    /// Instruction before everything else
    #[arg(long, value_name = "TEXT", requires = "tasks")]
    system: Option<String>,
    /// Column whose equal values mark rows that depend on each other, for the intervals
    #[arg(long, value_name = "COLUMN", requires = "tasks")]
    cluster: Option<String>,
    /// Resamples behind standard errors that have no formula
    #[arg(long, value_name = "N", requires = "tasks", default_value_t = Bootstrap::ITERATIONS,
        value_parser = numbers::whole(0..=Bootstrap::MOST as u64))]
    bootstrap_iters: usize,
    /// Keep answers, results and samples here
    #[arg(long, value_name = "DIR", requires = "tasks")]
    out: Option<PathBuf>,
    /// Go on with what an interrupted evaluation left in --out
    #[arg(long, requires = "out")]
    resume: bool,
    /// Keep answers of this model here for later evaluations, and use those that are there
    #[arg(long, value_name = "DIR", requires = "tasks")]
    cache: Option<PathBuf>,
    /// Sequences computed side by side, or requests to an endpoint; fewer need less memory [default: 32; endpoints 8]
    #[arg(long, value_name = "N", requires = "tasks", value_parser = numbers::whole(1..=4_096))]
    batch_size: Option<usize>,
    /// Say what would be asked, and ask nothing
    #[arg(long, requires = "tasks")]
    dry_run: bool,
    #[command(flatten)]
    outputs: outputs::Outputs,
}

/// Scores.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    match &args.data {
        Some(data) => {
            let limit = args.limit.map(whole).transpose()?;
            examples::main(&args, data, limit, cancel).await
        }
        None => tasks::main(&args, cancel).await,
    }
}

fn whole(limit: f64) -> Result<usize, Failure> {
    if limit >= 1.0 && limit.fract() == 0.0 {
        return Ok(limit as usize);
    }
    Err(usage("--limit must be a whole number of examples with --data"))
}
