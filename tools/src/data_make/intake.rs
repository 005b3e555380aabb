//! The files that a spec names, read where a stranger's bytes can do no harm: in a worker.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    hash::sha256_file,
    recipe::Row,
    rows::{self, Table},
};

/// Most seed rows: they are kept in the spec beside the result.
const MOST_SEEDS: usize = 10_000;

/// Which files to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Rows to learn from.
    pub seeds: Option<PathBuf>,
    /// Rows that nothing made may be like.
    pub avoid: Vec<PathBuf>,
}

/// What is in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Rows to learn from; nothing where no file holds them.
    pub seeds: Option<Vec<Row>>,
    /// Files of rows that nothing made may be like.
    pub avoid: Vec<Avoid>,
}

/// A file of rows that nothing made may be like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Avoid {
    /// What names its content.
    pub sha256: String,
    /// What is in it.
    pub rows: Vec<Row>,
}

impl Job {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        *self == Job::default()
    }

    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.seeds.iter().chain(&self.avoid).cloned().collect()
    }

    /// Reads them.
    pub fn run(&self) -> anyhow::Result<Intake> {
        let mut intake = Intake::default();
        if let Some(path) = &self.seeds {
            let Table { rows, .. } = rows::read(path)?;
            anyhow::ensure!(
                rows.len() <= MOST_SEEDS,
                "{}: {} seed rows are more than the {MOST_SEEDS} that are used; take a sample",
                path.display(),
                rows.len()
            );
            intake.seeds = Some(rows);
        }
        for path in &self.avoid {
            let Table { rows, .. } = rows::read(path)?;
            intake.avoid.push(Avoid { sha256: sha256_file(path)?, rows });
        }
        Ok(intake)
    }
}
