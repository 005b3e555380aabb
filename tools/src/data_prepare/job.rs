//! The worker's part of `data_prepare`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;
use tunesmith_harness::{
    hash,
    recipe::{Example, Recipe},
    rows,
    run::write_json,
    task::JobKind,
};

use super::{Dropped, Job, LabelRows, Output, PREPARED, clean, labels, quality, recipe_of};
use crate::{encode::Encoder, worker::Live};

/// Share of an extraction's answers that must be JSON.
const JSON_SHARE: f64 = 0.95;

/// Labels listed in the output.
const SHOWN: usize = 100;

pub(super) fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    let table = rows::read(&job.file)?;
    live.note("read", table.note.clone());
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
    if recipe.kind == JobKind::Extraction {
        json_answers(&examples, &recipe.target)?;
    }
    let examples = clean::unique(examples, &mut dropped);
    let (examples, tokens) = fitting(examples, limit, &encoder, &mut dropped, live)?;
    if examples.len() < 2 {
        let (reasons, advice) = reasons(&dropped);
        bail!("only {} of {} rows can be used ({reasons}); {advice}", examples.len(), table.rows.len());
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
        quality: Some(quality::of(&train, &valid, &encoder)?),
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

/// Refuses an extraction from answers that are no JSON: nothing could ever be right. A few that are broken are no reason.
fn json_answers(examples: &[Example], target: &str) -> anyhow::Result<()> {
    let is_json = |e: &&Example| matches!(serde_json::from_str(&e.completion), Ok(Value::Object(_) | Value::Array(_)));
    let (good, all) = (examples.iter().filter(is_json).count(), examples.len());
    if (good as f64) < all as f64 * JSON_SHARE {
        bail!(
            "column {target:?} holds a JSON object in {good} of {all} answers, and an extraction needs one in each; name \
             another target, or take kind classification or generation"
        );
    }
    Ok(())
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

/// Why rows were left out, and what helps against the most frequent reason.
fn reasons(dropped: &Dropped) -> (String, &'static str) {
    let Dropped { empty, duplicates, conflicting, too_long, special_tokens, no_marker } = *dropped;
    let all = [
        (empty, "empty", "fill in the input's and the answer's column, or name other columns"),
        (duplicates, "repeated", "give more different rows"),
        (conflicting, "contradictory", "give each input one answer"),
        (too_long, "too long", "shorten them, or allow more with max_length where the base takes it"),
        (special_tokens, "with special tokens", "take the base's special tokens out of the texts"),
        (no_marker, "without the marker", "write the marker before each result, or leave answer_after out"),
    ];
    let found: Vec<String> = all.iter().filter(|(n, ..)| *n > 0).map(|(n, what, _)| format!("{n} {what}")).collect();
    match all.iter().rev().max_by_key(|(n, ..)| *n) {
        Some((n, _, advice)) if *n > 0 => (found.join(", "), *advice),
        _ => ("there are no more".to_owned(), "give more rows"),
    }
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
