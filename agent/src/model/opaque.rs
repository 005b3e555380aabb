//! Fields of a message that only the provider understands: gathered as they come, sent back as they are.
//!
//! DeepSeek refuses a conversation whose tool calls have lost their `reasoning_content`, OpenRouter wants its
//! `reasoning_details` back in their order, Anthropic behind LiteLLM its `thinking_blocks` with their signatures.

use serde_json::{Map, Value};

/// What is read or has no place in a request.
const KNOWN: [&str; 8] =
    ["role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations", "images"];

/// Beyond so many bytes nothing is kept: half of something signed is worth nothing.
const MOST_BYTES: usize = 1 << 20;

/// Parts that are open at once, at most.
const OPEN: usize = 8;

/// The fields as they grow with the stream.
#[derive(Default)]
pub struct Fields {
    map: Map<String, Value>,
    bytes: usize,
}

impl Fields {
    /// Takes what is new in a delta, or in a whole message.
    pub fn take(&mut self, delta: &Value) {
        for (name, value) in delta.as_object().into_iter().flatten() {
            // An empty text is kept: DeepSeek wants even that back.
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if empty || KNOWN.contains(&name.as_str()) || self.bytes > MOST_BYTES {
                continue;
            }
            self.bytes += name.len() + value.to_string().len();
            match self.map.get_mut(name) {
                Some(known) => grow(known, value),
                None => {
                    let mut first = if value.is_array() { Value::Array(Vec::new()) } else { value.clone() };
                    if value.is_array() {
                        grow(&mut first, value);
                    }
                    self.map.insert(name.clone(), first);
                }
            }
        }
    }

    /// All fields; none where they are too large.
    pub fn whole(self) -> Map<String, Value> {
        if self.bytes <= MOST_BYTES { self.map } else { Map::new() }
    }
}

/// Adds the fields to a message that goes back to where they came from.
pub fn put(message: &mut Value, fields: &Map<String, Value>) {
    for (name, value) in fields.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        message[name] = value.clone();
    }
}

/// The names of such fields in a request's body.
pub fn sent(body: &Value) -> impl Iterator<Item = &str> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let assistant = messages.filter(|message| message["role"] == "assistant").filter_map(Value::as_object);
    assistant.flat_map(Map::keys).map(String::as_str).filter(|name| !KNOWN.contains(name))
}

/// Texts go on, lists get more parts, anything else is replaced.
fn grow(known: &mut Value, new: &Value) {
    match (known, new) {
        (Value::String(text), Value::String(more)) => text.push_str(more),
        (Value::Array(parts), Value::Array(more)) => {
            for part in more {
                match parts.iter_mut().rev().take(OPEN).find(|open| goes_on(open, part)) {
                    Some(open) => join(open, part),
                    None => parts.push(part.clone()),
                }
            }
        }
        (known, new) => *known = new.clone(),
    }
}

/// Whether `part` is a piece of `open`: OpenRouter numbers its parts, LiteLLM closes each with a signature.
fn goes_on(open: &Value, part: &Value) -> bool {
    let numbered = part["index"].is_u64();
    let unsigned = open["signature"].as_str().unwrap_or_default().is_empty();
    part["type"].is_string()
        && open["type"] == part["type"]
        && open["index"] == part["index"]
        && (numbered || (part["type"] == "thinking" && unsigned))
}

/// Puts a piece of a part to what there is of it.
fn join(open: &mut Value, piece: &Value) {
    for (name, value) in piece.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match (&mut open[name], value) {
            (Value::String(text), Value::String(more))
                if ["text", "summary", "thinking", "data"].contains(&name.as_str()) =>
            {
                text.push_str(more);
            }
            (known, value) => *known = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gathered(deltas: &[Value]) -> Value {
        let mut fields = Fields::default();
        deltas.iter().for_each(|delta| fields.take(delta));
        Value::Object(fields.whole())
    }

    #[test]
    fn texts_go_on_and_what_is_known_is_left_out() {
        let deltas = [
            json!({"role": "assistant", "content": "a", "reasoning_content": "", "annotations": []}),
            json!({"reasoning_content": "I ", "content": null, "tool_calls": []}),
            json!({"reasoning_content": "think", "z": 1, "a": {"b": 2}}),
            json!({"reasoning_content": null, "z": 3}),
        ];
        // In the order in which they came.
        let expected = r#"{"reasoning_content":"I think","z":3,"a":{"b":2}}"#;
        assert_eq!(gathered(&deltas).to_string(), expected);
        assert_eq!(gathered(&[json!({"reasoning_content": ""})]), json!({"reasoning_content": ""}));
        assert_eq!(gathered(&[json!({"content": "a", "reasoning": null}), json!("odd"), Value::Null]), json!({}));
    }

    #[test]
    fn pieces_of_a_part_are_put_together_as_the_providers_number_or_sign_them() {
        let numbered = |kind: &str, name: &str, text: &str, index: u64| json!({"type": kind, name: text, "format": "f", "index": index});
        let details = |parts: &[Value]| json!({ "reasoning_details": parts });
        let signed = json!({"type": "reasoning.text", "text": "", "signature": "s", "index": 0});
        let deltas = [
            details(&[numbered("reasoning.text", "text", "I ", 0), numbered("reasoning.summary", "summary", "x", 0)]),
            details(&[numbered("reasoning.text", "text", "think", 0), signed]),
            details(&[numbered("reasoning.text", "text", "more", 1)]),
            details(&[
                json!({"type": "reasoning.encrypted", "data": "a"}),
                json!({"type": "reasoning.encrypted", "data": "b"}),
            ]),
        ];
        let expected = details(&[
            json!({"type": "reasoning.text", "text": "I think", "format": "f", "index": 0, "signature": "s"}),
            numbered("reasoning.summary", "summary", "x", 0),
            numbered("reasoning.text", "text", "more", 1),
            json!({"type": "reasoning.encrypted", "data": "a"}),
            json!({"type": "reasoning.encrypted", "data": "b"}),
        ]);
        assert_eq!(gathered(&deltas), expected);

        let block =
            |text: &str, signature: Option<&str>| json!({"type": "thinking", "thinking": text, "signature": signature});
        let blocks = |blocks: &[Value]| json!({ "thinking_blocks": blocks });
        let deltas = [
            blocks(&[block("I ", None)]),
            blocks(&[block("think", None)]),
            blocks(&[block("", Some("s"))]),
            blocks(&[block("more", Some("t"))]),
        ];
        assert_eq!(gathered(&deltas), blocks(&[block("I think", Some("s")), block("more", Some("t"))]));
    }

    #[test]
    fn too_much_is_not_kept_at_all() {
        let mut fields = Fields::default();
        let delta = json!({"reasoning": "x".repeat(300_000)});
        (0..4).for_each(|_| fields.take(&delta));
        assert!(fields.bytes <= MOST_BYTES + 400_000);
        (0..100).for_each(|_| fields.take(&delta));
        assert!(fields.bytes <= MOST_BYTES + 400_000);
        assert_eq!(fields.whole(), Map::new());
    }

    #[test]
    fn what_is_known_is_never_written_over() {
        let mut message = json!({"role": "assistant", "content": null});
        let fields = json!({"role": "system", "content": "evil", "reasoning": "r"});
        put(&mut message, fields.as_object().unwrap());
        assert_eq!(message, json!({"role": "assistant", "content": null, "reasoning": "r"}));
    }
}
