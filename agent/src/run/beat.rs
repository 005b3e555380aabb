//! A sign of life of a run at work, so that a process which goes on after it knows how much time was used.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tunesmith_harness::run::{Run, write_atomically};

/// Time between two signs.
const PAUSE: Duration = Duration::from_secs(2);

/// A file that is written again and again while something goes on.
pub(super) struct Beat {
    path: PathBuf,
    last: Mutex<Option<Instant>>,
}

impl Beat {
    pub fn of(run: &Run) -> Self {
        Beat { path: path(run), last: Mutex::new(None) }
    }

    /// Something went on. That it cannot be written costs at most the knowledge of some time.
    pub fn tick(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            *last = Some(Instant::now());
            // In place of whatever stands there: a link must not lead to another file.
            let _ = write_atomically(&self.path, b"");
        }
    }

    /// The run is over.
    pub fn end(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// When the last process of the run was last seen at work, where it left a sign.
pub(super) fn last_seen(run: &Run) -> Option<SystemTime> {
    fs::symlink_metadata(path(run)).ok()?.modified().ok()
}

fn path(run: &Run) -> PathBuf {
    run.dir().join("alive")
}
