//! From answers to scores: filters, metrics of every row, aggregation and intervals of one task.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    aggregate::{Bootstrap, Score, aggregate},
    config::OutputType,
    figure::Figure,
    filters::{Answer, Pipeline},
    journal::key,
    metrics::{Item, Metric},
    process::{Truth, process_results},
    python::repr::str_of,
    request::{Doc, Instance, Request, Response},
    task::{EvalTask, Hashes, Target},
};

mod interval;

use interval::interval;

/// A task with the requests that it makes.
pub struct Planned {
    /// The task.
    pub task: EvalTask,
    /// Its requests, in the order of its rows.
    pub instances: Vec<Instance>,
    /// Number of few-shot examples.
    pub n_shot: usize,
    /// Hashes of each asked row, by its position.
    pub hashes: Vec<Hashes>,
    /// Rows that answers of the same cluster are not independent of, by their position; `None` where all are.
    pub clusters: Option<Vec<usize>>,
}

/// What a task came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// One score for each metric behind each filter.
    pub scores: Vec<Score>,
    /// The same with intervals, chance and format failures.
    pub figures: Vec<Figure>,
    /// One line for each row behind each filter, in lm-eval's format.
    pub samples: Vec<Map<String, Value>>,
    /// Rows that were scored.
    pub rows: usize,
}

