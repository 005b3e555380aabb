//! What is done with rows between reading and writing: row by row on all cores, repetitions in order.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{BadRow, Batch, Problem, RowsError, Source, ahead::Ahead};
use crate::recipe::Row;

/// 128 bits of the SHA-256 of a content: nobody finds two contents with one key.
pub type Key = u128;

/// Stages that rows go through one after the other.
///
/// What a stage does with a row depends on that row alone, but for [`Stages::distinct`], which keeps the first row of each
/// key in the order of the files. So the same rows come through on any number of cores.
#[derive(Clone, Default)]
pub struct Stages {
    stages: Vec<Stage>,
    split: Option<Split>,
}

#[derive(Clone)]
struct Stage {
    name: String,
    what: What,
}

type Function<T> = Arc<dyn Fn(&Row) -> T + Send + Sync>;

#[derive(Clone)]
enum What {
    Map(Arc<dyn Fn(&mut Row) + Send + Sync>),
    Filter(Function<bool>),
    Distinct(Function<Key>),
}

#[derive(Clone)]
struct Split {
    /// Where each part ends, as a share of all keys.
    ends: Vec<f64>,
    seed: u64,
    key: Function<Key>,
}

/// How many rows a stage let through.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The stage.
    pub name: String,
    /// Rows that came to it.
    pub before: u64,
    /// Rows that it let through.
    pub after: u64,
}

/// Rows that came through all stages, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passed {
    /// The file that they are from: its place among the source's inputs.
    pub file: usize,
    /// The rows.
    pub rows: Vec<Row>,
    /// The line on which each row began.
    pub lines: Vec<u64>,
    /// The part into which each row falls; 0 without a split.
    pub parts: Vec<usize>,
    /// What gave no row.
    pub bad: Vec<BadRow>,
    /// Bytes of the file that were read up to here.
    pub read: u64,
    came: u64,
    counts: Vec<(u64, u64)>,
    keys: Vec<Key>,
}

impl Stages {
    /// No stages: all rows come through as they are.
    pub fn new() -> Stages {
        Stages::default()
    }

    /// Changes every row.
    pub fn map(mut self, name: &str, change: impl Fn(&mut Row) + Send + Sync + 'static) -> Stages {
        self.stages.push(Stage { name: name.into(), what: What::Map(Arc::new(change)) });
        self
    }

    /// Lets rows through that fit.
    pub fn filter(mut self, name: &str, fits: impl Fn(&Row) -> bool + Send + Sync + 'static) -> Stages {
        self.stages.push(Stage { name: name.into(), what: What::Filter(Arc::new(fits)) });
        self
    }

    /// Lets the first row of each key through. Sixteen bytes are kept for each.
    pub fn distinct(mut self, name: &str, key: impl Fn(&Row) -> Key + Send + Sync + 'static) -> Stages {
        self.stages.push(Stage { name: name.into(), what: What::Distinct(Arc::new(key)) });
        self
    }

    /// Divides the rows that come through into parts of these shares of all, by their keys and a seed: rows of one key
    /// stand in one part, whatever else is in the files and in whatever order.
    pub fn split(mut self, shares: &[f64], seed: u64, key: impl Fn(&Row) -> Key + Send + Sync + 'static) -> Stages {
        let total: f64 = shares.iter().sum();
        let ends = shares.iter().scan(0.0, |sum, share| {
            *sum += share / total;
            Some(*sum)
        });
        self.split = Some(Split { ends: ends.collect(), seed, key: Arc::new(key) });
        self
    }

    /// Sends the rows of a source through.
    pub fn run(self, source: &Source) -> Flow {
        let names: Vec<String> = self.stages.iter().map(|stage| stage.name.clone()).collect();
        let counts = vec![(0, 0); names.len()];
        let mut legs = self.legs();
        let (first, empty) = (legs.remove(0), counts.clone());
        let mut rows: Inner = Box::new(source.map(move |batch| first.apply(Passed::new(batch, empty.clone()))));
        for leg in legs {
            let distinct = Distinct { rows, stage: leg.from - 1, seen: HashSet::default() };
            rows = if leg.is_idle() { Box::new(distinct) } else { Box::new(InOrder::new(distinct, leg)) };
        }
        Flow { rows, names, counts, read: 0, bad: 0 }
    }

    /// The stages between those that need all rows in order.
    fn legs(self) -> Vec<Leg> {
        let mut legs = vec![Leg { from: 0, stages: Vec::new(), key: None, split: None }];
        for (at, stage) in self.stages.into_iter().enumerate() {
            let Some(leg) = legs.last_mut() else { continue };
            match stage.what {
                What::Distinct(key) => {
                    leg.key = Some(key);
                    legs.push(Leg { from: at + 1, stages: Vec::new(), key: None, split: None });
                }
                what => leg.stages.push(what),
            }
        }
        if let Some(leg) = legs.last_mut() {
            leg.split = self.split;
        }
        legs
    }
}

/// Stages that look at each row alone, what the one behind them asks for, and where they stand among all.
struct Leg {
    from: usize,
    stages: Vec<What>,
    key: Option<Function<Key>>,
    split: Option<Split>,
}

