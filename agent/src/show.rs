//! What a planner's model gets to see of a step.

use serde_json::{Map, Value, json};
use tunesmith_harness::score::Score;

use crate::steps::Step;

/// The longest output in bytes that is shown whole.
const MOST: usize = 6_000;

/// How much of the user's data a planner's model may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Columns and counts, no row and no part of one.
    None,
    /// A few rows and wrong answers too.
    Samples,
}

/// Tools whose output is made of the user's rows, or may be; with [`Share::None`] they are not offered.
const SHOWS_ROWS: [&str; 3] = ["read_file", "shell", "generate"];

/// Fields of the other tools' outputs that hold rows.
const ROW_FIELDS: [&str; 6] = ["samples", "sample", "examples", "example", "errors", "mistakes"];

/// Fields that hold names of columns or words of the tool's own, never a cell.
const OWN_WORDS: [&str; 7] = ["name", "column", "columns", "input", "target", "why", "note"];

const HIDDEN: &str = "[not shared]";

impl Share {
    /// Whether a tool may be offered.
    pub fn offers(self, tool: &str) -> bool {
        self == Share::Samples || !SHOWS_ROWS.contains(&tool)
    }

    /// An output without what may not be shared.
    fn view(self, output: &Value) -> Value {
        match self {
            Share::None => without_rows("", output),
            Share::Samples => output.clone(),
        }
    }
}

/// An output without rows: the fields that hold them go, and so does all running text, because a tool that is added
/// later may put a cell into a field of any name.
fn without_rows(field: &str, output: &Value) -> Value {
    match output {
        Value::Object(_) | Value::Array(_) if ROW_FIELDS.contains(&field) => HIDDEN.into(),
        Value::Object(map) => map.iter().map(|(field, value)| (field.clone(), without_rows(field, value))).collect(),
        Value::Array(items) => items.iter().map(|item| without_rows(field, item)).collect(),
        Value::String(text) if !OWN_WORDS.contains(&field) && text.contains(char::is_whitespace) => HIDDEN.into(),
        other => other.clone(),
    }
}

/// The result of a step as the content of a tool message: always one JSON object.
pub fn result(step: &Step, share: Share, note: Option<&str>, left: &Map<String, Value>) -> String {
    let mut shown = Map::new();
    shown.insert("ok".into(), step.result.is_ok().into());
    match &step.result {
        Ok(output) => {
            let output = share.view(output);
            let text = output.to_string();
            if text.len() > MOST {
                shown.insert("output_cut".into(), cut(&text, MOST).into());
            } else {
                shown.insert("output".into(), output);
            }
        }
        Err(error) => {
            shown.insert("error".into(), cut(&error.to_string(), MOST).into());
        }
    }
    if !step.scores.is_empty() {
        shown.insert("scores".into(), step.scores.iter().map(score).collect());
    }
    if let Some(note) = note {
        shown.insert("note".into(), note.into());
    }
    if !left.is_empty() {
        shown.insert("left".into(), Value::Object(left.clone()));
    }
    Value::Object(shown).to_string()
}

fn score(score: &Score) -> Value {
    let mut shown = json!({"scorer": score.scorer, "verdict": score.verdict});
    if let Some(value) = score.value {
        shown["value"] = json!(value);
    }
    shown["why"] = cut(&score.why, 300).into();
    shown
}

/// Head and tail of a long text, with a note of what is missing between them.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    // The end of an output (the last loss, the error) matters more often than its middle.
    let (mut head, mut tail) = (most * 2 / 3, text.len() - most / 3);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{} [... {} bytes cut ...] {}", &text[..head], tail - head, &text[tail..])
}
