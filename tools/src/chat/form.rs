//! How a conversation with tools is written for a model: by its chat template where that knows tools, else in plain words.

use serde_json::{Map, Value, json};
use tunesmith_lm::{chat::Conversation, constrain::CallForm, error::Result};

use super::{Offered, Question};
use crate::encode::Encoder;

/// Names that no template has of its own.
const NAME: &str = "zq_tool";
const KEY: &str = "zq_key";
const VALUE: &str = "zq_value";
/// Some templates take only ids of nine letters and digits.
const ID: &str = "call00001";

/// How one model's conversations are written.
pub(super) struct Form {
    /// How it writes calls.
    pub(super) calls: CallForm,
    /// Whether its template writes tools, calls and results, and whether it wants arguments as text.
    template: Option<Arguments>,
    /// Whether its template writes a system turn.
    system: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Object,
    Text,
}

type Turn = Map<String, Value>;

/// Renders turns with tools, up to where the model speaks or to the end.
type Render<'a> = dyn Fn(Vec<Turn>, &[Offered], bool) -> Option<String> + 'a;

impl Form {
    /// Found out by rendering a call with names of its own.
    pub(super) fn of(encoder: &Encoder) -> Self {
        let render = |turns: Vec<Turn>, tools: &[Offered], prompt: bool| {
            encoder.conversation(&conversation(turns, tools), prompt).ok()
        };
        let shown = |turns: Vec<Turn>, what: &str| render(turns, &[], true).is_some_and(|text| text.contains(what));
        let system = shown(vec![turn("system", "zq_system"), turn("user", "a")], "zq_system");
        let found = [Arguments::Object, Arguments::Text].into_iter().find_map(|arguments| {
            let stops: Vec<String> = encoder.stops().iter().filter_map(|id| encoder.tokenizer().token(*id)).collect();
            learned(&render, arguments, &stops).map(|calls| (calls, arguments))
        });
        let (calls, template) = match found {
            Some((calls, arguments)) => (calls, Some(arguments)),
            None => (CallForm::default(), None),
        };
        Form { calls, template, system }
    }

    /// Texts of special tokens that calls are written with.
    pub(super) fn marks(&self) -> Vec<String> {
        let CallForm { mark, before, between, after } = &self.calls;
        let words = [mark, before, between, after].into_iter().flat_map(|part| part.split_whitespace());
        words.map(str::to_owned).chain([after.trim_start_matches(['}', '\n', ' ']).to_owned()]).collect()
    }

    /// The text of a question, up to where the model speaks.
    pub(super) fn prompt(&self, encoder: &Encoder, question: &Question) -> Result<String> {
        let tools = question.tools.as_slice();
        let turns = match self.template {
            Some(arguments) => question.messages.iter().map(|turn| called_with(turn, arguments)).collect(),
            None => self.plain(question),
        };
        let turns = alternating(if self.system { turns } else { without_system(turns) });
        encoder.conversation(&conversation(turns, if self.template.is_some() { tools } else { &[] }), true)
    }

    /// The turns in plain words: tools in the system's, calls and results as text.
    fn plain(&self, question: &Question) -> Vec<Turn> {
        let mut turns: Vec<Turn> = question.messages.iter().map(|turn| self.in_words(turn)).collect();
        if question.tools.is_empty() {
            return turns;
        }
        let tools: Vec<String> = question.tools.iter().map(|tool| function(tool).to_string()).collect();
        let CallForm { mark, before, between, after } = &self.calls;
        let words = format!(
            "# Tools\n\nYou call one tool at a time, in this form:\n{mark}{before}NAME{between}ARGUMENTS{after}\n\nThe tools:\n{}",
            tools.join("\n")
        );
        match turns.first_mut().filter(|turn| turn["role"] == "system") {
            Some(turn) => *turn = self::turn("system", &format!("{}\n\n{words}", content(turn))),
            None => turns.insert(0, turn("system", &words)),
        }
        turns
    }

    fn in_words(&self, given: &Turn) -> Turn {
        let CallForm { mark, before, between, after } = &self.calls;
        if given["role"] == "tool" {
            return turn("user", &format!("<tool_response>\n{}\n</tool_response>", content(given)));
        }
        let mut text = content(given).to_owned();
        for call in given.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let name = call["function"]["name"].as_str().unwrap_or_default();
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{mark}{before}{name}{between}{}{after}", call["function"]["arguments"]));
        }
        turn(given["role"].as_str().unwrap_or("user"), &text)
    }
}

