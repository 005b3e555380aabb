//! The one pass over all rows: parts are counted where they were parsed, on all cores, and put together in the order of
//! the files, so that the result is the same on any number of cores.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use sha2::{Digest as _, Sha256};
use tunesmith_harness::rows::{self, Batch, Source};

use super::{
    column::{Cell, Tally},
    draw::{Bar, Draw, Drawn},
    sketch::{Distinct, Figure, Key},
};
use crate::worker::Live;

/// Columns that are described. Of more, those are whose names have the smallest hashes, and those with names that say what
/// they are for.
const MOST_COLUMNS: usize = 256;
/// Bytes of a column's name; with a longer one it is not described.
const LONGEST_NAME: usize = 500;
/// Different values that are kept of all columns together, and of one at most and at least.
const VALUES: (usize, usize, usize) = (1 << 21, 1 << 17, 1 << 13);
/// Different rows up to which exact duplicates are counted: a table of 88 MB, and half as much again while it grows.
const DIFFERENT_ROWS: usize = 3_670_016;
/// Bad rows and repeated rows whose place is kept.
const PLACES: usize = 20;

/// What the pass found.
pub(super) struct Pass {
    pub rows: usize,
    pub duplicates: Figure,
    /// Different rows, at least those of the sample.
    pub different: usize,
    pub columns: Vec<Tally>,
    pub columns_left_out: usize,
    /// Rows and bad rows of each file.
    pub files: Vec<(usize, usize)>,
    pub bad: Vec<rows::BadRow>,
    /// File and line of the first rows that repeat an earlier one.
    pub repeated: Vec<(usize, u64)>,
    pub sample: Vec<Drawn>,
    /// Rows that were too large to be drawn, at least.
    pub too_large: usize,
}

/// What was counted of one batch.
struct Part {
    file: usize,
    read: u64,
    columns: Columns,
    rows: Vec<Key>,
    lines: Vec<u64>,
    drawn: Vec<Drawn>,
    too_large: usize,
    bad: Vec<rows::BadRow>,
}

/// Reads everything.
pub(super) fn run(source: &Source, draw: Draw, live: &mut Live<'_>) -> anyhow::Result<Pass> {
    let sizes: Vec<u64> = source.inputs.iter().map(|input| input.bytes).collect();
    let before = |file: usize| sizes[..file].iter().sum::<u64>();
    let total = megabytes(before(sizes.len()));
    let (mut columns, mut distinct, mut draw) = (Columns::default(), Distinct::new(DIFFERENT_ROWS), draw);
    let (mut files, mut bad, mut repeated) = (vec![(0, 0); sizes.len()], Vec::new(), Vec::new());
    let mut too_large = 0;
    let bar = draw.bar();
    for part in source.map(move |batch| Part::of(batch, &bar)) {
        let part = part?;
        files[part.file].0 += part.rows.len();
        files[part.file].1 += part.bad.len();
        bad.extend(part.bad.into_iter().take(PLACES - bad.len().min(PLACES)));
        for (key, line) in part.rows.iter().zip(&part.lines) {
            if distinct.add(*key, 1) && repeated.len() < PLACES {
                repeated.push((part.file, *line));
            }
        }
        columns.merge(part.columns);
        too_large += part.too_large;
        part.drawn.into_iter().for_each(|row| draw.add(row));
        live.progress("MB of rows", megabytes(before(part.file) + part.read), total);
    }
    let rows = files.iter().map(|(rows, _)| rows).sum();
    let sample = draw.finish();
    let described = columns.list.len();
    Ok(Pass {
        rows,
        duplicates: distinct.repeats(rows as u64),
        different: (distinct.different().value as usize).clamp(sample.len(), rows.max(sample.len())),
        columns_left_out: (columns.names.different().value as usize).saturating_sub(described),
        columns: columns.list,
        files,
        bad,
        repeated,
        sample,
        too_large,
    })
}

fn megabytes(bytes: u64) -> usize {
    (bytes / 1_000_000) as usize
}

