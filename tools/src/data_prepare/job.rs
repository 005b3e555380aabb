//! The worker's part of `data_prepare`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use tunesmith_harness::{
    hash,
    recipe::{Example, Recipe},
    rows,
    task::JobKind,
};

use super::{Dropped, Job, LabelRows, Output, PREPARED, clean, labels, recipe_of};
use crate::{encode::Encoder, files::write_json, worker::Live};

/// Labels listed in the output.
const SHOWN: usize = 100;

pub(super) fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    let table = rows::read(&job.file)?;
    for column in [&job.args.input, &job.args.target] {
        if !table.columns.contains(column) {
            bail!("the data has no column {column:?}; it has {}", table.columns.join(", "));
        }
    }
    if job.args.input == job.args.target {
        bail!("input and target are the same column");
    }
    let encoder = Encoder::open(&job.base).context("the base cannot be used")?;
    // A plan may allow for more than this base takes; the output and the recipe say what holds.
    let limit = job.args.max_length.map_or(encoder.max_length(), |asked| asked.min(encoder.max_length()));
    let mut recipe = recipe_of(&job.args, limit);
    if recipe.kind == JobKind::Classification {
        recipe.labels = labels::labels(&table.rows, &recipe.input, &recipe.target)?;
    }
    let mut dropped = Dropped::default();
    let examples = examples(&recipe, &table.rows, &encoder, &mut dropped);
    let examples = clean::unique(examples, &mut dropped);
    let (examples, tokens) = fitting(examples, limit, &encoder, &mut dropped, live)?;
    if examples.len() < 2 {
        bail!("only {} of {} rows can be used ({})", examples.len(), table.rows.len(), reasons(&dropped));
    }
    // Labels whose rows were all left out stay in the recipe: sealed rows may have them.
    let mut totals: Vec<usize> = tokens.iter().map(|(prompt, answer)| prompt + answer).collect();
    totals.sort_unstable();
    let in_answers = recipe.labels.iter().map(|label| Ok(encoder.answer(&label.text)?.len()));
    let in_labels: Vec<usize> = in_answers.collect::<anyhow::Result<_>>()?;
    let longest_answer = tokens.iter().map(|(_, answer)| *answer).chain(in_labels).max().unwrap_or(1);
    recipe.max_new_tokens = (longest_answer + (longest_answer / 4).max(4)).min(limit);

    let (train, valid) = clean::split(examples, job.args.valid_share, job.seed);
    if valid.is_empty() {
        bail!("there are too few rows ({}) for a validation part; give more rows", train.len());
    }
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {PREPARED}"))?;
    let path = job.out.join("recipe.json");
    write_json(&path, &recipe)?;
    let recipe_sha256 = hash::sha256_file(&path).with_context(|| format!("cannot read {PREPARED}/recipe.json"))?;
    for (name, part) in [("train.jsonl", &train), ("valid.jsonl", &valid)] {
        rows::write_jsonl(&job.out.join(name), part).with_context(|| format!("cannot write {PREPARED}/{name}"))?;
    }
    Ok(Output {
        path: PREPARED.to_owned(),
        rows: table.rows.len(),
        train: train.len(),
        valid: valid.len(),
        dropped,
        labels: label_rows(&recipe, &train, &valid),
        tokens: (totals[totals.len() / 2], totals[totals.len() - 1]),
        longest_answer,
        max_length: limit,
        max_new_tokens: recipe.max_new_tokens,
        cue: recipe.cue.clone(),
        template_ends_turns: encoder.template_ends_turns(),
        recipe_sha256,
        example: shown(&train[0], &encoder),
    })
}

/// The examples that rows give, without those that cannot be learned from.
fn examples(
    recipe: &Recipe,
    rows: &[tunesmith_harness::recipe::Row],
    encoder: &Encoder,
    dropped: &mut Dropped,
) -> Vec<Example> {
    let mut examples = Vec::new();
    for row in rows {
        let Ok(example) = recipe.example(row) else {
            dropped.empty += 1;
            continue;
        };
        let special = |text: &str| encoder.tokenizer().special_in(text).is_some();
        if example.prompt.iter().any(|message| special(&message.content)) || special(&example.completion) {
            dropped.special_tokens += 1;
        } else if recipe.kind == JobKind::Generation && recipe.answer(&example.completion).is_none_or(str::is_empty) {
            dropped.no_marker += 1;
        } else {
            examples.push(example);
        }
    }
    examples
}

/// Examples within the limit, with the tokens of prompt and answer of each.
type Fitting = (Vec<Example>, Vec<(usize, usize)>);

fn fitting(
    examples: Vec<Example>,
    limit: usize,
    encoder: &Encoder,
    dropped: &mut Dropped,
    live: &mut Live<'_>,
) -> anyhow::Result<Fitting> {
    let (mut kept, mut tokens) = (Vec::new(), Vec::new());
    let total = examples.len();
    for (at, example) in examples.into_iter().enumerate() {
        live.progress("prepare", at, total);
        let (prompt, answer) = (encoder.prompt(&example.prompt)?.len(), encoder.answer(&example.completion)?.len());
        if prompt + answer > limit {
            dropped.too_long += 1;
        } else {
            kept.push(example);
            tokens.push((prompt, answer));
        }
    }
    Ok((kept, tokens))
}

fn reasons(dropped: &Dropped) -> String {
    let Dropped { empty, duplicates, conflicting, too_long, special_tokens, no_marker } = dropped;
    let all = [
        (empty, "empty"),
        (duplicates, "repeated"),
        (conflicting, "contradictory"),
        (too_long, "too long"),
        (special_tokens, "with special tokens"),
        (no_marker, "without the marker"),
    ];
    let found: Vec<String> = all.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if found.is_empty() { "there are no more".to_owned() } else { found.join(", ") }
}

fn label_rows(recipe: &Recipe, train: &[Example], valid: &[Example]) -> Vec<LabelRows> {
    let count = |examples: &[Example]| {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        examples.iter().filter_map(|example| example.label).for_each(|label| *counts.entry(label).or_default() += 1);
        counts
    };
    let (train, valid) = (count(train), count(valid));
    let of = |counts: &BTreeMap<usize, usize>, at| counts.get(&at).copied().unwrap_or(0);
    let labels = recipe.labels.iter().enumerate().take(SHOWN);
    labels.map(|(at, l)| LabelRows { label: l.text.clone(), train: of(&train, at), valid: of(&valid, at) }).collect()
}

fn shown(example: &Example, encoder: &Encoder) -> Option<String> {
    let mut ids = encoder.prompt(&example.prompt).ok()?;
    ids.extend(encoder.answer(&example.completion).ok()?);
    Some(crate::files::cut(&encoder.tokenizer().decode(&ids).ok()?, 600))
}
