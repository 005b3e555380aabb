//! Tool calls as models really write them: slightly broken JSON, fences, and calls inside the text.

use serde_json::{Map, Value};

use super::Call;

/// The arguments of a call as a JSON object, repaired where the intent is plain.
///
/// The error is one line for the model. Nothing is guessed: only fences, a missing value, an object given as a
/// string, and commas before a closing bracket are mended.
pub fn arguments(raw: &str) -> Result<Value, String> {
    let text = unfence(raw.trim());
    if text.is_empty() || text == "null" {
        return Ok(Value::Object(Map::new()));
    }
    let parsed = serde_json::from_str::<Value>(text).or_else(|error| {
        // The error of the text as written is the one that helps, so the repaired text's own error is dropped.
        serde_json::from_str::<Value>(&without_trailing_commas(text)).map_err(|_| error)
    });
    match parsed {
        Ok(Value::Object(map)) => Ok(Value::Object(map)),
        Ok(Value::String(inner)) => match serde_json::from_str::<Value>(unfence(inner.trim())) {
            Ok(Value::Object(map)) => Ok(Value::Object(map)),
            _ => Err("the arguments are a JSON string; send a JSON object".to_owned()),
        },
        Ok(_) => Err("the arguments are not a JSON object".to_owned()),
        Err(error) => Err(format!("the arguments are not valid JSON: {error}")),
    }
}

/// Calls that a model wrote into its text, and the text without them.
///
/// `<tool_call>{..}</tool_call>` always counts. A fenced JSON block counts when it names one of `tools`, so that an
/// example in prose is not run by mistake.
pub fn calls_in_text(text: &str, tools: &[&str]) -> (String, Vec<Call>) {
    let mut calls = Vec::new();
    let rest = take_blocks(text, "<tool_call>", "</tool_call>", &mut |block| {
        let call = call_of(block, None);
        let taken = call.is_some();
        calls.extend(call);
        taken
    });
    if !calls.is_empty() {
        return (rest.trim().to_owned(), calls);
    }
    let rest = take_blocks(text, "```", "```", &mut |block| {
        let body = block.strip_prefix("json").or_else(|| block.strip_prefix("tool_call")).unwrap_or(block);
        let call = call_of(body, Some(tools));
        let taken = call.is_some();
        calls.extend(call);
        taken
    });
    (rest.trim().to_owned(), calls)
}

/// One `{"name": .., "arguments": ..}`. Broken JSON between call tags is kept as a call whose arguments are wrong,
/// when at least its name can be read, so that the model hears about it.
fn call_of(block: &str, only: Option<&[&str]>) -> Option<Call> {
    let text = unfence(block.trim());
    let value = serde_json::from_str::<Value>(text)
        .or_else(|_| serde_json::from_str::<Value>(&without_trailing_commas(text)))
        .ok();
    let Some(value) = value else {
        let name = text.split_once("\"name\"")?.1.split('"').nth(1)?.to_owned();
        return only.is_none().then(|| Call { name, arguments: text.to_owned(), ..Call::default() });
    };
    let name = value.get("name")?.as_str()?.to_owned();
    if only.is_some_and(|tools| !tools.contains(&name.as_str())) {
        return None;
    }
    let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
        Some(Value::String(raw)) => raw.clone(),
        Some(other) => other.to_string(),
        None if only.is_some() => return None,
        None => "{}".to_owned(),
    };
    Some(Call { name, arguments, ..Call::default() })
}

/// Hands each block between `open` and `close` to `take`; the blocks it takes are left out of the result. A last
/// block without its `close` counts too: small models forget it.
fn take_blocks(text: &str, open: &str, close: &str, take: &mut dyn FnMut(&str) -> bool) -> String {
    let mut rest = String::new();
    let mut left = text;
    while let Some(start) = left.find(open) {
        let inside = &left[start + open.len()..];
        let (block, after) = match inside.find(close) {
            Some(end) => (&inside[..end], &inside[end + close.len()..]),
            None => (inside, ""),
        };
        let end = left.len() - after.len();
        rest.push_str(if take(block) { &left[..start] } else { &left[..end] });
        left = after;
    }
    rest + left
}

/// The inside of a text that is one fenced block; other text as it is.
fn unfence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    let inner = inner.strip_prefix("json").unwrap_or(inner);
    inner.trim()
}

/// Drops each comma that only white space separates from a closing bracket, outside strings.
fn without_trailing_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if matches!(c, '}' | ']') {
            let kept = out.trim_end();
            if let Some(kept) = kept.strip_suffix(',') {
                out.truncate(kept.len());
            }
        }
        out.push(c);
    }
    out
}
