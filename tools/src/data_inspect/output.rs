//! What `data_inspect` says. Every list is bounded, and says how much it leaves out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tunesmith_harness::task::JobKind;

mod columns;

pub use columns::{Cells, Column, LabelCount, Numbers};

/// What is in the files.
///
/// Figures of the whole are counted in one pass; where a figure is estimated, its name ends in `estimated` or a field
/// beside it says so. Everything below `sample`, `near`, `damage`, `private`, `tokens`, `formats` and all of `labels` but
/// its counts come from the sample, and are shares of its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Rows.
    pub rows: usize,
    /// Rows that repeat an earlier one in every column; blanks around a text and empty cells do not count.
    pub duplicates: usize,
    /// The columns, in the file's order.
    pub columns: Vec<Column>,
    /// How the rows could be used.
    pub proposal: Option<Proposal>,
    /// Why there is no proposal, or what needs attention.
    pub note: Option<String>,
    /// What to do, what would spoil a training first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Whether `duplicates` is an estimate: there are more different rows than are kept in memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicates_estimated: bool,
    /// Where the first of them stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<Place>,
    /// Columns beyond those that are described; an estimate where there are very many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns_left_out: usize,
    /// The files that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Files that were read beyond those listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_left_out: usize,
    /// Files in a folder that were not read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Lines and records that gave no row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_rows: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<BadRow>,
    /// Which rows were looked at more closely.
    #[serde(default)]
    pub sample: Sample,
    /// Texts that nearly repeat each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<Near>,
    /// The column of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Lengths in tokens; `None` where no base was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Damage of texts, by column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<Lint>,
    /// What looks like secrets and personal data, by column, masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<Lint>,
    /// Which formats the columns fit, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<Fit>,
    /// The one of them that is proposed.
    #[serde(default)]
    pub format: Option<Shape>,
}

pub(super) fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// How rows could be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The kind of job.
    pub kind: JobKind,
    /// The input column.
    pub input: String,
    /// The answer's column.
    pub target: String,
    /// Only what follows this marker is the answer.
    pub answer_after: Option<String>,
    /// The headline metric.
    pub metric: String,
    /// Why.
    pub why: String,
}

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub path: String,
    /// How it is written.
    pub format: String,
    /// What its text is written in.
    pub encoding: String,
    /// How it is compressed.
    pub compression: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: usize,
    /// Lines and records that gave no row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_rows: usize,
    /// What was taken for granted when it was read, or what is left out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Something in a folder that was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub path: String,
    /// Why.
    pub why: String,
}

/// A line or record that gave no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    /// The file.
    pub path: String,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Its beginning.
    pub example: String,
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
}

/// Which rows were looked at more closely: different ones, drawn by a hash of the seed and their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many.
    pub rows: usize,
    /// Of how many different rows.
    pub of: usize,
    /// The seed of the draw.
    pub seed: u64,
    /// Rows that are too large to be drawn; at least so many where there are more rows than are drawn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub too_large: usize,
}

impl Sample {
    /// Whether it is all there is.
    pub fn is_whole(&self) -> bool {
        self.rows == self.of
    }
}

/// Texts of the sample that nearly repeat each other: four fifths of their five-grams of letters are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// Whose texts.
    pub columns: Vec<String>,
    /// Rows compared.
    pub of: usize,
    /// Groups.
    pub groups: usize,
    /// Rows in them beyond one of each.
    pub rows: usize,
    /// Those of them that are the same words as another, in the same order, but for case and punctuation.
    pub same_words: usize,
    /// Rows of the largest group.
    pub largest: usize,
    /// Some texts of some groups, cut.
    pub examples: Vec<Vec<Example>>,
}

/// A text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// The text, cut.
    pub text: String,
    /// Its label, where labels are the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The label that others suggest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rather: Option<String>,
}

/// What was found about the labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The column of the labels.
    pub target: String,
    /// The column of the inputs.
    pub input: String,
    /// Different labels.
    pub count: usize,
    /// Rows of the most and of the least frequent label.
    pub balance: [usize; 2],
    /// Labels with fewer than ten rows.
    pub rare: usize,
    /// Every label's rows, the most frequent first, up to a hundred.
    pub counts: Vec<LabelCount>,
    /// Labels that differ only by case, spaces or punctuation.
    pub variants: Vec<Vec<LabelCount>>,
    /// Rows of the sample whose input another row has with another label.
    pub contradicting: usize,
    /// Some of them.
    pub contradicting_examples: Vec<Vec<Example>>,
    /// Rows of the sample that are nearly another one with another label.
    pub near: usize,
    /// Some of them.
    pub near_examples: Vec<Vec<Example>>,
    /// Rows whose label naive Bayes, trained without them, denies.
    pub suspicious: usize,
    /// Rows that it was asked about.
    pub suspicious_of: usize,
    /// The most suspicious ones.
    pub suspicious_examples: Vec<Example>,
}

/// Lengths in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Rows counted.
    pub of: usize,
    /// Whether rows are as the chat template writes them; else their texts alone are counted.
    pub template: bool,
    /// Tokens of a row: least, median, 95th percentile, most.
    pub lengths: [usize; 4],
    /// Rows of equal parts of the range from nothing to `histogram_to` tokens; longer rows are in the last.
    pub histogram: Vec<usize>,
    /// Where the histogram ends.
    pub histogram_to: usize,
    /// The length asked about, or what the base takes.
    pub max_length: usize,
    /// Rows that are longer.
    pub longer: usize,
}

/// Something found in the texts of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lint {
    /// What.
    pub kind: String,
    /// The column.
    pub name: String,
    /// Rows of the sample.
    pub rows: usize,
    /// Some of what was found.
    pub examples: Vec<String>,
}

/// A format of rows for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Chats as lists of messages with roles.
    Messages,
    /// Chats as lists of turns with `from` and `value`.
    Sharegpt,
    /// A better and a worse answer.
    Preference,
    /// An instruction, perhaps an input to it, and an output.
    Alpaca,
    /// A text and one of a few labels.
    Classification,
    /// A prompt and its answer.
    PromptCompletion,
    /// Texts to continue.
    Text,
}

/// Whether rows fit a format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The format.
    pub kind: Shape,
    /// Whether they do.
    pub fits: bool,
    /// Why, or why not.
    pub why: String,
    /// Which column is which part of the format.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mapping: BTreeMap<String, String>,
    /// The arguments of `tunesmith` that use the rows so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What is wrong with some of the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// What is wrong with some rows of a format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What.
    pub why: String,
    /// Rows of the sample.
    pub rows: usize,
    /// Where the first is.
    pub path: String,
    /// On which line.
    pub line: u64,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about, for example `near_duplicates`.
    pub kind: String,
    /// How bad it is.
    pub weight: Weight,
    /// Rows that it is about.
    pub rows: usize,
    /// Of how many: all, or those of the sample.
    pub of: usize,
    /// What it is and what to do.
    pub why: String,
}

/// How much something spoils a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// What is trained would be wrong or of no use.
    Spoils,
    /// It would be worse than it could be, or measured wrongly.
    Harms,
    /// Good to know.
    Minor,
}
