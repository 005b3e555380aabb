//! What happened to the rows on their way to sequences.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How many rows something befell, and the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Number of rows.
    pub rows: usize,
    /// Index of the first.
    pub first: Option<usize>,
}

impl Count {
    pub(super) fn add(&mut self, happened: bool, row: usize) {
        self.rows += usize::from(happened);
        if happened && self.first.is_none() {
            self.first = Some(row);
        }
    }
}

/// What happened to the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows read.
    pub rows: usize,
    /// Rows that are trained.
    pub sequences: usize,
    /// Tokens of the sequences; of both sides of pairs.
    pub tokens: usize,
    /// Tokens among them that are trained.
    pub trained: usize,
    /// Rows longer than the limit, which lost their end.
    pub truncated: Count,
    /// Tokens that were lost.
    pub cut_tokens: usize,
    /// Rows without any trained token left, which were left out.
    pub dropped: Count,
    /// Texts that were not cut: those that can be expected to stop.
    pub whole: usize,
    /// Those among them whose last trained token does not end a text.
    pub without_stop: Count,
    /// Rows that do not begin with the token that begins a text, though the tokenizer has one.
    pub without_bos: Count,
    /// Rows whose prompt alone is rendered in another way than before its completion.
    pub prompt_differs: Count,
    /// Rows whose earlier turns are rendered in another way once there are later ones, as thinking templates do.
    pub history_changes: Count,
}

/// What a user should know before training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Rows lost their end.
    Truncated(Count),
    /// Rows were left out.
    Dropped(Count),
    /// Rows do not teach the model to stop.
    WithoutStop(Count),
    /// Prompts are rendered in another way when the model is used.
    PromptDiffers(Count),
    /// Earlier turns are rendered in another way when the model is used.
    HistoryChanges(Count),
}

impl Tally {
    /// What a user should know, the gravest first.
    pub fn warnings(&self) -> Vec<Warning> {
        [
            Warning::WithoutStop(self.without_stop),
            Warning::HistoryChanges(self.history_changes),
            Warning::PromptDiffers(self.prompt_differs),
            Warning::Dropped(self.dropped),
            Warning::Truncated(self.truncated),
        ]
        .into_iter()
        .filter(|warning| warning.count().rows > 0)
        .collect()
    }

    /// Rows of which nothing could be learnt are an error.
    pub(super) fn check(&self) -> Result<()> {
        if self.rows > 0 && self.sequences == 0 {
            return Err(Error::Data("no row keeps a trained token; raise max_length or train more of each row".into()));
        }
        if self.whole > 0 && self.without_stop.rows == self.whole {
            return Err(Error::Data(
                "no row ends with a trained token that ends a text, so the model would never stop; \
                 use a template that ends each turn with one, or name it in generation_config.json"
                    .into(),
            ));
        }
        Ok(())
    }
}

impl Warning {
    /// The rows it is about.
    pub fn count(&self) -> Count {
        match self {
            Warning::Truncated(count)
            | Warning::Dropped(count)
            | Warning::WithoutStop(count)
            | Warning::PromptDiffers(count)
            | Warning::HistoryChanges(count) => *count,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        write!(f, "{} rows, first row {}: ", count.rows, count.first.unwrap_or(0) + 1)?;
        f.write_str(match self {
            Warning::Truncated(_) => "longer than max_length, the end was cut",
            Warning::Dropped(_) => "left out, no trained token fits into max_length",
            Warning::WithoutStop(_) => "the last trained token does not end a text, so the model is not taught to stop",
            Warning::PromptDiffers(_) => "the template renders the prompt alone in another way than before its completion",
            Warning::HistoryChanges(_) => {
                "the template changes earlier turns once there are later ones, so the model is trained on other text than it \
                 sees when used; train single turns or use a template that keeps them"
            }
        })
    }
}
