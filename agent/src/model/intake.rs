//! Tool calls as models really write them: slightly broken JSON, fences, and calls inside the text.

use serde_json::{Map, Value};

use super::{Call, Reply};

mod lenient;
mod text;

pub use text::calls_in_text;

/// The arguments of a call as they are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Mended {
    /// A JSON object.
    pub value: Value,
    /// What had to be mended, each once, in the order in which it was met.
    pub repairs: Vec<Repair>,
}

/// Something that was wrong with the arguments of a call, and had one reading all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// The object stood in a fenced block.
    Fence,
    /// The object was written as a string.
    Nested,
    /// A comma before a closing bracket.
    Comma,
    /// Single quotes, as in Python.
    Quotes,
    /// `True`, `False` or `None`.
    Word,
    /// A key without quotes.
    Key,
    /// A line break or tab inside a string.
    Breaks,
    /// Brackets or a quote were missing at the end.
    Unclosed,
    /// Brackets too many at the end.
    Surplus,
    /// The call stood in the text.
    Text,
}

impl Repair {
    /// Its name, as it stands in a log.
    pub fn name(self) -> &'static str {
        match self {
            Repair::Fence => "fence",
            Repair::Nested => "nested",
            Repair::Comma => "comma",
            Repair::Quotes => "quotes",
            Repair::Word => "word",
            Repair::Key => "key",
            Repair::Breaks => "breaks",
            Repair::Unclosed => "unclosed",
            Repair::Surplus => "surplus",
            Repair::Text => "text",
        }
    }
}

/// What is wrong with the calls of a reply and is mended before they are run, each as often as it is met.
pub fn repairs(reply: &Reply, tools: &[&str]) -> Vec<Repair> {
    let in_text = if reply.calls.is_empty() { calls_in_text(&reply.text, tools).1 } else { Vec::new() };
    let whole = reply.finish.is_whole();
    let of = |call: &Call| arguments(&call.arguments, whole).map(|mended| mended.repairs).unwrap_or_default();
    let mended = reply.calls.iter().chain(&in_text).flat_map(of);
    in_text.iter().map(|_| Repair::Text).chain(mended).collect()
}

/// The arguments of a call as a JSON object, repaired where the intent is plain.
///
/// `whole` is whether the model wrote to its end: what a limit of length has cut is not closed. The error is one line
/// for the model.
pub fn arguments(raw: &str, whole: bool) -> Result<Mended, String> {
    let mut repairs = Vec::new();
    let text = unfence(raw.trim(), &mut repairs);
    if text.is_empty() || text == "null" {
        return Ok(Mended { value: Value::Object(Map::new()), repairs });
    }
    let mut value = read(text, whole, &mut repairs)?;
    if let Value::String(inner) = &value {
        repairs.push(Repair::Nested);
        let inner = unfence(inner.trim(), &mut repairs).to_owned();
        let string = |_| "the arguments are a JSON string; send a JSON object".to_owned();
        value = read(&inner, whole, &mut repairs).map_err(string)?;
    }
    match value {
        Value::Object(_) => Ok(Mended { value, repairs }),
        Value::String(_) => Err("the arguments are a JSON string; send a JSON object".to_owned()),
        _ => Err("the arguments are not a JSON object".to_owned()),
    }
}

/// A JSON value, strictly or with repairs. The error is that of the text as written, which is the one that helps.
fn read(text: &str, whole: bool, repairs: &mut Vec<Repair>) -> Result<Value, String> {
    serde_json::from_str(text).or_else(|error| {
        let wrong = || format!("the arguments are not valid JSON: {error}");
        let (value, mended) = lenient::value(text, whole).ok_or_else(wrong)?;
        let new: Vec<Repair> = mended.into_iter().filter(|repair| !repairs.contains(repair)).collect();
        repairs.extend(new);
        Ok(value)
    })
}

/// The inside of a text that is one fenced block; other text as it is.
fn unfence<'a>(text: &'a str, repairs: &mut Vec<Repair>) -> &'a str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    if !repairs.contains(&Repair::Fence) {
        repairs.push(Repair::Fence);
    }
    let inner = inner.strip_prefix("json").unwrap_or(inner);
    inner.trim()
}
