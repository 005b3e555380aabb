//! `scripted:FILE`: a planner that says what a file tells it to, one JSON line per turn.
//!
//! ```json
//! {"text": "First the data.", "calls": [{"name": "data_inspect", "arguments": {"path": "data/train.jsonl"}}]}
//! ```
//!
//! A turn with `when` waits for a request whose last message holds that text, and goes before those without. Replies as
//! they are recorded are turns, too, so `replay:RUN` is a script that a run's log holds.

use std::{collections::VecDeque, path::Path, sync::Mutex};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};
use tunesmith_tools::files;

use super::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Opaque, Reply, Request, Usage};

/// Bytes that a recording may have.
const LARGEST: u64 = 256 << 20;

/// Plays prepared turns, in order.
pub struct Scripted {
    turns: Mutex<VecDeque<Turn>>,
    source: String,
    /// What to do when there are no more turns.
    over: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(default)]
    when: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    calls: Vec<ScriptedCall>,
    /// Left out, it follows from whether there are calls.
    #[serde(default)]
    finish: Option<Finish>,
    #[serde(default)]
    opaque: Option<Opaque>,
    /// Left out, nothing.
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    usd: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedCall {
    #[serde(default)]
    id: String,
    name: String,
    /// An object, or a string that is sent as it stands, broken or not.
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    extra: Option<Value>,
}

impl Scripted {
    /// Reads a script from a file.
    pub fn open(file: &Path) -> Result<Self, ModelError> {
        let source = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| ModelError::new(ErrorKind::Protocol, format!("cannot read script {source}: {error}")))?;
        Scripted::parse(&text, source)
    }

    /// Reads a script from its text; `source` names it in messages.
    pub fn parse(text: &str, source: impl Into<String>) -> Result<Self, ModelError> {
        let source = source.into();
        let mut turns = VecDeque::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            turns.push_back(serde_json::from_str(line).map_err(|error| no_turn(number, &source, &error))?);
        }
        Ok(Scripted { turns: Mutex::new(turns), source, over: "end it with a call of finish" })
    }

    /// What a model said in an earlier run: the run's directory, its log, or a file of replies. Asking it again costs
    /// nothing.
    pub fn recorded(path: &Path) -> Result<Self, ModelError> {
        let path = if path.is_dir() { path.join("events.jsonl") } else { path.to_owned() };
        let source = path.display().to_string();
        let unread = |error| ModelError::new(ErrorKind::Protocol, format!("cannot read recording {source}: {error}"));
        let text = files::read_small(&path, LARGEST).map_err(unread)?;
        let mut turns: Vec<(u64, Turn)> = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |error| no_turn(number, &source, &error);
            let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(wrong)?;
            let event = |name: &str| fields.get(name).and_then(Value::as_u64);
            let seq = event("seq").unwrap_or_default();
            if let Some(kind) = fields.get("kind") {
                // What the user took back is not said again.
                if let ("undone", Some(from)) = (kind.as_str().unwrap_or_default(), event("from")) {
                    turns.retain(|(seq, _)| *seq < from);
                }
                if kind != "said" {
                    continue;
                }
                fields
                    .retain(|name, value| ["text", "calls", "finish", "opaque"].contains(&&**name) && !value.is_null());
            }
            let turn: Turn = serde_json::from_value(fields.into()).map_err(wrong)?;
            turns.push((seq, Turn { usage: None, usd: None, ..turn }));
        }
        let turns: VecDeque<Turn> = turns.into_iter().map(|(_, turn)| turn).collect();
        if turns.iter().all(|turn| turn.calls.is_empty() && !turn.text.contains('{')) {
            let message = format!("{source} holds no replies of a language model; name a run that one has planned");
            return Err(ModelError::new(ErrorKind::Protocol, message));
        }
        Ok(Scripted { turns: Mutex::new(turns), source, over: "the recorded run ended here" })
    }

    fn next(&self, messages: &[Message]) -> Result<Turn, ModelError> {
        let mut turns = self.turns.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let last = match messages.last() {
            Some(
                Message::User(text) | Message::Note(text) | Message::System(text) | Message::Tool { content: text, .. },
            ) => text.as_str(),
            Some(Message::Assistant { text, .. }) => text,
            None => "",
        };
        let wanted = turns.iter().position(|turn| turn.when.as_ref().is_some_and(|when| last.contains(when.as_str())));
        let next = wanted.or_else(|| turns.iter().position(|turn| turn.when.is_none()));
        next.and_then(|at| turns.remove(at)).ok_or_else(|| {
            let message = format!("script {} has no more turns; {}", self.source, self.over);
            ModelError::new(ErrorKind::Protocol, message)
        })
    }
}

impl ChatModel for Scripted {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        on: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            let turn = self.next(request.messages)?;
            if !turn.text.is_empty() {
                on(Delta::Text(&turn.text));
            }
            let calls: Vec<Call> = turn.calls.into_iter().map(call).collect();
            for call in &calls {
                on(Delta::Call { name: &call.name });
            }
            let finish = if calls.is_empty() { Finish::Stop } else { Finish::Calls };
            Ok(Reply {
                text: turn.text,
                calls,
                finish: turn.finish.unwrap_or(finish),
                // A script costs nothing, and that is known.
                usage: Some(turn.usage.unwrap_or_default()),
                usd: Some(turn.usd.unwrap_or_default()),
                opaque: turn.opaque,
            })
        })
    }

    fn heard(&self, reply: &Reply) {
        let mut turns = self.turns.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(at) = turns.iter().position(|turn| turn.gave(reply)) {
            turns.remove(at);
        }
    }
}

impl Turn {
    /// Whether this turn is where a reply came from.
    fn gave(&self, reply: &Reply) -> bool {
        let names = reply.calls.iter().map(|call| &call.name);
        self.calls.iter().map(|call| &call.name).eq(names) && (self.text == reply.text || !reply.calls.is_empty())
    }
}

fn call(call: ScriptedCall) -> Call {
    let arguments = match call.arguments {
        Value::String(raw) => raw,
        Value::Null => "{}".to_owned(),
        value => value.to_string(),
    };
    Call { id: call.id, name: call.name, arguments, extra: call.extra }
}

fn no_turn(line: usize, source: &str, error: &serde_json::Error) -> ModelError {
    let message = format!("line {} of script {source} is not a turn: {error}", line + 1);
    ModelError::new(ErrorKind::Protocol, message)
}
