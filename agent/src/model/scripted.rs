//! `scripted:FILE`: a planner that says what a file tells it to, one JSON line per turn.
//!
//! ```json
//! {"text": "First the data.", "calls": [{"name": "data_inspect", "arguments": {"path": "data/train.jsonl"}}]}
//! ```
//!
//! A turn with `when` waits for a request whose last message holds that text, and goes before those without.

use std::{collections::VecDeque, path::Path, sync::Mutex};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Reply, Request, Usage};

/// Plays prepared turns, in order.
pub struct Scripted {
    turns: Mutex<VecDeque<Turn>>,
    source: String,
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
            let turn = serde_json::from_str(line).map_err(|error| {
                let message = format!("line {} of script {source} is not a turn: {error}", number + 1);
                ModelError::new(ErrorKind::Protocol, message)
            })?;
            turns.push_back(turn);
        }
        Ok(Scripted { turns: Mutex::new(turns), source })
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
            let message = format!("script {} has no more turns; end it with a call of finish", self.source);
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
            // A script costs nothing, and that is known.
            Ok(Reply { text: turn.text, calls, finish, usage: Some(Usage::default()), usd: Some(0.0), opaque: None })
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
    Call { id: call.id, name: call.name, arguments, extra: None }
}
