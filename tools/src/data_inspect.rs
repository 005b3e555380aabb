//! `data_inspect`: what is in files of rows, what would spoil a training, and what the rows could be used for.
//!
//! ```text
//! files --pass--> columns, exact duplicates, a drawn sample --looks--> formats, near-duplicates, labels, lints, tokens --> findings
//! ```
//!
//! The pass sees every row once, in bounded memory; everything that costs more sees the sample alone and says so.

use std::path::{Path, PathBuf};

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    rows::{Bad, Input, Reading, Source},
    score::{Score, Verdict},
};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    files::{existing, score, typed},
    memory::{ALLOWANCE, bounded},
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod brief;
mod chats;
mod column;
mod damage;
mod draw;
mod findings;
mod formats;
mod labels;
mod language;
mod lint;
mod near;
mod output;
mod page;
mod pass;
mod private;
mod propose;
mod sketch;
mod text;
mod tokens;

pub use output::{
    BadRow, Cells, Column, Example, File, Finding, Fit, LabelCount, Labels, Lint, Near, Numbers, Output, Place,
    Problem, Proposal, Sample, Shape, Skipped, Tokens, Weight,
};
pub use page::page;

/// Where the open rows of a run are.
pub const DATA: &str = "data/train.jsonl";
/// Rows of a sample, at most and by default.
pub const SAMPLE: usize = 50_000;
/// Files that are listed.
const LISTED: usize = 50;

/// See [`Args`].
pub struct DataInspect;

/// Looks at the rows: columns, empty cells, duplicates, lengths and label balance, and proposes how to use them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// File in the workdir.
    #[serde(default = "data")]
    pub file: String,
    /// Column of the input, where it is known.
    #[serde(default)]
    pub input: Option<String>,
    /// Column of the answer, where it is known.
    #[serde(default)]
    pub target: Option<String>,
}

/// The default of arguments that name the data.
pub fn data() -> String {
    DATA.to_owned()
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Files, folders and patterns.
    pub paths: Vec<PathBuf>,
    /// The base in whose tokens rows are counted.
    pub base: Option<PathBuf>,
    /// The length beyond which rows would be cut; by default what the base takes.
    pub max_length: Option<usize>,
    /// Rows of the sample, at most [`SAMPLE`].
    pub sample: usize,
    /// Seed of the sample.
    pub seed: u64,
    /// Whether the output is for a planner, who pays for each letter.
    pub brief: bool,
    /// The columns of the input and of the answer, where the user names them.
    #[serde(default)]
    pub roles: (Option<String>, Option<String>),
}

impl Job {
    /// Looks at one file, with nothing counted in tokens.
    pub fn of(file: &Path) -> Job {
        let (paths, roles) = (vec![file.to_owned()], (None, None));
        Job { paths, base: None, max_length: None, sample: SAMPLE, seed: 0, brief: false, roles }
    }
}

impl Tool for DataInspect {
    const NAME: &'static str = "data_inspect";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let file = existing(cx.dir, "/file", &args.file)?;
        let roles = (args.input, args.target);
        let job = Job { base: Some(cx.base.to_owned()), seed: cx.seed, brief: true, roles, ..Job::of(&file) };
        let reads = bases::reads(cx.base);
        typed(run_work(cx.jobs, cx.dir, &Work::Inspect(job), reads, (cx.deadline, &cx.cancel), cx.on).await?)
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let (verdict, why) = match &output.proposal {
            Some(proposal) => (Verdict::Pass, proposal.why.clone()),
            None => (Verdict::Fail, output.note.clone().unwrap_or_else(|| "no use of these rows is known".into())),
        };
        let share = output.duplicates as f64 / output.rows.max(1) as f64;
        let repeats = if share > 0.1 { Verdict::Warn } else { Verdict::Pass };
        vec![
            score("data.usable", None, verdict, why),
            score(
                "data.duplicates",
                Some(share),
                repeats,
                format!("{} of {} rows repeat another", output.duplicates, output.rows),
            ),
        ]
    }
}

