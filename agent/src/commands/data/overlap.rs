//! `tunesmith data overlap`: which rows of eval sets stand in training rows.

use std::path::PathBuf;

use tunesmith_harness::{
    figures::{counted, percent},
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    data_overlap::{EvalRow, Job, Output},
    inputs::Named,
    worker::Work,
};

use crate::{
    commands::{
        print, print_json,
        require::Require,
        table::{short, table, word},
        work::{Bench, Fresh, found},
    },
    run::Failure,
};

/// Eval rows that people are shown.
const SHOWN: usize = 20;

const EXAMPLE: &str = "\
Example:
  tunesmith data overlap train.jsonl --against gsm8k/test.jsonl --column question --out found.jsonl

An eval row is found where it stands in a training row: `verbatim`, `near` (in another case, spacing, punctuation or
form of numbers, or at least four fifths of its words) or by `half` (at least two fifths of its words, and ten of
them, in long runs). Rows of fewer than three words are not looked for; those of fewer than eight must be a whole cell
or line.

Exit codes: 0 nothing was found · 2 bad input · 3 eval rows were found";

/// `data overlap`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Overlap {
    /// Training rows: files, folders or patterns of CSV, TSV, JSON, JSON lines, Parquet or text
    #[arg(required = true)]
    train: Vec<PathBuf>,
    /// Eval rows: files, folders or patterns
    #[arg(long, value_name = "EVAL", required = true, num_args = 1..)]
    against: Vec<PathBuf>,
    /// The column of the eval rows that counts [default: all columns of prose]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// New file for all eval rows that were found, as JSON lines
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares; exit code 3 says that eval rows were found.
pub(super) async fn main(args: &Overlap, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let mut reads = Vec::new();
    let mut named = |paths: &[PathBuf]| {
        let named = paths.iter().map(|given| {
            let (path, read) = found(given)?;
            reads.push(read);
            Ok(Named { path, name: given.display().to_string() })
        });
        named.collect::<Result<Vec<Named>, Failure>>()
    };
    let (train, against) = (named(&args.train)?, named(&args.against)?);
    let fresh = args.out.as_deref().map(Fresh::new).transpose()?;
    let out = fresh.as_ref().map(|fresh| fresh.path().to_owned());
    let work = Work::Overlap(Job { train, against, column: args.column.clone(), out });
    let mut found: Output = match &fresh {
        Some(fresh) => bench.run(&work, fresh.dir(), reads, "overlap").await?,
        None => bench.run(&work, &bench.private()?, reads, "overlap").await?,
    };
    found.path = fresh.map(Fresh::keep).transpose()?;
    if args.json {
        print_json(&found)?;
    } else {
        lines(&found).iter().for_each(|line| print(line));
    }
    Ok(if all(&found) == 0 { 0 } else { 3 })
}

fn all(found: &Output) -> usize {
    found.verbatim + found.near + found.half
}

fn lines(found: &Output) -> Vec<String> {
    let against =
        format!("{} held against {}", counted(found.eval_rows, "eval row"), counted(found.train_rows, "training row"));
    let mut lines = vec![match all(found) {
        0 => format!("{against}: none was found"),
        some => format!(
            "{against}: {some} found, {} verbatim, {} near, {} by half, in {}",
            found.verbatim,
            found.near,
            found.half,
            counted(found.train_rows_matched, "training row")
        ),
    }];
    if let Some(first) = &found.first_bad_line {
        let bad = counted(found.bad_lines, "line");
        lines.push(format!(
            "warning: {bad} of the training files could not be read and were left out; the first: {}",
            visible(first)
        ));
    }
    if !found.found.is_empty() {
        let head = ["eval row", "kind", "share", "training row", "more", "text"].map(str::to_owned).to_vec();
        lines.push(String::new());
        lines.extend(table(&[head].into_iter().chain(found.found.iter().take(SHOWN).map(row)).collect::<Vec<_>>()));
    }
    let more = all(found).saturating_sub(SHOWN);
    match &found.path {
        Some(path) => lines.push(format!("all are in {}", visible(path))),
        None if more > 0 => lines.push(format!("and {more} more; --out FILE lists all")),
        None => {}
    }
    lines
}

fn row(row: &EvalRow) -> Vec<String> {
    let at = row.rows.first().map(|place| format!("{}:{}", place.file, place.line));
    vec![
        format!("{}:{}", row.file, row.line),
        word(row.kind),
        percent(row.share),
        at.unwrap_or_default(),
        (row.count.saturating_sub(1)).to_string(),
        short(&row.text, 60),
    ]
}
