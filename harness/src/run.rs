//! A run on disk: its directory, its manifest, and what a list of runs shows.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Kind},
    log::{self, Log, LogError},
    redact,
    rows::not_a_file,
    task::{Outcome, Task},
    text::slug,
};

/// All that a run lays out in its directory.
const PARTS: [&str; 12] = [
    "base",
    "work",
    "sealed",
    "trained",
    "outputs",
    "before",
    "alive",
    "events.jsonl",
    "run.json",
    "report.json",
    "report.md",
    "report.html",
];

/// The directory of a run. What lies where is said here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    dir: PathBuf,
}

/// Why a run cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Making, reading or writing something failed.
    #[error("{}: {error}{advice}", .path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
        /// What to do, where there is something to say.
        advice: &'static str,
    },
    /// A directory that no run made.
    #[error("{}: not a run, because it holds neither events.jsonl nor run.json", .0.display())]
    NotARun(PathBuf),
    /// A directory, pipe or device in the place of a run's file; reading it could wait for ever.
    #[error("{}: {what}, not a file, so this is no run", .path.display())]
    NotAFile {
        /// What was touched.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A manifest that cannot be understood.
    #[error("{}: cannot be read as a manifest: {why}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
}

impl Run {
    /// Makes `runs/<utc>-<slug>` with its parts; a name that is taken gets a number.
    pub fn create(runs_dir: &Path, slug_source: &str, at: Timestamp) -> Result<Run, RunError> {
        let again = || fs::create_dir_all(runs_dir).map_err(|e| io_error(runs_dir, e));
        again()?;
        let stem = format!("{}-{}", at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ"), slug(slug_source));
        let (mut n, mut gone) = (1, 0);
        let dir = loop {
            let dir = runs_dir.join(if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
            match fs::create_dir(&dir) {
                Ok(()) => break dir,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < 10_000 => n += 1,
                // Another run that did not begin took the place away, as it was empty.
                Err(e) if e.kind() == io::ErrorKind::NotFound && gone < 100 => {
                    gone += 1;
                    again()?;
                }
                Err(e) => return Err(io_error(&dir, e)),
            }
        };
        // Jobs get absolute paths, and a run must not move with the current directory.
        let made = dir.canonicalize().map_err(|e| io_error(&dir, e)).and_then(|dir| {
            let run = Run { dir };
            for (path, mode) in [(run.base(), 0o755), (run.work(), 0o755), (run.sealed(), 0o700)] {
                DirBuilder::new().mode(mode).create(&path).map_err(|e| io_error(&path, e))?;
            }
            Ok(run)
        });
        // Half a run is none.
        made.inspect_err(|_| drop(fs::remove_dir_all(&dir)))
    }

    /// Opens a run that is there.
    pub fn open(path: &Path) -> Result<Run, RunError> {
        let dir = path.canonicalize().map_err(|e| io_error(path, e))?;
        let run = Run { dir };
        for path in [run.log(), run.manifest_path()] {
            if let Some(what) = not_a_file(&path) {
                return Err(RunError::NotAFile { path, what });
            }
        }
        if is_run(&run.dir) { Ok(run) } else { Err(RunError::NotARun(path.into())) }
    }

    /// What every run in `runs_dir` came to, oldest first; none where the directory is missing.
    pub fn list(runs_dir: &Path) -> Result<Vec<Summary>, RunError> {
        let entries = match fs::read_dir(runs_dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_error(runs_dir, e)),
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| io_error(runs_dir, e))?.path();
            if is_run(&path) {
                dirs.push(path);
            }
        }
        dirs.sort();
        Ok(dirs.into_iter().map(|dir| Run { dir }.summary()).collect())
    }

    /// What this run came to, as far as its log can be read.
    pub fn summary(&self) -> Summary {
        let scanned = log::scan(&self.log());
        let mut summary = Summary::of(&self.dir, scanned.as_ref().map_or(&[], |history| &history.events));
        summary.running = log::in_use(&self.log());
        summary.problem = match scanned {
            Ok(history) => history.broken.map(|at| LogError::Broken { path: self.log(), at }.to_string()),
            Err(error) => Some(error.to_string()),
        };
        summary
    }

