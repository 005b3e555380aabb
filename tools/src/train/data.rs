//! What a job trains on: a directory that `data_prepare` made, or a file of rows in TRL's formats.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use tunesmith_harness::recipe::{Example, Recipe};
use tunesmith_lm::{
    engine::batch::Sequence,
    model::{Model, hash_file},
    rng::Rng,
    rows::{self, Tally},
};

use super::{
    Job,
    settings::{Goal, Settings},
};
use crate::{
    data_prepare::Part,
    encode::Encoder,
    files::{name, part, read_examples, read_jsonl, read_recipe},
    memory::{ALLOWANCE, bounded},
};

/// Rows as sequences; pairs of answers are chosen and rejected in turn.
pub(super) struct Data {
    /// What is trained on.
    pub(super) train: Vec<Sequence>,
    /// What is kept for validation.
    pub(super) valid: Vec<Sequence>,
    /// What happened to the rows of a file.
    pub(super) tally: Option<Tally>,
    /// Tokens that an answer may have when it is tried whether answers end.
    pub(super) max_new_tokens: usize,
    /// Every token that ends an answer; empty where nothing is answered.
    pub(super) stops: Vec<u32>,
    /// SHA-256 of each file that the rows come from.
    pub(super) hashes: Map<String, Value>,
}

/// Tokens that are generated for one answer at most when it is tried whether answers end.
const LONGEST_ANSWER: usize = 512;

impl Data {
    /// Reads the rows of `job` for `model`.
    pub(super) fn load(job: &Job, model: &Model) -> anyhow::Result<Self> {
        let files = match job.data.is_dir() {
            true => vec![job.data.join("recipe.json"), part(&job.data, Part::Train), part(&job.data, Part::Valid)],
            false => vec![job.data.clone()],
        };
        let hash = |path: &PathBuf| Ok((name(path), hash_file(path)?.into()));
        let hashes = files.iter().map(hash).collect::<anyhow::Result<_>>()?;
        let data = if job.data.is_dir() {
            Self::prepared(job, model)?
        } else {
            let size = std::fs::metadata(&job.data).map_or(0, |meta| meta.len());
            bounded(ALLOWANCE.saturating_add(size.saturating_mul(EACH)), || Self::rows(job, model))?
        };
        Ok(Data { hashes, ..data })
    }

    fn prepared(job: &Job, model: &Model) -> anyhow::Result<Self> {
        let settings = &job.settings;
        if settings.objective.is_some() || settings.train_on.is_some() || settings.max_length.is_some() {
            bail!(
                "prepared rows are trained on their answers, as the recipe says; leave out objective, train_on and max_length"
            );
        }
        let recipe = read_recipe(&job.data.join("recipe.json"))?;
        let encoder = Encoder::of(model)?;
        let read = |of: Part| {
            let file = part(&job.data, of);
            encoded(&read_examples(&file)?, &name(&file), &recipe, &encoder)
        };
        Ok(Data {
            train: read(Part::Train)?,
            valid: read(Part::Valid)?,
            tally: None,
            max_new_tokens: recipe.max_new_tokens,
            stops: encoder.stops(),
            hashes: Map::new(),
        })
    }

    fn rows(job: &Job, model: &Model) -> anyhow::Result<Self> {
        let Settings { objective, train_on, valid_share, .. } = job.settings;
        let encoder = rows::Encoder {
            tokenizer: &model.tokenizer,
            template: model.chat.as_ref(),
            train: train_on,
            max_length: Some(job.settings.longest(model.config.max_position_embeddings)),
        };
        let read = || read_jsonl::<Value>(&job.data);
        let objective = objective.unwrap_or(Goal::Sft);
        let ((train, valid), tally) = match objective {
            Goal::Sft => {
                let (rows, tally) = encoder.sequences(&read()?)?;
                (held_out(rows, valid_share, job.seed), tally)
            }
            Goal::Dpo => {
                let (pairs, tally) = encoder.pairs(&read()?)?;
                let flat = |pairs: Vec<rows::Pair>| pairs.into_iter().flat_map(|p| [p.chosen, p.rejected]).collect();
                let (train, valid) = held_out(pairs, valid_share, job.seed);
                ((flat(train), flat(valid)), tally)
            }
            Goal::Text => {
                let (blocks, tally) = encoder.blocks(documents(&job.data)?)?;
                (held_out(blocks, valid_share, job.seed), tally)
            }
        };
        let longest = valid.iter().filter_map(|row: &Sequence| row.trained.first()).map(|span| span.len()).max();
        let mut stops = model.tokenizer.stops.clone();
        stops.extend(model.tokenizer.eos);
        Ok(Data {
            train,
            valid,
            tally: Some(tally),
            max_new_tokens: (2 * longest.unwrap_or(0) + 16).min(LONGEST_ANSWER),
            stops: if objective == Goal::Sft { stops } else { Vec::new() },
            hashes: Map::new(),
        })
    }

    /// A few prompts of validation rows: what comes before their first trained token.
    pub(super) fn prompts(&self, count: usize) -> Vec<Vec<u32>> {
        let prompt = |row: &Sequence| Some(row.tokens[..row.trained.first()?.start].to_vec());
        let asked = |row: &&Sequence| row.trained.first().is_some_and(|span| span.start > 1);
        if self.stops.is_empty() {
            Vec::new()
        } else {
            self.valid.iter().filter(asked).take(count).filter_map(prompt).collect()
        }
    }
}

/// Bytes for each byte of a file of rows that reading it may take.
const EACH: u64 = 200;

/// Splits rows into those that are trained on and a share that is kept for validation, which the seed draws.
fn held_out<T>(mut rows: Vec<T>, share: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    let kept = ((rows.len() as f64 * share).round() as usize).min(rows.len().saturating_sub(1));
    Rng::new(seed, "validation").shuffle(&mut rows);
    let valid = rows.split_off(rows.len() - kept);
    (rows, valid)
}

/// The texts of a file: a `.txt` file is one, a file of JSON lines has one in the column `text` of each line.
fn documents(path: &Path) -> anyhow::Result<Vec<String>> {
    if path.extension().is_some_and(|extension| extension == "txt") {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", name(path)))?;
        return Ok(vec![text]);
    }
    let text = |(number, row): (usize, Value)| match row.get("text").and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => bail!(
            "{}, row {}: has no text; raw text is the column text of JSON lines, or a .txt file",
            name(path),
            number + 1
        ),
    };
    read_jsonl::<Value>(path)?.into_iter().enumerate().map(text).collect()
}

/// Examples as ids, of which the answer is trained. Rows that are too long are an error: cutting them would teach answers
/// that end nowhere.
fn encoded(examples: &[Example], file: &str, recipe: &Recipe, encoder: &Encoder) -> anyhow::Result<Vec<Sequence>> {
    let limit = recipe.max_length.min(encoder.max_length());
    let mut sequences = Vec::with_capacity(examples.len());
    let mut too_long = 0;
    for example in examples {
        let mut tokens = encoder.prompt(&example.prompt)?;
        let trained_from = tokens.len();
        tokens.extend(encoder.answer(&example.completion)?);
        too_long += usize::from(tokens.len() > limit);
        sequences.push(Sequence::from(tokens, trained_from));
    }
    if too_long > 0 {
        bail!("{too_long} rows of {file} have more than {limit} tokens with this base; prepare the data again");
    }
    Ok(sequences)
}
