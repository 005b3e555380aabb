//! Texts as rows: a column `text`.

use serde_json::Value;

use super::{Format, Problem, batch::Sink, units::Chunk};
use crate::recipe::Row;

/// Reads each unit as one text; blank ones are none.
pub(super) fn read(chunk: &Chunk, format: Format, sink: &mut Sink) -> Result<(), Problem> {
    for unit in chunk.units() {
        let row = match sink.text(&unit) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) if format == Format::Markdown => Ok(markdown(text)),
            Ok(text) => Ok(row(text)),
            Err(problem) => Err(problem),
        };
        sink.take(row, unit.line, unit.bytes)?;
    }
    Ok(())
}

fn row(text: &str) -> Row {
    Row::from_iter([("text".to_owned(), Value::from(text.trim_end().trim_start_matches(['\n', '\r'])))])
}

/// What stands between two lines of three dashes at the top is no part of the text.
fn markdown(text: &str) -> Row {
    let Some((front, rest)) = front_matter(text) else { return row(text) };
    let mut row = row(rest);
    row.insert("front_matter".to_owned(), front.into());
    row
}

fn front_matter(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((body[..at].trim_end(), &body[at + line.len()..]));
        }
        at += line.len();
    }
    None
}