    /// The run's directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The base model, read-only to jobs.
    pub fn base(&self) -> PathBuf {
        self.dir.join("base")
    }

    /// The workdir: all that the sandbox may write.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// The sealed rows, never mounted in the sandbox of a tool.
    pub fn sealed(&self) -> PathBuf {
        self.dir.join("sealed")
    }

    /// Whole outputs of which a planner's model was shown a part.
    pub fn outputs(&self) -> PathBuf {
        self.dir.join("outputs")
    }

    /// The workdir as it was when a turn began, one directory for each turn that can be taken back.
    pub fn before(&self) -> PathBuf {
        self.dir.join("before")
    }

    /// The event log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }

    /// The report in the format of this extension: `json`, `md` or `html`.
    pub fn report(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("report.{extension}"))
    }

    /// Bytes of disk that the run's directory takes, as far as it can be read; links are not followed.
    pub fn bytes(&self) -> u64 {
        bytes_below(&self.dir)
    }

    /// The same of its workdir.
    pub fn work_bytes(&self) -> u64 {
        bytes_below(&self.work())
    }

    /// Names in the run's directory that no run lays out, in order.
    pub fn foreign(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let unfinished = name.starts_with('.') && name.ends_with(".part");
            if !unfinished && !PARTS.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Starts the log of a new run.
    pub fn create_log(&self) -> Result<Log, LogError> {
        Log::create(&self.log())
    }

    /// Writes the manifest; a reader sees the old or the new one, never a part.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), RunError> {
        let unwritable = |why: String| RunError::Manifest { path: self.manifest_path(), why };
        let manifest = redact::record(manifest.clone()).map_err(unwritable)?;
        write_json(&self.manifest_path(), &manifest)
    }

    /// Reads the manifest.
    pub fn manifest(&self) -> Result<Manifest, RunError> {
        let path = self.manifest_path();
        let text = fs::read(&path).map_err(|e| io_error(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| RunError::Manifest { path, why: e.to_string() })
    }

    fn manifest_path(&self) -> PathBuf {
        self.dir.join("run.json")
    }
}

/// What a run is made of: enough to tell whether a second run is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the binary that made the run.
    pub version: String,
    /// When the run was made.
    pub created: Timestamp,
    /// What is to be reached, with seed and budgets.
    pub task: Task,
    /// Who plans, as given to `--planner`.
    pub planner: String,
    /// The base model: a directory or a GGUF file.
    #[serde(default)]
    pub base: PathBuf,
    /// What computes, for example the processor's name and its cores; `None` where it is not known.
    pub device: Option<String>,
    /// The sandbox layers, each with its status as in `files: enforced`; without one in logs of early versions, which name
    /// those in force alone.
    pub layers: Vec<String>,
    /// The user's files as they were read, the test file included.
    pub inputs: Vec<Input>,
    /// What the user has allowed; `None` in runs of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// SHA-256 of everything else that decides the result, by name: `base`, `data`, `sealed`, and `tokenizer` and
    /// `template` where the base has such files. The scope and the recipe are in the log.
    #[serde(default)]
    pub hashes: BTreeMap<String, String>,
}

/// What the user has allowed a run, in the words of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// `--share`.
    pub share: String,
    /// `--approve`.
    pub approve: String,
    /// `--allow`.
    pub allow: Vec<String>,
    /// `--sandbox`.
    pub sandbox: String,
}

/// One of the user's files as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The path, as given.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Rows read from it.
    pub rows: usize,
    /// What is to be said of how it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Lines and records that gave no row and are left out.
    #[serde(default)]
    pub bad_rows: usize,
    /// Why, of the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<String>,
}

