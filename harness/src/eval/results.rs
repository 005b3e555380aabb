//! What an evaluation came to, in the files that lm-eval writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    aggregate::{Score, TaskScores, aggregate_group},
    figure::Figure,
    python::repr::str_of,
    registry::Group,
    scored::{Planned, Scored},
};
use crate::{hash::sha256, stats};

/// lm-eval's results object, with what it has no place for under `tunesmith`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Metrics of each task and group: `acc,none`, `acc_stderr,none`.
    pub results: Map<String, Value>,
    /// Those of groups that put metrics together.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub groups: Map<String, Value>,
    /// What stands below each group.
    pub group_subtasks: BTreeMap<String, Vec<String>>,
    /// What each task's file says.
    pub configs: BTreeMap<String, Value>,
    /// Versions of tasks and groups.
    pub versions: BTreeMap<String, Value>,
    /// Number of few-shot examples.
    #[serde(rename = "n-shot")]
    pub n_shot: BTreeMap<String, usize>,
    /// Which metrics are better when higher.
    pub higher_is_better: BTreeMap<String, Map<String, Value>>,
    /// Rows there are, and rows that were scored.
    #[serde(rename = "n-samples")]
    pub n_samples: Map<String, Value>,
    /// How the evaluation was made.
    pub config: Value,
    /// Hash over the samples' hashes: tasks of equal hash asked the same.
    pub task_hashes: Map<String, Value>,
    /// The same figures with their intervals.
    pub tunesmith: Own,
}

/// What lm-eval has no place for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// Version of the program.
    pub version: String,
    /// Fingerprint of the model that answered.
    pub fingerprint: String,
    /// Each metric with its interval, chance level and format failures.
    pub figures: Vec<Figure>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

impl Results {
    /// Puts the scores of all tasks together; `groups` has an outer group before the inner ones.
    pub fn of(
        tasks: &[(&Planned, Scored)],
        groups: &[Group],
        (config, fingerprint): (Value, &str),
        notes: Vec<String>,
    ) -> Self {
        let mut all = Results {
            results: Map::new(),
            groups: Map::new(),
            group_subtasks: BTreeMap::new(),
            configs: BTreeMap::new(),
            versions: BTreeMap::new(),
            n_shot: BTreeMap::new(),
            higher_is_better: BTreeMap::new(),
            n_samples: Map::new(),
            config,
            task_hashes: Map::new(),
            tunesmith: Own {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                fingerprint: fingerprint.to_owned(),
                figures: Vec::new(),
                notes,
            },
        };
        tasks.iter().for_each(|(planned, scored)| all.add_task(planned, scored));
        groups.iter().rev().for_each(|group| all.add_group(group, groups, tasks));
        all.tunesmith.figures = all.figures(tasks, groups);
        all
    }

    fn add_task(&mut self, planned: &Planned, scored: &Scored) {
        let config = &planned.task.config;
        let name = config.task.clone();
        let alias = config.task_alias.as_ref().unwrap_or(&name);
        self.results.insert(name.clone(), metrics(&name, alias, scored.rows, &scored.scores));
        self.configs.insert(name.clone(), json!(config));
        let version = config.metadata.get("version").cloned().unwrap_or_else(|| json!("Yaml"));
        self.versions.insert(name.clone(), version);
        self.n_shot.insert(name.clone(), planned.n_shot);
        let better = scored.scores.iter().map(|score| (score.metric.clone(), json!(score.higher_is_better)));
        self.higher_is_better.insert(name.clone(), better.collect());
        let counts = json!({"original": planned.task.docs.len(), "effective": scored.rows});
        self.n_samples.insert(name.clone(), counts);
        let hash = |sample: &Map<String, Value>, key: &str| sample.get(key)?.as_str().map(str::to_owned);
        let hashes = scored.samples.iter().flat_map(|sample| {
            ["doc_hash", "prompt_hash", "target_hash"].into_iter().filter_map(move |key| hash(sample, key))
        });
        self.task_hashes.insert(name, json!(sha256(hashes.collect::<String>().as_bytes())));
    }

