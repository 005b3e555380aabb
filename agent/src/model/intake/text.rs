//! Calls that a model wrote into its text, in the forms in which models are trained to write them.

use serde_json::{Map, Value};

use super::{super::Call, lenient, unfence};

/// How calls are marked: what opens and what closes one. Small models forget to close.
const MARKS: [(&str, &str); 5] = [
    // Hermes, Qwen.
    ("<tool_call>", "</tool_call>"),
    // Granite, Phi.
    ("<|tool_call|>", "<|/tool_call|>"),
    // Llama 3.
    ("<|python_tag|>", "<|eom_id|>"),
    // Mistral.
    ("[TOOL_CALLS]", "</s>"),
    // Llama 3 and Qwen Coder, without a tag around it.
    ("<function=", "</function>"),
];

/// Calls that a model wrote into its text, and the text without them.
///
/// What is marked as a call counts. A fenced block of JSON, or a text that is nothing but JSON, counts when it names
/// one of `tools` and has arguments, so that an example in prose is not run by mistake. What stands in `<think>` is
/// only thought of.
pub fn calls_in_text(text: &str, tools: &[&str]) -> (String, Vec<Call>) {
    let thought = match text.rfind("</think>") {
        Some(at) => at + "</think>".len(),
        None if text.trim_start().starts_with("<think>") => text.len(),
        None => 0,
    };
    let (thought, said) = text.split_at(thought);
    let (rest, calls) = calls_in(said, tools);
    (format!("{thought}{rest}").trim().to_owned(), calls)
}

fn calls_in(said: &str, tools: &[&str]) -> (String, Vec<Call>) {
    let mut calls = Vec::new();
    let mut took = |new: Vec<Call>| {
        calls.extend_from_slice(&new);
        !new.is_empty()
    };
    for (open, close) in MARKS {
        let rest = take_blocks(said, open, close, &mut |block| took(marked(open, block)));
        if rest != said {
            return (rest, calls);
        }
    }
    let rest = take_blocks(said, "```", "```", &mut |block| {
        took(unmarked(block.strip_prefix("json").or_else(|| block.strip_prefix("tool_call")).unwrap_or(block), tools))
    });
    if rest == said && took(unmarked(said, tools)) {
        return (String::new(), calls);
    }
    (rest, calls)
}

/// Hands each block between `open` and `close` to `take`; the blocks it takes are left out of the result. A block
/// without its `close` ends where the next one begins, or with the text.
fn take_blocks(text: &str, open: &str, close: &str, take: &mut dyn FnMut(&str) -> bool) -> String {
    let mut rest = String::new();
    let mut left = text;
    while let Some(start) = left.find(open) {
        let inside = &left[start + open.len()..];
        let next = if open == close { None } else { inside.find(open) }.unwrap_or(inside.len());
        // No further than the next one, so that a text of many that are never closed is read once.
        let (block, after) = match inside[..next].find(close) {
            Some(end) => (&inside[..end], &inside[end + close.len()..]),
            None => inside.split_at(next),
        };
        let end = left.len() - after.len();
        rest.push_str(if take(block) { &left[..start] } else { &left[..end] });
        left = after;
    }
    rest + left
}

/// The calls of a block that is marked as one.
fn marked(open: &str, block: &str) -> Vec<Call> {
    let end = ["<|eot_id|>", "<|im_end|>"].iter().filter_map(|end| block.find(end)).min().unwrap_or(block.len());
    let block = block[..end].trim();
    let function = if open == "<function=" { Some(block) } else { block.strip_prefix("<function=") };
    if let Some(inner) = function {
        return function_of(inner.split("</function>").next().unwrap_or(inner)).into_iter().collect();
    }
    if open == "[TOOL_CALLS]" && !block.starts_with(['[', '{']) {
        // Newer models of Mistral: the name, then the arguments.
        let Some(at) = block.find('{') else { return Vec::new() };
        let name = block[..at].trim_end_matches("[ARGS]").trim();
        return named(name, &block[at..]).into_iter().collect();
    }
    objects(block, false)
}

/// The calls of JSON that nothing marks as calls.
fn unmarked(text: &str, tools: &[&str]) -> Vec<Call> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) || lenient::value(text, true).is_none() {
        return Vec::new();
    }
    let calls = objects(text, true);
    if calls.iter().all(|call| tools.contains(&call.name.as_str())) { calls } else { Vec::new() }
}

/// The calls in an object or a list of them. `bare` ones must have arguments.
fn objects(text: &str, bare: bool) -> Vec<Call> {
    let text = unfence(text, &mut Vec::new());
    let calls = match serde_json::from_str(text) {
        Ok(Value::Array(list)) => list.iter().map(|value| object(value, bare)).collect(),
        Ok(value) => object(&value, bare).map(|call| vec![call]),
        Err(_) => broken(text).map(|call| vec![call]),
    };
    calls.unwrap_or_default()
}

/// `{"name": .., "arguments": ..}`, perhaps inside `{"function": ..}`.
fn object(value: &Value, bare: bool) -> Option<Call> {
    let value = value.get("function").filter(|inner| inner.is_object()).unwrap_or(value);
    let name = value.get("name").or_else(|| value.get("function"))?.as_str()?;
    let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
        Some(Value::String(raw)) => raw.clone(),
        Some(other) => other.to_string(),
        None if bare => return None,
        None => "{}".to_owned(),
    };
    named(name, &arguments)
}

/// A call in JSON that is broken: its arguments stay as they are, so that they are mended, or refused, like any
/// others.
fn broken(text: &str) -> Option<Call> {
    let name = after_key(text, "name")?;
    let name = name.strip_prefix(['"', '\''])?.split(['"', '\'']).next()?;
    let Some(arguments) = after_key(text, "arguments").or_else(|| after_key(text, "parameters")) else {
        return named(name, text);
    };
    // The last bracket is that of the object around them.
    named(name, arguments.strip_suffix('}').unwrap_or(arguments))
}

/// What follows a key and its colon.
fn after_key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at = ['"', '\''].iter().find_map(|quote| {
        let quoted = format!("{quote}{key}{quote}");
        text.find(&quoted).map(|at| at + quoted.len())
    })?;
    Some(text[at..].trim_start().strip_prefix(':')?.trim_start())
}

/// `name>{..}`, or `name><parameter=key>value</parameter>..`.
fn function_of(text: &str) -> Option<Call> {
    let (name, body) = text.split_once('>')?;
    let body = body.trim();
    if !body.starts_with("<parameter=") {
        return named(name, if body.is_empty() { "{}" } else { body });
    }
    let mut arguments = Map::new();
    for part in body.split("<parameter=").skip(1) {
        let (key, value) = part.split_once('>')?;
        let value = value.split("</parameter>").next().unwrap_or(value);
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        // Nothing tells texts from numbers but how they look.
        let typed = serde_json::from_str(value).ok().filter(|value: &Value| !value.is_string());
        arguments.insert(key.to_owned(), typed.unwrap_or_else(|| value.into()));
    }
    named(name, &Value::Object(arguments).to_string())
}

/// A call, if that can be the name of a tool.
fn named(name: &str, arguments: &str) -> Option<Call> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c));
    plain.then(|| Call { name: name.to_owned(), arguments: arguments.to_owned(), ..Call::default() })
}