impl Part {
    fn of(batch: Batch, bar: &Arc<Bar>) -> Part {
        let mut columns = Columns::default();
        let mut keys = Vec::with_capacity(batch.rows.len());
        let (mut drawn, mut too_large, mut cells) = (Vec::new(), 0, Vec::new());
        for (row, line) in batch.rows.into_iter().zip(&batch.lines) {
            cells.clear();
            for (at, (name, value)) in row.iter().enumerate() {
                let cell = Cell::of(value);
                let column = columns.count(at, name, cell.as_ref());
                cells.extend(cell.filter(|cell| !cell.text.is_empty()).map(|cell| (column, cell.kind as u8, cell.key)));
            }
            let key = row_key(&mut cells);
            keys.push(key);
            let hash = bar.hash(key);
            if hash < bar.height.load(Ordering::Relaxed) {
                match Drawn::new(hash, batch.file, *line, row) {
                    Some(row) => drawn.push(row),
                    None => too_large += 1,
                }
            }
        }
        let Batch { file, read, lines, bad, .. } = batch;
        Part { file, read, columns, rows: keys, lines, drawn, too_large, bad }
    }
}

/// What a row is known by: its cells that hold something, in any order.
fn row_key(cells: &mut [(Key, u8, Key)]) -> Key {
    cells.sort_unstable_by_key(|(name, ..)| *name);
    let mut hasher = Sha256::new();
    for (name, kind, cell) in cells {
        hasher.update(name.bytes());
        hasher.update([*kind]);
        hasher.update(cell.bytes());
    }
    Key::end(hasher)
}

/// The columns in the order of first sight.
struct Columns {
    list: Vec<Tally>,
    places: HashMap<String, usize>,
    /// All names.
    names: Distinct,
    /// The rank and the place of the last column by rank, while it is known.
    last: Option<((bool, u64), usize)>,
}

impl Default for Columns {
    fn default() -> Self {
        Columns { list: Vec::new(), places: HashMap::new(), names: Distinct::new(VALUES.2), last: None }
    }
}

impl Columns {
    /// Counts a cell of the column that stands at `at` in its row; gives the key of the column's name.
    fn count(&mut self, at: usize, name: &str, cell: Option<&Cell<'_>>) -> Key {
        // Rows of one file have their columns in one order, nearly always.
        let place = match self.list.get(at) {
            Some(column) if column.name == name => Some(at),
            _ => self.places.get(name).copied(),
        };
        let (place, key) = match place {
            Some(place) => (Some(place), self.list[place].key),
            None => {
                let key = Key::of(name.as_bytes());
                (self.admit(name, key, |limit| Tally::new(name.to_owned(), key, limit)), key)
            }
        };
        if let Some(place) = place {
            self.list[place].add(cell);
        }
        key
    }

    /// Takes in a column that is not there, in the place of the last one where there are too many; `None` if that is this
    /// one.
    fn admit(&mut self, name: &str, key: Key, column: impl FnOnce(usize) -> Tally) -> Option<usize> {
        self.names.add(key, 1);
        if name.len() > LONGEST_NAME {
            return None;
        }
        if self.list.len() >= MOST_COLUMNS {
            let ranks = || self.list.iter().map(|column| rank(&column.name, column.key));
            let (last, place) = self.last.or_else(|| ranks().zip(0..).max())?;
            if last < rank(name, key) {
                self.last = Some((last, place));
                return None;
            }
            self.last = None;
            self.list.remove(place);
            self.places = self.list.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        }
        let limit = limit(self.list.len() + 1);
        self.places.insert(name.to_owned(), self.list.len());
        self.list.push(column(limit));
        self.list.iter_mut().for_each(|column| column.shrink(limit));
        Some(self.list.len() - 1)
    }

    fn merge(&mut self, other: Columns) {
        for column in other.list {
            match self.places.get(&column.name) {
                Some(place) => self.list[*place].merge(column),
                None => {
                    let (name, key) = (column.name.clone(), column.key);
                    self.admit(&name, key, |_| column);
                }
            }
        }
        self.names.merge(&other.names);
    }
}

/// Which columns are kept where there are too many: the smaller the better.
fn rank(name: &str, key: Key) -> (bool, u64) {
    (!super::propose::is_telling(name), key.number())
}

/// Different values that are kept of each of so many columns.
fn limit(columns: usize) -> usize {
    (VALUES.0 / columns).clamp(VALUES.2, VALUES.1)
}
