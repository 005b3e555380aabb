//! Two results beside each other: what is better, what is worse, and where nobody can tell.
//!
//! Items are matched, so that two models are compared on the same questions: exact McNemar for right or wrong, a
//! permutation test for everything else and for items in clusters, and Benjamini-Hochberg over all comparisons. Where no
//! item is in both, right or wrong answers are compared by Fisher's exact test, and all else by Welch's.

mod aggregate;
mod items;
mod json;
mod judge;
mod load;
mod render;
mod run;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Serialize;
use serde_json::Value;

pub use self::{aggregate::Aggregate, load::load, run::of_grade};
use crate::{figures::counted, stats};

/// Why results cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file or directory cannot be used.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// A level that is no share.
    #[error("a level of {0} is not between 0 and 1; write for example 0.05")]
    Alpha(f64),
    /// Nothing is in both.
    #[error("no task and metric is in both {0} and {1}; compare results of the same tasks")]
    NothingShared(String, String),
    /// Some items have no cluster.
    #[error("{task}: the documents have no column {column:?}; name one of {columns}")]
    NoCluster {
        /// The task.
        task: String,
        /// The column asked for.
        column: String,
        /// The columns that there are.
        columns: String,
    },
}

/// What an evaluation or a run found, with the value of each item where it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// What it is called.
    pub name: String,
    /// Its tasks by name.
    pub tasks: BTreeMap<String, TaskResults>,
    /// What a reader should know about how it was read.
    pub notes: Vec<String>,
}

/// What was found on one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskResults {
    /// What defines the task, by name; two results are fully comparable only where these are equal.
    pub facts: BTreeMap<String, Value>,
    /// Values by metric and filter, as lm-eval writes them: `acc,none`.
    pub metrics: BTreeMap<String, MetricResults>,
}

/// One metric of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricResults {
    /// The value, as it was reported.
    pub value: Option<f64>,
    /// The standard error, as it was reported.
    pub stderr: Option<f64>,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// How items make the value.
    pub aggregate: Aggregate,
    /// Its items; empty where they were not kept or do not make the value.
    pub items: Vec<Item>,
}

/// What one item adds to a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Names the same item in other results.
    pub key: String,
    /// What it adds, see [`Aggregate`].
    pub sums: Vec<f64>,
    /// What names the prompt that the model saw.
    pub prompt: Option<String>,
    /// The cluster it belongs to.
    pub cluster: Option<String>,
}

/// How two results are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// The share of false differences that is accepted.
    pub alpha: f64,
    /// Seed of permutations and bootstraps.
    pub seed: u64,
    /// Repeated runs of the same thing, from which the noise is known.
    pub noise: Vec<Results>,
    /// Names of the metrics to compare; empty for all.
    pub metrics: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { alpha: 0.05, seed: 0, noise: Vec::new(), metrics: Vec::new() }
    }
}

/// Two results beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first, which B is held against.
    pub a: String,
    /// The second.
    pub b: String,
    /// The level of tests; intervals are of 1 - alpha.
    pub alpha: f64,
    /// One for each task and metric in both.
    pub rows: Vec<Row>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// The whole: worse where anything is worse.
    pub verdict: Verdict,
    /// The whole, in words.
    pub summary: String,
}

/// One metric of one task in both results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// The filter pipeline; `none` where there is none.
    pub filter: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether values are shares of right answers.
    pub share: bool,
    /// Items in both.
    pub n: usize,
    /// Clusters that these items form, where they were asked for.
    pub clusters: Option<usize>,
    /// Items that are in A alone, and in B alone.
    pub unmatched: (usize, usize),
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// B minus A.
    pub difference: Option<f64>,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// Which test gave the p-value.
    pub test: Test,
    /// Two-sided p-value.
    pub p: Option<f64>,
    /// The same after Benjamini-Hochberg over all rows.
    pub p_adjusted: Option<f64>,
    /// The least difference that these items show in four of five cases.
    pub detectable: Option<f64>,
    /// How many items would show the difference that was seen.
    pub items_needed: Option<usize>,
    /// The difference that noise alone reaches, from repeated runs.
    pub noise: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in words.
    pub why: String,
}

/// One result's value of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Side {
    /// The value over the items in both, or as reported where items are not known.
    pub value: Option<f64>,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// The standard error, as it was reported over all items.
    pub reported_stderr: Option<f64>,
}

/// How B does beside A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// The data do not tell.
    CannotTell,
}

/// Where a p-value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// McNemar's exact test.
    McnemarExact,
    /// A permutation of the two models within each item or cluster.
    PairedPermutation,
    /// Fisher's exact test of right answers to different items.
    FisherExact,
    /// Welch's test of two values, because items are not known or not the same.
    Unpaired,
}

