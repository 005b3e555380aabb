//! Grading a run: the grader's logic of `tunesmith_harness` over the decoder of `tunesmith_lm`, in a worker, because
//! adapters and model files come out of a sandbox and may hold anything.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    grade::{Grade, GradeProgress, Submission, grade},
    recipe::{Recipe, Row},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};

use crate::{
    bases,
    files::{read_jsonl, typed},
    models::LmModels,
    tool::{Progress, ToolError},
    worker::{Live, Work, run_work_partly},
};

/// What a run hands in, as paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The run's directory; paths of artefacts are shown relative to it.
    pub root: PathBuf,
    /// How rows become prompts and answers.
    pub recipe: Recipe,
    /// The grader's own copy of the base.
    pub base: PathBuf,
    /// The adapter's directory.
    pub adapter: Option<PathBuf>,
    /// Shipped files with their kind.
    pub artifacts: Vec<(PathBuf, String)>,
    /// Outputs that were not taken, with the reason.
    #[serde(default)]
    pub refused: BTreeMap<PathBuf, String>,
    /// Copies of the files of rows that the adapter was trained on.
    #[serde(default)]
    pub trained: Vec<PathBuf>,
    /// The sealed rows, one JSON object per line.
    pub sealed: PathBuf,
    /// The open rows, one JSON object per line.
    pub open: PathBuf,
}

impl Job {
    /// Grades.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Grade> {
        let submission = Submission {
            root: self.root.clone(),
            recipe: self.recipe.clone(),
            base: self.base.clone(),
            adapter: self.adapter.clone(),
            artifacts: self.artifacts.clone(),
            refused: self.refused.clone(),
            trained: self.trained.clone(),
            sealed: read_jsonl::<Row>(&self.sealed)?,
            open: read_jsonl::<Row>(&self.open)?,
        };
        let mut on = |progress: GradeProgress| match progress {
            GradeProgress::Rows { stage, done, total } => live.progress(&stage, done, total),
            // What cannot be written as JSON would fail at the end as well, and is reported there.
            GradeProgress::Partial(grade) => drop(serde_json::to_value(grade).map(|grade| live.partial(grade))),
        };
        Ok(grade(&submission, &LmModels, &mut on)?)
    }

    /// What the worker must read; nothing of what was refused.
    fn reads(&self) -> Vec<PathBuf> {
        let handed_in = self.adapter.iter().chain(self.artifacts.iter().map(|(path, _)| path));
        let taken = handed_in.filter(|path| !self.refused.contains_key(*path));
        let rest = [&self.sealed, &self.open].into_iter().chain(&self.trained).chain(taken).cloned();
        bases::reads(&self.base).into_iter().chain(rest).collect()
    }
}

/// A grade, whole or as far as it came.
#[derive(Debug)]
pub struct Graded {
    /// The grade, where at least the base was scored.
    pub grade: Option<Grade>,
    /// Why it is not whole.
    pub cut_short: Option<ToolError>,
}

/// Grades in a worker that may write nothing but `dir`.
pub async fn run(
    jobs: &Local,
    dir: &Workdir,
    job: &Job,
    (deadline, cancel): (Option<Instant>, &Cancel),
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Graded {
    let work = Work::Grade(job.clone());
    let outcome = run_work_partly(jobs, dir, &work, job.reads(), (deadline, cancel), on).await;
    match outcome.result.and_then(typed) {
        Ok(grade) => Graded { grade: Some(grade), cut_short: None },
        Err(error) => {
            let grade = outcome.partial.and_then(|partial| serde_json::from_value(partial).ok());
            Graded { grade, cut_short: Some(error) }
        }
    }
}
