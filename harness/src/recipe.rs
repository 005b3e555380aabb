//! How a row becomes a prompt and an answer: declarative, so that the grader can replay it on sealed rows.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{model::Message, task::JobKind};

pub mod changes;

use changes::Changes;

/// One row of the user's data: column name to value, in the file's order.
pub type Row = serde_json::Map<String, Value>;

/// The declarative mapping from rows to examples, written by `data_prepare` and replayed by the grader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The kind of job.
    pub kind: JobKind,
    /// The column that holds the input.
    pub input: String,
    /// The column that holds the answer.
    pub target: String,
    /// A short text after the input, on its own line, that says what is wanted; may be empty.
    pub cue: String,
    /// What is changed in a row before it is read; the answer stays as it is.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// Classification: each label as it stands in the data with the words that the model learns for it, sorted.
    pub labels: Vec<Label>,
    /// Generation: only what follows the last occurrence of this marker counts as the answer.
    pub answer_after: Option<String>,
    /// Longest example in tokens, prompt and answer together.
    pub max_length: usize,
    /// Most tokens to generate for one answer.
    pub max_new_tokens: usize,
}

/// One class of a classification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The value in the data, for example `card_arrival`.
    pub value: String,
    /// The words that the model learns, for example `card arrival`.
    pub text: String,
}

/// One row, ready for a model: the prompt's turns and the answer that should follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The prompt.
    pub prompt: Vec<Message>,
    /// The answer; the end-of-turn token is added by the model's side.
    pub completion: String,
    /// Classification: index into [`Recipe::labels`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<usize>,
}

/// Why a row gives no example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A column is not there or empty.
    #[error("column {0:?} is missing or empty")]
    Missing(String),
    /// The recipe's changes cannot be made, or leave no input.
    #[error("{0}")]
    Unchangeable(String),
    /// A label that the recipe does not list.
    #[error("label {0:?} is not in the recipe")]
    UnknownLabel(String),
}

impl Recipe {
    /// What a model is asked about `row`; nothing about raw text.
    pub fn prompt(&self, row: &Row) -> Result<Vec<Message>, RowError> {
        let input = self.input(row)?;
        if self.kind == JobKind::Pretraining {
            return Ok(Vec::new());
        }
        let content = if self.cue.is_empty() { input } else { format!("{input}\n{}", self.cue) };
        Ok(vec![Message::user(content)])
    }

    /// The input of `row`, with the changes made.
    pub fn input(&self, row: &Row) -> Result<String, RowError> {
        if self.changes.is_empty() {
            return text_of(row, &self.input);
        }
        let mut changed = row.clone();
        self.changes.apply(&mut changed, Some(&self.target)).map_err(RowError::Unchangeable)?;
        let emptied = || RowError::Unchangeable(format!("the recipe's changes leave column {:?} empty", self.input));
        text_of(&changed, &self.input).map_err(|_| emptied())
    }

    /// Whether a row has something to ask in the data. No change decides that, but where one makes the input's column, all
    /// rows are asked.
    pub fn asks(&self, row: &Row) -> bool {
        self.changes.set.contains_key(&self.input) || text_of(row, &self.input).is_ok()
    }

    /// The recipe without its changes.
    pub fn unchanged(&self) -> Recipe {
        Recipe { changes: Changes::default(), ..self.clone() }
    }

    /// The example that `row` gives.
    pub fn example(&self, row: &Row) -> Result<Example, RowError> {
        let prompt = self.prompt(row)?;
        let target = text_of(row, &self.target)?;
        match self.kind {
            JobKind::Classification => {
                let label = self
                    .labels
                    .iter()
                    .position(|l| l.value == target)
                    .ok_or_else(|| RowError::UnknownLabel(target.clone()))?;
                Ok(Example { prompt, completion: self.labels[label].text.clone(), label: Some(label) })
            }
            JobKind::Extraction | JobKind::Generation | JobKind::Pretraining => {
                Ok(Example { prompt, completion: target, label: None })
            }
        }
    }

    /// The part of an answer that counts: after the last marker where there is one, white space trimmed.
    /// `None` when a marker is asked for and the text has none (a format failure).
    pub fn answer<'a>(&self, text: &'a str) -> Option<&'a str> {
        match &self.answer_after {
            None => Some(text.trim()),
            Some(marker) => text.rfind(marker.as_str()).map(|at| text[at + marker.len()..].trim()),
        }
    }

    /// Whether `generated` is right for `expected`, and whether it has the asked-for form at all.
    /// Classification compares with the label's words, extraction compares JSON values, generation compares text.
    pub fn judge(&self, generated: &str, expected: &str) -> Judged {
        match self.kind {
            JobKind::Classification => {
                let text = generated.trim();
                Judged { right: text == expected, well_formed: self.labels.iter().any(|l| l.text == text) }
            }
            JobKind::Extraction => match serde_json::from_str::<Value>(generated.trim()) {
                Ok(value) => {
                    // Maps compare without regard to the order of keys.
                    let right = serde_json::from_str::<Value>(expected.trim()).is_ok_and(|e| e == value);
                    Judged { right, well_formed: value.is_object() || value.is_array() }
                }
                Err(_) => Judged { right: false, well_formed: false },
            },
            JobKind::Generation => match (self.answer(generated), self.answer(expected)) {
                // An empty answer is never right, or a marker that empties both sides would make everything right.
                (Some(got), Some(want)) => {
                    Judged { right: got == want && !want.is_empty(), well_formed: !got.is_empty() }
                }
                _ => Judged { right: false, well_formed: false },
            },
            // Raw text is read and not answered.
            JobKind::Pretraining => Judged { right: false, well_formed: false },
        }
    }
}

/// What [`Recipe::judge`] says of one generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The answer is right.
    pub right: bool,
    /// The answer has the asked-for form.
    pub well_formed: bool,
}

/// A cell as text: strings as they are, other values as JSON; missing, null and blank cells are errors.
fn text_of(row: &Row, column: &str) -> Result<String, RowError> {
    let text = match row.get(column) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    if text.is_empty() { Err(RowError::Missing(column.to_owned())) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
