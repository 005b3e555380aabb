//! Native ports of the Python functions that task files name.
//!
//! A port stands for one text of one function: it is found by the function's name and the hash of its source, so that a
//! task file with a changed function is refused instead of evaluated by something else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{config::Function, filters::Answer, metrics::Item, python::source::function_source, request::Doc};
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
    /// `fewshot_config.samples`: rows of its own.
    Samples(fn() -> Vec<Doc>),
}

/// The ports that a program has.
#[derive(Clone, Debug, Default)]
pub struct Functions(BTreeMap<(String, String), Port>);

impl Functions {
    /// Adds the port of the function `name` whose source, as `inspect.getsource` gives it, has this SHA-256.
    pub fn add(&mut self, name: &str, source_sha256: &str, port: Port) {
        self.0.insert((name.to_string(), source_sha256.to_string()), port);
    }

    /// The port of a function, whose file is read for its hash.
    pub(super) fn port(&self, function: &Function) -> Result<Port, String> {
        let (name, file) = (&function.name, function.file.display());
        let read = |e: &dyn std::fmt::Display| {
            format!("names the Python function `{name}` of {file}, which cannot be read: {e}")
        };
        if let Some(what) = not_a_file(&function.file) {
            return Err(read(&format!("it {what}")));
        }
        let length = std::fs::metadata(&function.file).map_err(|e| read(&e))?.len();
        if length > LONGEST_FILE {
            return Err(read(&"the file is too long"));
        }
        let text = std::fs::read_to_string(&function.file).map_err(|e| read(&e))?;
        let Some(source) = function_source(&text, name) else {
            return Err(format!("names the Python function `{name}`, which {file} does not define"));
        };
        let hash = sha256(source.as_bytes());
        self.0.get(&(name.clone(), hash.clone())).copied().ok_or_else(|| {
            format!("needs the Python function `{name}` of {file} (source {hash}), which has no native port; use a task without it")
        })
    }
}
