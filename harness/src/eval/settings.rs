//! Reads the settings of a filter or metric from the map in which a task file writes them.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Settings that are taken one by one, so that what is left is unknown.
pub(crate) struct Settings {
    what: String,
    left: Map<String, Value>,
}

impl Settings {
    pub(crate) fn new(what: &str, settings: &Value) -> Result<Self, Refusal> {
        match settings {
            Value::Object(left) => Ok(Self { what: what.into(), left: left.clone() }),
            _ => Err(Refusal::setting(what, "an entry must be a map")),
        }
    }

    /// Puts the entry's own name into the messages that follow.
    pub(crate) fn called(mut self, what: String) -> Self {
        self.what = what;
        self
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.left.shift_remove(key)
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Refusal> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            // Python iterates over a text by character, which nobody means.
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                texts.map(Some).ok_or_else(|| self.wrong(key, "a list of texts"))
            }
            Some(_) => Err(self.wrong(key, "a list of texts")),
        }
    }

    pub(crate) fn flag(&mut self, key: &str, default: bool) -> Result<bool, Refusal> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(crate) fn whole(&mut self, key: &str) -> Result<Option<i64>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wrong(key, "a whole number")),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn end(self) -> Result<(), Refusal> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(Refusal::setting(self.what, format!("the setting `{key}` is not known"))),
        }
    }

    pub(crate) fn wrong(&self, key: &str, expected: &str) -> Refusal {
        Refusal::setting(&self.what, format!("`{key}` must be {expected}"))
    }
}

/// The name in `value`, or a refusal where a Python function stands instead.
pub(crate) fn name(what: &'static str, value: Option<Value>) -> Result<String, Refusal> {
    match value {
        Some(Value::String(name)) => Ok(name),
        Some(Value::Object(map)) if map.contains_key("!function") => {
            let function = map["!function"].get("name").and_then(Value::as_str).unwrap_or("without a name");
            Err(Refusal::Function { what, name: function.into() })
        }
        _ => Err(Refusal::setting(what, "an entry needs a name")),
    }
}
