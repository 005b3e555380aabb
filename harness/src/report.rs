//! What a run's log amounts to: a stable record for programs, and a page for people.

mod commands;
mod data;
mod fold;
pub(crate) mod render;
mod sentence;
mod step;
mod view;

pub use data::data_section;
pub use render::{html_page, markdown_page};

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Event, Rows},
    figures::counted,
    grade::{Artifact, Baselines, Confusion, Gain, Measured, WrongRow},
    run::Input,
    score::Score,
    task::{Goal, Outcome, Scope},
};

pub use step::{Change, Policy, Step, StepCost};

/// The format of report.json; grows when a field changes its meaning.
pub const VERSION: u32 = 1;

/// The result of a run, as in report.json. What is not known is null, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// As what the run ended; null while it has not.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub why: String,
    /// The request, as typed.
    pub request: String,
    /// The targets.
    pub goals: Vec<Goal>,
    /// Name of the headline metric.
    pub metric: Option<String>,
    /// The base on the sealed rows.
    pub base: Option<Measured>,
    /// The tuned model on the sealed rows.
    pub tuned: Option<Measured>,
    /// Tuned minus base.
    pub gain: Option<Gain>,
    /// Scores that need no model.
    pub baselines: Baselines,
    /// Shipped files.
    pub artifacts: Vec<Artifact>,
    /// What was frozen at the start.
    pub scope: Option<Scope>,
    /// Changes of the scope.
    pub amended: Vec<Amendment>,
    /// What the user said in the middle of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instructions: Vec<String>,
    /// SHA-256 values by name: `base`, `data`, `events` (the line before the last), and each artefact's path.
    pub hashes: BTreeMap<String, String>,
    /// What the run took.
    pub cost: Cost,
    /// Every tool call.
    pub steps: Vec<Step>,
    /// Judgements of the run as a whole.
    pub scores: Vec<Score>,
    /// Guards of the loop that fired.
    pub guards: Vec<Guard>,
    /// What was wrong with calls of the planner and was mended, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repairs: BTreeMap<String, u32>,
    /// Losses of each training step.
    pub curves: Vec<Curve>,
    /// The confusion matrix of the tuned model.
    pub confusion: Option<Confusion>,
    /// Rows that the tuned model gets wrong.
    pub errors: Vec<WrongRow>,
    /// Sealed rows that gave no example, by reason.
    pub unusable: Vec<(String, usize)>,
    /// Row counts.
    pub rows: Option<Rows>,
    /// The user's files as they were read, the test file included.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// What the first successful `data_inspect` found.
    #[serde(default)]
    pub data: Option<Value>,
    /// Who planned.
    pub planner: String,
    /// Version of the binary.
    pub tunesmith: String,
    /// The run's seed.
    pub seed: Option<u64>,
    /// Sandbox layers, each with its status as in `files: enforced`.
    pub layers: Vec<String>,
    /// How to use the result.
    pub commands: Vec<Command>,
}

/// What a run took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Wall-clock seconds from the first to the last event.
    pub seconds: f64,
    /// Tokens of the planner; null where one of its replies did not tell.
    pub tokens: Option<u64>,
    /// Dollars of the planner; null where one of its replies did not tell.
    pub usd: Option<f64>,
    /// Most bytes that a job saw in the run's workdir; null where none did.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// What the run's directory might hold; null where that was the default.
    #[serde(default)]
    pub disk_limit: Option<u64>,
}

/// A change of the scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Amendment {
    /// The field.
    pub field: String,
    /// Before.
    pub from: Value,
    /// After.
    pub to: Value,
    /// Why.
    pub reason: String,
}

/// A guard of the loop that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Its name.
    pub guard: String,
    /// What it saw.
    pub why: String,
}

/// The losses of one training step, each point an optimiser step and a loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Number of the run's step.
    pub step: u32,
    /// Training loss.
    pub train: Vec<(f64, f64)>,
    /// Validation loss.
    pub valid: Vec<(f64, f64)>,
    /// The optimiser step whose weights were kept.
    pub best_step: Option<f64>,
    /// Whether these weights are the ones that were graded.
    pub shipped: bool,
}

/// One way to use the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What it uses, for example `llama.cpp`.
    pub title: String,
    /// The command, or the file and the command.
    pub text: String,
}

impl Report {
    /// The report of a log, whole or cut off anywhere.
    pub fn fold(events: &[Event]) -> Report {
        fold::fold(events)
    }

    /// The verdict in words with figures, in one sentence. Names a baseline that beats the tuned model.
    pub fn sentence(&self) -> String {
        sentence::sentence(self)
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        render::markdown(self)
    }

    /// The report as one HTML page without scripts or external resources.
    pub fn html(&self) -> String {
        render::html(self)
    }

    /// Writes report.json, report.md and report.html into `dir`, each replaced as a whole.
    pub fn write(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let json = serde_json::to_string_pretty(self).map_err(io::Error::other)? + "\n";
        [("report.json", json), ("report.md", self.markdown()), ("report.html", self.html())]
            .into_iter()
            .map(|(name, text)| {
                let mut file = temporary(dir)?;
                file.write_all(text.as_bytes())?;
                file.persist(dir.join(name)).map_err(|error| error.error)?;
                Ok(dir.join(name))
            })
            .collect()
    }
}

/// Repairs of a planner's calls in words; `None` where there were none.
pub fn mended(repairs: &BTreeMap<String, u32>) -> Option<String> {
    let all: usize = repairs.values().map(|times| *times as usize).sum();
    let each: Vec<String> = repairs.iter().map(|(what, times)| format!("{what} {times}")).collect();
    (all > 0).then(|| format!("{} ({})", counted(all, "repair"), each.join(", ")))
}

/// A temporary file is private to its owner; a report is to be served and shared like any other file.
fn temporary(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    builder.tempfile_in(dir)
}
