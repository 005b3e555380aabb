//! `train`: a LoRA adapter on the prepared examples.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tunesmith_harness::score::Score;
use tunesmith_lm::{
    model::Model,
    rows::Tally,
    train::{
        Audit, Checkpoint, Spec, Stopped, StorageWarning,
        faults::{self, Fault, Finding, Signal},
        memory::Plan,
    },
};
use tunesmith_sandbox::{Devices, Workdir};

use crate::{
    bases,
    files::{existing, inside, read_json, relative, typed},
    tool::{Cx, FieldError, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod args;
mod data;
mod job;
mod outlook;
mod scores;
mod settings;
mod telemetry;

pub use args::{Args, Best, Course, Target, Weigh};
pub use outlook::Outlook;
pub(crate) use outlook::limit;
pub use settings::{Goal, Settings, What};

/// See [`Args`].
pub struct Train;

/// Where an adapter comes from, as the process that made it saw it. The grader takes an adapter only with what is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// SHA-256 of the base.
    pub base_sha256: String,
    /// The seed.
    pub seed: u64,
    /// The file of rows or the prepared directory, relative to the workdir.
    pub data: String,
    /// SHA-256 of each file that was trained on, by its name.
    pub data_sha256: BTreeMap<String, String>,
    /// Size and SHA-256 of each file of the adapter, by its name.
    pub files: BTreeMap<String, (u64, String)>,
}

/// What training did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The adapter's directory, relative to the workdir.
    pub adapter: String,
    /// What it was made of, and the files that were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Examples trained on and validated on.
    pub rows: (usize, usize),
    /// What happened to the rows of a file; null for prepared ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// Steps taken and planned.
    pub steps: (usize, usize),
    /// Why it ended.
    pub stopped: Stopped,
    /// `(step, training loss)`, at most 200 points.
    pub curve: Vec<(usize, f64)>,
    /// `(step, validation loss)`.
    pub valid_curve: Vec<(usize, f64)>,
    /// `(step, share of validation answers that are exactly right)`, given the right words so far.
    pub exact_curve: Vec<(usize, f64)>,
    /// Step of the checkpoint that was kept; null where none was evaluated and the last state was kept.
    pub best_step: Option<usize>,
    /// Its validation loss.
    pub valid_loss: Option<f64>,
    /// Its share of exact validation answers.
    pub valid_exact: Option<f64>,
    /// The gradient audit.
    pub audit: Audit,
    /// Largest norm of the gradient before clipping.
    pub max_grad_norm: f64,
    /// Numbers trained.
    pub parameters: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// Tokens per second of optimizer steps alone, without evaluations.
    pub tokens_per_second: f64,
    /// Of a few generations on validation prompts, how many ended by themselves: `(ended, tried)`.
    pub ended: (usize, usize),
    /// What the run was expected to take before it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Outlook>,
    /// How steps were cut into parts, each from the step after this one on.
    #[serde(default)]
    pub plans: Vec<(usize, Plan)>,
    /// Most memory that the training process held, in bytes; null where that is unknown.
    #[serde(default)]
    pub peak_memory: Option<u64>,
    /// Share of the machine's measured f32 arithmetic that the steps used; null where that is unknown.
    #[serde(default)]
    pub utilisation: Option<f64>,
    /// The step after which an interrupted run was gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<usize>,
    /// What went wrong with files without ending the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_warnings: Vec<StorageWarning>,
    /// Silent failures that were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Loss of general text before and after, in nats per token; null where there was no time for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub general_loss: Option<(f64, f64)>,
    /// What the curves of losses say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The base model.
    pub base: PathBuf,
    /// Directory of recipe.json, train.jsonl and valid.jsonl, or a file of rows in TRL's formats.
    pub data: PathBuf,
    /// Directory to write.
    pub out: PathBuf,
    /// How it is trained.
    pub settings: Settings,
    /// Seed of the adapter, the order of rows, dropout, and what is kept for validation.
    pub seed: u64,
    /// Where training computes: `cpu`, `cuda`, `cuda:N` or `metal`.
    #[serde(default = "cpu")]
    pub device: String,
    /// Checkpoints, from which an interrupted run is gone on with; null saves none.
    #[serde(default)]
    pub checkpoints: Option<Checkpoints>,
    /// Most bytes that the worker may hold; null: what the machine has.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Whether it only says what training would take.
    #[serde(default)]
    pub dry_run: bool,
    /// Unix time at the start, in seconds, for the event files of TensorBoard alone.
    #[serde(default)]
    pub started_at: f64,
}

/// Where and how often the state of a run is saved. Names follow transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Their directory.
    pub dir: PathBuf,
    /// Optimizer steps between two.
    pub save_steps: usize,
    /// How many are kept.
    pub save_total_limit: usize,
}

impl Tool for Train {
    const NAME: &'static str = "train";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let out = directory(cx.dir, args.name.as_deref())?;
        // What trainings before this one have left; all of them have returned.
        let _ = inside(cx.dir, "/name", CHECKPOINTS).map(std::fs::remove_dir_all);
        train(cx, args, out).await
    }

    /// Goes on from the last checkpoint of what was interrupted.
    async fn call_again(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let out = match &args.name {
            // It was free when the call began.
            Some(name) => inside(cx.dir, "/name", name)?,
            None => begun(cx.dir).map_or_else(|| directory(cx.dir, None), Ok)?,
        };
        train(cx, args, out).await
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        scores::scores(output, dir)
    }
}

