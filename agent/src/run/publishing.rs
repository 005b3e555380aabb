//! Sending the result to the Hub once the goal is met, where the request asks for it: shown whole, allowed, logged, done
//! once.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    budget::Budget,
    event::{Capability, Event, Fault, Kind},
    figures::{bytes, counted},
    log,
    report::Report,
    task::Outcome,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{RepoId, publish::Published};

use super::{
    ELSEWHERE, Failure, Options, Planner, Prepared, Recorder,
    deciding::{Decider, Sender},
    in_time, named,
};
use crate::{
    approvals::{self, Flag, Proposal, Verdict},
    commands::hub::publish::{Shipment, of_run},
    playbook::request::{self, Publish},
    steps::Journal,
};

/// What the step is called in the log. No planner takes it.
const STEP: &str = "hub_publish";

/// How a run ends, and why.
type End = (Outcome, String);

/// What is sent where: the arguments of the step, which a person may edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    /// `owner/name`.
    to: String,
    /// Whether everybody may see it.
    public: bool,
}

/// Where the request of a run wants its result to go.
pub(super) fn wish(options: &Options) -> Result<Option<Publish>, Failure> {
    let playbook = named(&options.planner)? == Planner::Playbook;
    let wanted = request::read(&options.task.request).filter(|_| playbook);
    Ok(wanted.and_then(|wanted| wanted.publish))
}

/// Publishes what a run that met its goal has made. A run whose result could not be sent is blocked, so that it can be gone
/// on with; what was sent is never sent again.
pub(super) async fn publish(
    (options, prepared): (&Options, &Prepared),
    (outcome, why): End,
    journal: &mut Recorder<'_>,
    (budget, cancel): (&Budget, &Cancel),
) -> Result<End, Failure> {
    let Some(Publish { to, public }) = prepared.publish.clone() else { return Ok((outcome, why)) };
    if outcome != Outcome::Met {
        return Ok((outcome, format!("{why}; not published")));
    }
    let events = log::read(&prepared.run.log())?;
    if let Some(sent) = sent(&events) {
        return Ok((Outcome::Met, format!("{why}; published as {}", sent.url)));
    }
    // The card says what the report says, whichever process writes it.
    let dir = prepared.run.dir();
    let mut report = Report::fold(&events);
    (report.outcome, report.why) = (Some(outcome), why.clone());
    report.write(dir).map_err(|error| Failure::unwritten(dir, &error, ELSEWHERE))?;
    let mut sending = Sending { options, prepared, events, cancel, deadline: budget.deadline() };
    match sending.run(Args { to, public }, journal).await {
        Ok(sent) => Ok((Outcome::Met, format!("{why}; published as {}", sent.url))),
        Err(Stop::Log(error)) => Err(error),
        Err(Stop::End(outcome, reason)) => Ok((outcome, format!("{why}; not published: {reason}"))),
    }
}

/// Why nothing was sent.
enum Stop {
    /// The log cannot be written.
    Log(Failure),
    /// The run ends as this, for this reason.
    End(Outcome, String),
}

impl From<tunesmith_harness::log::LogError> for Stop {
    fn from(error: tunesmith_harness::log::LogError) -> Self {
        Stop::Log(error.into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let outcome = match fault(&failure) {
            Fault::Cancelled => Outcome::Cancelled,
            Fault::Limit => Outcome::Budget,
            _ => Outcome::Blocked,
        };
        Stop::End(outcome, format!("{}; go on with `tunesmith resume`", failure.message))
    }
}

/// What kept it from being sent.
fn fault(failure: &Failure) -> Fault {
    match failure.exit {
        exit if exit == Outcome::Cancelled.exit_code() => Fault::Cancelled,
        exit if exit == Outcome::Budget.exit_code() => Fault::Limit,
        _ => Fault::Resource,
    }
}

struct Sending<'a> {
    options: &'a Options,
    prepared: &'a Prepared,
    /// The log so far.
    events: Vec<Event>,
    cancel: &'a Cancel,
    deadline: Option<Instant>,
}

