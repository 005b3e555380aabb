//! Files of rows before they are sent, read in a worker: a job may have made them, and Parquet is much to parse.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    overlap::Search,
    recipe::{Recipe, Row},
    rows,
    task::JobKind,
};

use super::look::{SECRET, secret};

/// What the worker reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The files, absolute.
    pub files: Vec<PathBuf>,
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
    /// Rows of each file.
    pub rows: Vec<usize>,
    /// How many sealed rows the run has; `None` without a run.
    pub sealed: Option<usize>,
}

impl Job {
    /// What the worker must be allowed to read.
    pub fn reads(&self) -> Vec<PathBuf> {
        let run = self.run.iter().flat_map(|run| [run.sealed.clone(), run.open.clone()]);
        self.files.iter().cloned().chain(run.filter(|path| path.exists())).collect()
    }

    /// Counts the rows. A secret in Parquet and a sealed row anywhere are errors; secrets in text were looked for before.
    pub fn run(&self) -> anyhow::Result<Output> {
        let mut sealed = self.run.as_ref().map(search).transpose()?;
        let mut counts = Vec::new();
        for path in &self.files {
            let table = rows::read(path)?;
            let parquet = path.extension().is_some_and(|ending| ending == "parquet");
            for row in table.rows.iter().map(|row| Value::Object(row.clone())) {
                if parquet && secret(&row.to_string()) {
                    bail!("{}: {SECRET}", path.display());
                }
                sealed.iter_mut().for_each(|(search, _)| search.see(&row));
            }
            counts.push(table.rows.len());
        }
        let Some((search, all)) = sealed else { return Ok(Output { rows: counts, sealed: None }) };
        match search.found().seen().len() {
            0 => Ok(Output { rows: counts, sealed: Some(all) }),
            seen => {
                bail!("{seen} of the {all} sealed rows of the run are in it, which are never published; take them out")
            }
        }
    }
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
