//! What a step says of its files, held against the files. Whatever their size, little is read of them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;
use tunesmith_harness::{
    hash::sha256,
    score::{Score, Verdict},
};

use crate::files::{name, open_regular, read_small, score};

/// Blocks of a file that its mark is made of, and bytes of each.
const BLOCKS: (u64, usize) = (16, 1 << 14);
/// Largest file whose lines are counted.
const COUNTED: u64 = 4 << 20;
/// Largest header of a safetensors file that is read.
const HEADER: u64 = 4 << 20;

/// The size of a regular file and the hash of blocks spread over it, the first and the last among them; of a small file
/// of all of it. It tells files apart that differ by accident: who wants to keep a mark can. The grader hashes files whole.
pub fn mark(path: &Path) -> io::Result<String> {
    let mut file = open_regular(path)?;
    let bytes = file.metadata()?.len();
    let (blocks, width) = BLOCKS;
    let mut seen = Vec::new();
    if bytes <= blocks * width as u64 {
        (&mut file).take(blocks * width as u64 + 1).read_to_end(&mut seen)?;
    } else {
        let mut block = vec![0; width];
        for at in 0..blocks {
            file.seek(SeekFrom::Start((bytes - width as u64) / (blocks - 1) * at))?;
            file.read_exact(&mut block)?;
            seen.extend_from_slice(&block);
        }
        file.seek(SeekFrom::End(-(width as i64)))?;
        file.read_exact(&mut block)?;
        seen.extend_from_slice(&block);
    }
    Ok(format!("{bytes}-{}", &sha256(&seen)[..16]))
}

/// Whether a file is still the one whose mark was taken; the reason where it is not.
pub fn same(path: &Path, claimed: &str) -> Result<(), String> {
    match mark(path) {
        Ok(found) if found == claimed => Ok(()),
        Ok(_) => Err(format!("{} is not the file that was written", name(path))),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Whether the lines of a file were counted and are so many; `false` of a file that is too large to be counted.
pub fn lines(path: &Path, claimed: usize) -> Result<bool, String> {
    let mut file = open_regular(path).map_err(|error| unreadable(path, &error))?;
    let bytes = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    if bytes > COUNTED {
        return Ok(false);
    }
    let mut text = Vec::with_capacity(bytes as usize);
    (&mut file).take(COUNTED).read_to_end(&mut text).map_err(|error| unreadable(path, &error))?;
    let found = text.iter().filter(|byte| **byte == b'\n').count();
    match found == claimed {
        true => Ok(true),
        false => Err(format!("{} has {found} rows, not {claimed}", name(path))),
    }
}

/// The shapes of the tensors in a safetensors file, of which the header alone is read; the file must be as long as it says.
pub fn tensors(path: &Path) -> Result<BTreeMap<String, Vec<usize>>, String> {
    let damaged = || format!("{} is no whole safetensors file", name(path));
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => unreadable(path, &error),
    };
    let mut file = open_regular(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER || length > bytes {
        return Err(damaged());
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(io)?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&header).map_err(|_| damaged())?;
    let (mut shapes, mut end) = (BTreeMap::new(), 0);
    for (name, entry) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let shape = serde_json::from_value(entry["shape"].clone()).map_err(|_| damaged())?;
        end = end.max(entry["data_offsets"][1].as_u64().ok_or_else(damaged)?);
        shapes.insert(name, shape);
    }
    match end.checked_add(length + 8) == Some(bytes) {
        true => Ok(shapes),
        false => Err(damaged()),
    }
}

/// The number of a GGUF file's storage format, `general.file_type`, which stands among its first values.
pub fn gguf_file_type(path: &Path) -> Result<u32, String> {
    let damaged = || format!("{} is no GGUF file that says how its numbers are stored", name(path));
    let mut head = Vec::new();
    let read = |file: File| file.take(1 << 16).read_to_end(&mut head);
    open_regular(path).and_then(read).map_err(|error| unreadable(path, &error))?;
    let mut reader = Head(&head);
    if reader.take(4) != Some(b"GGUF") {
        return Err(damaged());
    }
    // Version, number of tensors, number of values.
    reader.take(20).ok_or_else(damaged)?;
    loop {
        let key = reader.text().ok_or_else(damaged)?;
        let kind = reader.u32().ok_or_else(damaged)?;
        match (key, kind) {
            (b"general.file_type", 4) => return reader.u32().ok_or_else(damaged),
            (_, 4..=6) => drop(reader.u32()),
            (_, 8) => drop(reader.text()),
            // Lists and wider numbers come later in what is written here.
            _ => return Err(damaged()),
        }
    }
}

/// The bytes of a header that are not read yet.
struct Head<'a>(&'a [u8]);

impl<'a> Head<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

/// A small JSON file.
pub fn json(path: &Path) -> Result<Value, String> {
    let text = read_small(path, 1 << 20).map_err(|error| unreadable(path, &error))?;
    serde_json::from_str(&text).map_err(|_| format!("{} is no JSON", name(path)))
}

/// The score of a step's claims: whether all hold, and the first that does not.
pub fn judged(scorer: &str, checked: Result<String, String>) -> Score {
    let (verdict, why) = match checked {
        Ok(why) => (Verdict::Pass, why),
        Err(why) => (Verdict::Fail, why),
    };
    score(scorer, None, verdict, why)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{} is not there", name(path)),
        _ => format!("{} cannot be read as a regular file", name(path)),
    }
}

#[cfg(test)]
mod tests;
