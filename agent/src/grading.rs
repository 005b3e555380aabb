//! Hands a run's result to the sealed grader, after every job of the run has ended.

use std::{path::Path, time::Instant};

use serde_json::Value;
use tunesmith_harness::{
    event::{Event, Kind},
    grade::Grade,
    hash::{sha256, sha256_file},
    recipe::Recipe,
    run::Run,
    task::{Outcome, Scope},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    data_prepare::MOST_RECIPE,
    files::{open_regular, read_small},
    finish, grading,
    tool::{Progress, ToolError},
    train,
};

use crate::run::{DATA, SEALED};

mod intake;

pub use intake::keep;

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
    /// A grade that a limit or the deadline cut off, and which.
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
            // What was not measured is worse than anything that was.
            let rank = |t: &train::Output| (t.valid_exact, t.valid_loss.map(|loss| -loss));
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
    let (job, _places, dir) = match prepare(run, submitted) {
        Ok(ready) => ready,
        Err((outcome, why)) => return Graded::None(outcome, why),
    };
    let graded = grading::run(jobs, &dir, &job, (deadline, cancel), on).await;
    match (graded.grade, graded.cut_short) {
        (Some(grade), None) => Graded::Whole(grade),
        (_, Some(ToolError::Cancelled)) => Graded::None(Outcome::Cancelled, "cancelled while grading".into()),
        (Some(grade), Some(ToolError::Limit(why))) => Graded::Part(grade, why),
        (None, Some(ToolError::Limit(why))) => Graded::None(Outcome::Budget, format!("grading was cut off: {why}")),
        (_, Some(ToolError::Resource(why))) => {
            Graded::None(Outcome::Blocked, format!("the result cannot be graded: {why}"))
        }
        (_, Some(why)) => Graded::None(Outcome::Internal, format!("the result cannot be graded: {why}")),
        (None, None) => Graded::None(Outcome::Internal, "the grader said nothing".into()),
    }
}

type Refused = (Outcome, String);

/// The grader's copies of what was handed in, which it may read, and the directory that it may write.
type Places = [tempfile::TempDir; 2];

fn prepare(run: &Run, submitted: &Submitted) -> Result<(grading::Job, Places, Workdir), Refused> {
    let internal = |e: &dyn std::fmt::Display| (Outcome::Internal, format!("the result cannot be graded: {e}"));
    let events = tunesmith_harness::log::scan(&run.log()).map_err(|e| internal(&e))?.events;
    let manifest = run.manifest().map_err(|e| internal(&e))?;
    let work = Workdir::open(&run.work()).map_err(|e| internal(&e))?;
    let scope = scope(&events).map_err(|why| (Outcome::NotMet, why))?;
    let recipe = recipe(&events, &work, &scope).map_err(|why| (Outcome::NotMet, why))?;
    let (open, sealed) = (run.dir().join(DATA), run.dir().join(SEALED));
    if hash_of(&open).as_ref() != Ok(&scope.data_sha256) {
        let why = format!("{DATA} is not what it was when the scope was frozen, so nothing is graded; never change it");
        return Err((Outcome::NotMet, why));
    }
    if hash_of(&sealed).ok().as_ref() != manifest.hashes.get("sealed") {
        return Err(internal(&format!("{SEALED} is not what was sealed when the run began")));
    }
    // A base of the run's own moves with it.
    let base = Some(run.base()).filter(|base| base.join("config.json").is_file()).unwrap_or(manifest.base);
    let hash = tunesmith_lm::model::hash(&base).map_err(|error| {
        let why = format!("the base cannot be read: {error}; put it back where the run found it");
        (Outcome::Blocked, why)
    })?;
    if scope.base_sha256 != hash {
        return Err(internal(&format!("{} is not the base that the run began with", base.display())));
    }
    // Beside the run's own files there is room for them; a run that may only be read is graded all the same.
    let place = tempfile::tempdir_in(run.dir()).or_else(|_| tempfile::tempdir()).map_err(|e| internal(&e))?;
    let scratch = tempfile::tempdir().map_err(|e| internal(&e))?;
    let dir = Workdir::open(scratch.path()).map_err(|e| internal(&e))?;
    let taken =
        intake::Intake { run, work: &work, events: &events, base_sha256: &hash, place: place.path() }.take(submitted);
    let job = grading::Job {
        root: place.path().to_owned(),
        recipe,
        base,
        adapter: taken.adapter,
        artifacts: taken.artifacts,
        refused: taken.refused,
        trained: taken.trained,
        sealed,
        open,
    };
    Ok((job, [place, scratch], dir))
}

/// The scope as it was frozen and then changed with the user's permission.
fn scope(events: &[Event]) -> Result<Scope, String> {
    let mut scope: Option<Value> = None;
    for event in events {
        match &event.kind {
            Kind::Scoped { scope: frozen } => scope = serde_json::to_value(frozen).ok(),
            Kind::Amended { field, to, .. } => {
                if let Some(at) = scope.as_mut().and_then(|scope| scope.get_mut(field)) {
                    *at = to.clone();
                }
            }
            _ => {}
        }
    }
    let scope = scope.ok_or("no plan was made, so there is no scope to grade by")?;
    serde_json::from_value(scope).map_err(|e| format!("the scope in the log is damaged: {e}"))
}

/// The recipe in the workdir, if it is what the last `data_prepare` wrote and the plan allows: the file lies where jobs
/// of the run could write.
fn recipe(events: &[Event], work: &Workdir, scope: &Scope) -> Result<Recipe, String> {
    const NAME: &str = "prepared/recipe.json";
    let none = "no data was prepared, so there is nothing to grade";
    let logged = events.iter().rev().find_map(|event| match &event.kind {
        Kind::Returned { tool, ok: true, output, .. } if tool == "data_prepare" => {
            output.get("recipe_sha256").and_then(Value::as_str)
        }
        _ => None,
    });
    let logged = logged.ok_or(none)?;
    let path = work.join(NAME).map_err(|e| e.to_string())?;
    let text = read_small(&path, MOST_RECIPE);
    let text = text.map_err(|e| format!("{NAME} cannot be read: {e}; prepare the data again"))?;
    if sha256(text.as_bytes()) != logged {
        return Err(format!("{NAME} is not what data_prepare wrote; prepare the data again and leave the file alone"));
    }
    let recipe: Recipe = serde_json::from_str(&text).map_err(|e| format!("{NAME} is damaged: {e}"))?;
    let differs = [
        ("kind", recipe.kind != scope.kind),
        ("input", recipe.input != scope.input),
        ("target", recipe.target != scope.target),
        ("answer_after", recipe.answer_after != scope.answer_after),
        ("max_length", recipe.max_length > scope.max_length),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        Some((field, _)) => Err(format!("the data was prepared with another {field} than the plan says")),
        None => Ok(recipe),
    }
}

/// SHA-256 of a regular file; what a job may have put in its place is refused rather than waited for.
fn hash_of(path: &Path) -> Result<String, String> {
    open_regular(path).and_then(|_| sha256_file(path)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
