//! Prompts and answers as the ids that a model is trained on and scored with.

use std::path::Path;

use tunesmith_harness::model::Message;
use tunesmith_lm::{
    chat::{self, ChatTemplate},
    config::Config,
    error::{Error, Result},
    gguf,
    model::Model,
    tokens::Tokenizer,
};

use crate::memory::{ALLOWANCE, bounded};

/// What turns messages into ids: the tokenizer, the chat template and the token that ends a turn.
#[derive(Clone)]
pub struct Encoder {
    tokenizer: Tokenizer,
    /// Without one the model reads texts and cannot be asked anything.
    chat: Option<ChatTemplate>,
    end: u32,
    template_ends_turns: bool,
    max_length: usize,
}

impl Encoder {
    /// The encoder of a model that is open.
    pub fn of(model: &Model) -> Result<Self> {
        Self::new(model.tokenizer.clone(), model.chat.clone(), &model.config)
    }

    /// The encoder of a model on disk; of a directory, the weights are not read.
    pub fn open(base: &Path) -> Result<Self> {
        if base.is_file() {
            return Self::of(&gguf::read(base)?);
        }
        Self::new(Tokenizer::from_dir(base)?, ChatTemplate::from_dir(base)?, &Config::from_dir(base)?)
    }

    fn new(tokenizer: Tokenizer, chat: Option<ChatTemplate>, config: &Config) -> Result<Self> {
        let written = chat.as_ref().map(|chat| written_end(&tokenizer, chat)).transpose()?.flatten();
        let end = written
            .or(tokenizer.eos)
            .ok_or_else(|| Error::Tokenizer("no token ends a turn; name eos_token in tokenizer_config.json".into()))?;
        let max_length = config.max_position_embeddings;
        Ok(Encoder { tokenizer, chat, end, template_ends_turns: written.is_some(), max_length })
    }

    /// Ids of a prompt, up to where the assistant speaks.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let messages: Vec<chat::Message> =
            messages.iter().map(|m| chat::Message::new(m.role.as_str(), m.content.as_str())).collect();
        self.tokenizer.encode(&self.render(&messages, true)?)
    }

    /// The text of messages, in a worker's process: see [`bounded`].
    pub(crate) fn render(&self, messages: &[chat::Message], add_generation_prompt: bool) -> Result<String> {
        let chat = self.chat()?;
        bounded(ALLOWANCE, || chat.render(messages, add_generation_prompt))
    }

    /// The template that makes prompts. The error says that there is none.
    pub fn chat(&self) -> Result<&ChatTemplate> {
        self.chat.as_ref().ok_or_else(|| {
            Error::Template("the base has none, so it cannot be asked anything; take an instruction-tuned base".into())
        })
    }

    /// The text of a conversation of any kind, in a worker's process.
    pub(crate) fn conversation(&self, turns: &chat::Conversation, add_generation_prompt: bool) -> Result<String> {
        let chat = self.chat()?;
        bounded(ALLOWANCE, || chat.text(turns, add_generation_prompt))
    }

    /// Ids of an answer with the token that ends it. Special tokens written in it stay plain text.
    pub fn answer(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode_plain(text)?;
        ids.push(self.end);
        Ok(ids)
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Every token that ends generated text.
    pub fn stops(&self) -> Vec<u32> {
        let mut stops = self.tokenizer.stops.clone();
        stops.push(self.end);
        stops.sort_unstable();
        stops.dedup();
        stops
    }

    /// Whether the chat template itself writes the token that ends an answer.
    pub fn template_ends_turns(&self) -> bool {
        self.template_ends_turns
    }

    /// Longest sequence of the model.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Longest sequence of a model on disk. Of it only the config is read, and nothing is executed.
    pub fn longest(base: &Path) -> Result<usize> {
        if base.is_file() { gguf::context_length(base) } else { Ok(Config::from_dir(base)?.max_position_embeddings) }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The token that the template itself writes after an answer, of those that end a text.
fn written_end(tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Option<u32>> {
    const ANSWER: &str = "x7q";
    let turns = [chat::Message::new("user", "a"), chat::Message::new("assistant", ANSWER)];
    let rendered = bounded(ALLOWANCE, || template.render(&turns, false))?;
    let after = rendered.rfind(ANSWER).map(|at| &rendered[at + ANSWER.len()..]).unwrap_or_default();
    Ok(tokenizer.encode(after)?.into_iter().find(|id| tokenizer.stops.contains(id)))
}
