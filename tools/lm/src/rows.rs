//! Rows of data to what is trained: formats, masks, truncation and checks as TRL has them, and the formats of ShareGPT and
//! Alpaca, which are read as chats.
//!
//! A chat is rendered once and its spans are mapped to tokens by their offsets. Every row is checked: it keeps a trained
//! token, ends with one that stops, and does not begin twice. What happened to the rows is in the [`Tally`].

mod blocks;
mod pack;
mod pairs;
mod read;
mod spans;
mod tally;

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    pack::pack,
    pairs::Pair,
    read::{Instruction, Preference, Row, Sides, role},
    tally::{Count, Tally, Warning},
};
use crate::{
    chat::{ChatTemplate, Conversation},
    engine::batch::Sequence,
    error::{Error, Result},
    tokens::Tokenizer,
};

/// Which tokens of a row are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Train {
    /// All of them.
    Full,
    /// Those of the completion.
    Completion,
    /// Those that the assistant says, in every turn (of the completion, where there is one).
    Assistant,
}

/// Turns rows into sequences.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The chat template; rows of messages need one.
    pub template: Option<&'a ChatTemplate>,
    /// What is trained. `None`: the completion where rows have one, else everything.
    pub train: Option<Train>,
    /// Longer rows lose their end.
    pub max_length: Option<usize>,
}

/// A row as tokens, before truncation.
struct Encoded {
    tokens: Vec<u32>,
    trained: Vec<Range<usize>>,
    notes: Notes,
}

/// What was noticed about a row.
#[derive(Clone, Copy, Debug, Default)]
struct Notes {
    /// The prompt alone is rendered in another way than before its completion.
    prompt_differs: bool,
    /// Earlier turns are rendered in another way once there are later ones.
    history_changes: bool,
}

