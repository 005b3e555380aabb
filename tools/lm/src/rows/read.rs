//! Rows in TRL's data set formats.

use serde_json::{Map, Value};

use crate::{
    chat::Conversation,
    error::{Error, Result},
};

/// A row of language modelling or of a prompt with its completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// `{"text": ".."}`.
    Text(String),
    /// `{"prompt": "..", "completion": ".."}`.
    Completion {
        /// What the model is given.
        prompt: String,
        /// What it should say.
        completion: String,
    },
    /// `{"messages": [..]}`.
    Messages(Conversation),
    /// `{"prompt": [..], "completion": [..]}`.
    ChatCompletion {
        /// Prompt and completion together.
        chat: Conversation,
        /// How many of the messages are the prompt.
        prompt: usize,
    },
}

/// A prompt with a better and a worse completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// What the model is given, with the tools that it may call.
    pub prompt: Sides,
    /// The better completion.
    pub chosen: Sides,
    /// The worse one.
    pub rejected: Sides,
}

/// A text or messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Sides {
    /// Plain text.
    Text(String),
    /// Messages, with tools and more variables where they are the prompt.
    Chat(Conversation),
}

impl Row {
    /// Reads a row; fields that are not known are left alone.
    pub fn from_json(row: &Value) -> Result<Self> {
        let row = object(row)?;
        if let Some(prompt) = row.get("prompt") {
            let completion = row.get("completion").ok_or_else(|| bad("it has a prompt but no completion"))?;
            return match (prompt, completion) {
                (Value::String(prompt), Value::String(completion)) => {
                    Ok(Row::Completion { prompt: prompt.clone(), completion: completion.clone() })
                }
                (Value::Array(_), Value::Array(_)) => {
                    let (mut messages, completion) = (messages(prompt, "prompt")?, messages(completion, "completion")?);
                    let prompt = messages.len();
                    messages.extend(completion);
                    Ok(Row::ChatCompletion { chat: conversation(row, messages)?, prompt })
                }
                _ => Err(bad("prompt and completion must both be texts or both be lists of messages")),
            };
        }
        if let Some(list) = row.get("messages") {
            return Ok(Row::Messages(conversation(row, messages(list, "messages")?)?));
        }
        match row.get("text") {
            Some(Value::String(text)) => Ok(Row::Text(text.clone())),
            Some(_) => Err(bad("text must be a text")),
            None => Err(bad("it has none of messages, text, or prompt with completion")),
        }
    }
}

impl Preference {
    /// Reads a row of preferences. Without a prompt, or with one of another kind than the completions, what both
    /// completions begin with is the prompt.
    pub fn from_json(row: &Value) -> Result<Self> {
        let row = object(row)?;
        let side = |name: &str| row.get(name).ok_or_else(|| bad(format!("it has no {name}")));
        match (side("chosen")?, side("rejected")?, row.get("prompt")) {
            (Value::String(chosen), Value::String(rejected), Some(Value::String(prompt))) => Ok(Preference {
                prompt: Sides::Text(prompt.clone()),
                chosen: Sides::Text(chosen.clone()),
                rejected: Sides::Text(rejected.clone()),
            }),
            (Value::String(chosen), Value::String(rejected), None) => Ok(common_text(chosen, rejected)),
            (chosen @ Value::Array(_), rejected @ Value::Array(_), prompt) => {
                let (chosen, rejected) = (messages(chosen, "chosen")?, messages(rejected, "rejected")?);
                let (prompt, chosen, rejected) = match prompt {
                    Some(prompt @ Value::Array(_)) => (messages(prompt, "prompt")?, chosen, rejected),
                    _ => common_messages(chosen, rejected)?,
                };
                Ok(Preference {
                    prompt: Sides::Chat(conversation(row, prompt)?),
                    chosen: Sides::Chat(Conversation::new(chosen)),
                    rejected: Sides::Chat(Conversation::new(rejected)),
                })
            }
            _ => Err(bad("prompt, chosen and rejected must all be texts or all be lists of messages")),
        }
    }
}

/// How much two lists have in common at their beginning; at least one item of the shorter is left.
fn common<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    same.min(a.len().min(b.len()).saturating_sub(1))
}

fn common_text(chosen: &str, rejected: &str) -> Preference {
    let a: Vec<char> = chosen.chars().collect();
    let b: Vec<char> = rejected.chars().collect();
    let mut end = common(&a, &b);
    let differs = a.get(end) != b.get(end);
    // The blank before a word belongs to the word.
    if differs && end > 0 && a[end - 1] == ' ' {
        end -= 1;
    }
    let text = |chars: &[char]| Sides::Text(chars.iter().collect());
    Preference { prompt: text(&a[..end]), chosen: text(&a[end..]), rejected: text(&b[end..]) }
}

type Messages = Vec<Map<String, Value>>;

fn common_messages(mut chosen: Messages, mut rejected: Messages) -> Result<(Messages, Messages, Messages)> {
    let end = common(&chosen, &rejected);
    if end == 0 {
        return Err(bad("chosen and rejected do not begin with the same messages; give a prompt"));
    }
    let rejected = rejected.split_off(end);
    let rest = chosen.split_off(end);
    Ok((chosen, rest, rejected))
}

fn object(row: &Value) -> Result<&Map<String, Value>> {
    row.as_object().ok_or_else(|| bad("it is not an object"))
}

fn messages(list: &Value, field: &str) -> Result<Messages> {
    let wrong = || bad(format!("{field} must be a list of messages, each an object with a role that is a text"));
    let list = list.as_array().ok_or_else(wrong)?;
    if list.is_empty() {
        return Err(bad(format!("{field} is empty")));
    }
    let message = |message: &Value| match message {
        Value::Object(message) if message.get("role").is_some_and(Value::is_string) => Ok(message.clone()),
        _ => Err(wrong()),
    };
    list.iter().map(message).collect()
}

/// Messages with the row's tools, which may be JSON in a text, and its variables for the template.
fn conversation(row: &Map<String, Value>, messages: Messages) -> Result<Conversation> {
    let tools = match row.get("tools") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            Some(serde_json::from_str(text).map_err(|e| bad(format!("tools is a text that is not JSON: {e}")))?)
        }
        Some(tools) => Some(tools.clone()),
    };
    if tools.as_ref().is_some_and(|tools: &Value| !tools.is_array() && !tools.is_null()) {
        return Err(bad("tools must be a list of schemas"));
    }
    let kwargs = match row.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(kwargs)) => kwargs.clone(),
        Some(_) => return Err(bad("chat_template_kwargs must be an object")),
    };
    Ok(Conversation { messages, tools: tools.filter(|tools| !tools.is_null()), kwargs })
}

fn bad(message: impl Into<String>) -> Error {
    Error::Data(message.into())
}
