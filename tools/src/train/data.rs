//! What a job trains on: a directory that `data_prepare` made, or files of rows in TRL's formats, ShareGPT's or Alpaca's.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};
use tunesmith_harness::{
    recipe::{Example, Recipe},
    rows::{Compression, Format, Input, Reading, Source},
    task::JobKind,
};
use tunesmith_lm::{
    engine::batch::Sequence,
    error::Error,
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
    files::{name, part, read_examples, read_recipe},
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
        let hashed = |name: String, path: &Path| Ok((name, hash_file(path)?.into()));
        if job.data.join("recipe.json").is_file() {
            let parts = [Part::Train, Part::Valid].map(|of| part(&job.data, of));
            let files = std::iter::once(job.data.join("recipe.json")).chain(parts);
            let hashes = files.map(|path| hashed(name(&path), &path)).collect::<anyhow::Result<_>>()?;
            return Ok(Data { hashes, ..Self::prepared(job, model)? });
        }
        let source = Source::find(std::slice::from_ref(&job.data), &Reading::default())?;
        let names = names(&job.data, &source);
        let files = names.into_iter().zip(&source.inputs);
        let hashes = files.map(|(name, input)| hashed(name, &input.path)).collect::<anyhow::Result<_>>()?;
        let data = bounded(ALLOWANCE.saturating_add(taken(&source)), || Self::rows(job, &source, model))?;
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
        if recipe.kind == JobKind::Pretraining {
            return Self::texts(job, &recipe, model);
        }
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

    /// Prepared raw text, cut into blocks.
    fn texts(job: &Job, recipe: &Recipe, model: &Model) -> anyhow::Result<Self> {
        let longest = recipe.max_length.min(model.config.max_position_embeddings);
        let encoder =
            rows::Encoder { tokenizer: &model.tokenizer, template: None, train: None, max_length: Some(longest) };
        let read = |of: Part| {
            let examples = read_examples(&part(&job.data, of))?;
            Ok::<_, anyhow::Error>(encoder.blocks(examples.iter().map(|example| &example.completion))?)
        };
        let ((train, tally), (valid, _)) = (read(Part::Train)?, read(Part::Valid)?);
        let (tally, stops, hashes) = (Some(tally), Vec::new(), Map::new());
        Ok(Data { train, valid, tally, max_new_tokens: LONGEST_ANSWER, stops, hashes })
    }

    fn rows(job: &Job, source: &Source, model: &Model) -> anyhow::Result<Self> {
        let Settings { objective, train_on, valid_share, .. } = job.settings;
        let encoder = rows::Encoder {
            tokenizer: &model.tokenizer,
            template: model.chat.as_ref(),
            train: train_on,
            max_length: Some(job.settings.longest(model.config.max_position_embeddings)),
        };
        let objective = objective.unwrap_or(Goal::Sft);
        let ((train, valid), tally) = match objective {
            Goal::Sft => {
                let rows = Rows::read(&job.data, source)?;
                let (rows, tally) = encoder.sequences(&rows.values).map_err(|error| rows.at(error))?;
                (held_out(rows, valid_share, job.seed), tally)
            }
            Goal::Dpo => {
                let rows = Rows::read(&job.data, source)?;
                let (pairs, tally) = encoder.pairs(&rows.values).map_err(|error| rows.at(error))?;
                let flat = |pairs: Vec<rows::Pair>| pairs.into_iter().flat_map(|p| [p.chosen, p.rejected]).collect();
                let (train, valid) = held_out(pairs, valid_share, job.seed);
                ((flat(train), flat(valid)), tally)
            }
            Goal::Text => {
                let (blocks, tally) = encoder.blocks(documents(&job.data, source)?)?;
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

/// Bytes for each byte of rows that reading them may take.
const EACH: u64 = 200;
/// Bytes that a byte of a packed file stands for, at most as a rule.
const PACKED: u64 = 20;

/// Splits rows into those that are trained on and a share that is kept for validation, which the seed draws.
fn held_out<T>(mut rows: Vec<T>, share: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    let kept = ((rows.len() as f64 * share).round() as usize).min(rows.len().saturating_sub(1));
    Rng::new(seed, "validation").shuffle(&mut rows);
    let valid = rows.split_off(rows.len() - kept);
    (rows, valid)
}

/// Rows, and where each of them stands.
struct Rows {
    values: Vec<Value>,
    places: Vec<(usize, u64)>,
    names: Vec<String>,
}

impl Rows {
    fn read(data: &Path, source: &Source) -> anyhow::Result<Rows> {
        let mut rows = Rows { values: Vec::new(), places: Vec::new(), names: names(data, source) };
        for batch in source.batches() {
            let batch = batch?;
            rows.places.extend(batch.lines.iter().map(|line| (batch.file, *line)));
            rows.values.extend(batch.rows.into_iter().map(Value::Object));
        }
        if rows.values.is_empty() {
            bail!("{} has no rows; add some", rows.names.join(", "));
        }
        Ok(rows)
    }

    fn place(&self, row: usize) -> String {
        self.places.get(row).map_or_else(String::new, |(file, line)| format!("{}, line {line}", self.names[*file]))
    }

    /// What is wrong with a row, with its place.
    fn at(&self, error: Error) -> anyhow::Error {
        match error {
            Error::Row { row, error } => anyhow!("{}: {}", self.place(row), error.why()),
            other => other.into(),
        }
    }
}

/// The names of files: below the folder that was named, else their own.
fn names(data: &Path, source: &Source) -> Vec<String> {
    let below = |path: &Path| path.strip_prefix(data).ok().filter(|rest| *rest != Path::new("")).map(Path::to_owned);
    let shown = |path: &Path| below(path).map_or_else(|| name(path), |rest| rest.display().to_string());
    source.inputs.iter().map(|input| shown(&input.path)).collect()
}

/// Memory that rows may take, by the sizes of their files.
fn taken(source: &Source) -> u64 {
    let unpacked = |input: &Input| match (input.compression, input.format) {
        (Compression::None, format) if format != Format::Parquet => input.bytes,
        _ => input.bytes.saturating_mul(PACKED),
    };
    source.inputs.iter().map(unpacked).sum::<u64>().saturating_mul(EACH)
}

/// The texts of files: a `.txt` file is one, other files have one in the column `text` of each row.
fn documents(data: &Path, source: &Source) -> anyhow::Result<Vec<String>> {
    if data.extension().is_some_and(|extension| extension == "txt") && data.is_file() {
        let text = std::fs::read_to_string(data).with_context(|| format!("cannot read {}", name(data)))?;
        return Ok(vec![text]);
    }
    let rows = Rows::read(data, source)?;
    let text = |(number, row): (usize, &Value)| match row.get("text").and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => bail!("{}: has no text; raw text is the column text of rows, or a .txt file", rows.place(number)),
    };
    rows.values.iter().enumerate().map(text).collect()
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