/// What a run came to: a fold over its log that also reads runs whose process was killed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The run's directory.
    pub dir: PathBuf,
    /// When it began; `None` when it never came to that.
    pub started: Option<Timestamp>,
    /// The request, as typed.
    pub request: Option<String>,
    /// What it ended as; `None` is unfinished.
    pub outcome: Option<Outcome>,
    /// Why, in one line.
    pub why: Option<String>,
    /// Name of the headline metric.
    pub metric: Option<String>,
    /// The base model on the sealed rows.
    pub base: Option<f64>,
    /// The tuned model on the sealed rows.
    pub tuned: Option<f64>,
    /// Steps (tool calls) begun.
    pub steps: u32,
    /// Whether a process has its log open now.
    pub running: bool,
    /// What is wrong with its log.
    pub problem: Option<String>,
}

impl Summary {
    /// Folds the events of the run in `dir`.
    pub fn of(dir: &Path, events: &[Event]) -> Summary {
        let mut summary = Summary {
            dir: dir.into(),
            started: events.first().map(|event| event.at),
            request: None,
            outcome: None,
            why: None,
            metric: None,
            base: None,
            tuned: None,
            steps: 0,
            running: false,
            problem: None,
        };
        for event in events {
            match &event.kind {
                Kind::Started { task, .. } => summary.request = Some(task.request.clone()),
                Kind::Scoped { scope } => summary.metric = Some(scope.metric.clone()),
                Kind::Called { step, .. } => summary.steps = summary.steps.max(*step),
                Kind::Graded { grade, .. } => {
                    summary.metric = Some(grade.metric.clone());
                    summary.base = Some(grade.base.value);
                    summary.tuned = grade.tuned.as_ref().map(|tuned| tuned.value);
                }
                Kind::Ended { outcome, why, .. } => {
                    summary.outcome = Some(*outcome);
                    summary.why = Some(why.clone());
                }
                Kind::Resumed { .. } => {
                    (summary.outcome, summary.why, summary.base, summary.tuned) = (None, None, None, None);
                }
                Kind::Briefed { .. }
                | Kind::Told { .. }
                | Kind::Instructed { .. }
                | Kind::Undone { .. }
                | Kind::Observed { .. }
                | Kind::Said { .. }
                | Kind::Returned { .. }
                | Kind::Scored { .. }
                | Kind::Amended { .. }
                | Kind::Approved { .. }
                | Kind::Guarded { .. }
                | Kind::Compacted { .. } => {}
            }
        }
        summary
    }
}

/// Writes indented JSON so that readers see all of it or none.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| io_error(path, error.into()))?;
    write_atomically(path, format!("{text}\n").as_bytes())
}

/// Appends a line of JSON to a journal of `len` bytes; it is on the disk when this returns. Where that fails, the journal is
/// what it was.
pub fn append_line(file: &mut File, len: &mut u64, line: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(line)? + "\n";
    match file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
        Ok(()) => *len += text.len() as u64,
        Err(error) => {
            // Making a file shorter needs no space; should it fail, readers drop the half line.
            let _ = file.set_len(*len);
            return Err(error);
        }
    }
    Ok(())
}

/// Writes a file so that readers see all of it or none, also after a crash.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let write = || -> io::Result<()> {
        // The parent of a bare name is empty.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".part");
        // Who may read it is the user's choice, as for every file; temporary ones are closed to others.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| io_error(path, e))
}

/// Bytes on disk of all that is below a directory. What cannot be read, or is gone in the meantime, counts as nothing.
fn bytes_below(dir: &Path) -> u64 {
    let (mut bytes, mut left) = (0, vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * 512;
            left.extend(found.is_dir().then(|| entry.path()));
        }
    }
    bytes
}

fn is_run(dir: &Path) -> bool {
    let (log, manifest) = (dir.join("events.jsonl"), dir.join("run.json"));
    not_a_file(&log).is_none() && not_a_file(&manifest).is_none() && (log.is_file() || manifest.is_file())
}

fn io_error(path: &Path, error: io::Error) -> RunError {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and start again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; choose another place",
        io::ErrorKind::NotADirectory => "; a file stands where a directory should be",
        _ => "",
    };
    RunError::Io { path: path.into(), error, advice }
}

#[cfg(test)]
mod tests;
