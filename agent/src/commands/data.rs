//! `tunesmith data`: what is in a file of rows, turning rows into examples, and what of eval sets stands in them.

mod make;
mod overlap;

use std::path::PathBuf;

use clap::ValueEnum;
use tunesmith_harness::{figures::counted, task::JobKind, text::visible};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    bases,
    data_inspect::{self, Column},
    data_prepare::{self, Job},
    plan,
    worker::Work,
};

use super::{
    print, print_json,
    require::Require,
    table::{short, table},
    usage,
    work::{Bench, Fresh, input},
};
use crate::run::Failure;

/// Look at rows, or prepare them for training
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Data {
    /// Columns, empty cells, duplicates, labels, and how the rows could be used
    Inspect(Inspect),
    /// Clean rows, split off a validation part, and write examples with their recipe
    Prepare(Prepare),
    /// Make rows where there are none: ask a model, or draw from templates
    Make(make::Args),
    /// Look for rows of eval sets in training rows
    Overlap(overlap::Overlap),
}

/// `data inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct Inspect {
    /// Rows: CSV, TSV, JSON, JSON lines, Parquet, text or Markdown (one row a file), also as .gz or .zst
    file: PathBuf,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `data prepare`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  tunesmith data prepare tickets.csv --out prepared")]
pub struct Prepare {
    /// Rows: CSV, TSV, JSON, JSON lines, Parquet, text or Markdown (one row a file), also as .gz or .zst
    file: PathBuf,
    /// New directory for recipe.json, train.jsonl and valid.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model whose tokens count: nano, a directory, a .gguf file or a Hub id
    #[arg(long, value_name = "MODEL", default_value = "nano")]
    base: String,
    #[command(flatten)]
    mapping: Mapping,
    /// Seed of the split
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How rows become examples; what is left out is taken from what the file looks like.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Mapping {
    /// What each row asks for [default: by the look of the file]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Column of the input [default: by the look of the file]
    #[arg(long, value_name = "COLUMN")]
    input: Option<String>,
    /// Column of the answer [default: by the look of the file]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// Text on its own line after the input [default: 'Label:' or 'JSON:' or none, by kind]
    #[arg(long, value_name = "TEXT")]
    cue: Option<String>,
    /// Share of rows for validation [default: 0.1]
    #[arg(long, value_name = "F", value_parser = valid_share)]
    valid_share: Option<f64>,
    /// Longest example in tokens [default: what the base takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=131_072))]
    max_length: Option<u32>,
    /// Only what follows the last such marker is compared, for example '####'
    #[arg(long, value_name = "MARKER")]
    answer_after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One label of a closed set
    Classification,
    /// A JSON object
    Extraction,
    /// Free text
    Generation,
}

/// Inspects or prepares.
pub async fn main(data: Data, cancel: &Cancel) -> Result<u8, Failure> {
    match data {
        Data::Inspect(args) => {
            let bench = Bench::new(&args.require, cancel)?;
            let found = inspect(&bench, &input(&args.file)?).await?;
            if args.json {
                print_json(&found)?;
            } else {
                inspected(&found).iter().for_each(|line| print(line));
            }
        }
        Data::Prepare(args) => {
            let bench = Bench::new(&args.require, cancel)?;
            let (file, base) = (input(&args.file)?, bench.model(&args.base).await?);
            let out = Fresh::new(&args.out)?;
            let job = Job {
                args: args.mapping.args(&bench, &file).await?,
                file,
                base,
                out: out.path().into(),
                seed: args.seed,
            };
            let mut made = prepare(&bench, job, out.dir()).await?;
            made.path = out.keep()?;
            if args.json {
                print_json(&made)?;
            } else {
                prepared(&made).iter().for_each(|line| print(line));
            }
        }
        Data::Make(args) => return make::main(args, cancel).await,
        Data::Overlap(args) => return overlap::main(&args, cancel).await,
    }
    Ok(0)
}

async fn inspect(bench: &Bench<'_>, file: &std::path::Path) -> Result<data_inspect::Output, Failure> {
    let work = Work::Inspect(data_inspect::Job { file: file.to_owned() });
    bench.run(&work, &bench.private()?, vec![file.to_owned()], "inspect").await
}

/// Turns rows into examples, in a workdir that holds the job's `out`.
pub async fn prepare(bench: &Bench<'_>, job: Job, dir: &Workdir) -> Result<data_prepare::Output, Failure> {
    let reads = bases::reads(&job.base).into_iter().chain([job.file.clone()]).collect();
    bench.run(&Work::Prepare(job), dir, reads, "prepare").await
}

impl Mapping {
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let Mapping { kind, input, target, cue, valid_share, max_length, answer_after } = self;
        let all = [
            ("--kind", kind.is_some()),
            ("--input", input.is_some()),
            ("--target", target.is_some()),
            ("--cue", cue.is_some()),
            ("--valid-share", valid_share.is_some()),
            ("--max-length", max_length.is_some()),
            ("--answer-after", answer_after.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect()
    }

    /// The arguments of the tool, with what was left out filled in from the file's looks.
    pub async fn args(&self, bench: &Bench<'_>, file: &std::path::Path) -> Result<data_prepare::Args, Failure> {
        let mut kind = self.kind.map(plan_kind);
        let mut columns = (self.input.clone(), self.target.clone());
        let mut answer_after = self.answer_after.clone();
        if kind.is_none() || columns.0.is_none() || columns.1.is_none() {
            let found = inspect(bench, file).await?;
            let note = found.note.unwrap_or_else(|| "no use of these rows is known".into());
            let Some(proposal) = found.proposal else {
                return Err(usage(format!("{note}; or name --kind, --input and --target")));
            };
            answer_after = answer_after.or(proposal.answer_after);
            kind = kind.or(Some(match proposal.kind {
                JobKind::Classification => plan::Kind::Classification,
                JobKind::Extraction => plan::Kind::Extraction,
                JobKind::Generation => plan::Kind::Generation,
            }));
            columns = (columns.0.or(Some(proposal.input)), columns.1.or(Some(proposal.target)));
        }
        let (Some(kind), (Some(input), Some(target))) = (kind, columns) else {
            return Err(usage("name --kind, --input and --target"));
        };
        Ok(data_prepare::Args {
            file: String::new(),
            kind,
            input,
            target,
            cue: self.cue.clone(),
            valid_share: self.valid_share.unwrap_or(0.1),
            max_length: self.max_length.map(|length| length as usize),
            answer_after,
        })
    }
}

fn plan_kind(kind: Kind) -> plan::Kind {
    match kind {
        Kind::Classification => plan::Kind::Classification,
        Kind::Extraction => plan::Kind::Extraction,
        Kind::Generation => plan::Kind::Generation,
    }
}

fn inspected(found: &data_inspect::Output) -> Vec<String> {
    let duplicates = if found.duplicates == 0 { String::new() } else { format!(", {} repeated", found.duplicates) };
    let mut lines = vec![format!("{}{duplicates}", counted(found.rows, "row")), String::new()];
    let head = ["column", "cells", "empty", "distinct", "characters", "values"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(found.columns.iter().map(column)).collect();
    lines.extend(table(&rows));
    lines.push(String::new());
    if let Some(proposal) = &found.proposal {
        let kind = serde_json::to_value(proposal.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let (input, target) = (visible(&proposal.input), visible(&proposal.target));
        let kind = kind.unwrap_or_default();
        lines.push(format!("{kind}: {input} -> {target}, {}, because {}", proposal.metric, visible(&proposal.why)));
    }
    lines.extend(found.note.as_ref().map(|note| visible(note).into_owned()));
    lines
}

fn column(column: &Column) -> Vec<String> {
    let [_, median, _, most] = column.lengths;
    let cells = serde_json::to_value(column.cells).ok().and_then(|cells| cells.as_str().map(str::to_owned));
    let values = match column.labels.as_slice() {
        [] => column.examples.first().cloned().unwrap_or_default(),
        labels => labels.iter().map(|l| format!("{} ({})", l.label, l.rows)).collect::<Vec<_>>().join(", "),
    };
    vec![
        column.name.clone(),
        cells.unwrap_or_default(),
        column.missing.to_string(),
        column.distinct.to_string(),
        format!("{median} median, {most} most"),
        short(&values, 60),
    ]
}

fn prepared(made: &data_prepare::Output) -> Vec<String> {
    let dropped = made.rows.saturating_sub(made.train + made.valid);
    let mut lines = vec![
        format!(
            "{} read: {} to train on, {} to validate on, {dropped} left out",
            counted(made.rows, "row"),
            made.train,
            made.valid
        ),
        format!(
            "tokens of an example: {} median, {} most; of an answer {} most",
            made.tokens.0, made.tokens.1, made.longest_answer
        ),
    ];
    if !made.labels.is_empty() {
        lines.push(counted(made.labels.len(), "label"));
    }
    lines.extend(made.example.as_ref().map(|example| format!("example: {}", short(example, 300))));
    lines.push(format!("written to {}", visible(&made.path)));
    lines
}

fn valid_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=0.5).contains(&value) => Ok(value),
        _ => Err("must be a number from 0.01 to 0.5".into()),
    }
}
