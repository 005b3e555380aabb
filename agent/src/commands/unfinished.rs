//! A result that takes long to make: what is half made stands visibly beside it, and is gone on with after a crash.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tunesmith_lm::train::Checkpoint;
use tunesmith_sandbox::Workdir;

use super::{
    usage,
    work::{OUT, remove, vacant},
};
use crate::run::Failure;

/// The directory `OUT.partial`, held by this process alone: `adapter` becomes the result, `checkpoints` is what another
/// process goes on from, and `lock` marks the directory as one of these.
pub struct Unfinished {
    dir: Workdir,
    to: PathBuf,
    given: PathBuf,
    _lock: File,
}

/// What there is to do.
pub enum Begun {
    /// The work, from its start or from a checkpoint.
    Work(Unfinished),
    /// Nothing: an earlier process finished it.
    Finished,
}

impl Unfinished {
    /// The place for the result `given`. With `resume` an earlier process's work is taken over; `files` are what a
    /// finished result holds.
    pub fn begin(given: &Path, resume: bool, files: &[&str]) -> Result<Begun, Failure> {
        let (to, vacant) = vacant(given)?;
        let mut half = to.clone().into_os_string();
        half.push(".partial");
        let half = PathBuf::from(half);
        if resume && vacant.is_err() && files.iter().all(|file| to.join(file).is_file()) {
            // Its maker may have been killed between the two.
            if half.join(LOCK).is_file() {
                discard(&half);
            }
            return Ok(Begun::Finished);
        }
        vacant?;
        let there = half.symlink_metadata().is_ok();
        let shown = half.display();
        let busy = || Failure::new(5, format!("{shown}: another process is training here; wait for it"));
        if there && !resume {
            // What a living process is making is not to be removed.
            if File::open(half.join(LOCK)).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
                return Err(busy());
            }
            return Err(usage(format!(
                "{shown}: holds what an interrupted run left; go on with --resume, or remove it"
            )));
        }
        let empty = || fs::read_dir(&half).is_ok_and(|mut entries| entries.next().is_none());
        if there && !half.join(LOCK).is_file() && !empty() {
            return Err(usage(format!("{shown}: is not what an interrupted run left; name another --out")));
        }
        let unwritten = |error: io::Error| Failure::unwritten(given, &error, OUT);
        let dir = Workdir::create(&half).map_err(unwritten)?;
        let lock = File::create(half.join(LOCK)).map_err(unwritten)?;
        let began = Instant::now();
        while let Err(TryLockError::WouldBlock) = lock.try_lock() {
            if began.elapsed() >= PATIENCE {
                return Err(busy());
            }
            std::thread::sleep(PATIENCE / 100);
        }
        if !half.join(LOCK).is_file() {
            return Err(Failure::new(5, format!("{shown}: another process has just ended its work here; ask again")));
        }
        let begun = Unfinished { dir, to, given: given.to_owned(), _lock: lock };
        fs::create_dir_all(begun.path()).map_err(unwritten)?;
        Ok(Begun::Work(begun))
    }

    /// What the work may write.
    pub fn dir(&self) -> &Workdir {
        &self.dir
    }

    /// Where the work puts the result.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("adapter")
    }

    /// Where the work puts its checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.path().join("checkpoints")
    }

    /// Puts the result under its name, and gives the name as the user wrote it.
    pub fn keep(&self) -> Result<String, Failure> {
        let unwritten = |error: io::Error| Failure::unwritten(&self.given, &error, OUT);
        // The checkpoints go only when the result would outlast a loss of power.
        sync(&self.path()).map_err(unwritten)?;
        fs::rename(self.path(), &self.to).map_err(unwritten)?;
        self.to.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()).map_err(unwritten)?;
        discard(self.dir.path());
        Ok(self.given.display().to_string())
    }

    /// What a failure leaves behind: with a checkpoint all of it, else nothing.
    pub fn failed(&self, failure: Failure) -> Failure {
        if !Checkpoint::is_in(&self.checkpoints()) {
            discard(self.dir.path());
            return failure;
        }
        // A refusal to go on names the checkpoints and says what to do already.
        if failure.message.contains(&self.checkpoints().display().to_string()) {
            return failure;
        }
        let half = self.dir.path().display();
        Failure::new(failure.exit, format!("{}; {half} keeps the checkpoints: go on with --resume", failure.message))
    }
}

/// Writes the files of a directory and their names through to the disk.
fn sync(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Removes a directory of this kind, its mark last: a process that is killed meanwhile leaves one that is still known.
fn discard(half: &Path) {
    for entry in fs::read_dir(half).into_iter().flatten().flatten().filter(|entry| entry.file_name() != LOCK) {
        remove(&entry.path());
    }
    remove(half);
}

/// How long an earlier process, or a child that it was about to start, may take to die.
const PATIENCE: Duration = Duration::from_secs(3);

/// Marks a directory as one of these.
const LOCK: &str = "lock";
