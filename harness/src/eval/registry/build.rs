//! From names to tasks and groups: lm-eval's `TaskFactory`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{Entry, Group, Registry, RegistryError, Selection};
use crate::eval::{
    aggregate::GroupMetric,
    config::{Included, TaskConfig},
};

/// The keys of lm-eval's `GroupConfig`; every other key of a group changes the tasks in it.
const GROUP_KEYS: [&str; 5] = ["group", "group_alias", "task", "aggregate_metric_list", "metadata"];
/// Deepest nesting of groups.
const MAX_NESTING: usize = 16;
/// Most tasks and groups that one selection builds.
const MAX_BUILT: usize = 100_000;

type Keys = Map<String, Value>;

pub(super) struct Builder<'a> {
    registry: &'a Registry,
    included: Included,
    built: usize,
}

/// A task, or a group with everything in it.
enum Node {
    Task(Box<TaskConfig>),
    Group(Group, Vec<Node>),
}

impl Node {
    fn name(&self) -> &str {
        match self {
            Self::Task(task) => &task.task,
            Self::Group(group, _) => &group.name,
        }
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self { registry, included: Included::default(), built: 0 }
    }

    pub(super) fn select(mut self, names: &[String]) -> Result<Selection, RegistryError> {
        let mut flat = Flat::default();
        for name in names {
            let nodes = match self.registry.entries.get(name) {
                Some(_) => self.entry(name, &Keys::new(), 0)?,
                None => vec![self.file(Path::new(name))?],
            };
            for node in nodes {
                let top = node.name().to_owned();
                flat.take(node, &top)?;
            }
        }
        Ok(flat.selection)
    }

