//! What a planner's model gets to see of a step.

use serde_json::{Map, Value, json};
use tunesmith_harness::{
    redact::{self, redacted},
    score::Score,
    text::truncate_middle,
};
use tunesmith_tools::tool::ToolError;

use crate::steps::Step;

/// How much of the user's data a planner's model may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Columns, label names of the target, counts and scores, but no row.
    None,
    /// A few rows and wrong answers too.
    Samples,
}

/// Tools whose output is made of the user's rows, or may be; with [`Share::None`] they are not offered.
const SHOWS_ROWS: [&str; 3] = ["read_file", "shell", "generate"];

/// Fields whose strings are words of the tools: names of columns, kinds, measures and reasons, paths that the tools
/// made, and what the planner itself had said. No other string is shown, because it may be a cell, or made from one.
const OWN_WORDS: [&str; 21] = [
    "adapter",
    "answer_after",
    "base",
    "cells",
    "cue",
    "id",
    "input",
    "kind",
    "licence",
    "method",
    "metric",
    "name",
    "note",
    "path",
    "quant",
    "reason",
    "sha256",
    "stopped",
    "target",
    "to",
    "why",
];

/// Fields that hold rows, where the words above are names of parts of a row.
const ROW_FIELDS: [&str; 6] = ["samples", "sample", "examples", "example", "errors", "mistakes"];

const HIDDEN: &str = "[not shared]";

impl Share {
    /// Whether a tool may be offered.
    pub fn offers(self, tool: &str) -> bool {
        self == Share::Samples || !SHOWS_ROWS.contains(&tool)
    }

    /// An output without what may not be shared.
    fn view(self, output: &Value) -> Value {
        match self {
            Share::None => {
                let proposal = output.get("proposal").filter(|proposal| proposal["kind"] == "classification");
                let target = proposal.and_then(|proposal| proposal.get("target")?.as_str());
                without_cells("", output, &|column| {
                    target.is_some() && column.get("name").and_then(Value::as_str) == target
                })
            }
            Share::Samples => output.clone(),
        }
    }

    /// Words without what they quote, where that may not be shared.
    pub fn quoted(self, text: &str) -> String {
        match self {
            Share::Samples => text.to_owned(),
            Share::None => without_quotes(text),
        }
    }

    /// An error without what may not be shared. What is wrong with arguments quotes only what the planner itself sent.
    fn error(self, error: &ToolError) -> String {
        match (self, error) {
            (_, ToolError::Invalid(_)) => error.to_string(),
            _ => self.quoted(&error.to_string()),
        }
    }
}

/// An output with the tools' own words alone. `labels` says of a column whether its values are the answers to choose
/// from, which the planner is told; it does not depend on what the planner says.
fn without_cells(field: &str, output: &Value, labels: &dyn Fn(&Map<String, Value>) -> bool) -> Value {
    match output {
        Value::Object(_) | Value::Array(_) if ROW_FIELDS.contains(&field) => HIDDEN.into(),
        Value::Object(map) => {
            let own = labels(map);
            let shown = |(field, value): (&String, &Value)| match field.as_str() {
                "labels" if own => (field.clone(), value.clone()),
                _ => (field.clone(), without_cells(field, value, labels)),
            };
            map.iter().map(shown).collect()
        }
        Value::Array(items) => items.iter().map(|item| without_cells(field, item, labels)).collect(),
        Value::String(_) if !OWN_WORDS.contains(&field) => HIDDEN.into(),
        other => other.clone(),
    }
}

/// A text with everything between double quotes or backticks hidden: errors quote cells there.
fn without_quotes(text: &str) -> String {
    let (mut shown, mut until, mut escaped) = (String::new(), None, false);
    for c in text.chars() {
        match until {
            None => {
                if matches!(c, '"' | '`') {
                    until = Some(c);
                    shown.push_str(HIDDEN);
                } else {
                    shown.push(c);
                }
            }
            Some(quote) => {
                if c == quote && !escaped {
                    until = None;
                }
                escaped = c == '\\' && !escaped;
            }
        }
    }
    shown
}

/// A result as a planner's model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The content of the tool message: always one JSON object.
    pub content: String,
    /// The whole output, where the content holds only its beginning and end.
    pub whole: Option<String>,
}

/// The result of a step, of whose output at most `most` characters are shown.
pub fn result(step: &Step, share: Share, note: Option<&str>, most: usize) -> Shown {
    let (mut shown, mut whole) = (Map::new(), None);
    shown.insert("ok".into(), step.result.is_ok().into());
    match &step.result {
        Ok(output) => {
            let mut output = redact::value(share.view(output));
            // Hashes for the grader; a model pays for each of their letters.
            output.as_object_mut().map(|fields| fields.remove("provenance"));
            let text = output.to_string();
            if text.chars().count() > most {
                shown.insert("output_cut".into(), truncate_middle(&text, most).into());
                shown.insert("whole".into(), format!("read_output with step {}", step.number).into());
                whole = Some(text);
            } else {
                shown.insert("output".into(), output);
            }
        }
        Err(error) => {
            shown.insert("error".into(), truncate_middle(&redacted(&share.error(error)), most).into());
        }
    }
    if !step.scores.is_empty() {
        shown.insert("scores".into(), step.scores.iter().map(|score| judged(score, share)).collect());
    }
    if let Some(edited) = &step.edited {
        shown.insert("the_user_changed_the_arguments_to".into(), tunesmith_harness::redact::value(edited.clone()));
    }
    if let Some(note) = note {
        shown.insert("note".into(), note.into());
    }
    Shown { content: Value::Object(shown).to_string(), whole }
}

fn judged(score: &Score, share: Share) -> Value {
    let mut shown = json!({"scorer": score.scorer, "verdict": score.verdict});
    if let Some(value) = score.value {
        shown["value"] = json!(value);
    }
    let why = share.quoted(&score.why);
    shown["why"] = truncate_middle(&redacted(&why), 300).into();
    shown
}
