//! What a dry run shows.

use std::fmt;

use serde::Serialize;
use tunesmith_harness::{
    event::Rows,
    task::{Goal, JobKind, Task},
};
use tunesmith_tools::data_inspect::Proposal;

use super::{
    Scouted,
    ladder::{Recipe, Speed},
    name,
};

/// A run that was planned but not carried out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    /// The kind of job.
    pub kind: JobKind,
    /// The base as named.
    pub base: String,
    /// Column of the input.
    pub input: String,
    /// Column of the answer.
    pub target: String,
    /// Why the columns are read so.
    pub why: String,
    /// Rows read, open and sealed.
    pub rows: Rows,
    /// Examples to train and to validate on.
    pub examples: (usize, usize),
    /// The headline metric.
    pub metric: String,
    /// What must hold on the sealed rows; none means a gain above zero.
    pub goals: Vec<Goal>,
    /// What would be trained.
    pub recipe: Recipe,
    /// Measured speeds.
    pub speed: Speed,
    /// Expected seconds of the whole run.
    pub seconds: f64,
    /// Expected peak memory of a job in bytes; `None` is unknown.
    pub memory: Option<u64>,
    /// What should be known of how the files were read.
    pub notes: Vec<String>,
}

impl Preview {
    pub(super) fn new(task: &Task, rows: Rows, proposal: &Proposal, scouted: &Scouted, recipe: &Recipe) -> Self {
        let (prepared, speed) = (&scouted.prepared, &scouted.speed);
        let grading = speed.grading(3).as_secs_f64();
        Preview {
            kind: proposal.kind,
            base: task.base.clone().unwrap_or_else(|| "nano".into()),
            input: proposal.input.clone(),
            target: proposal.target.clone(),
            why: proposal.why.clone(),
            rows,
            examples: (prepared.train, prepared.valid),
            metric: proposal.metric.clone(),
            goals: task.goals.clone(),
            recipe: recipe.clone(),
            speed: *speed,
            seconds: recipe.seconds + grading,
            memory: scouted.memory,
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "job       {}: {:?} -> {:?} ({})", name(self.kind), self.input, self.target, self.why)?;
        writeln!(f, "base      {}", self.base)?;
        let (rows, (train, valid)) = (self.rows, self.examples);
        writeln!(
            f,
            "rows      {} read: {} sealed, {train} to train on, {valid} to validate on",
            rows.read, rows.sealed
        )?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))?;
        writeln!(f, "metric    {}", self.metric)?;
        let goals: Vec<String> =
            self.goals.iter().map(|goal| format!("{} of at least {}", goal.metric, goal.at_least)).collect();
        writeln!(f, "goal      {}", if goals.is_empty() { "a gain above zero".to_owned() } else { goals.join(", ") })?;
        writeln!(f, "recipe    {}", self.recipe)?;
        writeln!(f, "speed     {:.0} tokens per second in training", self.speed.tokens_per_second)?;
        writeln!(f, "time      about {:.0} s with the final grading", self.seconds)?;
        match self.memory {
            Some(bytes) => write!(f, "memory    about {} MiB", bytes >> 20),
            None => write!(f, "memory    unknown"),
        }
    }
}
