//! Rows on their way through the steps of a recipe: read once, in order, with what is left out written down.

use std::{
    fs::{self, File},
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

use super::Preparation;
use crate::{
    data_overlap::{self, Places},
    inputs::{Named, short_name, source},
    worker::Live,
};

/// The file of what was left out.
pub const LEFT_OUT: &str = "left_out.jsonl";

/// The stages that ask for columns.
const CHANGE: &str = "change";
const KEEP: &str = "keep";

/// Where a row is: its file among the inputs, and the line on which it begins.
pub(super) type Place = (usize, u64);

/// Rows that go through the steps.
pub(super) struct Through {
    flow: Flow,
    pub left: LeftOut,
    stages: Vec<String>,
    needed: [Needed; 2],
    /// Bytes of the inputs before each.
    before: Vec<u64>,
    total: u64,
}

/// Columns that a step asks for, and whether any row has them.
#[derive(Clone)]
pub(super) struct Needed(Arc<Vec<(String, AtomicBool)>>);

impl Needed {
    fn new(columns: impl IntoIterator<Item = String>) -> Needed {
        Needed(Arc::new(columns.into_iter().map(|column| (column, AtomicBool::new(false))).collect()))
    }

    fn see(&self, row: &Row) {
        let missing = self.0.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed));
        missing
            .filter(|(column, _)| row.contains_key(column))
            .for_each(|(_, seen)| seen.store(true, Ordering::Relaxed));
    }

    fn unseen(&self) -> Option<&str> {
        self.0.iter().find(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(column, _)| column.as_str())
    }
}

/// The stages that steps come to, and the columns that they need; `target` is the column that no change touches.
pub(super) fn stages(
    recipe: &Preparation,
    against: &[Named],
    target: Option<&str>,
) -> anyhow::Result<(Stages, [Needed; 2])> {
    let steps = &recipe.steps;
    let needs = steps.needs()?;
    let (read, later) = (Needed::new(needs.read), Needed::new(needs.changed));
    let mut stages = Stages::new();
    let changes = steps.changes();
    if !changes.is_empty() {
        let (needed, target) = (read.clone(), target.map(str::to_owned));
        stages = stages.each(CHANGE, move |row| {
            needed.see(row);
            changes.apply(row, target.as_deref())
        });
    }
    if !steps.keep.is_empty() || steps.group.is_some() || steps.time.is_some() {
        let (needed, meets) = (later.clone(), steps.meets()?);
        stages = stages.each(KEEP, move |row| {
            needed.see(row);
            meets(row)
        });
    }
    if !against.is_empty() {
        let (evals, places) = data_overlap::evals(against, None).context("against")?;
        stages = stages.each("against", move |row| match evals.find(row).as_slice() {
            [] => Ok(()),
            found => Err(matched(found, &places)),
        });
    }
    Ok((stages, [read, later]))
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
        needed: [Needed; 2],
        out: &Path,
    ) -> anyhow::Result<Through> {
        let path = out.join(LEFT_OUT);
        // What an earlier preparation left out is not what this one does.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {LEFT_OUT}"));
            }
            _ => {}
        }
        let flow = stages.run(source);
        let names: Vec<String> = source.inputs.iter().map(|input| short_name(files, input)).collect();
        let sizes = source.inputs.iter().map(|input| input.bytes);
        let before = sizes.clone().scan(0, |sum, bytes| Some(std::mem::replace(sum, *sum + bytes))).collect();
        Ok(Through {
            stages: flow.counts().into_iter().map(|count| count.name).collect(),
            left: LeftOut { path, names, out: None },
            needed,
            total: sizes.sum(),
            flow,
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
                0 => bail!("{} has no rows; give a file with rows", self.left.names.join(", ")),
                bad => bail!(
                    "{}: none of its {bad} lines gives a row; `tunesmith data inspect` says why",
                    self.left.names.join(", ")
                ),
            }
        }
        let counts = self.flow.counts();
        // A stage that no row came to has seen none.
        let reached = |name: &str| counts.iter().any(|count| count.name == name && count.before > 0);
        let [read, later] = &self.needed;
        let unseen = read.unseen().filter(|_| reached(CHANGE)).or(later.unseen().filter(|_| reached(KEEP)));
        if let Some(column) = unseen {
            bail!("no row has a column {column:?}, which a step asks for; check its name");
        }
        if let Some(last) = counts.iter().position(|count| count.after == 0) {
            let one = |count: &Count| format!("{} {} to {}", count.name, count.before, count.after);
            let told: Vec<String> = counts[..=last].iter().map(one).collect();
            bail!("no row is left of {} ({}); ask less of rows", self.flow.read, told.join(", "));
        }
        Ok((self.flow.read, self.flow.bad, counts))
    }
}

/// What was left out, one JSON object per line: file, line, stage, and why or which row it repeats. There is no file
/// where nothing was.
pub(super) struct LeftOut {
    path: PathBuf,
    /// Names of the inputs.
    names: Vec<String>,
    out: Option<BufWriter<File>>,
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
