//! What a dry run shows.

use std::fmt;

use serde::Serialize;
use tunesmith_harness::{
    event::Rows,
    figures::bytes,
    task::{Bound, Goal, JobKind, Task},
};
use tunesmith_tools::data_inspect::Proposal;

use super::{
    Scouted,
    ladder::{Recipe, Speed},
    name,
    request::{Export, Publish, Wanted},
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
    /// All columns that are read; several are joined, one below the other.
    pub inputs: Vec<String>,
    /// Column of the answer.
    pub target: String,
    /// Columns that the answers were read from, where they stand in several.
    pub answers: Vec<String>,
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
    /// Models to ship beside the adapter.
    pub exports: Vec<Export>,
    /// Most bytes that each of them may take.
    pub max_bytes: Option<u64>,
    /// Minutes for the whole run; `None` is no limit.
    pub minutes: Option<f64>,
    /// The licence that was asked for, which the base has.
    pub licence: Option<String>,
    /// Where the result goes once the goal is met.
    pub publish: Option<Publish>,
    /// What should be known of how the files were read.
    pub notes: Vec<String>,
}

impl Preview {
    pub(super) fn new(
        (task, wanted, inputs): (&Task, &Wanted, &[String]),
        rows: Rows,
        proposal: &Proposal,
        scouted: &Scouted,
        recipe: &Recipe,
    ) -> Self {
        let (prepared, speed) = (&scouted.prepared, &scouted.speed);
        let grading = speed.grading(2 + wanted.exports.len()).as_secs_f64();
        Preview {
            kind: proposal.kind,
            base: task.base.clone().unwrap_or_else(|| "nano".into()),
            input: proposal.input.clone(),
            inputs: inputs.to_vec(),
            target: proposal.target.clone(),
            answers: Vec::new(),
            why: proposal.why.clone(),
            rows,
            examples: (prepared.train, prepared.valid),
            metric: proposal.metric.clone(),
            goals: task.goals.clone(),
            recipe: recipe.clone(),
            speed: *speed,
            seconds: recipe.seconds + grading,
            memory: scouted.memory,
            exports: wanted.exports.clone(),
            max_bytes: task.max_bytes,
            minutes: task.minutes,
            licence: wanted.licence.clone(),
            publish: wanted.publish.clone(),
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<String> = self.inputs.iter().map(|input| format!("{input:?}")).collect();
        let (inputs, kind, why) = (inputs.join(" + "), name(self.kind), &self.why);
        match self.kind {
            JobKind::Pretraining => writeln!(f, "job       {kind}: {inputs} ({why})")?,
            _ => writeln!(f, "job       {kind}: {inputs} -> {:?} ({why})", self.target)?,
        }
        writeln!(f, "base      {}", self.base)?;
        let (rows, (train, valid)) = (self.rows, self.examples);
        writeln!(
            f,
            "rows      {} read: {} sealed, {train} to train on, {valid} to validate on",
            rows.read, rows.sealed
        )?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))?;
        writeln!(f, "metric    {}", self.metric)?;
        let bound = |bound: Bound| match bound {
            Bound::AtLeast(least) => format!("at least {least}"),
            Bound::AtMost(most) => format!("at most {most}"),
        };
        let goals: Vec<String> =
            self.goals.iter().map(|goal| format!("{} of {}", goal.metric, bound(goal.bound))).collect();
        writeln!(f, "goal      {}", if goals.is_empty() { "a gain above zero".to_owned() } else { goals.join(", ") })?;
        let exports: Vec<String> =
            self.exports.iter().map(|export| format!("{} in {}", export.format, export.quant)).collect();
        let exports = if exports.is_empty() { String::new() } else { format!(", {}", exports.join(", ")) };
        let most = self.max_bytes.map_or_else(String::new, |most| format!(", at most {}", bytes(most)));
        writeln!(f, "ships     the adapter{exports}{most}")?;
        if let Some(licence) = &self.licence {
            writeln!(f, "licence   {licence}: the base's fits")?;
        }
        if let Some(Publish { to, public }) = &self.publish {
            writeln!(f, "publish   {} as {to}, once the goal is met", if *public { "publicly" } else { "privately" })?;
        }
        writeln!(f, "recipe    {}", self.recipe)?;
        writeln!(f, "speed     {:.0} tokens per second in training", self.speed.tokens_per_second)?;
        let limit = self.minutes.map_or_else(String::new, |minutes| format!(", of {minutes} minutes at most"));
        writeln!(f, "time      about {:.0} s with the final grading{limit}", self.seconds)?;
        match self.memory {
            Some(bytes) => write!(f, "memory    about {} MiB", bytes >> 20),
            None => write!(f, "memory    unknown"),
        }
    }
}
