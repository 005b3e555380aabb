//! `tunesmith runs replay`: a run is played again from its log, in a directory of its own, and held against it.
//!
//! What the planner said and saw of clocks is recalled; every step is made anew, and so is the grading.

use std::{fs, io, path::Path, time::Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tunesmith_harness::{
    diff::{differences, without_measures},
    event::{Capability, Event, Kind},
    log,
    run::Run,
    task::Task,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::files::open_regular;

use super::{DATA, Failure, Finished, Options, Prepared, Recorder, SEALED, Watch, prepare, resume, work};
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

const STEERED: &str = "somebody stopped this run in the middle and said something else, at a moment that cannot be had again; \
    runs that nobody steered can be played again";

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
    let (rows, task, rest) = resume::begun(&events)
        .ok_or_else(|| Failure::new(2, "the run had not begun, so there is nothing to play again"))?;
    let (was, _) = resume::history(rest, false);
    if was.iter().any(|kind| matches!(kind, Kind::Instructed { .. })) {
        return Err(Failure::new(2, STEERED));
    }
    // The clock may not decide in place of the log.
    let task = Task { minutes: None, ..task.clone() };
    let options = Options { task, dir: dir.to_owned(), ..options.clone() };
    // Half of a run that was played again is of no use to anyone.
    let mut unbegun = prepare::Unbegun::new(dir);
    let copy = copied(run, &options, &mut unbegun)?;
    let model =
        (prepare::named(&options.planner)? != Planner::Playbook).then(|| Box::new(Nobody) as Box<dyn ChatModel>);
    let prepared = Prepared::of_run(copy, &options, rows, model)?;
    let given = was.iter().filter(|kind| is_given(kind, prepared.model.is_some())).cloned();
    let log = prepared.run.create_log()?;
    let mut journal = Recorder::with(log, &prepared.run, watch, given.collect());
    journal.announce(events[0].kind.clone())?;
    journal.sync()?;
    let finished = work(&options, &prepared, journal, started, cancel).await?;
    unbegun.keep();
    let again = log::read(&prepared.run.log())?;
    let now: Vec<Kind> = again.iter().map(|event| event.kind.clone()).collect();
    let steps = results(&was).len();
    let mut differences = steps_differ(&was, &now);
    differences.extend(differ(None, &end(&events), &end(&again)));
    Ok(Replayed { finished, steps, differences })
}

/// A run's directory with what the first one was made of.
fn copied(run: &Run, options: &Options, unbegun: &mut prepare::Unbegun) -> Result<Run, Failure> {
    let manifest = run.manifest().map_err(|e| Failure::new(2, e))?;
    let copy = Run::create(&options.dir, &options.task.request, Timestamp::now()).map_err(prepare::failure)?;
    unbegun.made(&copy);
    let put = |from: &Path, to: &Path| -> io::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        // A link would be another file of the user's.
        io::copy(&mut open_regular(from)?, &mut fs::File::create_new(to)?).map(drop)
    };
    let files = [DATA, SEALED].map(|name| (run.dir().join(name), copy.dir().join(name)));
    let base = fs::read_dir(run.base()).into_iter().flatten().flatten();
    let base = base
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| (entry.path(), copy.base().join(entry.file_name())));
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
        Kind::Observed { .. } => true,
        // Hosts are reached only where the user allows it now.
        Kind::Approved { capability, .. } => *capability != Capability::Network,
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

fn results(events: &[Kind]) -> Vec<StepResult<'_>> {
    let returned = events.iter().filter_map(|event| match event {
        Kind::Returned { step, tool, output, .. } => Some((*step, tool.as_str(), output)),
        _ => None,
    });
    returned.collect()
}

/// What the steps of both came to, without what only the machine's load decides.
fn steps_differ(was: &[Kind], now: &[Kind]) -> Vec<Difference> {
    let (first, second) = (results(was), results(now));
    let part = |result: Option<&StepResult<'_>>| {
        result.map_or(Value::Null, |(_, tool, output)| json!({ *tool: without_measures((*output).clone()) }))
    };
    let pairs = (0..first.len().max(second.len())).map(|at| (first.get(at), second.get(at)));
    pairs.flat_map(|(a, b)| differ(a.or(b).map(|result| result.0), &part(a), &part(b))).collect()
}

/// The fields in which two values of a step or of the run differ.
fn differ(step: Option<u32>, was: &Value, now: &Value) -> impl Iterator<Item = Difference> + use<> {
    differences(was, now).into_iter().map(move |found| Difference {
        step,
        what: found.at.trim_start_matches('/').to_owned(),
        was: found.a.unwrap_or_default(),
        now: found.b.unwrap_or_default(),
    })
}

/// What a run came to in the end: the grade and the outcome.
fn end(events: &[Event]) -> Value {
    let grade = events.iter().rev().find_map(|event| match &event.kind {
        Kind::Graded { grade, .. } => serde_json::to_value(grade).ok(),
        _ => None,
    });
    let outcome = events.iter().rev().find_map(|event| match &event.kind {
        Kind::Ended { outcome, .. } => serde_json::to_value(outcome).ok(),
        _ => None,
    });
    json!({"grade": without_measures(grade.unwrap_or_default()), "outcome": outcome})
}
