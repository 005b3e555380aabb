//! Whether a suite went worse than a stored result, beyond noise.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::Value;
use tunesmith_harness::{
    compare::{self, Aggregate, Item, MetricResults, Options, TaskResults},
    figures::{p_value, percent},
};

use super::results::Results;
use crate::{
    commands::{text, usage},
    run::Failure,
};

/// The name under which a task's rows are compared.
const RIGHT: &str = "right,none";

/// The stored results of this suite.
pub(super) fn read(file: &Path, suite: &str) -> Result<Results, Failure> {
    let wrong = |why: String| {
        let advice = format!("name a file that `tunesmith bench {suite} --json` printed");
        usage(format!("--baseline {}: {why}; {advice}", file.display()))
    };
    let results: Results = serde_json::from_str(&text(file)?).map_err(|error| wrong(error.to_string()))?;
    if results.suite != suite {
        return Err(wrong(format!("it holds results of the suite {:?}", results.suite)));
    }
    let damaged = |right: &String| right.bytes().any(|digit| !b"01".contains(&digit));
    if let Some(task) = results.tasks.iter().find(|task| task.right.as_ref().is_some_and(damaged)) {
        return Err(wrong(format!("the rows that {:?} got right are not written in 0 and 1", task.id)));
    }
    Ok(results)
}

/// The tasks beside their stored results.
pub(super) struct Compared {
    pub tasks: Vec<Row>,
}

/// One task beside its stored result: shares of sealed rows that the tuned model got right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub id: String,
    pub stored: Option<f64>,
    pub now: Option<f64>,
    /// Whether both were scored on the same rows.
    pub same_rows: bool,
    /// Two-sided, adjusted for all tasks (Benjamini-Hochberg).
    pub p_value: Option<f64>,
    pub verdict: Verdict,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Better,
    Worse,
    /// The difference is within noise.
    CannotTell,
    /// There was a model, and now there is none.
    Missing,
    /// Nothing is stored to compare with.
    New,
}

impl Compared {
    pub(super) fn of(now: &Results, stored: &Results) -> Self {
        let (before, after) = (as_results(stored), as_results(now));
        // Where no task is in both, there is no row.
        let rows =
            compare::compare(&before, &after, &Options::default()).map_or_else(|_| Vec::new(), |found| found.rows);
        let mut ids: Vec<&str> = now.tasks.iter().map(|task| task.id.as_str()).collect();
        ids.dedup();
        let value = |of: &compare::Results, id: &str| of.tasks.get(id)?.metrics.get(RIGHT)?.value;
        let beside = |id: &str| {
            let (stored, now) = (value(&before, id), value(&after, id));
            let row = rows.iter().find(|row| row.task == id);
            let verdict = match (row.map(|row| row.verdict), stored) {
                (Some(compare::Verdict::Better), _) => Verdict::Better,
                (Some(compare::Verdict::Worse), _) => Verdict::Worse,
                (Some(compare::Verdict::CannotTell), _) => Verdict::CannotTell,
                (None, Some(_)) => Verdict::Missing,
                (None, None) => Verdict::New,
            };
            let (same_rows, p_value) = (row.is_some_and(|row| row.n > 0), row.and_then(|row| row.p_adjusted));
            Row { id: id.to_owned(), stored, now, same_rows, p_value, verdict }
        };
        Compared { tasks: ids.into_iter().map(beside).collect() }
    }

    /// Whether any task is worse.
    pub(super) fn worse(&self) -> bool {
        self.tasks.iter().any(|row| matches!(row.verdict, Verdict::Worse | Verdict::Missing))
    }

    /// A line per task that there is something to say of.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tasks.iter().filter_map(Row::line).collect();
        let told = self.tasks.iter().filter(|row| row.verdict == Verdict::CannotTell).count();
        if told > 0 {
            lines.push(format!("within noise of the baseline: {told} of {} tasks", self.tasks.len()));
        }
        lines
    }
}

impl Row {
    /// The verdict in words; a difference within noise is only counted.
    pub(super) fn line(&self) -> Option<String> {
        let share = |value: Option<f64>| value.map_or_else(|| "no result".to_owned(), percent);
        let (stored, now) = (share(self.stored), share(self.now));
        let word = match self.verdict {
            Verdict::CannotTell => return None,
            Verdict::New => return Some(format!("{}: the baseline has no result to compare with", self.id)),
            Verdict::Missing => {
                return Some(format!("{}: worse than the baseline, {stored} then and {now} now", self.id));
            }
            Verdict::Worse => "worse",
            Verdict::Better => "better",
        };
        let rows = if self.same_rows { "the same rows" } else { "other rows" };
        let p = self.p_value.map_or_else(String::new, |p| format!(", {}", p_value(p)));
        Some(format!("{}: {word} than the baseline, {stored} then and {now} now ({rows}{p})", self.id))
    }
}

/// A suite as results that can be compared: an item per sealed row, the same one where it was drawn by the same seed.
fn as_results(results: &Results) -> compare::Results {
    let mut runs: BTreeMap<&String, Vec<Option<&str>>> = BTreeMap::new();
    for task in &results.tasks {
        runs.entry(&task.id).or_default().push(task.right.as_deref());
    }
    let task = |(id, runs): (&String, Vec<Option<&str>>)| {
        let shares = shares(runs)?;
        let item = |(row, share): (usize, &f64)| {
            let sums = Aggregate::Mean.sums("right", &Value::from(*share))?;
            let key = format!("{} {row:06} of {}", results.sealed_seed, shares.len());
            Some(Item { key, sums, prompt: None, cluster: None })
        };
        let metric = MetricResults {
            value: Some(shares.iter().sum::<f64>() / shares.len() as f64),
            stderr: None,
            higher_is_better: true,
            aggregate: Aggregate::Mean,
            items: shares.iter().enumerate().filter_map(item).collect(),
        };
        let metrics = [(RIGHT.to_owned(), metric)].into();
        Some((id.clone(), TaskResults { facts: BTreeMap::new(), metrics }))
    };
    let tasks = runs.into_iter().filter_map(task).collect();
    compare::Results { name: results.suite.clone(), tasks, notes: Vec::new() }
}

/// How often each row was answered rightly, over all runs of a task; `None` where a run has no rows, or they differ.
fn shares(runs: Vec<Option<&str>>) -> Option<Vec<f64>> {
    let runs = runs.into_iter().collect::<Option<Vec<&str>>>()?;
    let rows = runs.first()?.len();
    if rows == 0 || runs.iter().any(|run| run.len() != rows) {
        return None;
    }
    let share = |at: usize| runs.iter().filter(|run| run.as_bytes()[at] == b'1').count() as f64 / runs.len() as f64;
    Some((0..rows).map(share).collect())
}
