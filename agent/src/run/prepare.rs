//! Everything before the planner: the request is checked, rows are read and sealed, the run's directory is laid out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::Value;
use tunesmith_harness::{
    budget::Caps,
    event::Rows,
    hash,
    recipe::Row,
    rows::{self, RowsError},
    run::{Input, Manifest, Run, RunError},
    seal,
    task::{JobKind, Outcome, Scope, Task},
};
use tunesmith_sandbox::{Layer, Local, Status};
use tunesmith_tools::{
    bases::{self, Base},
    hub::Hub,
    nano,
};

use super::{Failure, Options, shown};
pub use crate::model::spec::Planner;
use crate::{
    model::{ChatModel, spec},
    playbook::request,
};

/// Where the open rows stand in the run's directory.
pub const DATA: &str = "work/data/train.jsonl";
/// Where the sealed rows stand in the run's directory.
pub const SEALED: &str = "sealed/rows.jsonl";
/// Most tool calls of a planner that is a language model, where the user sets no limit: nobody may be watching.
const STEPS: u32 = 100;

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
    /// The planner's model; `None` is the playbook.
    pub model: Option<Box<dyn ChatModel>>,
    /// The Hub, where the user allowed its host.
    pub hub: Option<Hub>,
    inputs: Vec<Input>,
    hashes: BTreeMap<String, String>,
}

/// Reads `--planner`.
pub fn planner(options: &Options) -> Result<Planner, Failure> {
    spec::parse(&options.planner).map_err(|e| Failure::new(2, e))
}

impl Prepared {
    /// Checks the request, seals rows and lays out the run's directory.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let planner = planner(options)?;
        let mut task = options.task.clone();
        if planner == Planner::Playbook {
            let wanted = request::read(&task.request).ok_or_else(|| Failure::new(5, OUTSIDE))?;
            if task.goals.is_empty() {
                task.goals = wanted.goals;
            }
        }
        let model = planner
            .open(&|name| std::env::var(name).ok(), task.seed)
            .map_err(|e| Failure::new(5, format!("the planner cannot be asked: {e}")))?;
        let base_name = task.base.clone().unwrap_or_else(|| bases::NANO.into());
        let cwd = std::env::current_dir().map_err(|e| Failure::new(70, e))?;
        let base = bases::resolve(&base_name, &cwd).map_err(|e| Failure::new(2, e))?;
        let (read, inputs) = read_all(&task.files)?;
        let parts = Parts::new(&task, read)?;
        let run = Run::create(&options.dir, &task.request, Timestamp::now()).map_err(failure)?;
        let base = match base {
            Base::Path(path) => path,
            Base::Nano => nano::write(&run.base()).map(|()| run.base()).map_err(|e| Failure::new(70, e))?,
        };
        let base_sha256 = tunesmith_lm::model::hash(&base).map_err(|e| Failure::new(2, e))?;
        let data_sha256 = parts.write(&run)?;
        let hashes = [("base".to_owned(), base_sha256), ("data".to_owned(), data_sha256)].into_iter().collect();
        let hub = hub(options)?;
        let Parts { open, columns, rows, .. } = parts;
        Ok(Prepared { run, task, rows, open, columns, base_name, base, model, hub, inputs, hashes })
    }

    /// The scope that a successful `plan`'s output amounts to.
    pub fn scope(&self, output: &Value) -> Option<Scope> {
        let text = |field: &str| output.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(Scope {
            base: text("base").unwrap_or_else(|| self.base_name.clone()),
            base_sha256: self.hashes.get("base")?.clone(),
            data_sha256: self.hashes.get("data")?.clone(),
            kind: serde_json::from_value::<JobKind>(output.get("kind")?.clone()).ok()?,
            method: text("method")?,
            max_length: usize::try_from(output.get("max_length")?.as_u64()?).ok()?,
            metric: text("metric")?,
        })
    }

    /// The limits of the run.
    pub fn caps(&self, _options: &Options) -> Caps {
        let caps = Caps::of(&self.task);
        Caps { steps: caps.steps.or(self.model.as_ref().map(|_| STEPS)), ..caps }
    }

    /// What must be approved before a language model plans.
    pub fn asks(&self, options: &Options) -> String {
        format!("let {} plan this run, with up to {} tool calls in {}", options.planner, STEPS, shown(self.run.dir()))
    }

    /// What the user should know before the run begins.
    pub fn notes(&self, options: &Options, jobs: &Local) -> Vec<String> {
        let rows = self.rows;
        let dropped = if rows.dropped > 0 {
            format!(", {} dropped as repeats of test rows", rows.dropped)
        } else {
            String::new()
        };
        let mut notes = vec![format!("{} rows: {} open, {} sealed{dropped}", rows.read, rows.open, rows.sealed)];
        if self.model.is_some() && !options.planner.starts_with("scripted:") {
            let what = match options.share {
                crate::show::Share::None => "columns, counts and scores, but no rows",
                crate::show::Share::Samples => "columns, counts, scores and sample rows",
            };
            notes.push(format!("{} is sent {what}", options.planner));
        }
        match (options.confined, jobs.missing().as_slice()) {
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
            scope: None,
            hashes: self.hashes.clone(),
        };
        self.run.write_manifest(&manifest).map_err(failure)
    }
}

