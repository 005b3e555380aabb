//! `train`: a LoRA adapter on the prepared examples.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    score::{Score, Verdict},
    text::visible,
};
use tunesmith_lm::{
    lora::{TARGETS, Targets},
    model::Model,
    optim::Schedule,
    rows::Tally,
    train::{
        Audit, Select, Spec, Stopped, StorageWarning, Weighting,
        faults::{self, Fault, Finding, Severity, Signal},
        memory::Plan,
    },
};
use tunesmith_sandbox::{Devices, Workdir};

use crate::{
    bases,
    claims::{json, judged, tensors},
    data_prepare::PREPARED,
    files::{existing, inside, read_json, relative, score, typed},
    tool::{Cx, FieldError, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod data;
mod job;
mod outlook;
mod settings;
mod telemetry;

pub use outlook::Outlook;
pub(crate) use outlook::limit;
pub use settings::{Goal, Settings, What};

/// See [`Args`].
pub struct Train;

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
        let data = existing(cx.dir, "/data", &args.data)?;
        let out = directory(cx.dir, args.name.as_deref())?;
        let job = Job {
            base: cx.base.to_path_buf(),
            data: data.clone(),
            out: out.clone(),
            settings: args.into(),
            seed: cx.seed,
            device: cpu(),
            checkpoints: None,
            memory: None,
            dry_run: false,
            started_at: 0.0,
        };
        let reads = bases::reads(cx.base);
        let result = run_work(cx.jobs, cx.dir, &Work::Train(job), reads, (cx.deadline, &cx.cancel), cx.on).await;
        let output: Output = typed(result?)?;
        let provenance = output.provenance.map(|made| Provenance { data: relative(cx.dir, &data), ..made });
        Ok(Output { adapter: relative(cx.dir, &out), provenance, ..output })
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        let mut scores = vec![judged("train.files", adapter(output, dir)), gradients(output), loss(output)];
        scores.extend(overfit(output));
        scores.extend(ends(output));
        scores.extend(found(output));
        if let Some(why) = warning(&output.storage_warnings) {
            scores.push(score("train.storage", None, Verdict::Warn, why));
        }
        if output.stopped == Stopped::Deadline {
            let why = format!(
                "time ran out after {} of {} steps; the {} was kept",
                output.steps.0,
                output.steps.1,
                if output.best_step.is_some() { "best checkpoint" } else { "last state, which was not evaluated," }
            );
            scores.push(score("train.time", None, Verdict::Warn, why));
        }
        scores
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

/// A new directory for an adapter. Nothing is written over: an earlier step's result must stay what it was.
fn directory(dir: &Workdir, name: Option<&str>) -> Result<PathBuf, ToolError> {
    let Some(name) = name else {
        let free = (1..).map(|n| format!("train-{n}")).find_map(|name| {
            let path = dir.join(&name).ok()?;
            (!path.exists()).then_some(path)
        });
        return free.ok_or_else(|| ToolError::Failed("there is no free name for the adapter".into()));
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

/// The adapter is whole: so many numbers as were trained, and each pair of the rank that its config says.
fn adapter(output: &Output, dir: &Workdir) -> Result<String, String> {
    let folder = dir.join(&output.adapter).map_err(|error| error.to_string())?;
    let rank = json(&folder.join("adapter_config.json"))?["r"].as_u64();
    let Some(rank) = rank else { return Err("adapter_config.json names no rank".into()) };
    let shapes = tensors(&folder.join("adapter_model.safetensors"))?;
    let fits = |(name, shape): &(&String, &Vec<usize>)| {
        let inner = if name.contains("lora_A") { shape.first() } else { shape.last() };
        inner.is_some_and(|inner| *inner as u64 == rank)
    };
    if let Some((name, _)) = shapes.iter().find(|tensor| !fits(tensor)) {
        return Err(format!("{} is not of rank {rank}", visible(name)));
    }
    let numbers: usize = shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
    match numbers == output.parameters {
        true => Ok(format!("{} tensors of rank {rank}, {numbers} numbers", shapes.len())),
        false => Err(format!("the adapter holds {numbers} numbers, {} were trained", output.parameters)),
    }
}

fn gradients(output: &Output) -> Score {
    let Audit { reached, tensors } = output.audit;
    let verdict = match () {
        () if tensors == 0 => Verdict::Unknown,
        () if reached == tensors => Verdict::Pass,
        // A tensor without a gradient ends training, so the others were not due yet.
        () => Verdict::Unknown,
    };
    let why = match verdict {
        Verdict::Unknown => {
            format!("gradients reached {reached} of {tensors} trained tensors; the others need more steps")
        }
        _ => format!("gradients reached all {tensors} trained tensors in the first steps"),
    };
    score("train.gradients", Some(reached as f64 / tensors.max(1) as f64), verdict, why)
}

/// Compares the ends of the curve, each over a tenth of it.
fn loss(output: &Output) -> Score {
    let curve: Vec<f64> = output.curve.iter().map(|(_, loss)| *loss).collect();
    let part = (curve.len() / 10).max(1);
    if curve.len() < 2 {
        return score("train.loss", None, Verdict::Unknown, "one step says nothing about the loss".into());
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&curve[..part]), mean(&curve[curve.len() - part..]));
    let signals = faults::signals(&output.curve, &[]);
    let diverging = signals.iter().any(|signal| matches!(signal, Signal::Diverging { .. }));
    let (verdict, what) = match last / first.max(1e-9) {
        _ if diverging => (Verdict::Fail, "rose: it diverged, take a tenth of the learning rate"),
        ratio if ratio > 0.98 => (Verdict::Warn, "hardly fell: take more steps or a higher learning rate"),
        _ => (Verdict::Pass, "fell"),
    };
    score("train.loss", Some(last), verdict, format!("from {first:.3} to {last:.3}, {what}"))
}

fn overfit(output: &Output) -> Option<Score> {
    let least = output.valid_curve.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let (step, last) = output.valid_curve.last().copied()?;
    let rose = faults::overfitting(&output.curve, &output.valid_curve).is_some();
    let (verdict, what) = match rose {
        true => (Verdict::Warn, "rose again; train for fewer epochs"),
        false => (Verdict::Pass, "did not rise again"),
    };
    let kept = output.best_step.map_or(String::new(), |best| format!("; the checkpoint of step {best} was kept"));
    let why = format!("validation loss {least:.3} at best and {last:.3} at step {step}: it {what}{kept}");
    Some(score("train.overfit", Some(last / least.max(1e-9)), verdict, why))
}

fn ends(output: &Output) -> Option<Score> {
    let (ended, tried) = output.ended;
    let share = (tried > 0).then(|| ended as f64 / tried as f64)?;
    let (verdict, note) = match share {
        share if share >= 0.9 => (Verdict::Pass, ""),
        share if share >= 0.5 => (Verdict::Warn, "; train longer"),
        _ => (Verdict::Fail, "; the model did not learn to stop, train longer or check the data"),
    };
    let why = format!("{ended} of {tried} generations on validation prompts ended by themselves{note}");
    Some(score("train.ends", Some(share), verdict, why))
}

/// Findings by the name of their fault, but for what a score of its own says already.
fn found(output: &Output) -> Vec<Score> {
    let said = |finding: &&Finding| {
        let ends = finding.fault == Fault::NeverStops && finding.stage == faults::Stage::After;
        ends || output.signals.iter().any(|signal| signal.to_string() == finding.what)
    };
    let findings: Vec<&Finding> = output.findings.iter().filter(|finding| !said(finding)).collect();
    let of = |fault: Fault| {
        let own: Vec<&&Finding> = findings.iter().filter(|finding| finding.fault == fault).collect();
        let verdict = match own.iter().map(|finding| finding.severity).max()? {
            Severity::Warning => Verdict::Warn,
            Severity::Error => Verdict::Fail,
        };
        let why: Vec<String> = own.iter().map(|finding| format!("{}; {}", finding.what, finding.advice)).collect();
        Some(score(&format!("train.{fault}"), None, verdict, why.join("; ")))
    };
    Fault::ALL.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;
