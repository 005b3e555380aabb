//! `tunesmith data prepare`: rows become examples, or cleaner rows.

use std::path::PathBuf;

use serde::Serialize;
use tunesmith_harness::{figures::counted, rows::Count, score::Verdict, text::visible};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    bases,
    data_prepare::{self, DataPrepare, Job, LEFT_OUT, rows},
    inputs::Named,
    tool::Tool,
    worker::Work,
};

use crate::{
    commands::{
        print, print_json,
        require::Require,
        table::{short, table},
        usage,
        work::{Bench, Fresh, found},
    },
    run::Failure,
};

mod mapping;
mod recipe;
mod replay;

pub use mapping::Mapping;
use recipe::Recipe;

/// `data prepare`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Prepare {
    /// Rows: files, folders or patterns of CSV, TSV, JSON, JSON lines, Parquet, text or Markdown, also as .gz or .zst
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// New directory for the parts, manifest.json, README.md and what was left out
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model whose tokens count: nano, a directory, a .gguf file or a Hub id
    #[arg(long, value_name = "MODEL", default_value = "nano")]
    base: String,
    #[command(flatten)]
    mapping: Mapping,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tunesmith data prepare tickets.csv --out prepared
  tunesmith data prepare 'raw/*.jsonl.gz' --rows --clean html,spaces --near 0.8 --format parquet --out rows
  tunesmith data prepare tickets.csv --recipe prepared/manifest.json --out again

