//! A sign of life of a run at work, so that a process which goes on after it knows how much time was used.

use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
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

    /// Gives signs as long as `work` goes on, also while it waits for somebody else.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.signs() => match never {},
        }
    }

    async fn signs(&self) -> Infallible {
        let mut every = tokio::time::interval(PAUSE);
        loop {
            every.tick().await;
            self.tick();
        }
    }

    /// The run is over.
    pub fn end(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// When the last process of the run was last seen at work, where it left a sign.
pub(super) fn last_seen(run: &Run) -> Option<Timestamp> {
    let modified = fs::symlink_metadata(path(run)).ok()?.modified().ok()?;
    Timestamp::try_from(modified).ok()
}

fn path(run: &Run) -> PathBuf {
    run.dir().join("alive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_somebody_else_gives_signs() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
        let beat = Beat::of(&run);
        let (seen, done) = tokio::sync::oneshot::channel::<()>();
        let look = async {
            // Whoever waits lets the signs be given.
            while last_seen(&run).is_none() {
                tokio::task::yield_now().await;
            }
            seen.send(()).unwrap();
        };
        let (_, heard) = tokio::join!(look, beat.during(done));
        heard.unwrap();
        beat.end();
        assert_eq!(last_seen(&run), None);
    }
}