impl Leg {
    fn is_idle(&self) -> bool {
        self.stages.is_empty() && self.key.is_none() && self.split.is_none()
    }

    fn apply(&self, mut passed: Passed) -> Passed {
        for (stage, at) in self.stages.iter().zip(self.from..) {
            let before = passed.rows.len() as u64;
            match stage {
                What::Map(change) => passed.rows.iter_mut().for_each(|row| change(row)),
                What::Filter(fits) => passed.keep(|row, _| fits(row)),
                What::Distinct(_) => {}
            }
            passed.counts[at] = (before, passed.rows.len() as u64);
        }
        if let Some(key) = &self.key {
            passed.keys = passed.rows.iter().map(|row| key(row)).collect();
        }
        if let Some(split) = &self.split {
            passed.parts = passed.rows.iter().map(|row| split.part((split.key)(row))).collect();
        } else if self.key.is_none() {
            passed.parts = vec![0; passed.rows.len()];
        }
        passed
    }
}

impl Split {
    fn part(&self, key: Key) -> usize {
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(key.to_le_bytes()).finalize();
        let place = u64::from_le_bytes(first(&digest)) as f64 / 2f64.powi(64);
        self.ends.iter().position(|end| place < *end).unwrap_or(self.ends.len().saturating_sub(1))
    }
}

fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| digest[at])
}

impl Passed {
    fn new(batch: Batch, counts: Vec<(u64, u64)>) -> Passed {
        let Batch { file, rows, lines, bad, read, .. } = batch;
        Passed { came: rows.len() as u64, file, rows, lines, bad, read, counts, ..Passed::default() }
    }

    /// Keeps the rows that fit, by themselves and their places.
    fn keep(&mut self, mut fits: impl FnMut(&Row, usize) -> bool) {
        let fitting: Vec<bool> = self.rows.iter().enumerate().map(|(at, row)| fits(row, at)).collect();
        let (mut row, mut line) = (fitting.iter(), fitting.iter());
        self.rows.retain(|_| row.next() == Some(&true));
        self.lines.retain(|_| line.next() == Some(&true));
    }

    /// The rows of each of so many parts.
    pub fn divided(self, parts: usize) -> Vec<Vec<Row>> {
        let mut divided = vec![Vec::new(); parts];
        for (row, part) in self.rows.into_iter().zip(self.parts) {
            divided[part].push(row);
        }
        divided
    }
}

type Inner = Box<dyn Iterator<Item = Result<Passed, RowsError>> + Send>;

/// Rows on their way through stages, and how many went through each so far.
pub struct Flow {
    rows: Inner,
    names: Vec<String>,
    counts: Vec<(u64, u64)>,
    /// Rows that were read.
    pub read: u64,
    /// Lines that gave no row.
    pub bad: u64,
}

impl Flow {
    /// How many rows came to each stage and through it.
    pub fn counts(&self) -> Vec<Count> {
        let count = |(name, (before, after)): (&String, &(u64, u64))| Count {
            name: name.clone(),
            before: *before,
            after: *after,
        };
        self.names.iter().zip(&self.counts).map(count).collect()
    }
}

impl Iterator for Flow {
    type Item = Result<Passed, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.rows.next()?;
        if let Ok(passed) = &item {
            self.read += passed.came;
            self.bad += passed.bad.len() as u64;
            for (sum, count) in self.counts.iter_mut().zip(&passed.counts) {
                *sum = (sum.0 + count.0, sum.1 + count.1);
            }
        }
        Some(item)
    }
}

/// Drops rows whose key an earlier one had.
struct Distinct<I> {
    rows: I,
    stage: usize,
    seen: HashSet<Key, BuildHasherDefault<Even>>,
}

impl<I: Iterator<Item = Result<Passed, RowsError>>> Iterator for Distinct<I> {
    type Item = Result<Passed, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.rows.next()?.map(|mut passed| {
            let (before, keys) = (passed.rows.len() as u64, std::mem::take(&mut passed.keys));
            passed.keep(|_, at| self.seen.insert(keys[at]));
            passed.counts[self.stage] = (before, passed.rows.len() as u64);
            passed.parts = vec![0; passed.rows.len()];
            passed
        }))
    }
}

/// Keys are evenly spread already.
#[derive(Default)]
struct Even(u64);

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

/// Sends what comes through more stages, on all cores.
struct InOrder<I> {
    rows: I,
    leg: Arc<Leg>,
    ahead: Ahead<Result<Passed, RowsError>>,
}

impl<I> InOrder<I> {
    fn new(rows: I, leg: Leg) -> InOrder<I> {
        InOrder { rows, leg: Arc::new(leg), ahead: Ahead::new() }
    }
}

impl<I: Iterator<Item = Result<Passed, RowsError>>> Iterator for InOrder<I> {
    type Item = Result<Passed, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ahead.is_full()
            && let Some(passed) = self.rows.next()
        {
            let leg = self.leg.clone();
            // Of the size of a batch, which was worked on before in the same way.
            self.ahead.ask(0, move || passed.map(|passed| leg.apply(passed)));
        }
        let broke_down = || Err(RowsError { path: std::path::PathBuf::new(), problem: Problem::Panicked });
        self.ahead.wait().map(|item| item.unwrap_or_else(broke_down))
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