/// Why answers give no scores.
#[derive(Debug, thiserror::Error)]
#[error("the task `{task}` cannot be scored: {why}")]
pub struct ScoreError {
    /// Its name.
    pub task: String,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Planned {
    /// Only the first row, on which scoring is tried before the long run.
    pub fn first_row(&self) -> &[Instance] {
        let first = self.instances.first().map(|instance| instance.doc_id);
        let end = self.instances.iter().position(|instance| Some(instance.doc_id) != first);
        &self.instances[..end.unwrap_or(self.instances.len())]
    }

    /// Scores the rows of `instances`, which are all of this task's or those of its first rows.
    pub fn score(
        &self,
        instances: &[Instance],
        answers: &HashMap<String, Response>,
        bootstrap: Bootstrap,
    ) -> Result<Scored, ScoreError> {
        self.scored(instances, answers, bootstrap)
            .map_err(|why| ScoreError { task: self.task.config.task.clone(), why })
    }

    fn scored(
        &self,
        instances: &[Instance],
        answers: &HashMap<String, Response>,
        bootstrap: Bootstrap,
    ) -> Result<Scored, String> {
        let config = &self.task.config;
        let metrics = self.task.metrics().map_err(|e| e.to_string())?;
        let pipelines = Pipeline::read(config.filter_list.as_deref()).map_err(|e| e.to_string())?;
        let given = given(instances, answers)?;
        let docs = instances.iter().map(|i| self.task.docs.get(i.doc_id)).collect::<Option<Vec<&Doc>>>();
        let docs = docs.ok_or("the requests are not those of its rows")?;
        let (mut scores, mut figures, mut samples, mut rows) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for pipeline in &pipelines {
            let filtered = pipeline.apply(given.clone(), &docs).map_err(|e| e.to_string())?;
            let judged = self.judge(instances, &given, &filtered, metrics, &pipeline.name)?;
            rows = judged.len();
            let failures = format_failures(pipeline, &judged);
            for (metric, items, ids) in columns(&judged, metrics) {
                let score = aggregate(&metric, &pipeline.name, &items, bootstrap).map_err(|e| e.to_string())?;
                figures.push(self.figure(&score, &metric, &items, &ids, failures));
                scores.push(score);
            }
            samples.extend(judged.into_iter().map(|row| row.sample));
        }
        Ok(Scored { scores, figures, samples, rows })
    }

    /// Each row with what its metrics say.
    fn judge(
        &self,
        instances: &[Instance],
        given: &[Vec<Answer>],
        filtered: &[Answer],
        metrics: &[Metric],
        filter: &str,
    ) -> Result<Vec<Judged>, String> {
        let mut rows = Vec::new();
        let mut start = 0;
        while start < instances.len() {
            let doc_id = instances[start].doc_id;
            let end = instances[start..].iter().position(|i| i.doc_id != doc_id).map_or(instances.len(), |n| start + n);
            let part = start..end;
            let row = self.row(&instances[part.clone()], &given[part.clone()], &filtered[part], metrics, filter);
            rows.push(row.map_err(|why| format!("row {}: {why}", doc_id + 1))?);
            start = end;
        }
        Ok(rows)
    }

    fn row(
        &self,
        instances: &[Instance],
        given: &[Vec<Answer>],
        filtered: &[Answer],
        metrics: &[Metric],
        filter: &str,
    ) -> Result<Judged, String> {
        let task = &self.task;
        let Some(first) = instances.first() else { return Err("it has no request".into()) };
        let doc = task.docs.get(first.doc_id).ok_or("it is not there")?;
        let said = |e: super::task::Error| e.to_string();
        let items = match task.results_port() {
            Some(port) => port(doc, filtered)?,
            None => {
                let choices: Option<Vec<String>> = match task.has_choices() {
                    true => Some(task.choices(doc).map_err(said)?.into_iter().map(str_of).collect()),
                    false => None,
                };
                let gold = gold(task.target(doc).map_err(said)?);
                let truth = Truth {
                    output_type: task.config.output_type,
                    gold: &gold,
                    choices: choices.as_deref(),
                    multiple_target: task.multiple_target(),
                };
                process_results(&truth, metrics, filtered).map_err(|e| e.to_string())?
            }
        };
        let target = task.target_value(doc).map_err(said)?;
        let hashes = self.hashes.get(first.doc_id).ok_or("it was not asked")?;
        let arguments =
            instances.iter().enumerate().map(|(i, instance)| (format!("gen_args_{i}"), arguments(instance)));
        let mut sample = Map::from_iter([
            ("doc_id".to_owned(), json!(first.doc_id)),
            ("doc".to_owned(), json!(doc)),
            ("target".to_owned(), json!(str_of(target))),
            ("arguments".to_owned(), Value::Object(arguments.collect())),
            ("resps".to_owned(), given.iter().map(|repeats| repeats.iter().map(written).collect::<Value>()).collect()),
            ("filtered_resps".to_owned(), filtered.iter().map(written).collect()),
            ("filter".to_owned(), json!(filter)),
            ("metrics".to_owned(), items.iter().map(|(name, _)| name.as_str()).collect()),
            ("doc_hash".to_owned(), json!(hashes.doc)),
            ("prompt_hash".to_owned(), json!(hashes.prompt)),
            ("target_hash".to_owned(), json!(hashes.target)),
        ]);
        sample.extend(items.iter().map(|(name, item)| (name.clone(), json!(item))));
        Ok(Judged { doc_id: first.doc_id, items, sample, filtered: filtered.to_vec() })
    }

    fn figure(
        &self,
        score: &Score,
        metric: &Metric,
        items: &[Item],
        ids: &[usize],
        format_failures: Option<f64>,
    ) -> Figure {
        let clusters: Option<Vec<usize>> =
            self.clusters.as_ref().map(|all| ids.iter().map(|id| all.get(*id).copied().unwrap_or(*id)).collect());
        let found = interval(score, metric, items, clusters.as_deref());
        let mut figure = Figure {
            task: self.task.config.task.clone(),
            depth: 0,
            filter: score.filter.clone(),
            metric: score.metric.clone(),
            n_shot: Some(self.n_shot),
            value: Some(score.value).filter(|value| value.is_finite()),
            interval: None,
            method: None,
            stderr: score.stderr.filter(|stderr| stderr.is_finite()),
            n: score.n,
            higher_is_better: score.higher_is_better,
            chance: self.chance(&score.metric, ids),
            format_failures,
        };
        if let Some((interval, method)) = found.and_then(|(ends, how)| Some((figure.within_range(ends)?, how))) {
            (figure.interval, figure.method) = (Some(interval), Some(method.to_owned()));
        }
        figure
    }

    /// What choosing at random reaches: the mean share of right choices.
    fn chance(&self, metric: &str, ids: &[usize]) -> Option<f64> {
        let of_choices = matches!(metric, "acc" | "acc_norm" | "acc_bytes" | "acc_mutual_info");
        if self.task.config.output_type != OutputType::MultipleChoice || !of_choices || ids.is_empty() {
            return None;
        }
        let share = |id: &usize| -> Option<f64> {
            let doc = self.task.docs.get(*id)?;
            let choices = self.task.choices(doc).ok()?.len();
            let right = match self.task.target(doc).ok()? {
                Target::Several(several) => several.len(),
                _ => 1,
            };
            (choices > 0).then(|| (right as f64 / choices as f64).min(1.0))
        };
        let shares: Vec<f64> = ids.iter().map(share).collect::<Option<_>>()?;
        Some(shares.iter().sum::<f64>() / shares.len() as f64)
    }
}

/// One row behind one filter.
struct Judged {
    doc_id: usize,
    items: Vec<(String, Item)>,
    sample: Map<String, Value>,
    filtered: Vec<Answer>,
}

/// The answers to each request, one for each repetition.
fn given(instances: &[Instance], answers: &HashMap<String, Response>) -> Result<Vec<Vec<Answer>>, String> {
    let mut missing = 0;
    let mut all = Vec::with_capacity(instances.len());
    for instance in instances {
        let keys = (0..instance.repeats.max(1)).map(|repeat| key(&instance.request, repeat));
        let found: Vec<Answer> = keys.filter_map(|key| answers.get(&key).cloned().map(Answer::from)).collect();
        missing += instance.repeats.max(1) - found.len();
        all.push(found);
    }
    match missing {
        0 => Ok(all),
        1 => Err("one answer is missing; go on with `tunesmith eval --resume`".into()),
        _ => Err(format!("{missing} answers are missing; go on with `tunesmith eval --resume`")),
    }
}

/// The target as `process_results` takes it.
fn gold(target: Target) -> Value {
    match target {
        Target::Index(index) => json!(index),
        Target::Text(text) => Value::String(text),
        Target::Several(several) => Value::Array(several),
        Target::Other(value) => value,
    }
}

/// lm-eval's `arguments` of a request.
fn arguments(instance: &Instance) -> Value {
    match &instance.request {
        Request::Loglikelihood { context, continuation } => json!({"arg_0": context, "arg_1": continuation}),
        Request::LoglikelihoodRolling { text } => json!({"arg_0": text}),
        Request::GenerateUntil { context, settings } => json!({"arg_0": context, "arg_1": settings}),
    }
}

/// An answer as lm-eval writes it into samples: `["-1.5", "False"]` for a log-likelihood.
fn written(answer: &Answer) -> Value {
    let python = |truth: bool| if truth { "True" } else { "False" };
    match answer {
        Answer::Loglikelihood { sum, greedy } => json!([str_of(*sum), python(*greedy)]),
        Answer::Rolling(sum) => json!(str_of(*sum)),
        Answer::Text(text) => json!(text),
        Answer::Value(value) => json!(str_of(value.clone())),
        Answer::List(several) => several.iter().map(written).collect(),
    }
}

/// The values of each metric over the rows that have one, and which rows these are.
fn columns(judged: &[Judged], metrics: &[Metric]) -> Vec<(Metric, Vec<Item>, Vec<usize>)> {
    let mut found: Vec<(Metric, Vec<Item>, Vec<usize>)> = Vec::new();
    for row in judged {
        for (name, item) in &row.items {
            let at = found.iter().position(|(metric, ..)| metric.name == *name).or_else(|| {
                let metric = metrics.iter().find(|metric| metric.name == *name)?;
                found.push((metric.clone(), Vec::new(), Vec::new()));
                Some(found.len() - 1)
            });
            if let Some((_, items, ids)) = at.and_then(|at| found.get_mut(at)) {
                items.push(item.clone());
                ids.push(row.doc_id);
            }
        }
    }
    found
}

/// The share of rows in which a filter that looks for something found nothing; `None` where none looks, or where what it
/// leaves then cannot be told from an answer.
fn format_failures(pipeline: &Pipeline, judged: &[Judged]) -> Option<f64> {
    let mark = pipeline.nothing_found()?;
    let failed = judged.iter().filter(|row| row.filtered.iter().all(|answer| *answer == mark)).count();
    (!judged.is_empty()).then(|| failed as f64 / judged.len() as f64)
}
