//! The texts of rows.

use std::borrow::Cow;

use serde_json::Value;
use tunesmith_harness::recipe::Row;

use super::{draw::Drawn, output::Example};
use crate::files::cut;

/// Characters of a text that is shown.
const SHOWN: usize = 160;
/// Fields of messages that are no text of theirs.
const NO_TEXT: [&str; 6] = ["role", "from", "type", "id", "name", "tool_call_id"];

/// A cell as text, or `None` where it is empty; as [`tunesmith_harness::recipe::Recipe`] reads it.
pub(super) fn cell<'a>(row: &'a Row, column: &str) -> Option<Cow<'a, str>> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed),
        other => Some(other.to_string().into()),
    }
}

/// What stands in a cell for people to read: of chats what is said, one message after the other.
pub(super) fn said(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Null => "".into(),
        Value::Array(_) | Value::Object(_) => {
            let mut out = String::new();
            collect(value, &mut out);
            out.into()
        }
        other => other.to_string().into(),
    }
}

fn collect(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(fields) => {
            fields
                .iter()
                .filter(|(name, _)| !NO_TEXT.contains(&name.as_str()))
                .for_each(|(_, item)| collect(item, out));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What is said in some columns of a row, one after the other.
pub(super) fn said_in<'a>(row: &'a Row, columns: &[String]) -> Cow<'a, str> {
    let mut texts = columns.iter().filter_map(|column| row.get(column)).map(said).filter(|text| !text.is_empty());
    match (texts.next(), texts.next()) {
        (None, _) => "".into(),
        (Some(only), None) => only,
        (Some(first), Some(second)) => [first, second].into_iter().chain(texts).collect::<Vec<_>>().join("\n").into(),
    }
}

/// The words of a text in lower case, without punctuation: texts of the same words differ in nothing that matters. A text
/// without letters and digits stays as it is.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    if out.is_empty() { text.trim().to_owned() } else { out }
}

/// A text with its place.
pub(super) fn example(drawn: &Drawn, text: &str, names: &[String]) -> Example {
    Example {
        path: names.get(drawn.file).cloned().unwrap_or_default(),
        line: drawn.line,
        text: cut(text.trim(), SHOWN),
        label: None,
        rather: None,
    }
}
