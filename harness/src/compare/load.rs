//! Reading results: what `tunesmith eval` and lm-eval write, and finished runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Aggregate, CompareError, Item, MetricResults, Results, TaskResults,
    aggregate::number,
    json::{self, wrong},
    run,
};
use crate::{eval::evaluation::samples_file, hash::sha256};

/// Fields of a task's configuration that say nothing about what was asked.
const INCIDENTAL: [&str; 4] = ["metadata", "task_alias", "tag", "task"];
/// Metrics of which less is better, where the results do not say.
const LOWER: [&str; 6] = ["perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"];
/// Entries of a directory that are looked at.
const ENTRIES: usize = 100_000;

/// Reads results: a directory or file of an evaluation, or a finished run.
///
/// `cluster` names a column of the documents whose value is the cluster of an item.
pub fn load(path: &Path, cluster: Option<&str>) -> Result<Results, CompareError> {
    if path.is_dir() {
        return if path.join("events.jsonl").exists() { run::load(path, cluster) } else { directory(path, cluster) };
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    match path.file_name().and_then(|name| name.to_str()) {
        Some("report.json" | "events.jsonl" | "run.json") if dir.join("events.jsonl").exists() => {
            run::load(dir, cluster)
        }
        Some(name) if name.ends_with(".jsonl") => samples_alone(path, name, cluster),
        Some(name) => results(path, name, cluster),
        None => Err(wrong(path, "is not the name of a file")),
    }
}

/// The newest results file of a directory, or of the only directory in it that has some: lm-eval makes one for each model.
fn directory(path: &Path, cluster: Option<&str>) -> Result<Results, CompareError> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut look = |dir: &Path| -> Result<Vec<String>, CompareError> {
        let names = names(dir)?;
        let results = |name: &&String| name.as_str() == "results.json" || dated(name);
        let here: Vec<String> = names.iter().filter(results).cloned().collect();
        if !here.is_empty() {
            found.insert(dir.into(), here);
        }
        Ok(names)
    };
    for name in look(path)? {
        if path.join(&name).is_dir() {
            look(&path.join(&name))?;
        }
    }
    let mut found = found.into_iter();
    let Some((dir, mut files)) = found.next() else {
        return Err(wrong(
            path,
            "holds neither results of an evaluation (results_*.json) nor a run; name one that does",
        ));
    };
    if let Some((other, _)) = found.next() {
        let why = format!("holds results in {} and in {}; name one of them", dir.display(), other.display());
        return Err(wrong(path, why));
    }
    // Their names end in a date that sorts.
    files.sort();
    let Some(newest) = files.last() else { return Err(wrong(path, "holds no results")) };
    let mut read = results(&dir.join(newest), newest, cluster)?;
    read.name = path.display().to_string();
    if files.len() > 1 {
        read.notes.push(format!("the newest of {} results files is used, {newest}", files.len()));
    }
    Ok(read)
}

fn dated(name: &str) -> bool {
    name.starts_with("results_") && name.ends_with(".json")
}

