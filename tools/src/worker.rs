//! Heavy work in a process of its own: the same binary, re-executed inside the sandbox. See ARCHITECTURE.md.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_sandbox::{Cancel, Local, Workdir};

use crate::{
    chat, convert, data_inspect, data_make, data_overlap, data_prepare, eval_tasks, evaluate, generate, grading,
    hub::publish,
    pretraining,
    tool::{Progress, ToolError},
    train,
};

mod caller;
mod serve;
mod standing;

pub use caller::Rates;
pub use serve::Live;
pub use standing::Standing;

/// The first argument of a worker.
pub const WORKER: &str = "worker";

/// What a worker can be asked to do. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// There is one of it in a process.
#[allow(clippy::large_enum_variant)]
pub enum Work {
    /// Looks at a file of rows.
    Inspect(data_inspect::Job),
    /// Turns rows into examples.
    Prepare(data_prepare::Job),
    /// Cleans and splits rows that stay rows.
    PrepareRows(data_prepare::Job),
    /// Looks for eval rows in training rows.
    Overlap(data_overlap::Job),
    /// Reads the files that a spec of rows to make names.
    Gather(data_make::intake::Job),
    /// Trains an adapter.
    Train(train::Job),
    /// Scores a model on examples.
    Evaluate(evaluate::Job),
    /// Scores a model on lm-eval's tasks.
    EvalTasks(eval_tasks::Job),
    /// Generates text.
    Generate(generate::Job),
    /// Writes a merged model.
    Convert(convert::Job),
    /// Pretrains a small base.
    Pretrain(pretraining::Job),
    /// Grades a run on its sealed rows.
    Grade(grading::Job),
    /// Looks at rows that are to be published.
    Outgoing(publish::rows::Job),
    /// Answers one conversation after another; see [`Standing`].
    Chat(chat::Job),
}

/// What a worker reads from its standard input.
#[derive(Serialize, Deserialize)]
struct Order {
    work: Work,
    /// Seconds until the work must have ended.
    seconds: Option<f64>,
}

/// What a worker writes to its standard output, one JSON object per line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// How far it is.
    Progress(Tick),
    /// A result that is already useful, should the rest not be reached.
    Partial(Value),
    /// The result.
    Done(Value),
    /// Why there is none.
    Failed {
        /// In one line.
        message: String,
        /// Whether the disk is full.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        full: bool,
        /// Whether there is too little memory.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        short: bool,
    },
}

/// How far a worker is, without what only its caller can know: rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// What is being done.
    pub what: String,
    /// Units done.
    pub done: usize,
    /// Units in all.
    pub total: usize,
    /// Training loss of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Last evaluation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Tokens worked through since the start of `what`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Share of the machine's measured arithmetic in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<f64>,
    /// Most memory held so far, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// What is worth a line of its own; never left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What went wrong without ending the work; never left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What became of a piece of work.
#[derive(Debug)]
pub struct Outcome {
    /// The result, or why there is none.
    pub result: Result<Value, ToolError>,
    /// The last partial result.
    pub partial: Option<Value>,
}

/// The worker: reads an order, does it, and reports. The binary calls this for `tunesmith worker`.
pub fn worker_main() -> ExitCode {
    serve::main()
}

/// Does `work` in a sandboxed worker that may write `dir` and read `reads`.
pub async fn run_work(
    jobs: &Local,
    dir: &Workdir,
    work: &Work,
    reads: Vec<PathBuf>,
    (deadline, cancel): (Option<Instant>, &Cancel),
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Value, ToolError> {
    run_work_partly(jobs, dir, work, reads, (deadline, cancel), on).await.result
}

/// The same, keeping the last partial result.
pub async fn run_work_partly(
    jobs: &Local,
    dir: &Workdir,
    work: &Work,
    reads: Vec<PathBuf>,
    (deadline, cancel): (Option<Instant>, &Cancel),
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Outcome {
    caller::run(jobs, dir, work, reads, (deadline, cancel), on).await
}

impl Work {
    /// Whether it reads and writes rows on all cores, which take and free small pieces of memory at once. Work with a model
    /// takes the same large pieces again and again.
    fn is_of_rows(&self) -> bool {
        match self {
            Work::Inspect(_) | Work::Prepare(_) | Work::PrepareRows(_) => true,
            Work::Overlap(_) | Work::Gather(_) | Work::Outgoing(_) => true,
            Work::Train(_) | Work::Evaluate(_) | Work::EvalTasks(_) | Work::Generate(_) => false,
            Work::Convert(_) | Work::Pretrain(_) | Work::Grade(_) | Work::Chat(_) => false,
        }
    }

    /// Does it, in this process.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Value> {
        let value = match self {
            Work::Inspect(job) => serde_json::to_value(job.run(live)?),
            Work::Prepare(job) => serde_json::to_value(job.run(live)?),
            Work::PrepareRows(job) => serde_json::to_value(data_prepare::rows::run(job, live)?),
            Work::Overlap(job) => serde_json::to_value(job.run(live)?),
            Work::Gather(job) => serde_json::to_value(job.run()?),
            Work::Train(job) => serde_json::to_value(job.run(live)?),
            Work::Evaluate(job) => serde_json::to_value(job.run(live)?),
            Work::EvalTasks(job) => serde_json::to_value(job.run(live)?),
            Work::Generate(job) => serde_json::to_value(job.run(live)?),
            Work::Convert(job) => serde_json::to_value(job.run(live)?),
            Work::Pretrain(job) => serde_json::to_value(job.run(live)?),
            Work::Grade(job) => serde_json::to_value(job.run(live)?),
            Work::Outgoing(job) => serde_json::to_value(job.run()?),
            Work::Chat(job) => serde_json::to_value(job.run(live)?),
        };
        Ok(value?)
    }
}
