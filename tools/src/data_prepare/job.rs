//! The worker's part of `data_prepare`: rows become examples.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;
use tunesmith_harness::{
    figures, hash,
    near::Near,
    recipe::{Example, Recipe, Row},
    rows::{MAX_BYTES, Source},
    run::write_json,
    task::JobKind,
};

use super::{
    Dropped, Job, LabelRows, MOST_RECIPE, Mapping, Output, PREPARED, Part,
    clean::{self, Fate},
    flow::{self, LeftOut, Place, Through},
    labels,
    manifest::{self, Made},
    parts::{self, Shares, When},
    quality, recipe_of, scores,
};
use crate::{encode::Encoder, plan::Kind, worker::Live};

/// Share of an extraction's answers that must be JSON.
const JSON_SHARE: f64 = 0.95;
/// Labels listed in the output, and columns in an error.
const SHOWN: usize = 100;
/// Most validation examples: they are scored after every epoch.
const MOST_VALID: usize = 1_000;

/// An example on its way into a part.
struct Item {
    place: Place,
    example: Example,
    group: Option<String>,
    time: Option<When>,
    /// Tokens of prompt and answer.
    tokens: (usize, usize),
}

pub(super) fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    job.recipe.check()?;
    let mapping = job.recipe.examples.as_ref().context("the recipe does not say how rows become examples")?;
    match (mapping.kind == Kind::Pretraining, mapping.input == mapping.target) {
        (false, true) => bail!("input and target are the same column"),
        (true, false) => bail!("raw text is one column; name it as input and as target"),
        _ => {}
    }
    let base = job.base.as_ref().context("there is no base to count tokens with")?;
    let encoder = Encoder::open(base).context("the base cannot be used")?;
    if mapping.kind != Kind::Pretraining {
        encoder.chat().context("the base cannot be used")?;
    }
    // A plan may allow for more than this base takes; the output and the recipe say what holds.
    let limit = mapping.max_length.map_or(encoder.max_length(), |asked| asked.min(encoder.max_length()));
    let mut recipe = recipe_of(&job.recipe, mapping, limit);
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {PREPARED}"))?;
    let source = flow::files(&job.files, live)?;
    let (rows, mut through) = read(job, mapping, &source, live)?;
    if recipe.kind == JobKind::Classification {
        recipe.labels = labels::labels(rows.iter().map(|(_, row)| row), &recipe.input, &recipe.target)?;
    }
    let (came, bad, stages) = through.counts()?;
    let mut dropped = Dropped::default();
    let tally = &mut (&mut dropped, &mut through.left);
    let mut items = chosen(job, &recipe, rows, &encoder, tally, live)?;
    if items.len() < 2 {
        let (reasons, advice) =
            scores::reasons(&dropped, came as usize - stages.last().map_or(came, |stage| stage.after) as usize);
        bail!("only {} of {came} rows can be used ({reasons}); {advice}", items.len());
    }
    let mut totals: Vec<usize> = items.iter().map(|item| item.tokens.0 + item.tokens.1).collect();
    totals.sort_unstable();
    let longest_answer = longest_answer(&items, &recipe, &encoder)?;
    if recipe.kind != JobKind::Pretraining {
        recipe.max_new_tokens = (longest_answer + (longest_answer / 4).max(4)).min(limit);
    }
    let parts = divided(job, &mut items, &mut (&mut dropped, &mut through.left))?;
    validated(job, &recipe, &parts)?;
    let [train, valid, test] = &parts;
    let output = Output {
        path: PREPARED.to_owned(),
        rows: came as usize,
        train: train.rows(),
        valid: valid.rows(),
        test: test.rows(),
        bad_lines: bad as usize,
        stages,
        dropped,
        labels: label_rows(&recipe, &parts),
        tokens: (totals[totals.len() / 2], totals[totals.len() - 1]),
        longest_answer,
        max_length: limit,
        max_new_tokens: recipe.max_new_tokens,
        cue: recipe.cue.clone(),
        template_ends_turns: encoder.template_ends_turns(),
        recipe_sha256: write_recipe(&job.out, &recipe)?,
        quality: Some(quality::of(&train.examples, &valid.examples, &encoder)?),
        example: shown(&train.examples[0], &encoder),
    };
    write(job, &source, through, parts, &output)?;
    Ok(output)
}

