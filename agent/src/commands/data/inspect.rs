//! `tunesmith data inspect`: what is in files of rows, and what to do about it.

use std::path::PathBuf;

use tunesmith_harness::{
    figures::{bytes, counted, percent},
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    bases,
    data_inspect::{self, Column, Example, Job, Output, SAMPLE, Weight},
    worker::Work,
};

use crate::{
    commands::{
        print, print_json,
        require::Require,
        table::{count, short, table, word},
        work::{Bench, found},
    },
    run::Failure,
};

/// `data inspect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  tunesmith data inspect tickets.csv --base nano --html tickets.html\n  \
                        tunesmith data inspect 'data/**/*.jsonl.gz' --json")]
pub struct Inspect {
    /// Files, folders and patterns: CSV, TSV, JSON, JSON lines, Parquet, text, Markdown, also packed by gzip or zstd
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Model in whose tokens rows are counted: nano, a directory, a .gguf file or a Hub id
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Count the rows with more tokens [default: than the base takes]
    #[arg(long, value_name = "N", requires = "base", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: Option<u32>,
    /// Rows that are looked at more closely
    #[arg(long, value_name = "N", default_value_t = SAMPLE as u32, value_parser = clap::value_parser!(u32).range(1..=SAMPLE as i64))]
    sample: u32,
    /// Seed of the sample
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write a page with small plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Columns of the table; there are more in the JSON.
const MOST_COLUMNS: usize = 40;
/// Examples that are shown of one kind.
const SHOWN: usize = 3;

pub(super) async fn main(args: Inspect, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let (mut paths, mut reads) = (Vec::new(), Vec::new());
    for given in &args.paths {
        let (path, read) = found(given)?;
        paths.push(path);
        reads.push(read);
    }
    let base = match &args.base {
        Some(name) => Some(bench.model(name).await?),
        None => None,
    };
    reads.extend(base.iter().flat_map(|base| bases::reads(base)));
    let job = Job {
        paths,
        base,
        max_length: args.max_length.map(|length| length as usize),
        sample: args.sample as usize,
        seed: args.seed,
        brief: false,
        roles: (None, None),
    };
    let output = inspect(&bench, job, reads).await?;
    if let Some(path) = &args.html {
        std::fs::write(path, data_inspect::page(&output))
            .map_err(|error| Failure::unwritten(path, &error, "name another --html"))?;
    }
    if args.json {
        print_json(&output)?;
    } else {
        told(&output, &args.paths).iter().for_each(|line| print(line));
        args.html.iter().for_each(|path| print(&format!("written to {}", visible(&path.display().to_string()))));
    }
    Ok(0)
}

/// Looks at rows, in the sandbox.
pub(super) async fn inspect(bench: &Bench<'_>, job: Job, reads: Vec<PathBuf>) -> Result<Output, Failure> {
    bench.run(&Work::Inspect(job), &bench.private()?, reads, "inspect").await
}

/// The output in lines for people: first what it is and what to do, then the evidence.
fn told(output: &Output, paths: &[PathBuf]) -> Vec<String> {
    let mut lines = vec![head(output)];
    lines.extend(output.files.iter().filter(|_| output.files.len() > 1).take(SHOWN * 3).map(|file| {
        format!(
            "  {}  {}, {}, {}",
            short(&file.path, 60),
            counted(file.rows, "row"),
            file.format.replace('_', " "),
            bytes(file.bytes)
        )
    }));
    lines.extend(
        output.skipped.iter().take(SHOWN).map(|file| format!("  not read: {} ({})", short(&file.path, 60), file.why)),
    );
    lines.push(String::new());
    lines.extend(to_do(output));
    lines.extend(columns(output));
    lines.extend(use_of(output, paths));
    lines.extend(evidence(output));
    lines
}

fn head(output: &Output) -> String {
    let files = match output.files.as_slice() {
        [file] => {
            let packed = if file.compression == "none" { String::new() } else { format!(", {}", file.compression) };
            let written = format!("{}, {}{packed}", file.format.replace('_', " "), file.encoding);
            format!("{} ({written}, {})", short(&file.path, 80), bytes(file.bytes))
        }
        files => counted(files.len() + output.files_left_out, "file"),
    };
    let sample = output.sample;
    let close = match sample.is_whole() {
        true => "all of them looked at closely".to_owned(),
        false => format!("{} of them drawn to look at closely (seed {})", count(sample.rows as u64), sample.seed),
    };
    let about = if output.duplicates_estimated { "about " } else { "" };
    format!("{} in {files}, {about}{} different, {close}", counted(output.rows, "row"), count(sample.of as u64))
}

fn to_do(output: &Output) -> Vec<String> {
    if output.findings.is_empty() {
        return vec!["nothing to do".to_owned(), String::new()];
    }
    let line = |finding: &data_inspect::Finding| {
        let weight = match finding.weight {
            Weight::Spoils => "spoils",
            Weight::Harms => "harms ",
            Weight::Minor => "minor ",
        };
        format!("  {weight}  {}", visible(&finding.why))
    };
    let lines = output.findings.iter().map(line);
    ["what to do".to_owned()].into_iter().chain(lines).chain([String::new()]).collect()
}

fn columns(output: &Output) -> Vec<String> {
    let head = ["column", "cells", "empty", "distinct", "characters", "values"].map(str::to_owned).to_vec();
    let shown = output.columns.iter().take(MOST_COLUMNS).map(|found| column(found, output));
    let mut lines = table(&[head].into_iter().chain(shown).collect::<Vec<_>>());
    let more = output.columns.len().saturating_sub(MOST_COLUMNS) + output.columns_left_out;
    if more > 0 {
        lines.push(format!("and {}", counted(more, "more column")));
    }
    lines.push(String::new());
    lines
}

fn column(column: &Column, output: &Output) -> Vec<String> {
    let [_, median, _, most] = column.lengths;
    let languages: Vec<String> = column.languages.iter().take(2).map(|language| language.label.clone()).collect();
    let values = match (column.labels.as_slice(), &column.numbers) {
        ([], Some(numbers)) => format!("{} to {}", numbers.quantiles[0], numbers.quantiles[4]),
        ([], None) => column.examples.first().cloned().unwrap_or_default(),
        (labels, _) => labels.iter().map(|l| format!("{} ({})", l.label, l.rows)).collect::<Vec<_>>().join(", "),
    };
    let languages = if languages.is_empty() { String::new() } else { format!(" [{}]", languages.join(", ")) };
    let share = column.missing as f64 / output.rows.max(1) as f64;
    vec![
        short(&column.name, 40),
        word(column.cells) + &languages,
        if column.missing == 0 { "0".to_owned() } else { format!("{} ({})", column.missing, percent(share)) },
        format!("{}{}", if column.distinct_estimated { "~" } else { "" }, column.distinct),
        format!("{median} median, {most} most"),
        short(&values, 60),
    ]
}

fn use_of(output: &Output, paths: &[PathBuf]) -> Vec<String> {
    let mut lines = Vec::new();
    for fit in output.formats.iter().filter(|fit| fit.fits) {
        let proposed = if Some(fit.kind) == output.format { "proposed: " } else { "also fits: " };
        let kind = word(fit.kind).replace('_', " ");
        let mapping: Vec<String> = fit.mapping.iter().map(|(part, column)| format!("{part} = {column}")).collect();
        lines.push(format!("{proposed}{kind} ({}), because {}", visible(&mapping.join(", ")), visible(&fit.why)));
        if Some(fit.kind) == output.format && !fit.arguments.is_empty() {
            lines.push(format!("  tunesmith {}", command(&fit.arguments, paths)));
        }
    }
    lines.extend(output.note.as_ref().map(|note| visible(note).into_owned()));
    if let Some(tokens) = &output.tokens {
        let [_, median, most_of, most] = tokens.lengths;
        lines.push(format!(
            "tokens of a row: {median} median, {most_of} at 95 %, {most} most; {} of {} have more than {}",
            tokens.longer, tokens.of, tokens.max_length
        ));
    }
    if let Some(labels) = &output.labels {
        let [most, least] = labels.balance;
        lines.push(format!(
            "{} in {}: {most} to {least} rows each",
            counted(labels.count, "label"),
            visible(&labels.target)
        ));
    }
    lines.push(String::new());
    lines
}

/// A command as it is typed, with the rows where it wants them: the first of several paths.
fn command(arguments: &[String], paths: &[PathBuf]) -> String {
    let quoted = |word: &str| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=,:".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let path = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let trains = arguments.first().is_some_and(|word| word == "train");
    let (before, after) = arguments.split_at(if trains { 1 } else { 2.min(arguments.len()) });
    let mut words: Vec<String> = before.iter().map(|word| quoted(word)).collect();
    words.extend(trains.then(|| "--data".to_owned()));
    words.push(quoted(&path));
    words.extend(after.iter().map(|word| quoted(word)));
    words.extend(["--out", if trains { "adapter" } else { "prepared" }].map(str::to_owned));
    visible(&words.join(" ")).into_owned()
}

fn evidence(output: &Output) -> Vec<String> {
    let mut lines = Vec::new();
    for bad in output.bad.iter().take(SHOWN) {
        lines.push(format!("no row: {}:{}: {}", short(&bad.path, 60), bad.line, short(&bad.reason, 160)));
    }
    let groups = |lines: &mut Vec<String>, title: &str, groups: &[Vec<Example>]| {
        for group in groups.iter().take(SHOWN) {
            lines.push(title.to_owned());
            lines.extend(group.iter().map(example));
        }
    };
    if let Some(labels) = &output.labels {
        for variants in labels.variants.iter().take(SHOWN) {
            let names: Vec<String> = variants.iter().map(|l| format!("{} ({})", short(&l.label, 40), l.rows)).collect();
            lines.push(format!("one label, written in several ways: {}", names.join(", ")));
        }
        groups(&mut lines, "one input, several labels:", &labels.contradicting_examples);
        groups(&mut lines, "nearly one input, several labels:", &labels.near_examples);
        if !labels.suspicious_examples.is_empty() {
            lines.push("labels that look wrong:".to_owned());
            lines.extend(labels.suspicious_examples.iter().take(SHOWN + 2).map(example));
        }
    }
    groups(
        &mut lines,
        "nearly the same:",
        output.near.as_ref().map(|near| near.examples.as_slice()).unwrap_or_default(),
    );
    for lint in output.damage.iter().chain(&output.private).take(4 * SHOWN) {
        let examples = short(&lint.examples.join("  "), 80);
        lines.push(format!("{} in {}: {examples}", lint.kind.replace('_', " "), short(&lint.name, 40)));
    }
    lines
}

fn example(example: &Example) -> String {
    let label = example.label.as_ref().map_or(String::new(), |label| format!("  [{}]", short(label, 40)));
    let rather = example.rather.as_ref().map_or(String::new(), |label| format!("  rather [{}]", short(label, 40)));
    format!("  {}:{}  {}{label}{rather}", short(&example.path, 40), example.line, short(&example.text, 100))
}
