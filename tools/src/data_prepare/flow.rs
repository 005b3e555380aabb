//! Rows on their way through the steps of a recipe: read once, in order, with what is left out written down.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tunesmith_harness::{
    overlap::{Kind, Match},
    recipe::Row,
    rows::{Bad, Count, Flow, Passed, Source, Stages},
};

use super::{Preparation, parts::When};
use crate::{
    data_overlap::{self, Places},
    inputs::{Named, short_name, source},
    worker::Live,
};

/// The file of what was left out.
pub const LEFT_OUT: &str = "left_out.jsonl";

/// Where a row is: its file among the inputs, and the line on which it begins.
pub(super) type Place = (usize, u64);

/// Rows that go through the steps.
pub(super) struct Through {
    flow: Flow,
    /// Names of the inputs.
    pub names: Vec<String>,
    pub left: LeftOut,
    stages: Vec<String>,
    needed: Vec<Needed>,
    /// Bytes of the inputs before each.
    before: Vec<u64>,
    total: u64,
}

/// A column that some step asks for, and whether any row has it.
struct Needed {
    column: String,
    seen: Arc<AtomicBool>,
}

/// The stages that steps come to; `target` is the column that no change touches.
pub(super) fn stages(
    recipe: &Preparation,
    against: &[Named],
    target: Option<&str>,
) -> anyhow::Result<(Stages, Vec<(String, Arc<AtomicBool>)>)> {
    let steps = &recipe.steps;
    steps.check(target)?;
    let needs = steps.needs()?;
    let mut needed = Vec::new();
    let mut watch = |columns: Vec<String>| {
        let watched: Vec<(String, Arc<AtomicBool>)> =
            columns.into_iter().map(|column| (column, Arc::new(AtomicBool::new(false)))).collect();
        needed.extend(watched.iter().cloned());
        move |row: &Row| {
            for (column, seen) in &watched {
                if !seen.load(Ordering::Relaxed) && row.contains_key(column) {
                    seen.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    let (read, later) = (watch(needs.read.into_iter().collect()), watch(needs.changed.into_iter().collect()));
    let mut stages = Stages::new();
    let changes = steps.changes();
    if !changes.is_empty() {
        let target = target.map(str::to_owned);
        stages = stages.each("change", move |row| {
            read(row);
            changes.apply(row, target.as_deref())
        });
    }
    let tests = steps.tests()?;
    if !tests.is_empty() || steps.group.is_some() || steps.time.is_some() {
        let (group, time) = (steps.group.clone(), steps.time.clone());
        stages = stages.each("keep", move |row| {
            later(row);
            let lacks =
                |column: &String| super::clean::cell(row, column).is_none().then(|| format!("{column} is empty"));
            let undated = |column: &String| When::of(row.get(column)).is_none().then(|| format!("{column} is no time"));
            let refusal = tests.iter().find_map(|test| test.refusal(row));
            let refusal =
                refusal.or_else(|| group.as_ref().and_then(lacks)).or_else(|| time.as_ref().and_then(undated));
            refusal.map_or(Ok(()), Err)
        });
    }
    if !against.is_empty() {
        let (evals, places) = data_overlap::evals(against, None).context("against")?;
        stages = stages.each("against", move |row| match evals.find(row).as_slice() {
            [] => Ok(()),
            found => Err(matched(found, &places)),
        });
    }
    Ok((stages, needed))
}

/// The eval rows that stand in a row, the most certain first.
fn matched(found: &[Match], places: &Places) -> String {
    const SHOWN: usize = 3;
    let mut found: Vec<&Match> = found.iter().collect();
    found.sort_by(|a, b| b.kind.cmp(&a.kind).then(a.row.cmp(&b.row)));
    let one = |found: &&Match| {
        let (file, line) = places.place(found.row);
        // Wherever it lies, so that the same files are told of in the same words.
        let file = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
        let how = match found.kind {
            Kind::Verbatim => "verbatim",
            Kind::Near => "near",
            Kind::Half => "half",
        };
        format!("{how} {file}:{line}")
    };
    let more = if found.len() > SHOWN { format!(" and {} more", found.len() - SHOWN) } else { String::new() };
    found.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ") + &more
}

impl Through {
    /// Begins to read files, and to write what is left out into the directory `out`.
    pub fn new(
        source: &Source,
        files: &[Named],
        stages: Stages,
        needed: Vec<(String, Arc<AtomicBool>)>,
        out: &Path,
    ) -> anyhow::Result<Through> {
        let flow = stages.run(source);
        let names: Vec<String> = source.inputs.iter().map(|input| short_name(files, input)).collect();
        let sizes = source.inputs.iter().map(|input| input.bytes);
        let before = sizes.clone().scan(0, |sum, bytes| Some(std::mem::replace(sum, *sum + bytes))).collect();
        Ok(Through {
            stages: flow.counts().into_iter().map(|count| count.name).collect(),
            left: LeftOut { path: out.join(LEFT_OUT), names: names.clone(), out: None, lines: 0 },
            needed: needed.into_iter().map(|(column, seen)| Needed { column, seen }).collect(),
            total: sizes.sum(),
            flow,
            names,
            before,
        })
    }

    /// The next rows that came through.
    pub fn next(&mut self, live: &mut Live<'_>) -> anyhow::Result<Option<Passed>> {
        let Some(passed) = self.flow.next() else { return Ok(None) };
        let passed = passed?;
        for bad in &passed.bad {
            self.left.write((bad.file, bad.line), "read", &bad.why, None)?;
        }
        for left in &passed.left {
            self.left.write((passed.file, left.line), &self.stages[left.stage], &left.why, left.like)?;
        }
        let done = self.before[passed.file] + passed.read;
        live.progress("preparing (bytes)", done as usize, self.total as usize);
        Ok(Some(passed))
    }

    /// Rows that were read, lines that gave none, and how many rows went through each stage. An error where there was none,
    /// none is left, or none has a column that a step asks for.
    pub fn counts(&self) -> anyhow::Result<(u64, u64, Vec<Count>)> {
        if self.flow.read == 0 {
            match self.flow.bad {
                0 => bail!("{} has no rows; give a file with rows", self.names.join(", ")),
                bad => bail!(
                    "{}: none of its {bad} lines gives a row; `tunesmith data inspect` says why",
                    self.names.join(", ")
                ),
            }
        }
        if let Some(needed) = self.needed.iter().find(|needed| !needed.seen.load(Ordering::Relaxed)) {
            // Rows that an earlier stage left out were never looked at.
            let reached = self.flow.counts().iter().any(|count| count.after > 0) || self.flow.counts().is_empty();
            if reached {
                bail!("no row has a column {:?}, which a step asks for; check its name", needed.column);
            }
        }
        let counts = self.flow.counts();
        if counts.last().is_some_and(|last| last.after == 0) {
            let one = |stage: &Count| format!("{} {} to {}", stage.name, stage.before, stage.after);
            let told: Vec<String> = counts.iter().map(one).collect();
            bail!("no row is left of {} ({}); ask less of rows", self.flow.read, told.join(", "));
        }
        Ok((self.flow.read, self.flow.bad, counts))
    }
}

/// What was left out, one JSON object per line: file, line, stage, and why or which row it repeats. There is no file
/// where nothing was.
pub(super) struct LeftOut {
    path: PathBuf,
    names: Vec<String>,
    out: Option<BufWriter<File>>,
    /// Lines that were written.
    pub lines: u64,
}

impl LeftOut {
    /// Writes one line.
    pub fn write(&mut self, place: Place, stage: &str, why: &str, like: Option<Place>) -> io::Result<()> {
        let at = |(file, line): Place| json!({"file": self.names[file], "line": line});
        let Value::Object(mut entry) = at(place) else { return Ok(()) };
        entry.insert("stage".into(), stage.into());
        if !why.is_empty() {
            entry.insert("why".into(), why.into());
        }
        if let Some(like) = like {
            entry.insert("repeats".into(), at(like));
        }
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(BufWriter::new(File::create(&self.path)?)),
        };
        self.lines += 1;
        serde_json::to_writer(&mut *out, &entry)?;
        out.write_all(b"\n")
    }

    /// Writes what is left of it, and gives the file if there is one.
    pub fn finish(self) -> io::Result<Option<PathBuf>> {
        let Some(out) = self.out else { return Ok(None) };
        out.into_inner().map_err(|error| error.into_error())?.sync_data()?;
        Ok(Some(self.path))
    }
}

/// The files of a preparation. Lines that give no row are set apart.
pub(super) fn files(named: &[Named], live: &mut Live<'_>) -> anyhow::Result<Source> {
    let source = source(named, Bad::Quarantine)?;
    source.inputs.iter().for_each(|input| live.note("read", input.note()));
    Ok(source)
}