    fn add_group(&mut self, group: &Group, groups: &[Group], tasks: &[(&Planned, Scored)]) {
        let below: Vec<TaskScores> =
            leaves(group, groups, tasks).into_iter().map(|scored| TaskScores::new(scored.scores.clone())).collect();
        let scores = aggregate_group(&group.aggregates, &below);
        let rows = below.iter().map(|task| task.n).sum();
        let alias = group.alias.as_ref().unwrap_or(&group.name);
        let whole = match group.aggregates.is_empty() {
            true => json!({"alias": alias, "name": group.name}),
            false => metrics(&group.name, alias, rows, &scores),
        };
        if !group.aggregates.is_empty() {
            self.groups.insert(group.name.clone(), whole.clone());
        }
        self.results.insert(group.name.clone(), whole);
        self.group_subtasks.insert(group.name.clone(), group.members.clone());
        // lm-eval writes versions of groups as text, those of tasks as they are.
        let version = group.metadata.get("version").map_or_else(|| "N/A".to_owned(), |v| str_of(v.clone()));
        self.versions.insert(group.name.clone(), json!(version));
        let shots: Option<Vec<usize>> = group.members.iter().map(|child| self.n_shot.get(child).copied()).collect();
        if let Some([first, rest @ ..]) = shots.as_deref()
            && rest.iter().all(|n| n == first)
        {
            self.n_shot.insert(group.name.clone(), *first);
        }
        let mut better: Map<String, Value> = Map::new();
        for (metric, value) in group.members.iter().filter_map(|child| self.higher_is_better.get(child)).flatten() {
            let merged = better.entry(metric).or_insert_with(|| value.clone());
            if merged != value {
                *merged = Value::Null;
            }
        }
        if !better.is_empty() {
            self.higher_is_better.insert(group.name.clone(), better);
        }
    }

    /// The figures in the order of a table: each group before what stands below it.
    fn figures(&self, tasks: &[(&Planned, Scored)], groups: &[Group]) -> Vec<Figure> {
        let mut out = Vec::new();
        let inner = |name: &str| groups.iter().any(|group| group.members.iter().any(|child| child == name));
        let names = groups.iter().map(|group| group.name.as_str());
        let names = names.chain(tasks.iter().map(|(planned, _)| planned.task.config.task.as_str()));
        for name in names.filter(|name| !inner(name)) {
            self.figures_below(name, 0, tasks, groups, &mut out);
        }
        out
    }

    fn figures_below(
        &self,
        name: &str,
        depth: usize,
        tasks: &[(&Planned, Scored)],
        groups: &[Group],
        out: &mut Vec<Figure>,
    ) {
        if let Some((_, scored)) = tasks.iter().find(|(planned, _)| planned.task.config.task == name) {
            out.extend(scored.figures.iter().map(|figure| Figure { depth, ..figure.clone() }));
        } else if let Some(group) = groups.iter().find(|group| group.name == name) {
            let below: Vec<TaskScores> =
                leaves(group, groups, tasks).into_iter().map(|scored| TaskScores::new(scored.scores.clone())).collect();
            let scores = aggregate_group(&group.aggregates, &below);
            out.extend(scores.iter().map(|score| self.group_figure(group, score, depth)));
            group.members.iter().for_each(|child| self.figures_below(child, depth + 1, tasks, groups, out));
        }
    }

    fn group_figure(&self, group: &Group, score: &Score, depth: usize) -> Figure {
        let half = score.stderr.filter(|e| e.is_finite()).zip(stats::normal_quantile(0.975)).map(|(e, z)| e * z);
        let mut figure = Figure {
            task: group.name.clone(),
            depth,
            filter: score.filter.clone(),
            metric: score.metric.clone(),
            n_shot: self.n_shot.get(&group.name).copied(),
            value: Some(score.value).filter(|value| value.is_finite()),
            interval: None,
            method: None,
            stderr: score.stderr.filter(|e| e.is_finite()),
            n: score.n,
            higher_is_better: score.higher_is_better,
            chance: None,
            format_failures: None,
        };
        figure.interval = half.and_then(|half| figure.within_range((score.value - half, score.value + half)));
        figure.method = figure.interval.map(|_| "pooled, normal".to_owned());
        figure
    }
}

/// lm-eval's object of one task or group.
fn metrics(name: &str, alias: &str, rows: usize, scores: &[Score]) -> Value {
    let mut all = Map::from_iter([
        ("name".into(), json!(name)),
        ("alias".into(), json!(alias)),
        ("sample_len".into(), json!(rows)),
    ]);
    for score in scores {
        all.insert(format!("{},{}", score.metric, score.filter), json!(score.value));
        // JSON has no word for what is no number, and readers of these files expect one or this text.
        let stderr = score.stderr.filter(|e| e.is_finite()).map_or_else(|| json!("N/A"), |stderr| json!(stderr));
        all.insert(format!("{}_stderr,{}", score.metric, score.filter), stderr);
    }
    Value::Object(all)
}

/// The tasks below a group, in order, each once.
fn leaves<'a>(group: &Group, groups: &[Group], tasks: &'a [(&Planned, Scored)]) -> Vec<&'a Scored> {
    let mut names: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = group.members.iter().rev().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        match groups.iter().find(|group| group.name == name) {
            Some(inner) => open.extend(inner.members.iter().rev().map(String::as_str)),
            None if names.contains(&name) => {}
            None => names.push(name),
        }
    }
    let scored = |name: &str| tasks.iter().find(|(planned, _)| planned.task.config.task == name).map(|(_, s)| s);
    names.into_iter().filter_map(scored).collect()
}
