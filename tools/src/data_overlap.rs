//! Which rows of eval sets stand in training data: the worker's part of `tunesmith data overlap`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tunesmith_harness::{
    figures::bytes,
    overlap::{Evals, Found, Kind, Match, Place, Tally},
    recipe::Row,
    rows::{Bad, BadRow, Batch},
    text::truncate_middle,
};

use crate::{
    inputs::{Named, name, source},
    memory::{ALLOWANCE, bounded},
    worker::Live,
};

/// Most bytes of eval rows, which are held in memory.
const MOST_EVALS: u64 = 256 << 20;
/// Bytes that each of them takes, where words are short.
const EACH: u64 = 20;
/// Eval rows that the result shows; the file holds all.
const SHOWN: usize = 100;
/// Training rows that the result shows for each of them.
const SHOWN_PLACES: usize = 3;
/// Characters of an eval row that are shown.
const EXCERPT: usize = 160;

/// What to compare. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Training rows: files, folders or patterns.
    pub train: Vec<Named>,
    /// Eval rows: files, folders or patterns.
    pub against: Vec<Named>,
    /// The only column of the eval rows that counts.
    pub column: Option<String>,
    /// Where all eval rows that were found are written, as JSON lines.
    pub out: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Training rows.
    pub train_rows: usize,
    /// Lines of the training files that give no row.
    pub bad_lines: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad_line: Option<String>,
    /// Eval rows.
    pub eval_rows: usize,
    /// Eval rows that stand in training rows as they are.
    pub verbatim: usize,
    /// Eval rows that nearly stand in them, or in another form.
    pub near: usize,
    /// Eval rows of which about half stands in one.
    pub half: usize,
    /// Training rows that hold any of them.
    pub train_rows_matched: usize,
    /// The first eval rows that were found.
    pub found: Vec<EvalRow>,
    /// Where all of them are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// An eval row that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// Its file.
    pub file: String,
    /// The line on which it begins; the number of the row in a Parquet file.
    pub line: u64,
    /// How it stands where it stands most of all.
    pub kind: Kind,
    /// The share of its words that stands there.
    pub share: f64,
    /// What it says, cut.
    pub text: String,
    /// Training rows in which it stands.
    pub count: usize,
    /// The first of them.
    pub rows: Vec<TrainRow>,
}

/// A training row in which an eval row stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainRow {
    /// Its file.
    pub file: String,
    /// The line on which it begins; the number of the row in a Parquet file.
    pub line: u64,
    /// How the eval row stands there.
    pub kind: Kind,
    /// The share of its words that stands there.
    pub share: f64,
}

/// Where each eval row is, and what it says.
#[derive(Default)]
pub(crate) struct Places {
    files: Vec<String>,
    rows: Vec<(usize, u64, String)>,
}

/// What was found in the training rows of a batch.
struct Seen {
    file: usize,
    rows: usize,
    found: Vec<(u64, Vec<Match>)>,
    bad: Vec<BadRow>,
    read: u64,
}

impl Job {
    /// Looks for the eval rows in the training rows, which are read once and not held.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        bounded(ALLOWANCE + EACH * MOST_EVALS, || self.look_for(live))
    }

    fn look_for(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        let (evals, places) = evals(&self.against, self.column.as_deref())?;
        let source = source(&self.train, Bad::Quarantine)?;
        let names: Vec<String> = source.inputs.iter().map(|input| name(&self.train, input)).collect();
        let before: Vec<u64> =
            source.inputs.iter().scan(0, |sum, input| Some(std::mem::replace(sum, *sum + input.bytes))).collect();
        let total = source.inputs.iter().map(|input| input.bytes).sum::<u64>();
        let (mut tally, mut rows, mut bad, mut first_bad) = (Tally::default(), 0, 0, None);
        let evals = Arc::new(evals);
        for seen in source.map(move |batch| look(&evals, batch)) {
            let seen = seen?;
            rows += seen.rows;
            bad += seen.bad.len();
            first_bad =
                first_bad.or(seen.bad.into_iter().next().map(|bad| format!("{}: {}", names[seen.file], bad.why)));
            seen.found.iter().for_each(|(line, matches)| tally.add(seen.file, *line, matches));
            live.progress("looking for eval rows (bytes)", (before[seen.file] + seen.read) as usize, total as usize);
        }
        if rows == 0 {
            bail!("the training files hold no row; check what was named");
        }
        if let Some(out) = &self.out {
            write(out, tally.found.iter().map(|(row, found)| places.row(*row, found, &names, usize::MAX)))
                .context("the list cannot be written")?;
        }
        let shown = tally.found.iter().take(SHOWN);
        Ok(Output {
            train_rows: rows,
            bad_lines: bad,
            first_bad_line: first_bad,
            eval_rows: places.rows.len(),
            verbatim: tally.count(Kind::Verbatim),
            near: tally.count(Kind::Near),
            half: tally.count(Kind::Half),
            train_rows_matched: tally.matched,
            found: shown.map(|(row, found)| places.row(*row, found, &names, SHOWN_PLACES)).collect(),
            path: None,
        })
    }
}

