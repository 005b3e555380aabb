//! One piece of work by hand: the same worker as in a run, in the same sandbox.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    bases::{self, Base},
    nano,
    tool::{Progress, ToolError},
    worker::{Work, run_work},
};

use super::{stop::CANCELLED, usage};
use crate::{
    run::{Failure, Watch},
    terminal::Terminal,
};

/// Where by-hand work is done, and where the bundled base is unpacked for it.
pub struct Bench<'a> {
    jobs: Local,
    scratch: TempDir,
    cancel: &'a Cancel,
}

impl<'a> Bench<'a> {
    /// A place of its own, removed at the end.
    pub fn new(cancel: &'a Cancel) -> Result<Self, Failure> {
        let scratch = tempfile::tempdir()
            .map_err(|error| Failure::new(70, format!("no temporary directory can be made: {error}; set TMPDIR")))?;
        let jobs = Local::new();
        let missing: Vec<String> = jobs.missing().iter().map(|(layer, status)| format!("{layer} {status}")).collect();
        if !missing.is_empty() {
            eprintln!("warning: the sandbox is not whole here: {}", visible(&missing.join(", ")));
        }
        Ok(Bench { jobs, scratch, cancel })
    }

    /// The directory or file of a MODEL as the user names it.
    pub fn model(&self, name: &str) -> Result<PathBuf, Failure> {
        let base = bases::resolve(name, Path::new("")).map_err(|error| usage(error.to_string()))?;
        let path = match base {
            Base::Path(path) => path,
            Base::Nano => {
                let path = self.scratch.path().join("base");
                nano::write(&path).map_err(|error| Failure::new(70, format!("{}: {error}", path.display())))?;
                path
            }
        };
        path.canonicalize().map_err(|error| usage(format!("{name}: {error}")))
    }

    /// A directory that only this piece of work uses.
    pub fn private(&self) -> Result<Workdir, Failure> {
        let path = self.scratch.path().join("work");
        Workdir::create(&path).map_err(|error| Failure::new(70, format!("{}: {error}", path.display())))
    }

    /// Does the work, with its progress on standard error.
    pub async fn run<T: DeserializeOwned>(
        &self,
        work: &Work,
        dir: &Workdir,
        reads: Vec<PathBuf>,
        label: &str,
    ) -> Result<T, Failure> {
        let terminal = Terminal::progress_only(label);
        let on = |progress: Progress| terminal.progress(&progress);
        let result = run_work(&self.jobs, dir, work, reads, (None, self.cancel), &on).await;
        terminal.clear();
        tidy(dir);
        let value = result.map_err(failure)?;
        serde_json::from_value(value)
            .map_err(|error| Failure::new(70, format!("the worker's answer is damaged: {error}")))
    }
}

/// Removes the directory for temporary files that the sandbox makes in a workdir, where a job left nothing in it.
pub fn tidy(dir: &Workdir) {
    let _ = std::fs::remove_dir(dir.path().join(".tmp"));
}

/// What a failed piece of work means for the exit code.
pub fn failure(error: ToolError) -> Failure {
    let exit = match error {
        ToolError::Invalid(_) => 2,
        ToolError::Denied(_) => 5,
        ToolError::Limit(_) => 4,
        ToolError::Failed(_) => 1,
        ToolError::Cancelled => CANCELLED,
    };
    Failure::new(exit, error)
}

/// An input that must be there, as an absolute path.
pub fn input(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => usage(format!("{}: there is no such file; check the path", path.display())),
        _ => usage(format!("{}: {error}", path.display())),
    })
}

/// A directory for results: new, or empty, so that nothing is written over.
pub fn output(path: &Path) -> Result<Workdir, Failure> {
    let dir = directory(path)?;
    let empty = std::fs::read_dir(dir.path()).map(|mut entries| entries.next().is_none());
    match empty {
        Ok(true) => Ok(dir),
        Ok(false) => Err(usage(format!("{} is not empty; name a new directory with --out", path.display()))),
        Err(error) => Err(usage(format!("{}: {error}", path.display()))),
    }
}

/// A directory for results, which may hold what an earlier call left.
pub fn directory(path: &Path) -> Result<Workdir, Failure> {
    Workdir::create(path).map_err(|error| usage(format!("{}: {error}; choose another --out", path.display())))
}
