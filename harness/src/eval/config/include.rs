//! A task file together with the files that it includes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::ConfigError;
use crate::eval::yaml;

/// Most files that one task file may bring together.
const MAX_FILES: usize = 64;

/// Files that others included, so that a template of hundreds of tasks is read once.
#[derive(Default)]
pub(in crate::eval) struct Included(BTreeMap<PathBuf, Map<String, Value>>);

impl Included {
    /// The keys of a file over those of the files it includes: lm-eval's `load_yaml`.
    pub(in crate::eval) fn load(&mut self, path: &Path) -> Result<Map<String, Value>, ConfigError> {
        self.merged(path, &mut BTreeSet::new())
    }

    fn merged(&mut self, path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<Map<String, Value>, ConfigError> {
        let path = path.canonicalize().map_err(|e| ConfigError::new(path, format!("cannot be read: {e}")))?;
        // lm-eval too refuses a file that is reached twice, in a circle or not.
        if seen.len() >= MAX_FILES || !seen.insert(path.clone()) {
            return Err(ConfigError::new(&path, "is included more than once; let each file include the others once"));
        }
        let mut own = if seen.len() == 1 {
            read(&path)?
        } else if let Some(known) = self.0.get(&path) {
            known.clone()
        } else {
            let map = read(&path)?;
            self.0.insert(path.clone(), map.clone());
            map
        };
        let Some(include) = own.shift_remove("include") else { return Ok(own) };
        let mut merged = Map::new();
        for name in names(&include).ok_or_else(|| ConfigError::new(&path, "include takes a file or a list of files"))? {
            let mut included = self.merged(&path.parent().unwrap_or(Path::new("")).join(name), seen)?;
            // It says which tasks the included file stands for, not the one that includes it.
            included.shift_remove("task_list");
            merged.extend(included);
        }
        merged.extend(own);
        Ok(merged)
    }
}

/// A text, or a list of texts.
fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let unread = |e: std::io::Error| ConfigError::new(path, format!("cannot be read: {e}"));
    // Asked before opening: opening a pipe would wait for its writer.
    if let Some(what) = crate::rows::not_a_file(path) {
        return Err(ConfigError::new(path, format!("{what}, not a task file")));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(unread)?;
    let text = String::from_utf8(bytes).map_err(|_| ConfigError::new(path, "is not UTF-8; convert it with: iconv"))?;
    match yaml::parse(&text, path.parent().unwrap_or(Path::new(""))) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ConfigError::new(path, "holds no map of keys and values, so it is no task file")),
        Err(e) => Err(ConfigError::new(path, e.to_string())),
    }
}
