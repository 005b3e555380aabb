//! Files of the workdir: naming, reading and writing them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tunesmith_harness::{
    recipe::{Example, Recipe},
    rows,
    score::{Score, Verdict},
};
use tunesmith_sandbox::Workdir;

use crate::{
    data_prepare::Part,
    tool::{FieldError, ToolError},
};

/// The absolute path of what a planner named in the argument at `pointer`.
pub fn inside(dir: &Workdir, pointer: &str, rel: &str) -> Result<PathBuf, ToolError> {
    dir.join(rel).map_err(|error| {
        ToolError::Invalid(vec![FieldError { pointer: pointer.to_owned(), message: error.to_string() }])
    })
}

/// The same for what must be there already.
pub fn existing(dir: &Workdir, pointer: &str, rel: &str) -> Result<PathBuf, ToolError> {
    let path = inside(dir, pointer, rel)?;
    if path.exists() {
        return Ok(path);
    }
    let message = format!("there is no {rel:?} in the workdir; make it first, or name what an earlier step returned");
    Err(ToolError::Invalid(vec![FieldError { pointer: pointer.to_owned(), message }]))
}

/// Opens a file that a job may have made: a link, a pipe or a device in its place is an error, and nothing waits for it.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.cast_signed());
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Opens a file below `dir` that a run hands in. No component is followed where it is a link, and the file has no other
/// name that something could change it by.
#[cfg(unix)]
pub fn open_declared(dir: &Path, rel: &Path) -> Result<File, String> {
    use rustix::fs::{Mode, OFlags, openat};
    use std::os::unix::fs::MetadataExt;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::open(dir).map_err(|e| e.to_string())?;
    let (mut seen, mut parts) = (dir.to_owned(), rel.components().peekable());
    while let Some(part) = parts.next() {
        let std::path::Component::Normal(part) = part else { return Err("it is not below the workdir".into()) };
        seen.push(part);
        let more = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        file = openat(&file, part, flags | more, Mode::empty()).map(File::from).map_err(|error| {
            let link = std::fs::symlink_metadata(&seen).is_ok_and(|meta| meta.is_symlink());
            if link {
                format!("{} is a link; ship the file itself", name(&seen))
            } else {
                format!("{}: {error}", name(&seen))
            }
        })?;
    }
    let meta = file.metadata().map_err(|e| e.to_string())?;
    match () {
        () if !meta.is_file() => Err(format!("{} is not a regular file", name(&seen))),
        () if meta.nlink() > 1 => Err(format!("{} has a second name (a hard link); ship a copy", name(&seen))),
        () => Ok(file),
    }
}

/// The same where descriptors of directories are not to be had.
#[cfg(not(unix))]
pub fn open_declared(dir: &Path, rel: &Path) -> Result<File, String> {
    open_regular(&dir.join(rel)).map_err(|e| e.to_string())
}

/// The text of a small file that a job may have made; one of more than `cap` bytes is an error.
pub fn read_small(path: &Path, cap: u64) -> io::Result<String> {
    let mut text = String::new();
    open_regular(path)?.take(cap.saturating_add(1)).read_to_string(&mut text)?;
    match text.len() as u64 <= cap {
        true => Ok(text),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {cap} bytes"))),
    }
}

