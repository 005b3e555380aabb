//! `tunesmith resume`: a run goes on after its process died, was stopped, or had used up what it might use; in a session also
//! after the user stopped it to say something.
//!
//! The planner does once more all that it did before, and each call and reply is recalled from the log instead of made,
//! until the log has no more; see [`Journal`](crate::steps::Journal).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tunesmith_harness::{
    budget::{Caps, Spend},
    event::{Before, Cost, Event, Fault, Kind, LOST, Rows, paid, seconds_used},
    log::{self, Log},
    run::{Run, Terms},
    task::{Outcome, Task},
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    data_make::{self, DataMake},
    tool::Tool,
};

use super::{Failure, Finished, Options, Prepared, Recorder, Watch, beat, prepare, publishing, turns, work};
use crate::{commands::require::met, planner_loop};

/// What a run may use from now on; `None` leaves it as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Further {
    /// Minutes of the whole run, those that were used included.
    pub minutes: Option<f64>,
    /// Steps of the whole run.
    pub steps: Option<u32>,
    /// Tokens of the whole run.
    pub tokens: Option<u64>,
    /// Dollars of the whole run.
    pub usd: Option<f64>,
    /// Bytes in the run's directory.
    pub disk: Option<u64>,
}

impl Further {
    /// This, and where it says nothing, the other.
    pub fn or(self, other: Further) -> Further {
        Further {
            minutes: self.minutes.or(other.minutes),
            steps: self.steps.or(other.steps),
            tokens: self.tokens.or(other.tokens),
            usd: self.usd.or(other.usd),
            disk: self.disk.or(other.disk),
        }
    }

    fn of(self, task: &Task) -> Task {
        let task = task.clone();
        Task {
            minutes: self.minutes.or(task.minutes),
            steps: self.steps.or(task.steps),
            tokens: self.tokens.or(task.tokens),
            usd: self.usd.or(task.usd),
            disk: self.disk.or(task.disk),
            ..task
        }
    }
}

/// Goes on with a run. An error means that it cannot go on, or that its log cannot be written.
pub async fn resume(
    run: Run,
    options: &Options,
    (further, instruction): (Further, Option<&str>),
    watch: &dyn Watch,
    cancel: &Cancel,
) -> Result<Finished, Failure> {
    met(&options.jobs)?;
    let log = Log::open(&run.log())?;
    let events = log::read(&run.log())?;
    turns::finish_undoing(&run, &events)?;
    let used = used(&events, beat::last_seen(&run));
    let (rows, task, rest) = begun(&events)
        .ok_or_else(|| Failure::new(2, "the run had not begun, so there is nothing to go on with; start it again"))?;
    let task = further.of(task);
    may_go_on(rest, &task, used)?;
    let changed = (further != Further::default()).then(|| Box::new(task.clone()));
    let options = Options { task: task.clone(), ..options.clone() };
    let planner = prepare::planner(&options)?;
    let model =
        planner.open(&|name| std::env::var(name).ok(), &options.jobs, task.seed).map_err(|e| Failure::new(5, e))?;
    if let Some(why) = instruction.and(model.is_none().then_some(DEAF)) {
        return Err(Failure::new(2, why));
    }
    let mut prepared = Prepared::of_run(run, &options, rows, model)?;
    prepared.instruction = instruction.map(str::to_owned);
    let (recalled, dropped) = history(rest, instruction.is_some());
    let lost = unlogged(&prepared.run, rest);
    prepared.sunk =
        [sunk(&events), dropped, lost.map_or(Spend::NOTHING, spend)].into_iter().fold(Spend::NOTHING, Spend::plus);
    prepared.publish = publishing::wish(&options)?;
    let mut journal = Recorder::after(log, &prepared.run, watch, recalled);
    let (steps, terms) = (journal.recalls(), Some(options.terms()));
    if instruction.is_some()
        && let Err(error) = turns::keep(&prepared.run, journal.seq(), options.task.disk.unwrap_or(prepare::DISK))
    {
        watch.note(&format!("this turn cannot be taken back later: {error}"));
    }
    journal.announce(Kind::Resumed {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        used,
        task: changed,
        terms,
        lost,
    })?;
    watch.note(&format!("going on after {}", tunesmith_harness::figures::counted(steps, "step")));
    let used = Duration::try_from_secs_f64(used).unwrap_or_default();
    let started = Instant::now().checked_sub(used).unwrap_or_else(Instant::now);
    work(&options, &prepared, journal, started, cancel).await
}

const DEAF: &str =
    "the playbook takes no words in the middle of a run; start another run, or name a language model with --planner";

