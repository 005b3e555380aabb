//! How lm-eval turns texts into tokens: the conventions of its `HFLM`, which decide what a number means.

use tunesmith_harness::model::ModelError;
use tunesmith_lm::{score::Question, tokens::Tokenizer};

use super::error;

/// A tokenizer with the length of its model.
pub(super) struct Conventions<'a> {
    tokenizer: &'a Tokenizer,
    max_length: usize,
    /// The text of the prefix token: a text that begins with it gets no other.
    prefix: Option<String>,
    /// The last context that was encoded: the choices of a row share one.
    last: Option<(String, Vec<u32>)>,
}

impl<'a> Conventions<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, max_length: usize) -> Result<Self, ModelError> {
        let id = tokenizer.bos.or(tokenizer.eos);
        let prefix = id.map(|id| tokenizer.decode(&[id]).map_err(error)).transpose()?;
        Ok(Conventions { tokenizer, max_length, prefix, last: None })
    }

    /// The token that stands for an empty context.
    fn prefix_token(&self) -> Result<u32, ModelError> {
        let token = self.tokenizer.bos.or(self.tokenizer.eos);
        token.ok_or_else(|| {
            ModelError(
                "the tokenizer names no bos_token or eos_token, so nothing can stand for an empty context".into(),
            )
        })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        encode_unless(self.tokenizer, text, self.prefix.as_deref())
    }

    /// The tokens of a context and its continuation. Both are encoded as one text, because a tokenizer may join what stands
    /// on their border; blanks at the end of the context belong to the continuation, as they belong to its first word.
    pub(super) fn pair(&mut self, context: &str, continuation: &str) -> Result<Question, ModelError> {
        let (context_ids, rest) = if context.is_empty() {
            let (prefix, ids) = (self.prefix_token()?, self.tokenizer.encode(continuation).map_err(error)?);
            // A continuation that begins with the prefix token is its own prefix.
            let own = usize::from(ids.first() == Some(&prefix));
            (vec![prefix], ids[own..].to_vec())
        } else {
            let kept = context.trim_end_matches(is_python_space);
            let mut whole = self.encode(&format!("{context}{continuation}"))?;
            if self.last.as_ref().is_none_or(|(last, _)| last != kept) {
                self.last = Some((kept.to_string(), self.encode(kept)?));
            }
            let ids = self.last.as_ref().map(|(_, ids)| ids.clone()).unwrap_or_default();
            let rest = whole.split_off(ids.len().min(whole.len()));
            (ids, rest)
        };
        if context_ids.is_empty() || rest.is_empty() || rest.len() > self.max_length {
            let what = match () {
                _ if context_ids.is_empty() => {
                    "a context has no tokens but its blanks; let it be empty or have text".into()
                }
                _ if rest.is_empty() => "a continuation has no tokens; drop rows with empty answers".into(),
                _ => format!("a continuation has {} tokens, the model takes {}", rest.len(), self.max_length),
            };
            return Err(ModelError(format!("{what} ({:?} after {:?})", short(continuation), short(context))));
        }
        Ok(self.cut(context_ids, rest))
    }

    /// What the model sees of a context and its continuation: as many of the last tokens as it takes.
    fn cut(&self, context: Vec<u32>, rest: Vec<u32>) -> Question {
        let mut tokens = context;
        tokens.extend(&rest);
        let dropped = tokens.len().saturating_sub(self.max_length + 1);
        Question { from: tokens.len() - dropped - rest.len(), tokens: tokens.split_off(dropped) }
    }

    /// The windows of a whole text. Each token is scored once; the first window begins with the prefix token, each other
    /// one has the tokens before it as context, as many as fit.
    pub(super) fn windows(&self, text: &str) -> Result<Vec<Question>, ModelError> {
        let (prefix, ids) = (self.prefix_token()?, self.encode(text)?);
        let mut windows = Vec::new();
        let mut done = 0;
        while done < ids.len() {
            let end = ids.len().min(done + self.max_length);
            let mut tokens = match done {
                0 => vec![prefix],
                _ => ids[end - self.max_length - 1..done].to_vec(),
            };
            let from = tokens.len();
            tokens.extend(&ids[done..end]);
            windows.push(Question { tokens, from });
            done = end;
        }
        Ok(windows)
    }

    /// The tokens of a prompt that is to be continued, the last `most` of them.
    pub(super) fn prompt(&self, text: &str, most: usize) -> Result<Vec<u32>, ModelError> {
        let bos = self.tokenizer.bos.map(|id| self.tokenizer.decode(&[id]).map_err(error)).transpose()?;
        let mut ids = encode_unless(self.tokenizer, text, bos.as_deref())?;
        Ok(ids.split_off(ids.len().saturating_sub(most)))
    }
}

/// Tokens of `text` with those that the tokenizer adds, unless the text already begins with `prefix`.
fn encode_unless(tokenizer: &Tokenizer, text: &str, prefix: Option<&str>) -> Result<Vec<u32>, ModelError> {
    match prefix {
        Some(prefix) if text.starts_with(prefix) => tokenizer.encode(text).map_err(error),
        _ => tokenizer.encode_with_added(text).map_err(error),
    }
}

/// What Python's `str.rstrip` takes away.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The end of a text, for messages.
fn short(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(40);
    text.chars().skip(skipped).collect()
}
