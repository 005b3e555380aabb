//! CSV and its relatives: fields between delimiters, quoted where needed.

use std::{collections::BTreeMap, sync::Arc};

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use serde_json::Value;

use super::{
    MAX_COLUMNS, Problem,
    batch::Sink,
    units::{Chunk, Unit},
};
use crate::recipe::Row;

/// Records looked at to find out the delimiter.
const SNIFFED: usize = 20;

/// What the records of a file have in common.
#[derive(Clone, Debug)]
pub(super) struct Header {
    columns: Arc<Vec<String>>,
    delimiter: u8,
}

impl Header {
    /// Reads the record that names the columns: trimmed, all different; a column without one is called by its number.
    pub fn read(chunk: &Chunk, delimiter: u8) -> Result<Header, Problem> {
        let mut record = StringRecord::new();
        let text = str::from_utf8(&chunk.bytes)
            .map_err(|e| Problem::NotUtf8 { line: chunk.line, offset: chunk.offset + e.valid_up_to() as u64 })?;
        if let Some(at) = memchr::memchr(0, text.as_bytes()) {
            let line = chunk.line + memchr::memchr_iter(b'\n', &text.as_bytes()[..at]).count() as u64;
            return Err(Problem::Nul { line, offset: chunk.offset + at as u64, byte: 0 });
        }
        reader(text.as_bytes(), delimiter).read_record(&mut record).map_err(|e| Problem::Io(e.into()))?;
        if record.len() > MAX_COLUMNS {
            return Err(Problem::TooManyColumns(record.len()));
        }
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
        Ok(Header { columns: Arc::new(columns), delimiter })
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Reads records.
    pub fn records(&self, chunk: &Chunk, sink: &mut Sink) -> Result<(), Problem> {
        let mut reader = reader(&chunk.bytes, self.delimiter);
        let mut record = ByteRecord::new();
        let (mut at, mut line) = (0, chunk.line);
        loop {
            let read = reader.read_byte_record(&mut record).map_err(|e| Problem::Io(e.into()))?;
            if !read {
                return Ok(());
            }
            let start = record.position().map_or(at, |p| p.byte() as usize);
            let end = reader.position().byte() as usize;
            // Blank lines before a record belong to none.
            let start = start + chunk.bytes[start..end].iter().take_while(|&&b| b == b'\n' || b == b'\r').count();
            line += memchr::memchr_iter(b'\n', &chunk.bytes[at..start]).count() as u64;
            at = start;
            let unit = Unit { bytes: &chunk.bytes[start..end], line, number: 0, offset: chunk.offset + start as u64 };
            sink.take(self.row(&unit, &record, sink), line, unit.bytes)?;
        }
    }

    fn row(&self, unit: &Unit<'_>, record: &ByteRecord, sink: &Sink) -> Result<Row, Problem> {
        sink.text(unit)?;
        if record.len() != self.columns.len() {
            let delimiter = match self.delimiter {
                b'\t' => "tab",
                b';' => "semicolon",
                _ => "comma",
            };
            return Err(Problem::Ragged {
                line: unit.line,
                expected: self.columns.len(),
                got: record.len(),
                delimiter,
            });
        }
        let cells = record.iter().map(|cell| Value::from(String::from_utf8_lossy(cell)));
        Ok(self.columns.iter().cloned().zip(cells).collect())
    }
}

fn reader(text: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text)
}

/// The delimiter that gives the first records equally many fields, the more the better; a comma where none does.
pub(super) fn sniff(text: &[u8]) -> u8 {
    let mut best = b',';
    for candidate in [b';', b'\t'] {
        if fields(text, candidate) > fields(text, best) {
            best = candidate;
        }
    }
    best
}

/// Whether a delimiter cuts the first records into equally many fields, and into how many.
fn fields(text: &[u8], delimiter: u8) -> (bool, usize) {
    let records = reader(text, delimiter).into_byte_records().take(SNIFFED);
    let lengths: Vec<usize> = records.map_while(Result::ok).map(|r| r.len()).collect();
    let header = lengths.first().copied().unwrap_or(0);
    let even = lengths.iter().all(|&n| n == header);
    (header > 1 && even, if header > 1 { header } else { 0 })
}

/// Whether a text is a table of fields between tabs.
pub(super) fn is_tabbed(text: &[u8]) -> bool {
    fields(text, b'\t').0
}