/// Holds `b` against `a`.
pub fn compare(a: &Results, b: &Results, options: &Options) -> Result<Comparison, CompareError> {
    if !(options.alpha > 0.0 && options.alpha < 1.0) {
        return Err(CompareError::Alpha(options.alpha));
    }
    let mut notes: Vec<String> = Vec::new();
    for (name, result) in [("A", a), ("B", b)] {
        notes.extend(result.notes.iter().map(|note| format!("{name}: {note}")));
    }
    let mut rows = Vec::new();
    for (task, of_a) in &a.tasks {
        let Some(of_b) = b.tasks.get(task) else { continue };
        notes.extend(differing(task, of_a, of_b));
        let mut said = BTreeSet::new();
        for (key, metric_a) in &of_a.metrics {
            let (metric, filter) = key.split_once(',').unwrap_or((key, "none"));
            let asked = options.metrics.is_empty() || options.metrics.iter().any(|name| name == metric || name == key);
            let Some(metric_b) = of_b.metrics.get(key).filter(|_| asked) else { continue };
            let (row, note) = judge::row((task, metric, filter), metric_a, metric_b, options);
            notes.extend(note.filter(|note| said.insert(note.clone())));
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Err(CompareError::NothingShared(a.name.clone(), b.name.clone()));
    }
    notes.extend(alone(a, b, &rows));
    let adjusted = stats::benjamini_hochberg(&rows.iter().map(|row| row.p).collect::<Vec<_>>());
    let tests = adjusted.iter().flatten().count();
    for (row, adjusted) in rows.iter_mut().zip(adjusted) {
        row.p_adjusted = adjusted;
        judge::verdict(row, options.alpha, tests);
    }
    let (verdict, summary) = whole(&rows);
    Ok(Comparison { a: a.name.clone(), b: b.name.clone(), alpha: options.alpha, rows, notes, verdict, summary })
}

/// What `current` does worse than `baseline` beyond chance, and beyond noise where it is known; the caller exits with 3.
pub fn regressions(current: &Results, baseline: &Results, options: &Options) -> Result<Vec<Row>, CompareError> {
    let rows = compare(baseline, current, options)?.rows;
    Ok(rows.into_iter().filter(|row| row.verdict == Verdict::Worse).collect())
}

/// In what the two did not do the same task.
fn differing(task: &str, a: &TaskResults, b: &TaskResults) -> Option<String> {
    let names: BTreeSet<&String> = a.facts.keys().chain(b.facts.keys()).collect();
    let differ: Vec<&str> =
        names.into_iter().filter(|name| a.facts.get(*name) != b.facts.get(*name)).map(String::as_str).collect();
    (!differ.is_empty()).then(|| {
        format!("{task}: the two were not set up alike ({}), so a difference may come from that", differ.join(", "))
    })
}

/// Tasks, metrics and repeated runs that could not be used.
fn alone(a: &Results, b: &Results, rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, these, others) in [("A", a, b), ("B", b, a)] {
        let only: Vec<&str> =
            these.tasks.keys().filter(|task| !others.tasks.contains_key(*task)).map(String::as_str).collect();
        if !only.is_empty() {
            notes.push(format!("in {name} alone: {} ({})", counted(only.len(), "task"), only.join(", ")));
        }
    }
    for (task, of_a) in &a.tasks {
        let Some(of_b) = b.tasks.get(task) else { continue };
        for (name, these, others) in [("A", of_a, of_b), ("B", of_b, of_a)] {
            let keys = these.metrics.keys().filter(|key| !others.metrics.contains_key(*key));
            let only: Vec<&str> = keys.map(String::as_str).collect();
            if !only.is_empty() {
                notes.push(format!("{task}: in {name} alone: {}", only.join(" and ")));
            }
        }
    }
    for row in rows.iter().filter(|row| row.unmatched != (0, 0) && row.n > 0) {
        let (a, b) = row.unmatched;
        let note = format!(
            "{}: compared on {}; {a} in A alone and {b} in B alone are left out",
            row.task,
            counted(row.n, "item")
        );
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn whole(rows: &[Row]) -> (Verdict, String) {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
    let all = counted(rows.len(), "comparison");
    let (verdict, word) = match (better, worse) {
        (0, 0) => return (Verdict::CannotTell, format!("cannot tell A and B apart in {all}")),
        (_, 0) => (Verdict::Better, "B is better than A"),
        (0, _) => (Verdict::Worse, "B is worse than A"),
        _ => (Verdict::Worse, "B is better than A in some and worse in others"),
    };
    let unclear = rows.len() - better - worse;
    (verdict, format!("{word}: of {all}, {better} better, {worse} worse, {unclear} cannot be told"))
}

#[cfg(test)]
mod tests;
