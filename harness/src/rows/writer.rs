//! Writing rows: JSON lines or Parquet, the same bytes for the same rows.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::Compression;
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
    pub fn create(path: &Path, layout: Layout) -> io::Result<Writer> {
        let out = match layout {
            Layout::JsonLines(compression) => Out::JsonLines(Box::new(Lines::create(path, compression)?)),
            Layout::Parquet(codec) => Out::Parquet(Box::new(Groups::new(path, codec))),
        };
        Ok(Writer { path: path.into(), rows: 0, out })
    }

    /// Writes rows behind those before. How they are divided among calls does not matter.
    pub fn write(&mut self, rows: impl IntoIterator<Item = Row>) -> io::Result<()> {
        for row in rows {
            self.rows += 1;
            match &mut self.out {
                Out::JsonLines(lines) => lines.take(row)?,
                Out::Parquet(groups) => groups.take(row)?,
            }
        }
        Ok(())
    }

    /// Writes what is left and puts the file in its place.
    pub fn finish(self) -> io::Result<Written> {
        let mut notes = Vec::new();
        let file = match self.out {
            Out::JsonLines(lines) => lines.finish()?,
            Out::Parquet(groups) => groups.finish(&mut notes)?,
        };
        file.as_file().sync_data()?;
        let bytes = file.as_file().metadata()?.len();
        file.persist(&self.path)?;
        Ok(Written { rows: self.rows, bytes, notes })
    }
}

/// A file beside the one that is to be, which goes away unless it is put in its place.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new();
    // Readable for whom the user's files are readable for, unlike a temporary file.
    #[cfg(unix)]
    file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    file.prefix(".rows-").tempfile_in(folder)
}

/// What is said where the work for a part of a file broke down.
fn broke_down() -> io::Error {
    io::Error::other("an error in the program")
}