/// The examples that can be trained on.
fn chosen(
    job: &Job,
    recipe: &Recipe,
    rows: Rows,
    encoder: &Encoder,
    tally: &mut Tally<'_>,
    live: &mut Live<'_>,
) -> anyhow::Result<Vec<Item>> {
    let items = items(job, recipe, rows, encoder, tally)?;
    if recipe.kind == JobKind::Extraction {
        json_answers(&items, &recipe.target)?;
    }
    let items = unique(items, tally)?;
    // Texts are laid end to end and cut into blocks, so none is too long.
    let limit = if recipe.kind == JobKind::Pretraining { usize::MAX } else { recipe.max_length };
    let items = fitting(items, limit, encoder, tally, live)?;
    unlike(items, job, &recipe.cue, tally)
}

/// Tokens of the longest answer. Labels whose rows were all left out stay in the recipe: sealed rows may have them.
fn longest_answer(items: &[Item], recipe: &Recipe, encoder: &Encoder) -> anyhow::Result<usize> {
    let in_answers = recipe.labels.iter().map(|label| Ok(encoder.answer(&label.text)?.len()));
    let in_labels: Vec<usize> = in_answers.collect::<anyhow::Result<_>>()?;
    Ok(items.iter().map(|item| item.tokens.1).chain(in_labels).max().unwrap_or(1))
}

/// Refuses a division that leaves nothing to train or to validate on.
fn validated(job: &Job, recipe: &Recipe, [train, valid, test]: &[Written; 3]) -> anyhow::Result<()> {
    if !valid.examples.is_empty() && !train.examples.is_empty() {
        return Ok(());
    }
    let rows = [train, valid, test].iter().map(|part| part.examples.len()).sum::<usize>();
    match (&job.recipe.steps.group, &job.recipe.steps.time) {
        (Some(group), _) => bail!("{group:?} has too few values to validate on some of them; name another column"),
        (_, Some(time)) => bail!("{time:?} has too few times to validate on the latest; name another column"),
        _ if rows > recipe.labels.len() => {
            bail!("there are too few rows ({rows}) for a validation part; give more rows")
        }
        _ => bail!("each label has one row only, so none is left to validate on; give more rows of each"),
    }
}

/// Writes the grader's recipe and gives its hash.
fn write_recipe(out: &Path, recipe: &Recipe) -> anyhow::Result<String> {
    let path = out.join("recipe.json");
    write_json(&path, recipe)?;
    let unread = || format!("cannot read {PREPARED}/recipe.json");
    let bytes = std::fs::metadata(&path).with_context(unread)?.len();
    if bytes > MOST_RECIPE {
        bail!(
            "the recipe with its labels takes {}, at most {} are read; shorten the labels, patterns and templates",
            figures::bytes(bytes),
            figures::bytes(MOST_RECIPE)
        );
    }
    hash::sha256_file(&path).with_context(unread)
}

/// What came through the steps, and where each row is.
type Rows = Vec<(Place, Row)>;

/// Reads the rows that come through the steps. All are held, as training holds them later.
fn read(job: &Job, mapping: &Mapping, source: &Source, live: &mut Live<'_>) -> anyhow::Result<(Rows, Through)> {
    let (stages, needed) = flow::stages(&job.recipe, &job.against, Some(&mapping.target))?;
    let mut through = Through::new(source, &job.files, stages, needed, &job.out)?;
    let (mut rows, mut held, mut columns) = (Vec::new(), 0, Vec::<String>::new());
    let mut missing = vec![&mapping.input, &mapping.target];
    while let Some(passed) = through.next(live)? {
        held += passed.bytes;
        if held > MAX_BYTES {
            bail!(
                "the rows are more than the {} that are held; give fewer, or prepare them as rows first with --rows",
                figures::bytes(MAX_BYTES)
            );
        }
        for row in &passed.rows {
            missing.retain(|column| !row.contains_key(*column));
            for name in row.keys().take(SHOWN - columns.len()) {
                if !columns.contains(name) {
                    columns.push(name.clone());
                }
            }
        }
        let file = passed.file;
        rows.extend(passed.lines.into_iter().map(|line| (file, line)).zip(passed.rows));
    }
    through.counts()?;
    if let Some(column) = missing.first() {
        bail!("the data has no column {column:?}; it has {}", columns.join(", "));
    }
    Ok((rows, through))
}

/// Where it is counted and written down what is left out.
type Tally<'a> = (&'a mut Dropped, &'a mut LeftOut);

