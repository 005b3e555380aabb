//! `tunesmith runs diff`: what differs between two runs.

use std::path::PathBuf;

use tunesmith_harness::diff;

use super::{Kept, open};
use crate::{
    commands::{print, print_json},
    run::Failure,
};

const EXAMPLE: &str = "\
Example:
  tunesmith runs diff 20261121T015438Z-route 20261121T020112Z-route

Held against each other: request, data, base, scope, planner, seed, version and sandbox; the steps, aligned by tool and
arguments; figures, spend, outcome and files; and the grades, row by row where the same rows were sealed. Times, memory
and a planner's words are not counted.

Exit codes: 0 the same · 2 bad input · 3 they differ, or a log is damaged";

/// `runs diff`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The first run: its directory, or its name in --dir
    a: PathBuf,
    /// The second run
    b: PathBuf,
    #[command(flatten)]
    kept: Kept,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args) -> Result<u8, Failure> {
    let dir = args.kept.dir()?;
    let found = diff::diff(&open(&args.a, &dir)?, &open(&args.b, &dir)?);
    if args.json {
        print_json(&found)?;
    } else {
        found.lines().iter().for_each(|line| print(line));
    }
    Ok(if found.same { 0 } else { 3 })
}
