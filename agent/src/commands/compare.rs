//! `tunesmith compare`: which of two results is better, or how many items it would take to tell.

use std::path::PathBuf;

use tunesmith_harness::{
    compare::{self, CompareError, Comparison, Options, Results, Verdict},
    text::visible,
};

use super::{print, print_json, table::table, usage};
use crate::{
    bench::args::{writable, write},
    run::Failure,
};

const EXAMPLE: &str = "\
Example:
  tunesmith compare results/base results/tuned --markdown comparison.md

A and B are what `tunesmith eval` or lm-eval wrote with its samples, or finished runs. Items are matched, so both must
have been asked the same. A difference counts where its p-value, adjusted for the number of comparisons, is below
--alpha, its interval does not hold zero, and it is above what repeated runs reach by noise alone.

Exit codes: 0 B is not worse than A · 2 bad input · 3 B is worse in at least one comparison";

/// Say which of two results is better, or that nobody can tell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// What B is held against: a directory or results file of an evaluation, or a run
    a: PathBuf,
    /// What is to be judged
    b: PathBuf,
    /// Share of false differences that is accepted; intervals are of 1 - alpha
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    alpha: f64,
    /// Only this metric, for example acc; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    /// Column of the documents that names the cluster of an item, where items are not independent
    #[arg(long, value_name = "COLUMN")]
    cluster: Option<String>,
    /// Repeated runs of the same thing, at least two, whose differences are noise
    #[arg(long, value_name = "RUN", num_args = 1..)]
    noise: Vec<PathBuf>,
    /// Seed of permutations and bootstraps
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the comparison as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares; exit code 3 says that B is worse in at least one comparison.
pub fn main(args: &Args) -> Result<u8, Failure> {
    if args.noise.len() == 1 {
        return Err(usage("one run says nothing about noise; give --noise two or more runs of the same thing"));
    }
    args.markdown.as_deref().map(|path| writable("--markdown", path)).transpose()?;
    let load = |path: &PathBuf| compare::load(path, args.cluster.as_deref()).map_err(bad);
    let (a, b) = (load(&args.a)?, load(&args.b)?);
    let noise = args.noise.iter().map(load).collect::<Result<Vec<Results>, Failure>>()?;
    let options = Options { alpha: args.alpha, seed: args.seed, noise, metrics: args.metric.clone() };
    let found = compare::compare(&a, &b, &options).map_err(bad)?;
    write(&args.markdown, || found.markdown())?;
    if args.json {
        print_json(&found)?;
    } else {
        lines(&found).iter().for_each(|line| print(line));
    }
    Ok(if found.verdict == Verdict::Worse { 3 } else { 0 })
}

fn lines(found: &Comparison) -> Vec<String> {
    let mut lines = vec![format!("A  {}", visible(&found.a)), format!("B  {}", visible(&found.b)), String::new()];
    lines.extend(table(&found.table()));
    lines.push(String::new());
    lines.extend(found.notes.iter().map(|note| format!("note: {}", visible(note))));
    lines.push(found.summary.clone());
    lines
}

fn bad(error: CompareError) -> Failure {
    usage(error.to_string())
}
