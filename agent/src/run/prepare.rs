//! Everything before the planner: the request is checked, rows are read and sealed, the run's directory is laid out.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use serde_json::Value;
use tunesmith_harness::{
    budget::{Caps, Spend},
    event::{Cost, Rows},
    grade, hash,
    recipe::Row,
    rows,
    run::{Input, Manifest, Run, RunError},
    task::{Goal, JobKind, Outcome, Scope, Task},
};
use tunesmith_sandbox::Local;
use tunesmith_tools::{
    bases::{self, Base},
    hub::Hub,
    nano,
    tool::{FieldError, ToolError},
};

use super::{
    Approve, ELSEWHERE, Failure, Options,
    reading::{self, Read},
    sealing::{self, Parts},
    shown,
};
pub use crate::model::spec::Planner;
use crate::{
    model::{ChatModel, spec},
    playbook::{
        self,
        request::{self, Publish, Wanted},
        wishes,
    },
};

/// Most tool calls of a planner that is a language model, where the user sets no limit: nobody may be watching.
pub const STEPS: u32 = 100;

/// Most bytes of a run's directory, where the user sets no limit.
pub const DISK: u64 = 32 << 30;

/// Times that a place which another process takes away is made again.
const TRIES: usize = 100;

/// A run that is ready to be planned.
pub struct Prepared {
    /// Its directory.
    pub run: Run,
    /// What is to be reached, with the targets that the request itself names.
    pub task: Task,
    /// Row counts.
    pub rows: Rows,
    /// The open rows.
    pub open: Vec<Row>,
    /// Their columns.
    pub columns: Vec<String>,
    /// The base as named, and where it is.
    pub base_name: String,
    /// Directory or file of the base.
    pub base: PathBuf,
    /// What the user says to a run that goes on.
    pub instruction: Option<String>,
    /// What was spent on turns that the user took back.
    pub sunk: Spend,
    /// The planner's model; `None` is the playbook.
    pub model: Option<Box<dyn ChatModel>>,
    /// The Hub, where the user allowed its host.
    pub hub: Option<Hub>,
    /// Takes the run's directory away again, should the run not begin.
    pub unbegun: Unbegun,
    /// Columns whose values are answered together, as one JSON object.
    pub answers: Vec<String>,
    /// Where the result is sent once the goal is met.
    pub publish: Option<Publish>,
    /// The user's files as they were read.
    pub inputs: Vec<Input>,
    skipped: Vec<String>,
    hashes: BTreeMap<String, String>,
}

/// What was made for a run that has not begun: removed with this value, unless it is kept.
#[derive(Debug)]
pub struct Unbegun {
    run: Option<PathBuf>,
    /// Directories that were not there before, the deepest first.
    above: Vec<PathBuf>,
    kept: AtomicBool,
}

impl Unbegun {
    /// Before anything is made for a run in `runs_dir`.
    pub fn new(runs_dir: &Path) -> Self {
        let missing = |path: &&Path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err();
        let above = runs_dir.ancestors().take_while(missing).map(Path::to_owned).collect();
        Unbegun { run: None, above, kept: AtomicBool::new(false) }
    }

    /// Takes note of the run that was made.
    pub fn made(&mut self, run: &Run) {
        self.run = Some(run.dir().to_owned());
    }

    /// The run has begun: what there is of it is worth keeping.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        // What cannot be removed is no worse than what is reported already; directories with other things in them stay.
        let _ = self.run.as_ref().map(fs::remove_dir_all);
        self.above.iter().for_each(|dir| drop(fs::remove_dir(dir)));
    }
}

/// Whether runs can be kept in `dir`, found out by making it and something in it; nothing of that stays.
pub fn try_place(dir: &Path) -> Result<(), Failure> {
    let _made = Unbegun::new(dir);
    // Another one that tries the same place may take it away in between.
    let attempt = || fs::create_dir_all(dir).and_then(|()| tempfile::tempdir_in(dir));
    let gone = |tried: &io::Result<_>| tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let mut tried = attempt();
    for _ in 1..TRIES {
        if gone(&tried) {
            tried = attempt();
        }
    }
    tried.map(drop).map_err(|error| Failure::unwritten(dir, &error, ELSEWHERE))
}

/// Reads `--planner`.
pub fn planner(options: &Options) -> Result<Planner, Failure> {
    named(&options.planner)
}

