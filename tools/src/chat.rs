//! A model that is asked one conversation after another, with tools that it may call: one worker for all of them.

use std::{
    io::{self, BufRead},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tunesmith_lm::{
    constrain::{Grammar, Guide, Vocabulary},
    error::Error,
    generate::{Kept, Sampling},
};

use crate::{models::LmModel, worker::Live};
use form::{Form, text_of};

mod form;

/// Characters that a model may write before its call must begin.
const MOST_TEXT: usize = 2_000;
/// Most tokens of an answer, where nobody says how many.
const MOST_TOKENS: usize = 1_024;
/// Tokens that there must be room for behind a conversation.
const LEAST_ROOM: usize = 128;
/// How freely an answer is drawn, where nobody says.
const TEMPERATURE: f32 = 0.6;
const TOP_P: f32 = 0.95;

/// The worker's part: answers each line of its input with lines of [`Said`], until its input ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The base model.
    pub base: PathBuf,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The turns, as OpenAI's API has them; the arguments of calls are objects.
    pub messages: Vec<Map<String, Value>>,
    /// The tools that may be called.
    pub tools: Vec<Offered>,
    /// JSON Schema of the answer, where no tools are offered.
    pub schema: Option<Value>,
    /// Whether the answer must be a call.
    pub must_call: bool,
    /// Most tokens.
    pub max_tokens: Option<usize>,
    /// 0 takes the most likely token each time.
    pub temperature: Option<f32>,
    /// Seed of the draws.
    pub seed: u64,
}

/// A tool that may be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The schema of its arguments as the model reads it.
    pub parameters: Value,
    /// The schema that its arguments are kept to.
    pub strict: Value,
}

/// A line of the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// More text.
    Text(String),
    /// The whole answer.
    Answer(Answer),
    /// The conversation does not fit.
    TooLong {
        /// Tokens of the conversation.
        tokens: usize,
        /// Tokens that it and the answer may have together.
        window: usize,
    },
    /// There is no answer, for this reason; the worker goes on.
    Declined(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The tool that is called, and its arguments.
    pub call: Option<(String, Value)>,
    /// Whether it ended by itself rather than at the limit.
    pub stopped: bool,
    /// Its tokens.
    pub tokens: usize,
    /// Tokens of the conversation.
    pub prompt_tokens: usize,
    /// How many of these had been read before.
    pub kept_tokens: usize,
}

impl Job {
    /// Opens the model and answers.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<()> {
        let model = LmModel::open(&self.base, None)?;
        let mut talk = Talk { form: Form::of(model.encoder()), model, vocabulary: None, kept: Kept::default() };
        for line in io::stdin().lock().lines() {
            let question: Question = serde_json::from_str(&line?)?;
            let said = match talk.answer(&question, live) {
                Ok(said) => said,
                // What the model's files make of this conversation; the next one may be another.
                Err(error @ (Error::Template(_) | Error::Schema(_) | Error::Generate(_) | Error::Tokenizer(_))) => {
                    Said::Declined(error.to_string())
                }
                Err(error) => return Err(error.into()),
            };
            live.partial(json!(said));
        }
        Ok(())
    }
}

/// A model with what it has read.
struct Talk {
    model: LmModel,
    form: Form,
    /// Made when first needed.
    vocabulary: Option<Arc<Vocabulary>>,
    kept: Kept,
}

impl Talk {
    fn answer(&mut self, question: &Question, live: &mut Live<'_>) -> Result<Said, Error> {
        let text = self.form.prompt(self.model.encoder(), question)?;
        let prompt = self.model.encoder().tokenizer().encode(&text)?;
        let window = self.model.session().max_length();
        let Some(room) = room(window, prompt.len()) else {
            return Ok(Said::TooLong { tokens: prompt.len(), window });
        };
        let sampling = Sampling {
            max_new_tokens: question.max_tokens.unwrap_or(MOST_TOKENS).clamp(1, room),
            temperature: question.temperature.unwrap_or(TEMPERATURE).max(0.0),
            top_p: if question.temperature.is_some() { 1.0 } else { TOP_P },
            seed: question.seed,
            ..Sampling::greedy(1, self.model.encoder().stops())
        };
        let mut guide = self.guide(question, &sampling)?;
        let kept_tokens = self.kept.len();
        let done = {
            let mut speaker = Speaker::new(if question.schema.is_some() { "" } else { &self.form.calls.mark });
            let tokenizer = self.model.encoder().tokenizer();
            let mut stream = tokenizer.stream();
            let vocabulary = self.vocabulary.as_deref().filter(|_| guide.is_some());
            let mut each = |token: u32| {
                let told = match vocabulary {
                    Some(vocabulary) => speaker.hear(vocabulary.bytes(token).unwrap_or_default()),
                    None => stream.push(token).unwrap_or_default(),
                };
                if !told.is_empty() {
                    live.partial(json!(Said::Text(told)));
                }
            };
            self.model.session().reply(&mut self.kept, &prompt, &sampling, guide.as_mut(), &mut each)?
        };
        let names: Vec<&str> = question.tools.iter().map(|tool| tool.name.as_str()).collect();
        let (text, call) = match self.form.calls.parse(&done.text, &names) {
            Some((text, name, arguments)) => (text.trim().to_owned(), Some((name, arguments))),
            None => (done.text, None),
        };
        let (tokens, prompt_tokens) = (done.ids.len(), prompt.len());
        Ok(Said::Answer(Answer { text, call, stopped: done.stopped, tokens, prompt_tokens, kept_tokens }))
    }

