//! What may be done only where someone allows it, and how that is asked and remembered.

use tunesmith_harness::{
    event::{Approver, Capability, Kind},
    log::LogError,
};

use crate::steps::Journal;

/// Who decides whether something may be done, and how.
pub type Decide<'a> = dyn Fn(&str) -> (Approver, bool) + Sync + 'a;

/// Whether `what` may be done. What was decided before, by a process of the same run, is not asked again.
pub fn decided(
    step: Option<u32>,
    what: String,
    capability: Capability,
    decide: &Decide<'_>,
    journal: &mut dyn Journal,
) -> Result<bool, LogError> {
    if let Some(Kind::Approved { granted, .. }) = journal.next() {
        let granted = *granted;
        journal.skip()?;
        return Ok(granted);
    }
    let (by, granted) = decide(&what);
    journal.record(Kind::decided(step, what, capability, by, granted))?;
    Ok(granted)
}
