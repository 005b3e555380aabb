//! `tunesmith resume`: a run goes on after its process died, was stopped, or had used up what it might use.
//!
//! The planner does once more all that it did before, and each call and reply is recalled from the log instead of made,
//! until the log has no more; see [`Journal`](crate::steps::Journal).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tunesmith_harness::{
    budget::Caps,
    event::{Event, Fault, Kind, Rows},
    log::{self, Log},
    run::Run,
    task::{Outcome, Task},
};
use tunesmith_sandbox::Cancel;

use super::{Failure, Finished, Options, Prepared, Recorder, Watch, beat, prepare, publishing, work};
use crate::{commands::require::met, planner_loop};

/// What a run may use from now on; `None` leaves it as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Further {
    /// Minutes of the whole run, those that were used included.
    pub minutes: Option<f64>,
    /// Steps of the whole run.
    pub steps: Option<u32>,
    /// Dollars of the whole run.
    pub usd: Option<f64>,
}

impl Further {
    fn of(self, task: &Task) -> Task {
        let task = task.clone();
        Task {
            minutes: self.minutes.or(task.minutes),
            steps: self.steps.or(task.steps),
            usd: self.usd.or(task.usd),
            ..task
        }
    }
}

/// Goes on with a run. An error means that it cannot go on, or that its log cannot be written.
pub async fn resume(
    run: Run,
    options: &Options,
    further: Further,
    watch: &dyn Watch,
    cancel: &Cancel,
) -> Result<Finished, Failure> {
    met(&options.jobs)?;
    let log = Log::open(&run.log())?;
    let events = log::read(&run.log())?;
    let used = used(&events, beat::last_seen(&run).and_then(|at| Timestamp::try_from(at).ok()));
    let (rows, task, rest) = begun(&events)
        .ok_or_else(|| Failure::new(2, "the run had not begun, so there is nothing to go on with; start it again"))?;
    let task = further.of(task);
    may_go_on(rest, &task, used)?;
    let changed = (further != Further::default()).then(|| Box::new(task.clone()));
    let options = Options { task: task.clone(), ..options.clone() };
    let planner = prepare::planner(&options)?;
    let model = planner.open(&|name| std::env::var(name).ok(), task.seed).map_err(|e| Failure::new(5, e))?;
    let mut prepared = Prepared::of_run(run, &options, rows, model)?;
    prepared.publish = publishing::wish(&options)?;
    let mut journal = Recorder::after(log, &prepared.run, watch, history(rest));
    let steps = journal.recalls();
    journal.announce(Kind::Resumed { version: env!("CARGO_PKG_VERSION").to_owned(), used, task: changed })?;
    watch.note(&format!("going on after {}", tunesmith_harness::figures::counted(steps, "step")));
    let used = Duration::try_from_secs_f64(used).unwrap_or_default();
    let started = Instant::now().checked_sub(used).unwrap_or_else(Instant::now);
    work(&options, &prepared, journal, started, cancel).await
}

/// Its rows, its task as it was last, and what happened since it began.
pub(super) fn begun(events: &[Event]) -> Option<(Rows, &Task, &[Event])> {
    let (Kind::Started { rows, task, .. }, rest) = events.split_first().map(|(first, rest)| (&first.kind, rest))?
    else {
        return None;
    };
    Some((*rows, rest.iter().rev().find_map(resumed).unwrap_or(task), rest))
}

fn resumed(event: &Event) -> Option<&Task> {
    match &event.kind {
        Kind::Resumed { task, .. } => task.as_deref(),
        _ => None,
    }
}

/// Refuses a run that has its result, or has nothing left to go on with.
fn may_go_on(events: &[Event], task: &Task, used: f64) -> Result<(), Failure> {
    let ended = events.last().and_then(|event| match &event.kind {
        Kind::Ended { outcome, why, .. } => Some((*outcome, why)),
        _ => None,
    });
    if let Some((outcome @ (Outcome::Met | Outcome::NotMet), why)) = ended {
        return Err(Failure::new(
            2,
            format!("the run has ended ({outcome}: {why}); see it with `tunesmith runs show`"),
        ));
    }
    let wall = Caps::of(task).wall.map(|wall| wall.as_secs_f64());
    match (ended, wall) {
        (Some((Outcome::Budget, why)), Some(wall)) if used >= wall * 0.8 => {
            let why = format!("the run has used what it may use ({why}); give it more with --minutes");
            Err(Failure::new(4, why))
        }
        _ => Ok(()),
    }
}

/// What is recalled: what happened to the run, without its ends, and without the last step and the last decision where the
/// run was stopped in their middle.
pub(super) fn history(events: &[Event]) -> Vec<Kind> {
    let mut lives: Vec<Vec<Kind>> = vec![Vec::new()];
    let mut graded = false;
    for event in events {
        match &event.kind {
            Kind::Resumed { .. } => {
                lives.push(Vec::new());
                graded = false;
            }
            Kind::Graded { .. } => graded = true,
            // The run's own end and its judgements come anew. What was published after the grade is seen to where that is.
            Kind::Ended { .. } | Kind::Scored { step: None, .. } => {}
            _ if graded => {}
            kind => lives.last_mut().into_iter().for_each(|life| life.push(kind.clone())),
        }
    }
    lives.iter_mut().for_each(without_stop);
    lives.concat()
}

/// Takes out what came of the stop, and not of the work: a last call that was cancelled, or ended by a limit or for want of
/// something, an approval that nobody gave, and what was seen of a clock that has been set anew.
fn without_stop(life: &mut Vec<Kind>) {
    let stopped = |kind: &Kind| {
        matches!(kind, Kind::Returned { fault: Some(Fault::Cancelled | Fault::Limit | Fault::Resource), .. })
    };
    let last =
        life.iter().rposition(|kind| matches!(kind, Kind::Returned { .. } | Kind::Called { .. } | Kind::Told { .. }));
    if let Some(at) = last.filter(|at| stopped(&life[*at])) {
        life.truncate(at);
    }
    let told = |kind: &Kind| match kind {
        Kind::Approved { granted, .. } => !granted,
        // What was lost may have been paid for.
        Kind::Observed { what, .. } => what != planner_loop::LOST,
        // Of the playbook, about what it saw; a model's words are a reply that counts.
        Kind::Said { finish, calls, .. } => finish.is_null() && calls.is_empty(),
        _ => false,
    };
    while life.last().is_some_and(told) {
        life.pop();
    }
}

/// Seconds in which a process was at work on the run.
fn used(events: &[Event], seen: Option<Timestamp>) -> f64 {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
    let between = events.windows(2).map(|pair| match pair[1].kind {
        // Nobody was at work before it; what a process did after its last event is in `used` of the event itself.
        Kind::Resumed { .. } => 0.0,
        _ => seconds(pair[0].at, pair[1].at),
    });
    let known = events.iter().rposition(|event| matches!(event.kind, Kind::Resumed { .. }));
    let before = known.map_or(0.0, |at| match events[at].kind {
        Kind::Resumed { used, .. } => used,
        _ => 0.0,
    });
    let after = between.skip(known.unwrap_or(0)).sum::<f64>();
    let last = events.last().zip(seen).map_or(0.0, |(last, seen)| seconds(last.at, seen));
    before + after + last
}
