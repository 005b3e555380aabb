//! Scores of a group of tasks: lm-eval's `aggregate_metric_list`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Score, sum};
use crate::eval::{
    refusal::Refusal,
    settings::{self, Settings},
};

/// One entry of a group's `aggregate_metric_list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetric {
    /// The metric whose values are put together.
    pub metric: String,
    /// The pipelines for which they are; `None` is all that the tasks have.
    pub filter_list: Option<Vec<String>>,
    /// Whether a task counts by its number of rows; otherwise all count the same.
    pub weight_by_size: bool,
}

impl GroupMetric {
    /// The entries of a group; a single one may stand without a list.
    pub fn read(aggregate_metric_list: Option<&Value>) -> Result<Vec<Self>, Refusal> {
        match aggregate_metric_list {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(entries)) => entries.iter().map(Self::read_one).collect(),
            Some(entry) => Ok(vec![Self::read_one(entry)?]),
        }
    }

    fn read_one(entry: &Value) -> Result<Self, Refusal> {
        let mut settings = Settings::new("aggregate_metric_list", entry)?;
        let metric = settings::name("metric", settings.take("metric"))?;
        let mut settings = settings.called(format!("group metric `{metric}`"));
        match settings.take("aggregation") {
            None => {}
            given => match settings::name("aggregation", given)? {
                name if name == "mean" => {}
                name => return Err(Refusal::Unknown { what: "aggregation", name }),
            },
        }
        let filter_list = match settings.take("filter_list") {
            Some(Value::String(filter)) => Some(vec![filter]),
            None | Some(Value::Null) => None,
            Some(Value::Array(filters)) => {
                let names = filters.iter().map(|filter| filter.as_str().map(str::to_owned)).collect::<Option<_>>();
                Some(names.ok_or_else(|| settings.wrong("filter_list", "a list of names"))?)
            }
            Some(_) => return Err(settings.wrong("filter_list", "a list of names")),
        };
        let weight_by_size = settings.flag("weight_by_size", true)?;
        settings.end()?;
        Ok(Self { metric, filter_list, weight_by_size })
    }
}

/// The scores of one task of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskScores {
    /// Number of rows: the largest number of values of any of its metrics.
    pub n: usize,
    /// Its scores.
    pub scores: Vec<Score>,
}

impl TaskScores {
    /// The scores of a task with their number of rows.
    pub fn new(scores: Vec<Score>) -> Self {
        Self { n: scores.iter().map(|score| score.n).max().unwrap_or(0), scores }
    }
}

/// The scores of a group from those of all tasks below it, in their order; a task without a metric is left out of it.
pub fn aggregate_group(metrics: &[GroupMetric], tasks: &[TaskScores]) -> Vec<Score> {
    let mut out: Vec<Score> = Vec::new();
    for metric in metrics {
        let filters = metric.filter_list.clone().unwrap_or_else(|| filters_of(&metric.metric, tasks));
        for filter in filters {
            let found = |task: &TaskScores| {
                let score = task.scores.iter().find(|score| score.metric == metric.metric && score.filter == filter);
                score.map(|score| (task.n, score.clone()))
            };
            let found: Vec<(usize, Score)> = tasks.iter().filter_map(found).collect();
            let Some(score) = together(&found, metric.weight_by_size) else { continue };
            // A later entry of the same name takes the place of the earlier one.
            match out.iter_mut().find(|other| other.metric == score.metric && other.filter == score.filter) {
                Some(other) => *other = score,
                None => out.push(score),
            }
        }
    }
    out
}

fn filters_of(metric: &str, tasks: &[TaskScores]) -> Vec<String> {
    let scores = tasks.iter().flat_map(|task| &task.scores).filter(|score| score.metric == metric);
    // lm-eval tells standard errors by this part of their name.
    let names = scores.map(|score| score.filter.clone()).filter(|filter| !filter.contains("_stderr"));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// `aggregate_subtask_metrics` with the standard error that belongs to it.
fn together(tasks: &[(usize, Score)], weight_by_size: bool) -> Option<Score> {
    let (_, first) = tasks.first()?;
    let weight = |n: usize| if weight_by_size { n as f64 } else { 1.0 };
    let weighted: Vec<f64> = tasks.iter().map(|(n, score)| score.value * weight(*n)).collect();
    let weights: Vec<f64> = tasks.iter().map(|(n, _)| weight(*n)).collect();
    let stderrs: Option<Vec<(usize, f64)>> = tasks.iter().map(|(n, score)| Some((*n, score.stderr?))).collect();
    let pool = if weight_by_size { pooled_stderr } else { unweighted_stderr };
    let same_direction = tasks.iter().all(|(_, score)| score.higher_is_better == first.higher_is_better);
    Some(Score {
        filter: first.filter.clone(),
        metric: first.metric.clone(),
        value: sum(&weighted) / sum(&weights),
        stderr: stderrs.map(|stderrs| pool(&stderrs)),
        n: tasks.iter().map(|(n, _)| n).sum(),
        higher_is_better: first.higher_is_better.filter(|_| same_direction),
    })
}

/// `pooled_sample_stderr`: the pooled variance of the tasks, per row of all.
fn pooled_stderr(stderrs: &[(usize, f64)]) -> f64 {
    let terms: Vec<f64> = stderrs.iter().map(|(n, stderr)| (*n as f64 - 1.0) * stderr.powi(2) * *n as f64).collect();
    let rows = stderrs.iter().map(|(n, _)| n).sum::<usize>() as f64;
    let variance = sum(&terms) / (rows - stderrs.len() as f64);
    (variance / rows).sqrt()
}

/// `unweighted_mean_stderr`: that of the mean of independent means.
fn unweighted_stderr(stderrs: &[(usize, f64)]) -> f64 {
    let squares: Vec<f64> = stderrs.iter().map(|(_, stderr)| stderr.powi(2)).collect();
    sum(&squares).sqrt() / stderrs.len() as f64
}
