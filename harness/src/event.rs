//! The event log of a run: append-only, hash-chained, the only truth about the run.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::Input,
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
    },
    /// A guard of the loop fired.
    Guarded {
        /// Name of the guard.
        guard: String,
        /// What it saw.
        why: String,
    },
    /// The conversation was shortened.
    Compacted {
        /// Messages dropped.
        dropped: u32,
    },
    /// The grader's result on the sealed rows.
    Graded {
        /// The result.
        grade: Box<crate::grade::Grade>,
        /// What the grader's sandboxed jobs took, in the order of their ends.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<JobRecord>,
    },
    /// The run ended. Always the last event.
    Ended {
        /// As what.
        outcome: Outcome,
        /// Why, in one line.
        why: String,
        /// The run's directory.
        run: PathBuf,
    },
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
