//! What may be done only where someone allows it: how it is asked, answered, remembered for the run, and gone on with.

use futures_util::future::BoxFuture;
use serde_json::Value;
use tunesmith_harness::{
    event::{Approver, Capability, Kind},
    log::LogError,
};

use crate::steps::Journal;

/// What somebody is asked to allow, as it will be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// In words.
    pub what: String,
    /// What it takes.
    pub capability: Capability,
    /// The tool with its arguments, where a call needs it; these may be edited.
    pub call: Option<(String, Value)>,
    /// The flag that would have allowed it.
    pub flag: Option<String>,
}

impl Proposal {
    /// A plan that takes the run's time and stays in its directory.
    pub fn of_plan(what: String) -> Self {
        let flag = Some("--approve auto".to_owned());
        Proposal { what, capability: Capability::Plan, call: None, flag }
    }
}

/// The answer of a person.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It may be done.
    Granted {
        /// The arguments to take in place of those that were shown.
        edited: Option<Value>,
        /// Whether the same is allowed for the rest of the run.
        for_run: bool,
    },
    /// It may not.
    Refused {
        /// Why, which the planner is told.
        reason: Option<String>,
    },
}

impl Decision {
    /// It may be done once, as it was shown.
    pub const ONCE: Decision = Decision::Granted { edited: None, for_run: false };
}

/// Who decides, and how.
pub trait Decide: Send + Sync {
    /// Decides, perhaps after asking somebody.
    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, (Approver, Decision)>;
}

/// A flag has decided: it allows, or it is not there and nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(
    /// Whether it is there.
    pub bool,
);

impl Decide for Flag {
    fn decide(&self, _: Proposal) -> BoxFuture<'_, (Approver, Decision)> {
        let decision = if self.0 { Decision::ONCE } else { Decision::Refused { reason: None } };
        Box::pin(std::future::ready((Approver::Flag, decision)))
    }
}

/// A person is told more than the log holds.
pub struct Told<'a> {
    /// Who decides.
    pub decide: &'a dyn Decide,
    /// What they are told.
    pub what: String,
}

impl Decide for Told<'_> {
    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, (Approver, Decision)> {
        self.decide.decide(Proposal { what: self.what.clone(), ..proposal })
    }
}

/// What a decision comes to for the call that needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It may be done, perhaps with other arguments.
    Go(Option<Value>),
    /// It may not, for the reason that a person gave.
    Stop(Option<String>),
}

/// Whether a decision that was just recalled is about something that is still to be done: nothing follows it in the log of
/// a run that goes on.
pub fn is_open(journal: &dyn Journal) -> bool {
    journal.inherited() > 0 && journal.next().is_none()
}

/// Whether a proposal may be carried out. What was done before by a process of the same run, and what was allowed for all of
/// the run in this process, is not asked again; what leaves the run's directory or changes its scope is, where it is still
/// to be done. The decision is in the log before anything is done.
pub async fn decided(
    step: Option<u32>,
    proposal: Proposal,
    decide: &dyn Decide,
    journal: &mut dyn Journal,
) -> Result<Verdict, LogError> {
    let mut recalled = None;
    // What was decided anew stands behind what it was decided in place of.
    while let Some(Kind::Approved { granted, reason, edited, .. }) = journal.next() {
        recalled = Some(if *granted { Verdict::Go(edited.clone()) } else { Verdict::Stop(reason.clone()) });
        journal.skip()?;
        if journal.inherited() == 0 {
            break;
        }
    }
    if let Some(verdict) = recalled
        && (proposal.capability == Capability::Plan || !is_open(journal))
    {
        return Ok(verdict);
    }
    // Another change of the scope is another one.
    let standing = proposal.capability != Capability::Scope
        && journal.past().iter().skip(journal.inherited()).any(|event| {
            matches!(event, Kind::Approved { what, capability, granted: true, for_run: true, .. }
            if *what == proposal.what && *capability == proposal.capability)
        });
    let (what, capability) = (proposal.what.clone(), proposal.capability);
    let (by, decision) = if standing { (Approver::Person, Decision::ONCE) } else { decide.decide(proposal).await };
    let (verdict, reason, edited, for_run) = match decision {
        Decision::Granted { edited, for_run } => (Verdict::Go(edited.clone()), None, edited, for_run),
        Decision::Refused { reason } => (Verdict::Stop(reason.clone()), reason, None, false),
    };
    let granted = matches!(verdict, Verdict::Go(_));
    journal.record(Kind::Approved { step, what, capability, by, granted, reason, edited, for_run })?;
    Ok(verdict)
}
