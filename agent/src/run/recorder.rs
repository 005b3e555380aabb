//! Writes a run's events to its log and shows them; of a run that goes on, recalls those that are there.

use jiff::Timestamp;
use tunesmith_harness::{
    event::Kind,
    log::{Log, LogError},
    run::Run,
};
use tunesmith_tools::{tool::Tool, train};

use super::Watch;
use crate::{grading, steps::Journal};

/// The log of a run at work.
pub(super) struct Recorder<'a> {
    log: Log,
    run: &'a Run,
    /// Who is shown what is new.
    pub watch: &'a dyn Watch,
    /// All events, those to be recalled included.
    events: Vec<Kind>,
    /// How many of them have happened.
    at: usize,
}

impl<'a> Recorder<'a> {
    /// The log of a run that begins.
    pub fn new(log: Log, run: &'a Run, watch: &'a dyn Watch) -> Self {
        Recorder { log, run, watch, events: Vec::new(), at: 0 }
    }

    /// The log of a run that goes on after these events.
    pub fn after(log: Log, run: &'a Run, watch: &'a dyn Watch, events: Vec<Kind>) -> Self {
        Recorder { log, run, watch, events, at: 0 }
    }

    /// Steps that are recalled with their results.
    pub fn recalls(&self) -> usize {
        self.events[self.at..].iter().filter(|event| matches!(event, Kind::Returned { .. })).count()
    }

    /// Whether all that was recalled fits what the planner does now.
    pub fn whole(&self) -> Result<(), LogError> {
        match self.next() {
            None => Ok(()),
            Some(was) => Err(LogError::Diverged { seq: self.at as u64, was: was.name(), now: "the end" }),
        }
    }

    /// Hash of the log's last line.
    pub fn head(&self) -> &str {
        self.log.head()
    }

    /// Logs and shows an event that is no part of what is recalled.
    pub fn announce(&mut self, kind: Kind) -> Result<(), LogError> {
        let event = self.log.append(kind, Timestamp::now())?;
        self.watch.event(&event);
        Ok(())
    }
}

impl Journal for Recorder<'_> {
    fn record(&mut self, kind: Kind) -> Result<(), LogError> {
        if let Some(was) = self.next() {
            let same_call = match (was, &kind) {
                (Kind::Called { step, tool, .. }, Kind::Called { step: now, tool: called, .. }) => {
                    (step, tool) == (now, called)
                }
                _ => std::mem::discriminant(was) == std::mem::discriminant(&kind),
            };
            if !same_call {
                return Err(LogError::Diverged { seq: self.at as u64, was: was.name(), now: kind.name() });
            }
            self.at += 1;
            return Ok(());
        }
        if let Kind::Returned { tool, ok: true, output, .. } = &kind
            && tool == train::Train::NAME
        {
            grading::keep(self.run, output);
        }
        self.announce(kind.clone())?;
        self.events.push(kind);
        self.at += 1;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.next().is_some() { Ok(()) } else { self.log.sync() }
    }

    fn past(&self) -> &[Kind] {
        &self.events[..self.at]
    }

    fn next(&self) -> Option<&Kind> {
        self.events.get(self.at)
    }

    fn skip(&mut self) {
        self.at = (self.at + 1).min(self.events.len());
    }
}
