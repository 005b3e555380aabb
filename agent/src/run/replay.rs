//! `tunesmith runs replay`: a run is played again from its log, in a directory of its own, and held against it.
//!
//! What the planner said and saw of clocks is recalled; every step is made anew, and so is the grading.

use std::{fs, io, path::Path, time::Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tunesmith_harness::{
    event::{Event, Kind},
    log,
    run::Run,
    task::Task,
};
use tunesmith_sandbox::Cancel;

use super::{DATA, Failure, Finished, Options, Prepared, Recorder, SEALED, Watch, prepare, work};
use crate::{
    commands::require::met,
    model::{ChatModel, Delta, ErrorKind, ModelError, Reply, Request, spec::Planner},
    steps::Journal,
};

/// What became of a run that was played again.
#[derive(Debug)]
pub struct Replayed {
    /// The new run.
    pub finished: Finished,
    /// Steps of the first run.
    pub steps: usize,
    /// In what they differ, in order; nothing where they came to the same.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The step; `None` for the run.
    pub step: Option<u32>,
    /// What differs: a tool's name with a JSON pointer into its output, or a part of the result.
    pub what: String,
    /// In the first run; null where there is none.
    pub was: Value,
    /// In the second run; null where there is none.
    pub now: Value,
}

/// Plays a run again in a new directory below `dir`.
pub async fn replay(
    run: &Run,
    options: &Options,
    dir: &Path,
    watch: &dyn Watch,
    cancel: &Cancel,
) -> Result<Replayed, Failure> {
    let started = Instant::now();
    met(&options.jobs)?;
    let events = log::read(&run.log())?;
    let Some(Kind::Started { rows, task, .. }) = events.first().map(|event| &event.kind) else {
        return Err(Failure::new(2, "the run had not begun, so there is nothing to play again"));
    };
    // The clock may not decide in place of the log.
    let task = Task { minutes: None, ..task.clone() };
    let options = Options { task, dir: dir.to_owned(), ..options.clone() };
    let copy = copied(run, &options)?;
    let model =
        (prepare::named(&options.planner)? != Planner::Playbook).then(|| Box::new(Nobody) as Box<dyn ChatModel>);
    let prepared = Prepared::of_run(copy, &options, *rows, model)?;
    let given = events.iter().map(|event| event.kind.clone()).filter(|kind| is_given(kind, prepared.model.is_some()));
    let log = prepared.run.create_log()?;
    let mut journal = Recorder::with(log, &prepared.run, watch, given.collect());
    journal.announce(events[0].kind.clone())?;
    journal.sync()?;
    let finished = work(&options, &prepared, journal, started, cancel).await?;
    let again = log::read(&prepared.run.log())?;
    let steps = results(&events).len();
    Ok(Replayed { finished, steps, differences: differences(&events, &again) })
}

/// A run's directory with what the first one was made of.
fn copied(run: &Run, options: &Options) -> Result<Run, Failure> {
    let manifest = run.manifest().map_err(|e| Failure::new(2, e))?;
    let copy = Run::create(&options.dir, &options.task.request, Timestamp::now()).map_err(prepare::failure)?;
    let put = |from: &Path, to: &Path| -> io::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, to).map(drop)
    };
    let files = [DATA, SEALED].map(|name| (run.dir().join(name), copy.dir().join(name)));
    let base = fs::read_dir(run.base()).into_iter().flatten().flatten();
    let base =
        base.filter(|entry| entry.path().is_file()).map(|entry| (entry.path(), copy.base().join(entry.file_name())));
    for (from, to) in files.into_iter().chain(base) {
        put(&from, &to).map_err(|error| prepare::unwritten(&to, &error))?;
    }
    copy.write_manifest(&manifest).map_err(prepare::failure)?;
    Ok(copy)
}

/// What is recalled: what a model said and was decided for it, what was seen of clocks, and what was allowed.
fn is_given(kind: &Kind, model: bool) -> bool {
    match kind {
        Kind::Briefed { .. } | Kind::Said { .. } | Kind::Compacted { .. } => model,
        Kind::Guarded { guard, .. } => model && guard == crate::planner_loop::WINDOW,
        Kind::Observed { .. } | Kind::Approved { .. } => true,
        _ => false,
    }
}

/// Stands for a model of which all replies are in the log.
struct Nobody;

impl ChatModel for Nobody {
    fn chat<'a>(
        &'a self,
        _: Request<'a>,
        _: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async { Err(ModelError::new(ErrorKind::Protocol, "the log holds no more replies")) })
    }
}

/// A step: its number, its tool, and what it came to.
type StepResult<'a> = (u32, &'a str, &'a Value);

fn results(events: &[Event]) -> Vec<StepResult<'_>> {
    let returned = events.iter().filter_map(|event| match &event.kind {
        Kind::Returned { step, tool, output, .. } => Some((*step, tool.as_str(), output)),
        _ => None,
    });
    returned.collect()
}

/// What both came to, step by step and in the end, without what only the machine's load decides.
fn differences(was: &[Event], now: &[Event]) -> Vec<Difference> {
    let (first, second) = (results(was), results(now));
    let mut found = Vec::new();
    for at in 0..first.len().max(second.len()) {
        let (a, b) = (first.get(at), second.get(at));
        let step = a.or(b).map(|result| result.0);
        let part = |result: Option<&StepResult<'_>>| {
            result.map_or(Value::Null, |(_, tool, output)| {
                let mut part = Map::new();
                part.insert((*tool).to_owned(), steady(output));
                Value::Object(part)
            })
        };
        compare(step, String::new(), &part(a), &part(b), &mut found);
    }
    let end = |events: &[Event]| {
        let grade = events.iter().rev().find_map(|event| match &event.kind {
            Kind::Graded { grade, .. } => serde_json::to_value(grade).ok(),
            _ => None,
        });
        let outcome = events.iter().rev().find_map(|event| match &event.kind {
            Kind::Ended { outcome, .. } => serde_json::to_value(outcome).ok(),
            _ => None,
        });
        serde_json::json!({"grade": steady(&grade.unwrap_or_default()), "outcome": outcome})
    };
    compare(None, String::new(), &end(was), &end(now), &mut found);
    found
}

/// Fields that say how fast the machine was, or where something lay.
const TELEMETRY: [&str; 11] = [
    "seconds",
    "tokens_per_second",
    "rows_per_second",
    "peak_memory",
    "utilisation",
    "estimate",
    "plans",
    "resumed_from",
    "storage_warnings",
    "memory_bytes",
    "load_seconds",
];

/// An output without telemetry.
fn steady(output: &Value) -> Value {
    match output {
        Value::Object(map) => {
            let steady = map.iter().filter(|(name, _)| !TELEMETRY.contains(&name.as_str()));
            steady.map(|(name, value)| (name.clone(), self::steady(value))).collect()
        }
        Value::Array(items) => items.iter().map(steady).collect(),
        other => other.clone(),
    }
}

/// Adds the leaves in which two values differ.
fn compare(step: Option<u32>, at: String, was: &Value, now: &Value, found: &mut Vec<Difference>) {
    match (was, now) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                compare(step, format!("{at}/{name}"), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                compare(step, format!("{at}/{n}"), a, b, found);
            }
        }
        _ if was != now => {
            let what = at.trim_start_matches('/').to_owned();
            found.push(Difference { step, what, was: was.clone(), now: now.clone() });
        }
        _ => {}
    }
}
