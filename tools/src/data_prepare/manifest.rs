//! What was made of what: hashes of all that went in and came out, counts at every stage, the recipe and its seed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    hash::sha256_file,
    recipe::Row,
    rows::{Bad, Codec, Compression, Count, Layout, Source, Writer},
    run::write_json,
};

use super::{Format, Job, Output, Part, Preparation, card};
use crate::{
    files,
    inputs::{self, Named, short_name},
};

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

/// A preparation from end to end. It names no time, and no place but those of eval sets as the recipe has them, so that the
/// same recipe on the same bytes gives the same manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the program.
    pub tunesmith: String,
    /// What was asked for.
    pub recipe: Preparation,
    /// What was read.
    pub inputs: Vec<File>,
    /// Eval sets that rows were held against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<File>,
    /// The files of the base by which tokens were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<File>,
    /// Lines that gave no row.
    pub bad_lines: u64,
    /// Rows that came to each stage and through it.
    pub stages: Vec<Count>,
    /// What was written, but for this file and the card.
    pub outputs: Vec<File>,
    /// What is not written as it was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A file, known by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, wherever it lies.
    pub file: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Rows in it, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl File {
    fn of(path: &Path, file: String, rows: Option<u64>) -> anyhow::Result<File> {
        let unread = || format!("cannot read {file}");
        let bytes = std::fs::metadata(path).with_context(unread)?.len();
        let sha256 = sha256_file(path).with_context(unread)?;
        Ok(File { sha256, bytes, rows, file })
    }
}

/// A part on its way into its file, which is begun with its first row.
pub(super) struct Out {
    path: PathBuf,
    part: Part,
    layout: Layout,
    writer: Option<Writer>,
}

/// A part that was written.
pub(super) struct Written {
    pub part: Part,
    pub path: PathBuf,
    pub rows: u64,
    pub notes: Vec<String>,
}

impl Out {
    pub fn create(dir: &Path, part: Part, format: Format) -> anyhow::Result<Out> {
        let (layout, extension) = match format {
            Format::Jsonl => (Layout::JsonLines(Compression::None), "jsonl"),
            Format::Parquet => (Layout::Parquet(Codec::Snappy), "parquet"),
        };
        let path = dir.join(format!("{}.{extension}", part.name()));
        Ok(Out { path, part, layout, writer: None })
    }

    pub fn write(&mut self, rows: impl IntoIterator<Item = Row>) -> anyhow::Result<()> {
        let unwritten = || format!("cannot write {}", files::name(&self.path));
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(Writer::create(&self.path, self.layout).with_context(unwritten)?),
        };
        writer.write(rows).with_context(unwritten)
    }

    /// Ends the file; `None` where nothing was written.
    pub fn finish(self) -> anyhow::Result<Option<Written>> {
        let Some(writer) = self.writer else { return Ok(None) };
        let written = writer.finish().with_context(|| format!("cannot write {}", files::name(&self.path)))?;
        Ok(Some(Written { part: self.part, path: self.path, rows: written.rows, notes: written.notes }))
    }
}

/// What was made.
pub(super) struct Made {
    pub parts: Vec<Written>,
    /// Other files.
    pub files: Vec<PathBuf>,
    pub stages: Vec<Count>,
    pub bad_lines: u64,
}

/// The stages of examples: the steps, then the reasons for which examples were left out, in the order in which they were
/// looked for.
pub(super) fn stages(output: &Output) -> Vec<Count> {
    let dropped = &output.dropped;
    let reasons = [
        ("examples", dropped.empty + dropped.special_tokens + dropped.no_marker),
        ("unique", dropped.duplicates + dropped.conflicting),
        ("length", dropped.too_long),
        ("near", dropped.near),
        ("balance", dropped.balanced),
    ];
    let mut before = output.stages.last().map_or(output.rows as u64, |stage| stage.after);
    let mut stages = output.stages.clone();
    for (name, gone) in reasons {
        // What nobody asked for did not take place.
        if gone == 0 && ["near", "balance"].contains(&name) {
            continue;
        }
        let after = before - gone as u64;
        stages.push(Count { name: name.into(), before, after });
        before = after;
    }
    stages
}

/// Writes the manifest and the card.
pub(super) fn write(job: &Job, source: &Source, made: Made) -> anyhow::Result<()> {
    let known = |named: &[Named], source: &Source| {
        let file = |input: &tunesmith_harness::rows::Input| File::of(&input.path, short_name(named, input), None);
        source.inputs.par_iter().map(file).collect::<anyhow::Result<Vec<File>>>()
    };
    let against = match job.against.as_slice() {
        [] => Vec::new(),
        against => known(against, &inputs::source(against, Bad::Refuse)?)?,
    };
    let parts = made.parts.iter().map(|part| (&part.path, Some(part.rows)));
    let outputs: Vec<(&PathBuf, Option<u64>)> = parts.chain(made.files.iter().map(|path| (path, None))).collect();
    let output = |(path, rows): &(&PathBuf, Option<u64>)| File::of(path, files::name(path), *rows);
    // Large files are hashed beside each other.
    let (inputs, outputs) = rayon::join(
        || known(&job.files, source),
        || outputs.par_iter().map(output).collect::<anyhow::Result<Vec<File>>>(),
    );
    let manifest = Manifest {
        tunesmith: env!("CARGO_PKG_VERSION").into(),
        recipe: job.recipe.clone(),
        inputs: inputs?,
        against,
        base: job.base.as_deref().map(base).transpose()?.unwrap_or_default(),
        bad_lines: made.bad_lines,
        stages: made.stages,
        outputs: outputs?,
        notes: made.parts.iter().flat_map(|part| part.notes.iter().cloned()).collect(),
    };
    write_json(&job.out.join(MANIFEST), &manifest)?;
    let parts: Vec<(Part, String, u64)> =
        made.parts.iter().map(|part| (part.part, files::name(&part.path), part.rows)).collect();
    let card = card::card(&manifest, &parts);
    std::fs::write(job.out.join(card::CARD), card).context("cannot write the card")
}

/// What decides how texts become tokens: the tokenizer and its template, or the one file that holds all.
fn base(base: &Path) -> anyhow::Result<Vec<File>> {
    if base.is_file() {
        return Ok(vec![File::of(base, files::name(base), None)?]);
    }
    let names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    let there = names.iter().filter(|name| base.join(name).is_file());
    there.map(|name| File::of(&base.join(name), (*name).to_owned(), None)).collect()
}
