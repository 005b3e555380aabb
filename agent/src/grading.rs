//! Hands a run's result to the sealed grader, after every job of the run has ended.

use std::{path::PathBuf, time::Instant};

use serde::Deserialize;
use serde_json::Value;
use tunesmith_harness::{
    event::{Event, Kind},
    grade::Grade,
    recipe::Recipe,
    run::Run,
    task::{JobKind, Outcome, Scope},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    finish, grading,
    tool::{Progress, ToolError},
    train,
};

use crate::run::{DATA, SEALED};

/// What a run hands in, as paths relative to its workdir.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// The trained adapter's directory.
    pub adapter: Option<String>,
    /// Shipped files with their kind.
    pub artifacts: Vec<(String, String)>,
}

/// What the grader came to.
#[derive(Debug)]
pub enum Graded {
    /// A whole grade.
    Whole(Grade),
    /// A grade that was cut off, and why.
    Part(Grade, String),
    /// No grade; what the run ends as, and why.
    None(Outcome, String),
}

impl Submitted {
    /// What the output of `finish` names.
    pub fn of_finish(output: &Value) -> Option<Self> {
        let output: finish::Output = serde_json::from_value(output.clone()).ok()?;
        let artifacts = output.artifacts.into_iter().map(|file| (file.path, file.kind)).collect();
        Some(Submitted { adapter: output.adapter, artifacts })
            .filter(|s| s.adapter.is_some() || !s.artifacts.is_empty())
    }

    /// The best adapter that was trained before the planner was stopped.
    pub fn of_events(events: &[Event]) -> Option<Self> {
        let best = trainings(events).max_by(|a, b| {
            let rank = |t: &train::Output| (t.valid_exact.unwrap_or(0.0), -t.valid_loss.unwrap_or(f64::INFINITY));
            rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal)
        })?;
        Some(Submitted { adapter: Some(best.adapter), artifacts: Vec::new() })
    }
}

/// Whether the training of the adapter that was handed in was ended by the deadline.
pub fn training_was_cut(events: &[Event], submitted: &Submitted) -> bool {
    let adapter = submitted.adapter.as_deref();
    trainings(events)
        .any(|t| Some(t.adapter.as_str()) == adapter && t.stopped == tunesmith_lm::train::Stopped::Deadline)
}

fn trainings(events: &[Event]) -> impl Iterator<Item = train::Output> {
    let returned = events.iter().filter_map(|event| match &event.kind {
        Kind::Returned { tool, ok: true, output, .. } if tool == "train" => serde_json::from_value(output.clone()).ok(),
        _ => None,
    });
    returned.filter(|t: &train::Output| t.adapter != "smoke")
}

/// Grades what was handed in, in a process of its own that may read the sealed rows and write nowhere that counts.
pub async fn grade(
    run: &Run,
    submitted: &Submitted,
    jobs: &Local,
    (deadline, cancel): (Option<Instant>, &Cancel),
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Graded {
    let (job, _scratch, dir) = match prepare(run, submitted) {
        Ok(ready) => ready,
        Err((outcome, why)) => return Graded::None(outcome, why),
    };
    let graded = grading::run(jobs, &dir, &job, (deadline, cancel), on).await;
    match (graded.grade, graded.cut_short) {
        (Some(grade), None) => Graded::Whole(grade),
        (_, Some(ToolError::Cancelled)) => Graded::None(Outcome::Cancelled, "cancelled while grading".into()),
        (Some(grade), Some(why)) => Graded::Part(grade, why.to_string()),
        (None, Some(ToolError::Limit(why))) => Graded::None(Outcome::Budget, format!("grading was cut off: {why}")),
        (None, Some(why)) => Graded::None(Outcome::Internal, format!("the result cannot be graded: {why}")),
        (None, None) => Graded::None(Outcome::Internal, "the grader said nothing".into()),
    }
}

type Refused = (Outcome, String);

fn prepare(run: &Run, submitted: &Submitted) -> Result<(grading::Job, tempfile::TempDir, Workdir), Refused> {
    let internal = |e: &dyn std::fmt::Display| (Outcome::Internal, format!("the result cannot be graded: {e}"));
    let events = tunesmith_harness::log::scan(&run.log()).map_err(|e| internal(&e))?.events;
    let manifest = run.manifest().map_err(|e| internal(&e))?;
    let work = Workdir::open(&run.work()).map_err(|e| internal(&e))?;
    let inside = |path: &String| work.join(path).map_err(|e| internal(&e));
    let recipe = recipe(&events, &work).map_err(|why| (Outcome::NotMet, why))?;
    let base = manifest.base.clone();
    let hash = tunesmith_lm::model::hash(&base).map_err(|e| internal(&e))?;
    if scope(&events).is_some_and(|scope| scope.base_sha256 != hash) {
        return Err(internal(&format!("{} is not the base that the run began with", base.display())));
    }
    let artifacts = submitted.artifacts.iter().map(|(path, kind)| Ok((inside(path)?, kind.clone())));
    let scratch = tempfile::tempdir().map_err(|e| internal(&e))?;
    let dir = Workdir::open(scratch.path()).map_err(|e| internal(&e))?;
    let job = grading::Job {
        root: run.dir().to_owned(),
        recipe,
        base,
        adapter: submitted.adapter.as_ref().map(inside).transpose()?,
        artifacts: artifacts.collect::<Result<Vec<(PathBuf, String)>, Refused>>()?,
        sealed: run.dir().join(SEALED),
        open: run.dir().join(DATA),
    };
    Ok((job, scratch, dir))
}

fn scope(events: &[Event]) -> Option<&Scope> {
    events.iter().find_map(|event| match &event.kind {
        Kind::Scoped { scope } => Some(scope),
        _ => None,
    })
}

/// What `data_prepare` was called with, as far as the grader relies on it.
#[derive(Deserialize)]
struct Asked {
    kind: JobKind,
    input: String,
    target: String,
    #[serde(default)]
    answer_after: Option<String>,
}

/// The recipe in the workdir, if it says what the log says: the file lies where jobs of the run could write.
fn recipe(events: &[Event], work: &Workdir) -> Result<Recipe, String> {
    let path = work.join("prepared/recipe.json").map_err(|e| e.to_string())?;
    let text =
        std::fs::read_to_string(&path).map_err(|_| "no data was prepared, so there is nothing to grade".to_owned())?;
    let recipe: Recipe = serde_json::from_str(&text).map_err(|e| format!("prepared/recipe.json is damaged: {e}"))?;
    let done =
        |step: u32| events.iter().any(|e| matches!(&e.kind, Kind::Returned { step: s, ok: true, .. } if *s == step));
    let logged = events.iter().rev().find_map(|event| match &event.kind {
        Kind::Called { step, tool, args, .. } if tool == "data_prepare" && done(*step) => {
            serde_json::from_value::<Asked>(args.clone()).ok()
        }
        _ => None,
    });
    let same = logged.is_some_and(|asked| {
        let Asked { kind, input, target, answer_after } = asked;
        (kind, &input, &target, &answer_after) == (recipe.kind, &recipe.input, &recipe.target, &recipe.answer_after)
    });
    if !same || scope(events).is_some_and(|scope| scope.kind != recipe.kind) {
        return Err(
            "prepared/recipe.json is not what data_prepare and the plan in the log say; prepare the data again".into(),
        );
    }
    Ok(recipe)
}