/// What no recalled event books: rows that were made up before the log began, turns that the user took back, and what earlier processes found out to be lost.
fn sunk(events: &[Event]) -> Spend {
    let sunk = events.iter().filter_map(|event| match &event.kind {
        Kind::Started { before: Some(Before { asked, .. }), .. } => Some(spend(*asked)),
        Kind::Undone { steps, cost, .. } => Some(Spend { steps: *steps, ..spend(*cost) }),
        Kind::Resumed { lost, .. } => lost.map(spend),
        _ => None,
    });
    sunk.fold(Spend::NOTHING, Spend::plus)
}

fn spend(Cost { tokens, usd }: Cost) -> Spend {
    Spend { steps: 0, tokens, usd }
}

/// What `data_make` had paid for when a process died, as its journals know and the log does not.
fn unlogged(run: &Run, events: &[Event]) -> Option<Cost> {
    let logged = events.iter().filter_map(|event| match &event.kind {
        Kind::Returned { tool, asked, .. } if tool == DataMake::NAME => *asked,
        Kind::Resumed { lost, .. } => *lost,
        _ => None,
    });
    let (tokens, usd) = logged.fold((0u64, 0.0), |(tokens, usd), cost| {
        (tokens.saturating_add(cost.tokens.unwrap_or(0)), usd + cost.usd.unwrap_or(0.0))
    });
    let known = data_make::spent_in(&run.work());
    let more = |paid: f64| if paid > 1e-9 { paid } else { 0.0 };
    let lost =
        Cost { tokens: Some(known.tokens.saturating_sub(tokens)), usd: known.usd.map(|known| more(known - usd)) };
    (lost != Cost { tokens: Some(0), usd: Some(0.0) }).then_some(lost)
}

/// What the user allowed when a process last went on with the run; `None` where none did.
pub fn last_terms(run: &Run) -> Option<Terms> {
    let events = log::scan(&run.log()).ok()?.events;
    events.into_iter().rev().find_map(|event| match event.kind {
        Kind::Resumed { terms, .. } => terms,
        _ => None,
    })
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
///
/// What the user stopped in order to say something was stopped for good, and stays; `instructed` says whether they do now.
/// Beside it, what was paid for what is left out.
pub(super) fn history(events: &[Event], instructed: bool) -> (Vec<Kind>, Spend) {
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
            Kind::Ended { .. } | Kind::Scored { step: None, .. } | Kind::Undone { .. } => {}
            _ if graded => {}
            kind => lives.last_mut().into_iter().for_each(|life| life.push(kind.clone())),
        }
    }
    let mut heard: Vec<bool> = lives.iter().skip(1).map(|life| begins_with_words(life)).collect();
    heard.push(instructed);
    let mut dropped = Vec::new();
    for (life, _) in lives.iter_mut().zip(heard).filter(|(_, heard)| !heard) {
        dropped.extend(without_stop(life));
    }
    let paid = dropped.iter().filter_map(paid).map(spend).fold(Spend::NOTHING, Spend::plus);
    (lives.concat(), paid)
}

/// Whether the user said something to a run that went on, before anything else was done.
fn begins_with_words(life: &[Kind]) -> bool {
    let rest = life.iter().find(|kind| !matches!(kind, Kind::Told { .. } | Kind::Scored { .. } | Kind::Guarded { .. }));
    matches!(rest, Some(Kind::Instructed { .. }))
}

/// Takes out what came of the stop, and not of the work: a last call that was cancelled, or ended by a limit or for want of
/// something, an approval that nobody gave, and what was seen of a clock that has been set anew.
fn without_stop(life: &mut Vec<Kind>) -> Vec<Kind> {
    let stopped = |kind: &Kind| {
        matches!(kind, Kind::Returned { fault: Some(Fault::Cancelled | Fault::Limit | Fault::Resource), .. })
    };
    let last =
        life.iter().rposition(|kind| matches!(kind, Kind::Returned { .. } | Kind::Called { .. } | Kind::Told { .. }));
    let mut dropped = last.filter(|at| stopped(&life[*at])).map_or_else(Vec::new, |at| life.split_off(at));
    let told = |kind: &Kind| match kind {
        Kind::Approved { granted, .. } => !granted,
        // What was lost may have been paid for, and what was learnt stays so.
        Kind::Observed { what, .. } => ![LOST, planner_loop::WINDOW, planner_loop::ANEW].contains(&what.as_str()),
        // Of the playbook, about what it saw; a model's words are a reply that counts.
        Kind::Said { finish, calls, .. } => finish.is_null() && calls.is_empty(),
        _ => false,
    };
    while life.last().is_some_and(told) {
        dropped.extend(life.pop());
    }
    dropped
}

/// Seconds in which a process was at work on the run, which was `seen` alive last after its last event.
pub(super) fn used(events: &[Event], seen: Option<Timestamp>) -> f64 {
    let after = |(last, seen): (&Event, Timestamp)| seen.duration_since(last.at).as_secs_f64().max(0.0);
    seconds_used(events) + events.last().zip(seen).map_or(0.0, after)
}