/// The examples that rows give, without those that cannot be learned from.
fn items(
    job: &Job,
    recipe: &Recipe,
    rows: Rows,
    encoder: &Encoder,
    (dropped, left): &mut Tally<'_>,
) -> anyhow::Result<Vec<Item>> {
    // The rows are changed already.
    let plain = Recipe { changes: Default::default(), ..recipe.clone() };
    let special = |text: &str| encoder.tokenizer().special_in(text).is_some();
    let mut items = Vec::new();
    for (place, row) in rows {
        let Ok(example) = plain.example(&row) else {
            dropped.empty += 1;
            left.write(place, "empty", "", None)?;
            continue;
        };
        if example.prompt.iter().any(|message| special(&message.content)) || special(&example.completion) {
            dropped.special_tokens += 1;
            left.write(place, "special_tokens", "", None)?;
        } else if recipe.kind == JobKind::Generation && recipe.answer(&example.completion).is_none_or(str::is_empty) {
            dropped.no_marker += 1;
            left.write(place, "no_marker", "", None)?;
        } else {
            let cell = |column: &String| Some(clean::cell(&row, column)?.into_owned());
            items.push(Item {
                group: job.recipe.steps.group.as_ref().and_then(cell),
                time: job.recipe.steps.time.as_ref().and_then(|column| When::of(row.get(column))),
                place,
                example,
                tokens: (0, 0),
            });
        }
    }
    Ok(items)
}

/// Refuses an extraction from answers that are no JSON: nothing could ever be right. A few that are broken are no reason.
fn json_answers(items: &[Item], target: &str) -> anyhow::Result<()> {
    let is_json =
        |item: &&Item| matches!(serde_json::from_str(&item.example.completion), Ok(Value::Object(_) | Value::Array(_)));
    let (good, all) = (items.iter().filter(is_json).count(), items.len());
    if (good as f64) < all as f64 * JSON_SHARE {
        bail!(
            "column {target:?} holds a JSON object in {good} of {all} answers, and an extraction needs one in each; name \
             another target, or take kind classification or generation"
        );
    }
    Ok(())
}

/// Without examples that repeat or contradict others.
fn unique(items: Vec<Item>, (dropped, left): &mut Tally<'_>) -> anyhow::Result<Vec<Item>> {
    let fates = clean::fates(items.iter().map(|item| &item.example));
    for (item, fate) in items.iter().zip(&fates) {
        let (count, stage, like) = match fate {
            Fate::Kept => continue,
            Fate::Repeats(first) => (&mut dropped.duplicates, "duplicates", *first),
            Fate::Conflicts(first) => (&mut dropped.conflicting, "conflicting", *first),
        };
        *count += 1;
        // Of those that contradict each other, the first one is named by the others.
        let like = Some(items[like].place).filter(|place| *place != item.place);
        left.write(item.place, stage, "", like)?;
    }
    Ok(items.into_iter().zip(fates).filter(|(_, fate)| *fate == Fate::Kept).map(|(item, _)| item).collect())
}