impl Job {
    /// Trains, evaluates, and writes the adapter.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        job::run(self, live)
    }

    /// The devices that the worker needs.
    pub(crate) fn devices(&self) -> Devices {
        if self.device.starts_with("cuda") { Devices::Gpu } else { Devices::None }
    }
}

/// Trains into `out`, a directory of the workdir, with checkpoints beside it that go when it is done.
async fn train(cx: &Cx<'_>, args: Args, out: PathBuf) -> Result<Output, ToolError> {
    let data = existing(cx.dir, "/data", &args.data)?;
    let checkpoints = inside(cx.dir, "/name", &format!("{CHECKPOINTS}/{}", relative(cx.dir, &out)))?;
    // Its name says which directory is being written, should this process die.
    std::fs::create_dir_all(&checkpoints).map_err(|error| ToolError::Failed(format!("{CHECKPOINTS}: {error}")))?;
    let job = Job {
        base: cx.base.to_path_buf(),
        data: data.clone(),
        out: out.clone(),
        settings: args.into(),
        seed: cx.seed,
        device: cpu(),
        checkpoints: Some(Checkpoints {
            dir: checkpoints.clone(),
            save_steps: Checkpoint::SAVE_STEPS,
            save_total_limit: 1,
        }),
        memory: None,
        dry_run: false,
        started_at: 0.0,
    };
    let reads = bases::reads(cx.base);
    let result = run_work(cx.jobs, cx.dir, &Work::Train(job), reads, (cx.deadline, &cx.cancel), cx.on).await;
    let output: Output = typed(result?)?;
    // What cannot be removed costs space and nothing else. The name stays until the next training: the caller has not
    // written down yet that this one is done.
    let _ = std::fs::remove_dir_all(&checkpoints).and_then(|()| std::fs::create_dir(&checkpoints));
    let provenance = output.provenance.map(|made| Provenance { data: relative(cx.dir, &data), ..made });
    Ok(Output { adapter: relative(cx.dir, &out), provenance, ..output })
}

/// Storage warnings in one line; `None` where there are none.
pub fn warning(warnings: &[StorageWarning]) -> Option<String> {
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// The SHA-256 of the base that an adapter was trained on, as its training.json says.
pub fn base_of(adapter: &Path) -> anyhow::Result<String> {
    let record: Record = read_json(&adapter.join(RECORD)).context("it is not known what the adapter was trained on")?;
    Ok(record.base_sha256)
}

/// Refuses to put an adapter on another base, or under another chat template, than it was trained with; of an adapter
/// made elsewhere this is not known.
pub fn check_origin(adapter: &Path, model: &Model) -> anyhow::Result<()> {
    if !adapter.join(RECORD).is_file() {
        return Ok(());
    }
    let record: Record = read_json(&adapter.join(RECORD))?;
    if record.base_sha256 != model.sha256 {
        bail!(
            "{}: the adapter was trained on another base (sha256 {}), with other numbers; give that one",
            Fault::MergeDiffers,
            record.base_sha256
        );
    }
    let template = model.chat.as_ref().map(faults::template_sha256);
    if record.template_sha256.is_some() && record.template_sha256 != template {
        bail!("{}: the adapter was trained with another chat template; use the base as it was", Fault::TemplateDiffers);
    }
    Ok(())
}

/// The device that is everywhere.
pub fn cpu() -> String {
    "cpu".to_owned()
}

/// The file of an adapter that holds its numbers.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// The file beside an adapter that says how it was made.
const RECORD: &str = "training.json";

/// The files of an adapter: what it changes, its numbers, and how it was made.
pub const FILES: [&str; 3] = ["adapter_config.json", WEIGHTS, RECORD];

/// How an adapter was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    base_sha256: String,
    data_sha256: String,
    #[serde(default)]
    template_sha256: Option<String>,
    spec: Spec,
    /// The bytes of an adapter depend on it.
    #[serde(default = "cpu")]
    device: String,
}

/// Where checkpoints are, in the workdir.
const CHECKPOINTS: &str = ".checkpoints";

/// The directory without a name of the planner's that an interrupted training was writing.
fn begun(dir: &Workdir) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir.join(CHECKPOINTS).ok()?).ok()?;
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let numbered = |name: &String| name.strip_prefix("train-").is_some_and(|n| n.parse::<u32>().is_ok());
    dir.join(&names.find(numbered)?).ok()
}

/// A new directory for an adapter. Nothing is written over: an earlier step's result must stay what it was.
fn directory(dir: &Workdir, name: Option<&str>) -> Result<PathBuf, ToolError> {
    let Some(name) = name else {
        let mut paths = (1..).map_while(|n| dir.join(&format!("train-{n}")).ok());
        let found = paths.find(|path| !path.exists());
        return found.ok_or_else(|| ToolError::Failed("there is no free name for the adapter".into()));
    };
    let path = inside(dir, "/name", name)?;
    let refuse = |message: &str| {
        Err(ToolError::Invalid(vec![FieldError { pointer: "/name".into(), message: message.to_owned() }]))
    };
    if path.parent() != Some(dir.path()) {
        return refuse("must be one name without slashes");
    }
    if path.exists() { refuse("is there already; choose another one") } else { Ok(path) }
}

#[cfg(test)]
mod tests;
