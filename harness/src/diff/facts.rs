//! A run as JSON documents that hold what counts, and no time.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Known;
use crate::{event::Kind, score::Score};

/// Fields of tools' outputs that measure the machine, or say that it was stopped on the way.
const MEASURES: [&str; 8] = [
    "seconds",
    "tokens_per_second",
    "peak_memory",
    "utilisation",
    "estimate",
    "plans",
    "resumed_from",
    "storage_warnings",
];

/// A step as it is compared.
pub(super) struct Step {
    pub number: u32,
    pub tool: String,
    /// Its arguments as text.
    pub args: String,
    /// All that is compared, as text.
    pub key: String,
    pub facts: Value,
}

/// What a run was given.
pub(super) fn setup(known: &Known) -> Value {
    let report = &known.report;
    let mut setup = Map::new();
    for event in &known.events {
        match &event.kind {
            Kind::Started { task, .. } => {
                let task = json(task);
                setup.extend(task.as_object().cloned().unwrap_or_default());
            }
            Kind::Scoped { scope } => drop(setup.insert("scope".into(), json(scope))),
            _ => {}
        }
    }
    setup.insert("planner".into(), report.planner.as_str().into());
    setup.insert("version".into(), report.tunesmith.as_str().into());
    setup.insert("rows".into(), json(report.rows));
    let inputs = report.inputs.iter().map(|input| (input.path.display().to_string(), json(input)));
    setup.insert("inputs".into(), Value::Object(inputs.collect()));
    setup.insert("layers".into(), layers(&report.layers));
    if let Some(manifest) = &known.manifest {
        setup.insert("hashes".into(), json(&manifest.hashes));
        setup.insert("device".into(), json(&manifest.device));
        setup.insert("allowed".into(), json(&manifest.terms));
    }
    clean(Value::Object(setup), &known.places)
}

/// Layers by name, so that one that differs is told by its name.
fn layers(lines: &[String]) -> Value {
    let layer = |line: &String| match line.split_once(": ") {
        Some((name, status)) => (name.to_owned(), Value::from(status)),
        None => (line.clone(), Value::from("in force")),
    };
    lines.iter().map(layer).collect::<Map<String, Value>>().into()
}

/// What a run did.
pub(super) fn steps(known: &Known) -> Vec<Step> {
    let mut calls: BTreeMap<u32, (Value, Value)> = BTreeMap::new();
    for event in &known.events {
        match &event.kind {
            Kind::Called { step, args, .. } => drop(calls.insert(*step, (args.clone(), Value::Null))),
            Kind::Returned { step, output, .. } => calls.entry(*step).or_default().1 = output.clone(),
            _ => {}
        }
    }
    let step = |step: &crate::report::Step| {
        let (args, output) = calls.get(&step.step).cloned().unwrap_or_default();
        let facts = json!({
            "args": args,
            "ok": step.ok,
            "fault": step.fault,
            "output": without_measures(output),
            "scores": scores(&step.scores),
            "policies": step.policies,
        });
        let facts = clean(facts, &known.places);
        let (tool, args) = (step.tool.clone(), facts["args"].to_string());
        Step { number: step.step, key: format!("{tool} {facts}"), tool, args, facts }
    };
    known.report.steps.iter().map(step).collect()
}

/// What came out of a run.
pub(super) fn result(known: &Known) -> Value {
    let report = &known.report;
    let mut result = json!({
        "outcome": report.outcome,
        "why": report.why,
        "spent": {"steps": report.steps.len(), "tokens": report.cost.tokens, "usd": report.cost.usd},
        "guards": report.guards,
        "amended": report.amended,
        "scores": scores(&report.scores),
    });
    if let Some(grade) = &known.grade {
        let artifacts = grade.artifacts.iter().map(|artifact| (artifact.path.clone(), json(artifact)));
        result["artifacts"] = Value::Object(artifacts.collect());
        result["grade"] = json!({
            "metric": grade.metric,
            "base": grade.base,
            "tuned": grade.tuned,
            "gain": grade.gain,
            "baselines": grade.baselines,
            "unusable": grade.unusable,
        });
    }
    clean(result, &known.places)
}

/// Judgements by scorer. Their reasons are words about what is compared itself.
fn scores(scores: &[Score]) -> Value {
    let mut named = Map::new();
    for score in scores {
        let mut name = score.scorer.clone();
        let mut number = 1;
        while named.contains_key(&name) {
            number += 1;
            name = format!("{} {number}", score.scorer);
        }
        named.insert(name, json!({"verdict": score.verdict, "value": score.value}));
    }
    named.into()
}

/// A tool's output without what measures the machine, at any depth.
pub fn without_measures(output: Value) -> Value {
    match output {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !MEASURES.contains(&name.as_str()));
            kept.map(|(name, value)| (name, without_measures(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_measures).collect(),
        other => other,
    }
}

/// The same with the run's own directory called `RUN` in texts.
fn clean(value: Value, places: &[String]) -> Value {
    match value {
        Value::String(text) => {
            Value::String(places.iter().fold(text, |text, place| text.replace(place.as_str(), "RUN")))
        }
        Value::Array(items) => items.into_iter().map(|item| clean(item, places)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, clean(value, places))).collect(),
        other => other,
    }
}

fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
