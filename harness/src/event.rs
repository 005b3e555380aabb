//! The event log of a run: append-only, hash-chained, the only truth about the run.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::{Input, Terms},
    score::Score,
    task::{Outcome, Scope, Task},
};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event, from 0, without gaps.
    pub seq: u64,
    /// When it was written; never an input to anything.
    pub at: Timestamp,
    /// SHA-256 of the line before, in hex; 64 zeros for the first.
    pub prev: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What a sandboxed job took at most; `None` where nobody looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// How it ended, with the limit that it passed if there was one.
    pub ended: Value,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Seconds of processors.
    pub cpu_seconds: Option<f64>,
    /// Bytes of memory of all its processes together.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Bytes in the workdir.
    pub disk_bytes: Option<u64>,
    /// Files and directories in the workdir.
    pub files: Option<u64>,
    /// Bytes that it printed.
    pub output_bytes: Option<u64>,
}

/// One call of a tool, as the planner's model wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The id; empty where the model gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments: JSON if all went well.
    pub arguments: String,
    /// Provider data that must be sent back unread (Gemini's thought signatures).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// What asking a model cost; `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens read and written.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
}

impl Cost {
    /// Nothing was asked.
    pub const NOTHING: Cost = Cost { tokens: Some(0), usd: Some(0.0) };
}

/// What was done for a run before its log began: rows that a model made up, what was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Seconds of the run's time.
    pub seconds: f64,
    /// What the questions for rows cost.
    pub asked: Cost,
}

/// Why a call did not succeed, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// There is no such tool, or the arguments do not fit it.
    Invalid,
    /// The run does not allow it.
    Denied,
    /// It was tried and failed.
    Failed,
    /// A limit of the step or the run ended it.
    Limit,
    /// The machine lacks something.
    Resource,
    /// The user cancelled.
    Cancelled,
}

/// What a run may do only where someone allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// To spend the run's time on a plan.
    Plan,
    /// To change the frozen scope.
    Scope,
    /// To reach hosts.
    Network,
    /// To send what was made to the Hub.
    Publish,
}

/// Who decides on an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// `--approve`, without asking anyone.
    Policy,
    /// A person at the terminal.
    Person,
    /// `--allow`.
    Flag,
}

/// What is observed of a reply that was lost on the way: the [`Cost`] that it had at most.
pub const LOST: &str = "lost reply";

/// What this event says was paid for questions; `None` where it says nothing of it.
pub fn paid(event: &Kind) -> Option<Cost> {
    match event {
        Kind::Said { tokens, usd, .. } => Some(Cost { tokens: *tokens, usd: *usd }),
        Kind::Returned { asked, .. } => *asked,
        Kind::Observed { what, value } if what == LOST => Some(lost(value)),
        Kind::Undone { cost, .. } => Some(*cost),
        Kind::Resumed { lost, .. } => *lost,
        _ => None,
    }
}

/// The value of an observation of [`LOST`]; what it does not say is unknown.
pub fn lost(value: &Value) -> Cost {
    // Early versions wrote the dollars alone.
    serde_json::from_value(value.clone()).unwrap_or(Cost { tokens: None, usd: value.as_f64() })
}