fn names(dir: &Path) -> Result<Vec<String>, CompareError> {
    let entries = std::fs::read_dir(dir).map_err(|e| wrong(dir, e.to_string()))?;
    let names = entries.take(ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

/// A results file with the samples beside it.
fn results(path: &Path, name: &str, cluster: Option<&str>) -> Result<Results, CompareError> {
    let read = json::read(path)?;
    let Some(values) = read["results"].as_object() else {
        return Err(wrong(path, "has no results; name what `tunesmith eval --out` or lm-eval's --output_path wrote"));
    };
    let mut all = Results { name: path.display().to_string(), ..Results::default() };
    let dir = path.parent().unwrap_or(Path::new("."));
    let files: BTreeSet<String> =
        names(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.into_iter().collect();
    // `results_DATE.json` stands beside `samples_TASK_DATE.jsonl`, `results.json` beside `samples_TASK.jsonl`.
    let stem = name.trim_end_matches(".json");
    let date = stem.rsplit_once('_').map(|(_, date)| date);
    let is_group = |task: &str| {
        read["groups"].get(task).is_some() || read["group_subtasks"][task].as_array().is_some_and(|of| !of.is_empty())
    };
    for (task, entries) in values.iter().filter(|(task, _)| !is_group(task)) {
        let Some(entries) = entries.as_object() else {
            return Err(wrong(path, format!("the results of {task:?} are not a table; make them again")));
        };
        let mut found =
            TaskResults { facts: facts(&read, task), metrics: metrics(entries, &read["higher_is_better"][task]) };
        let candidates = [date.map(|date| format!("samples_{task}_{date}.jsonl")), Some(samples_file(task))];
        match candidates.into_iter().flatten().find(|file| files.contains(file)) {
            Some(file) => add_items(&mut found, task, &dir.join(file), cluster, &mut all.notes)?,
            None => all.notes.push(format!("{task}: its samples are not there, so its values are compared unpaired")),
        }
        if !found.metrics.is_empty() {
            all.tasks.insert(task.clone(), found);
        }
    }
    if all.tasks.is_empty() { Err(wrong(path, "holds no value of any task")) } else { Ok(all) }
}

/// What two results must share to be of the same task.
fn facts(read: &Value, task: &str) -> BTreeMap<String, Value> {
    let mut facts = BTreeMap::new();
    for name in ["versions", "n-shot"] {
        facts.extend(read[name].get(task).map(|value| (name.to_owned(), value.clone())));
    }
    for name in ["chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn"] {
        facts.extend(read.get(name).filter(|value| !value.is_null()).map(|value| (name.to_owned(), value.clone())));
    }
    let config = read["configs"][task].as_object().into_iter().flatten();
    facts.extend(
        config
            .filter(|(name, value)| !INCIDENTAL.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    facts
}

/// The values of `metric,filter` with `metric_stderr,filter`.
fn metrics(entries: &Map<String, Value>, higher: &Value) -> BTreeMap<String, MetricResults> {
    let metric = |(key, value): (&String, &Value)| {
        let (metric, filter) = key.split_once(',')?;
        if metric.ends_with("_stderr") {
            return None;
        }
        let found = MetricResults {
            value: number(value),
            stderr: entries.get(&format!("{metric}_stderr,{filter}")).and_then(number),
            higher_is_better: higher[metric].as_bool().unwrap_or(!LOWER.contains(&metric)),
            aggregate: Aggregate::Mean,
            items: Vec::new(),
        };
        Some((key.clone(), found))
    };
    entries.iter().filter_map(metric).collect()
}

/// A samples file without its results: every metric of its lines whose items make a value.
fn samples_alone(path: &Path, name: &str, cluster: Option<&str>) -> Result<Results, CompareError> {
    let stem = name.strip_suffix(".jsonl").unwrap_or(name);
    let stem = stem.strip_prefix("samples_").unwrap_or(stem);
    // A date, as lm-eval writes it, is no part of the task's name.
    let task =
        stem.rsplit_once('_').filter(|(_, date)| date.contains('T') && date.starts_with(|c: char| c.is_ascii_digit()));
    let task = task.map_or(stem, |(task, _)| task);
    let mut all = Results { name: path.display().to_string(), ..Results::default() };
    let mut found = TaskResults::default();
    add_items(&mut found, task, path, cluster, &mut all.notes)?;
    found.metrics.retain(|_, metric| !metric.items.is_empty());
    if found.metrics.is_empty() {
        return Err(wrong(path, "holds no item with a metric; name a samples file or a results file"));
    }
    all.tasks.insert(task.to_owned(), found);
    Ok(all)
}

/// The items of one metric while they are read.
#[derive(Default)]
struct Gathered {
    aggregate: Option<Aggregate>,
    items: Vec<(u64, Item)>,
    unusable: bool,
}

/// Reads the items of a task and keeps those of each metric whose reported value they make.
fn add_items(
    task: &mut TaskResults,
    name: &str,
    path: &Path,
    cluster: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(), CompareError> {
    let alone = task.metrics.is_empty();
    let mut gathered: BTreeMap<String, Gathered> = BTreeMap::new();
    json::lines(path, |line, sample| {
        let Some(sample) = sample.as_object() else { return Err(wrong(path, format!("line {line} is no object"))) };
        let text = |field: &str| sample.get(field).and_then(Value::as_str);
        let id = sample.get("doc_id").and_then(Value::as_u64).unwrap_or(line as u64);
        let filter = text("filter").unwrap_or("none");
        let doc = text("doc_hash").map_or_else(|| format!("doc {id}"), str::to_owned);
        let of_doc = cluster.map(|column| cluster_of(name, column, sample)).transpose()?;
        for metric in sample.get("metrics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let key = format!("{metric},{filter}");
            let Some(value) = sample.get(metric).filter(|_| alone || task.metrics.contains_key(&key)) else { continue };
            let into = gathered.entry(key).or_default();
            let aggregate = *into.aggregate.get_or_insert_with(|| Aggregate::of(metric, value));
            match aggregate.sums(metric, value) {
                Some(sums) => {
                    let prompt = text("prompt_hash").map(str::to_owned);
                    into.items.push((id, Item { key: doc.clone(), sums, prompt, cluster: of_doc.clone() }));
                }
                None => into.unusable = true,
            }
        }
        Ok(())
    })?;
    let mut unmade = Vec::new();
    for (key, mut found) in gathered {
        let (Some(aggregate), false) = (found.aggregate, found.unusable) else {
            unmade.push(key);
            continue;
        };
        let value = aggregate.value(&total(&found.items));
        let metric = task.metrics.entry(key.clone()).or_insert_with(|| MetricResults {
            value,
            stderr: None,
            higher_is_better: !LOWER.contains(&key.split(',').next().unwrap_or_default()),
            aggregate,
            items: Vec::new(),
        });
        match (metric.value, value) {
            (Some(reported), Some(made)) if (reported - made).abs() <= 1e-6 * reported.abs().max(1e-3) => {
                metric.aggregate = aggregate;
                metric.items = numbered(&mut found.items);
            }
            _ => unmade.push(key),
        }
    }
    if !unmade.is_empty() {
        let metrics = unmade.join(" and ");
        notes.push(format!("{name}: the items do not make the value of {metrics}, so it is compared unpaired"));
    }
    Ok(())
}

fn total(items: &[(u64, Item)]) -> Vec<f64> {
    let mut total = Vec::new();
    for (_, item) in items {
        total.resize(item.sums.len(), 0.0);
        total.iter_mut().zip(&item.sums).for_each(|(sum, more)| *sum += more);
    }
    total
}

/// Items that are alike to the letter are told apart by their order.
fn numbered(items: &mut Vec<(u64, Item)>) -> Vec<Item> {
    items.sort_by_key(|(id, _)| *id);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    std::mem::take(items)
        .into_iter()
        .map(|(_, mut item)| {
            let count = seen.entry(item.key.clone()).or_default();
            *count += 1;
            if *count > 1 {
                item.key = format!("{} #{count}", item.key);
            }
            item
        })
        .collect()
}

fn cluster_of(task: &str, column: &str, sample: &Map<String, Value>) -> Result<String, CompareError> {
    let doc = sample.get("doc").and_then(Value::as_object);
    let value = doc.and_then(|doc| doc.get(column)).filter(|value| !value.is_null());
    let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    // A cluster may be a long passage, of which only the name is kept.
    text.map(|text| if text.len() > 64 { sha256(text.as_bytes()) } else { text }).ok_or_else(|| {
        let columns: Vec<&str> = doc.into_iter().flat_map(Map::keys).take(20).map(String::as_str).collect();
        CompareError::NoCluster { task: task.to_owned(), column: column.to_owned(), columns: columns.join(", ") }
    })
}
