//! The rows of a task: local files, or local copies of data sets of the Hub.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{config::TaskConfig, request::Doc};
use crate::{
    rows::{self, RowsError},
    text::visible,
};

mod csv;
mod files;

/// Where data sets lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets {
    /// Local copies: `NAME` or `NAME:CONFIG` of a data set to a folder, or to the one file of its only split; the
    /// address of a file to that file.
    pub local: BTreeMap<String, PathBuf>,
    /// The folder that relative paths of task files start from.
    pub folder: PathBuf,
}

/// Why a task has no rows, in one line with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A name of the Hub without a local copy.
    #[error("data set {name:?} has no local copy; fetch it and name it with: --dataset {}=PATH", visible(.name))]
    NotMapped {
        /// The name, with its configuration.
        name: String,
    },
    /// The place has no such split.
    #[error("{place} has no split {split:?}; it needs {split}.jsonl, .json, .csv, .parquet or .txt, or {split}-*.parquet, there or in data/", place = visible(.place))]
    NoSplit {
        /// The place.
        place: String,
        /// The split.
        split: String,
    },
    /// A key of `dataset_kwargs` that is not followed.
    #[error("dataset_kwargs.{key} {what}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that gives no rows.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A file that gives no rows in the way in which the task wants them.
    #[error("{path}: {what}", path = visible(&.path.to_string_lossy()), what = visible(.what))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The formats that `datasets.load_dataset` knows by a name of its own.
const BUILDERS: [&str; 4] = ["json", "csv", "parquet", "text"];
/// What may stand in `dataset_kwargs`.
const SETTINGS: [&str; 8] =
    ["data_files", "data_dir", "field", "sep", "delimiter", "trust_remote_code", "streaming", "revision"];

impl Datasets {
    /// The rows of one split of a task's data set, with the values that `datasets` gives them.
    pub fn rows(&self, task: &TaskConfig, split: &str) -> Result<Vec<Doc>, DatasetError> {
        let settings = &task.dataset_kwargs;
        if let Some(key) = settings.keys().find(|key| !SETTINGS.contains(&key.as_str())) {
            return Err(setting(key, "is not followed; write the rows to a file that needs it not"));
        }
        let mut docs = Vec::new();
        for file in self.files(task, split)? {
            docs.extend(read(&file, task.dataset_path.as_deref(), settings)?);
        }
        Ok(one_table(docs))
    }

    fn files(&self, task: &TaskConfig, split: &str) -> Result<Vec<PathBuf>, DatasetError> {
        let path = task.dataset_path.as_deref().unwrap_or_default();
        let settings = &task.dataset_kwargs;
        let builder = BUILDERS.contains(&path);
        let folder = match settings.get("data_dir") {
            None | Some(Value::Null) => None,
            Some(Value::String(folder)) => Some(folder.as_str()),
            Some(_) => return Err(setting("data_dir", "takes a folder")),
        };
        let place = if builder { self.folder.clone() } else { self.place(path, task.dataset_name.as_deref())? };
        let place = folder.map_or(place.clone(), |folder| place.join(folder));
        match settings.get("data_files").filter(|files| !files.is_null()) {
            Some(patterns) => files::named(&place, patterns, split, &self.local),
            None if place.is_file() => Ok(vec![place]),
            None if builder && folder.is_none() => {
                Err(setting("data_files", "is missing; name the files of each split"))
            }
            None => files::of_split(&place, split),
        }
    }

    /// Where a data set lies. A copy without a configuration is asked for the folder of that name.
    fn place(&self, path: &str, config: Option<&str>) -> Result<PathBuf, DatasetError> {
        let full = config.map_or_else(|| path.to_owned(), |config| format!("{path}:{config}"));
        if let Some(place) = self.local.get(&full) {
            return Ok(place.clone());
        }
        // Not the whole folder instead: it may hold another configuration, and no row would show that.
        let place = self.local.get(path).cloned().or_else(|| Some(self.folder.join(path)).filter(|p| p.is_dir()));
        place
            .map(|place| config.map_or(place.clone(), |config| place.join(config)))
            .filter(|place| place.exists())
            .ok_or(DatasetError::NotMapped { name: full })
    }
}

fn setting(key: &str, what: &str) -> DatasetError {
    DatasetError::Setting { key: key.to_owned(), what: what.to_owned() }
}

fn read(path: &Path, builder: Option<&str>, settings: &Map<String, Value>) -> Result<Vec<Doc>, DatasetError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let format = builder.filter(|name| BUILDERS.contains(name)).unwrap_or(extension);
    match format {
        "csv" | "tsv" => csv::read(path, csv::delimiter(format, settings)?),
        "text" | "txt" => {
            let line = |text: &str| Doc::from_iter([("text".to_owned(), text.into())]);
            Ok(files::text(path)?.lines().map(line).collect())
        }
        _ => match settings.get("field").and_then(Value::as_str) {
            Some(field) => in_field(path, field),
            None => match rows::read(path)? {
                // Its letters are guessed; a benchmark's rows are taken as they are or not at all.
                table if table.note.is_some() && table.format != rows::Format::Parquet => Err(files::not_utf_8(path)),
                table => Ok(table.rows),
            },
        },
    }
}

/// The rows in one key of a JSON object: a list of objects, or an object of lists.
fn in_field(path: &Path, field: &str) -> Result<Vec<Doc>, DatasetError> {
    let fail = |what: String| DatasetError::File { path: path.to_owned(), what };
    let mut object: Map<String, Value> =
        serde_json::from_str(&files::text(path)?).map_err(|e| fail(format!("is no JSON object: {e}")))?;
    let rows =
        object.shift_remove(field).ok_or_else(|| fail(format!("has no key {field:?}, which the task asks for")))?;
    serde_json::from_value(rows).map_err(|_| fail(format!("holds no list of objects in {field:?}")))
}

/// As one table: every row has every column, and a column of whole and other numbers holds no whole ones.
fn one_table(mut docs: Vec<Doc>) -> Vec<Doc> {
    let mut columns: Map<String, Value> = Map::new();
    for (name, value) in docs.iter().flatten() {
        let floats = columns.entry(name.clone()).or_insert(Value::Bool(false));
        if value.is_f64() {
            *floats = Value::Bool(true);
        }
    }
    for doc in &mut docs {
        let mut own = std::mem::take(doc);
        for (name, floats) in &columns {
            let value = match own.remove(name).unwrap_or(Value::Null) {
                Value::Number(number) if *floats == Value::Bool(true) => {
                    number.as_f64().map_or(Value::Null, Value::from)
                }
                value => value,
            };
            doc.insert(name.clone(), value);
        }
    }
    docs
}

#[cfg(test)]
mod tests;
