//! What differs between two runs: what they were given, what they did step by step, and what came out.
//!
//! Times and measures of the machine differ between any two runs and are not counted; neither are a planner's words,
//! of which only the calls act.

mod align;
mod facts;
mod render;
mod values;

use serde::Serialize;

pub use self::{
    facts::without_measures,
    values::{Difference, differences},
};
use crate::{
    compare::{self, Comparison},
    event::{Event, Kind},
    grade::Grade,
    log,
    report::Report,
    run::{Manifest, Run},
};

/// Two runs beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Whether nothing differs, and both logs are whole.
    pub same: bool,
    /// What they were given: request, data, base, scope, planner, seed, version, sandbox.
    pub setup: Vec<Difference>,
    /// Their steps, aligned by tool and arguments.
    pub steps: Vec<Step>,
    /// What came out: outcome, figures, spend, files.
    pub result: Vec<Difference>,
    /// The grades held against each other, where both have one.
    pub grade: Option<Comparison>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// The whole in words.
    pub summary: String,
}

/// One of two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Its directory.
    pub run: String,
    /// Events in its log that can be trusted.
    pub events: usize,
    /// Wall-clock seconds from the first to the last of them; not counted.
    pub seconds: f64,
}

/// A step of either run, or of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its number in the first run; null where only the second took it.
    pub a: Option<u32>,
    /// Its number in the second run.
    pub b: Option<u32>,
    /// The tool.
    pub tool: String,
    /// In what the two differ; the arguments where only one run took it.
    pub differences: Vec<Difference>,
}

impl Step {
    /// Whether both runs took it and nothing differs.
    pub fn same(&self) -> bool {
        self.a.is_some() && self.b.is_some() && self.differences.is_empty()
    }
}

/// A run as far as it can be read.
struct Known {
    events: Vec<Event>,
    report: Report,
    manifest: Option<Manifest>,
    grade: Option<Box<Grade>>,
    /// Directories whose names mean "this run" in texts.
    places: Vec<String>,
    side: Side,
    notes: Vec<String>,
    whole: bool,
}

/// Holds `b` against `a`. What cannot be read of a run is told in the notes.
pub fn diff(a: &Run, b: &Run) -> Diff {
    let (a, b) = (Known::of(a), Known::of(b));
    let setup = values::differences(&facts::setup(&a), &facts::setup(&b));
    let steps = steps(&facts::steps(&a), &facts::steps(&b));
    let result = values::differences(&facts::result(&a), &facts::result(&b));
    let mut notes: Vec<String> = Vec::new();
    for (name, known) in [("A", &a), ("B", &b)] {
        notes.extend(known.notes.iter().map(|note| format!("{name}: {note}")));
    }
    let grade = graded(&a, &b, &mut notes);
    let equal = setup.is_empty() && steps.iter().all(Step::same) && result.is_empty();
    let same = equal && a.whole && b.whole;
    let mut diff = Diff { a: a.side, b: b.side, same, setup, steps, result, grade, notes, summary: String::new() };
    diff.summary = render::summary(&diff);
    diff
}

fn steps(a: &[facts::Step], b: &[facts::Step]) -> Vec<Step> {
    let pair = |(of_a, of_b): (Option<usize>, Option<usize>)| {
        let (of_a, of_b) = (of_a.map(|at| &a[at]), of_b.map(|at| &b[at]));
        let args = |step: Option<&facts::Step>| step.map(|step| step.facts["args"].clone());
        let differences = match (of_a, of_b) {
            (Some(a), Some(b)) => values::differences(&a.facts, &b.facts),
            _ => vec![Difference { at: "/args".to_owned(), a: args(of_a), b: args(of_b) }],
        };
        let tool = of_a.or(of_b).map(|step| step.tool.clone()).unwrap_or_default();
        Step { a: of_a.map(|step| step.number), b: of_b.map(|step| step.number), tool, differences }
    };
    align::align(a, b).into_iter().map(pair).collect()
}

/// The comparison of two grades: paired where all sealed rows are the same.
fn graded(a: &Known, b: &Known, notes: &mut Vec<String>) -> Option<Comparison> {
    let results = |known: &Known, name: &str| {
        let sealed = known.manifest.as_ref().and_then(|manifest| manifest.hashes.get("sealed").cloned());
        let sealed = sealed.unwrap_or_else(|| format!("unknown rows of {name}"));
        Some(compare::of_grade(name.to_owned(), known.grade.as_ref()?, &sealed))
    };
    let (a, b) = (results(a, "A")?, results(b, "B")?);
    match compare::compare(&a, &b, &compare::Options::default()) {
        Ok(comparison) => Some(comparison),
        Err(_) => {
            notes.push("the grades have no metric in common".to_owned());
            None
        }
    }
}

impl Known {
    fn of(run: &Run) -> Known {
        let mut notes = Vec::new();
        let (mut events, mut whole) = (Vec::new(), true);
        match log::scan(&run.log()) {
            Ok(history) => {
                if history.torn > 0 {
                    notes.push(format!("the log's last line was cut off ({} bytes) and is left out", history.torn));
                }
                if let Some(broken) = &history.broken {
                    whole = false;
                    let (line, why) = (broken.line, &broken.why);
                    notes.push(format!("the log is damaged at line {line}: {why}; what stands before it is compared"));
                }
                events = history.events;
            }
            Err(error) => {
                whole = false;
                notes.push(format!("the log cannot be read: {error}"));
            }
        }
        if log::in_use(&run.log()) {
            notes.push("a process is working on this run now".to_owned());
        }
        let manifest = run.manifest().map_err(|error| notes.push(format!("the manifest cannot be read: {error}"))).ok();
        let report = Report::fold(&events);
        let (mut grade, mut places) = (None, vec![run.dir().display().to_string()]);
        for event in &events {
            match &event.kind {
                Kind::Graded { grade: found, .. } => grade = Some(found.clone()),
                // Where the run was when it ended, should it have been moved.
                Kind::Ended { run, .. } => places.push(run.display().to_string()),
                _ => {}
            }
        }
        let run = run.dir().display().to_string();
        let side = Side { run, events: events.len(), seconds: report.cost.seconds };
        Known { events, report, manifest, grade, places, side, notes, whole }
    }
}

#[cfg(test)]
mod tests;
