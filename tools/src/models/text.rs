//! The decoder as eval tasks ask it: texts as they are, with the conventions of lm-eval's `HFLM`.

use std::path::Path;

use tunesmith_harness::{
    eval::request::Generation,
    hash::sha256,
    model::{LanguageModel, Loglikelihood, Message, ModelError, OnProgress},
};
use tunesmith_lm::{
    chat::{self, ChatTemplate},
    generate::{Sampling, Session},
    lora::Adapter,
    model::{Model, hash_file},
    tokens::Tokenizer,
};

use super::{conventions::Conventions, error};

/// New tokens where a task does not say: lm-eval's default.
const MAX_GEN_TOKS: usize = 256;

/// Sequences that are computed side by side unless told otherwise.
pub(super) const BATCH: usize = 32;

/// What names an adapter on its base: the hashes of the base and of both files of the adapter. A base by itself is named
/// by its own hash.
pub fn fingerprint(base: &str, config: &str, weights: &str) -> String {
    sha256(format!("{base}\n{config}\n{weights}\n").as_bytes())
}

/// A model, with or without an adapter, that answers eval tasks.
pub struct TextModel {
    session: Session,
    tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
    fingerprint: String,
    batch: usize,
}

impl TextModel {
    /// Opens a base, or a base with an adapter.
    pub fn open(base: &Path, adapter: Option<&Path>) -> Result<Self, ModelError> {
        let model = Model::open(base).map_err(error)?;
        let Some(dir) = adapter else {
            let session = Session::new(&model, None).map_err(error)?;
            return Ok(Self::with(session, &model, model.sha256.clone()));
        };
        let adapter = Adapter::load(dir, &model.config).map_err(error)?;
        let session = Session::new(&model, Some(&adapter)).map_err(error)?;
        let files = ["adapter_config.json", "adapter_model.safetensors"].map(|file| hash_file(&dir.join(file)));
        let [config, weights] = files.map(|hash| hash.map_err(error));
        Ok(Self::with(session, &model, fingerprint(&model.sha256, &config?, &weights?)))
    }

    fn with(session: Session, model: &Model, fingerprint: String) -> Self {
        TextModel { session, tokenizer: model.tokenizer.clone(), chat: model.chat.clone(), fingerprint, batch: BATCH }
    }

    /// Computes `batch` sequences side by side; fewer need less memory.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }

    fn conventions(&self) -> Result<Conventions<'_>, ModelError> {
        Conventions::new(&self.tokenizer, self.session.max_length())
    }

    /// The settings of one request.
    fn sampling(&self, context: &str, settings: &Generation) -> Result<Sampling, ModelError> {
        let max_new_tokens = settings.max_gen_toks.unwrap_or(MAX_GEN_TOKS);
        if max_new_tokens >= self.session.max_length() {
            return Err(ModelError(format!(
                "max_gen_toks ({max_new_tokens}) leaves no room for a prompt in the model's context of {}; set it lower",
                self.session.max_length()
            )));
        }
        let mut stop = settings.until.clone();
        if let Some(eos) = self.tokenizer.eos {
            stop.push(self.tokenizer.decode(&[eos]).map_err(error)?);
        }
        Ok(Sampling {
            max_new_tokens,
            temperature: if settings.do_sample { settings.temperature as f32 } else { 0.0 },
            top_p: settings.top_p as f32,
            top_k: settings.top_k,
            stop_ids: self.tokenizer.stops.clone(),
            stop,
            seed: seed(context, settings),
        })
    }
}

/// The seed of a request's draws: of what is asked and its repetition alone, so that neither batch nor order matters.
fn seed(context: &str, settings: &Generation) -> u64 {
    let hash = sha256(format!("{settings:?}\n{context}").as_bytes());
    u64::from_str_radix(&hash[..16], 16).unwrap_or_default()
}

impl LanguageModel for TextModel {
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError> {
        let mut conventions = self.conventions()?;
        let questions: Vec<_> = requests
            .iter()
            .map(|(context, continuation)| conventions.pair(context, continuation))
            .collect::<Result<_, _>>()?;
        let scored = self.session.score(&questions, self.batch, on).map_err(error)?;
        Ok(scored.into_iter().map(|s| Loglikelihood { sum: s.sum, tokens: s.tokens, greedy: s.greedy }).collect())
    }

    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
        let conventions = self.conventions()?;
        let mut sums = vec![0.0; texts.len()];
        // Windows of one text share nothing, and a long one has many: texts are taken one by one.
        for (i, text) in texts.iter().enumerate() {
            let windows = conventions.windows(text)?;
            let scored = self.session.score(&windows, self.batch, &mut |_, _| {}).map_err(error)?;
            sums[i] = scored.iter().map(|window| window.sum).sum();
            on(i + 1, texts.len());
        }
        Ok(sums)
    }

    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError> {
        let conventions = self.conventions()?;
        let mut prompts = Vec::with_capacity(requests.len());
        for (context, settings) in requests {
            let sampling = self.sampling(context, settings)?;
            let ids = conventions.prompt(context, self.session.max_length() - sampling.max_new_tokens)?;
            prompts.push((ids, sampling));
        }
        let done = self.session.generate_each(&prompts, self.batch, on).map_err(error)?;
        Ok(done.into_iter().map(|completion| completion.text).collect())
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError> {
        let Some(template) = &self.chat else {
            return Err(ModelError("the model has no chat template; evaluate it without one".into()));
        };
        let turns = |keep: &dyn Fn(&Message) -> bool| -> Vec<chat::Message> {
            messages
                .iter()
                .filter(|m| keep(m))
                .map(|m| chat::Message::new(m.role.as_str(), m.content.as_str()))
                .collect()
        };
        // Some templates refuse a system message; lm-eval asks again without it.
        rendered(template, turns(&|_| true)).or_else(|why| match messages.iter().any(|m| m.role == "system") {
            true => rendered(template, turns(&|message| message.role != "system")),
            false => Err(why),
        })
    }

    fn max_length(&self) -> usize {
        self.session.max_length()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

/// Marks the end of a message that is to be continued, as transformers does.
const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The prompt of a conversation: up to where the assistant speaks, or to the end of what it has begun to say.
fn rendered(template: &ChatTemplate, mut messages: Vec<chat::Message>) -> Result<String, ModelError> {
    let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") else {
        return template.render(&messages, true).map_err(error);
    };
    let begun = last.content.trim().to_string();
    last.content.push_str(MARK);
    let mut text = template.render(&messages, false).map_err(error)?;
    let Some(at) = text.rfind(MARK.trim_end()).filter(|_| text.contains(&begun)) else {
        return Err(ModelError("the chat template changes the message that the model should continue".into()));
    };
    let whole = text[at..].starts_with(MARK);
    text.truncate(at);
    Ok(if whole { text } else { text.trim_end().to_string() })
}
