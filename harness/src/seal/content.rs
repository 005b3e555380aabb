//! What of a row counts when rows are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{near::normalise, recipe::Row};

/// Sets these hashes apart from every other use of SHA-256. Changing it moves rows to the other side in every later run.
const DOMAIN: &[u8] = b"tunesmith.seal.1\0";
/// Fewest words, on average, of a column of prose.
const PROSE_WORDS: usize = 3;

/// The different contents of some rows.
pub(super) struct Contents {
    /// All different contents, in the order of their keys.
    pub docs: Vec<Content>,
    /// For each row its content's place in `docs`.
    pub doc_of: Vec<usize>,
}

/// The normalised text of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Keyed hash of `cells`.
    pub key: [u8; 32],
    /// The cells that count, normalised and sorted, so that neither names nor order of columns matter.
    pub cells: Vec<String>,
    /// The first of them in the order of the columns.
    pub lead: String,
}

impl Contents {
    pub fn of(rows: &[Row]) -> Contents {
        let columns = prose_columns(rows);
        let mut by_key: BTreeMap<[u8; 32], (Content, Vec<usize>)> = BTreeMap::new();
        for (n, row) in rows.iter().enumerate() {
            let content = content(row, columns.as_ref());
            let entry = by_key.entry(content.key).or_insert_with(|| (content.clone(), Vec::new()));
            // Rows of equal cells may differ in which cell comes first; the choice must not hang on their order.
            if content.lead < entry.0.lead {
                entry.0.lead = content.lead;
            }
            entry.1.push(n);
        }
        let mut contents = Contents { docs: Vec::with_capacity(by_key.len()), doc_of: vec![0; rows.len()] };
        for (content, members) in by_key.into_values() {
            members.into_iter().for_each(|row| contents.doc_of[row] = contents.docs.len());
            contents.docs.push(content);
        }
        contents
    }
}

/// The columns that hold prose of their own in most rows; `None` when there are none and every column counts.
///
/// Identifiers, dates and numbers would make repeated texts look different, and labels would make different texts look
/// alike, so where there is prose, it alone decides.
pub(crate) fn prose_columns(rows: &[Row]) -> Option<BTreeSet<&str>> {
    struct Column {
        words: usize,
        different: BTreeSet<u64>,
    }
    let mut columns: BTreeMap<&str, Column> = BTreeMap::new();
    for row in rows {
        for (name, value) in row {
            let text = normalise(&text_of(value));
            let column = columns.entry(name).or_insert_with(|| Column { words: 0, different: BTreeSet::new() });
            column.words += text.split(' ').filter(|word| word.chars().any(char::is_alphabetic)).count();
            column.different.insert(u64::from_be_bytes(key(&[text])[..8].try_into().unwrap_or_default()));
        }
    }
    let prose = |column: &Column| column.words >= PROSE_WORDS * rows.len() && column.different.len() * 20 > rows.len();
    let names: BTreeSet<&str> = columns.into_iter().filter(|(_, c)| prose(c)).map(|(name, _)| name).collect();
    if names.is_empty() { None } else { Some(names) }
}

fn content(row: &Row, columns: Option<&BTreeSet<&str>>) -> Content {
    let counts = |name: &str| columns.is_none_or(|columns| columns.contains(name));
    let mut cells: Vec<String> =
        row.iter().filter(|(name, _)| counts(name)).map(|(_, value)| normalise(&text_of(value))).collect();
    cells.retain(|cell| !cell.is_empty());
    let lead = cells.first().cloned().unwrap_or_default();
    cells.sort_unstable();
    Content { key: key(&cells), cells, lead }
}

fn key(cells: &[String]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(DOMAIN);
    for cell in cells {
        // The length first, so that two cells never hash like one.
        hasher.update((cell.len() as u64).to_be_bytes());
        hasher.update(cell.as_bytes());
    }
    hasher.finalize().into()
}

/// The text of a cell: of lists and objects (chats, for example) all texts within.
fn text_of(value: &Value) -> String {
    fn collect(value: &Value, out: &mut String) {
        match value {
            Value::Null => {}
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, out)),
            Value::Object(values) => values.values().for_each(|value| collect(value, out)),
            other => {
                out.push_str(&other.to_string());
                out.push('\n');
            }
        }
    }
    let mut out = String::new();
    collect(value, &mut out);
    out
}
