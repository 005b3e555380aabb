//! CSV and its relatives: fields between delimiters, quoted where needed.

use std::collections::BTreeMap;

use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;

use super::{Format, Problem, Table};
use crate::recipe::Row;

/// Records looked at to find out the delimiter.
const SNIFFED: usize = 20;

/// Reads a header and records; without a delimiter it is the one that cuts the first records into equally many fields.
pub(super) fn parse(text: &str, delimiter: Option<u8>) -> Result<Table, Problem> {
    let delimiter = delimiter.unwrap_or_else(|| sniff(text));
    if let Some(at) = open_quote(text.as_bytes(), delimiter) {
        return Err(Problem::OpenQuote { line: line_of(text, at) });
    }
    let mut reader = reader(text, delimiter);
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| reader.read_record(record).map_err(|e| Problem::Io(e.into()));
    if !next(&mut record)? {
        return Err(Problem::Empty);
    }
    let columns = header(&record)?;
    let mut rows = Vec::new();
    while next(&mut record)? {
        if record.len() != columns.len() {
            let at = record.position().map_or(0, |p| p.byte() as usize);
            let words = match delimiter {
                b'\t' => "tab",
                b';' => "semicolon",
                _ => "comma",
            };
            let line = line_of(text, at);
            return Err(Problem::Ragged { line, expected: columns.len(), got: record.len(), delimiter: words });
        }
        rows.push(columns.iter().cloned().zip(record.iter().map(Value::from)).collect::<Row>());
    }
    if rows.is_empty() {
        return Err(Problem::NoRows(" (only a header)"));
    }
    Ok(Table { format: if delimiter == b'\t' { Format::Tsv } else { Format::Csv }, columns, rows })
}

/// The column names: trimmed, all different; a column without one is called by its number.
fn header(record: &StringRecord) -> Result<Vec<String>, Problem> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut columns = Vec::with_capacity(record.len());
    for (n, name) in record.iter().map(str::trim).enumerate() {
        // Tables written with an index have a nameless first column, which is no reason to refuse them.
        let name = if name.is_empty() { format!("column_{}", n + 1) } else { name.to_owned() };
        if let Some(first) = seen.insert(name.clone(), n) {
            return Err(Problem::DuplicateColumn { name, first: first + 1, second: n + 1 });
        }
        columns.push(name);
    }
    Ok(columns)
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes())
}

/// The delimiter that gives the first records equally many fields, the more the better; a comma where none does.
fn sniff(text: &str) -> u8 {
    let fields = |delimiter: u8| {
        let records = reader(text, delimiter).into_records().take(SNIFFED);
        let lengths: Vec<usize> = records.map_while(Result::ok).map(|r| r.len()).collect();
        let header = lengths.first().copied().unwrap_or(0);
        let even = lengths.iter().all(|&n| n == header);
        (header > 1 && even, if header > 1 { header } else { 0 })
    };
    let mut best = b',';
    for candidate in [b';', b'\t'] {
        if fields(candidate) > fields(best) {
            best = candidate;
        }
    }
    best
}

/// Where a quoted field begins that runs to the end of the text. The reader would take all the rest as one field.
fn open_quote(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut opened = None;
    let mut field_start = true;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        match opened {
            None if byte == b'"' && field_start => opened = Some(at),
            None => {}
            Some(_) if byte == b'"' && text.get(at + 1) == Some(&b'"') => at += 1,
            Some(_) if byte == b'"' => opened = None,
            Some(_) => {}
        }
        field_start = opened.is_none() && (byte == delimiter || byte == b'\n' || byte == b'\r');
        at += 1;
    }
    opened
}

/// The line of a record that begins at or, after blank lines, soon after byte `at`.
fn line_of(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let blank = bytes[at..].iter().take_while(|&&b| b == b'\n' || b == b'\r').count();
    1 + bytes[..at + blank].iter().filter(|&&b| b == b'\n').count()
}
