//! Writing rows: JSON lines or Parquet, the same bytes for the same rows.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::{Compression, Problem, RowsError};
use crate::recipe::Row;
use groups::Groups;
use lines::Lines;

mod columns;
mod groups;
mod kind;
mod lines;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One object per line.
    JsonLines(Compression),
    /// Typed columns.
    Parquet(Codec),
}

/// How the pages of a Parquet file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Fast.
    Snappy,
    /// Small.
    Zstd,
}

impl Layout {
    /// What the name of a file asks for: `.jsonl`, `.jsonl.gz`, `.jsonl.zst` or `.parquet`.
    pub fn of(path: &Path) -> Option<Layout> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let endings = [
            (".jsonl", Layout::JsonLines(Compression::None)),
            (".jsonl.gz", Layout::JsonLines(Compression::Gzip)),
            (".jsonl.zst", Layout::JsonLines(Compression::Zstd)),
            (".parquet", Layout::Parquet(Codec::Snappy)),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, layout)| layout)
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Columns that are not written as they were, and how.
    pub notes: Vec<String>,
}

/// Writes rows to a file that is there only when it is whole.
///
/// Parquet has a type for every column: that which all its values have. Where a later value has another one, a wider one is
/// taken for the whole file: fractions for whole numbers, as long as nothing is rounded, and texts for what has no type in
/// common; [`Written::notes`] names these. A key that is not there and one that is null are the same in Parquet.
pub struct Writer {
    path: PathBuf,
    rows: u64,
    out: Out,
}

enum Out {
    JsonLines(Box<Lines>),
    Parquet(Box<Groups>),
}

impl Writer {
    /// Begins a file. Nothing is at its path until [`Writer::finish`].
    pub fn create(path: &Path, layout: Layout) -> Result<Writer, RowsError> {
        let out = match layout {
            Layout::JsonLines(compression) => {
                Lines::create(path, compression).map(|lines| Out::JsonLines(Box::new(lines)))
            }
            Layout::Parquet(codec) => Ok(Out::Parquet(Box::new(Groups::new(path, codec)))),
        };
        let out = out.map_err(|problem| RowsError { path: path.into(), problem })?;
        Ok(Writer { path: path.into(), rows: 0, out })
    }

    /// Writes rows behind those before. How they are divided among calls does not matter.
    pub fn write(&mut self, rows: impl IntoIterator<Item = Row>) -> Result<(), RowsError> {
        for row in rows {
            self.rows += 1;
            let taken = match &mut self.out {
                Out::JsonLines(lines) => lines.take(row),
                Out::Parquet(groups) => groups.take(row),
            };
            taken.map_err(|problem| RowsError { path: self.path.clone(), problem })?;
        }
        Ok(())
    }

    /// Writes what is left and puts the file in its place.
    pub fn finish(self) -> Result<Written, RowsError> {
        let mut notes = Vec::new();
        let finished = match self.out {
            Out::JsonLines(lines) => lines.finish(),
            Out::Parquet(groups) => groups.finish(&mut notes),
        };
        let bytes = finished.and_then(|file| put(file, &self.path));
        let bytes = bytes.map_err(|problem| RowsError { path: self.path, problem })?;
        Ok(Written { rows: self.rows, bytes, notes })
    }
}

/// A file beside the one that is to be, which goes away unless it is put in its place.
fn beside(path: &Path) -> Result<NamedTempFile, Problem> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".rows-").tempfile_in(folder).map_err(Problem::Unwritten)
}

fn put(file: NamedTempFile, path: &Path) -> Result<u64, Problem> {
    file.as_file().sync_data().map_err(Problem::Unwritten)?;
    let bytes = file.as_file().metadata().map_err(Problem::Unwritten)?.len();
    file.persist(path).map_err(|error| Problem::Unwritten(error.error))?;
    Ok(bytes)
}