/// A path as the planner knows it: relative to the workdir.
pub fn relative(dir: &Workdir, path: &Path) -> String {
    path.strip_prefix(dir.path()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The recipe of a prepared directory.
pub fn read_recipe(path: &Path) -> anyhow::Result<Recipe> {
    read_json(path).context("prepare the data again")
}

/// The file of a part of a prepared directory, in the form in which it was written: JSON lines or Parquet.
pub fn part(dir: &Path, part: Part) -> PathBuf {
    let [lines, parquet] = ["jsonl", "parquet"].map(|extension| dir.join(format!("{}.{extension}", part.name())));
    if parquet.is_file() && !lines.is_file() { parquet } else { lines }
}

/// Examples, one per line or row.
pub fn read_examples(path: &Path) -> anyhow::Result<Vec<Example>> {
    if path.extension().is_none_or(|extension| extension != "parquet") {
        return read_jsonl(path);
    }
    let rows = rows::read(path)?.rows.into_iter().enumerate();
    let example = |(at, row)| {
        serde_json::from_value(Value::Object(row)).with_context(|| format!("{}, row {}", name(path), at + 1))
    };
    rows.map(example).collect()
}

/// One JSON value per line; empty lines are passed over.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    jsonl(path, std::fs::read_to_string(path))
}

/// The same of a file that a job may have made, outside the sandbox: a regular one of at most `cap` bytes.
pub fn read_jsonl_small<T: DeserializeOwned>(path: &Path, cap: u64) -> anyhow::Result<Vec<T>> {
    jsonl(path, read_small(path, cap))
}

fn jsonl<T: DeserializeOwned>(path: &Path, text: io::Result<String>) -> anyhow::Result<Vec<T>> {
    let name = name(path);
    let text = text.with_context(|| format!("cannot read {name}; it must be JSON lines in UTF-8"))?;
    // Editors of some systems write a byte order mark.
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).map_err(|error| {
                let hint = if error.is_data() { "" } else { "each line must be one whole JSON object: " };
                anyhow::anyhow!("{name}, line {}: {hint}{error}", n + 1)
            })
        })
        .collect()
}

/// A JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", name(path)))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", name(path)))
}

/// The last part of a path, for messages.
pub fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The output of a worker as its type.
pub fn typed<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, ToolError> {
    serde_json::from_value(value).map_err(|error| ToolError::Failed(format!("the worker's answer is damaged: {error}")))
}

/// A judgement in one expression.
pub fn score(scorer: &str, value: Option<f64>, verdict: Verdict, why: String) -> Score {
    Score { scorer: scorer.to_owned(), value, interval: None, verdict, why }
}

/// `text` in at most `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_lines_may_begin_with_a_mark_and_say_what_a_line_must_be() {
        let path = Path::new("rows.jsonl");
        let read = |text: &str| jsonl::<i32>(path, Ok(text.to_owned())).map_err(|error| format!("{error:#}"));
        assert_eq!(read("\u{feff}1\n\n2\n"), Ok(vec![1, 2]));
        assert_eq!(
            read("1\na,b\n"),
            Err("rows.jsonl, line 2: each line must be one whole JSON object: expected value at line 1 column 1".into())
        );
    }

    #[test]
    #[cfg(unix)]
    fn only_regular_files_of_a_sane_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "12345").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        // Opening a pipe would wait for its writer.
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read_small(&at("file"), 5).unwrap(), "12345");
        assert_eq!(read_small(&at("file"), 4).unwrap_err().to_string(), "it has more than 4 bytes");
        for name in ["link", "pipe", "missing", "."] {
            assert!(open_regular(&at(name)).is_err(), "{name}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_is_handed_in_is_a_file_of_its_own_behind_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("train")).unwrap();
        for name in ["train/file", "train/one"] {
            std::fs::write(at(name), "12345").unwrap();
        }
        std::fs::hard_link(at("train/one"), at("two")).unwrap();
        std::os::unix::fs::symlink(at("train/file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("train"), at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let open = |rel: &str| open_declared(dir.path(), Path::new(rel)).map(|file| file.metadata().unwrap().len());
        assert_eq!(open("train/file"), Ok(5));
        let refused = [
            ("link", "link is a link; ship the file itself"),
            ("folder/file", "folder is a link; ship the file itself"),
            ("two", "two has a second name (a hard link); ship a copy"),
            ("pipe", "pipe is not a regular file"),
            ("train", "train is not a regular file"),
            ("train/file/x", "file: Not a directory (os error 20)"),
            ("none", "none: No such file or directory (os error 2)"),
            ("../x", "it is not below the workdir"),
        ];
        for (rel, why) in refused {
            assert_eq!(open(rel), Err(why.to_owned()), "{rel}");
        }
    }
}
