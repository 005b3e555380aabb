//! What tells rows apart, and into which part each falls.

use std::hash::Hasher;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Function;
use crate::recipe::Row;

/// 128 bits of the SHA-256 of a content: nobody finds two contents with one key.
pub type Key = u128;

/// Parts by keys.
#[derive(Clone)]
pub(super) struct Split {
    /// Where each part ends, as a share of all keys.
    pub ends: Vec<f64>,
    /// Another seed divides otherwise.
    pub seed: u64,
    /// The key of a row.
    pub key: Function<Key>,
}

impl Split {
    /// The part of all rows with a key.
    pub fn part(&self, key: Key) -> usize {
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(key.to_le_bytes()).finalize();
        let place = u64::from_le_bytes(first(&digest)) as f64 / 2f64.powi(64);
        self.ends.iter().position(|end| place < *end).unwrap_or(self.ends.len().saturating_sub(1))
    }
}

/// The key of a row's content in some columns, or in all: the order of its keys does not matter, all else does.
pub fn key(row: &Row, columns: &[String]) -> Key {
    let mut hash = Sha256::new();
    if columns.is_empty() {
        object(row, &mut hash);
    } else {
        columns.iter().for_each(|column| feed(row.get(column).unwrap_or(&Value::Null), &mut hash));
    }
    u128::from_le_bytes(first(&hash.finalize()))
}

/// Feeds a value so that no two values feed the same bytes.
fn feed(value: &Value, hash: &mut Sha256) {
    let mut text = |kind: u8, text: &str| {
        hash.update([kind]);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    match value {
        Value::Null => text(b'n', ""),
        Value::Bool(true) => text(b't', ""),
        Value::Bool(false) => text(b'f', ""),
        Value::Number(number) => text(b'0', &number.to_string()),
        Value::String(string) => text(b'"', string),
        Value::Array(items) => {
            hash.update([b'[']);
            hash.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(item, hash));
        }
        Value::Object(row) => object(row, hash),
    }
}

fn object(row: &Row, hash: &mut Sha256) {
    let mut entries: Vec<(&String, &Value)> = row.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    hash.update([b'{']);
    hash.update((entries.len() as u64).to_le_bytes());
    for (name, value) in entries {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        feed(value, hash);
    }
}

/// The first bytes of a digest.
fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| digest[at])
}

/// Keys are evenly spread already.
#[derive(Default)]
pub(super) struct Even(u64);

impl Hasher for Even {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().rev().fold(self.0, |sum, &byte| sum << 8 | u64::from(byte));
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