/// The form in which a template writes a call; `None` where it knows no tools, or writes arguments not as JSON.
fn learned(render: &Render<'_>, arguments: Arguments, stops: &[String]) -> Option<CallForm> {
    let schema = json!({"type": "object", "properties": {KEY: {"type": "string"}}, "required": [KEY]});
    let tool = Offered { name: NAME.into(), description: "Looks.".into(), parameters: schema.clone(), strict: schema };
    let tools = [tool];
    let user = turn("user", "a");
    let prompt = render(vec![user.clone()], &tools, true)?;
    prompt.contains(NAME).then_some(())?;
    let function = json!({"name": NAME, "arguments": {KEY: VALUE}});
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": ID, "type": "function", "function": function}]});
    let call = called_with(call.as_object()?, arguments);
    let result = json!({"role": "tool", "tool_call_id": ID, "name": NAME, "content": "zq_result"});
    let turns = vec![user.clone(), call.clone(), result.as_object()?.clone()];
    render(turns, &tools, true)?.contains("zq_result").then_some(())?;
    let whole = render(vec![user, call], &tools, false)?;
    let same = prompt.char_indices().zip(whole.chars()).find(|((_, one), other)| one != other);
    let said = whole.get(same.map_or(prompt.len().min(whole.len()), |((at, _), _)| at)..)?;
    form_in(said, stops)
}

/// The parts of a call in what an assistant says.
fn form_in(said: &str, stops: &[String]) -> Option<CallForm> {
    let (open, rest) = said.split_once(NAME)?;
    let key = rest.find(&format!("\"{KEY}\""))?;
    let begin = rest[..key].rfind('{')?;
    let end = begin + rest[begin..].find('}')? + 1;
    let arguments: Value = serde_json::from_str(&rest[begin..end]).ok()?;
    (arguments == json!({KEY: VALUE})).then_some(())?;
    let after = &rest[end..];
    let stop = stops.iter().filter_map(|stop| after.find(stop.as_str())).min().unwrap_or(after.len());
    let open = open.trim_start();
    let mark = &open[..open.find(char::is_whitespace).unwrap_or(open.len())];
    // A shorter mark would begin calls in the middle of ordinary text.
    (mark.len() >= 3).then(|| CallForm {
        mark: mark.to_owned(),
        before: open[mark.len()..].to_owned(),
        between: rest[..begin].to_owned(),
        after: after[..stop].trim_end().to_owned(),
    })
}

fn conversation(turns: Vec<Turn>, tools: &[Offered]) -> Conversation {
    let tools = (!tools.is_empty()).then(|| tools.iter().map(function).collect());
    Conversation { tools, ..Conversation::new(turns) }
}

fn function(tool: &Offered) -> Value {
    let Offered { name, description, parameters, .. } = tool;
    json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
}

fn turn(role: &str, content: &str) -> Turn {
    Turn::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())])
}

fn content(turn: &Turn) -> &str {
    turn.get("content").and_then(Value::as_str).unwrap_or_default()
}

/// The turn with the arguments of its calls as the template wants them.
fn called_with(turn: &Turn, arguments: Arguments) -> Turn {
    let mut turn = turn.clone();
    if let (Arguments::Text, Some(Value::Array(calls))) = (arguments, turn.get_mut("tool_calls")) {
        for call in calls {
            call["function"]["arguments"] = call["function"]["arguments"].to_string().into();
        }
    }
    turn
}

/// The turns with the system's words before the first of the user's.
fn without_system(mut turns: Vec<Turn>) -> Vec<Turn> {
    if turns.first().is_none_or(|turn| turn["role"] != "system") {
        return turns;
    }
    let system = turns.remove(0);
    match turns.first_mut().filter(|turn| turn["role"] == "user") {
        Some(first) => *first = turn("user", &format!("{}\n\n{}", content(&system), content(first))),
        None => turns.insert(0, turn("user", content(&system))),
    }
    turns
}

/// The turns with neighbours of the user's in one: some templates want roles to take turns.
fn alternating(turns: Vec<Turn>) -> Vec<Turn> {
    let mut all: Vec<Turn> = Vec::new();
    for next in turns {
        match all.last_mut().filter(|last| last["role"] == "user" && next["role"] == "user") {
            Some(last) => *last = turn("user", &format!("{}\n\n{}", content(last), content(&next))),
            None => all.push(next),
        }
    }
    all
}

/// The text of bytes, up to a character that is not whole.
pub(super) fn text_of(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
