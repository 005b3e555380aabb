//! One piece of work by hand: the same worker as in a run, in the same sandbox.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tunesmith_harness::{rows::is_pattern, text::visible};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    bases::{self, Base, BaseError},
    nano,
    tool::{Progress, ToolError},
    worker::{Work, run_work},
};

use super::{hub, require::Require, run::Sandboxes, stop::CANCELLED, usage};
use crate::{
    run::{self, Failure, Watch},
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
    pub fn new(require: &Require, cancel: &'a Cancel) -> Result<Self, Failure> {
        let jobs = require.jobs(Sandboxes::On)?;
        let scratch = run::scratch()?;
        let missing: Vec<String> = jobs.missing().iter().map(|(layer, status)| format!("{layer} {status}")).collect();
        if !missing.is_empty() {
            eprintln!("warning: the sandbox is not whole here: {}", visible(&missing.join(", ")));
        }
        Ok(Bench { jobs, scratch, cancel })
    }

    /// Starts jobs.
    pub fn jobs(&self) -> &Local {
        &self.jobs
    }

    /// The directory or file of a MODEL as the user names it. One of the Hub's is downloaded first.
    pub async fn model(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = match bases::resolve(name, Path::new("")) {
            Err(BaseError::HubId(id)) => hub::download::base(&id, self.cancel).await?.path,
            Err(error) => return Err(usage(error.to_string())),
            Ok(Base::Path(path)) => path,
            Ok(Base::Nano) => {
                let path = self.scratch.path().join("base");
                nano::write(&path).map_err(|error| Failure::unwritten(&path, &error, run::TMPDIR))?;
                path
            }
        };
        path.canonicalize().map_err(|error| usage(format!("{name}: {error}")))
    }

    /// A directory that only this piece of work uses.
    pub fn private(&self) -> Result<Workdir, Failure> {
        let path = self.scratch.path().join("work");
        Workdir::create(&path).map_err(|error| Failure::unwritten(&path, &error, run::TMPDIR))
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

/// What a failed piece of work means for the exit code. Work by hand fails by what it was given; a worker that broke or
/// could not start says so.
pub fn failure(error: ToolError) -> Failure {
    let exit = match &error {
        ToolError::Failed(why) if why.starts_with("the worker ") || why.starts_with("defect in the worker") => 70,
        ToolError::Invalid(_) | ToolError::Failed(_) => 2,
        ToolError::Denied(_) | ToolError::Resource(_) => 5,
        ToolError::Limit(_) => 4,
        ToolError::Cancelled => CANCELLED,
    };
    Failure::new(exit, error)
}

/// A directory that holds each of `files`; `made` says how one is made.
pub fn holding(path: &Path, files: &[&str], made: &str) -> Result<PathBuf, Failure> {
    let dir = input(path)?;
    let lacks = |file: &&&str| !dir.join(file).is_file();
    match files.iter().find(lacks) {
        Some(file) => Err(usage(format!("{}: has no file {file}; {made}", path.display()))),
        None => Ok(dir),
    }
}

/// An adapter in PEFT's format.
pub fn adapter(path: &Path) -> Result<PathBuf, Failure> {
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    holding(path, &files, "name a directory that `tunesmith train` or PEFT wrote")
}

/// An input that must be there, as an absolute path.
pub fn input(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => usage(format!("{}: there is no such file; check the path", path.display())),
        _ => usage(format!("{}: {error}", path.display())),
    })
}

/// Files of rows as the user names them: an absolute path or pattern, and what must be readable for it.
pub fn found(given: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    if given.to_str().is_none() {
        return Err(usage(format!("{}: is not a name in UTF-8; rename it", given.display())));
    }
    let wild = given.components().position(|part| is_pattern(part.as_ref())).filter(|_| !given.exists());
    let Some(at) = wild else {
        let path = input(given)?;
        return Ok((path.clone(), path));
    };
    let fixed: PathBuf = given.components().take(at).collect();
    let folder = if fixed.as_os_str().is_empty() { Path::new(".") } else { &fixed };
    let folder = input(folder)?;
    Ok((folder.join(given.components().skip(at).collect::<PathBuf>()), folder))
}

/// How to name another place for a result.
pub const OUT: &str = "name another --out";

/// The absolute path of a result, and whether nothing stands there yet.
pub fn vacant(given: &Path) -> Result<(PathBuf, Result<(), Failure>), Failure> {
    let to = std::path::absolute(given).map_err(|error| usage(format!("{}: {error}", given.display())))?;
    if to.parent().is_none() || to.file_name().is_none() {
        return Err(unnamed(given));
    }
    let empty = std::fs::read_dir(&to).is_ok_and(|mut entries| entries.next().is_none());
    let taken = to.symlink_metadata().is_ok() && !empty;
    let refused = || usage(format!("{}: is there already; name another --out", given.display()));
    Ok((to, if taken { Err(refused()) } else { Ok(()) }))
}

fn unnamed(given: &Path) -> Failure {
    usage(format!("{}: is not a name for a result; choose another --out", given.display()))
}

/// Removes a directory that is of no use any more; that it stays is no failure of the work.
pub fn remove(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("warning: {} cannot be removed: {error}", visible(&dir.display().to_string()));
    }
}

/// A result that stands under its name only when it is whole. Until then it is made beside it.
pub struct Fresh {
    half: TempDir,
    dir: Workdir,
    made: PathBuf,
    to: PathBuf,
    given: PathBuf,
}

impl Fresh {
    /// A place for the result `to`, which must not be there yet.
    pub fn new(given: &Path) -> Result<Self, Failure> {
        let (to, vacant) = vacant(given)?;
        vacant?;
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else { return Err(unnamed(given)) };
        let unwritten = |error| Failure::unwritten(given, &error, OUT);
        std::fs::create_dir_all(parent).map_err(unwritten)?;
        let half = tempfile::Builder::new().prefix(".tunesmith-").tempdir_in(parent).map_err(unwritten)?;
        let dir = Workdir::open(half.path()).map_err(unwritten)?;
        let made = dir.path().join(name);
        Ok(Fresh { half, dir, made, to, given: given.to_owned() })
    }

    /// What the work may write.
    pub fn dir(&self) -> &Workdir {
        &self.dir
    }

    /// Where the work puts the result.
    pub fn path(&self) -> &Path {
        &self.made
    }

    /// Puts the result under its name, and gives the name as the user wrote it.
    pub fn keep(self) -> Result<String, Failure> {
        std::fs::rename(&self.made, &self.to).map_err(|error| Failure::unwritten(&self.given, &error, OUT))?;
        drop(self.half);
        Ok(self.given.display().to_string())
    }
}

/// A directory for results, which may hold what an earlier call left.
pub fn directory(path: &Path) -> Result<Workdir, Failure> {
    Workdir::create(path).map_err(|error| Failure::unwritten(path, &error, OUT))
}