/// Seconds in which a process was at work on a run with these events, up to the last of them.
pub fn seconds_used(events: &[Event]) -> f64 {
    let between = events.windows(2).map(|pair| match pair[1].kind {
        // Nobody was at work before it; what a process did after its last event is in `used` of the event itself.
        Kind::Resumed { .. } => 0.0,
        Kind::Undone { used, .. } => used,
        _ => pair[1].at.duration_since(pair[0].at).as_secs_f64().max(0.0),
    });
    let known = events.iter().enumerate().rev().find_map(|(at, event)| match event.kind {
        Kind::Resumed { used, .. } => Some((at, used)),
        _ => None,
    });
    let began = events.first().map_or(0.0, |event| match &event.kind {
        Kind::Started { before: Some(Before { seconds, .. }), .. } => *seconds,
        _ => 0.0,
    });
    let (skipped, before) = known.unwrap_or((0, began));
    before + between.skip(skipped).sum::<f64>()
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The run began, with its rows sealed.
    Started {
        /// What is to be reached.
        task: Task,
        /// Who plans, as given to `--planner`.
        planner: String,
        /// Version of the binary.
        version: String,
        /// How many rows the planner may use and how many are sealed.
        rows: Rows,
        /// The sandbox layers, each with its status as in `files: enforced`; without one in logs of early versions, which name
        /// those in force alone.
        layers: Vec<String>,
        /// The user's files as they were read, the test file included.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<Input>,
        /// What was done before; `None` where that is nothing to speak of, and in logs of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Before>,
    },
    /// A language model was told what to do.
    Briefed {
        /// The system prompt.
        system: String,
        /// The first message of the user.
        request: String,
    },
    /// The run goes on in another process, from what the log holds.
    Resumed {
        /// Version of the binary.
        version: String,
        /// Seconds of the run's time that were used before.
        used: f64,
        /// What the run may use from now on, where the user changed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<Box<Task>>,
        /// What the user allows from now on; `None` in logs of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<Terms>,
        /// What a tool had paid for questions when its process died, as its journal knows and the log does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Cost>,
    },
    /// The user said something to the planner in the middle of the run: a turn of its own begins.
    Instructed {
        /// The words.
        text: String,
    },
    /// The user took back a turn: what stands from one event up to this one does not count any more, but for what it cost.
    Undone {
        /// Number of the first event that does not count.
        from: u64,
        /// Steps that were taken in it.
        steps: u32,
        /// What its replies and its tools' questions cost.
        cost: Cost,
        /// Seconds that it took.
        #[serde(default)]
        used: f64,
    },
    /// Something was measured that a decision of the planner's depends on.
    Observed {
        /// Which decision.
        what: String,
        /// What was measured.
        value: Value,
    },
    /// The scope was frozen by the first `plan`.
    Scoped {
        /// The scope.
        scope: Scope,
    },
    /// The planner said something.
    Said {
        /// Its words.
        text: String,
        /// Tokens that the reply cost, where known.
        tokens: Option<u64>,
        /// Dollars that the reply cost, where known.
        usd: Option<f64>,
        /// What it called, in order, as it wrote it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
        /// What was wrong with these calls and is mended before they are run, each as often as it was met.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repairs: Vec<String>,
        /// Why its model stopped; null where none was asked.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        finish: Value,
        /// Fields of the provider's that belong to the reply and go back to that provider alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Value>,
    },
    /// A tool was called.
    Called {
        /// Number of the step, from 1.
        step: u32,
        /// The call's id, as the planner gave it.
        id: String,
        /// The tool.
        tool: String,
        /// Its arguments, as the planner gave them.
        args: Value,
    },
    /// A tool returned.
    Returned {
        /// Number of the step.
        step: u32,
        /// The call's id.
        id: String,
        /// The tool.
        tool: String,
        /// Whether it succeeded.
        ok: bool,
        /// Its output, or the error as the planner sees it.
        output: Value,
        /// Wall-clock seconds.
        seconds: f64,
        /// What the sandboxed jobs of the step took, in the order of their ends.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<JobRecord>,
        /// Why it did not succeed, by kind; `None` where it did, and in logs of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
        /// What the questions that the tool asked a model cost; `None` where it asked none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Cost>,
    },
    /// What the planner's model was answered: the result of a call as it saw it, or a reminder.
    Told {
        /// The step; `None` where it is a reminder.
        step: Option<u32>,
        /// The words.
        content: String,
    },
    /// A step, or the run (step `None`), was judged.
    Scored {
        /// Number of the step.
        step: Option<u32>,
        /// The judgement.
        #[serde(flatten)]
        score: Score,
    },
    /// The scope was changed, with approval.
    Amended {
        /// The field of [`Scope`].
        field: String,
        /// Its value before.
        from: Value,
        /// Its value after.
        to: Value,
        /// Why.
        reason: String,
    },
    /// It was decided whether something may be done.
    Approved {
        /// The step that needs it; `None` where a language model's whole plan does.
        step: Option<u32>,
        /// What is to be done, in words.
        what: String,
        /// What that takes.
        capability: Capability,
        /// Who decided.
        by: Approver,
        /// Whether it may be done.
        granted: bool,
        /// What a person gave as the reason, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The arguments that a person put in place of the planner's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edited: Option<Value>,
        /// Whether the same is allowed for the rest of the run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_run: bool,
    },
    /// A guard of the loop fired.
    Guarded {
        /// Name of the guard.
        guard: String,
        /// What it saw.
        why: String,
    },
    /// The conversation was shortened: what was dropped is in this log, and what counts of it in the state of the run.
    Compacted {
        /// Messages dropped.
        dropped: u32,
        /// Tokens of the whole request before and after, as counted here.
        #[serde(default)]
        tokens: (u64, u64),
        /// Characters that a result that stayed may have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result_chars: Option<u64>,
    },
    /// The grader's result on the sealed rows.
    Graded {
        /// The result.
        grade: Box<crate::grade::Grade>,
        /// What the grader's sandboxed jobs took, in the order of their ends.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<JobRecord>,
    },
    /// The run ended; only a run that goes on has more.
    Ended {
        /// As what.
        outcome: Outcome,
        /// Why, in one line.
        why: String,
        /// The run's directory.
        run: PathBuf,
    },
}

