//! Rows that stay rows: changed, filtered, without repetitions, in parts. They are read as a stream; memory holds what
//! tells repetitions, and for parts by label or time a few bytes of each row.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    recipe::Row,
    rows::{Compression, Count, Key, Layout, Passed, Reading, Source, Stages, Writer, key},
};

use super::{
    Job, PREPARED, Part, Preparation,
    clean::cell,
    flow::{self, Through},
    manifest::{self, Made, Out},
    parts::{self, Shares, When},
};
use crate::worker::Live;

/// Rows that came through, before it is known into which part they fall.
const SPOOL: &str = ".spool.jsonl";

/// How rows stay rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// Column of labels: each has its share in every part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Columns whose content makes two rows the same; all if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Where the files are.
    pub path: String,
    /// Rows read.
    pub rows: u64,
    /// Lines that gave no row.
    pub bad_lines: u64,
    /// Rows that came to each stage and through it.
    pub stages: Vec<Count>,
    /// Rows of each part, by its file.
    pub parts: BTreeMap<String, u64>,
    /// What is not written as it was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Reads, cleans, splits and writes rows.
pub fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    let recipe = &job.recipe;
    let plain = recipe.rows.clone().unwrap_or_default();
    let steps = &recipe.steps;
    if plain.label.is_none() && (steps.most_per_label.is_some() || steps.least_per_label.is_some()) {
        bail!("most_per_label and least_per_label need a column of labels; name it with label");
    }
    if plain.label.is_some() && steps.time.is_some() {
        bail!("label and time both say how rows are divided; leave one out");
    }
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {PREPARED}"))?;
    let source = flow::files(&job.files, live)?;
    let (stages, needed) = flow::stages(recipe, &job.against, None)?;
    let stages = without_repetitions(stages, recipe, &plain)?;
    let at_once = plain.label.is_none() && steps.time.is_none();
    let stages = if at_once { by_content(stages, recipe, &plain) } else { stages };
    let mut through = Through::new(&source, &job.files, stages, needed, &job.out)?;
    let mut outs = Vec::new();
    for part in Part::ALL {
        outs.push(Out::create(&job.out, part, recipe.format)?);
    }
    let balanced = match at_once {
        true => {
            while let Some(passed) = through.next(live)? {
                for (out, rows) in outs.iter_mut().zip(passed.divided(Part::ALL.len())) {
                    write(out, rows)?;
                }
            }
            None
        }
        false => in_two_passes(job, &plain, &mut through, &mut outs, live)?,
    };
    let (rows, bad_lines, mut stages) = through.counts()?;
    stages.extend(balanced);
    let mut parts = Vec::new();
    for out in outs {
        parts.extend(out.finish()?);
    }
    let output = Output {
        path: PREPARED.into(),
        rows,
        bad_lines,
        parts: parts.iter().map(|part| (crate::files::name(&part.path), part.rows)).collect(),
        notes: parts.iter().flat_map(|part| part.notes.iter().cloned()).collect(),
        stages: stages.clone(),
    };
    let files = through.left.finish()?.into_iter().collect();
    manifest::write(job, &source, Made { parts, files, stages, bad_lines })?;
    Ok(output)
}

/// A part that gets no row gets no file.
fn write(out: &mut Out, rows: Vec<Row>) -> anyhow::Result<()> {
    if rows.is_empty() { Ok(()) } else { out.write(rows) }
}

fn without_repetitions(stages: Stages, recipe: &Preparation, plain: &Plain) -> anyhow::Result<Stages> {
    let by = plain.by.clone();
    let stages = stages.distinct("duplicates", move |row| key(row, &by));
    let by = plain.by.clone();
    Ok(match recipe.steps.likeness()? {
        Some(likeness) => stages.unlike("near", likeness, recipe.seed, move |row| text(row, &by)),
        None => stages,
    })
}