impl Encoder<'_> {
    /// The sequences of rows in TRL's language modelling and prompt-completion formats.
    pub fn sequences(&self, rows: &[Value]) -> Result<(Vec<Sequence>, Tally)> {
        self.check()?;
        let encoded: Vec<Result<Encoded>> = rows.par_iter().map(|row| self.row(&Row::from_json(row)?)).collect();
        let (mut sequences, mut tally) = (Vec::new(), Tally::default());
        for (number, row) in encoded.into_iter().enumerate() {
            let row = row.and_then(|row| self.finish(&row, number, &mut tally)).map_err(|e| at_row(number, e))?;
            sequences.extend(row);
        }
        tally.check()?;
        Ok((sequences, tally))
    }

    fn check(&self) -> Result<()> {
        match self.max_length {
            Some(length) if length < 2 => Err(Error::Data("max_length must be at least 2".into())),
            _ => Ok(()),
        }
    }

    fn row(&self, row: &Row) -> Result<Encoded> {
        match row {
            Row::Text(text) => self.text(text),
            Row::Completion { prompt, completion } => self.completion(prompt, completion),
            Row::Messages(chat) => self.messages(chat),
            Row::ChatCompletion { chat, prompt } => self.chat_completion(chat, *prompt),
            Row::Instruction { prompt, output } => match self.template {
                Some(_) => self.chat_completion(&prompt.chat(output), prompt.turns()),
                None => self.completion(&prompt.text(), output),
            },
        }
    }

    fn text(&self, text: &str) -> Result<Encoded> {
        match self.train {
            Some(Train::Completion) => return Err(none("completion", "full")),
            Some(Train::Assistant) => return Err(none("messages", "full")),
            None | Some(Train::Full) => {}
        }
        let tokens = self.tokenizer.encode_document(&self.ended(text)?)?;
        Ok(Encoded { trained: all(&tokens), tokens, notes: Notes::default() })
    }

    fn completion(&self, prompt: &str, completion: &str) -> Result<Encoded> {
        let text = format!("{prompt}{}", self.ended(completion)?);
        let (tokens, offsets) = self.tokenizer.encode_with_offsets(&text, true)?;
        let trained = match self.train {
            Some(Train::Full) => all(&tokens),
            Some(Train::Assistant) => return Err(none("messages", "completion")),
            None | Some(Train::Completion) => from(&offsets, prompt.len()..text.len()),
        };
        Ok(Encoded { tokens, trained, notes: Notes::default() })
    }

    fn messages(&self, chat: &Conversation) -> Result<Encoded> {
        match self.train {
            Some(Train::Completion) => Err(none("completion", "assistant or full")),
            Some(Train::Assistant) => spans::assistant(self, chat),
            None | Some(Train::Full) => {
                let text = self.template()?.text(chat, false)?;
                let (tokens, _) = self.tokenizer.encode_with_offsets(&text, false)?;
                let notes = Notes {
                    history_changes: spans::history_changes(self.template()?, chat, &text),
                    ..Notes::default()
                };
                Ok(Encoded { trained: all(&tokens), tokens, notes })
            }
        }
    }

    /// A chat of which the first `prompt` messages are the prompt.
    fn chat_completion(&self, chat: &Conversation, prompt: usize) -> Result<Encoded> {
        let template = self.template()?;
        let text = template.text(chat, false)?;
        let (start, prompt_differs) = spans::after_prompt(template, &chat.first(prompt), &text)?;
        let mut encoded = match self.train {
            Some(Train::Assistant) => spans::assistant(self, chat)?,
            _ => {
                let (tokens, offsets) = self.tokenizer.encode_with_offsets(&text, false)?;
                let trained = from(&offsets, start..text.len());
                let notes =
                    Notes { history_changes: spans::history_changes(template, chat, &text), ..Notes::default() };
                Encoded { tokens, trained, notes }
            }
        };
        match self.train {
            Some(Train::Full) => encoded.trained = all(&encoded.tokens),
            Some(Train::Assistant) => {
                let (_, offsets) = self.tokenizer.encode_with_offsets(&text, false)?;
                let first = offsets.partition_point(|o| o.end <= start);
                encoded.trained.iter_mut().for_each(|range| range.start = range.start.max(first));
            }
            None | Some(Train::Completion) => {}
        }
        encoded.notes.prompt_differs = prompt_differs;
        Ok(encoded)
    }

    /// The text with the token that ends texts, unless it has it.
    fn ended(&self, text: &str) -> Result<String> {
        let end = self.tokenizer.eos.and_then(|id| self.tokenizer.token(id)).ok_or_else(|| {
            Error::Data("the tokenizer has no token that ends a text; set eos_token in tokenizer_config.json".into())
        })?;
        Ok(if text.ends_with(&end) { text.to_string() } else { format!("{text}{end}") })
    }

    fn template(&self) -> Result<&ChatTemplate> {
        self.template.ok_or_else(|| {
            Error::Template("the model has none, but the rows are messages; use a chat model or rows of text".into())
        })
    }

    /// Truncates a row and checks it; `None` where no trained token is left.
    fn finish(&self, row: &Encoded, number: usize, tally: &mut Tally) -> Result<Option<Sequence>> {
        tally.rows += 1;
        tally.prompt_differs.add(row.notes.prompt_differs, number);
        tally.history_changes.add(row.notes.history_changes, number);
        let Some(sequence) = self.cut(row, number, tally)? else {
            tally.dropped.add(true, number);
            return Ok(None);
        };
        tally.sequences += 1;
        Ok(Some(sequence))
    }

    /// One sequence of a row, checked and cut to length; `None` where no trained token is left.
    fn cut(&self, row: &Encoded, number: usize, tally: &mut Tally) -> Result<Option<Sequence>> {
        let mut tokens = row.tokens.clone();
        self.check_start(&tokens, number, tally)?;
        let length = self.max_length.unwrap_or(usize::MAX).min(tokens.len());
        let truncated = length < tokens.len();
        tally.truncated.add(truncated, number);
        tally.cut_tokens += tokens.len() - length;
        tokens.truncate(length);
        let sequence = Sequence::new(tokens, row.trained.clone());
        if sequence.targets() == 0 {
            return Ok(None);
        }
        if !truncated {
            tally.whole += 1;
            tally.without_stop.add(!self.stops(&sequence)?, number);
        }
        tally.tokens += sequence.tokens.len();
        tally.trained += sequence.targets();
        Ok(Some(sequence))
    }

    /// A text begins once. Inside it the token may come again: some templates write it for every turn.
    fn check_start(&self, tokens: &[u32], number: usize, tally: &mut Tally) -> Result<()> {
        let Some(bos) = self.tokenizer.bos else { return Ok(()) };
        let starts = self.starts(tokens);
        tally.without_bos.add(tokens.first() != Some(&bos), number);
        if starts > 1 {
            let name = self.tokenizer.token(bos).unwrap_or_default();
            return Err(Error::Data(format!(
                "the text begins with {name} {starts} times; write it once or leave it out"
            )));
        }
        Ok(())
    }

    /// How often a text begins at its start; where one token begins and ends texts, that cannot be told.
    pub(crate) fn starts(&self, tokens: &[u32]) -> usize {
        let begins = self.tokenizer.bos.filter(|bos| self.tokenizer.eos != Some(*bos));
        tokens.iter().take_while(|token| Some(**token) == begins).count()
    }

    /// Whether the last trained token, blanks after it aside, is one that ends a text.
    pub(crate) fn stops(&self, sequence: &Sequence) -> Result<bool> {
        let trained: Vec<usize> = sequence.trained_tokens().collect();
        for at in trained.into_iter().rev() {
            let token = sequence.tokens[at];
            if self.tokenizer.stops.contains(&token) {
                return Ok(true);
            }
            if !self.blank(token)? {
                break;
            }
        }
        Ok(false)
    }

    fn blank(&self, token: u32) -> Result<bool> {
        Ok(self.tokenizer.decode(&[token])?.trim().is_empty())
    }
}

fn at_row(row: usize, error: Error) -> Error {
    match error {
        Error::Data(_) | Error::Template(_) => Error::Row { row, error: Box::new(error) },
        other => other,
    }
}

fn none(what: &str, instead: &str) -> Error {
    Error::Data(format!("the row has no {what}; train {instead}"))
}

/// A range over all tokens.
fn all(tokens: &[u32]) -> Vec<Range<usize>> {
    std::iter::once(0..tokens.len()).collect()
}

/// The tokens that stand for a part of these bytes, as one range.
fn from(offsets: &[Range<usize>], bytes: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(tokens_of(offsets, &bytes)).collect()
}

/// The tokens that stand for a part of these bytes. A character of several tokens is taken whole, and so is a token that
/// reaches over an end.
fn tokens_of(offsets: &[Range<usize>], bytes: &Range<usize>) -> Range<usize> {
    if bytes.is_empty() {
        return 0..0;
    }
    offsets.partition_point(|o| o.end <= bytes.start)..offsets.partition_point(|o| o.start < bytes.end)
}