/// The events that count: without those that the user took back.
pub fn standing(events: Vec<Event>) -> Vec<Event> {
    let mut standing: Vec<Event> = Vec::with_capacity(events.len());
    for event in events {
        if let Kind::Undone { from, .. } = event.kind {
            // What was taken back before has been paid for all the same.
            standing.retain(|other| other.seq < from || matches!(other.kind, Kind::Undone { .. }));
        }
        standing.push(event);
    }
    standing
}

/// Row counts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows read from the user's files.
    pub read: usize,
    /// Rows the planner may use.
    pub open: usize,
    /// Rows set aside for the grader.
    pub sealed: usize,
    /// Rows dropped because a sealed row stands in them, or with a user's own test file because they nearly repeat one.
    pub dropped: usize,
    /// Open rows so alike that near-copies of sealed rows may be among them, see [`crate::seal::Split::templated`].
    #[serde(default)]
    pub templated: usize,
    /// Groups of rows that nearly repeat each other, kept on one side.
    #[serde(default)]
    pub near_groups: usize,
}

impl Kind {
    /// Words alone, without a call.
    pub fn words(text: impl Into<String>, tokens: Option<u64>, usd: Option<f64>) -> Self {
        Kind::Said {
            text: text.into(),
            tokens,
            usd,
            calls: Vec::new(),
            repairs: Vec::new(),
            finish: Value::Null,
            opaque: None,
        }
    }

    /// A decision that changes nothing of what was asked.
    pub fn decided(step: Option<u32>, what: String, capability: Capability, by: Approver, granted: bool) -> Self {
        Kind::Approved { step, what, capability, by, granted, reason: None, edited: None, for_run: false }
    }

    /// The name of the kind, as it stands in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Started { .. } => "started",
            Kind::Briefed { .. } => "briefed",
            Kind::Resumed { .. } => "resumed",
            Kind::Instructed { .. } => "instructed",
            Kind::Undone { .. } => "undone",
            Kind::Observed { .. } => "observed",
            Kind::Scoped { .. } => "scoped",
            Kind::Said { .. } => "said",
            Kind::Called { .. } => "called",
            Kind::Returned { .. } => "returned",
            Kind::Told { .. } => "told",
            Kind::Scored { .. } => "scored",
            Kind::Amended { .. } => "amended",
            Kind::Approved { .. } => "approved",
            Kind::Guarded { .. } => "guarded",
            Kind::Compacted { .. } => "compacted",
            Kind::Graded { .. } => "graded",
            Kind::Ended { .. } => "ended",
        }
    }
}
