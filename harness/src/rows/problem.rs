//! Why a file gives no rows.

use std::{fmt, io, path::PathBuf};

use super::{MAX_BYTES, MAX_COLUMNS, MAX_ROW};
use crate::text::{truncate_middle, visible};

/// Longest message of what is wrong, in characters.
const SAID: usize = 500;

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
    #[error("{0}, not a file; name one CSV, TSV, JSON, JSON lines, Parquet, text or Markdown file")]
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
        line: u64,
        /// Offset in the file, from 0.
        offset: u64,
    },
    /// Bytes that the encoding of the file does not have.
    #[error(
        "line {line}: not in {encoding}, as the rest of the file is; correct the line, or convert the file to UTF-8"
    )]
    NotDecoded {
        /// The line, from 1.
        line: u64,
        /// The encoding.
        encoding: &'static str,
    },
    /// A byte that no text has.
    #[error("line {line}: byte {offset} of the file is {}, so it is not text; check how the file was made", control(*byte))]
    Nul {
        /// The line, from 1.
        line: u64,
        /// Offset in the file, from 0.
        offset: u64,
        /// The byte.
        byte: u8,
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
        line: u64,
        /// Fields of the header.
        expected: usize,
        /// Fields of the record.
        got: usize,
        /// What separates the fields, in words.
        delimiter: &'static str,
    },
    /// More than [`MAX_COLUMNS`] columns.
    #[error("the header names {0} columns, more than the {max} that are read; keep what varies as rows", max = MAX_COLUMNS)]
    TooManyColumns(usize),
    /// A quote that is never closed.
    #[error("line {line}: a quoted field begins here and never ends; close it, or write a quote inside a field twice")]
    OpenQuote {
        /// The line, from 1.
        line: u64,
    },
    /// Text that is not JSON.
    #[error("line {line}: not JSON: {why}{advice}")]
    NotJson {
        /// The line, from 1.
        line: u64,
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
    /// A row of more than [`MAX_ROW`] bytes.
    #[error("line {line}: a row of more than {max} bytes begins here; cut it into several", max = MAX_ROW)]
    TooLong {
        /// The line on which it begins, from 1.
        line: u64,
    },
    /// A compressed file that is damaged.
    #[error("cannot be unpacked: {0}; was it cut off?")]
    Compressed(String),
    /// A pattern that no file has.
    #[error("fits no file; check the pattern")]
    NoMatch,
    /// A folder without files of rows.
    #[error("holds no file of rows{0}; name a folder with CSV, TSV, JSON, JSON lines, Parquet, text or Markdown files")]
    NoFiles(String),
    /// More files than are taken.
    #[error("holds more than {0} files; name a part of them")]
    TooManyFiles(usize),
    /// A program error while rows were read or worked on.
    #[error("a row could not be worked on: an error in the program")]
    Panicked,
    /// A Parquet file that is damaged or uses what is not read.
    #[error("is a Parquet file that cannot be read: {0}; write it again, for example with pandas")]
    Parquet(String),
    /// One object instead of rows.
    #[error("is one JSON object, not rows; give an array of objects or one object per line{0}")]
    OneObject(String),
}

impl Problem {
    /// What is wrong, not too long: names of columns, which it may quote, can be of any length.
    pub fn said(&self) -> String {
        truncate_middle(&self.to_string(), SAID).into_owned()
    }
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and parser messages may quote what the file holds. Work that broke down knows no file.
        if self.path.as_os_str().is_empty() {
            return f.write_str(&visible(&self.problem.said()));
        }
        write!(f, "{}: {}", visible(&self.path.display().to_string()), visible(&self.problem.said()))
    }
}

impl std::error::Error for RowsError {}

fn control(byte: u8) -> String {
    if byte == 0 { "NUL".into() } else { format!("a control character (0x{byte:02x})") }
}
