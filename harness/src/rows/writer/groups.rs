//! Parquet, a row group at a time.

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parquet::{
    basic::{Compression as Packing, ZstdLevel},
    errors::ParquetError,
    file::writer::SerializedFileWriter,
};
use tempfile::NamedTempFile;

use super::{
    super::{MAX_COLUMNS, Reading, Source, ahead::Ahead},
    Codec, beside, broke_down,
    columns::{self, Encoded, Properties, Schema},
    kind::Fields,
};
use crate::recipe::Row;

/// A row group ends with the first row that reaches this many bytes in memory, or at this many rows.
const GROUP: (usize, usize) = (32 << 20, 1 << 17);
/// Row groups that are made at once, at most: while one is waited for, other threads have work.
const AHEAD: usize = 3;

/// Rows of one schema stand in one segment; where a row needs a wider schema, another segment begins, and in the end all
/// of them are written once more with the schema that holds them all.
pub(super) struct Groups {
    path: PathBuf,
    properties: Arc<Properties>,
    kinds: Fields,
    pending: Vec<Row>,
    bytes: usize,
    schema: Option<Arc<Schema>>,
    ahead: Ahead<Group>,
    segment: Option<Segment>,
    done: Vec<NamedTempFile>,
}

/// A row group, and the schema that it was made by.
type Group = (Arc<Schema>, Result<Vec<Encoded>, ParquetError>);
/// A file that is being written, and its schema.
type Segment = (Arc<Schema>, SerializedFileWriter<NamedTempFile>);

impl Groups {
    pub fn new(path: &Path, codec: Codec) -> Groups {
        let packing = match codec {
            Codec::Snappy => Packing::SNAPPY,
            Codec::Zstd => Packing::ZSTD(ZstdLevel::default()),
        };
        Groups {
            path: path.into(),
            properties: Arc::new(Properties::new(packing)),
            kinds: Fields::default(),
            pending: Vec::new(),
            bytes: 0,
            schema: None,
            ahead: Ahead::holding(AHEAD * GROUP.0),
            segment: None,
            done: Vec::new(),
        }
    }

    /// Takes the next row.
    pub fn take(&mut self, row: Row) -> io::Result<()> {
        self.bytes += self.kinds.take(&row, 0, MAX_COLUMNS);
        if self.kinds.is_too_wide() {
            let why = format!(
                "a row brings the columns to more than {MAX_COLUMNS}; keep what varies as a list of keys and values"
            );
            return Err(io::Error::other(why));
        }
        self.pending.push(row);
        if self.bytes < GROUP.0 && self.pending.len() < GROUP.1 {
            return Ok(());
        }
        self.ask()?;
        while self.ahead.is_full() {
            self.wait()?;
        }
        Ok(())
    }

    /// Has the pending rows made into a row group.
    fn ask(&mut self) -> io::Result<()> {
        let columns = self.kinds.columns("", &mut Vec::new());
        let same = self.schema.take().filter(|schema| schema.columns == columns);
        let schema = same.map_or_else(|| Schema::new(columns).map(Arc::new), Ok).map_err(unwritten)?;
        self.schema = Some(schema.clone());
        let (properties, rows) = (self.properties.clone(), mem::take(&mut self.pending));
        self.ahead.ask(mem::take(&mut self.bytes), move || {
            let encoded = columns::encode(rows, &schema, &properties);
            (schema, encoded)
        });
        Ok(())
    }

    /// Writes the next row group; `false` where none was asked for.
    fn wait(&mut self) -> io::Result<bool> {
        let Some(group) = self.ahead.wait() else { return Ok(false) };
        let (schema, encoded) = group.ok_or_else(broke_down)?;
        if self.segment.as_ref().is_some_and(|(of, _)| !Arc::ptr_eq(of, &schema)) {
            self.close()?;
        }
        let (of, mut file) = match self.segment.take() {
            Some(segment) => segment,
            None => {
                let (file, properties) = (beside(&self.path)?, self.properties.usual.clone());
                let file = SerializedFileWriter::new(file, schema.root.clone(), properties).map_err(unwritten)?;
                (schema, file)
            }
        };
        let mut group = file.next_row_group().map_err(unwritten)?;
        for (bytes, closed) in encoded.map_err(unwritten)? {
            group.append_column::<Bytes>(&bytes, closed).map_err(unwritten)?;
        }
        group.close().map_err(unwritten)?;
        self.segment = Some((of, file));
        Ok(true)
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some((_, file)) = self.segment.take() {
            self.done.push(file.into_inner().map_err(unwritten)?);
        }
        Ok(())
    }

    /// Writes what is left, and names what is not written as it was.
    pub fn finish(mut self, notes: &mut Vec<String>) -> io::Result<NamedTempFile> {
        self.end()?;
        self.kinds.columns("", notes);
        let mut segments = mem::take(&mut self.done);
        if segments.len() > 1 {
            self.again(&segments)?;
            segments = mem::take(&mut self.done);
        }
        segments.pop().ok_or_else(broke_down)
    }

    fn end(&mut self) -> io::Result<()> {
        // A file without rows is one as well.
        if !self.pending.is_empty() || self.schema.is_none() {
            self.ask()?;
        }
        while self.wait()? {}
        self.close()
    }

    /// Writes the rows of all segments with the widest schema, into one.
    fn again(&mut self, segments: &[NamedTempFile]) -> io::Result<()> {
        for segment in segments {
            let source = Source::file(segment.path(), &Reading::default()).map_err(io::Error::other)?;
            for batch in source.batches() {
                for row in batch.map_err(io::Error::other)?.rows {
                    self.take(row)?;
                }
            }
        }
        self.end()
    }
}

/// What the system refused stays what it is: a full disk is to be told apart.
fn unwritten(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => error.downcast().map_or_else(io::Error::other, |error| *error),
        error => io::Error::other(error),
    }
}
