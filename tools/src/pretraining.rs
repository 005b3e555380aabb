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
        let key = self.key()?;
        let checkpoint =
            self.save_every.map(|every| Checkpoint { path: self.out.join("state.safetensors"), every, key });
        if checkpoint.is_some() {
            std::fs::create_dir_all(&self.out)?;
        }
        Ok(pretrain(&self.spec, &self.out, &mut Control { deadline, on: &mut on, checkpoint })?)
    }

    /// What a saved state belongs to: one of the same files with other contents must not be gone on from.
    fn key(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&(&self.spec, sources(&self.spec)?))?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tunesmith_lm::pretrain::{ModelShape, Source};

    use super::*;

    #[test]
    fn a_state_belongs_to_the_contents_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let spec = PretrainSpec {
            texts: vec![Source { path: path.clone(), passes: 1, licence: None }],
            generated_tokens: 0,
            shape: ModelShape::default(),
            sequence: 64,
            batch_size: 1,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            max_steps: None,
            seed: 0,
        };
        let job = Job { spec, out: dir.path().to_owned(), save_every: Some(1) };
        let key_of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            job.key().unwrap()
        };
        assert_eq!(key_of("one"), key_of("one"));
        assert_ne!(key_of("one"), key_of("two"));
    }
}
