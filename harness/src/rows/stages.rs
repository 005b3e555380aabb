//! What is done with rows between reading and writing: row by row on all cores, repetitions in order.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{BadRow, Batch, Problem, RowsError, Source, ahead::Ahead};
use crate::{
    near::{Jaccard, Near},
    recipe::Row,
};

/// 128 bits of the SHA-256 of a content: nobody finds two contents with one key.
pub type Key = u128;

/// Stages that rows go through one after the other.
///
/// What a stage does with a row depends on that row alone, but for [`Stages::distinct`] and [`Stages::unlike`], which keep
/// the first of several rows in the order of the files. So the same rows come through on any number of cores.
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

/// Changes a row, or says why it is left out.
type Each = Arc<dyn Fn(&mut Row) -> Result<(), String> + Send + Sync>;
type Function<T> = Arc<dyn Fn(&Row) -> T + Send + Sync>;

#[derive(Clone)]
enum What {
    Each(Each),
    Distinct(Function<Key>),
    Unlike(Function<String>, Jaccard, u64),
}

#[derive(Clone)]
struct Split {
    /// Where each part ends, as a share of all keys.
    ends: Vec<f64>,
    seed: u64,
    key: Function<Key>,
}

/// How many rows a stage let through.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Count {
    /// The stage.
    pub name: String,
    /// Rows that came to it.
    pub before: u64,
    /// Rows that it let through.
    pub after: u64,
}

/// A row that a stage left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The line on which it began.
    pub line: u64,
    /// The place of the stage among all.
    pub stage: usize,
    /// Why, where there is more to say than the stage's name.
    pub why: String,
    /// The row that it repeats: file and line.
    pub like: Option<(usize, u64)>,
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
    /// Rows that were left out: by the first stage, then by the second.
    pub left: Vec<Left>,
    /// Bytes of text or values that were read for them.
    pub bytes: u64,
    /// Bytes of the file that were read up to here.
    pub read: u64,
    came: u64,
    counts: Vec<(u64, u64)>,
    keys: Vec<Key>,
    texts: Vec<String>,
}

impl Stages {
    /// No stages: all rows come through as they are.
    pub fn new() -> Stages {
        Stages::default()
    }

    /// Changes every row.
    pub fn map(self, name: &str, change: impl Fn(&mut Row) + Send + Sync + 'static) -> Stages {
        self.each(name, move |row| {
            change(row);
            Ok(())
        })
    }

    /// Lets rows through that fit.
    pub fn filter(self, name: &str, fits: impl Fn(&Row) -> bool + Send + Sync + 'static) -> Stages {
        self.each(name, move |row| if fits(row) { Ok(()) } else { Err(String::new()) })
    }

    /// Changes every row, or leaves it out for a reason.
    pub fn each(self, name: &str, each: impl Fn(&mut Row) -> Result<(), String> + Send + Sync + 'static) -> Stages {
        self.stage(name, What::Each(Arc::new(each)))
    }

    /// Lets the first row of each key through. Some fifty bytes are kept for each.
    pub fn distinct(self, name: &str, key: impl Fn(&Row) -> Key + Send + Sync + 'static) -> Stages {
        self.stage(name, What::Distinct(Arc::new(key)))
    }

    /// Lets rows through whose text is not as much like that of an earlier one, see [`Near`] for what it misses and holds.
    pub fn unlike(
        self,
        name: &str,
        likeness: Jaccard,
        seed: u64,
        text: impl Fn(&Row) -> String + Send + Sync + 'static,
    ) -> Stages {
        self.stage(name, What::Unlike(Arc::new(text), likeness, seed))
    }

    fn stage(mut self, name: &str, what: What) -> Stages {
        self.stages.push(Stage { name: name.into(), what });
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
            let Some(turn) = leg.behind else { continue };
            let in_turn = InTurn { rows, stage: leg.from - 1, turn };
            let leg = Leg { behind: None, ..leg };
            rows = if leg.is_idle() { Box::new(in_turn) } else { Box::new(InOrder::new(in_turn, leg)) };
        }
        Flow { rows, names, counts, read: 0, bad: 0 }
    }

    /// The stages between those that need all rows in order.
    fn legs(self) -> Vec<Leg> {
        let mut legs = vec![Leg::default()];
        for (at, stage) in self.stages.into_iter().enumerate() {
            let Some(leg) = legs.last_mut() else { continue };
            let behind = match stage.what {
                What::Each(each) => {
                    leg.stages.push(each);
                    continue;
                }
                What::Distinct(key) => {
                    leg.asked = Some(Asked::Key(key));
                    Turn::Distinct(HashMap::default())
                }
                What::Unlike(text, likeness, seed) => {
                    leg.asked = Some(Asked::Text(text));
                    Turn::Unlike(Box::new(Near::new(likeness, seed)), Vec::new())
                }
            };
            legs.push(Leg { from: at + 1, behind: Some(behind), ..Leg::default() });
        }
        if let Some(leg) = legs.last_mut() {
            leg.split = self.split;
        }
        legs
    }
}

