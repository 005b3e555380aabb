//! Rows that equal an earlier one.

use std::collections::{HashMap, hash_map::Entry};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::recipe::Row;

/// Rows seen so far, some 50 bytes for each different one.
#[derive(Debug, Default)]
pub struct Same {
    first: HashMap<Key, usize>,
    added: usize,
}

/// What equal rows have in common: half a SHA-256 of their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// Of a row, or of some of its columns. The order of columns and keys does not count; a missing cell differs from null.
    pub fn of(row: &Row, columns: Option<&[String]>) -> Key {
        let mut hasher = Sha256::new();
        let counts = |name: &str| columns.is_none_or(|columns| columns.iter().any(|column| column == name));
        object(row.iter().filter(|(name, _)| counts(name)), &mut hasher);
        let hash: [u8; 32] = hasher.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Key(key)
    }
}

impl Same {
    /// The number of the earlier row that this one equals, among all that were added.
    pub fn add(&mut self, key: Key) -> Option<usize> {
        let number = self.added;
        self.added += 1;
        match self.first.entry(key) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(number);
                None
            }
        }
    }
}

/// Every part is preceded by its kind and length, so that no two different values are the same bytes.
fn value(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(value) => hasher.update([b'b', u8::from(*value)]),
        Value::Number(number) => bytes(b'd', number.to_string().as_bytes(), hasher),
        Value::String(text) => bytes(b's', text.as_bytes(), hasher),
        Value::Array(values) => {
            bytes(b'a', &(values.len() as u64).to_be_bytes(), hasher);
            values.iter().for_each(|part| self::value(part, hasher));
        }
        Value::Object(map) => object(map.iter(), hasher),
    }
}

fn object<'a>(cells: impl Iterator<Item = (&'a String, &'a Value)>, hasher: &mut Sha256) {
    let mut cells: Vec<(&String, &Value)> = cells.collect();
    cells.sort_unstable_by_key(|(name, _)| *name);
    bytes(b'o', &(cells.len() as u64).to_be_bytes(), hasher);
    for (name, cell) in cells {
        bytes(b'k', name.as_bytes(), hasher);
        value(cell, hasher);
    }
}

fn bytes(kind: u8, bytes: &[u8], hasher: &mut Sha256) {
    hasher.update([kind]);
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn rows_are_equal_by_their_cells_in_any_order() {
        let rows = [
            json!({"a": "x", "b": {"c": 1, "d": [null]}}),
            json!({"b": {"d": [null], "c": 1}, "a": "x"}),
            json!({"a": "x", "b": {"c": 1.5, "d": [null]}}),
            json!({"a": "x", "b": {"c": 1, "d": [null, null]}}),
            json!({"a": "x"}),
            json!({"a": "x", "b": null}),
            json!({"a": "xb"}),
            json!({"a": "x"}),
        ];
        let mut same = Same::default();
        let got: Vec<_> = rows.into_iter().map(|value| same.add(Key::of(&row(value), None))).collect();
        assert_eq!(got, [None, Some(0), None, None, None, None, None, Some(4)]);
    }

    #[test]
    fn only_the_named_columns_count() {
        let columns = ["text".to_owned()];
        let key = |value| Key::of(&row(value), Some(&columns));
        assert_eq!(key(json!({"id": 1, "text": "hi"})), key(json!({"text": "hi", "id": 2})));
        assert_ne!(key(json!({"id": 1, "text": "hi"})), key(json!({"id": 1, "text": "Hi"})));
    }
}
