//! A finished run as results: one task, the sealed rows.

use std::{collections::BTreeMap, f64::consts::LN_2, path::Path};

use serde_json::Value;

use super::{
    Aggregate, CompareError, Item, MetricResults, Results, TaskResults,
    json::{self, wrong},
};
use crate::{
    event::{Event, Kind},
    grade::{Grade, Passage},
};

/// The tuned model of a run on its sealed rows, or the base where nothing was tuned.
pub(super) fn load(dir: &Path, cluster: Option<&str>) -> Result<Results, CompareError> {
    let name = dir.display().to_string();
    if let Some(column) = cluster {
        return Err(CompareError::NoCluster {
            task: name,
            column: column.to_owned(),
            columns: "results of an evaluation, as a run keeps no documents of its grade".to_owned(),
        });
    }
    let log = dir.join("events.jsonl");
    let mut grade = None;
    json::lines(&log, |line, event| {
        let event: Event = serde_json::from_value(event)
            .map_err(|e| wrong(&log, format!("line {line} is not an event that this version knows ({e})")))?;
        match event.kind {
            Kind::Graded { grade: found, .. } => grade = Some(found),
            // A run that went on has another result, or none yet.
            Kind::Resumed { .. } => grade = None,
            _ => {}
        }
        Ok(())
    })?;
    let grade =
        grade.ok_or_else(|| wrong(dir, "the run was not graded; finish it with `tunesmith resume`, or grade it"))?;
    let manifest = dir.join("run.json");
    let hashes = if manifest.exists() { json::read(&manifest)?["hashes"].clone() } else { Value::Null };
    // Rows have no names, so they are the same rows only where all sealed rows are.
    let sealed = hashes["sealed"].as_str().map_or_else(|| name.clone(), str::to_owned);
    Ok(of_grade(name, &grade, &sealed))
}

/// A run's grade as results; `sealed` names its sealed rows, in order.
pub fn of_grade(name: String, grade: &Grade, sealed: &str) -> Results {
    let task = TaskResults { facts: BTreeMap::new(), metrics: metrics(grade, sealed) };
    Results { name, tasks: [("sealed rows".to_owned(), task)].into(), notes: Vec::new() }
}

/// Raw text, whose passages weigh as much as their bytes.
fn of_texts(grade: &Grade, value: f64, sealed: &str) -> MetricResults {
    let of = grade.passages.len();
    let item = |(row, passage): (usize, &Passage)| Item {
        key: format!("{sealed} {row:06} of {of}"),
        sums: vec![-LN_2 * passage.tuned.unwrap_or(passage.base), passage.bytes as f64],
        prompt: None,
        cluster: None,
    };
    MetricResults {
        value: Some(value),
        stderr: None,
        higher_is_better: false,
        aggregate: Aggregate::BitsPerByte,
        items: grade.passages.iter().enumerate().map(item).collect(),
    }
}

fn metrics(grade: &Grade, sealed: &str) -> BTreeMap<String, MetricResults> {
    let measured = grade.tuned.as_ref().unwrap_or(&grade.base);
    if !grade.passages.is_empty() {
        return [(format!("{},none", grade.metric), of_texts(grade, measured.value, sealed))].into();
    }
    let right = |(base, tuned): &(bool, Option<bool>)| if grade.tuned.is_some() { *tuned } else { Some(*base) };
    let right: Option<Vec<bool>> = grade.items.iter().map(right).collect();
    let of = right.as_ref().map_or(0, Vec::len);
    let item = |(row, right): (usize, bool)| Item {
        key: format!("{sealed} {row:06} of {of}"),
        sums: vec![f64::from(u8::from(right)), 1.0],
        prompt: None,
        cluster: None,
    };
    let metric = MetricResults {
        value: Some(measured.value),
        stderr: None,
        higher_is_better: true,
        aggregate: Aggregate::Mean,
        items: right.into_iter().flatten().enumerate().map(item).collect(),
    };
    [(format!("{},none", grade.metric), metric)].into()
}