    /// What an indexed name stands for; `over` replaces keys of the tasks.
    fn entry(&mut self, name: &str, over: &Keys, depth: usize) -> Result<Vec<Node>, RegistryError> {
        match self.registry.entries.get(name) {
            None => Err(self.registry.unknown(name)),
            Some(Entry::Class(path)) => Err(RegistryError::Class { name: name.to_owned(), path: path.clone() }),
            Some(Entry::Task(path)) => Ok(vec![self.task(path, over)?]),
            Some(Entry::Group(path)) => {
                let (keys, source) = self.keys(path)?;
                Ok(vec![self.group(name.to_owned(), keys, source, over, depth)?])
            }
            Some(Entry::Tag(tasks)) => {
                let nodes = tasks.iter().map(|task| {
                    let mut own = over.clone();
                    own.entry("task").or_insert_with(|| task.as_str().into());
                    self.entry(task, &own, depth)
                });
                Ok(nodes.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
        }
    }

    /// What a file that is named by its path stands for.
    fn file(&mut self, path: &Path) -> Result<Node, RegistryError> {
        let (mut keys, source) = self.keys(path)?;
        match keys.get("group").and_then(Value::as_str).map(str::to_owned) {
            Some(name) if !keys.contains_key("class") => self.group(name, keys, source, &Keys::new(), 0),
            _ => {
                note_source(&mut keys, &source);
                self.finish(keys)
            }
        }
    }

    fn keys(&mut self, path: &Path) -> Result<(Keys, PathBuf), RegistryError> {
        Ok((self.included.load(path)?, path.to_owned()))
    }

    fn task(&mut self, path: &Path, over: &Keys) -> Result<Node, RegistryError> {
        let (mut keys, source) = self.keys(path)?;
        keys.extend(over.clone());
        note_source(&mut keys, &source);
        self.finish(keys)
    }

    fn finish(&mut self, mut keys: Keys) -> Result<Node, RegistryError> {
        for structural in ["group", "task_list"] {
            keys.shift_remove(structural);
        }
        self.built += 1;
        let task = keys.get("task").and_then(Value::as_str).unwrap_or_default();
        if self.built > MAX_BUILT {
            let what = format!("more than {MAX_BUILT} tasks and groups are asked for; name fewer");
            return Err(RegistryError::Group { name: task.to_owned(), what });
        }
        Ok(Node::Task(Box::new(TaskConfig::new(keys)?)))
    }

    fn group(
        &mut self,
        name: String,
        mut keys: Keys,
        source: PathBuf,
        over: &Keys,
        depth: usize,
    ) -> Result<Node, RegistryError> {
        let fail = |what: String| RegistryError::Group { name: name.clone(), what };
        self.built += 1;
        if depth >= MAX_NESTING {
            return Err(fail(format!("groups are nested more than {MAX_NESTING} deep, or a group contains itself")));
        }
        note_source(&mut keys, &source);
        let mut overrides: Keys = keys
            .iter()
            .filter(|(k, _)| !GROUP_KEYS.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        overrides.extend(over.clone());
        let members = match keys.get("task") {
            Some(Value::Array(members)) => members.clone(),
            _ => Vec::new(),
        };
        let (mut nodes, mut places): (Vec<Node>, BTreeMap<String, usize>) = Default::default();
        for member in members {
            for node in self.member(&name, member, &source, &overrides, depth + 1)? {
                match *places.entry(node.name().to_owned()).or_insert(nodes.len()) {
                    at if at < nodes.len() => nodes[at] = node,
                    _ => nodes.push(node),
                }
            }
        }
        let alias = keys.get("group_alias").and_then(Value::as_str).map(str::to_owned);
        let aggregates = GroupMetric::read(keys.get("aggregate_metric_list")).map_err(|e| fail(e.to_string()))?;
        let metadata = keys.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        let members = nodes.iter().map(|node| node.name().to_owned()).collect();
        Ok(Node::Group(Group { name, alias, members, aggregates, metadata }, nodes))
    }

    /// One entry of a group's `task` list: a name, a task with changed keys, or a group written out.
    fn member(
        &mut self,
        group: &str,
        member: Value,
        source: &Path,
        over: &Keys,
        depth: usize,
    ) -> Result<Vec<Node>, RegistryError> {
        let fail = |what: &str| RegistryError::Group { name: group.to_owned(), what: what.to_owned() };
        let mut item = match member {
            Value::String(name) => Keys::from_iter([("task".to_owned(), name.into())]),
            Value::Object(item) => item,
            _ => return Err(fail("an entry of its task list is neither a name nor a map")),
        };
        if let Some(inner) = item.get("group") {
            let inner = inner.as_str().ok_or_else(|| fail("a group in it has no name"))?.to_owned();
            if self.registry.entries.contains_key(&inner) {
                item.shift_remove("group");
                let mut merged = over.clone();
                merged.extend(item);
                return self.entry(&inner, &merged, depth);
            }
            return Ok(vec![self.group(format!("{group}::{inner}"), item, source.to_owned(), over, depth)?]);
        }
        let Some(name) = item.get("task").and_then(Value::as_str).map(str::to_owned) else {
            return Err(fail("an entry of its task list has neither task nor group"));
        };
        let mut merged = over.clone();
        merged.extend(item);
        match self.registry.entries.get(&name) {
            Some(Entry::Group(_)) => {
                // The name belongs to the group here; its tasks keep theirs.
                merged.shift_remove("task");
                self.entry(&name, &merged, depth)
            }
            Some(Entry::Tag(_)) => {
                merged.shift_remove("task");
                self.entry(&name, &merged, depth)
            }
            Some(_) => self.entry(&name, &merged, depth),
            // A task written out inside the group; without data it is a name that nothing has.
            None if merged.contains_key("dataset_path") => {
                merged.insert("task".to_owned(), format!("{group}::{name}").into());
                Ok(vec![self.finish(merged)?])
            }
            None => Err(self.registry.unknown(&name)),
        }
    }
}

/// lm-eval notes the file in the metadata; metadata that are no map are kept under a name.
fn note_source(keys: &mut Keys, source: &Path) {
    let mut metadata = match keys.shift_remove("metadata") {
        None => Keys::new(),
        Some(Value::Object(map)) => map,
        Some(other) => Keys::from_iter([("_metadata".to_owned(), other)]),
    };
    metadata.insert("config_source".to_owned(), source.to_string_lossy().into());
    keys.insert("metadata".to_owned(), metadata.into());
}

/// Tasks and groups in a row, each name once.
#[derive(Default)]
struct Flat {
    selection: Selection,
    tasks: BTreeMap<String, usize>,
    groups: BTreeMap<String, usize>,
    /// In which of the things asked for a task stands.
    tops: BTreeMap<String, String>,
}

impl Flat {
    fn take(&mut self, node: Node, top: &str) -> Result<(), RegistryError> {
        match node {
            Node::Task(task) => {
                let first = self.tops.entry(task.task.clone()).or_insert_with(|| top.to_owned());
                if first != top {
                    return Err(RegistryError::Twice {
                        task: task.task.clone(),
                        first: first.clone(),
                        second: top.to_owned(),
                    });
                }
                let next = self.selection.tasks.len();
                match *self.tasks.entry(task.task.clone()).or_insert(next) {
                    at if at == next => self.selection.tasks.push(*task),
                    at => self.selection.tasks[at] = *task,
                }
            }
            Node::Group(group, nodes) => {
                let next = self.selection.groups.len();
                match *self.groups.entry(group.name.clone()).or_insert(next) {
                    at if at == next => self.selection.groups.push(group),
                    at => self.selection.groups[at] = group,
                }
                for node in nodes {
                    self.take(node, top)?;
                }
            }
        }
        Ok(())
    }
}