impl Sending<'_> {
    async fn run(&mut self, wish: Args, journal: &mut Recorder<'_>) -> Result<Published, Stop> {
        let (mut args, mut shipment) = (wish.clone(), self.shipment(&wish).await?);
        shipment.lines().iter().for_each(|line| journal.watch.note(line));
        // What a log says of an earlier consent may have been written by anybody.
        if let Some(edited) = self.ask(&wish, &shipment, journal).await? {
            args = edited;
            shipment = self.shipment(&args).await?;
            shipment.lines().iter().for_each(|line| journal.watch.note(line));
        }
        let step = self.call(&args, journal)?;
        let began = Instant::now();
        let result = self.in_time(shipment.send(self.cancel)).await;
        let output = match &result {
            Ok(sent) => serde_json::to_value(sent).unwrap_or_default(),
            Err(failure) => Value::from(failure.message.clone()),
        };
        journal.record(Kind::Returned {
            step,
            id: STEP.to_owned(),
            tool: STEP.to_owned(),
            ok: result.is_ok(),
            output,
            seconds: began.elapsed().as_secs_f64(),
            jobs: Vec::new(),
            fault: result.as_ref().err().map(fault),
            asked: None,
        })?;
        journal.sync()?;
        Ok(result?)
    }

    /// What would be sent, gathered from the files that were graded.
    async fn shipment(&self, args: &Args) -> Result<Shipment, Stop> {
        let grade = self.events.iter().rev().find_map(|event| match &event.kind {
            Kind::Graded { grade, .. } => Some(grade),
            _ => None,
        });
        let adapter = grade.and_then(|grade| grade.artifacts.iter().find(|artifact| artifact.kind == "adapter"));
        let Some(adapter) = adapter else {
            return Err(Stop::End(Outcome::Blocked, "the run handed in no adapter".to_owned()));
        };
        let to: RepoId = args.to.parse().map_err(crate::commands::hub::failure)?;
        let run = self.prepared.run.dir();
        let adapter = run.join(&adapter.path);
        // The Hub is asked for licences.
        Ok(self.in_time(of_run((&adapter, &to, args.public), run, self.options, self.cancel)).await?)
    }

    /// Asks whether it may be sent; gives the arguments that a person put in place of these.
    async fn ask(&self, args: &Args, shipment: &Shipment, journal: &mut Recorder<'_>) -> Result<Option<Args>, Stop> {
        let flag = format!("publish:{}", args.to);
        let (approve, watch, cancel, deadline) = (self.options.approve, journal.watch, self.cancel, self.deadline);
        let decide = Sender {
            person: Decider { approve, watch, cancel, deadline },
            flag: Flag(self.options.allow.contains(&flag)),
        };
        let (files, size) = shipment.size();
        let access = if args.public { "publicly" } else { "privately" };
        let proposal = Proposal {
            what: format!("send {} ({}) {access} to {}", counted(files, "file"), bytes(size), args.to),
            capability: Capability::Publish,
            call: Some((STEP.to_owned(), serde_json::to_value(args).unwrap_or_default())),
            flag: Some(format!("--allow {flag}")),
        };
        match approvals::decided(None, proposal, &decide, journal).await? {
            Verdict::Go(None) => Ok(None),
            Verdict::Go(Some(edited)) => {
                let edited = serde_json::from_value(edited)
                    .map_err(|error| Stop::End(Outcome::Blocked, format!("what was edited cannot be used: {error}")))?;
                Ok(Some(edited))
            }
            Verdict::Stop(Some(reason)) => Err(Stop::End(Outcome::Blocked, format!("it was refused: {reason}"))),
            Verdict::Stop(None) => {
                Err(Stop::End(Outcome::Blocked, format!("go on with `tunesmith resume` and --allow {flag}")))
            }
        }
    }

    /// Logs the call, unless a process died in the middle of the same one.
    fn call(&self, args: &Args, journal: &mut Recorder<'_>) -> Result<u32, Stop> {
        let args = serde_json::to_value(args).unwrap_or_default();
        let (step, is_logged) = step(self.events.iter().map(|event| &event.kind), &args);
        if !is_logged {
            journal.record(Kind::Called { step, id: STEP.to_owned(), tool: STEP.to_owned(), args })?;
            journal.sync()?;
        }
        Ok(step)
    }

    /// What some work comes to before the run's time is up.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        in_time(self.deadline, "the run's time is up; give it more --minutes", work).await
    }
}

/// The number of the step, and whether it stands in the log already: it was called with these very arguments, and nothing
/// came of it.
fn step<'a>(kinds: impl Iterator<Item = &'a Kind>, args: &Value) -> (u32, bool) {
    let (mut last, mut open) = (0, false);
    for kind in kinds {
        match kind {
            Kind::Called { step, tool, args: called, .. } => (last, open) = (*step, tool == STEP && called == args),
            Kind::Returned { step, .. } if *step == last => open = false,
            _ => {}
        }
    }
    if open { (last, true) } else { (last + 1, false) }
}

/// What this run has sent, if it has.
fn sent(events: &[Event]) -> Option<Published> {
    events.iter().find_map(|event| match &event.kind {
        Kind::Returned { tool, ok: true, output, .. } if tool == STEP => serde_json::from_value(output.clone()).ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn called(step: u32, tool: &str, args: Value) -> Kind {
        Kind::Called { step, id: tool.to_owned(), tool: tool.to_owned(), args }
    }

    fn returned(step: u32) -> Kind {
        let (id, tool) = (STEP.to_owned(), STEP.to_owned());
        let (output, jobs, fault) = (Value::Null, Vec::new(), Some(Fault::Resource));
        Kind::Returned { step, id, tool, ok: false, output, seconds: 0.0, jobs, fault, asked: None }
    }

    #[test]
    fn a_call_that_died_is_gone_on_with_only_where_the_same_is_sent() {
        let (wish, edited) = (json!({"to": "a/b", "public": false}), json!({"to": "a/b", "public": true}));
        let died = [called(6, "finish", json!({})), called(7, STEP, wish.clone())];
        assert_eq!(step(died.iter(), &wish), (7, true));
        assert_eq!(step(died.iter(), &edited), (8, false));
        let [first, second] = died;
        assert_eq!(step([&first, &second, &returned(7)].into_iter(), &wish), (8, false));
        assert_eq!(step([&first].into_iter(), &wish), (7, false));
        // Of two, the last is what was being sent.
        assert_eq!(step([&first, &second, &called(8, STEP, edited)].into_iter(), &wish), (9, false));
    }

    #[test]
    fn what_kept_it_from_being_sent_is_how_the_run_ends() {
        let ends = |exit| match Stop::from(Failure::new(exit, "w")) {
            Stop::End(outcome, _) => Some(outcome),
            Stop::Log(_) => None,
        };
        let faults = [4, 5, 130].map(|exit| fault(&Failure::new(exit, "w")));
        assert_eq!(faults, [Fault::Limit, Fault::Resource, Fault::Cancelled]);
        assert_eq!(
            [4, 5, 2, 130].map(ends),
            [Outcome::Budget, Outcome::Blocked, Outcome::Blocked, Outcome::Cancelled].map(Some)
        );
    }
}
