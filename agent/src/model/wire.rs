//! The chat-completions format, written strictly and read leniently.
//!
//! Servers that call themselves compatible differ in every detail, so a reply is read from JSON values: what is missing
//! or unknown stays unknown, and nothing unexpected ends the stream.

use serde_json::{Map, Value, json};
use tunesmith_harness::ask::Price;

use super::{
    Call, Delta, ErrorKind, Finish, Message, ModelError, Opaque, Reply, Request, Usage, opaque, strict, transport,
    typed,
};

/// Fields of a request's body that servers may not know; what they say of it names the field.
pub const OPTIONAL: [&str; 4] = ["stream_options", "response_format", "temperature", "seed"];

/// Calls that a reply may hold.
const MOST_CALLS: usize = 256;

/// What makes the schemas of tools strict.
const STRICT: &str = "strict";

/// To whom a request goes.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// Base address.
    pub base: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// The server's name for the most tokens of a reply.
    pub most_tokens: &'a str,
    /// Whether the server holds a model to the schemas of its tools.
    pub strict_tools: bool,
}

/// The body of a request.
pub fn request(to: To<'_>, request: Request<'_>) -> Value {
    let messages: Vec<Value> = request.messages.iter().map(|message| sent(message, to)).collect();
    let mut body = json!({"model": to.model, "messages": messages, "stream": true});
    body["stream_options"] = json!({"include_usage": true});
    let super::Form { schema, max_tokens, temperature, seed, once: _ } = request.form;
    if let Some(schema) = schema {
        let (schema, strict) = strict::closed(schema).map_or((schema.clone(), false), |closed| (closed, true));
        let schema = json!({"name": "answer", "schema": schema, "strict": strict});
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    let numbers = [
        (to.most_tokens, max_tokens.map(Value::from)),
        ("temperature", temperature.map(Value::from)),
        // Some servers take no seed of more than 31 bits.
        ("seed", seed.map(|seed| Value::from(seed & 0x7fff_ffff))),
    ];
    for (field, value) in numbers {
        if let Some(value) = value {
            body[field] = value;
        }
    }
    if !request.tools.is_empty() {
        let tool = |tool: &super::ToolSpec| {
            let mut function = json!({"name": tool.name, "description": tool.description, "parameters": tool.schema});
            if let Some(closed) = strict::closed(&tool.schema).filter(|_| to.strict_tools) {
                function["parameters"] = closed;
                function["strict"] = json!(true);
            }
            json!({"type": "function", "function": function})
        };
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    body
}

/// The field that a server which refused `body` says it does not know, where it can do without.
pub fn unknown(body: &Value, says: &str) -> Option<String> {
    let optional = OPTIONAL.iter().copied().filter(|field| body.get(*field).is_some());
    // One that misses its reasoning names it, too.
    let wants = ["must be passed", "missing", "required"].iter().any(|word| says.to_lowercase().contains(word));
    let opaque = opaque::sent(body).filter(|_| !wants);
    let is_strict = body["tools"].as_array().into_iter().flatten().any(|tool| tool["function"]["strict"] == true);
    if is_strict && ["strict", "nvalid schema for function"].iter().any(|words| says.contains(words)) {
        return Some(STRICT.to_owned());
    }
    optional.chain(opaque).find(|field| says.contains(*field)).map(str::to_owned)
}

/// Takes a field out of a request's body, of its tools or of its messages; whether it was there.
pub fn without(body: &mut Value, field: &str) -> bool {
    let take = |object: &mut Value| object.as_object_mut().is_some_and(|object| object.shift_remove(field).is_some());
    if OPTIONAL.contains(&field) {
        return take(body);
    }
    let (list, inside) = if field == STRICT { ("tools", "/function") } else { ("messages", "") };
    let objects = body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    objects.filter_map(|object| object.pointer_mut(inside)).map(take).fold(false, |any, taken| any | taken)
}

fn sent(message: &Message, to: To<'_>) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) | Message::Note(text) => json!({"role": "user", "content": text}),
        Message::Tool { id, content } => json!({"role": "tool", "tool_call_id": id, "content": content}),
        Message::Assistant { text, calls, .. } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls, opaque } => {
            let own = opaque.as_ref().filter(|from| from.base == to.base && from.model == to.model);
            let content = if text.is_empty() { Value::Null } else { Value::from(text.as_str()) };
            let calls: Vec<Value> = calls.iter().map(|call| sent_call(call, own.is_some())).collect();
            let mut message = json!({"role": "assistant", "content": content, "tool_calls": calls});
            // Providers that want their reasoning back want it with the turns that called tools; with others they
            // ignore or refuse it (https://api-docs.deepseek.com/guides/thinking_mode).
            if let Some(opaque) = own {
                opaque::put(&mut message, &opaque.fields);
            }
            message
        }
    }
}

