//! Which files hold a split.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{DatasetError, setting};
use crate::rows;

/// What a split's file may end in, the first that exists first.
const EXTENSIONS: [&str; 6] = ["jsonl", "json", "parquet", "csv", "tsv", "txt"];

/// The files of a split by `data_files`: a name, a pattern, a list of them, or one of these for each split. Addresses are
/// looked up in `local`.
pub(super) fn named(
    folder: &Path,
    files: &Value,
    split: &str,
    local: &BTreeMap<String, PathBuf>,
) -> Result<Vec<PathBuf>, DatasetError> {
    let no_split = || DatasetError::NoSplit { place: "data_files".into(), split: split.to_owned() };
    let files = match files {
        Value::Object(splits) => splits.get(split).ok_or_else(no_split)?,
        // Without names there is one split.
        other if split == "train" => other,
        _ => return Err(no_split()),
    };
    let patterns: Option<Vec<&str>> = match files {
        Value::String(pattern) => Some(vec![pattern]),
        Value::Array(patterns) => patterns.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let mut found = Vec::new();
    for pattern in patterns.ok_or_else(|| setting("data_files", "takes names of files"))? {
        if pattern.contains("://") {
            found.push(copy_of(pattern, local).ok_or_else(|| DatasetError::NotMapped { name: pattern.to_owned() })?);
            continue;
        }
        let at = folder.join(pattern);
        if at.is_file() {
            found.push(at);
            continue;
        }
        let fail = |what: &str| DatasetError::File { path: at.clone(), what: what.to_owned() };
        match rows::glob(&at) {
            None => return Err(fail("data_files fits too many files, or folders that are too deep")),
            Some(fitting) if fitting.is_empty() => return Err(fail("there is no such file; check data_files")),
            Some(fitting) => found.extend(fitting),
        }
    }
    Ok(found)
}

/// The local copy of an address: its own, or the file in that of the whole data set of the Hub.
fn copy_of(address: &str, local: &BTreeMap<String, PathBuf>) -> Option<PathBuf> {
    let in_set = || {
        let mut parts = address.strip_prefix("hf://datasets/")?.splitn(3, '/');
        let (owner, name, file) = (parts.next()?, parts.next()?, parts.next()?);
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        Some(local.get(&format!("{owner}/{name}"))?.join(file))
    };
    local.get(address).cloned().or_else(in_set).filter(|path| path.is_file())
}

/// The files of a split in a folder, or in its folder `data`: `SPLIT.EXT`, or `SPLIT-….EXT` in pieces.
pub(super) fn of_split(folder: &Path, split: &str) -> Result<Vec<PathBuf>, DatasetError> {
    for place in [folder.to_owned(), folder.join("data")] {
        let files = entries(&place);
        for extension in EXTENSIONS {
            let whole = place.join(format!("{split}.{extension}"));
            if whole.is_file() {
                return Ok(vec![whole]);
            }
            let piece = |path: &&PathBuf| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let middle = name.strip_prefix(split).and_then(|n| n.strip_suffix(extension)?.strip_suffix('.'));
                middle.is_some_and(|middle| middle.starts_with('-')) && path.is_file()
            };
            let pieces: Vec<PathBuf> = files.iter().filter(piece).cloned().collect();
            if !pieces.is_empty() {
                return Ok(pieces);
            }
        }
    }
    Err(DatasetError::NoSplit { place: folder.display().to_string(), split: split.to_owned() })
}

/// What lies in a folder, in the order of the names; nothing where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
    paths.sort();
    paths
}

/// The text of a file, without its byte-order mark.
pub(super) fn text(path: &Path) -> Result<String, DatasetError> {
    let fail = |what: String| DatasetError::File { path: path.to_owned(), what };
    if let Some(what) = rows::not_a_file(path) {
        return Err(fail(format!("{what}, not a file")));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(rows::MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|e| fail(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > rows::MAX_BYTES {
        return Err(fail(format!(
            "is larger than the {} bytes that are read; use a part of the rows",
            rows::MAX_BYTES
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| not_utf_8(path))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

pub(super) fn not_utf_8(path: &Path) -> DatasetError {
    DatasetError::File { path: path.to_owned(), what: "is not UTF-8; convert it with: iconv".into() }
}
