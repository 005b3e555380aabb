//! Files of the workdir: naming, reading and writing them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use tunesmith_harness::{
    recipe::{Example, Recipe},
    score::{Score, Verdict},
};
use tunesmith_sandbox::Workdir;

use crate::tool::{FieldError, ToolError};

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

/// A path as the planner knows it: relative to the workdir.
pub fn relative(dir: &Workdir, path: &Path) -> String {
    path.strip_prefix(dir.path()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The recipe of a prepared directory.
pub fn read_recipe(path: &Path) -> anyhow::Result<Recipe> {
    read_json(path).context("prepare the data again")
}

/// Examples, one per line.
pub fn read_examples(path: &Path) -> anyhow::Result<Vec<Example>> {
    read_jsonl(path)
}

/// One JSON value per line; empty lines are passed over.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let name = name(path);
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| serde_json::from_str(line).with_context(|| format!("{name}, line {}", n + 1))).collect()
}

/// A JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", name(path)))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", name(path)))
}

/// Writes a JSON file, indented.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let text = format!("{}\n", serde_json::to_string_pretty(value)?);
    std::fs::write(path, text).with_context(|| format!("cannot write {}", name(path)))
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