fn sent_call(call: &Call, own: bool) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    let mut value = json!({"id": call.id, "type": "function", "function": function});
    if let Some(extra) = call.extra.as_ref().filter(|_| own) {
        value["extra_content"] = extra.clone();
    }
    value
}

/// A reply that is being put together from the chunks of a stream.
#[derive(Default)]
pub struct Gathering {
    text: String,
    calls: Vec<Partial>,
    finish: Option<String>,
    usage: Option<Usage>,
    usd: Option<f64>,
    opaque: opaque::Fields,
    bytes: usize,
}

#[derive(Default)]
struct Partial {
    index: Option<u64>,
    call: Call,
}

impl Gathering {
    /// Takes the next chunk and tells `on` what is new.
    pub fn take(&mut self, chunk: &Value, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<(), ModelError> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(typed::in_stream(error));
        }
        self.take_usage(chunk);
        // The last chunk with the usage has no choices; only the first choice was asked for.
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(()) };
        let finish = choice.get("finish_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
        if let Some(reason) = finish {
            self.finish = Some(reason.to_owned());
        }
        // A server that does not stream sends `message` where others send `delta`.
        let delta = choice.get("delta").or_else(|| choice.get("message")).unwrap_or(&Value::Null);
        for field in ["content", "refusal"] {
            let text = text_of(&delta[field]);
            self.grow(text.len())?;
            if !text.is_empty() {
                on(Delta::Text(&text));
                self.text.push_str(&text);
            }
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.take_call(piece, on)?;
        }
        self.opaque.take(delta);
        Ok(())
    }

    /// Whether the server said that the reply is complete.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The reply of the one that was asked, at its price where the provider does not say what it cost.
    pub fn reply(self, to: To<'_>, price: Option<Price>) -> Result<Reply, ModelError> {
        let word = self.finish.unwrap_or_default();
        let finish = match word.to_ascii_lowercase().as_str() {
            "stop" | "end_turn" | "eos" => Finish::Stop,
            "tool_calls" | "function_call" | "tool_use" => Finish::Calls,
            "length" | "max_tokens" | "model_length" => Finish::Length,
            "content_filter" | "refusal" | "safety" => Finish::Filter,
            _ => Finish::Other(word),
        };
        if finish == Finish::Filter && self.calls.is_empty() {
            let message = "a content filter stopped the reply; rephrase the task or take another model";
            return Err(ModelError::new(ErrorKind::Refused, message));
        }
        let calls: Vec<Call> = self.calls.into_iter().map(|partial| partial.call).collect();
        let paid = price.and_then(|price| match self.usage {
            _ if price == Price::FREE => Some(0.0),
            usage => Some(usage?.usd(price)),
        });
        let usd = self.usd.or(paid);
        let fields = self.opaque.whole();
        let marked = !fields.is_empty() || calls.iter().any(|call| call.extra.is_some());
        let opaque = marked.then(|| Opaque { base: to.base.into(), model: to.model.into(), fields });
        Ok(Reply { text: self.text, calls, finish, usage: self.usage, usd, opaque })
    }

    fn take_usage(&mut self, chunk: &Value) {
        // A question of no tokens was not counted, and neither was what it cost.
        let counted = |usage: &&Value| usage.is_object() && usage["prompt_tokens"] != 0;
        let Some(usage) = chunk.get("usage").filter(counted) else { return };
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        // Half a count would look like a whole one, so both must be there.
        if let (Some(prompt), Some(completion)) = (count("prompt_tokens"), count("completion_tokens")) {
            self.usage = Some(Usage { prompt, completion });
        }
        let cost = usage.get("cost").and_then(Value::as_f64).filter(|cost| cost.is_finite() && *cost >= 0.0);
        self.usd = cost.or(self.usd);
    }

    fn take_call(&mut self, piece: &Value, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<(), ModelError> {
        let function = &piece["function"];
        let index = piece["index"].as_u64();
        let id = piece["id"].as_str().unwrap_or_default();
        let name = function["name"].as_str().unwrap_or_default();
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            // Some servers send the object itself, whole.
            value => value.to_string(),
        };
        let extra = piece.get("extra_content");
        let marks = extra.map_or(0, |extra| extra.to_string().len());
        self.grow(arguments.len() + name.len() + id.len() + marks)?;
        let at = match self.calls.iter().rposition(|partial| continues(partial, index, id, name)) {
            Some(at) => at,
            None if self.calls.len() >= MOST_CALLS => {
                let message = format!("the reply holds more than {MOST_CALLS} tool calls");
                return Err(ModelError::new(ErrorKind::Protocol, message));
            }
            None => {
                self.calls.push(Partial { index, call: Call { id: id.to_owned(), ..Call::default() } });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at].call;
        // Some servers repeat id and name in every piece, others send them once, none splits them.
        if call.id.is_empty() {
            call.id = id.to_owned();
        }
        if call.name.is_empty() && !name.is_empty() {
            call.name = name.to_owned();
            on(Delta::Call { name });
        }
        call.arguments.push_str(&arguments);
        if let Some(extra) = extra {
            call.extra = Some(extra.clone());
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.bytes += bytes;
        if self.bytes > transport::MOST_BYTES {
            return Err(transport::too_large());
        }
        Ok(())
    }
}

/// Whether a piece with this index, id and name belongs to `partial`, which may be the last of several.
fn continues(partial: &Partial, index: Option<u64>, id: &str, name: &str) -> bool {
    let call = &partial.call;
    if index.is_some() && partial.index.is_some() && index != partial.index {
        return false;
    }
    if !id.is_empty() && !call.id.is_empty() {
        return id == call.id;
    }
    // Without ids, another name is another call, and so is the same name after complete arguments.
    name.is_empty()
        || call.name.is_empty()
        || (name == call.name && serde_json::from_str::<Map<String, Value>>(&call.arguments).is_err())
}

/// Text as a string or as a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Form, ToolSpec};

    fn body(strict_tools: bool, schema: &Value) -> Value {
        let tool = |name: &str, schema: &Value| ToolSpec {
            name: name.into(),
            description: "d".into(),
            schema: schema.clone(),
            strict: schema.clone(),
        };
        let tools = [tool("fits", schema), tool("does_not", &json!({"type": "object"}))];
        let form = Form { schema: Some(schema), ..Form::default() };
        let to = To { base: "b", model: "m", most_tokens: "max_tokens", strict_tools };
        request(to, Request { messages: &[], tools: &tools, form })
    }

    #[test]
    fn schemas_are_strict_where_they_fit_and_the_server_keeps_to_them() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
        let mut closed = schema.clone();
        closed["additionalProperties"] = json!(false);
        let function = |name: &str, schema: &Value| json!({"name": name, "description": "d", "parameters": schema});
        let tools = |first: Value| {
            let rest = function("does_not", &json!({"type": "object"}));
            json!([{"type": "function", "function": first}, {"type": "function", "function": rest}])
        };
        let mut strict = function("fits", &closed);
        strict["strict"] = json!(true);
        let mut body_of_openai = body(true, &schema);
        assert_eq!(body_of_openai["tools"], tools(strict));
        assert_eq!(body(false, &schema)["tools"], tools(function("fits", &schema)));
        let format = json!({"name": "answer", "schema": closed, "strict": true});
        assert_eq!(body_of_openai["response_format"], json!({"type": "json_schema", "json_schema": format}));
        assert_eq!(body(false, &json!({"type": "object"}))["response_format"]["json_schema"]["strict"], json!(false));

        // Where that is refused, all goes without.
        let says = "Invalid schema for function 'fits': a is not permitted";
        assert_eq!(unknown(&body_of_openai, says), Some("strict".into()));
        assert!(without(&mut body_of_openai, "strict"));
        assert_eq!(body_of_openai["tools"], tools(function("fits", &closed)));
        assert_eq!(unknown(&body_of_openai, says), None);
        assert!(!without(&mut body_of_openai, "strict"));
    }

    #[test]
    fn a_reply_of_calls_without_end_is_refused() {
        let mut gathering = Gathering::default();
        let empty: Vec<Value> = (0..MOST_CALLS).map(|index| json!({"index": index})).collect();
        let mut take =
            |calls: &[Value]| gathering.take(&json!({"choices": [{"delta": {"tool_calls": calls}}]}), &mut |_| {});
        take(&empty).unwrap();
        // One that is there already goes on.
        take(&[json!({"index": 7, "function": {"name": "f"}})]).unwrap();
        let error = take(&[json!({"index": MOST_CALLS})]).unwrap_err();
        let said = (error.kind, error.message.as_str());
        assert_eq!(said, (ErrorKind::Protocol, "the reply holds more than 256 tool calls"));
    }

    #[test]
    fn why_a_model_stopped_is_read_in_each_providers_word() {
        let finish = |word: &str| {
            let mut gathering = Gathering::default();
            let call = json!([{"function": {"name": "f", "arguments": "{}"}}]);
            let chunk = json!({"choices": [{"delta": {"tool_calls": call}, "finish_reason": word}]});
            gathering.take(&chunk, &mut |_| {}).unwrap();
            let to = To { base: "b", model: "m", most_tokens: "max_tokens", strict_tools: false };
            gathering.reply(to, None).unwrap().finish
        };
        for (word, expected) in [
            ("stop", Finish::Stop),
            ("STOP", Finish::Stop),
            ("tool_calls", Finish::Calls),
            ("MAX_TOKENS", Finish::Length),
            ("model_length", Finish::Length),
            ("SAFETY", Finish::Filter),
            ("Tired", Finish::Other("Tired".into())),
        ] {
            assert_eq!(finish(word), expected);
        }
    }
}
