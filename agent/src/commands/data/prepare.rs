//! `tunesmith data prepare`: rows become examples.

use std::path::PathBuf;

use clap::ValueEnum;
use tunesmith_harness::{figures::counted, task::JobKind, text::visible};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    bases, data_inspect,
    data_prepare::{self, Job},
    plan,
    worker::Work,
};

use super::inspect::inspect;
use crate::{
    commands::{
        print, print_json,
        require::Require,
        table::short,
        usage,
        work::{Bench, Fresh, input},
    },
    run::Failure,
};

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

/// Prepares.
pub(super) async fn main(args: Prepare, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let (file, base) = (input(&args.file)?, bench.model(&args.base).await?);
    let out = Fresh::new(&args.out)?;
    let job =
        Job { args: args.mapping.args(&bench, &file).await?, file, base, out: out.path().into(), seed: args.seed };
    let mut made = prepare(&bench, job, out.dir()).await?;
    made.path = out.keep()?;
    if args.json {
        print_json(&made)?;
    } else {
        prepared(&made).iter().for_each(|line| print(line));
    }
    Ok(0)
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
            let found = inspect(bench, data_inspect::Job::of(file), vec![file.to_owned()]).await?;
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
