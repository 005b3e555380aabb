//! Drawing a sample of different rows: those with the smallest hashes of the seed and their content, so that neither the
//! order of the rows nor the number of threads has a say, and a row that repeats is drawn once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tunesmith_harness::recipe::Row;

use super::sketch::Key;

/// Memory that the rows of a sample may take, about.
const BYTES: usize = 96 << 20;
/// A larger row is never drawn.
pub(super) const ROW_BYTES: usize = 1 << 20;
/// What a value takes beside its text, about.
const VALUE_BYTES: usize = 100;

/// A row that was drawn, and where it stands first.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub hash: u64,
    pub file: usize,
    pub line: u64,
    pub row: Row,
    bytes: usize,
}

impl Drawn {
    /// The row with its place, unless it is too large.
    pub fn new(hash: u64, file: usize, line: u64, row: Row) -> Option<Drawn> {
        let bytes = row.iter().map(|(name, value)| name.len() + size(value)).sum();
        (bytes <= ROW_BYTES).then_some(Drawn { hash, file, line, row, bytes })
    }
}

fn size(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
            _ => 0,
        }
}

/// How rows are hashed, and the height that a hash must stay below to be drawn.
pub(super) struct Bar {
    seed: u64,
    /// Falls while rows are drawn. Read from other threads it may be an older one, which only draws too many.
    pub height: AtomicU64,
}

impl Bar {
    /// The hash by which a row is drawn.
    pub fn hash(&self, row: Key) -> u64 {
        let mut hasher = Sha256::new_with_prefix(b"tunesmith.sample.1\0");
        hasher.update(self.seed.to_le_bytes());
        hasher.update(row.bytes());
        Key::end(hasher).number()
    }
}

/// The rows drawn so far.
pub(super) struct Draw {
    kept: BTreeMap<u64, Drawn>,
    bytes: usize,
    rows: usize,
    bar: Arc<Bar>,
}

impl Draw {
    /// At most `rows` rows.
    pub fn new(rows: usize, seed: u64) -> Draw {
        let height = AtomicU64::new(if rows == 0 { 0 } else { u64::MAX });
        Draw { kept: BTreeMap::new(), bytes: 0, rows, bar: Arc::new(Bar { seed, height }) }
    }

    pub fn bar(&self) -> Arc<Bar> {
        self.bar.clone()
    }

    /// Takes a row, unless it is there already or not among the first. Rows come in the order of the files.
    pub fn add(&mut self, row: Drawn) {
        if row.hash >= self.bar.height.load(Ordering::Relaxed) || self.kept.contains_key(&row.hash) {
            return;
        }
        self.bytes += row.bytes;
        self.kept.insert(row.hash, row);
        // Whoever is left out bars all behind it, so that the sample is the same whichever came first.
        while (self.kept.len() > self.rows || self.bytes > BYTES)
            && let Some((hash, row)) = self.kept.pop_last()
        {
            self.bytes -= row.bytes;
            self.bar.height.store(hash, Ordering::Relaxed);
        }
    }

    /// The rows in the order of their hashes: the first of them are a smaller sample.
    pub fn finish(self) -> Vec<Drawn> {
        self.kept.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn row(n: u64, bytes: usize) -> Drawn {
        let row = json!({"n": n, "text": "x".repeat(bytes)}).as_object().unwrap().clone();
        Drawn::new(Bar { seed: 7, height: AtomicU64::new(0) }.hash(Key::of(&n.to_le_bytes())), 0, n, row).unwrap()
    }

    fn drawn(rows: impl Iterator<Item = Drawn>, most: usize) -> Vec<u64> {
        let mut draw = Draw::new(most, 7);
        rows.for_each(|row| draw.add(row));
        draw.finish().iter().map(|row| row.line).collect()
    }

    #[test]
    fn the_order_of_the_rows_has_no_say_and_repeats_count_once() {
        let rows = || (0..500).map(|n| row(n, 9));
        let want = drawn(rows(), 50);
        assert_eq!(want.len(), 50);
        assert_eq!(drawn(rows().rev().chain(rows()), 50), want);
        assert_eq!(drawn(rows(), 20), want[..20]);
        assert_eq!(drawn(rows(), 0), [0; 0]);
    }

    #[test]
    fn large_rows_make_a_smaller_sample_and_no_larger_one() {
        let rows = || (0..300).map(|n| row(n, 1_000 * (n as usize % 1_000)));
        let want = drawn(rows(), 1_000);
        assert_eq!(drawn(rows().rev(), 1_000), want);
        let long = (0..200).map(|n| row(n, 1_000_000));
        assert_eq!(drawn(long, 1_000).len(), BYTES / 1_000_209);
        let huge = json!({"text": "x".repeat(ROW_BYTES)}).as_object().unwrap().clone();
        assert!(Drawn::new(0, 0, 1, huge).is_none());
    }
}
