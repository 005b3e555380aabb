//! Typed reading of the fields of a `config.json` that nobody has checked.

use serde_json::{Map, Value};

use super::LARGEST;
use crate::error::{Error, Result};

/// The fields of a config, or of an object inside it. Null means the same as absent unless a method says otherwise.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    /// A whole number that must be there.
    pub(super) fn required(&self, name: &str) -> Result<usize> {
        self.size(name)?.ok_or_else(|| Error::Config(format!("{name} is missing from config.json")))
    }

    /// A whole number.
    pub(super) fn size(&self, name: &str) -> Result<Option<usize>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if n <= LARGEST => Ok(Some(n as usize)),
                _ => Err(Error::Config(format!(
                    "{name} is {}, it must be a whole number up to {LARGEST}",
                    short(&value.to_string())
                ))),
            },
        }
    }

    /// A whole number that has a default when it is absent, but none when it is null.
    pub(super) fn size_or(&self, name: &str, default: Option<usize>) -> Result<Option<usize>> {
        if self.0.contains_key(name) { self.size(name) } else { Ok(default) }
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| Error::Config(format!("{name} is {}, it must be a number", short(&value.to_string())))),
        }
    }

    /// True or false; false when it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => {
                Err(Error::Config(format!("{name} is {}, it must be true or false", short(&value.to_string()))))
            }
        }
    }

    /// The error for a field whose value this decoder does not compute.
    pub(super) fn refuse<T>(&self, name: &str, value: &Value) -> Result<T> {
        Err(Error::Config(format!("{name} = {} is not supported, use a base without it", short(&value.to_string()))))
    }
}

/// Names in messages come from files that nobody has checked, so they are cut and escaped.
pub(super) fn short(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

/// Token ids may be one number, a list of them, or null. Negative ids mean none, as in older configs.
pub(crate) fn token_ids(map: &Map<String, Value>, name: &str) -> Result<Vec<u32>> {
    let one = |value: &Value| match value.as_i64() {
        Some(id) if id < 0 => Ok(None),
        Some(id) => u32::try_from(id).map(Some).map_err(|_| ()),
        None => Err(()),
    };
    let ids: Result<Vec<Option<u32>>, ()> = match map.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => one(value).map(|id| vec![id]),
    };
    match ids {
        Ok(ids) => Ok(ids.into_iter().flatten().collect()),
        Err(()) => Err(Error::Config(format!("{name} must be a token id or a list of them"))),
    }
}