A recipe is a TOML file; what options say goes before what it says:
  seed = 0
  valid_share = 0.1
  test_share = 0.1
  format = \"parquet\"                     # or jsonl
  [steps]                                # in this order
  set = { text = \"{title}\\n\\n{body}\" }   # columns made of others
  replace = [{ column = \"text\", pattern = \"https?://\\\\S+\", with = \"URL\" }]
  clean = [\"encoding\", \"html\", \"unicode\", \"control\", \"spaces\", \"trim\", \"lower\"]
  keep = [{ column = \"text\", min_chars = 20, lacks = \"(?i)lorem ipsum\" }]
  # also: one_of, none_of, matches, max_chars, min, max
  against = [\"gsm8k/test.jsonl\"]       # rows that hold any of these eval rows go
  near = 0.8                             # and so do those that nearly repeat an earlier one
  most_per_label = 200                   # of training rows; least_per_label repeats rows
  group = \"customer\"                   # stays in one part; or time = \"date\": the latest rows validate
  [examples]                             # or [rows] with label and by
  kind = \"classification\"
  input = \"text\"
  target = \"intent\"

The answer's column is never changed, and no input is made of it. The manifest holds the recipe, the seed, counts at every
stage and the hash of every input and output; as --recipe it is replayed, and told is whether the same bytes came out.

Exit codes: 0 done · 2 bad input · 3 a replay on the same bytes gave other bytes";

/// What `--json` prints of a replay beside the rest.
#[derive(Serialize)]
struct Told<'a, T> {
    #[serde(flatten)]
    made: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<replay::Replayed>,
}

/// Prepares.
pub(super) async fn main(args: Prepare, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let (files, mut reads) = named(&args.files)?;
    let (mut recipe, manifest) = args.recipe.read()?;
    let (against, more) = named(&recipe.steps.against.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    reads.extend(more);
    if recipe.rows.is_none() {
        args.mapping.fill(&mut recipe, &bench, (&files, &reads)).await?;
    } else {
        args.mapping.plain(&mut recipe)?;
    }
    recipe.check().map_err(|why| usage(why.to_string()))?;
    let base = match recipe.rows {
        Some(_) => None,
        None => Some(bench.model(&args.base).await?),
    };
    reads.extend(base.iter().flat_map(|base| bases::reads(base)));
    let out = Fresh::new(&args.out)?;
    let job = Job { recipe, files, against, base, out: out.path().into() };
    match job.recipe.rows {
        Some(_) => {
            let mut made: rows::Output = bench.run(&Work::PrepareRows(job), out.dir(), reads, "prepare").await?;
            let replayed = manifest.map(|manifest| replay::compare(&manifest, out.path())).transpose()?;
            made.path = out.keep()?;
            told(&args, &made, replayed, rows_told)
        }
        None => {
            let mut made: data_prepare::Output = bench.run(&Work::Prepare(job), out.dir(), reads, "prepare").await?;
            let replayed = manifest.map(|manifest| replay::compare(&manifest, out.path())).transpose()?;
            let judged = judged(&made, out.dir());
            made.path = out.keep()?;
            told(&args, &made, replayed, |made| examples_told(made, &judged))
        }
    }
}

/// Files as the worker reads them, and what must be readable for it.
fn named(given: &[PathBuf]) -> Result<(Vec<Named>, Vec<PathBuf>), Failure> {
    let one = |given: &PathBuf| {
        let (path, read) = found(given)?;
        Ok((Named { path, name: given.display().to_string() }, read))
    };
    Ok(given.iter().map(one).collect::<Result<Vec<_>, Failure>>()?.into_iter().unzip())
}

fn told<T: Serialize>(
    args: &Prepare,
    made: &T,
    replayed: Option<replay::Replayed>,
    lines: impl Fn(&T) -> Vec<String>,
) -> Result<u8, Failure> {
    let differs = replayed.is_some_and(|replayed| replayed == replay::Replayed::Differs);
    if args.json {
        print_json(&Told { made, replayed })?;
    } else {
        lines(made).iter().for_each(|line| print(line));
        replayed.iter().for_each(|replayed| print(replayed.words()));
    }
    Ok(if differs { 3 } else { 0 })
}

/// Turns rows into examples, in a workdir that holds the job's `out`.
pub async fn prepare(bench: &Bench<'_>, job: Job, dir: &Workdir) -> Result<data_prepare::Output, Failure> {
    let files = job.files.iter().map(|file| file.path.clone());
    let reads = job.base.iter().flat_map(|base| bases::reads(base)).chain(files).collect();
    bench.run(&Work::Prepare(job), dir, reads, "prepare").await
}

/// What the scores of a run's step would say against the examples.
fn judged(made: &data_prepare::Output, dir: &Workdir) -> Vec<String> {
    // Whether the files are as written is not asked: nobody could touch them since.
    let scores = DataPrepare.scores(made, dir).into_iter().filter(|score| score.scorer != "data.files");
    let bad = scores.filter(|score| matches!(score.verdict, Verdict::Warn | Verdict::Fail));
    bad.map(|score| format!("{}: {}", score.verdict.word(), visible(&score.why))).collect()
}

fn examples_told(made: &data_prepare::Output, judged: &[String]) -> Vec<String> {
    let out = made.left_out();
    let test = if made.test > 0 { format!("{} kept apart, ", made.test) } else { String::new() };
    let mut lines = vec![format!(
        "{} read: {} to train on, {} to validate on, {test}{out} left out",
        counted(made.rows, "row"),
        made.train,
        made.valid
    )];
    lines.extend(unread(made.bad_lines as u64));
    lines.extend(stages(&made.stages));
    lines.push(format!(
        "tokens of an example: {} median, {} most; of an answer {} most",
        made.tokens.0, made.tokens.1, made.longest_answer
    ));
    if !made.labels.is_empty() {
        lines.push(counted(made.labels.len(), "label"));
    }
    lines.extend(made.example.as_ref().map(|example| format!("example: {}", short(example, 300))));
    lines.extend(judged.iter().cloned());
    lines.push(format!("written to {}", visible(&made.path)));
    if out + made.bad_lines > 0 {
        lines.push(format!("what was left out, and why: {}", visible(&format!("{}/{LEFT_OUT}", made.path))));
    }
    lines
}

fn rows_told(made: &rows::Output) -> Vec<String> {
    let parts: Vec<String> = made.parts.iter().map(|(file, rows)| format!("{rows} in {file}")).collect();
    let mut lines = vec![format!("{} read: {}", counted(made.rows as usize, "row"), parts.join(", "))];
    lines.extend(unread(made.bad_lines));
    lines.extend(stages(&made.stages));
    lines.extend(made.notes.iter().map(|note| visible(note).into_owned()));
    lines.push(format!("written to {}", visible(&made.path)));
    lines
}

fn unread(bad: u64) -> Option<String> {
    (bad > 0).then(|| format!("{} gave no row; they are in {LEFT_OUT}", counted(bad as usize, "line")))
}

fn stages(stages: &[Count]) -> Vec<String> {
    if stages.is_empty() {
        return Vec::new();
    }
    let head = ["step", "rows before", "rows after"].map(str::to_owned).to_vec();
    let row = |count: &Count| vec![count.name.clone(), count.before.to_string(), count.after.to_string()];
    table(&[head].into_iter().chain(stages.iter().map(row)).collect::<Vec<_>>())
}
