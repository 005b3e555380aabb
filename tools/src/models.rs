//! The decoder of `tunesmith_lm` as the grader's language model, and as that of eval tasks.

mod conventions;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;

use std::path::Path;

use tunesmith_harness::model::{ChatLanguageModel, Generated, Loglikelihood, Message, ModelError, Models, OnProgress};
use tunesmith_lm::{
    error::Error,
    generate::{Sampling, Session},
    lora::Adapter,
    model::Model,
};

use conventions::Conventions;
use text::BATCH;
pub use text::{TextModel, fingerprint};

use crate::{encode::Encoder, train};

/// Opens directories in Hugging Face's format and GGUF files, with PEFT adapters.
#[derive(Clone, Copy, Debug, Default)]
pub struct LmModels;

impl Models for LmModels {
    fn open(&self, base: &Path, adapter: Option<&Path>) -> Result<Box<dyn ChatLanguageModel>, ModelError> {
        Ok(Box::new(LmModel::open(base, adapter).map_err(error)?))
    }

    fn check_adapter(&self, base: &Path, adapter: &Path) -> Result<(), ModelError> {
        let model = Model::open(base).map_err(error)?;
        let loaded = Adapter::load(adapter, &model.config).map_err(error)?;
        loaded.check(&model.config).map_err(error)?;
        if let Some(name) = loaded.not_finite() {
            return Err(ModelError(format!("{name} holds numbers that are not finite")));
        }
        let trained_on = train::base_of(adapter).map_err(|why| ModelError(format!("{why:#}")))?;
        if trained_on != model.sha256 {
            return Err(ModelError(format!("the adapter was trained on another base ({trained_on})")));
        }
        Ok(())
    }
}

fn error(error: Error) -> ModelError {
    ModelError(error.to_string())
}

/// A model that is open, with its adapter.
pub struct LmModel {
    session: Session,
    encoder: Encoder,
}

impl LmModel {
    /// Opens a base, or a base with an adapter applied to it.
    pub fn open(base: &Path, adapter: Option<&Path>) -> Result<Self, Error> {
        let model = Model::open(base)?;
        let adapter = adapter.map(|dir| Adapter::load(dir, &model.config)).transpose()?;
        Self::new(&model, adapter.as_ref())
    }

    /// The same from what is already in memory.
    pub fn new(model: &Model, adapter: Option<&Adapter>) -> Result<Self, Error> {
        Ok(LmModel { session: Session::new(model, adapter)?, encoder: Encoder::of(model)? })
    }

    /// The decoder.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How texts become ids.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Ids of each prompt; `None` for those that leave no room for an answer.
    fn prompts<'a>(
        &self,
        prompts: impl Iterator<Item = (&'a Vec<Message>, usize)>,
    ) -> Result<Vec<Option<Vec<u32>>>, ModelError> {
        prompts
            .map(|(messages, answer)| {
                let ids = self.encoder.prompt(messages).map_err(error)?;
                Ok((ids.len() + answer <= self.session.max_length()).then_some(ids))
            })
            .collect()
    }
}

/// What a row that does not fit the model gets: no answer at all, so that it counts as wrong.
const TOO_LONG: Loglikelihood = Loglikelihood { sum: f64::NEG_INFINITY, tokens: 0, greedy: false };

impl ChatLanguageModel for LmModel {
    fn loglikelihood(
        &mut self,
        requests: &[(Vec<Message>, Vec<String>)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Vec<Loglikelihood>>, ModelError> {
        let answers = |texts: &[String]| -> Result<Vec<Vec<u32>>, ModelError> {
            texts.iter().map(|text| self.encoder.answer(text).map_err(error)).collect()
        };
        // The labels of a classification are the same for every row.
        let mut known: Vec<(&[String], Vec<Vec<u32>>)> = Vec::new();
        let mut encoded = Vec::with_capacity(requests.len());
        for (_, texts) in requests {
            if known.last().is_none_or(|(last, _)| last != texts) {
                known.push((texts, answers(texts)?));
            }
            encoded.extend(known.last().map(|(_, ids)| ids.clone()));
        }
        let longest = |ids: &Vec<Vec<u32>>| ids.iter().map(Vec::len).max().unwrap_or(0);
        let prompts = self.prompts(requests.iter().map(|(prompt, _)| prompt).zip(encoded.iter().map(longest)))?;
        let fitting: Vec<(Vec<u32>, Vec<Vec<u32>>)> =
            prompts.iter().zip(&encoded).filter_map(|(ids, answers)| Some((ids.clone()?, answers.clone()))).collect();
        let mut scored = self.session.loglikelihood(&fitting, on).map_err(error)?.into_iter();
        Ok(prompts
            .iter()
            .zip(&encoded)
            .map(|(ids, answers)| match ids.as_ref().and_then(|_| scored.next()) {
                None => vec![TOO_LONG; answers.len()],
                Some(row) => {
                    row.iter().map(|s| Loglikelihood { sum: s.sum, tokens: s.tokens, greedy: s.greedy }).collect()
                }
            })
            .collect())
    }

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        max_new_tokens: usize,
        on: OnProgress<'_>,
    ) -> Result<Vec<Generated>, ModelError> {
        let ids = self.prompts(prompts.iter().map(|prompt| (prompt, 1)))?;
        let fitting: Vec<Vec<u32>> = ids.iter().flatten().cloned().collect();
        let sampling = Sampling::greedy(max_new_tokens, self.encoder.stops());
        let mut texts = self.session.generate(&fitting, &sampling, on).map_err(error)?.into_iter();
        Ok(ids
            .iter()
            .map(|ids| match ids.as_ref().and_then(|_| texts.next()) {
                None => Generated { text: String::new(), stopped: false },
                Some(done) => Generated { text: done.text, stopped: done.stopped },
            })
            .collect())
    }

    fn read(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<Loglikelihood>, ModelError> {
        let conventions = Conventions::new(self.encoder.tokenizer(), self.session.max_length())?;
        let mut read = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let windows = self.session.score(&conventions.windows(text)?, BATCH, &mut |_, _| {}).map_err(error)?;
            read.push(Loglikelihood {
                sum: windows.iter().map(|window| window.sum).sum(),
                tokens: windows.iter().map(|window| window.tokens).sum(),
                greedy: windows.iter().all(|window| window.greedy),
            });
            on(at + 1, texts.len());
        }
        Ok(read)
    }

    fn max_length(&self) -> usize {
        self.session.max_length()
    }
}
