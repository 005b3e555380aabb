//! What is set where: defaults, the user's file, the project's file, the environment, in that order; flags come last.
//!
//! | file | holds |
//! |---|---|
//! | `tunesmith/config.toml` in the user's directory for settings | what holds for all runs on this machine |
//! | `tunesmith.toml` in the current directory, or above it up to the repository's root | what holds for a project |
//!
//! A later place replaces the value of an earlier one. A project's file may come from anyone: until the user has trusted
//! it, only what can do no harm takes effect (see [`keys`]), and the rest is named.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::run::Failure;

pub mod extend;
mod file;
pub mod keys;
pub mod trust;
mod values;

pub use file::Places;
pub use values::Values;

use file::File;
use keys::{KEYS, Key, Kind};

/// All that is set, with where it came from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What is in force.
    pub values: Values,
    /// The same, key by key, in the order in which keys are listed.
    pub entries: Vec<Entry>,
    /// The user's file, whether or not it is there.
    pub user: Option<PathBuf>,
    /// The project's file, where there is one.
    pub project: Option<Project>,
}

/// One key that has a value, or could have one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name, for example `sandbox.require` or `mcp.search`.
    pub key: String,
    /// Its value; nothing where there is no default.
    pub value: Option<Value>,
    /// Who said so.
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The user's file.
    User(PathBuf),
    /// The project's file.
    Project(PathBuf),
    /// A variable of the environment.
    Environment(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::User(path) | Source::Project(path) => write!(f, "{}", path.display()),
            Source::Environment(name) => f.write_str(name),
        }
    }
}

/// A project's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Where it stands.
    pub path: PathBuf,
    /// SHA-256 of what it says.
    pub hash: String,
    /// Whether the user has trusted this very content at this very place.
    pub trusted: bool,
    /// Keys that need trust, whether or not they have it.
    pub restricted: Vec<String>,
    /// The same with their values, a line each.
    pub lines: Vec<String>,
}

impl Config {
    /// What holds in this process: its environment and its current directory.
    pub fn here() -> Result<Self, Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let cwd = std::env::current_dir().ok();
        Self::load(&Places::of(&env, cwd.as_deref()), &env)
    }

    /// Reads the files in their places, and the variables.
    pub fn load(places: &Places, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let user = places.user.as_deref().map(File::read).transpose()?.flatten();
        let project = places.project.as_deref().map(File::read).transpose()?.flatten();
        let mut merged = Merged::default();
        if let Some(file) = user {
            let source = Source::User(file.path.clone());
            merged.take(file.values()?, &source);
        }
        let project = match project {
            Some(file) => Some(merged.take_project(&file, places)?),
            None => None,
        };
        for key in &KEYS {
            merged.take_variable(key, env)?;
        }
        Ok(Config { values: merged.values()?, entries: merged.entries(), user: places.user.clone(), project })
    }

    /// What a person should know: which lines of the project's file have no effect, and what would give them one.
    pub fn note(&self) -> Option<String> {
        let project = self.project.as_ref().filter(|project| !project.trusted && !project.restricted.is_empty())?;
        let keys = project.restricted.join(", ");
        let path = project.path.display();
        Some(format!(
            "{path}: {keys} without effect until you trust the file; see and trust with: tunesmith config trust"
        ))
    }
}

/// Values as they are put together, by flat key.
#[derive(Default)]
struct Merged(BTreeMap<String, (Value, Source)>);

impl Merged {
    fn take(&mut self, values: BTreeMap<String, Value>, source: &Source) {
        self.0.extend(values.into_iter().map(|(key, value)| (key, (value, source.clone()))));
    }

    /// Takes what a project's file may set, and says what it may not.
    fn take_project(&mut self, file: &File, places: &Places) -> Result<Project, Failure> {
        let values = file.values()?;
        let before = |key: &str| self.0.get(key).map(|(value, _)| value);
        let harmless = |(key, value): (&String, &Value)| {
            keys::of(key).is_some_and(|k| k.is_harmless(value, before(key), &file.dir()))
        };
        let restricted: Vec<String> =
            values.iter().filter(|entry| !harmless(*entry)).map(|(key, _)| key.clone()).collect();
        let trusted = places.state.as_deref().is_some_and(|state| trust::is_trusted(state, &file.path, &file.hash()));
        let line = |key: &String| Some(format!("{key} = {}", values.get(key)?));
        let lines = restricted.iter().filter_map(line).collect();
        let allowed = values.into_iter().filter(|(key, _)| trusted || !restricted.contains(key)).collect();
        self.take(allowed, &Source::Project(file.path.clone()));
        Ok(Project { path: file.path.clone(), hash: file.hash(), trusted, restricted, lines })
    }

    /// An empty variable counts as none.
    fn take_variable(&mut self, key: &Key, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
        let Some((name, text)) = key.env.and_then(|name| Some((name, env(name)?))) else { return Ok(()) };
        if text.trim().is_empty() {
            return Ok(());
        }
        let value = key.kind.read(text.trim());
        let one = nest([(key.name.to_owned(), value.clone())]);
        Values::deserialize(one)
            .map_err(|error| Failure::new(2, format!("{name}: {}; correct the variable", one_line(error.message()))))?;
        self.0.insert(key.name.to_owned(), (value, Source::Environment(name)));
        Ok(())
    }

    fn values(&self) -> Result<Values, Failure> {
        let table = nest(self.0.iter().map(|(key, (value, _))| (key.clone(), value.clone())));
        Values::deserialize(table).map_err(|error| Failure::new(70, one_line(error.message())))
    }

    /// Every key of the list, and every server and tool that is there.
    fn entries(mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for key in &KEYS {
            if key.kind == Kind::Tables {
                let start = format!("{}.", key.name);
                let found = self.0.iter().filter(|(name, _)| name.starts_with(&start));
                entries.extend(found.map(|(name, (value, source))| Entry {
                    key: name.clone(),
                    value: Some(value.clone()),
                    source: source.clone(),
                }));
                continue;
            }
            let (value, source) = self.0.remove(key.name).map_or_else(
                || (key.default.map(|text| key.kind.read(text)), Source::Default),
                |(value, source)| (Some(value), source),
            );
            entries.push(Entry { key: key.name.to_owned(), value, source });
        }
        entries
    }
}

/// The table that these flat keys come from.
fn nest(flat: impl IntoIterator<Item = (String, Value)>) -> Table {
    let mut table = Table::new();
    for (key, value) in flat {
        match key.split_once('.') {
            None => drop(table.insert(key, value)),
            Some((outer, inner)) => {
                let within = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(within) = within {
                    within.insert(inner.to_owned(), value);
                }
            }
        }
    }
    table
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
