//! JSON as Python writes it, from files of a bounded size.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

use super::CompareError;
use crate::rows::{MAX_BYTES, not_a_file};

/// Largest results file.
const MAX_FILE: u64 = 256 << 20;
/// Longest line of a samples file.
const MAX_LINE: u64 = 64 << 20;

/// A whole JSON file.
pub(super) fn read(path: &Path) -> Result<Value, CompareError> {
    let mut bytes = Vec::new();
    open(path, MAX_FILE)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| wrong(path, e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large(path, MAX_FILE));
    }
    parse(&bytes).map_err(|why| wrong(path, format!("is damaged: {why}; make the results again")))
}

/// Each line of a file of JSON lines, with its number from 1.
pub(super) fn lines(
    path: &Path,
    mut on: impl FnMut(usize, Value) -> Result<(), CompareError>,
) -> Result<(), CompareError> {
    let mut file = BufReader::new(open(path, MAX_BYTES)?.take(MAX_BYTES));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|e| wrong(path, e.to_string()))? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE {
            return Err(wrong(path, format!("line {number} is longer than {MAX_LINE} bytes; no item is that long")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let damaged = |why| wrong(path, format!("line {number} is damaged: {why}; make the results again"));
        on(number, parse(&line).map_err(damaged)?)?;
    }
    Ok(())
}

fn open(path: &Path, most: u64) -> Result<File, CompareError> {
    // Asked before opening: opening a pipe would wait for its writer.
    if let Some(what) = not_a_file(path) {
        return Err(wrong(path, format!("{what}, not a file")));
    }
    let file = File::open(path).map_err(|e| wrong(path, e.to_string()))?;
    let length = file.metadata().map_err(|e| wrong(path, e.to_string()))?.len();
    if length > most { Err(too_large(path, most)) } else { Ok(file) }
}

/// Python writes NaN, Infinity and -Infinity, which are not JSON; they become null, which is not known.
fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| {
        let Some(replaced) = without_nan(bytes) else { return Err(error) };
        serde_json::from_slice(&replaced)
    })
}

/// `None` where none of these words stands outside of a text.
fn without_nan(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut text, mut found) = (0, false, false);
    while at < bytes.len() {
        let word = ["-Infinity", "Infinity", "NaN"].iter().find(|word| bytes[at..].starts_with(word.as_bytes()));
        if let (false, Some(word)) = (text, word) {
            out.extend_from_slice(b"null");
            at += word.len();
            found = true;
            continue;
        }
        let escaped = text && bytes[at] == b'\\';
        if bytes[at] == b'"' {
            text = !text;
        }
        let end = (at + 1 + usize::from(escaped)).min(bytes.len());
        out.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    found.then_some(out)
}

pub(super) fn wrong(path: &Path, why: impl Into<String>) -> CompareError {
    CompareError::File { path: path.into(), why: why.into() }
}

fn too_large(path: &Path, most: u64) -> CompareError {
    wrong(path, format!("is larger than the {most} bytes that are read; compare fewer items"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_calls_a_number_is_unknown() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity, 1.5], "c": "NaN \" Infinity"}"#;
        let want = json!({"a": null, "b": [null, null, 1.5], "c": "NaN \" Infinity"});
        assert_eq!(parse(text).unwrap(), want);
        assert!(parse(b"{\"a\": ").is_err());
        assert!(parse(&b"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\NaInfity0-9 -]{0,40}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }
    }
}
