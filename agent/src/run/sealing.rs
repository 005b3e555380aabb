//! The user's rows: read, sealed, and written to where the run keeps them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tunesmith_harness::{
    event::Rows,
    hash,
    recipe::Row,
    rows::{self, RowsError},
    run::{Input, Run},
    seal,
    task::Task,
};

use super::{Failure, prepare::unwritten, shown};

/// Where the open rows stand in the run's directory.
pub const DATA: &str = "work/data/train.jsonl";
/// Where the sealed rows stand in the run's directory.
pub const SEALED: &str = "sealed/rows.jsonl";

/// Rows of the user's files, all with the same columns.
pub(super) struct Read {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

pub(super) fn read_all(files: &[PathBuf]) -> Result<(Read, Vec<Input>), Failure> {
    let Some(first) = files.first() else {
        return Err(Failure::new(2, "there is no data: give a CSV, JSON or JSON-lines file with --file"));
    };
    let mut inputs = Vec::new();
    let mut all: Option<Read> = None;
    for path in files {
        let (table, input) = read_one(path)?;
        inputs.push(input);
        match &mut all {
            None => all = Some(table),
            Some(all) if all.columns == table.columns => all.rows.extend(table.rows),
            Some(_) => {
                let (a, b) = (shown(first), shown(path));
                return Err(Failure::new(2, format!("{a} and {b} have different columns; give files of one kind")));
            }
        }
    }
    all.map(|all| (all, inputs)).ok_or_else(|| Failure::new(2, "there is no data"))
}

fn read_one(path: &Path) -> Result<(Read, Input), Failure> {
    let table = rows::read(path).map_err(rows_failure)?;
    let failure = |e: std::io::Error| Failure::new(2, format!("{}: {e}", shown(path)));
    let bytes = fs::metadata(path).map_err(failure)?.len();
    let sha256 = hash::sha256_file(path).map_err(failure)?;
    let input = Input { path: path.to_owned(), sha256, bytes, rows: table.rows.len(), note: table.note };
    Ok((Read { columns: table.columns, rows: table.rows }, input))
}

/// The user's test file, which must have all columns of the data.
pub(super) fn read_test(path: &Path, columns: &[String]) -> Result<(Vec<Row>, Input), Failure> {
    let (test, input) = read_one(path)?;
    if let Some(missing) = columns.iter().find(|column| !test.columns.contains(column)) {
        let why = format!("{}: has no column {missing:?}; a test file needs the columns of the data", shown(path));
        return Err(Failure::new(2, why));
    }
    Ok((test.rows, input))
}

/// Whether a file is not there or not usable, it is the command line that has to change.
fn rows_failure(error: RowsError) -> Failure {
    Failure::new(2, error)
}

/// Open and sealed rows.
pub(super) struct Parts {
    pub open: Vec<Row>,
    pub sealed: Vec<Row>,
    pub columns: Vec<String>,
    pub rows: Rows,
}

impl Parts {
    pub fn new(task: &Task, read: Read, test: Option<Vec<Row>>) -> Result<Self, Failure> {
        let total = read.rows.len();
        let pick = |rows: &[Row], indices: &[usize]| indices.iter().map(|&i| rows[i].clone()).collect::<Vec<Row>>();
        let rows = Rows { read: total, open: 0, sealed: 0, dropped: 0, templated: 0, near_groups: 0 };
        let (open, sealed, rows) = match test {
            None => {
                let split = seal::split(&read.rows, task.test_share).map_err(|e| Failure::new(5, e))?;
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
