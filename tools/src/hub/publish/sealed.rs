//! Rows held against the sealed rows of the run that they came from.

use std::path::Path;

use tunesmith_harness::{
    overlap::Search,
    recipe::{Recipe, Row},
    rows,
    run::Run,
    task::JobKind,
};

use super::{Refusal, recipe, unfit};

/// The sealed rows of a run, and what was found of them.
pub struct Sealed {
    search: Search,
    rows: usize,
}

impl Sealed {
    /// Those of a run whose result stands in `dir`.
    pub fn of(run: &Run, dir: &Path) -> Result<Sealed, Refusal> {
        let path = run.sealed().join("rows.jsonl");
        let read = |path: &Path| rows::read(path).map_err(|error| unfit(path, error.to_string()));
        let sealed = if path.exists() { read(&path)?.rows } else { Vec::new() };
        let open = run.work().join("data/train.jsonl");
        let open = if open.exists() { read(&open)?.rows } else { Vec::new() };
        let recipe = recipe(dir, Some(run)).and_then(|recipe| serde_json::from_value(recipe).ok());
        let recipe = recipe.unwrap_or_else(|| plain(sealed.first()));
        Ok(Sealed { search: Search::new(&recipe, &sealed, open.iter()), rows: sealed.len() })
    }

    /// Looks at a row that would be sent.
    pub fn see(&mut self, row: &Row) {
        self.search.see(&serde_json::Value::Object(row.clone()));
    }

    /// How many sealed rows there are, if none of them would be sent.
    pub fn verdict(self, dir: &Path) -> Result<usize, Refusal> {
        let seen = self.search.found().seen().len();
        match seen {
            0 => Ok(self.rows),
            seen => {
                let why = format!(
                    "holds {seen} of the {} sealed rows of its run, which are never published; take them out",
                    self.rows
                );
                Err(unfit(dir, why))
            }
        }
    }
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
        answer_after: None,
        max_length: 0,
        max_new_tokens: 0,
    }
}