/// The rows of eval sets, ready to be looked for, and where each is.
pub(crate) fn evals(against: &[Named], column: Option<&str>) -> anyhow::Result<(Evals, Places)> {
    let source = source(against, Bad::Refuse)?;
    let mut places = Places { files: source.inputs.iter().map(|input| name(against, input)).collect(), rows: vec![] };
    let mut sets: Vec<Vec<Row>> = vec![Vec::new(); source.inputs.len()];
    let mut held = 0;
    for batch in source.batches() {
        let batch = batch?;
        held += batch.bytes;
        if held > MOST_EVALS {
            bail!("the eval rows are more than the {} that are held; name fewer files", bytes(MOST_EVALS));
        }
        let excerpt = |row: &Row| excerpt(row, column);
        places.rows.extend(batch.rows.iter().zip(&batch.lines).map(|(row, line)| (batch.file, *line, excerpt(row))));
        sets[batch.file].extend(batch.rows);
    }
    if let Some(column) = column {
        let lacks = |rows: &Vec<Row>| !rows.is_empty() && rows.iter().all(|row| !row.contains_key(column));
        if let Some(file) = sets.iter().position(lacks) {
            let has: Vec<&str> = sets[file][0].keys().map(String::as_str).collect();
            bail!("{}: has no column {column:?}; it has {}", places.files[file], has.join(", "));
        }
    }
    let evals = Evals::new(sets.iter().map(Vec::as_slice), column);
    if evals.is_empty() {
        bail!(
            "the eval rows hold no text of three words or more to look for; name their column of texts with --column"
        );
    }
    Ok((evals, places))
}

impl Places {
    /// The file and line of an eval row, by its number among all.
    pub fn place(&self, row: usize) -> (&str, u64) {
        let (file, line, _) = &self.rows[row];
        (&self.files[*file], *line)
    }

    fn row(&self, row: usize, found: &Found, names: &[String], most: usize) -> EvalRow {
        let (file, line, text) = &self.rows[row];
        let place = |place: &Place| TrainRow {
            file: names[place.file].clone(),
            line: place.line,
            kind: place.kind,
            share: place.share,
        };
        // The place where most of it stands is always among those that are shown.
        let best = std::iter::once(&found.best);
        let others = found.places.iter().filter(|place| **place != found.best);
        EvalRow {
            file: self.files[*file].clone(),
            line: *line,
            kind: found.best.kind,
            share: found.best.share,
            text: text.clone(),
            count: found.count,
            rows: best.chain(others).take(most).map(place).collect(),
        }
    }
}

fn look(evals: &Evals, batch: Batch) -> Seen {
    let found = batch.rows.iter().zip(batch.lines).map(|(row, line)| (line, evals.find(row)));
    let found = found.filter(|(_, matches)| !matches.is_empty()).collect();
    Seen { file: batch.file, rows: batch.rows.len(), found, bad: batch.bad, read: batch.read }
}

/// The longest text of a row, or the text of a column.
fn excerpt(row: &Row, column: Option<&str>) -> String {
    let texts = row.iter().filter(|(name, _)| column.is_none_or(|column| column == *name));
    let texts = texts.map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    truncate_middle(&texts.max_by_key(String::len).unwrap_or_default(), EXCERPT).into_owned()
}

fn write(path: &Path, rows: impl Iterator<Item = EvalRow>) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for row in rows {
        writeln!(out, "{}", json!(row))?;
    }
    out.into_inner().map_err(|error| error.into_error())?.sync_data()
}
