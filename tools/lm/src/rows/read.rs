//! Rows in TRL's data set formats, and in those of ShareGPT and Alpaca.

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
    /// `{"instruction": "..", "input": "..", "output": ".."}`: a chat where the model has a template, else texts.
    Instruction {
        /// What the model is asked.
        prompt: Instruction,
        /// What it should say.
        output: String,
    },
}

/// What a row in Alpaca's format asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What the model is told before, where the row has that.
    pub system: Option<String>,
    /// The instruction, and its input in the lines below.
    pub text: String,
}

impl Instruction {
    /// Joins an instruction and its input, which may be empty.
    pub fn new(system: Option<&str>, instruction: &str, input: &str) -> Self {
        let text = if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n{input}") };
        let system = system.filter(|text| !text.is_empty()).map(str::to_owned);
        Instruction { system, text }
    }

    /// The turns with the output as the answer.
    pub fn chat(&self, output: &str) -> Conversation {
        let system = self.system.iter().map(|text| turn("system", text));
        Conversation::new(system.chain([turn("user", &self.text), turn("assistant", output)]).collect())
    }

    /// How many turns come before the answer.
    pub fn turns(&self) -> usize {
        1 + usize::from(self.system.is_some())
    }

    /// The text before the answer, for a model without a chat template.
    pub fn text(&self) -> String {
        let system = self.system.as_ref().map_or(String::new(), |text| format!("{text}\n"));
        format!("{system}{}\n", self.text)
    }
}

/// The role that a speaker of ShareGPT's format has in a chat template.
pub fn role(speaker: &str) -> Option<&'static str> {
    Some(match speaker.to_ascii_lowercase().as_str() {
        "system" => "system",
        "user" | "human" => "user",
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => "assistant",
        "tool" | "function" | "observation" | "ipython" => "tool",
        _ => return None,
    })
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
        if let Some(list) = row.get("conversations") {
            return Ok(Row::Messages(conversation(row, shared(list, system(row)?)?)?));
        }
        if let (Some(instruction), Some(output)) = (row.get("instruction"), row.get("output")) {
            return alpaca(row, instruction, output);
        }
        match row.get("text") {
            Some(Value::String(text)) => Ok(Row::Text(text.clone())),
            Some(_) => Err(bad("text must be a text")),
            None => Err(bad(
                "it has none of messages, text, prompt with completion, conversations, or instruction with output",
            )),
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

/// Turns of ShareGPT's format as messages, after what the row says that the model is told before.
fn shared(list: &Value, system: Option<&str>) -> Result<Messages> {
    let list = list.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| bad("conversations must be a list of turns, each with from and value"))?;
    let mut messages: Messages = system.iter().map(|text| turn("system", text)).collect();
    for (number, part) in (1..).zip(list) {
        let field = |name: &str| part.get(name).and_then(Value::as_str);
        let (Some(from), Some(value)) = (field("from"), field("value")) else {
            return Err(bad(format!("turn {number} of conversations must have from and value, both texts")));
        };
        let role = role(from).ok_or_else(|| {
            bad(format!(
                "turn {number} is from {from:?}, which is no speaker of ShareGPT's format; write system, human, gpt or tool"
            ))
        })?;
        if role == "system" && system.is_some() {
            return Err(bad(format!("turn {number} is from the system, and so is the column system; leave one out")));
        }
        messages.push(turn(role, value));
    }
    Ok(messages)
}

fn alpaca(row: &Map<String, Value>, instruction: &Value, output: &Value) -> Result<Row> {
    let input = row.get("input").filter(|input| !input.is_null());
    let texts = (instruction.as_str(), input.map_or(Some(""), Value::as_str), output.as_str());
    let (Some(instruction), Some(input), Some(output)) = texts else {
        return Err(bad("instruction, input and output must be texts"));
    };
    Ok(Row::Instruction { prompt: Instruction::new(system(row)?, instruction, input), output: output.to_owned() })
}

/// What the model is told before, which both formats may have in a column of its own.
fn system(row: &Map<String, Value>) -> Result<Option<&str>> {
    match row.get("system") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(bad("system must be a text")),
    }
}

fn turn(role: &str, content: &str) -> Map<String, Value> {
    [("role", role), ("content", content)].map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect()
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
