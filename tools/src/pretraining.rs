//! Pretraining a small base in a worker.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_lm::{
    pretrain::{PretrainSpec, Pretrained, pretrain, sources},
    train::{Checkpoint, Control, Progress, memory::Memory},
};

use crate::{
    train::warning,
    worker::{Live, Tick},
};

/// Where checkpoints are, inside the directory that is written.
pub const CHECKPOINTS: &str = "checkpoints";

/// What to pretrain and where to write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Everything that decides the result.
    pub spec: PretrainSpec,
    /// The directory to write; checkpoints in its [`CHECKPOINTS`] are gone on from.
    pub out: PathBuf,
    /// Steps between checkpoints; `None` saves none.
    pub save_steps: Option<usize>,
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
                warning: warning(&progress.warnings),
                ..Tick::default()
            });
            Ok(())
        };
        let key = self.key()?;
        let checkpoint = self.save_steps.map(|save_steps| Checkpoint {
            dir: self.out.join(CHECKPOINTS),
            save_steps,
            save_total_limit: Checkpoint::SAVE_TOTAL_LIMIT,
            key,
        });
        Ok(pretrain(
            &self.spec,
            &self.out,
            &mut Control { deadline, on: &mut on, checkpoint, memory: Memory::default() },
        )?)
    }

    /// What a checkpoint belongs to: one of the same files with other contents must not be gone on from.
    fn key(&self) -> anyhow::Result<Map<String, Value>> {
        let mut key = match serde_json::to_value(&self.spec)? {
            Value::Object(fields) => fields,
            other => Map::from_iter([("spec".to_owned(), other)]),
        };
        key.insert("texts_sha256".to_owned(), serde_json::to_value(sources(&self.spec)?)?);
        Ok(key)
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
        let job = Job { spec, out: dir.path().to_owned(), save_steps: Some(1) };
        let key_of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            job.key().unwrap()
        };
        assert_eq!(key_of("one"), key_of("one"));
        assert_ne!(key_of("one"), key_of("two"));
    }
}
