//! The files: where they stand, and what one says.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};
use tunesmith_harness::hash::sha256;
use tunesmith_tools::files::read_small;

use super::{keys, one_line, values::Values};
use crate::run::Failure;

/// Bytes that a file may have.
const LARGEST: u64 = 256 << 10;
/// What a project's file is called.
const PROJECT: &str = "tunesmith.toml";

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The user's file.
    pub user: Option<PathBuf>,
    /// The project's file.
    pub project: Option<PathBuf>,
    /// Where it is kept which projects' files are trusted.
    pub state: Option<PathBuf>,
}

impl Places {
    /// The places that belong to these variables and this directory.
    pub fn of(env: &dyn Fn(&str) -> Option<String>, cwd: Option<&Path>) -> Self {
        // An empty or relative variable counts as none, as the specification of these directories says.
        let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let place = |name: &str, below: &str| absolute(name).or_else(|| Some(absolute("HOME")?.join(below)));
        Places {
            user: place("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("tunesmith/config.toml")),
            project: cwd.and_then(project),
            state: place("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("tunesmith/trusted")),
        }
    }
}

/// The nearest project's file from `cwd` up to the root of its repository; outside a repository, only the one in `cwd`,
/// because what is above may be anyone's.
fn project(cwd: &Path) -> Option<PathBuf> {
    let there = |path: PathBuf| path.symlink_metadata().is_ok();
    let depth = cwd.ancestors().position(|dir| there(dir.join(".git"))).unwrap_or(0);
    cwd.ancestors().take(depth + 1).map(|dir| dir.join(PROJECT)).find(|path| there(path.clone()))
}

/// A file that was read.
pub(super) struct File {
    pub path: PathBuf,
    text: String,
}

impl File {
    /// Reads a file of settings; nothing where there is none. A pipe or a device is an error, and nothing waits for it.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let wrong = |error: io::Error| wrong(path, &error.to_string());
        // Settings are often links to a collection of such files, a project's file is none.
        let real = if path.ends_with(PROJECT) { Ok(path.to_owned()) } else { path.canonicalize() };
        match real.and_then(|real| read_small(&real, LARGEST)) {
            Ok(text) => Ok(Some(File { path: path.to_owned(), text })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error)),
        }
    }

    /// SHA-256 of what it says.
    pub fn hash(&self) -> String {
        sha256(self.text.as_bytes())
    }

    /// Where it stands.
    pub fn dir(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// Its values by flat key, checked, with paths that begin at the file.
    pub fn values(&self) -> Result<BTreeMap<String, Value>, Failure> {
        let told = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(self.text.len()));
            let line = 1 + self.text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
            wrong(&self.path, &format!("line {line}: {}", one_line(error.message())))
        };
        toml::from_str::<Values>(&self.text).map_err(told)?;
        let table: Table = toml::from_str(&self.text).map_err(told)?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            match value {
                Value::Table(inner) => {
                    values.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)))
                }
                value => drop(values.insert(key, value)),
            }
        }
        let dir = self.dir();
        values.iter_mut().for_each(|(key, value)| anchor(key, value, &dir));
        Ok(values)
    }
}

/// A path in a file begins where the file stands.
fn anchor(key: &str, value: &mut Value, dir: &Path) {
    let join = |text: &str| Value::String(dir.join(text.trim_start_matches("./")).to_string_lossy().into_owned());
    match (keys::of(key).map(|key| key.name), value) {
        (Some("dir"), value @ Value::String(_)) => *value = join(value.as_str().unwrap_or_default()),
        // A base may also be a name, as on the Hub.
        (Some("base"), value @ Value::String(_)) => {
            let text = value.as_str().unwrap_or_default();
            if text.starts_with('.') || dir.join(text).symlink_metadata().is_ok() {
                *value = join(text);
            }
        }
        (Some("mcp" | "tools"), Value::Table(table)) => {
            for list in ["reads", "writes"] {
                let paths = table.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                paths.for_each(|path| *path = join(path.as_str().unwrap_or_default()));
            }
            let words = table.get_mut("command").and_then(Value::as_array_mut).into_iter().flatten();
            for word in words {
                if word.as_str().is_some_and(|word| word.starts_with("./") || word.starts_with("../")) {
                    *word = join(word.as_str().unwrap_or_default());
                }
            }
        }
        _ => {}
    }
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure::new(2, format!("{}: {why}; correct the file", path.display()))
}