/// Reads the name of a planner; a script must be a file that ends.
pub fn named(spec: &str) -> Result<Planner, Failure> {
    let planner = spec::parse(spec).map_err(|e| Failure::new(2, e))?;
    planner.facts(&|name| std::env::var(name).ok()).map_err(|why| Failure::new(2, why))?;
    if let Planner::Scripted(file) = &planner {
        let wrong = |why| Failure::new(2, format!("--planner scripted: {}: {why}", shown(file)));
        match rows::not_a_file(file) {
            Some(what) => return Err(wrong(format!("{what}, not a file; name a file with one JSON turn a line"))),
            None if !file.exists() => return Err(wrong("there is no such file; check the path".to_owned())),
            None => {}
        }
    }
    Ok(planner)
}

impl Prepared {
    /// Checks the request, seals rows and lays out the run's directory.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let planner = planner(options)?;
        let mut task = options.task.clone();
        let playbook = planner == Planner::Playbook;
        let wanted = request::read(&task.request);
        let wanted = match wanted {
            None if playbook => return Err(Failure::new(5, OUTSIDE)),
            None => Wanted::default(),
            // What the playbook does not do, another planner may; the figures hold for all of them.
            Some(wanted) if !playbook => wanted.figures_only(),
            Some(wanted) => wanted,
        };
        let asked = options.approve == Approve::Ask && std::io::stdin().is_terminal();
        wishes::fill(&wanted, &mut task, (&options.allow, asked)).map_err(|e| Failure::new(5, e))?;
        let model =
            planner.open(&|name| std::env::var(name).ok(), &options.jobs, task.seed).map_err(|e| match planner {
                Planner::Scripted(_) | Planner::Replay(_) => Failure::new(2, e),
                Planner::Local(_) => Failure::new(2, format!("--planner local: {}", e.message)),
                _ => Failure::new(5, format!("the planner cannot be asked: {e}")),
            })?;
        let base_name = task.base.clone().unwrap_or_else(|| bases::NANO.into());
        let cwd = std::env::current_dir().map_err(|e| Failure::new(70, e))?;
        let base = match &options.base {
            Some(path) => Base::Path(cwd.join(path)),
            None => bases::resolve(&base_name, &cwd).map_err(|e| Failure::new(2, e))?,
        };
        wishes::check(&wanted, &base_name, &base).map_err(|e| Failure::new(5, e))?;
        let mut read = reading::read(&task.files)?;
        let mut test = task.test.as_ref().map(|path| test(path, &read)).transpose()?;
        let answers = wanted.answers(&task.request, &read.columns, &read.rows);
        [&mut read].into_iter().chain(&mut test).for_each(|read| read.join(&answers));
        let all = || [&read].into_iter().chain(&test);
        let inputs: Vec<Input> = all().flat_map(Read::inputs).cloned().collect();
        let skipped = all().flat_map(|read| read.skipped.clone()).collect();
        if let Base::Path(base) = &base {
            apart(base, inputs.iter().map(|input| &input.path).chain([&options.dir]))?;
        }
        let parts = Parts::new(task.test_share, read, test.map(|test| test.rows))?;
        let mut unbegun = Unbegun::new(&options.dir);
        let run = Run::create(&options.dir, &task.request, Timestamp::now()).map_err(failure)?;
        unbegun.made(&run);
        let base = match base {
            Base::Path(path) => path,
            Base::Nano => {
                let base = run.base();
                nano::write(&base).map_err(|e| unwritten(&base, &e))?;
                base
            }
        };
        let base_sha256 = tunesmith_lm::model::hash(&base).map_err(|e| Failure::new(2, e))?;
        let (data_sha256, sealed_sha256) = parts.write(&run)?;
        let hashes = [("base", base_sha256), ("data", data_sha256), ("sealed", sealed_sha256)];
        let hashes = hashes.map(|(name, hash)| (name.to_owned(), hash)).into_iter().chain(base_files(&base)?).collect();
        let hub = hub(options)?;
        let Parts { open, columns, rows, .. } = parts;
        let asked = options.ahead.map_or(Cost::NOTHING, |ahead| ahead.asked);
        let (instruction, sunk) = (None, Spend { steps: 0, tokens: asked.tokens, usd: asked.usd });
        Ok(Prepared {
            run,
            task,
            rows,
            open,
            columns,
            base_name,
            base,
            instruction,
            sunk,
            model,
            hub,
            unbegun,
            answers,
            publish: wanted.publish,
            inputs,
            skipped,
            hashes,
        })
    }

    /// A run that is there already, with what it was made of.
    pub fn of_run(run: Run, options: &Options, rows: Rows, model: Option<Box<dyn ChatModel>>) -> Result<Self, Failure> {
        for part in [run.work(), run.base(), run.sealed(), run.outputs(), run.before()] {
            if part.is_symlink() {
                return Err(Failure::new(2, format!("{} is a link; a run's own parts are directories", shown(&part))));
            }
        }
        let manifest = run.manifest().map_err(failure)?;
        let data = run.dir().join(sealing::DATA);
        let read = reading::read(&[data])?;
        let columns = read.columns;
        // A base of the run's own moves with it.
        let base = Some(run.base()).filter(|base| base.join("config.json").is_file()).unwrap_or(manifest.base);
        let hash = tunesmith_lm::model::hash(&base).map_err(|e| Failure::new(5, e))?;
        if manifest.hashes.get("base") != Some(&hash) {
            return Err(Failure::new(5, format!("{} is not the base that the run began with", shown(&base))));
        }
        Ok(Prepared {
            task: options.task.clone(),
            rows,
            open: read.rows,
            columns,
            base_name: options.task.base.clone().unwrap_or_else(|| bases::NANO.into()),
            base,
            instruction: None,
            sunk: Spend::NOTHING,
            model,
            hub: hub(options)?,
            unbegun: Unbegun { run: None, above: Vec::new(), kept: AtomicBool::new(true) },
            answers: Vec::new(),
            publish: None,
            inputs: manifest.inputs,
            skipped: Vec::new(),
            hashes: manifest.hashes,
            run,
        })
    }

    /// The scope that a successful `plan`'s output amounts to. A plan on another base is an error, and so is one of a
    /// kind that the goals cannot be judged by.
    pub fn scope(&self, output: &Value) -> Result<Option<Scope>, ToolError> {
        let base = output.get("base").and_then(Value::as_str);
        if let Some(base) = base.filter(|base| *base != self.base_name) {
            let message = format!("the base of this run is {:?}, not {base:?}; leave it out", self.base_name);
            return Err(ToolError::Invalid(vec![FieldError { pointer: "/base".into(), message }]));
        }
        let scope = self.read_scope(output);
        if let Some(scope) = &scope {
            goals_fit(&self.task.goals, scope.kind)?;
        }
        Ok(scope)
    }

    fn read_scope(&self, output: &Value) -> Option<Scope> {
        let text = |field: &str| output.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(Scope {
            base: self.base_name.clone(),
            base_sha256: self.hashes.get("base")?.clone(),
            data_sha256: self.hashes.get("data")?.clone(),
            kind: serde_json::from_value::<JobKind>(output.get("kind")?.clone()).ok()?,
            input: text("input")?,
            target: text("target")?,
            answer_after: text("answer_after"),
            method: text("method")?,
            max_length: usize::try_from(output.get("max_length")?.as_u64()?).ok()?,
            metric: text("metric")?,
        })
    }

    /// The limits of the run.
    pub fn caps(&self) -> Caps {
        let caps = Caps::of(&self.task);
        Caps { steps: caps.steps.or(self.model.as_ref().map(|_| STEPS)), disk: caps.disk.or(Some(DISK)), ..caps }
    }

    /// What must be approved before a language model plans.
    pub fn asks(&self, options: &Options) -> String {
        let calls = self.caps().steps.map_or_else(String::new, |steps| format!(" with up to {steps} tool calls"));
        format!("let {} plan this run{calls} in {}", options.planner, shown(self.run.dir()))
    }

    /// What the user should know of how the files were read.
    pub fn of_files(&self) -> Vec<String> {
        self.inputs.iter().flat_map(reading::notes).chain(self.skipped.iter().cloned()).collect()
    }

    /// What the user should know before the run begins.
    pub fn notes(&self, options: &Options) -> Vec<String> {
        let rows = self.rows;
        let dropped = if rows.dropped > 0 {
            format!(", {} dropped as repeats of sealed rows", rows.dropped)
        } else {
            String::new()
        };
        let mut notes = vec![format!("{} rows: {} open, {} sealed{dropped}", rows.read, rows.open, rows.sealed)];
        notes.extend(self.of_files());
        if rows.near_groups > 0 {
            notes.push(format!("{} groups of near-copies, each kept on one side", rows.near_groups));
        }
        if rows.templated > 0 {
            notes.push(format!("{} rows are so alike that near-copies may stand on both sides", rows.templated));
        }
        if self.model.is_some()
            && !["scripted:", "replay:", "local:"].iter().any(|here| options.planner.starts_with(here))
        {
            let what = match options.share {
                crate::show::Share::None => "columns, label names of the target, counts and scores, but no row",
                crate::show::Share::Samples => "columns, counts, scores and sample rows",
            };
            notes.push(format!("{} is sent {what}", options.planner));
        }
        match (options.jobs.is_confined(), options.jobs.missing().as_slice()) {
            (false, _) => notes.push("jobs are not confined: --sandbox none".into()),
            (true, []) => {}
            (true, missing) => {
                let names: Vec<String> = missing.iter().map(|(layer, status)| format!("{layer} {status}")).collect();
                notes.push(format!("the sandbox is not whole here: {}; see `tunesmith doctor`", names.join(", ")));
            }
        }
        notes
    }

    /// Writes `run.json`.
    pub fn write_manifest(&self, options: &Options, layers: &[String]) -> Result<(), Failure> {
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created: Timestamp::now(),
            task: self.task.clone(),
            planner: options.planner.clone(),
            device: Some(device()),
            base: self.base.clone(),
            layers: layers.to_vec(),
            inputs: self.inputs.clone(),
            terms: Some(options.terms()),
            hashes: self.hashes.clone(),
        };
        self.run.write_manifest(&manifest).map_err(failure)
    }
}

