//! Which files hold a split.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{DatasetError, setting};
use crate::{eval::registry::matches, rows};

/// What a split's file may end in, the first that exists first.
const EXTENSIONS: [&str; 6] = ["jsonl", "json", "parquet", "csv", "tsv", "txt"];
/// Most files that one split may have.
const MAX_FILES: usize = 10_000;

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
        let before = found.len();
        expand(&at, &mut found)?;
        if found.len() == before {
            return Err(DatasetError::File { path: at, what: "there is no such file; check data_files".into() });
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

/// The files that fit a pattern, in the order of their names. `**` stands for any folders.
fn expand(pattern: &Path, found: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    let parts: Vec<_> = pattern.components().collect();
    let wild = |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = parts.iter().take_while(|part| !wild(part)).collect();
    let rest: Vec<String> =
        parts.iter().skip_while(|part| !wild(part)).map(|p| p.as_os_str().to_string_lossy().into_owned()).collect();
    let mut here = Vec::new();
    if !rest.is_empty() {
        walk(&fixed, &rest, 0, &mut here)?;
    }
    here.sort();
    here.dedup();
    found.extend(here);
    Ok(())
}

fn walk(folder: &Path, parts: &[String], depth: usize, found: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if depth > 16 || found.len() > MAX_FILES {
        let what = format!("data_files fits more than {MAX_FILES} files, or folders that are too deep");
        return Err(DatasetError::File { path: folder.to_owned(), what });
    }
    if part == "**" {
        walk(folder, rest, depth + 1, found)?;
    }
    for path in entries(folder) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Links to folders are not followed, so that there is no circle.
        let is_folder = path.is_dir() && !path.is_symlink();
        // Hidden files are left out, as `datasets` does.
        if name.starts_with('.') && !part.starts_with('.') {
            continue;
        }
        match part.as_str() {
            "**" if is_folder => walk(&path, parts, depth + 1, found)?,
            "**" => {}
            _ if !matches(part, &name) => {}
            _ if rest.is_empty() && path.is_file() => found.push(path),
            _ if is_folder => walk(&path, rest, depth + 1, found)?,
            _ => {}
        }
    }
    Ok(())
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
    let text = String::from_utf8(bytes).map_err(|_| fail("is not UTF-8; convert it with: iconv".into()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
