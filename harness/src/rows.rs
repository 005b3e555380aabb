//! Reading rows: CSV, TSV, JSON, JSON lines, Parquet, plain text and Markdown, as they are or compressed, with errors that
//! say where and what to do.
//!
//! ```text
//! paths --source--> inputs --open--> text --units--> chunks --parse, on all cores--> batches, in order
//! ```
//!
//! What is decided where a format leaves it open: a whole number beyond 64 bits, a key that stands twice in one object, NaN
//! and nesting deeper than 127 make a row bad, because each would lose something; numbers with a fraction or an exponent
//! are 64-bit floats; cells of CSV and TSV are strings, an empty one is an empty string; NaN in a Parquet file is null, and
//! a column of bytes is left out.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::Serialize;

use crate::recipe::Row;

mod ahead;
mod batch;
mod delimited;
mod document;
mod json;
mod open;
mod parquet;
mod problem;
mod source;
mod stages;
mod units;
mod writer;

pub use batch::{BadRow, Batch, Batches};
pub use json::Listed;
pub use problem::{Problem, RowsError};
pub(crate) use source::glob;
pub use source::{Bad, Compression, Documents, Input, Reading, Skipped, Source, is_pattern};
pub use stages::{Count, Flow, Key, Left, Passed, Stages, key};
pub use writer::{Codec, Layout, Writer, Written};

/// Largest file of which everything is held in memory, in bytes, at several times its size.
pub const MAX_BYTES: u64 = 2 << 30;
/// Longest row in bytes of its text.
pub const MAX_ROW: usize = 16 << 20;
/// Most columns of a table. Each row has them all, and holds a name and a value for each.
pub const MAX_COLUMNS: usize = 10_000;
/// Most values of one row: a list of numbers takes forty times the memory of its text.
pub const MAX_VALUES: usize = 500_000;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// How the file is written.
    pub format: Format,
    /// Every column, in the order in which the file first names it.
    pub columns: Vec<String>,
    /// The rows, in file order. Cells of CSV and TSV are strings.
    pub rows: Vec<Row>,
    /// What is to be said of how the file was read, see [`Input::note`].
    pub note: Option<String>,
}

/// How a file of rows is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A header and records, separated by commas or semicolons.
    Csv,
    /// A header and records, separated by tabs.
    Tsv,
    /// One array of objects.
    Json,
    /// One object per line.
    JsonLines,
    /// Columns of typed values.
    Parquet,
    /// Plain text, in a column `text`.
    Text,
    /// Markdown, in a column `text`; what stands between `---` at its top is kept apart in `front_matter`.
    Markdown,
}

/// Reads all rows of a file. The extension decides the format, or where it says nothing, what the file begins with.
pub fn read(path: &Path) -> Result<Table, RowsError> {
    read_within(path, MAX_BYTES)
}

fn read_within(path: &Path, limit: u64) -> Result<Table, RowsError> {
    let error = |problem| RowsError { path: path.into(), problem };
    let source = Source::file(path, &Reading::default())?;
    let input = &source.inputs[0];
    if input.bytes > limit {
        return Err(error(Problem::TooLarge(input.bytes)));
    }
    let (mut rows, mut held) = (Vec::new(), 0);
    for batch in source.batches() {
        let batch = batch?;
        held += batch.bytes;
        // A compressed file stands for any number of bytes, and a page of Parquet for any number of values.
        if held > limit {
            return Err(error(Problem::TooLarge(held)));
        }
        rows.extend(batch.rows);
    }
    if rows.is_empty() {
        return Err(error(Problem::NoRows(match input.format {
            Format::Csv | Format::Tsv => " (only a header)",
            Format::Json => " (an empty array)",
            _ => "",
        })));
    }
    Ok(Table { format: input.format, columns: columns(&rows), rows, note: input.note() })
}

/// The columns of rows, in the order of first sight.
fn columns(rows: &[Row]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        let next = seen.len();
        if !seen.contains_key(name) {
            seen.insert(name.clone(), next);
        }
    }
    let mut columns: Vec<(String, usize)> = seen.into_iter().collect();
    columns.sort_by_key(|(_, place)| *place);
    columns.into_iter().map(|(name, _)| name).collect()
}

/// Writes one JSON value per line.
pub fn write_jsonl<T: Serialize>(path: &Path, rows: impl IntoIterator<Item = T>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(|e| e.into_error())?.sync_data()
}

/// What stands at `path` in the place of a regular file; links are followed. `None` also where nothing stands there.
pub fn not_a_file(path: &Path) -> Option<&'static str> {
    other_than_file(&std::fs::metadata(path).ok()?)
}

fn other_than_file(meta: &std::fs::Metadata) -> Option<&'static str> {
    match meta.file_type() {
        kind if kind.is_dir() => Some("is a directory"),
        kind if !kind.is_file() => Some("is a pipe or a device"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
