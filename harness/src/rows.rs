//! Reading rows: CSV, TSV, a JSON array, JSON lines or Parquet, with errors that say where and what to do.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::{recipe::Row, text::visible};

mod delimited;
mod parquet;

/// Largest file that is read, in bytes: everything is held in memory, at several times its size.
pub const MAX_BYTES: u64 = 2 << 30;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// How the file is written.
    pub format: Format,
    /// Every column, in the order in which the file first names it.
    pub columns: Vec<String>,
    /// The rows, in file order. Cells of CSV and TSV are strings.
    pub rows: Vec<Row>,
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
}

/// Why a file gives no rows, in one line with what to do about it.
#[derive(Debug)]
pub struct RowsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file of rows.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such file.
    #[error("there is no such file; check the path")]
    Missing,
    /// A directory, a pipe or a device.
    #[error("{0}, not a file; name one CSV, TSV, JSON, JSON lines or Parquet file")]
    NotAFile(&'static str),
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// More than [`MAX_BYTES`].
    #[error("{0} bytes are more than the {max} that are read; use a part of the rows", max = MAX_BYTES)]
    TooLarge(u64),
    /// Nothing in it.
    #[error("is empty; give a file with a header and rows")]
    Empty,
    /// A header, or an empty array.
    #[error("has no rows{0}; add rows below it")]
    NoRows(&'static str),
    /// A format that is not read.
    #[error("is {what}, which is not read; {advice}")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// How to get rows out of it.
        advice: &'static str,
    },
    /// Bytes that are not UTF-8.
    #[error(
        "line {line}: byte {offset} of the file is not UTF-8; convert it, for example with: iconv -f latin1 -t utf-8"
    )]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
        /// Offset in the file, from 0.
        offset: usize,
    },
    /// A NUL byte.
    #[error("line {line}: byte {offset} of the file is NUL, so it is not text; check how the file was made")]
    Nul {
        /// The line, from 1.
        line: usize,
        /// Offset in the file, from 0.
        offset: usize,
    },
    /// Two columns of one name.
    #[error("the header names {name:?} twice (columns {first} and {second}); rename one")]
    DuplicateColumn {
        /// The name.
        name: String,
        /// Its first column, from 1.
        first: usize,
        /// Its second column, from 1.
        second: usize,
    },
    /// A record with more or fewer fields than the header.
    #[error("line {line}: {got} fields where the header has {expected}; quote fields that hold a {delimiter}")]
    Ragged {
        /// The line on which the record begins, from 1.
        line: usize,
        /// Fields of the header.
        expected: usize,
        /// Fields of the record.
        got: usize,
        /// What separates the fields, in words.
        delimiter: &'static str,
    },
    /// A quote that is never closed.
    #[error("line {line}: a quoted field begins here and never ends; close it, or write a quote inside a field twice")]
    OpenQuote {
        /// The line, from 1.
        line: usize,
    },
    /// Text that is not JSON.
    #[error("line {line}: not JSON: {why}{advice}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
        /// What to do, where there is something to say.
        advice: &'static str,
    },
    /// A row that is no object.
    #[error("{place}: {what}, not an object; write each row as {{\"column\": value, ...}}")]
    NotAnObject {
        /// Line or number of the row.
        place: String,
        /// What it is instead.
        what: &'static str,
    },
    /// A Parquet file that is damaged or uses what is not read.
    #[error("is a Parquet file that cannot be read: {0}; write it again, for example with pandas")]
    Parquet(String),
    /// One object instead of rows.
    #[error("is one JSON object, not rows; give an array of objects or one object per line{0}")]
    OneObject(String),
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and parser messages may quote what the file holds.
        write!(f, "{}: {}", visible(&self.path.display().to_string()), visible(&self.problem.to_string()))
    }
}

impl std::error::Error for RowsError {}

/// Reads all rows of a file. The extension decides the format, or where it says nothing, the first character.
pub fn read(path: &Path) -> Result<Table, RowsError> {
    let table = bytes(path).and_then(|bytes| match bytes.starts_with(parquet::MAGIC) {
        true => {
            drop(bytes);
            parquet::read(path)
        }
        false => parse(&bytes, path),
    });
    table.map_err(|problem| RowsError { path: path.into(), problem })
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

fn bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    let io_problem = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Problem::Missing,
        _ => Problem::Io(e),
    };
    // Asked before opening: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(io_problem)?;
    match other_than_file(&meta) {
        Some(what) => return Err(Problem::NotAFile(what)),
        None if meta.len() > MAX_BYTES => return Err(Problem::TooLarge(meta.len())),
        None => {}
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(io_problem)?;
    // The file may have grown since it was asked, and files of some virtual systems state no length.
    if bytes.len() as u64 > MAX_BYTES { Err(Problem::TooLarge(bytes.len() as u64)) } else { Ok(bytes) }
}