const OUTSIDE: &str = "this request is outside what the playbook can plan: it fine-tunes a model on rows given with --file \
    (try \"fine-tune a small model to classify ...\"), or name a language model with --planner";

/// The user's test file, which must have the columns of the data.
fn test(path: &Path, data: &Read) -> Result<Read, Failure> {
    let test = reading::read(&[path.to_owned()])?;
    match data.missing_in(&test) {
        None => Ok(test),
        Some(missing) => {
            let why = format!("{}: has no column {missing:?}; a test file needs the columns of the data", shown(path));
            Err(Failure::new(2, why))
        }
    }
}

/// Every layer of the sandbox with its status here.
pub fn layers(jobs: &Local) -> Vec<String> {
    jobs.layers().into_iter().map(|(layer, status)| format!("{layer}: {status}")).collect()
}

/// Refuses a base directory with rows or runs below it: every job may read the base, so the sealed rows would be open.
fn apart<'a>(base: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    let base = real(base);
    let inside = paths.into_iter().find(|path| real(path).starts_with(&base));
    let Some(inside) = inside else { return Ok(()) };
    let why = "lies in the base's directory, which every job may read; keep data and runs outside of it";
    Err(Failure::new(2, format!("{} {why}", shown(inside))))
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|part| Some((part.canonicalize().ok()?, path.strip_prefix(part).ok()?)));
    found.map_or_else(|| path.clone(), |(part, rest)| if rest.as_os_str().is_empty() { part } else { part.join(rest) })
}

