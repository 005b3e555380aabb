//! A model's chat template: messages to one text.

use std::{ops::Range, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
pub use tunesmith_jinja::Today;
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

/// What a template is filled in with, as transformers' `apply_chat_template` takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// The turns: objects with a `role`, mostly a `content`, and whatever else the template reads.
    pub messages: Vec<Map<String, Value>>,
    /// Schemas of the functions that the assistant may call.
    pub tools: Option<Value>,
    /// More variables of the template, for example `enable_thinking`.
    pub kwargs: Map<String, Value>,
}

impl Conversation {
    /// A conversation of these turns.
    pub fn new(messages: Vec<Map<String, Value>>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// The same with its first `turns` turns only.
    pub fn first(&self, turns: usize) -> Self {
        Self { messages: self.messages.iter().take(turns).cloned().collect(), ..self.clone() }
    }
}

/// The special tokens that transformers hands to a template under their names.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The names under which a message's reasoning is known; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat template with the special tokens that it may name.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// Texts of special tokens by the names of their variables; a token that there is not is no variable.
    specials: Map<String, Value>,
    today: Option<Today>,
    template: Arc<Template>,
}

impl PartialEq for ChatTemplate {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.specials, self.today) == (&other.source, &other.specials, other.today)
    }
}

impl ChatTemplate {
    /// Takes the text of a template and the texts of the tokens that start and end a text; empty where there is none.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self> {
        let specials = [("bos_token", bos_token), ("eos_token", eos_token)];
        let specials = specials.into_iter().filter(|(_, token)| !token.is_empty());
        Self::with(source, specials.map(|(name, token)| (name.to_string(), token.into())).collect(), None)
    }

    fn with(source: &str, specials: Map<String, Value>, today: Option<Today>) -> Result<Self> {
        let options = Options { today, ..Options::chat() };
        let template = Template::new(source, &options).map_err(|e| Error::Template(e.to_string()))?;
        Ok(Self { source: source.into(), specials, today, template: Arc::new(template) })
    }

    /// The same template with one more special token under the name of its variable, for example `pad_token`.
    pub fn with_token(mut self, name: &str, token: &str) -> Self {
        if !token.is_empty() {
            self.specials.insert(name.into(), token.into());
        }
        self
    }

    /// The same template on a fixed day: without one, `strftime_now` is not defined in it.
    pub fn on(&self, today: Today) -> Result<Self> {
        Self::with(&self.source, self.specials.clone(), Some(today))
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
            let value = config.get(field)?;
            Some((field.to_string(), value.as_str().or_else(|| value.get("content")?.as_str())?.into()))
        };
        let specials = SPECIAL_TOKENS.into_iter().filter_map(token).collect();
        source.map(|source| Self::with(&source, specials, None)).transpose()
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks what the assistant says with `{% generation %}`.
    pub fn has_generation_tags(&self) -> bool {
        self.template.has_generation_tags()
    }

    /// The conversation as one text; with `add_generation_prompt` it ends where the assistant should speak.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let turn = |m: &Message| {
            Map::from_iter([("role".into(), m.role.as_str().into()), ("content".into(), m.content.as_str().into())])
        };
        self.text(&Conversation::new(messages.iter().map(turn).collect()), add_generation_prompt)
    }

    /// As [`render`](Self::render), for a conversation of every kind.
    pub fn text(&self, conversation: &Conversation, add_generation_prompt: bool) -> Result<String> {
        let context = self.context(conversation, add_generation_prompt)?;
        self.template.render(context).map_err(|e| Error::Template(e.to_string()))
    }

    /// The conversation as one text, and which bytes of it stood in `{% generation %}` tags.
    pub fn text_with_spans(&self, conversation: &Conversation) -> Result<(String, Vec<Range<usize>>)> {
        let context = self.context(conversation, false)?;
        self.template.render_with_spans(context).map_err(|e| Error::Template(e.to_string()))
    }

    /// The variables of the template, prepared as transformers prepares them.
    fn context(&self, conversation: &Conversation, add_generation_prompt: bool) -> Result<Map<String, Value>> {
        if conversation.messages.is_empty() {
            return Err(Error::Template("the conversation is empty; give it at least one message".into()));
        }
        let mut context = self.specials.clone();
        context.extend(conversation.kwargs.clone());
        let messages = conversation.messages.iter().map(prepared).collect();
        for (name, value) in [
            ("messages", Value::Array(messages)),
            ("tools", conversation.tools.clone().unwrap_or(Value::Null)),
            ("documents", context.get("documents").cloned().unwrap_or(Value::Null)),
            ("add_generation_prompt", add_generation_prompt.into()),
        ] {
            context.insert(name.into(), value);
        }
        Ok(context)
    }
}

/// A message without the fields that are null; its reasoning is there under the names that templates read.
fn prepared(message: &Map<String, Value>) -> Value {
    let mut message: Map<String, Value> = message
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(reasoning) = REASONING.iter().find_map(|name| message.get(*name)).cloned() {
        // In the order of transformers: templates may print the whole message.
        if !message.contains_key("thinking") {
            message.shift_insert(0, "thinking".into(), reasoning.clone());
        }
        message.insert("reasoning_content".into(), reasoning);
    }
    Value::Object(message)
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