const OUTSIDE: &str = "this request is outside what the playbook can plan: it fine-tunes a model on rows given with --file \
    (try \"fine-tune a small model to classify ...\"), or name a language model with --planner";

/// Names of the sandbox layers in force.
pub fn layers(jobs: &Local) -> Vec<String> {
    if !jobs.is_confined() {
        return Vec::new();
    }
    let on = |(layer, status): (Layer, Status)| match status {
        Status::Enforced => Some(layer.to_string()),
        Status::Partial(why) => Some(format!("{layer} (partial: {why})")),
        Status::Unavailable(_) => None,
    };
    jobs.layers().into_iter().filter_map(on).collect()
}

/// Rows of the user's files, all with the same columns.
struct Read {
    columns: Vec<String>,
    rows: Vec<Row>,
}

fn read_all(files: &[PathBuf]) -> Result<(Read, Vec<Input>), Failure> {
    let Some(first) = files.first() else {
        return Err(Failure::new(2, "there is no data: give a CSV, JSON or JSON-lines file with --file"));
    };
    let mut inputs = Vec::new();
    let mut all: Option<Read> = None;
    for path in files {
        let table = rows::read(path).map_err(rows_failure)?;
        let bytes =
            fs::metadata(path).map(|m| m.len()).map_err(|e| Failure::new(2, format!("{}: {e}", shown(path))))?;
        let sha256 = hash::sha256_file(path).map_err(|e| Failure::new(2, format!("{}: {e}", shown(path))))?;
        inputs.push(Input { path: path.clone(), sha256, bytes, rows: table.rows.len() });
        match &mut all {
            None => all = Some(Read { columns: table.columns, rows: table.rows }),
            Some(all) if all.columns == table.columns => all.rows.extend(table.rows),
            Some(_) => {
                let (a, b) = (shown(first), shown(path));
                return Err(Failure::new(2, format!("{a} and {b} have different columns; give files of one kind")));
            }
        }
    }
    all.map(|all| (all, inputs)).ok_or_else(|| Failure::new(2, "there is no data"))
}

/// Whether a file is not there or not usable, it is the command line that has to change.
fn rows_failure(error: RowsError) -> Failure {
    Failure::new(2, error)
}

/// Open and sealed rows.
struct Parts {
    open: Vec<Row>,
    sealed: Vec<Row>,
    columns: Vec<String>,
    rows: Rows,
}

impl Parts {
    fn new(task: &Task, read: Read) -> Result<Self, Failure> {
        let total = read.rows.len();
        let pick = |rows: &[Row], indices: &[usize]| indices.iter().map(|&i| rows[i].clone()).collect::<Vec<Row>>();
        let (open, sealed, dropped) = match &task.test {
            None => {
                let split = seal::split(&read.rows, task.test_share).map_err(|e| Failure::new(5, e))?;
                (pick(&read.rows, &split.open), pick(&read.rows, &split.sealed), 0)
            }
            Some(path) => {
                let test = rows::read(path).map_err(rows_failure)?;
                let cleaned = seal::with_test(&read.rows, &test.rows).map_err(|e| Failure::new(5, e))?;
                (pick(&read.rows, &cleaned.open), test.rows, cleaned.dropped)
            }
        };
        let rows = Rows { read: total, open: open.len(), sealed: sealed.len(), dropped };
        Ok(Parts { open, sealed, columns: read.columns, rows })
    }

    /// Writes both parts; returns the hash of the open one.
    fn write(&self, run: &Run) -> Result<String, Failure> {
        let open = run.dir().join(DATA);
        if let Some(parent) = open.parent() {
            fs::create_dir_all(parent).map_err(|e| unwritten(&open, &e))?;
        }
        rows::write_jsonl(&open, &self.open).map_err(|e| unwritten(&open, &e))?;
        let sealed = run.dir().join(SEALED);
        rows::write_jsonl(&sealed, &self.sealed).map_err(|e| unwritten(&sealed, &e))?;
        hash::sha256_file(&open).map_err(|e| unwritten(&open, &e))
    }
}

/// A file of the run that cannot be written. A full disk is a missing resource, anything else is unexpected.
fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    let (exit, advice) = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            (Outcome::Blocked, "; free some space or keep runs elsewhere with --dir")
        }
        std::io::ErrorKind::PermissionDenied => (Outcome::Blocked, "; keep runs elsewhere with --dir"),
        _ => (Outcome::Internal, ""),
    };
    Failure::new(exit.exit_code(), format!("cannot write {}: {error}{advice}", shown(path)))
}

fn hub(options: &Options) -> Result<Option<Hub>, Failure> {
    let host = |allowed: &String| allowed.strip_prefix("network:").map(str::to_owned);
    if options.allow.iter().filter_map(host).next().is_none() {
        return Ok(None);
    }
    crate::hub::open().map(Some).map_err(|e| Failure::new(5, e))
}

/// What computes: processor architecture and threads.
fn device() -> String {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("cpu {} with {threads} threads", std::env::consts::ARCH)
}

fn failure(error: RunError) -> Failure {
    match &error {
        RunError::Io { path, error, .. } => unwritten(path, error),
        RunError::NotARun(_) | RunError::Manifest { .. } => Failure::new(Outcome::Internal.exit_code(), error),
    }
}
