//! A model's chat template: messages to one text.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tunesmith_jinja::{Options, Template};

use crate::{
    error::{Error, Result},
    storage::read_optional,
};

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
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    bos_token: String,
    eos_token: String,
    template: Arc<Template>,
}

impl PartialEq for ChatTemplate {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.bos_token, &self.eos_token) == (&other.source, &other.bos_token, &other.eos_token)
    }
}

impl ChatTemplate {
    /// Takes the text of a template and the texts of the tokens that start and end a text.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self> {
        let template = Template::new(source, &Options::chat()).map_err(|e| Error::Template(e.to_string()))?;
        Ok(Self {
            source: source.into(),
            bos_token: bos_token.into(),
            eos_token: eos_token.into(),
            template: Arc::new(template),
        })
    }

    /// Finds the template in `chat_template.jinja` or `tokenizer_config.json`; `None` where there is none.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>> {
        let config = match read_optional(&dir.join("tokenizer_config.json"))? {
            None => Map::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| Error::Template(format!("tokenizer_config.json is not JSON: {e}")))?,
        };
        let source = match read_optional(&dir.join("chat_template.jinja"))? {
            Some(source) => Some(source),
            None => in_config(config.get("chat_template"))?,
        };
        let token = |field: &str| {
            let value = config.get(field);
            value.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str())).unwrap_or_default().to_string()
        };
        source.map(|source| Self::new(&source, &token("bos_token"), &token("eos_token"))).transpose()
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as one text; with `add_generation_prompt` it ends where the assistant should speak.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let context = json!({
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "tools": null,
            "documents": null,
        });
        self.template.render(context).map_err(|e| Error::Template(e.to_string()))
    }
}

/// The template is a text, or a list of named ones of which `default` is meant.
fn in_config(value: Option<&Value>) -> Result<Option<String>> {
    let wrong = || Error::Template("chat_template must be a text or a list of {name, template}".into());
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(list)) => {
            let found = list.iter().find(|t| t.get("name").is_some_and(|n| n == "default")).ok_or_else(|| {
                Error::Template("the list chat_template has no template named default; name one so".into())
            })?;
            found.get("template").and_then(Value::as_str).map(|s| Some(s.to_string())).ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}