impl Job {
    /// Looks at the files.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        let source = Source::find(&self.paths, &Reading { bad: Bad::Quarantine, ..Reading::default() })?;
        let names = names(&source.inputs);
        let draw = draw::Draw::new(self.sample.min(SAMPLE), self.seed);
        let pass = bounded(ALLOWANCE, || pass::run(&source, draw, live))?;
        if pass.rows == 0 {
            let first = pass.bad.first().map_or_else(String::new, |bad| format!("; the first line: {}", bad.why));
            bail!("{} has no rows{first}; give a file with a header and rows", names.join(", "));
        }
        let mut output = self.whole(&source, &names, &pass);
        self.look(&mut output, &pass, &names, live);
        output.findings = findings::all(&output);
        Ok(if self.brief { brief::brief(output) } else { output })
    }

    /// What the pass found.
    fn whole(&self, source: &Source, names: &[String], pass: &pass::Pass) -> Output {
        let columns: Vec<Column> = pass.columns.iter().map(|column| column.finish(pass.rows)).collect();
        let roles = (self.roles.0.as_deref(), self.roles.1.as_deref());
        let (proposal, note) = match propose::propose(&columns, pass.rows, &pass.sample, roles) {
            Ok((proposal, note)) => (Some(proposal), note),
            Err(why) => (None, Some(why)),
        };
        let shown = |file: usize| names.get(file).cloned().unwrap_or_default();
        let bad = pass.bad.iter().map(|bad| BadRow {
            path: shown(bad.file),
            line: bad.line,
            reason: bad.why.clone(),
            example: bad.raw.clone(),
        });
        let skipped = source
            .skipped
            .iter()
            .map(|skipped| Skipped { path: crate::files::name(&skipped.path), why: skipped.why.to_owned() });
        let files = source.inputs.iter().zip(names).zip(&pass.files);
        Output {
            rows: pass.rows,
            duplicates: pass.duplicates.value as usize,
            duplicates_estimated: !pass.duplicates.exact,
            repeated: pass.repeated.iter().map(|(file, line)| Place { path: shown(*file), line: *line }).collect(),
            columns,
            columns_left_out: pass.columns_left_out,
            proposal,
            note,
            files: files.take(LISTED).map(|((input, name), counts)| file(input, name, *counts)).collect(),
            files_left_out: names.len().saturating_sub(LISTED),
            skipped: skipped.take(LISTED).collect(),
            bad_rows: pass.files.iter().map(|(_, bad)| bad).sum(),
            bad: bad.collect(),
            sample: Sample { rows: pass.sample.len(), of: pass.different, seed: self.seed, too_large: pass.too_large },
            ..Output::default()
        }
    }

    /// What only the sample is looked at for.
    fn look(&self, output: &mut Output, pass: &pass::Pass, names: &[String], live: &mut Live<'_>) {
        let sample = &pass.sample[..];
        let mut step = 0;
        let mut next = |what: &str| {
            step += 1;
            live.progress(&format!("look at a sample: {what}"), step, 5);
        };
        next("formats");
        let seen = formats::Seen { columns: &output.columns, sample, proposal: output.proposal.as_ref(), names };
        (output.formats, output.format) = formats::fits(&seen);
        let fit = output.formats.iter().find(|fit| Some(fit.kind) == output.format).cloned();
        next("near-duplicates");
        let compared = compared(fit.as_ref(), &output.columns);
        let groups = near::groups(sample, &compared, self.seed);
        output.near = (!compared.is_empty()).then(|| near::summary(&groups, sample, &compared, names));
        next("labels");
        let of_labels = output.proposal.as_ref().filter(|_| output.format == Some(Shape::Classification));
        let counts = |target: &str| pass.columns.iter().find(|column| column.name == target)?.values();
        output.labels = of_labels
            .and_then(|proposal| Some(labels::look(proposal, counts(&proposal.target)?, sample, &groups, names)));
        next("languages, damage and private data");
        language::look(&mut output.columns, sample);
        (output.damage, output.private) = lint::look(sample);
        next("tokens");
        if let Some(base) = &self.base {
            match tokens::count(base, self.max_length, sample, fit.as_ref()) {
                Ok(tokens) => output.tokens = Some(tokens),
                Err(why) => live.warn("tokens", format!("lengths in tokens are unknown: {why:#}")),
            }
        }
    }
}

/// The columns whose texts are compared for near-duplicates: those of the input.
fn compared(fit: Option<&Fit>, columns: &[Column]) -> Vec<String> {
    let parts: &[&str] = match fit.map(|fit| fit.kind) {
        Some(Shape::Messages | Shape::Sharegpt) => &["messages"],
        Some(Shape::Preference) => &["prompt"],
        Some(Shape::Alpaca) => &["instruction", "input"],
        Some(Shape::Classification) => &["input"],
        Some(Shape::PromptCompletion) => &["prompt"],
        Some(Shape::Text) => &["text"],
        None => &[],
    };
    let mapped = |part: &&str| fit.and_then(|fit| fit.mapping.get(*part)).cloned();
    let found: Vec<String> = parts.iter().filter_map(mapped).collect();
    if !found.is_empty() {
        return found;
    }
    columns.iter().filter(|column| column.cells == Cells::Text).map(|column| column.name.clone()).collect()
}

fn file(input: &Input, name: &str, (rows, bad_rows): (usize, usize)) -> File {
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    File {
        path: name.to_owned(),
        format: word(serde_json::to_value(input.format)),
        encoding: input.encoding.name().to_owned(),
        compression: word(serde_json::to_value(input.compression)),
        bytes: input.bytes,
        rows,
        bad_rows,
        note: input.note(),
    }
}

/// The names of files, as short as tells them apart: below the folder that holds them all.
fn names(inputs: &[Input]) -> Vec<String> {
    let parents: Vec<&Path> = inputs.iter().filter_map(|input| input.path.parent()).collect();
    let common = |folder: &&Path| parents.iter().all(|parent| parent.starts_with(folder));
    let root = parents.first().and_then(|parent| parent.ancestors().find(common));
    let name = |input: &Input| {
        let below = root.and_then(|root| input.path.strip_prefix(root).ok());
        below.unwrap_or(&input.path).display().to_string()
    };
    inputs.iter().map(name).collect()
}