/// Examples within the limit, with their tokens counted.
fn fitting(
    items: Vec<Item>,
    limit: usize,
    encoder: &Encoder,
    (dropped, left): &mut Tally<'_>,
    live: &mut Live<'_>,
) -> anyhow::Result<Vec<Item>> {
    let mut kept = Vec::new();
    let total = items.len();
    for (at, mut item) in items.into_iter().enumerate() {
        live.progress("prepare", at, total);
        let Example { prompt, completion, .. } = &item.example;
        let asked = if prompt.is_empty() { 0 } else { encoder.prompt(prompt)?.len() };
        item.tokens = (asked, encoder.answer(completion)?.len());
        let tokens = item.tokens.0 + item.tokens.1;
        if tokens > limit {
            dropped.too_long += 1;
            left.write(item.place, "too_long", &format!("{tokens} tokens"), None)?;
        } else {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// Without examples whose input nearly repeats an earlier one, where that is asked for.
fn unlike(items: Vec<Item>, job: &Job, cue: &str, (dropped, left): &mut Tally<'_>) -> anyhow::Result<Vec<Item>> {
    let Some(likeness) = job.recipe.steps.likeness()? else { return Ok(items) };
    // What stands in every input would make all of them more alike.
    let text = |item: &Item| {
        let content = clean::asked(&item.example);
        content.strip_suffix(cue).unwrap_or(content).to_owned()
    };
    let texts: Vec<String> = items.iter().map(text).collect();
    let like = Near::new(likeness, job.recipe.seed).add_all(&texts);
    for (item, like) in items.iter().zip(&like) {
        if let Some(like) = like {
            dropped.near += 1;
            left.write(item.place, "near", "", Some(items[*like].place))?;
        }
    }
    Ok(items.into_iter().zip(like).filter(|(_, like)| like.is_none()).map(|(item, _)| item).collect())
}

/// The examples of a part, and how often each is written.
#[derive(Default)]
struct Written {
    examples: Vec<Example>,
    copies: Vec<usize>,
}

impl Written {
    fn rows(&self) -> usize {
        self.copies.iter().sum()
    }
}

/// The parts in the order of [`Part::ALL`], each in the order of the files.
fn divided(job: &Job, items: &mut Vec<Item>, (dropped, left): &mut Tally<'_>) -> anyhow::Result<[Written; 3]> {
    let (recipe, steps) = (&job.recipe, &job.recipe.steps);
    let shares = Shares {
        valid: recipe.valid_share.min(MOST_VALID as f64 / items.len().max(1) as f64),
        test: recipe.test_share,
    };
    let times: Option<Vec<When>> = items.iter().map(|item| item.time).collect();
    let parts = match times.filter(|_| steps.time.is_some()) {
        Some(times) => parts::by_time(&times, shares)?,
        None => {
            let group = |item: &Item| item.group.clone().unwrap_or_else(|| clean::normal(&item.example));
            parts::by_group(items.iter().map(|item| (item.example.label, group(item))), shares, recipe.seed)
        }
    };
    let labels: Vec<Option<usize>> = items.iter().map(|item| item.example.label).collect();
    let copies = parts::copies(&labels, &parts, (steps.most_per_label, steps.least_per_label), recipe.seed);
    let mut written: [Written; 3] = Default::default();
    for ((item, part), copies) in items.drain(..).zip(parts).zip(copies) {
        if copies == 0 {
            dropped.balanced += 1;
            left.write(item.place, "balance", "", None)?;
            continue;
        }
        let part = &mut written[part as usize];
        part.examples.push(item.example);
        part.copies.push(copies);
    }
    Ok(written)
}

fn write(job: &Job, source: &Source, through: Through, parts: [Written; 3], output: &Output) -> anyhow::Result<()> {
    let mut files = vec![job.out.join("recipe.json")];
    let mut made = Vec::new();
    for (part, written) in Part::ALL.into_iter().zip(parts) {
        if part == Part::Test && written.examples.is_empty() {
            continue;
        }
        let mut out = manifest::Out::create(&job.out, part, job.recipe.format)?;
        for (example, copies) in written.examples.iter().zip(&written.copies) {
            let Value::Object(row) = serde_json::to_value(example)? else { continue };
            out.write(std::iter::repeat_n(row, *copies))?;
        }
        made.extend(out.finish()?);
    }
    files.extend(through.left.finish()?);
    let made = Made { parts: made, files, stages: manifest::stages(output), bad_lines: output.bad_lines as u64 };
    manifest::write(job, source, made)
}

fn label_rows(recipe: &Recipe, parts: &[Written; 3]) -> Vec<LabelRows> {
    let count = |part: Part| {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let written = &parts[part as usize];
        let labelled = written.examples.iter().zip(&written.copies).filter_map(|(e, copies)| Some((e.label?, copies)));
        labelled.for_each(|(label, copies)| *counts.entry(label).or_default() += copies);
        counts
    };
    let (train, valid) = (count(Part::Train), count(Part::Valid));
    let of = |counts: &BTreeMap<usize, usize>, at| counts.get(&at).copied().unwrap_or(0);
    let labels = recipe.labels.iter().enumerate().take(SHOWN);
    labels.map(|(at, l)| LabelRows { label: l.text.clone(), train: of(&train, at), valid: of(&valid, at) }).collect()
}

fn shown(example: &Example, encoder: &Encoder) -> Option<String> {
    let asked = !example.prompt.is_empty();
    let mut ids = if asked { encoder.prompt(&example.prompt).ok()? } else { Vec::new() };
    ids.extend(encoder.answer(&example.completion).ok()?);
    Some(crate::files::cut(&encoder.tokenizer().decode(&ids).ok()?, 600))
}
