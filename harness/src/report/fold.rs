//! From events to a report.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Amendment, Cost, Curve, Guard, Report, VERSION,
    commands::Hints,
    step::{Policy, Step, Steps},
};
use crate::{
    event::{self, Before, Event, Fault, JobRecord, Kind, paid, seconds_used},
    grade::Grade,
    score::{Score, Verdict},
    task::{Scope, Task},
    text::truncate_middle,
};

/// Longest error of a step, in characters.
const ERROR: usize = 300;
/// The scorer that warns of a job that was confined less than its run declares.
const DEGRADED: &str = "sandbox";

pub(super) fn fold(events: &[Event]) -> Report {
    let mut report = empty();
    let mut hints = Hints::default();
    let (mut spent, mut steps) = (Spent::default(), Steps::default());
    for event in events {
        take(&mut report, &mut hints, (&mut spent, &mut steps), &event.kind);
    }
    let before = events.first().and_then(before);
    report.cost.seconds = seconds_used(events);
    if let Some(last) = events.last() {
        report.hashes.insert("events".into(), last.prev.clone());
    }
    // The playbook asks no model, so its own cost is known to be nothing.
    if report.planner == "playbook" && !events.is_empty() {
        spent = Spent::default();
    }
    if let Some(Before { asked, .. }) = before {
        spent.add((asked.tokens, asked.usd));
    }
    (report.cost.tokens, report.cost.usd) = (spent.tokens, spent.usd);
    for artifact in report.artifacts.iter().filter(|artifact| !artifact.sha256.is_empty()) {
        report.hashes.insert(artifact.path.clone(), artifact.sha256.clone());
    }
    mark_shipped(&mut report, &hints);
    report.commands = hints.commands(&report);
    report
}

fn empty() -> Report {
    Report {
        version: VERSION,
        outcome: None,
        why: String::new(),
        request: String::new(),
        goals: Vec::new(),
        metric: None,
        base: None,
        tuned: None,
        gain: None,
        baselines: Default::default(),
        artifacts: Vec::new(),
        scope: None,
        amended: Vec::new(),
        instructions: Vec::new(),
        hashes: BTreeMap::new(),
        cost: Cost::default(),
        steps: Vec::new(),
        scores: Vec::new(),
        guards: Vec::new(),
        repairs: BTreeMap::new(),
        curves: Vec::new(),
        confusion: None,
        errors: Vec::new(),
        unusable: Vec::new(),
        rows: None,
        inputs: Vec::new(),
        data: None,
        planner: String::new(),
        tunesmith: String::new(),
        seed: None,
        layers: Vec::new(),
        commands: Vec::new(),
    }
}

/// What was done before the log began.
fn before(first: &Event) -> Option<Before> {
    match first.kind {
        Kind::Started { before, .. } => before,
        _ => None,
    }
}

/// Sums that turn unknown with the first unknown part.
struct Spent {
    tokens: Option<u64>,
    usd: Option<f64>,
}

impl Default for Spent {
    fn default() -> Self {
        Spent { tokens: Some(0), usd: Some(0.0) }
    }
}

impl Spent {
    fn add(&mut self, (tokens, usd): (Option<u64>, Option<f64>)) {
        self.tokens = self.tokens.zip(tokens).map(|(a, b)| a.saturating_add(b));
        self.usd = self.usd.zip(usd).map(|(a, b)| a + b);
    }
}

fn take(report: &mut Report, hints: &mut Hints, (spent, steps): (&mut Spent, &mut Steps), kind: &Kind) {
    paid(kind).into_iter().for_each(|cost| spent.add((cost.tokens, cost.usd)));
    match kind {
        Kind::Started { task, planner, version, rows, layers, inputs, before: _ } => {
            start(report, task);
            report.planner = planner.clone();
            report.tunesmith = version.clone();
            report.rows = Some(*rows);
            report.layers = layers.clone();
            report.inputs = inputs.clone();
        }
        Kind::Scoped { scope } => freeze(report, scope),
        Kind::Said { tokens, usd, repairs, .. } => {
            repairs.iter().for_each(|what| *report.repairs.entry(what.clone()).or_default() += 1);
            steps.said(*tokens, *usd);
        }
        Kind::Called { step, tool, args, .. } => {
            hints.called(tool, args);
            report.steps.push(steps.called(*step, tool, args));
        }
        Kind::Returned { step, tool, ok, output, seconds, jobs, fault, asked, .. } => {
            let most = jobs.iter().filter_map(|job| job.disk_bytes).max();
            report.cost.disk_bytes = report.cost.disk_bytes.max(most);
            returned(report, steps, (*step, tool, *ok), (output, *seconds), (*fault, jobs, *asked));
            if *ok {
                hints.returned(*step, tool, output);
                if tool == "data_inspect" && report.data.is_none() {
                    report.data = Some(output.clone());
                }
                report.curves.extend((tool == "train").then(|| curve(*step, output)).flatten());
            }
        }
        Kind::Scored { step, score } => scored(report, *step, score),
        Kind::Amended { field, from, to, reason } => {
            touched(report, Policy::Amended { field: field.clone() });
            let (field, from, to, reason) = (field.clone(), from.clone(), to.clone(), reason.clone());
            report.amended.push(Amendment { field, from, to, reason });
        }
        Kind::Approved { step, capability, by, granted, .. } => {
            if let Some(entry) = step.and_then(|step| entry(report, step)) {
                entry.policies.push(Policy::Approval { capability: *capability, by: *by, granted: *granted });
            }
        }
        Kind::Guarded { guard, why } => {
            touched(report, Policy::Guarded { guard: guard.clone() });
            report.guards.push(Guard { guard: guard.clone(), why: why.clone() });
        }
        Kind::Compacted { .. }
        | Kind::Briefed { .. }
        | Kind::Told { .. }
        | Kind::Observed { .. }
        | Kind::Undone { .. } => {}
        Kind::Instructed { text } => report.instructions.push(text.clone()),
        // What the run had come to before is not what it ends as.
        Kind::Resumed { task, .. } => {
            unended(report);
            report.cost.disk_limit = task.as_ref().map_or(report.cost.disk_limit, |task| task.disk);
        }
        Kind::Graded { grade, .. } => graded(report, grade),
        Kind::Ended { outcome, why, run } => {
            report.outcome = Some(*outcome);
            report.why = why.clone();
            hints.run = Some(run.clone());
        }
    }
}

