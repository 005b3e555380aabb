//! Who decides on what a run may do: `--approve`, `--allow`, or a person, for as long as somebody waits for them.

use std::time::Instant;

use futures_util::future::BoxFuture;
use tunesmith_harness::event::{Approver, Capability};
use tunesmith_sandbox::Cancel;

use super::{Approve, Watch};
use crate::{
    approvals::{Decide, Decision, Flag, Proposal},
    steps::until,
};

/// Decides as `--approve` says.
pub(super) struct Decider<'a> {
    pub approve: Approve,
    pub watch: &'a dyn Watch,
    pub cancel: &'a Cancel,
    pub deadline: Option<Instant>,
}

impl Decider<'_> {
    /// What a person says, if they say it before the run is cancelled or its time is up.
    async fn ask(&self, proposal: Proposal) -> Option<Decision> {
        if self.approve != Approve::Ask {
            return None;
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            () = until(self.deadline) => None,
            decision = self.watch.decide(proposal) => decision,
        }
    }
}

impl Decide for Decider<'_> {
    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, (Approver, Decision)> {
        Box::pin(async move {
            let capability = proposal.capability;
            match (self.ask(proposal).await, capability) {
                (Some(decision), _) => (Approver::Person, decision),
                (None, Capability::Plan) if self.approve == Approve::Auto => (Approver::Policy, Decision::ONCE),
                (None, Capability::Plan) => (Approver::Policy, Decision::Refused { reason: None }),
                // What leaves the run's directory takes a flag, or a person.
                (None, _) => (Approver::Flag, Decision::Refused { reason: None }),
            }
        })
    }
}

/// Asks a person also where a flag allows it; the flag decides where nobody can be asked.
pub(super) struct Sender<'a> {
    pub person: Decider<'a>,
    pub flag: Flag,
}

impl Decide for Sender<'_> {
    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, (Approver, Decision)> {
        Box::pin(async move {
            match self.person.ask(proposal.clone()).await {
                Some(decision) => (Approver::Person, decision),
                None => self.flag.decide(proposal).await,
            }
        })
    }
}
