//! Which files rows are read from, and how each of them is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use encoding_rs::Encoding;
use serde::Serialize;

use super::{
    Batch, Batches, Format, Problem, RowsError, delimited,
    json::{self, Listed},
    open::{self, Bytes, HEAD},
    other_than_file, parquet,
};
use crate::{eval::registry::matches, recipe::Row};

/// Most files of one source.
const MAX_FILES: usize = 10_000;
/// Deepest folder below the one that was named.
const MAX_DEPTH: usize = 16;
/// Largest file that is looked at whole to explain that it is one object.
const EXPLAINED: usize = 64 << 20;

/// How files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What becomes of a line that gives no row.
    pub bad: Bad,
    /// What one row of a plain text is.
    pub documents: Documents,
}

/// What becomes of a line that gives no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bad {
    /// Reading ends with an error that names it.
    #[default]
    Refuse,
    /// It is set apart in [`Batch::bad`], and reading goes on.
    Quarantine,
}

/// What one row of a plain text is. Markdown is always one row per file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Documents {
    /// The file: one document, as for continued pretraining.
    #[default]
    Whole,
    /// A paragraph: what stands between blank lines.
    Paragraphs,
}

/// Files of rows, in a fixed order.
#[derive(Clone, Debug)]
pub struct Source {
    /// The files, each path's own in the order of their names.
    pub inputs: Vec<Input>,
    /// What lies in a named folder and is not read, or is named twice.
    pub skipped: Vec<Skipped>,
    reading: Reading,
}

/// One file of rows.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// What its text is written in: told by its first million bytes where no byte-order mark says it.
    pub encoding: &'static Encoding,
    /// Its size.
    pub bytes: u64,
    /// The columns of bytes of a Parquet file, which are in no row.
    pub left_out: Vec<String>,
    /// Where the file is one object, the list in it that holds the rows.
    pub listed: Option<Listed>,
    pub(super) delimiter: u8,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// Something that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub why: &'static str,
}

impl Source {
    /// Finds the files that paths stand for: files, folders with all that is below them, and patterns with `*`, `?`, `[`
    /// and `**`.
    ///
    /// Of a folder, the files of rows are taken by their extensions; texts and Markdown only where there are no others,
    /// because a data set's own description is no row. Hidden files and links that lead out of it are skipped.
    pub fn find(paths: &[PathBuf], reading: &Reading) -> Result<Source, RowsError> {
        let (mut files, mut skipped) = (Vec::new(), Vec::new());
        for path in paths {
            let error = |problem| RowsError { path: path.clone(), problem };
            match fs::metadata(path) {
                Ok(meta) if meta.is_dir() => folder(path, &mut files, &mut skipped).map_err(error)?,
                Ok(_) => files.push(path.clone()),
                Err(_) if is_pattern(path) => {
                    let found = glob(path).ok_or_else(|| error(Problem::TooManyFiles(MAX_FILES)))?;
                    if found.is_empty() {
                        return Err(error(Problem::NoMatch));
                    }
                    files.extend(found);
                }
                Err(cause) => return Err(error(open::io_problem(cause))),
            }
            if files.len() > MAX_FILES {
                return Err(error(Problem::TooManyFiles(MAX_FILES)));
            }
        }
        let (mut inputs, mut seen) = (Vec::new(), BTreeSet::new());
        for path in files {
            // Named twice, its rows would be repetitions of themselves.
            if path.canonicalize().is_ok_and(|real| !seen.insert(real)) {
                skipped.push(Skipped { path, why: "a file that is read already" });
                continue;
            }
            match Input::of(&path) {
                Ok(input) => inputs.push(input),
                Err(Problem::Empty) if !paths.contains(&path) => skipped.push(Skipped { path, why: "empty" }),
                Err(problem) => return Err(RowsError { path, problem }),
            }
        }
        Ok(Source { inputs, skipped, reading: *reading })
    }

    /// One file.
    pub fn file(path: &Path, reading: &Reading) -> Result<Source, RowsError> {
        let input = Input::of(path).map_err(|problem| RowsError { path: path.into(), problem })?;
        Ok(Source { inputs: vec![input], skipped: Vec::new(), reading: *reading })
    }

