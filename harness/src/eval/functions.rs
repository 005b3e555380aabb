//! Native ports of the Python functions that task files name.
//!
//! A port stands for one text of one function: it is found by the function's name and the hash of its source, so that a
//! task file with a changed function is refused instead of evaluated by something else. What the function calls in its
//! file has hashes, too.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{
    config::Function,
    filters::Answer,
    metrics::{Aggregation, Item},
    ports,
    python::source::function_source,
    request::Doc,
};
use crate::{hash::sha256, rows::not_a_file};

/// Longest Python file that is read.
const LONGEST_FILE: u64 = 4 << 20;

/// Values of metrics from a row and the filtered answers to its requests.
pub type ResultsPort = fn(&Doc, &[Answer]) -> Result<Items, String>;

/// Metrics by name, with what each says about a row.
pub type Items = Vec<(String, Item)>;

/// A native port, by what lm-eval calls it for.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// `process_docs`: the rows of a split, changed.
    Docs(fn(Vec<Doc>) -> Result<Vec<Doc>, String>),
    /// `doc_to_text`, `doc_to_target` or `doc_to_choice`: a value from a row.
    Doc(fn(&Doc) -> Result<Value, String>),
    /// `process_results`: the values of metrics from a row and the filtered answers to its requests.
    Results(ResultsPort),
    /// The same, and why it cannot judge a row, whatever is answered.
    CheckedResults(ResultsPort, fn(&Doc) -> Result<(), String>),
    /// `fewshot_config.samples`: rows of its own.
    Samples(fn() -> Vec<Doc>),
    /// `aggregation` of a metric: how the values of all rows become one.
    Aggregation(Aggregation),
}

/// A port with the sources that it stands for, by their SHA-256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Native {
    /// The function's name.
    pub name: &'static str,
    /// Its source, as `inspect.getsource` gives it.
    pub sha256: &'static str,
    /// What it calls in its file: names with their sources, of what is no function the line that binds the name. A name
    /// that ends in `.py` is a file beside, which is held against its hash where it is there.
    pub helpers: &'static [(&'static str, &'static str)],
    /// What does its work.
    pub port: Port,
}

/// What a port's helpers must be: names and hashes.
type Helpers = Vec<(String, String)>;

/// The ports that a program has.
#[derive(Clone, Debug, Default)]
pub struct Functions(BTreeMap<(String, String), Vec<(Helpers, Port)>>);

impl Functions {
    /// All ports there are.
    pub fn native() -> Self {
        let mut functions = Self::default();
        for native in ports::all() {
            let helpers = native.helpers.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect();
            functions.insert(native.name, native.sha256, helpers, native.port);
        }
        functions
    }

    /// Adds the port of the function `name` whose source, as `inspect.getsource` gives it, has this SHA-256.
    pub fn add(&mut self, name: &str, source_sha256: &str, port: Port) {
        self.insert(name, source_sha256, Helpers::new(), port);
    }

    fn insert(&mut self, name: &str, source_sha256: &str, helpers: Helpers, port: Port) {
        self.0.entry((name.to_owned(), source_sha256.to_owned())).or_default().push((helpers, port));
    }

    /// The port of a function, whose file is read for the hashes of its sources; or why there is none.
    pub fn port(&self, function: &Function) -> Result<Port, String> {
        let (name, file) = (&function.name, function.file.display());
        let read = |e: &String| format!("names the Python function `{name}` of {file}, which cannot be read: {e}");
        let text = file_text(&function.file).map_err(|e| read(&e))?;
        let Some(source) = bound_source(&text, name) else {
            return Err(format!(
                "names the Python function `{name}`, which {file} does not define with `def` or on one line"
            ));
        };
        let hash = sha256(source.as_bytes());
        let ports = self.0.get(&(name.clone(), hash.clone())).ok_or_else(|| {
            format!("needs the Python function `{name}` of {file} (source {hash}), which has no native port; use a task without it")
        })?;
        let same = |(name, hash): &(String, String)| {
            let beside = function.file.with_file_name(name);
            match name.ends_with(".py") {
                true => !beside.exists() || file_text(&beside).is_ok_and(|text| sha256(text.as_bytes()) == *hash),
                false => bound_source(&text, name).is_some_and(|source| sha256(source.as_bytes()) == *hash),
            }
        };
        let found = ports.iter().find(|(helpers, _)| helpers.iter().all(same));
        let Some((_, port)) = found else {
            let helpers = ports.iter().flat_map(|(helpers, _)| helpers).filter(|helper| !same(helper));
            let names: BTreeSet<&str> = helpers.map(|(name, _)| name.as_str()).collect();
            let names = names.into_iter().collect::<Vec<_>>().join("`, `");
            return Err(format!(
                "needs the Python function `{name}` of {file}, whose native port is for another `{names}`; use a task without it"
            ));
        };
        Ok(*port)
    }
}

/// The text of a Python file of a bounded size.
fn file_text(path: &Path) -> Result<String, String> {
    if let Some(what) = not_a_file(path) {
        return Err(format!("it {what}"));
    }
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > LONGEST_FILE {
        return Err("the file is too long".into());
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// The source of a function, or else the line that binds the name outside of all functions.
fn bound_source<'a>(file: &'a str, name: &str) -> Option<Cow<'a, str>> {
    if let Some(source) = function_source(file, name) {
        return Some(source.into());
    }
    let binds = |line: &&str| {
        let import = line
            .strip_prefix("import ")
            .or_else(|| line.strip_prefix("from ")?.split_once(" import ").map(|(_, names)| names));
        import.map(str::trim) == Some(name)
            || line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    file.lines().rfind(binds).map(Cow::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_port_is_for_one_source_of_what_its_function_calls() {
        let own = "def process_docs(rows):\n    return clean(rows, LIMIT)\n";
        let clean = "def clean(rows, limit):\n    return rows[:limit]\n";
        let hashed = |name: &str, source: &str| (name.to_owned(), sha256(source.as_bytes()));
        let mut functions = Functions::default();
        let mut helpers = vec![hashed("clean", clean), hashed("LIMIT", "LIMIT = 3"), hashed("re", "import re")];
        helpers.push(hashed("rules.py", "RULES = 1\n"));
        functions.insert("process_docs", &sha256(own.as_bytes()), helpers, Port::Docs(Ok));
        let folder = tempfile::tempdir().unwrap();
        let function = Function { file: folder.path().join("utils.py"), name: "process_docs".into() };
        let found = |file: String| {
            std::fs::write(&function.file, file).unwrap();
            functions.port(&function).map(|_| ()).map_err(|why| why.split(" is for ").last().unwrap().to_owned())
        };
        let same = format!("import re\nLIMIT = 3\n\n\n{clean}\n\n{own}");
        assert_eq!(found(same.clone()), Ok(()));
        for (beside, expected) in
            [("RULES = 1\n", Ok(())), ("RULES = 2\n", Err("another `rules.py`; use a task without it".into()))]
        {
            std::fs::write(folder.path().join("rules.py"), beside).unwrap();
            assert_eq!(found(same.clone()), expected);
        }
        std::fs::remove_file(folder.path().join("rules.py")).unwrap();
        assert_eq!(found(same.replace("= 3", "= 4")), Err("another `LIMIT`; use a task without it".into()));
        assert_eq!(found(same.replace("import re\n", "")), Err("another `re`; use a task without it".into()));
        let both = same.replace("[:limit]", "[limit:]").replace("LIMIT = 3", "LIMIT = 3\nLIMIT = 5");
        assert_eq!(found(both), Err("another `LIMIT`, `clean`; use a task without it".into()));
    }
}
