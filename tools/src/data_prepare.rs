//! `data_prepare`: rows become examples, cleaned and split, with the recipe that the grader will replay.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{recipe::Recipe, score::Score};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    data_inspect::data,
    files::{existing, inside, typed},
    plan::Kind,
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod clean;
mod job;
mod labels;
mod quality;
mod scores;

/// Where the examples go.
pub const PREPARED: &str = "prepared";

/// See [`Args`].
pub struct DataPrepare;

/// Turns rows into examples for training: drops empty, repeated, contradictory and too long rows, and cuts a validation
/// part. Writes prepared/recipe.json, prepared/train.jsonl and prepared/valid.jsonl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// File of rows in the workdir.
    #[serde(default = "data")]
    pub file: String,
    /// As in the plan.
    pub kind: Kind,
    /// Column of the input.
    pub input: String,
    /// Column of the answer.
    pub target: String,
    /// Short text on its own line after the input; the default is Label: or JSON: or nothing, by kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub cue: Option<String>,
    /// Share of rows for validation.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.01, max = 0.5))]
    pub valid_share: f64,
    /// Longest example in tokens, not above the plan's; the default is the plan's, and never more than the base takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 131072))]
    pub max_length: Option<usize>,
    /// Generation: only what follows the last occurrence of this marker is compared, for example ####.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub answer_after: Option<String>,
}

fn tenth() -> f64 {
    0.1
}

/// What was prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Where the files are, relative to the workdir.
    pub path: String,
    /// Rows read.
    pub rows: usize,
    /// Examples to train on.
    pub train: usize,
    /// Examples to validate on.
    pub valid: usize,
    /// Rows left out, by reason.
    pub dropped: Dropped,
    /// Classification: the labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelRows>,
    /// Tokens of an example, prompt and answer: median and most.
    pub tokens: (usize, usize),
    /// Tokens of the longest answer, with the one that ends it.
    pub longest_answer: usize,
    /// Longest example allowed.
    pub max_length: usize,
    /// Tokens that will be generated for one answer, at most.
    pub max_new_tokens: usize,
    /// The text after each input.
    pub cue: String,
    /// Whether the base's chat template itself writes the token that ends an answer.
    pub template_ends_turns: bool,
    /// SHA-256 of recipe.json, which the grader holds against the file.
    pub recipe_sha256: String,
    /// What the examples are like.
    #[serde(default)]
    pub quality: Option<Quality>,
    /// The first example as the model reads it.
    pub example: Option<String>,
}

/// What the examples that were written are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Inputs that nearly repeat an earlier one: they share four fifths of their runs of five characters.
    pub near_duplicates: usize,
    /// Validation inputs that are trained on as well, but for case, punctuation and spacing.
    pub leaked: usize,
    /// Validation inputs that nearly repeat one that is trained on.
    pub nearly_leaked: usize,
    /// Examples whose answer has no token of its own to train.
    pub untrained: usize,
    /// Examples whose answer does not end with a token that ends a text.
    pub endless: usize,
    /// Share of the most frequent label; null without labels.
    pub largest_label: Option<f64>,
    /// Entropy of the labels as a share of the most that so many labels can have; null without labels.
    pub label_entropy: Option<f64>,
}

/// Rows left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Without input or answer.
    pub empty: usize,
    /// The same input and answer as an earlier row.
    pub duplicates: usize,
    /// The same input as another row with another answer.
    pub conflicting: usize,
    /// Longer than `max_length`.
    pub too_long: usize,
    /// Special tokens of the base are written in the input.
    pub special_tokens: usize,
    /// Without the marker of the answer.
    pub no_marker: usize,
}

/// Rows of one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRows {
    /// The words that the model learns.
    pub label: String,
    /// Rows to train on.
    pub train: usize,
    /// Rows to validate on.
    pub valid: usize,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for; its file is not used.
    pub args: Args,
    /// The file of rows.
    pub file: PathBuf,
    /// The base model.
    pub base: PathBuf,
    /// The directory to write.
    pub out: PathBuf,
    /// Seed of the split.
    pub seed: u64,
}

impl Tool for DataPrepare {
    const NAME: &'static str = "data_prepare";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let file = existing(cx.dir, "/file", &args.file)?;
        let out = inside(cx.dir, "", PREPARED)?;
        let work = Work::Prepare(Job { args, file, base: cx.base.into(), out, seed: cx.seed });
        typed(run_work(cx.jobs, cx.dir, &work, bases::reads(cx.base), (cx.deadline, &cx.cancel), cx.on).await?)
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        scores::scores(output, dir)
    }
}

impl Job {
    /// Reads, cleans, splits and writes.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        job::run(self, live)
    }
}

/// What a recipe's kind asks for by default.
fn default_cue(kind: Kind) -> &'static str {
    match kind {
        Kind::Classification => "Label:",
        Kind::Extraction => "JSON:",
        Kind::Generation => "",
    }
}

/// The recipe that the arguments describe, before anything is known of the rows.
fn recipe_of(args: &Args, max_length: usize) -> Recipe {
    Recipe {
        kind: args.kind.into(),
        input: args.input.clone(),
        target: args.target.clone(),
        cue: args.cue.clone().unwrap_or_else(|| default_cue(args.kind).to_owned()).trim().to_owned(),
        labels: Vec::new(),
        answer_after: args.answer_after.clone(),
        max_length,
        max_new_tokens: 1,
    }
}