    /// The rows in batches, in order, parsed on all cores. The batches are the same on any number of cores.
    pub fn batches(&self) -> Batches {
        self.map(|batch| batch)
    }

    /// Like [`Source::batches`], with work on each batch done where it was parsed, on all cores at once.
    pub fn map<T: Send + 'static>(&self, work: impl Fn(Batch) -> T + Send + Sync + 'static) -> Batches<T> {
        Batches::new(self.inputs.clone(), self.reading, Arc::new(work))
    }
}

impl Input {
    /// What is to be said of how the file is read: what was taken for granted, and what is left out.
    pub fn note(&self) -> Option<String> {
        if !self.left_out.is_empty() {
            return Some(format!("columns of bytes are left out: {}", self.left_out.join(", ")));
        }
        if let Some(Listed { key, .. }) = &self.listed {
            return Some(format!("its rows are the list {key:?}; what stands beside it is left out"));
        }
        let guessed = (self.encoding != encoding_rs::UTF_8).then(|| self.encoding.name())?;
        Some(format!("read as {guessed}, which its bytes look like; convert the file to UTF-8 if letters are wrong"))
    }

    fn of(path: &Path) -> Result<Input, Problem> {
        // Asked before opening: opening a pipe would wait for its writer.
        let meta = fs::metadata(path).map_err(open::io_problem)?;
        if let Some(what) = other_than_file(&meta) {
            return Err(Problem::NotAFile(what));
        }
        let (mut from, compression) = Bytes::open(path)?;
        let mut head = Vec::new();
        let whole = from.read(&mut head, HEAD)? < HEAD;
        let mut input = Input {
            path: path.into(),
            format: Format::Parquet,
            compression,
            encoding: encoding_rs::UTF_8,
            bytes: meta.len(),
            left_out: Vec::new(),
            listed: None,
            delimiter: b',',
        };
        if head.starts_with(parquet::MAGIC) && compression == Compression::None {
            input.left_out = parquet::left_out(path)?;
            return Ok(input);
        }
        foreign(&head)?;
        input.encoding = open::encoding(&head, whole)?;
        let (text, _) = input.encoding.decode_with_bom_removal(&head);
        // Whole lines only; the last one may be cut off.
        let lines = if whole { text.as_ref() } else { text.rfind('\n').map_or(text.as_ref(), |end| &text[..end]) };
        if whole && text.trim().is_empty() {
            return Err(Problem::Empty);
        }
        (input.format, input.delimiter) = format(&extension(path), lines);
        if input.format == Format::JsonLines && extension(path) == "json" {
            input.listed = one_object(lines, whole, &mut from, &input, head.clone())?;
            if input.listed.is_some() {
                input.format = Format::Json;
            }
        }
        Ok(input)
    }
}

/// The rows of a file that is one object: over several lines, or in the only line where it holds a list of objects.
fn one_object(
    lines: &str,
    whole: bool,
    from: &mut Bytes,
    input: &Input,
    mut head: Vec<u8>,
) -> Result<Option<Listed>, Problem> {
    let (first, rest) = lines.trim_start().split_once('\n').unwrap_or((lines.trim_start(), ""));
    if let Ok(value) = json::parse(first.trim_end()) {
        let alone = value.as_object().filter(|_| whole && rest.trim().is_empty());
        // One row is a row, unless it can only be the rows' envelope.
        return match alone.map(|object| json::listed(lines, object)) {
            Some(Err(Problem::OneObject(advice))) if advice.is_empty() => Ok(None),
            found => found.transpose(),
        };
    }
    if !whole && from.read(&mut head, EXPLAINED)? == EXPLAINED {
        return Ok(None);
    }
    let (text, damaged) = input.encoding.decode_with_bom_removal(&head);
    let Ok(object) = serde_json::from_str::<Row>(&text) else { return Ok(None) };
    // What is not in the file's encoding stands in other places once it is read.
    if damaged { Err(Problem::OneObject(String::new())) } else { json::listed(&text, &object).map(Some) }
}