fn parse(bytes: &[u8], path: &Path) -> Result<Table, Problem> {
    let text = text(bytes)?;
    if text.trim().is_empty() {
        return Err(Problem::Empty);
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let first = text.trim_start().chars().next();
    match (extension.as_str(), first) {
        ("csv", _) => delimited::parse(text, None),
        ("tsv" | "tab", _) => delimited::parse(text, Some(b'\t')),
        (_, Some('[')) => json_array(text),
        ("json", Some('{')) => json_lines(text).map_err(|problem| one_object(text).unwrap_or(problem)),
        ("json" | "jsonl" | "ndjson", _) | (_, Some('{')) => json_lines(text),
        _ => delimited::parse(text, None),
    }
}

/// The text of a file without its byte-order mark.
fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if let Some((_, what, advice)) = FOREIGN.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(Problem::Foreign { what, advice });
    }
    let line = |offset: usize| 1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count();
    let text =
        str::from_utf8(bytes).map_err(|e| Problem::NotUtf8 { line: line(e.valid_up_to()), offset: e.valid_up_to() })?;
    if let Some(offset) = text.find('\0') {
        return Err(Problem::Nul { line: line(offset), offset });
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The first bytes of formats that people hand in as well, and what to do with them.
const FOREIGN: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "gzip-compressed", "unpack it with: gunzip"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it with: unzstd"),
    (b"ARROW1", "an Arrow file", "write it as JSON lines or CSV"),
    (b"SQLite format 3", "an SQLite database", "export the table with: sqlite3 -csv -header"),
    (b"%PDF", "a PDF", "give the rows as CSV or JSON lines"),
    (b"\xff\xfe", "UTF-16 text", "convert it with: iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "UTF-16 text", "convert it with: iconv -f utf-16 -t utf-8"),
];

fn json_array(text: &str) -> Result<Table, Problem> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| not_json(e.line(), &e, ""))?;
    let mut rows = Vec::with_capacity(values.len());
    for (n, value) in values.into_iter().enumerate() {
        rows.push(object(value, || format!("row {}", n + 1))?);
    }
    table(Format::Json, rows, " (an empty array)")
}

fn json_lines(text: &str) -> Result<Table, Problem> {
    let mut rows = Vec::new();
    for (n, line) in text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value =
            serde_json::from_str(line).map_err(|e| not_json(n + 1, &e, "; each line must be one whole object"))?;
        rows.push(object(value, || format!("line {}", n + 1))?);
    }
    table(Format::JsonLines, rows, "")
}

/// Says so when a text is a single object over several lines, and names the list inside it that may be the rows.
fn one_object(text: &str) -> Option<Problem> {
    let object: Row = serde_json::from_str(text).ok()?;
    let list = object.iter().find(|(_, v)| v.as_array().is_some_and(|a| a.first().is_some_and(Value::is_object)));
    let advice = list.map(|(key, _)| format!(", here for example with: jq -c '.[{}][]'", Value::from(key.as_str())));
    Some(Problem::OneObject(advice.unwrap_or_default()))
}

fn object(value: Value, place: impl Fn() -> String) -> Result<Row, Problem> {
    let what = match value {
        Value::Object(row) => return Ok(row),
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
    };
    Err(Problem::NotAnObject { place: place(), what })
}

fn table(format: Format, rows: Vec<Row>, what: &'static str) -> Result<Table, Problem> {
    if rows.is_empty() {
        return Err(Problem::NoRows(what));
    }
    let mut seen = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        let next = seen.len();
        if !seen.contains_key(name) {
            seen.insert(name.clone(), next);
        }
    }
    let mut columns: Vec<(String, usize)> = seen.into_iter().collect();
    columns.sort_by_key(|(_, place)| *place);
    Ok(Table { format, columns: columns.into_iter().map(|(name, _)| name).collect(), rows })
}

fn not_json(line: usize, error: &serde_json::Error, advice: &'static str) -> Problem {
    // The parser's own message ends with a position that, for JSON lines, is relative to the line.
    let why = error.to_string();
    let why = why.split(" at line ").next().unwrap_or_default().to_owned();
    Problem::NotJson { line, why: format!("{why} (column {})", error.column()), advice }
}

#[cfg(test)]
mod tests;
