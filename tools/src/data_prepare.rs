//! `data_prepare`: rows become examples, cleaned and split, with the recipe that the grader will replay.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    recipe::{Example, Recipe},
    score::{Score, Verdict},
};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    data_inspect::data,
    files::{existing, inside, read_jsonl_small, score, typed},
    plan::Kind,
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod clean;
mod job;
mod labels;

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
    /// The first example as the model reads it.
    pub example: Option<String>,
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
        let rows = output.rows.max(1) as f64;
        let dropped = &output.dropped;
        let gone = output.rows - (output.train + output.valid).min(output.rows);
        let mut scores = vec![
            leakage(dir),
            score(
                "data.dropped",
                Some(gone as f64 / rows),
                if gone as f64 > rows * 0.2 { Verdict::Warn } else { Verdict::Pass },
                format!(
                    "{gone} of {} rows left out: {} empty, {} repeated, {} contradictory, {} too long, {} with special \
                     tokens, {} without the marker",
                    output.rows,
                    dropped.empty,
                    dropped.duplicates,
                    dropped.conflicting,
                    dropped.too_long,
                    dropped.special_tokens,
                    dropped.no_marker
                ),
            ),
            match output.template_ends_turns {
                true => {
                    score("data.stop_token", None, Verdict::Pass, "answers end with the template's own token".into())
                }
                false => {
                    let why = "the template does not end answers with a token; the tokenizer's end token is used";
                    score("data.stop_token", None, Verdict::Warn, why.into())
                }
            },
        ];
        scores.extend(balance(&output.labels));
        scores
    }
}

impl Job {
    /// Reads, cleans, splits and writes.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        job::run(self, live)
    }
}

/// Inputs that are in both parts, counted in the files themselves.
fn leakage(dir: &Workdir) -> Score {
    let name = "data.leakage";
    let read = |part: &str| -> Option<Vec<Example>> {
        read_jsonl_small(&dir.join(&format!("{PREPARED}/{part}.jsonl")).ok()?, 1 << 28).ok()
    };
    let (Some(train), Some(valid)) = (read("train"), read("valid")) else {
        return score(name, None, Verdict::Unknown, "the prepared files cannot be read".into());
    };
    let inputs: std::collections::BTreeSet<String> = train.iter().map(clean::normal).collect();
    let both = valid.iter().filter(|example| inputs.contains(&clean::normal(example))).count();
    let verdict = if both == 0 { Verdict::Pass } else { Verdict::Fail };
    score(name, Some(both as f64), verdict, format!("{both} of {} validation inputs are also trained on", valid.len()))
}

fn balance(labels: &[LabelRows]) -> Option<Score> {
    let least = labels.iter().min_by_key(|label| label.train)?.train;
    let most = labels.iter().max_by_key(|label| label.train)?.train;
    let (verdict, note) = match () {
        () if least == 0 => (Verdict::Fail, "; a label without rows cannot be learned"),
        () if least < 5 => (Verdict::Warn, "; rare labels will be learned badly"),
        () if most > 20 * least => (Verdict::Warn, "; look at macro F1 as well"),
        () => (Verdict::Pass, ""),
    };
    let why = format!("{} labels with {least} to {most} rows each{note}", labels.len());
    Some(score("data.balance", Some(least as f64 / most.max(1) as f64), verdict, why))
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
