//! How the fields of a task make text, target and choices from a row, and how turns become a prompt.

use serde_json::Value;
use tunesmith_jinja::{Options, Template};

use super::{
    config::Field,
    functions::{Functions, Port},
    python::{literal::literal_eval, repr::str_of, strings},
    request::Doc,
};
use crate::model::{Message, ModelError};

/// Renders a conversation as a model's chat template does; see [`LanguageModel::chat_prompt`](crate::model::LanguageModel::chat_prompt).
pub type ChatTemplate<'a> = &'a dyn Fn(&[Message]) -> Result<String, ModelError>;

/// One of `doc_to_text`, `doc_to_target`, `doc_to_choice` and their like, ready to be applied to rows.
#[derive(Debug)]
pub(super) enum Maker {
    /// The value of a column.
    Column(String),
    /// A filled-in template.
    Template(Box<Template>),
    /// The same for every row.
    Value(Value),
    /// A native port of a Python function.
    Port(fn(&Doc) -> Result<Value, String>),
}

impl Maker {
    /// Prepares a field; `columns` are those of the evaluated rows.
    pub fn new(field: &Field, columns: &[String], functions: &Functions) -> Result<Self, String> {
        match field {
            Field::Function { function } => match functions.port(function)? {
                Port::Doc(port) => Ok(Maker::Port(port)),
                _ => Err(format!("names `{}`, which is not a function of a row", function.name)),
            },
            Field::Value(Value::String(text)) if columns.contains(text) => Ok(Maker::Column(text.clone())),
            Field::Value(Value::String(text)) => Ok(Maker::Template(Box::new(template(text)?))),
            Field::Value(value) => Ok(Maker::Value(value.clone())),
        }
    }

    /// The value, and whether a template made it: only then are digits and lists read out of a text.
    fn make(&self, doc: &Doc) -> Result<(Value, bool), String> {
        Ok(match self {
            Maker::Column(name) => (column(doc, name)?.clone(), false),
            Maker::Template(template) => (Value::String(template.render(doc).map_err(|e| e.to_string())?), true),
            Maker::Value(value) => (value.clone(), false),
            Maker::Port(port) => (port(doc)?, false),
        })
    }

    /// lm-eval's `doc_to_text`: a text, or an index into the choices where the task has several inputs.
    pub fn text(&self, doc: &Doc, has_choices: bool) -> Result<Value, String> {
        match self.make(doc)? {
            (Value::String(text), true) if has_choices && strings::is_digit(&text) => literal(&text),
            (value, _) => Ok(value),
        }
    }

    /// lm-eval's `doc_to_target`: an index, a text, or a list of either.
    pub fn target(&self, doc: &Doc, has_choices: bool) -> Result<Value, String> {
        match self.make(doc)? {
            (Value::String(text), true) if has_choices && strings::is_digit(&text) => literal(&text),
            (Value::String(text), true) if text.len() >= 2 && text.starts_with('[') && text.ends_with(']') => {
                Ok(literal(&text).unwrap_or(Value::String(text)))
            }
            (value, _) => Ok(value),
        }
    }

    /// lm-eval's `doc_to_choice`: the choices of a row.
    pub fn choices(&self, doc: &Doc) -> Result<Vec<Value>, String> {
        let value = match self.make(doc)? {
            (Value::String(text), true) => literal(&text)?,
            (value, _) => value,
        };
        match value {
            Value::Array(choices) => Ok(choices),
            Value::Object(map) if matches!(self, Maker::Value(_)) => Ok(map.into_iter().map(|(_, v)| v).collect()),
            other => Err(format!("the choices must be a list, not {}", str_of(other))),
        }
    }
}

/// A field that is a column of the very row, or else a template: lm-eval's `resolve_field`.
#[derive(Debug)]
pub(super) struct Resolved {
    name: String,
    template: Result<Template, String>,
}

impl Resolved {
    /// Prepares a field; `None` where it is empty.
    pub fn new(field: &Field) -> Result<Option<Self>, String> {
        match field {
            Field::Value(Value::Null) => Ok(None),
            Field::Value(Value::String(name)) if name.is_empty() => Ok(None),
            Field::Value(Value::String(name)) => Ok(Some(Self { name: name.clone(), template: template(name) })),
            Field::Value(other) => Err(format!("must be a text, not {}", str_of(other))),
            Field::Function { function } => Err(format!("cannot be the Python function `{}`", function.name)),
        }
    }

