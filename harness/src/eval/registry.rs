//! Which tasks there are, and which of them a name stands for: lm-eval's `TaskManager`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    aggregate::GroupMetric,
    config::{ConfigError, Included, TaskConfig},
};

mod build;
mod names;

pub use names::matches;

/// Most YAML files that are indexed.
const MAX_FILES: usize = 200_000;
/// Deepest folder below the one that is indexed.
const MAX_DEPTH: usize = 32;

/// Every name that tasks can be asked for by.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
    /// Files that are no task, group or template, and why.
    pub skipped: Vec<ConfigError>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A task of a YAML file.
    Task(PathBuf),
    /// A Python class, which is not run.
    Class(PathBuf),
    /// A group of tasks and groups.
    Group(PathBuf),
    /// A name that tasks give themselves.
    Tag(BTreeSet<String>),
}

/// The tasks and groups that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Every task once, in the order of asking and of its group.
    pub tasks: Vec<TaskConfig>,
    /// Every group once, an outer one before the inner ones.
    pub groups: Vec<Group>,
}

/// Tasks that are asked for and reported together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The name in tables.
    pub alias: Option<String>,
    /// Names of its tasks and groups.
    pub members: Vec<String>,
    /// Metrics that are averaged over all tasks in it.
    pub aggregates: Vec<GroupMetric>,
    /// Version and other notes.
    pub metadata: Map<String, Value>,
}

/// Why the tasks that were asked for are not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nothing is called that.
    #[error("no task, group or tag is called {name:?}{}", .near.as_ref().map_or_else(|| "; name a task file, or folders of them with --include".to_owned(), |n| format!("; did you mean {n:?}?")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The name that is most like it.
        near: Option<String>,
    },
    /// A task that is a Python class.
    #[error("task {name:?} is a Python class ({path}), which is not run; only tasks that a YAML file describes are", path = .path.display())]
    Class {
        /// The task.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// One task in two of the groups that were asked for.
    #[error("task {task:?} is in both {first:?} and {second:?}; ask for one of them at a time")]
    Twice {
        /// The task.
        task: String,
        /// Where it is first.
        first: String,
        /// Where it is again.
        second: String,
    },
    /// A group whose file says something that is no group.
    #[error("group {name:?}: {what}")]
    Group {
        /// The group.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A folder that cannot be indexed.
    #[error("{path}: {what}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A task file that says something that is no task.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Registry {
    /// Indexes folders of YAML files, and single files. A name of a later one replaces that of an earlier one.
    pub fn index(paths: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        let mut included = Included::default();
        for root in paths {
            let mut files = Vec::new();
            if root.is_dir() {
                yaml_files(root, 0, &mut files)?;
                files.sort();
            } else {
                files.push(root.clone());
            }
            let mut entries = BTreeMap::new();
            for file in files {
                match included.load(&file) {
                    Ok(map) => enter(&map, &file, &mut entries),
                    // One file that is asked for by itself has to be one; among many, lm-eval passes over it too.
                    Err(error) if file == *root => return Err(error.into()),
                    Err(error) => registry.skipped.push(error),
                }
            }
            registry.entries.extend(entries);
        }
        Ok(registry)
    }

    /// Every name with what it stands for, in the order of the alphabet.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The tasks that names, patterns with `*`, `?` and `[…]`, and paths of task files stand for.
    pub fn select(&self, asked: &[String]) -> Result<Selection, RegistryError> {
        let mut names: Vec<String> = Vec::new();
        for one in asked {
            names.extend(self.names_for(one)?);
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        build::Builder::new(self).select(&names)
    }

    fn names_for(&self, asked: &str) -> Result<Vec<String>, RegistryError> {
        if self.entries.contains_key(asked) || (asked.ends_with(".yaml") && Path::new(asked).is_file()) {
            return Ok(vec![asked.to_owned()]);
        }
        let found: Vec<String> = self.entries.keys().filter(|name| matches(asked, name)).cloned().collect();
        if found.is_empty() { Err(self.unknown(asked)) } else { Ok(found) }
    }

    fn unknown(&self, name: &str) -> RegistryError {
        RegistryError::Unknown { name: name.to_owned(), near: names::nearest(name, self.entries.keys()) }
    }
}

/// All `.yaml` files below a folder. Links to folders are not followed, so that there is no circle.
fn yaml_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), RegistryError> {
    let fail = |what: String| RegistryError::Folder { path: folder.to_owned(), what };
    if depth > MAX_DEPTH {
        return Err(fail(format!("folders are nested more than {MAX_DEPTH} deep")));
    }
    for entry in std::fs::read_dir(folder).map_err(|e| fail(format!("cannot be read: {e}")))? {
        let entry = entry.map_err(|e| fail(format!("cannot be read: {e}")))?;
        let kind = entry.file_type().map_err(|e| fail(format!("cannot be read: {e}")))?;
        let path = entry.path();
        if kind.is_dir() {
            let ignored = matches!(entry.file_name().to_str(), Some("__pycache__" | ".ipynb_checkpoints"));
            if !ignored {
                yaml_files(&path, depth + 1, files)?;
            }
        } else if path.as_os_str().to_string_lossy().ends_with(".yaml") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(fail(format!("more than {MAX_FILES} YAML files; name a smaller folder")));
        }
    }
    Ok(())
}

/// Enters what a file defines. The first file of a name wins, as in lm-eval; a template without a name is none.
fn enter(map: &Map<String, Value>, path: &Path, entries: &mut BTreeMap<String, Entry>) {
    let (key, entry) = if map.contains_key("class") {
        ("task", Entry::Class(path.to_owned()))
    } else if map.contains_key("group") {
        ("group", Entry::Group(path.to_owned()))
    } else {
        ("task", Entry::Task(path.to_owned()))
    };
    let Some(name) = map.get(key).and_then(Value::as_str) else { return };
    if entries.contains_key(name) {
        return;
    }
    let group = key == "group";
    entries.insert(name.to_owned(), entry);
    let tags = match map.get("tag") {
        Some(Value::String(tag)) => vec![tag.as_str()],
        Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for tag in tags.into_iter().filter(|_| !group) {
        if let Entry::Tag(tasks) = entries.entry(tag.to_owned()).or_insert_with(|| Entry::Tag(BTreeSet::new())) {
            tasks.insert(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
