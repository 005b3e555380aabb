//! `generate`: what the base or an adapter answers to prompts.

use std::{path::PathBuf, sync::Arc};

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::model::Message;
use tunesmith_lm::{
    constrain::{Grammar, Guide, Vocabulary},
    generate::Sampling,
};

use crate::{
    bases,
    files::{existing, typed},
    models::LmModel,
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

/// See [`Args`].
pub struct Generate;

/// Answers prompts with the base, or with the base and an adapter, to see what the model really says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// One user turn each; end them with the cue of the recipe.
    #[schemars(length(min = 1, max = 64))]
    pub prompts: Vec<String>,
    /// The adapter's directory; without one the base answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Most new tokens.
    #[serde(default = "sixty_four")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_new_tokens: usize,
    /// 0 takes the most likely token each time.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 5.0))]
    pub temperature: f32,
    #[serde(default = "one")]
    /// Share of probability to draw from.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub top_p: f32,
    /// Strings that end an answer.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub stop: Vec<String>,
}

fn sixty_four() -> usize {
    64
}

fn one() -> f32 {
    1.0
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// One per prompt.
    pub answers: Vec<Answer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Whether it ended by itself rather than at the limit.
    pub stopped: bool,
    /// Its tokens.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The base model.
    pub base: PathBuf,
    /// The adapter's directory.
    pub adapter: Option<PathBuf>,
    /// One conversation each.
    pub prompts: Vec<Vec<Message>>,
    /// Most new tokens.
    pub max_new_tokens: usize,
    /// 0 is greedy.
    pub temperature: f32,
    /// 1 draws from all tokens.
    pub top_p: f32,
    /// Strings that end an answer.
    pub stop: Vec<String>,
    /// Seed of the draws.
    pub seed: u64,
    /// JSON Schema that each answer fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Tool for Generate {
    const NAME: &'static str = "generate";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let adapter = args.adapter.as_deref().map(|path| existing(cx.dir, "/adapter", path)).transpose()?;
        let work = Work::Generate(Job {
            base: cx.base.into(),
            adapter,
            prompts: args.prompts.into_iter().map(|prompt| vec![Message::user(prompt)]).collect(),
            max_new_tokens: args.max_new_tokens,
            temperature: args.temperature,
            top_p: args.top_p,
            stop: args.stop,
            seed: cx.seed,
            schema: None,
        });
        typed(run_work(cx.jobs, cx.dir, &work, bases::reads(cx.base), (cx.deadline, &cx.cancel), cx.on).await?)
    }
}

impl Job {
    /// Generates.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        let model = LmModel::open(&self.base, self.adapter.as_deref())?;
        let encoder = model.encoder();
        let mut prompts = Vec::with_capacity(self.prompts.len());
        for (at, prompt) in self.prompts.iter().enumerate() {
            let ids = encoder.prompt(prompt)?;
            if ids.len() >= encoder.max_length() {
                bail!(
                    "prompt {} has {} tokens, the model takes {}; shorten it",
                    at + 1,
                    ids.len(),
                    encoder.max_length()
                );
            }
            prompts.push(ids);
        }
        let sampling = Sampling {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: None,
            stop_ids: encoder.stops(),
            stop: self.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            seed: self.seed,
        };
        let on = &mut |done, total| live.progress("generate", done, total);
        let session = model.session();
        let done = match &self.schema {
            None => session.generate(&prompts, &sampling, on)?,
            Some(schema) => {
                let vocabulary = Arc::new(Vocabulary::new(encoder.tokenizer(), &[])?);
                let mut guide = Guide::new(vocabulary, Arc::new(Grammar::of_schema(schema)?), &sampling.stop_ids);
                session.generate_guided(&prompts, &sampling, &mut guide, on)?
            }
        };
        let answers = done.into_iter().zip(&prompts).map(|(done, prompt)| Answer {
            tokens: done.ids.len(),
            prompt_tokens: prompt.len(),
            text: done.text,
            stopped: done.stopped,
        });
        Ok(Output { answers: answers.collect() })
    }
}