    /// The text for a row.
    pub fn text(&self, doc: &Doc) -> Result<String, String> {
        match doc.get(&self.name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) => Ok(String::new()),
            Some(other) => Err(format!("the column `{}` must hold texts, not {}", self.name, str_of(other))),
            None => match &self.template {
                Ok(template) => template.render(doc).map_err(|e| e.to_string()),
                Err(e) => Err(e.clone()),
            },
        }
    }

    /// The field as it is written.
    pub fn source(&self) -> &str {
        &self.name
    }
}

fn template(source: &str) -> Result<Template, String> {
    Template::new(source, &Options::eval()).map_err(|e| e.to_string())
}

fn literal(text: &str) -> Result<Value, String> {
    let value = literal_eval(text).map_err(|e| e.to_string())?;
    value.into_json().ok_or_else(|| "a literal has no counterpart in JSON".to_string())
}

fn column<'a>(doc: &'a Doc, name: &str) -> Result<&'a Value, String> {
    doc.get(name).ok_or_else(|| format!("the row has no column `{name}`"))
}

/// A whole number as Python counts them: `True` is 1.
pub(super) fn index(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        value => value.as_i64(),
    }
}

/// Python's `items[index]`, where negative positions count from the end.
pub(super) fn item(items: &[Value], index: i64) -> Result<&Value, String> {
    let at = if index < 0 { index + items.len() as i64 } else { index };
    let found = usize::try_from(at).ok().and_then(|at| items.get(at));
    found.ok_or_else(|| format!("there is no choice {index} among {}", items.len()))
}

/// One turn of a prompt, and what follows it in plain text: lm-eval's `Message`.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub role: &'static str,
    pub content: String,
    pub delimiter: String,
}

/// A question as turns, with its answer or the beginning of one: lm-eval's `build_qa_turn`.
pub(super) struct Question<'a> {
    pub text: String,
    pub answer: Option<String>,
    pub prefix: Option<String>,
    pub target_delimiter: &'a str,
    pub fewshot_delimiter: &'a str,
}

impl Question<'_> {
    pub fn turns(self, turns: &mut Vec<Turn>) {
        let prefix = self.prefix.filter(|prefix| !prefix.is_empty());
        let delimited = match &prefix {
            Some(prefix) => !self.text.is_empty() && !touches_space(&self.text, prefix),
            None => self.answer.is_some(),
        };
        let delimiter = if delimited { self.target_delimiter } else { "" };
        turns.push(Turn { role: "user", content: self.text, delimiter: delimiter.to_string() });
        let answer = match (self.answer, prefix) {
            // After a prefix the answer is always set off by a blank.
            (Some(answer), prefix) => {
                (maybe_delimit(prefix.as_deref(), &answer, " "), self.fewshot_delimiter.to_string())
            }
            (None, Some(prefix)) => (prefix, String::new()),
            (None, None) => return,
        };
        turns.push(Turn { role: "assistant", content: answer.0, delimiter: answer.1 });
    }
}

/// Joins two texts with a delimiter, where neither has white space at the joint: lm-eval's `maybe_delimit`.
pub(super) fn maybe_delimit(prefix: Option<&str>, suffix: &str, delimiter: &str) -> String {
    match prefix.unwrap_or_default() {
        "" => suffix.to_string(),
        prefix if suffix.is_empty() => prefix.to_string(),
        prefix if touches_space(prefix, suffix) => format!("{prefix}{suffix}"),
        prefix => format!("{prefix}{delimiter}{suffix}"),
    }
}

fn touches_space(before: &str, after: &str) -> bool {
    before.chars().next_back().is_some_and(strings::is_space) || after.chars().next().is_some_and(strings::is_space)
}

/// The prompt that turns make, as plain text or by a chat template, whose examples are turns of their own or part of the
/// user's.
pub(super) fn render(
    mut turns: Vec<Turn>,
    chat: Option<ChatTemplate<'_>>,
    multiturn: bool,
) -> Result<String, ModelError> {
    let text = |turns: &[Turn]| turns.iter().map(|t| format!("{}{}", t.content, t.delimiter)).collect::<String>();
    let message = |turn: &Turn| Message { role: turn.role.into(), content: turn.content.clone() };
    let Some(chat) = chat else { return Ok(text(&turns)) };
    if multiturn {
        return chat(&turns.iter().map(message).collect::<Vec<_>>());
    }
    let mut messages = Vec::new();
    if turns.first().is_some_and(|turn| turn.role == "system") {
        messages.push(message(&turns.remove(0)));
    }
    let begun = turns.pop_if(|turn| turn.role == "assistant");
    if let Some(last) = turns.last_mut() {
        last.delimiter.clear();
    }
    messages.push(Message::user(text(&turns)));
    messages.extend(begun.as_ref().map(message));
    chat(&messages)
}
