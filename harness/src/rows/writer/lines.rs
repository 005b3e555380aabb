//! JSON lines.

use std::{
    io::{self, BufWriter, Write},
    mem,
    path::Path,
};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::{
    super::{Compression, ahead::Ahead},
    beside, broke_down,
};
use crate::recipe::Row;

/// Bytes of a part that is written at once.
const PART: usize = 1 << 20;

/// JSON lines, made on all cores and written in order.
pub(super) struct Lines {
    pending: Vec<Row>,
    bytes: usize,
    ahead: Ahead<serde_json::Result<Vec<u8>>>,
    file: Packed,
}

enum Packed {
    None(BufWriter<NamedTempFile>),
    Gzip(flate2::write::GzEncoder<NamedTempFile>),
    Zstd(zstd::Encoder<'static, NamedTempFile>),
}

impl Lines {
    pub fn create(path: &Path, compression: Compression) -> io::Result<Lines> {
        let file = beside(path)?;
        let file = match compression {
            Compression::None => Packed::None(BufWriter::new(file)),
            Compression::Gzip => Packed::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Packed::Zstd(zstd::Encoder::new(file, 3)?),
        };
        Ok(Lines { pending: Vec::new(), bytes: 0, ahead: Ahead::new(), file })
    }

    /// Takes the next row.
    pub fn take(&mut self, row: Row) -> io::Result<()> {
        self.bytes += weight(&row);
        self.pending.push(row);
        if self.bytes < PART {
            return Ok(());
        }
        self.ask();
        while self.ahead.is_full() {
            self.wait()?;
        }
        Ok(())
    }

    fn ask(&mut self) {
        let rows = mem::take(&mut self.pending);
        self.ahead.ask(mem::take(&mut self.bytes), move || {
            let mut text = Vec::new();
            for row in rows {
                serde_json::to_writer(&mut text, &row)?;
                text.push(b'\n');
            }
            Ok(text)
        });
    }

    fn wait(&mut self) -> io::Result<bool> {
        let Some(part) = self.ahead.wait() else { return Ok(false) };
        let text = part.ok_or_else(broke_down)??;
        let written = match &mut self.file {
            Packed::None(file) => file.write_all(&text),
            Packed::Gzip(file) => file.write_all(&text),
            Packed::Zstd(file) => file.write_all(&text),
        };
        written.map(|()| true)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<NamedTempFile> {
        self.ask();
        while self.wait()? {}
        match self.file {
            Packed::None(file) => file.into_inner().map_err(io::IntoInnerError::into_error),
            Packed::Gzip(file) => file.finish(),
            Packed::Zstd(file) => file.finish(),
        }
    }
}

/// Roughly what a row takes as text.
fn weight(row: &Row) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(|item| 1 + of(item)).sum(),
            Value::Object(object) => object.iter().map(|(name, item)| name.len() + 4 + of(item)).sum(),
            _ => 8,
        }
    }
    row.iter().map(|(name, value)| name.len() + 4 + of(value)).sum()
}