/// Hashes of those files of the base that decide what a model reads.
fn base_files(base: &Path) -> Result<Vec<(String, String)>, Failure> {
    // The template stands in a file of its own, or else among the tokenizer's settings.
    let files =
        [("tokenizer", &["tokenizer.json"][..]), ("template", &["chat_template.jinja", "tokenizer_config.json"])];
    let there = files.iter().filter_map(|(name, files)| {
        let mut paths = files.iter().map(|file| base.join(file));
        Some((name, paths.find(|path| path.is_file())?))
    });
    let hashed = there.map(|(name, path)| {
        let hash = hash::sha256_file(&path).map_err(|e| Failure::new(2, format!("{}: {e}", shown(&path))))?;
        Ok(((*name).to_owned(), hash))
    });
    hashed.collect()
}

/// Whether every goal can be judged for a job of this kind.
fn goals_fit(goals: &[Goal], kind: JobKind) -> Result<(), ToolError> {
    let Some(goal) = goals.iter().find(|goal| !grade::is_metric(kind, &goal.metric)) else { return Ok(()) };
    let fitting = grade::METRICS.iter().map(|(name, _)| *name).filter(|name| grade::is_metric(kind, name));
    let written = |name: &str| if grade::less_is_better(name) { format!("{name}<=X") } else { name.to_owned() };
    let fitting: Vec<String> = fitting.map(written).collect();
    let (kind, metric) = (playbook::name(kind), &goal.metric);
    let why = format!("a {kind} has no {metric} to set a goal for; the metrics that work are {}", fitting.join(", "));
    Err(ToolError::Denied(why))
}

/// A file of the run that cannot be written.
pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::unwritten(path, error, ELSEWHERE)
}

fn hub(options: &Options) -> Result<Option<Hub>, Failure> {
    if !crate::hub::allowed(&options.allow) {
        return Ok(None);
    }
    crate::hub::open().map(Some).map_err(|e| Failure::new(5, e))
}

/// What computes: processor architecture and threads.
fn device() -> String {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("cpu {} with {threads} threads", std::env::consts::ARCH)
}

pub(super) fn failure(error: RunError) -> Failure {
    match &error {
        RunError::Io { path, error, .. } => unwritten(path, error),
        RunError::NotARun(_) | RunError::NotAFile { .. } | RunError::Manifest { .. } => {
            Failure::new(Outcome::Internal.exit_code(), error)
        }
    }
}