/// Stages that look at each row alone, what the one behind them asks for, and where they stand among all.
#[derive(Default)]
struct Leg {
    /// The stage before, which needs all rows in order.
    behind: Option<Turn>,
    from: usize,
    stages: Vec<Each>,
    asked: Option<Asked>,
    split: Option<Split>,
}

/// What a stage that needs all rows in order asks of each.
enum Asked {
    Key(Function<Key>),
    Text(Function<String>),
}

impl Leg {
    fn is_idle(&self) -> bool {
        self.stages.is_empty() && self.asked.is_none() && self.split.is_none()
    }

    fn apply(&self, mut passed: Passed) -> Passed {
        for (each, stage) in self.stages.iter().zip(self.from..) {
            passed.keep(stage, |row, _| each(row).map_err(|why| (why, None)));
        }
        match &self.asked {
            Some(Asked::Key(key)) => passed.keys = passed.rows.iter().map(|row| key(row)).collect(),
            Some(Asked::Text(text)) => passed.texts = passed.rows.iter().map(|row| text(row)).collect(),
            None => {}
        }
        passed.parts = match &self.split {
            Some(split) => passed.rows.iter().map(|row| split.part((split.key)(row))).collect(),
            None => vec![0; passed.rows.len()],
        };
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
        let Batch { file, rows, lines, bad, bytes, read } = batch;
        Passed { came: rows.len() as u64, file, rows, lines, bad, bytes, read, counts, ..Passed::default() }
    }

    /// Keeps the rows that a stage does not leave out; it sees them in order, with their places in the batch.
    fn keep(&mut self, stage: usize, mut each: impl FnMut(&mut Row, usize) -> Verdict) {
        let before = self.rows.len();
        let (mut fits, mut at) = (Vec::with_capacity(before), 0);
        self.rows.retain_mut(|row| {
            let verdict = each(row, at);
            fits.push(verdict.is_ok());
            if let Err((why, like)) = verdict {
                self.left.push(Left { line: self.lines[at], stage, why, like });
            }
            at += 1;
            fits[at - 1]
        });
        let mut fits = fits.into_iter();
        self.lines.retain(|_| fits.next() == Some(true));
        self.counts[stage] = (before as u64, self.rows.len() as u64);
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

/// Whether a row comes through; else why not, and which one it repeats.
type Verdict = Result<(), (String, Option<(usize, u64)>)>;

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

/// A stage that needs all rows in order.
struct InTurn<I> {
    rows: I,
    stage: usize,
    turn: Turn,
}

enum Turn {
    /// Where the first row of each key is.
    Distinct(HashMap<Key, (u32, u64), BuildHasherDefault<Even>>),
    /// Texts, and where each that came is.
    Unlike(Box<Near>, Vec<(u32, u64)>),
}

impl Turn {
    fn apply(&mut self, stage: usize, passed: &mut Passed) {
        let (file, lines) = (passed.file as u32, passed.lines.clone());
        let repeats = |place: (u32, u64)| Err((String::new(), Some((place.0 as usize, place.1))));
        match self {
            Turn::Distinct(seen) => {
                let keys = std::mem::take(&mut passed.keys);
                passed.keep(stage, |_, at| match seen.entry(keys[at]) {
                    Entry::Occupied(first) => repeats(*first.get()),
                    Entry::Vacant(free) => {
                        free.insert((file, lines[at]));
                        Ok(())
                    }
                });
            }
            Turn::Unlike(near, places) => {
                let like = near.add_all(&std::mem::take(&mut passed.texts));
                places.extend(lines.iter().map(|line| (file, *line)));
                passed.keep(stage, |_, at| like[at].map_or(Ok(()), |like| repeats(places[like])));
            }
        }
        passed.parts = vec![0; passed.rows.len()];
    }
}

impl<I: Iterator<Item = Result<Passed, RowsError>>> Iterator for InTurn<I> {
    type Item = Result<Passed, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut item = self.rows.next()?;
        if let Ok(passed) = &mut item {
            self.turn.apply(self.stage, passed);
        }
        Some(item)
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
