//! Writes a run's events to its log and shows them; of a run that goes on or is played again, recalls those that are given.

use std::collections::VecDeque;

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
    /// The events up to now.
    past: Vec<Kind>,
    /// What is recalled instead of made.
    given: VecDeque<Kind>,
    /// Whether what is given stands in the log already.
    logged: bool,
    /// How many of the past events stood there already.
    inherited: usize,
}

impl<'a> Recorder<'a> {
    /// The log of a run that begins.
    pub fn new(log: Log, run: &'a Run, watch: &'a dyn Watch) -> Self {
        Recorder { log, run, watch, past: Vec::new(), given: VecDeque::new(), logged: false, inherited: 0 }
    }

    /// The log of a run that goes on after these events of it.
    pub fn after(log: Log, run: &'a Run, watch: &'a dyn Watch, events: Vec<Kind>) -> Self {
        Recorder { given: events.into(), logged: true, ..Recorder::new(log, run, watch) }
    }

    /// The log of a run in which a planner says and sees these again, and all else is made anew.
    pub fn with(log: Log, run: &'a Run, watch: &'a dyn Watch, given: Vec<Kind>) -> Self {
        Recorder { given: given.into(), ..Recorder::new(log, run, watch) }
    }

    /// Steps that are recalled with their results.
    pub fn recalls(&self) -> usize {
        self.given.iter().filter(|event| matches!(event, Kind::Returned { .. })).count()
    }

    /// Whether all that was recalled fits what the planner does now.
    pub fn whole(&self) -> Result<(), LogError> {
        match self.given.front().filter(|_| self.logged) {
            None => Ok(()),
            Some(was) => Err(LogError::Diverged { was: was.name(), now: "the end" }),
        }
    }

    /// Number of the next event.
    pub fn seq(&self) -> u64 {
        self.log.seq()
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

    fn make(&mut self, kind: Kind) -> Result<(), LogError> {
        if let Kind::Returned { tool, ok: true, output, .. } = &kind
            && tool == train::Train::NAME
        {
            grading::keep(self.run, output);
        }
        self.announce(kind.clone())?;
        self.past.push(kind);
        Ok(())
    }
}

impl Journal for Recorder<'_> {
    fn record(&mut self, kind: Kind) -> Result<(), LogError> {
        let Some(was) = self.given.front().filter(|_| self.logged) else { return self.make(kind) };
        let same = match (was, &kind) {
            (Kind::Called { step, tool, .. }, Kind::Called { step: now, tool: called, .. }) => {
                (step, tool) == (now, called)
            }
            _ => std::mem::discriminant(was) == std::mem::discriminant(&kind),
        };
        if !same {
            return Err(LogError::Diverged { was: was.name(), now: kind.name() });
        }
        self.skip()
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.next().is_some() { Ok(()) } else { self.log.sync() }
    }

    fn past(&self) -> &[Kind] {
        &self.past
    }

    fn next(&self) -> Option<&Kind> {
        self.given.front()
    }

    fn inherited(&self) -> usize {
        self.inherited
    }

    fn skip(&mut self) -> Result<(), LogError> {
        match self.given.pop_front() {
            Some(kind) if self.logged => {
                self.past.push(kind);
                self.inherited += 1;
            }
            Some(kind) => self.make(kind)?,
            None => {}
        }
        Ok(())
    }
}
