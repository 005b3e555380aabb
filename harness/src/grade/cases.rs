//! The sealed rows as things to score.

use std::collections::BTreeMap;

use serde_json::Value;

use super::WrongRow;
use crate::recipe::{Example, Recipe, Row, RowError};

/// Longest text of a row kept in the grade, in characters.
const KEPT: usize = 600;

/// All rows to score, in file order, and what could not be used.
pub(super) struct Cases {
    /// Rows with an input; those without are not scored.
    pub rows: Vec<Case>,
    /// Rows that give no example, or one with a label that nobody could learn, by reason.
    pub unusable: Vec<(String, usize)>,
    /// Classification: words of the recipe's labels, then labels that only stand in these rows. Models are asked about
    /// those rows too, so that what they answer counts against the labels that they name.
    pub labels: Vec<String>,
}

/// One row to score. Without an example it counts as wrong for every model.
pub(super) struct Case {
    /// The input as it stands in the data.
    pub input: String,
    /// What should be said, as far as the row says.
    pub expected: String,
    /// The example, if the recipe can make one.
    pub example: Option<Example>,
}

impl Case {
    /// Classification: index of the true label in [`Cases::labels`].
    pub fn label(&self) -> Option<usize> {
        self.example.as_ref()?.label
    }
}

impl Cases {
    /// Turns `rows` into cases by `recipe`.
    pub fn of(recipe: &Recipe, rows: &[Row]) -> Cases {
        let mut cases = Vec::with_capacity(rows.len());
        let mut unusable: BTreeMap<String, usize> = BTreeMap::new();
        let mut labels: Vec<String> = recipe.labels.iter().map(|label| label.text.clone()).collect();
        for row in rows {
            let example = recipe.example(row);
            if let Err(reason) = &example {
                *unusable.entry(reason.to_string()).or_default() += 1;
            }
            let Ok(input) = recipe.input(row) else { continue };
            let example = match example {
                Err(RowError::UnknownLabel(label)) => unknown(recipe, row, label, &mut labels),
                example => example,
            }
            .ok();
            let expected = match (&example, row.get(&recipe.target)) {
                (Some(example), _) => example.completion.clone(),
                (None, Some(Value::String(text))) => text.clone(),
                (None, Some(other)) => other.to_string(),
                (None, None) => String::new(),
            };
            cases.push(Case { input, expected, example });
        }
        Cases { rows: cases, unusable: unusable.into_iter().collect(), labels }
    }

    /// Cases of examples that were prepared before.
    pub fn of_examples(recipe: &Recipe, examples: &[Example]) -> Cases {
        let case = |example: &Example| Case {
            input: example.prompt.last().map(|message| message.content.clone()).unwrap_or_default(),
            expected: example.completion.clone(),
            example: Some(example.clone()),
        };
        let labels = recipe.labels.iter().map(|label| label.text.clone()).collect();
        Cases { rows: examples.iter().map(case).collect(), unusable: Vec::new(), labels }
    }

    /// Whether any row can be answered rightly.
    pub fn any_usable(&self, recipe: &Recipe) -> bool {
        let known = |example: &Example| example.label.is_none_or(|label| label < recipe.labels.len());
        self.examples().any(known)
    }

    /// The examples, in file order.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.rows.iter().filter_map(|row| row.example.as_ref())
    }

    /// The true label of each row.
    pub fn truth(&self) -> Vec<Option<usize>> {
        self.rows.iter().map(Case::label).collect()
    }

    /// Spreads one value per example over all rows; rows without an example get `missing`.
    pub fn spread<T: Clone>(&self, values: Vec<T>, missing: T) -> Vec<T> {
        let mut values = values.into_iter();
        self.rows
            .iter()
            .map(|row| row.example.as_ref().and_then(|_| values.next()).unwrap_or_else(|| missing.clone()))
            .collect()
    }

    /// The first `most` rows that are not right, with what was said instead.
    pub fn wrong(&self, right: &[bool], got: &[String], most: usize) -> Vec<WrongRow> {
        let wrong = self.rows.iter().zip(right).zip(got).filter(|((_, right), _)| !**right);
        wrong
            .take(most)
            .map(|((row, _), got)| WrongRow { input: cut(&row.input), expected: cut(&row.expected), got: cut(got) })
            .collect()
    }
}

/// The example of a row whose label is not among those that were learnt; `labels` grows by it.
fn unknown(recipe: &Recipe, row: &Row, label: String, labels: &mut Vec<String>) -> Result<Example, RowError> {
    let own = labels[recipe.labels.len()..].iter().position(|known| *known == label);
    let at = recipe.labels.len() + own.unwrap_or(labels.len() - recipe.labels.len());
    let example = Example { prompt: recipe.prompt(row)?, completion: label.clone(), label: Some(at) };
    if own.is_none() {
        labels.push(label);
    }
    Ok(example)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(KEPT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
