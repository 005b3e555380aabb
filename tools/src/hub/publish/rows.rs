//! Files of rows before they are sent, read in a worker: a job may have made them, and Parquet is much to parse.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    overlap::Search,
    recipe::{Recipe, Row},
    rows::{self, Compression, Format, Input, Reading, RowsError, Source},
    task::JobKind,
};

/// Largest JSON file that is looked at whole because it is no list of rows.
const DOCUMENT: u64 = 64 << 20;

/// What the worker reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The files, absolute.
    pub files: Vec<PathBuf>,
    /// A directory for the texts of files that are no plain text.
    pub texts: PathBuf,
    /// The run that they came from.
    pub run: Option<Origin>,
}

/// The rows of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Its sealed rows.
    pub sealed: PathBuf,
    /// Its open rows.
    pub open: PathBuf,
    /// How they became examples, where that is known.
    pub recipe: Option<Recipe>,
}

/// What the worker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// One for each file.
    pub files: Vec<Looked>,
    /// How many sealed rows the run has; `None` without a run.
    pub sealed: Option<usize>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Its rows; `None` for JSON that is no list of rows.
    pub rows: Option<usize>,
    /// Whether its rows were written out, to be looked at as text: keys are known outside of the worker only.
    pub unpacked: bool,
}

impl Job {
    /// What the worker must be allowed to read.
    pub fn reads(&self) -> Vec<PathBuf> {
        let run = self.run.iter().flat_map(|run| [run.sealed.clone(), run.open.clone()]);
        self.files.iter().cloned().chain(run.filter(|path| path.exists())).collect()
    }

    /// Counts the rows, and writes those out that cannot be looked at as they are. A sealed row anywhere is an error.
    pub fn run(&self) -> anyhow::Result<Output> {
        let mut sealed = self.run.as_ref().map(search).transpose()?;
        let mut see = |row: &Value| sealed.iter_mut().for_each(|(search, _)| search.see(row));
        let mut files = Vec::new();
        for (n, path) in self.files.iter().enumerate() {
            files.push(look(path, &texts(&self.texts, n), &mut see)?);
        }
        let Some((search, all)) = sealed else { return Ok(Output { files, sealed: None }) };
        match search.found().seen().len() {
            0 => Ok(Output { files, sealed: Some(all) }),
            seen => {
                bail!("{seen} of the {all} sealed rows of the run are in it, which are never published; take them out")
            }
        }
    }
}

/// Where the rows of the `n`th file are written out.
pub fn texts(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("{n}.jsonl"))
}

fn look(path: &Path, texts: &Path, see: &mut dyn FnMut(&Value)) -> anyhow::Result<Looked> {
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let source = match Source::file(path, &Reading::default()) {
        Err(error) if is_json => return document(path, error, see),
        source => source?,
    };
    let input = &source.inputs[0];
    if !input.left_out.is_empty() {
        let columns = input.left_out.join(", ");
        bail!("{}: has columns of bytes ({columns}), which cannot be looked at; leave them out", path.display());
    }
    let cannot = || format!("{} cannot be written", texts.display());
    let mut out = if is_plain(input) { None } else { Some(BufWriter::new(File::create(texts).with_context(cannot)?)) };
    let mut rows = 0;
    for batch in source.batches() {
        let batch = batch?.rows;
        rows += batch.len();
        for row in batch.into_iter().map(Value::Object) {
            see(&row);
            if let Some(out) = &mut out {
                writeln!(out, "{row}").with_context(cannot)?;
            }
        }
    }
    if let Some(out) = &mut out {
        out.flush().with_context(cannot)?;
    }
    match rows {
        0 => bail!("{}: has no rows; take it away", path.display()),
        // One object by itself describes something.
        1 if is_json && input.format == Format::JsonLines => Ok(Looked { rows: None, unpacked: out.is_some() }),
        rows => Ok(Looked { rows: Some(rows), unpacked: out.is_some() }),
    }
}

/// Whether the bytes of a file are the text of its rows.
fn is_plain(input: &Input) -> bool {
    input.compression == Compression::None && input.format != Format::Parquet && input.encoding.name() == "UTF-8"
}

/// JSON that is no list of rows, `why` that is: sealed rows may stand anywhere in it.
fn document(path: &Path, why: RowsError, see: &mut dyn FnMut(&Value)) -> anyhow::Result<Looked> {
    if fs::metadata(path)?.len() > DOCUMENT {
        return Err(why.into());
    }
    let Ok(value) = serde_json::from_slice(&fs::read(path)?) else { return Err(why.into()) };
    see(&value);
    Ok(Looked { rows: None, unpacked: false })
}

/// A search for the sealed rows of a run, and how many there are.
fn search(run: &Origin) -> anyhow::Result<(Search, usize)> {
    let read = |path: &Path| if path.exists() { rows::read(path).map(|table| table.rows) } else { Ok(Vec::new()) };
    let (sealed, open) = (read(&run.sealed)?, read(&run.open)?);
    let recipe = run.recipe.clone().unwrap_or_else(|| plain(sealed.first()));
    Ok((Search::new(&recipe, &sealed, open.iter()), sealed.len()))
}

/// Without a recipe, the longest text of a row counts as its input.
fn plain(row: Option<&Row>) -> Recipe {
    let columns = row.into_iter().flatten().filter_map(|(name, cell)| Some((name, cell.as_str()?.len())));
    let input = columns.max_by_key(|(_, length)| *length).map(|(name, _)| name.clone()).unwrap_or_default();
    Recipe {
        kind: JobKind::Generation,
        target: input.clone(),
        input,
        cue: String::new(),
        labels: Vec::new(),
        changes: Default::default(),
        answer_after: None,
        max_length: 0,
        max_new_tokens: 0,
    }
}
