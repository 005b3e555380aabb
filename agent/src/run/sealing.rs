//! The user's rows: sealed, and written to where the run keeps them.

use std::{fs, path::Path};

use tunesmith_harness::{event::Rows, hash, recipe::Row, rows, run::Run, seal};

use super::{Failure, prepare::unwritten, reading::Read};

/// Where the open rows stand in the run's directory.
pub const DATA: &str = "work/data/train.jsonl";
/// Where the sealed rows stand in the run's directory.
pub const SEALED: &str = "sealed/rows.jsonl";

/// Open and sealed rows.
pub(super) struct Parts {
    pub open: Vec<Row>,
    pub sealed: Vec<Row>,
    pub columns: Vec<String>,
    pub rows: Rows,
}

impl Parts {
    pub fn new(test_share: Option<f64>, read: Read, test: Option<Vec<Row>>) -> Result<Self, Failure> {
        let total = read.rows.len();
        let pick = |rows: &[Row], indices: &[usize]| indices.iter().map(|&i| rows[i].clone()).collect::<Vec<Row>>();
        let rows = Rows { read: total, open: 0, sealed: 0, dropped: 0, templated: 0, near_groups: 0 };
        let (open, sealed, rows) = match test {
            None => {
                let split = seal::split(&read.rows, test_share).map_err(|e| Failure::new(5, e))?;
                let (templated, near_groups, dropped) = (split.templated, split.near_groups, split.held);
                let rows = Rows { templated, near_groups, dropped, ..rows };
                (pick(&read.rows, &split.open), pick(&read.rows, &split.sealed), rows)
            }
            Some(test) => {
                let cleaned = seal::with_test(&read.rows, &test).map_err(|e| Failure::new(5, e))?;
                let rows = Rows { dropped: cleaned.dropped, templated: cleaned.templated, ..rows };
                (pick(&read.rows, &cleaned.open), test, rows)
            }
        };
        let rows = Rows { open: open.len(), sealed: sealed.len(), ..rows };
        Ok(Parts { open, sealed, columns: read.columns, rows })
    }

    /// Writes both parts; returns the hashes of the open and the sealed one.
    pub fn write(&self, run: &Run) -> Result<(String, String), Failure> {
        let open = run.dir().join(DATA);
        if let Some(parent) = open.parent() {
            fs::create_dir_all(parent).map_err(|e| unwritten(&open, &e))?;
        }
        rows::write_jsonl(&open, &self.open).map_err(|e| unwritten(&open, &e))?;
        let sealed = run.dir().join(SEALED);
        rows::write_jsonl(&sealed, &self.sealed).map_err(|e| unwritten(&sealed, &e))?;
        let hash = |path: &Path| hash::sha256_file(path).map_err(|e| unwritten(path, &e));
        Ok((hash(&open)?, hash(&sealed)?))
    }
}
