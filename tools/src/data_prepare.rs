//! `data_prepare`: rows become examples, cleaned and split, with the recipe that the grader will replay.
//!
//! ```text
//! files --flow: change, keep, against--> rows --job: examples, unique, near, fitting, parts--> train.jsonl valid.jsonl
//!                                          \--rows: distinct, near, parts-----------------> train.parquet ...
//! ```
//!
//! | module | answers |
//! |---|---|
//! | `steps` | what may a recipe ask for, and does a row meet its conditions |
//! | `flow` | how do rows go through the steps, and where is written what is left out |
//! | `job`, `rows` | how do they become examples, or stay rows |
//! | `clean`, `labels` | which examples repeat or contradict each other, and what are labels called |
//! | `parts` | which part does a row fall into, and how often is it trained on |
//! | `quality`, `scores` | what are the examples like, and how is that judged |
//! | `manifest`, `card` | what was made of what, for machines and for people |

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{recipe::Recipe, rows::Count, score::Score};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    data_inspect::data,
    files::{existing, inside, typed},
    inputs::Named,
    plan::Kind,
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod card;
mod clean;
mod flow;
mod job;
mod labels;
pub mod manifest;
mod parts;
mod quality;
pub mod rows;
mod scores;
mod steps;

pub use flow::LEFT_OUT;
pub use parts::Part;
pub use steps::{Condition, Steps};

/// Where the examples go.
pub const PREPARED: &str = "prepared";

/// Bytes of the largest recipe that is read.
pub const MOST_RECIPE: u64 = 1 << 20;

/// See [`Args`].
pub struct DataPrepare;

/// Turns rows into examples for training: drops empty, repeated, contradictory and too long rows, and cuts a validation
/// part. Writes prepared/recipe.json, prepared/train.jsonl and prepared/valid.jsonl, and says in prepared/left_out.jsonl
/// which rows were left out.
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
    /// Before: set {column: "{a} {b}"}, replace [{pattern, with}], clean [html, spaces, lower...], keep [{column, matches,
    /// min_chars...}], against [eval files], near 0.8, most_per_label, group, time.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
}

fn tenth() -> f64 {
    0.1
}

/// How files become parts: the declarative recipe, which a manifest holds and which can be replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Seed of the split and of what is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Share of rows for validation.
    #[serde(default = "tenth")]
    pub valid_share: f64,
    /// Share of rows that is kept apart.
    #[serde(default)]
    pub test_share: f64,
    /// How parts are written.
    #[serde(default)]
    pub format: Format,
    /// What is done with rows.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
    /// How rows become examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<Mapping>,
    /// How rows stay rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<rows::Plain>,
}

/// How rows become examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What each row asks for.
    pub kind: Kind,
    /// Column of the input.
    pub input: String,
    /// Column of the answer.
    pub target: String,
    /// Text on its own line after the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cue: Option<String>,
    /// Longest example in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Only what follows the last such marker is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_after: Option<String>,
}

/// How parts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON lines.
    #[default]
    Jsonl,
    /// Parquet.
    Parquet,
}

impl Default for Preparation {
    fn default() -> Self {
        let (steps, format) = (Steps::default(), Format::default());
        Preparation { seed: 0, valid_share: tenth(), test_share: 0.0, format, steps, examples: None, rows: None }
    }
}

impl Preparation {
    /// What no rows could make right. Numbers that are none are told of here, before they are lost on the way to a worker.
    pub fn check(&self) -> anyhow::Result<()> {
        let shares = [("valid_share", self.valid_share), ("test_share", self.test_share)];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=0.5).contains(share)) {
            anyhow::bail!("{name}: must be from 0 to 0.5, not {share}");
        }
        if self.valid_share + self.test_share >= 1.0 {
            anyhow::bail!("valid_share and test_share take all rows; leave some to train on");
        }
        if self.examples.is_some() && self.rows.is_some() {
            anyhow::bail!("a recipe has examples or rows, not both; leave one out");
        }
        let raw = self.examples.as_ref().is_some_and(|examples| examples.kind == Kind::Pretraining);
        if raw && !self.steps.changes().is_empty() {
            anyhow::bail!("raw text is read and measured as it stands: leave out set, replace and clean");
        }
        self.steps.check(self.examples.as_ref().map(|examples| examples.target.as_str()))
    }

    /// What a planner asks for.
    pub fn of(args: Args, seed: u64) -> Preparation {
        let Args { file: _, kind, input, target, cue, valid_share, max_length, answer_after, steps } = args;
        let examples = Some(Mapping { kind, input, target, cue, max_length, answer_after });
        Preparation { seed, valid_share, test_share: 0.0, format: Format::Jsonl, steps, examples, rows: None }
    }
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
    /// Examples that are kept apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub test: usize,
    /// Lines that gave no row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_lines: usize,
    /// How many rows went through each step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Count>,
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
    /// Nearly the same input as an earlier row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near: usize,
    /// More rows of a label than were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub balanced: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
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

impl Output {
    /// Rows that the steps left out.
    pub fn by_steps(&self) -> usize {
        self.rows - self.stages.last().map_or(self.rows, |stage| (stage.after as usize).min(self.rows))
    }

    /// Rows of which nothing was written.
    pub fn left_out(&self) -> usize {
        let Dropped { empty, duplicates, conflicting, too_long, special_tokens, no_marker, near, balanced } =
            self.dropped;
        self.by_steps() + empty + duplicates + conflicting + too_long + special_tokens + no_marker + near + balanced
    }
}

/// The worker's part. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What is to be done.
    pub recipe: Preparation,
    /// Files of rows.
    pub files: Vec<Named>,
    /// Files of eval rows.
    pub against: Vec<Named>,
    /// The base model, where rows become examples.
    pub base: Option<PathBuf>,
    /// The directory to write.
    pub out: PathBuf,
}

impl Tool for DataPrepare {
    const NAME: &'static str = "data_prepare";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let named =
            |pointer: &str, name: &String| Ok(Named { path: existing(cx.dir, pointer, name)?, name: name.clone() });
        let files = vec![named("/file", &args.file)?];
        let against = args.steps.against.iter().map(|name| named("/steps/against", name));
        let against = against.collect::<Result<_, ToolError>>()?;
        let out = inside(cx.dir, "", PREPARED)?;
        let recipe = Preparation::of(args, cx.seed);
        let work = Work::Prepare(Job { recipe, files, against, base: Some(cx.base.into()), out });
        typed(run_work(cx.jobs, cx.dir, &work, bases::reads(cx.base), (cx.deadline, &cx.cancel), cx.on).await?)
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        scores::scores(output, dir)
    }
}

impl Job {
    /// Reads, cleans, splits and writes examples.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        job::run(self, live)
    }
}

/// What a recipe's kind asks for by default.
fn default_cue(kind: Kind) -> &'static str {
    match kind {
        Kind::Classification => "Label:",
        Kind::Extraction => "JSON:",
        Kind::Generation | Kind::Pretraining => "",
    }
}

/// The recipe of the grader, before anything is known of the rows.
fn recipe_of(recipe: &Preparation, mapping: &Mapping, max_length: usize) -> Recipe {
    Recipe {
        kind: mapping.kind.into(),
        input: mapping.input.clone(),
        target: mapping.target.clone(),
        cue: mapping.cue.clone().unwrap_or_else(|| default_cue(mapping.kind).to_owned()).trim().to_owned(),
        changes: recipe.steps.changes(),
        labels: Vec::new(),
        answer_after: mapping.answer_after.clone(),
        max_length,
        max_new_tokens: 1,
    }
}