fn start(report: &mut Report, task: &Task) {
    report.request = task.request.clone();
    report.goals = task.goals.clone();
    report.seed = Some(task.seed);
    report.cost.disk_limit = task.disk;
}

fn freeze(report: &mut Report, scope: &Scope) {
    report.hashes.insert("base".into(), scope.base_sha256.clone());
    report.hashes.insert("data".into(), scope.data_sha256.clone());
    report.scope = Some(scope.clone());
}

/// The latest entry of a step; a resumed run may call the same number again.
fn entry(report: &mut Report, step: u32) -> Option<&mut Step> {
    report.steps.iter_mut().rev().find(|s| s.step == step)
}

fn returned(
    report: &mut Report,
    steps: &mut Steps,
    (step, tool, ok): (u32, &str, bool),
    (output, seconds): (&Value, f64),
    how: (Option<Fault>, &[JobRecord], Option<event::Cost>),
) {
    if entry(report, step).is_none() {
        report.steps.push(steps.called(step, tool, &Value::Null));
    }
    let metric = report.scope.as_ref().map(|scope| scope.metric.clone());
    let Some(entry) = entry(report, step) else { return };
    entry.ok = Some(ok);
    entry.seconds = Some(seconds);
    steps.returned(entry, how, output, metric.as_deref());
    entry.verdict = worst(ok, &entry.scores);
    entry.error = (!ok).then(|| {
        let text = match output {
            Value::String(text) => text.clone(),
            Value::Object(map) => match map.get("error").or(map.get("message")) {
                Some(Value::String(text)) => text.clone(),
                _ => output.to_string(),
            },
            other => other.to_string(),
        };
        truncate_middle(&text, ERROR).into_owned()
    });
}

/// The latest step touched a rule of the run.
fn touched(report: &mut Report, policy: Policy) {
    report.steps.last_mut().into_iter().for_each(|step| step.policies.push(policy.clone()));
}

fn scored(report: &mut Report, step: Option<u32>, score: &Score) {
    match step.and_then(|step| entry(report, step)) {
        Some(entry) => {
            entry.scores.push(score.clone());
            if score.scorer == DEGRADED && !entry.policies.contains(&Policy::Degraded) {
                entry.policies.push(Policy::Degraded);
            }
            entry.verdict = worst(entry.ok != Some(false), &entry.scores);
        }
        None => report.scores.push(score.clone()),
    }
}

fn worst(ok: bool, scores: &[Score]) -> Verdict {
    let has = |verdict| scores.iter().any(|score| score.verdict == verdict);
    match () {
        () if !ok || has(Verdict::Fail) => Verdict::Fail,
        () if has(Verdict::Warn) => Verdict::Warn,
        () if scores.is_empty() || has(Verdict::Unknown) => Verdict::Unknown,
        () => Verdict::Pass,
    }
}

/// A run that goes on has no end yet, and no grade.
fn unended(report: &mut Report) {
    let fresh = empty();
    (report.outcome, report.why) = (fresh.outcome, fresh.why);
    (report.base, report.tuned, report.gain) = (fresh.base, fresh.tuned, fresh.gain);
    (report.baselines, report.artifacts, report.confusion) = (fresh.baselines, fresh.artifacts, fresh.confusion);
    (report.errors, report.unusable, report.scores) = (fresh.errors, fresh.unusable, fresh.scores);
}

fn graded(report: &mut Report, grade: &Grade) {
    report.metric = Some(grade.metric.clone());
    report.base = Some(grade.base.clone());
    report.tuned = grade.tuned.clone();
    report.gain = grade.gain.clone();
    report.baselines = grade.baselines.clone();
    report.artifacts = grade.artifacts.clone();
    report.confusion = grade.confusion.clone();
    report.errors = grade.errors.clone();
    report.unusable = grade.unusable.clone();
}

fn curve(step: u32, output: &Value) -> Option<Curve> {
    let points = |key: &str| -> Vec<(f64, f64)> {
        let list = output.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?))).collect()
    };
    let curve = Curve {
        step,
        train: points("curve"),
        valid: points("valid_curve"),
        best_step: output.get("best_step").and_then(Value::as_f64),
        shipped: false,
    };
    (!curve.train.is_empty() || !curve.valid.is_empty()).then_some(curve)
}

/// The curve whose output names the graded adapter is the one that counts; with a single curve there is no doubt.
fn mark_shipped(report: &mut Report, hints: &Hints) {
    let adapter = report.artifacts.iter().find(|artifact| artifact.kind == "adapter").map(|a| a.path.clone());
    let single = report.curves.len() == 1 && adapter.is_some();
    for curve in &mut report.curves {
        curve.shipped = single || adapter.as_deref().is_some_and(|path| hints.made(curve.step, path));
    }
}