    /// What keeps the answer to its form; `None` where it is free.
    fn guide(&mut self, question: &Question, sampling: &Sampling) -> Result<Option<Guide>, Error> {
        let grammar = match &question.schema {
            _ if !question.tools.is_empty() => self.calls(question, sampling.max_new_tokens)?,
            Some(schema) => Grammar::of_schema(schema)?,
            None => return Ok(None),
        };
        let vocabulary = match &self.vocabulary {
            Some(vocabulary) => vocabulary.clone(),
            None => {
                let marks = self.form.marks();
                let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
                let made = Arc::new(Vocabulary::new(self.model.encoder().tokenizer(), &marks)?);
                self.vocabulary.insert(made).clone()
            }
        };
        Ok(Some(Guide::new(vocabulary, Arc::new(grammar), &sampling.stop_ids)))
    }

    fn calls(&self, question: &Question, room: usize) -> Result<Grammar, Error> {
        let any = json!({"type": "object"});
        // The arguments of a tool of others, whose schema says more than can be kept to, are checked when it is called.
        let schema = |tool: &Offered| match Grammar::of_schema(&tool.strict) {
            Ok(_) => tool.strict.clone(),
            Err(_) => any.clone(),
        };
        let schemas: Vec<Value> = question.tools.iter().map(schema).collect();
        let tools: Vec<(&str, &Value)> = question.tools.iter().map(|tool| tool.name.as_str()).zip(&schemas).collect();
        // At least half of the tokens are the call's.
        let most = if question.must_call { 0 } else { MOST_TEXT.min(room / 2) };
        Grammar::of_calls(&self.form.calls, &tools, u32::try_from(most).unwrap_or(u32::MAX - 1))
    }
}

/// Tokens that are left for an answer; `None` where they are too few for one.
fn room(window: usize, prompt: usize) -> Option<usize> {
    let room = window.saturating_sub(prompt);
    (room >= LEAST_ROOM.min(window / 4).max(1)).then_some(room)
}

/// Gives out text as it is written, up to where a call begins.
struct Speaker {
    mark: String,
    heard: Vec<u8>,
    told: usize,
}

impl Speaker {
    fn new(mark: &str) -> Self {
        Speaker { mark: mark.to_owned(), heard: Vec::new(), told: 0 }
    }

    fn hear(&mut self, bytes: &[u8]) -> String {
        self.heard.extend_from_slice(bytes);
        let mark = self.mark.as_bytes();
        let at = self.heard.windows(mark.len().max(1)).position(|part| part == mark);
        // What may yet become the mark waits.
        let begun = (1..=mark.len()).rev().find(|length| self.heard.ends_with(&mark[..*length])).unwrap_or(0);
        let until = at.unwrap_or(self.heard.len() - begun).max(self.told);
        let told = text_of(&self.heard[self.told..until]);
        self.told += told.len();
        told.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_full_has_no_room_however_small_it_is() {
        assert_eq!([room(3, 3), room(0, 1), room(3, 9), room(8, 7)], [None; 4]);
        assert_eq!([room(3, 2), room(8, 6), room(4_096, 4_000)], [Some(1), Some(2), (96 >= LEAST_ROOM).then_some(96)]);
    }

    #[test]
    fn text_is_told_up_to_a_call_and_never_in_pieces_of_a_character() {
        let mut speaker = Speaker::new("<call>");
        let written = "\u{e9}a <ca b<call>{}";
        let told: Vec<String> = written.bytes().map(|byte| speaker.hear(&[byte])).collect();
        assert_eq!(told.concat(), "\u{e9}a <ca b");
        assert_eq!(&told[..4], ["", "\u{e9}", "a", " "]);
        let mut free = Speaker::new("");
        assert_eq!(free.hear(b"{\"a") + &free.hear(b"\":1}"), "{\"a\":1}");
    }
}