/// The texts by which rows are told to be alike.
fn text(row: &Row, by: &[String]) -> String {
    let counts = |name: &String| by.is_empty() || by.contains(name);
    let texts = row.iter().filter(|(name, _)| counts(name)).filter_map(|(_, value)| value.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// Parts by the rows' own content, so that a row falls into the same part whatever else is in the files.
fn by_content(stages: Stages, recipe: &Preparation, plain: &Plain) -> Stages {
    let mut shares = vec![1.0 - recipe.valid_share - recipe.test_share, recipe.valid_share, recipe.test_share];
    while shares.len() > 1 && shares.last() == Some(&0.0) {
        shares.pop();
    }
    let by = recipe.steps.group.as_ref().map_or_else(|| plain.by.clone(), |group| vec![group.clone()]);
    if shares.len() > 1 { stages.split(&shares, recipe.seed, move |row| key(row, &by)) } else { stages }
}

/// What decides a row's part, in the order of the rows.
#[derive(Default)]
struct Facts {
    labels: Vec<Option<usize>>,
    names: BTreeMap<String, usize>,
    groups: Vec<Key>,
    times: Vec<When>,
    lines: Vec<(u32, u64)>,
}

impl Facts {
    fn add(&mut self, passed: &Passed, recipe: &Preparation, plain: &Plain) {
        let by = recipe.steps.group.as_ref().map_or_else(|| plain.by.clone(), |group| vec![group.clone()]);
        for row in &passed.rows {
            let label = plain.label.as_ref().and_then(|label| cell(row, label)).map(|label| {
                let next = self.names.len();
                *self.names.entry(label.into_owned()).or_insert(next)
            });
            self.labels.push(label);
            match &recipe.steps.time {
                // Rows without a time were left out before.
                Some(column) => self.times.extend(When::of(row.get(column))),
                None => self.groups.push(key(row, &by)),
            }
        }
        self.lines.extend(passed.lines.iter().map(|line| (passed.file as u32, *line)));
    }

    fn parts(&mut self, recipe: &Preparation) -> anyhow::Result<Vec<Part>> {
        let shares = Shares { valid: recipe.valid_share, test: recipe.test_share };
        match recipe.steps.time {
            Some(_) => parts::by_time(&self.times, shares),
            None => {
                let groups = std::mem::take(&mut self.groups);
                Ok(parts::by_group(self.labels.iter().copied().zip(groups), shares, recipe.seed))
            }
        }
    }
}

/// Parts by label or time, for which all rows must have been seen: they lie on disk meanwhile. Gives the stage of balance.
fn in_two_passes(
    job: &Job,
    plain: &Plain,
    through: &mut Through,
    outs: &mut [Out],
    live: &mut Live<'_>,
) -> anyhow::Result<Option<Count>> {
    let (recipe, steps) = (&job.recipe, &job.recipe.steps);
    let spool = job.out.join(SPOOL);
    let mut facts = Facts::default();
    let mut writer = Writer::create(&spool, Layout::JsonLines(Compression::None)).context("cannot write rows")?;
    while let Some(passed) = through.next(live)? {
        facts.add(&passed, recipe, plain);
        writer.write(passed.rows).context("cannot write rows")?;
    }
    let rows = writer.finish().context("cannot write rows")?.rows;
    if plain.label.is_some() && facts.names.is_empty() && rows > 0 {
        bail!("no row has a label in {:?}; name another column", plain.label.as_deref().unwrap_or_default());
    }
    let parts = facts.parts(recipe)?;
    let copies = parts::copies(&facts.labels, &parts, (steps.most_per_label, steps.least_per_label), recipe.seed);
    if rows > 0 {
        let mut at = 0;
        for batch in Source::file(&spool, &Reading::default())?.batches() {
            for row in batch?.rows {
                let out = &mut outs[parts[at] as usize];
                if copies[at] > 0 {
                    out.write(std::iter::repeat_n(row, copies[at]))?;
                }
                at += 1;
            }
            live.progress("writing (rows)", at, rows as usize);
        }
    }
    remove(&spool)?;
    let gone = copies.iter().filter(|copies| **copies == 0).count() as u64;
    for (at, _) in copies.iter().enumerate().filter(|(_, copies)| **copies == 0) {
        let (file, line) = facts.lines[at];
        through.left.write((file as usize, line), "balance", "", None)?;
    }
    Ok((gone > 0).then(|| Count { name: "balance".into(), before: rows, after: rows - gone }))
}

fn remove(spool: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(spool).context("cannot remove a temporary file")
}