/// The extension in lower case, without that of a compression.
fn extension(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    name.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_owned())
}

/// The format of a text, and what separates its fields.
fn format(extension: &str, lines: &str) -> (Format, u8) {
    let first = lines.trim_start().chars().next();
    let table = || match delimited::sniff(lines.as_bytes()) {
        b'\t' => (Format::Tsv, b'\t'),
        delimiter => (Format::Csv, delimiter),
    };
    let is_object = || json::parse(lines.trim_start().lines().next().unwrap_or_default()).is_ok_and(|v| v.is_object());
    match (extension, first) {
        ("csv", _) => table(),
        ("tsv" | "tab", _) => (Format::Tsv, b'\t'),
        ("md" | "markdown", _) => (Format::Markdown, b','),
        ("txt" | "text", Some('{')) if is_object() => (Format::JsonLines, b','),
        ("txt" | "text", _) if delimited::is_tabbed(lines.as_bytes()) => (Format::Tsv, b'\t'),
        ("txt" | "text", _) => (Format::Text, b','),
        (_, Some('[')) => (Format::Json, b','),
        ("json" | "jsonl" | "ndjson", _) | (_, Some('{')) => (Format::JsonLines, b','),
        _ => table(),
    }
}

/// The first bytes of formats that people hand in as well, and what to do with them.
const FOREIGN: &[(usize, &[u8], &str, &str)] = &[
    (0, b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV (UTF-8)"),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV (UTF-8)"),
    (0, b"\x1f\x8b", "compressed twice", "unpack it with: gunzip"),
    (0, b"\x28\xb5\x2f\xfd", "compressed twice", "unpack it with: unzstd"),
    (0, b"BZh", "bzip2-compressed", "unpack it with: bunzip2"),
    (0, b"\xfd7zXZ", "xz-compressed", "unpack it with: unxz"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it with: tar -xf"),
    (0, parquet::MAGIC, "a compressed Parquet file", "unpack it; Parquet is compressed in itself"),
    (0, b"\xff\xfe\0\0", "text in UTF-32", "convert it with: iconv -f utf-32 -t utf-8"),
    (0, b"\0\0\xfe\xff", "text in UTF-32", "convert it with: iconv -f utf-32 -t utf-8"),
    (0, b"ARROW1", "an Arrow file", "write it as JSON lines or CSV"),
    (0, b"SQLite format 3", "an SQLite database", "export the table with: sqlite3 -csv -header"),
    (0, b"%PDF", "a PDF", "give the rows as CSV or JSON lines"),
];

fn foreign(head: &[u8]) -> Result<(), Problem> {
    let found = FOREIGN.iter().find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    found.map_or(Ok(()), |(_, _, what, advice)| Err(Problem::Foreign { what, advice }))
}

/// Extensions of files of rows, and of texts.
const ROWS: [&str; 7] = ["csv", "tsv", "tab", "json", "jsonl", "ndjson", "parquet"];
const TEXTS: [&str; 4] = ["txt", "text", "md", "markdown"];

/// The files of a folder that hold rows.
fn folder(path: &Path, files: &mut Vec<PathBuf>, skipped: &mut Vec<Skipped>) -> Result<(), Problem> {
    let mut all = BTreeMap::new();
    let root = path.canonicalize().map_err(open::io_problem)?;
    below(path, &root, 0, &mut all)?;
    let is = |path: &Path, kinds: &[&str]| kinds.contains(&extension(path).as_str());
    let taken = |path: &Path, why: &Option<&str>, kinds: &[&str]| why.is_none() && is(path, kinds);
    let kinds = if all.iter().any(|(path, why)| taken(path, why, &ROWS)) { &ROWS[..] } else { &TEXTS[..] };
    let before = files.len();
    for (path, why) in &all {
        match why {
            None if is(path, kinds) => files.push(path.clone()),
            None if is(path, &TEXTS) => {
                skipped.push(Skipped { path: path.clone(), why: "a text beside files of rows" });
            }
            None => skipped.push(Skipped { path: path.clone(), why: "no extension of a file of rows" }),
            Some(why) => skipped.push(Skipped { path: path.clone(), why }),
        }
    }
    if files.len() > before {
        return Ok(());
    }
    let others = if all.is_empty() { String::new() } else { format!(" ({} skipped)", all.len()) };
    Err(Problem::NoFiles(others))
}

/// All that lies in a folder, with the reason why it is not read where there is one.
fn below(
    folder: &Path,
    root: &Path,
    depth: usize,
    all: &mut BTreeMap<PathBuf, Option<&'static str>>,
) -> Result<(), Problem> {
    for entry in fs::read_dir(folder).map_err(Problem::Io)? {
        let entry = entry.map_err(Problem::Io)?;
        let path = entry.path();
        if all.len() >= 2 * MAX_FILES {
            return Err(Problem::TooManyFiles(MAX_FILES));
        }
        let leads_out = || path.canonicalize().map_or(true, |real| !real.starts_with(root));
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let meta = fs::metadata(&path);
        let is_folder = meta.as_ref().is_ok_and(Metadata::is_dir);
        if entry.file_name().to_string_lossy().starts_with('.') {
            all.insert(path, Some("hidden"));
        } else if is_link && leads_out() {
            all.insert(path, Some("a link that leads out of the folder"));
        } else if is_link && is_folder {
            all.insert(path, Some("a link to a folder"));
        } else if is_folder && depth >= MAX_DEPTH {
            all.insert(path, Some("a folder that is too deep"));
        } else if is_folder {
            below(&path, root, depth + 1, all)?;
        } else {
            let why = meta.as_ref().map_or(Some("not readable"), other_than_file);
            all.insert(path, why);
        }
    }
    Ok(())
}

/// Whether a path stands for all that fits it, by `*`, `?`, or characters in brackets.
pub fn is_pattern(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains(['*', '?']) || text.split_once('[').is_some_and(|(_, rest)| rest.contains(']'))
}

/// The files that fit a pattern, in the order of their names; `None` for too many or too deep ones. `**` stands for any
/// folders.
pub(crate) fn glob(pattern: &Path) -> Option<Vec<PathBuf>> {
    let parts: Vec<_> = pattern.components().collect();
    let wild = |part: &Component<'_>| is_pattern(part.as_ref());
    let fixed: PathBuf = parts.iter().take_while(|part| !wild(part)).collect();
    let mut rest: Vec<String> =
        parts.iter().skip_while(|part| !wild(part)).map(|p| p.as_os_str().to_string_lossy().into_owned()).collect();
    // Two in a row stand for no more than one, and would be tried in every combination.
    rest.dedup_by(|next, part| next == "**" && part == "**");
    let mut found = Vec::new();
    if !rest.is_empty() && !walk(&fixed, &rest, 0, &mut found) {
        return None;
    }
    found.sort();
    found.dedup();
    Some(found)
}

fn walk(folder: &Path, parts: &[String], depth: usize, found: &mut Vec<PathBuf>) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    if depth > MAX_DEPTH || found.len() > MAX_FILES {
        return false;
    }
    if part == "**" && !rest.is_empty() && !walk(folder, rest, depth + 1, found) {
        return false;
    }
    // The pattern of a file in the current directory has no folder.
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut paths: Vec<PathBuf> = entries.iter().map(|entry| folder.join(entry.file_name())).collect();
    paths.sort();
    paths.into_iter().all(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Links to folders are not followed, so that there is no circle.
        let is_folder = path.is_dir() && !path.is_symlink();
        match part.as_str() {
            // Hidden files are left out, as `datasets` does.
            _ if name.starts_with('.') && !part.starts_with('.') => true,
            "**" if is_folder => walk(&path, parts, depth + 1, found),
            "**" if !rest.is_empty() => true,
            _ if part != "**" && !matches(part, &name) => true,
            _ if rest.is_empty() && path.is_file() => {
                found.push(path);
                true
            }
            _ if is_folder => walk(&path, rest, depth + 1, found),
            _ => true,
        }
    })
}
