//! Pretraining a small base in a worker.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tunesmith_lm::{
    pretrain::{PretrainSpec, Pretrained, pretrain, sources},
    train::{Checkpoint, Control, Progress},
};

use crate::worker::{Live, Tick};

/// What to pretrain and where to write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Everything that decides the result.
    pub spec: PretrainSpec,
    /// The directory to write; a state in it is gone on from.
    pub out: PathBuf,
    /// Steps between saved states; `None` saves none.
    pub save_every: Option<usize>,
}

impl Job {
    /// Pretrains.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Pretrained> {
        let deadline = live.deadline;
        let mut on = |progress: Progress| {
            live.tick(Tick {
                what: "pretrain".into(),
                done: progress.step,
                total: progress.total,
                loss: Some(progress.loss),
                valid_loss: progress.valid_loss,
                tokens: Some(progress.tokens),
            });
            Ok(())
        };
        // A state of the same files with other contents must not be gone on from.
        let key = serde_json::to_string(&(&self.spec, sources(&self.spec)?))?;
        let checkpoint =
            self.save_every.map(|every| Checkpoint { path: self.out.join("state.safetensors"), every, key });
        if checkpoint.is_some() {
            std::fs::create_dir_all(&self.out)?;
        }
        Ok(pretrain(&self.spec, &self.out, &mut Control { deadline, on: &mut on, checkpoint })?)
    }
}
