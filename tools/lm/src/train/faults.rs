//! The fifteen ways in which fine-tuning fails silently, as typed detectors. In most of them the loss still falls, so
//! that nothing else shows them.
//!
//! A detector is a function over data that returns [`Finding`]s. What must stop training becomes an
//! [`Error::Train`] that names the fault; what a user should know is a warning in the report.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

mod after;
mod before;
mod during;
mod signals;

pub use after::{FORGETTING, General, TOLERANCE, adapter, ends, forgetting, merged};
pub use before::{accumulation, export, leakage, packing, rows, tally, template, template_sha256};
pub(super) use during::not_finite;
pub use during::{Position, position};
pub use signals::{Signal, overfitting, signals};

/// A way in which fine-tuning fails without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No gradient reaches a part of the model, which stays frozen (candle#2168, candle#3526).
    GradientCut,
    /// All labels of a row or of the data are masked (trl#6668, unsloth#1128).
    NothingTrained,
    /// The token that ends a text is never trained (trl#1623, unsloth#416).
    NeverStops,
    /// The chat template at use or export is another one than in training (unsloth#3899, ollama#8363).
    TemplateDiffers,
    /// A text begins twice (llama.cpp#7107, vllm#27515).
    DoubleBos,
    /// Accumulated gradients are not those of the whole batch (transformers#34191).
    AccumulationDiffers,
    /// Documents of one batch attend to each other (trl#805, torchtune#875).
    PackingLeaks,
    /// A trained output layer is lost because the merged model is tied (peft#2777, transformers#45127).
    HeadLost,
    /// The merged model computes something else, for example on a quantised base (peft#2321, unsloth#2374).
    MergeDiffers,
    /// The adapter does nothing once it is loaded (peft#1579, peft#2566).
    AdapterIgnored,
    /// The base cannot become a GGUF file, which is found out after training (llama.cpp#9927, llama.cpp#7129).
    NotExportable,
    /// Numbers overflow, so that weights or loss are none (unsloth#2044, transformers#39972).
    NotFinite,
    /// A resumed run has lost its optimizer, schedule or place in the data (transformers#33336, peft#859).
    StateLost,
    /// The template drops or adds thoughts in earlier turns (Qwen3#1420, ms-swift#4939).
    ThinkingChanged,
    /// The model learns rows by heart and forgets the rest (refact#311, LLaMA-Factory#2611).
    Collapse,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 15] = [
        Fault::GradientCut,
        Fault::NothingTrained,
        Fault::NeverStops,
        Fault::TemplateDiffers,
        Fault::DoubleBos,
        Fault::AccumulationDiffers,
        Fault::PackingLeaks,
        Fault::HeadLost,
        Fault::MergeDiffers,
        Fault::AdapterIgnored,
        Fault::NotExportable,
        Fault::NotFinite,
        Fault::StateLost,
        Fault::ThinkingChanged,
        Fault::Collapse,
    ];

    /// Its name in messages and files.
    pub fn name(self) -> &'static str {
        match self {
            Fault::GradientCut => "gradient_cut",
            Fault::NothingTrained => "nothing_trained",
            Fault::NeverStops => "never_stops",
            Fault::TemplateDiffers => "template_differs",
            Fault::DoubleBos => "double_bos",
            Fault::AccumulationDiffers => "accumulation_differs",
            Fault::PackingLeaks => "packing_leaks",
            Fault::HeadLost => "head_lost",
            Fault::MergeDiffers => "merge_differs",
            Fault::AdapterIgnored => "adapter_ignored",
            Fault::NotExportable => "not_exportable",
            Fault::NotFinite => "not_finite",
            Fault::StateLost => "state_lost",
            Fault::ThinkingChanged => "thinking_changed",
            Fault::Collapse => "collapse",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a fault is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// On rows, base and settings, before the first step.
    Before,
    /// In the steps.
    During,
    /// On what was trained and written.
    After,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The user should know; training goes on.
    Warning,
    /// The result would be wrong.
    Error,
}

/// A fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which one.
    pub fault: Fault,
    /// When it was looked for.
    pub stage: Stage,
    /// How grave it is.
    pub severity: Severity,
    /// What was seen.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    fn new(fault: Fault, (stage, severity): (Stage, Severity), what: String, advice: &str) -> Self {
        Finding { fault, stage, severity, what, advice: advice.to_owned() }
    }

    /// One that stops training.
    pub(super) fn error(fault: Fault, stage: Stage, what: String, advice: &str) -> Self {
        Self::new(fault, (stage, Severity::Error), what, advice)
    }

    fn warning(fault: Fault, stage: Stage, what: String, advice: &str) -> Self {
        Self::new(fault, (stage, Severity::Warning), what, advice)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.fault, self.what, self.advice)
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Error::Train(finding.to_string())
    }
}

/// The warnings among `findings`; the first of them that is an error stops training.
pub fn stopping(findings: Vec<Finding>) -> Result<Vec<Finding>, Error> {
    match findings.iter().position(|finding| finding.severity == Severity::Error) {
        Some(at) => Err(findings[at].clone().into()),
        None => Ok(findings),
    }
}
