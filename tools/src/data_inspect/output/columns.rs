//! What is said of a column.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_zero;

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells hold.
    pub cells: Cells,
    /// Cells that are missing, null or blank.
    pub missing: usize,
    /// Different values.
    pub distinct: usize,
    /// Characters of a cell: least, median, 95th percentile, most.
    pub lengths: [usize; 4],
    /// The most frequent values, where they are few enough to be labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelCount>,
    /// The first different values, cut.
    pub examples: Vec<String>,
    /// Rows in which the column is not named, null, and only blanks.
    #[serde(default)]
    pub absent: [usize; 3],
    /// Cells that stand for nothing, for example `N/A` or `null` as text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub placeholders: usize,
    /// Cells by their type in the file: text, number, boolean, list, object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, usize>,
    /// Whether `distinct` is an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distinct_estimated: bool,
    /// How far the inner two `lengths` may be off, as a share; exact without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths_error: Option<f64>,
    /// What its numbers are like, where cells are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
    /// Languages of a column of texts, the most frequent first; `unknown` where a text is short or mixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<LabelCount>,
}

impl Column {
    /// Rows that a label needs, on average.
    pub const ROWS_OF_LABEL: usize = 3;
    /// Characters of a value that can still be a label.
    pub const LABEL_LENGTH: usize = 100;
    /// Most different labels.
    pub const MOST_LABELS: usize = 1_000;

    /// Whether its values are few enough, and short enough, to be learned as labels in so many rows.
    pub fn holds_labels(&self, rows: usize) -> bool {
        let cells = rows.saturating_sub(self.missing);
        self.cells != Cells::Json
            && self.distinct <= Self::MOST_LABELS
            && cells >= Self::ROWS_OF_LABEL * self.distinct
            && self.lengths[3] <= Self::LABEL_LENGTH
    }
}

/// How the numbers of a column are distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Least, 5th percentile, median, 95th percentile, most.
    pub quantiles: [f64; 5],
    /// Their mean.
    pub mean: f64,
    /// How far the inner three quantiles may be off, as a share; exact without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cells {
    /// Nothing.
    Empty,
    /// Numbers.
    Number,
    /// True and false.
    Boolean,
    /// JSON objects or arrays, as such or as text.
    Json,
    /// Anything else.
    Text,
}

/// How often a value occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// The value.
    pub label: String,
    /// Its rows.
    pub rows: usize,
}
