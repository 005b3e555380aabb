//! Trying a model with a handful of small questions: does it answer, stream, call tools, and what is known of it?

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Call, ChatModel, Delta, Finish, Form, Message, ModelError, Reply, Request, ToolSpec,
    intake::{self, Mended},
};

/// Questions that are asked at most, each answered with at most [`MOST_TOKENS`].
pub const QUESTIONS: usize = 5;

/// Some models think long before they speak.
pub const MOST_TOKENS: u64 = 2_000;

/// A planner's prompt, tools and a few results take this much.
const LEAST_WINDOW: u64 = 8_192;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it works; `None` where it was not tried or is unknown.
    pub works: Option<bool>,
    /// What was seen.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What came of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trial {
    /// In the order in which they were tried.
    pub checks: Vec<Check>,
    /// Whether it can plan: it calls tools as it should, by itself or in its text.
    pub can_plan: bool,
    /// Tokens that it wrote in a second, waiting included, where it counts them.
    pub tokens_per_second: Option<f64>,
    /// Tokens that were read and written, where all were counted.
    pub tokens: Option<u64>,
    /// Dollars, where they are known.
    pub usd: Option<f64>,
}

/// What one question brought.
struct Asked {
    reply: Reply,
    pieces: usize,
    first: Duration,
    all: Duration,
}

struct Trying<'a> {
    model: &'a dyn ChatModel,
    trial: Trial,
}

/// Tries a model. `source` says where its window is known from.
pub async fn of(model: &dyn ChatModel, source: &str) -> Trial {
    let trial = Trial { tokens: Some(0), usd: Some(0.0), ..Trial::default() };
    let mut trying = Trying { model, trial };
    if trying.answers().await {
        trying.calls().await;
        trying.parallel().await;
        trying.structured().await;
        // Last, because some servers know it only once the model is loaded.
        trying.window(source).await;
    }
    trying.trial
}

impl Trying<'_> {
    async fn answers(&mut self) -> bool {
        let asked = self.ask(&[user("Count from 1 to 30, separated by blanks.")], &[], None).await;
        let Asked { reply, pieces, first, all } = match asked {
            Ok(asked) => asked,
            Err(error) => {
                self.note("answers", false, error.to_string(), Some(advice(&error)));
                return false;
            }
        };
        if reply.text.trim().is_empty() && reply.finish == Finish::Length {
            let found = format!("not a word within {MOST_TOKENS} tokens");
            self.note("answers", false, found, Some("let it think less, or take another model".into()));
            return false;
        }
        self.note("answers", true, format!("after {:.1} s", all.as_secs_f64()), None);
        match pieces {
            0 | 1 => {
                self.note("streams", false, "the reply comes in one piece; it is shown when it is whole".into(), None)
            }
            _ => self.note("streams", true, format!("first words after {:.1} s", first.as_secs_f64()), None),
        }
        let seconds = all.as_secs_f64();
        self.trial.tokens_per_second =
            reply.usage.filter(|_| seconds > 0.0).map(|usage| usage.completion as f64 / seconds);
        true
    }

    /// A call with the right arguments, and whether the conversation goes on after its result.
    async fn calls(&mut self) {
        let text = "Call the tool note once, with title \"ready\" and count 3.";
        let asked = match self.ask(&[user(text)], &[note()], None).await {
            Ok(asked) => asked,
            Err(error) => return self.note("tool calls", false, error.to_string(), Some(advice(&error))),
        };
        let Called { call, text, in_text, mended } = match called(&asked.reply) {
            Ok(called) => called,
            Err(found) => {
                let another = "take a model that is trained to call tools, or switch tool calls on in the server";
                return self.note("tool calls", false, found, Some(another.into()));
            }
        };
        let how = if in_text { "in its text" } else { "by itself" };
        let repaired = if mended { ", and its arguments had to be mended" } else { "" };
        let better = "planning works, though less surely; a server that reads the model's calls (llama.cpp --jinja, \
                      vLLM --enable-auto-tool-choice) is better";
        self.note("tool calls", true, format!("{how}{repaired}"), in_text.then(|| better.to_owned()));
        let result = Message::Tool { id: call.id.clone(), content: r#"{"ok":true}"#.into() };
        let turn = Message::Assistant { text, calls: vec![call], opaque: asked.reply.opaque };
        let ask = "Call the tool note once, with title \"ready\" and count 3, and then say that it is done.";
        match self.ask(&[user(ask), turn, result], &[note()], None).await {
            Ok(_) => {
                self.note("goes on", true, "after a tool's result".into(), None);
                self.trial.can_plan = true;
            }
            Err(error) => self.note("goes on", false, error.to_string(), Some(advice(&error))),
        }
    }

    async fn parallel(&mut self) {
        let text = "Call the tool note twice in one reply: title \"a\" with count 1, and title \"b\" with count 2.";
        match self.ask(&[user(text)], &[note()], None).await {
            Ok(Asked { reply, .. }) => {
                let count = reply.calls.len().max(intake::calls_in_text(&reply.text, &["note"]).1.len());
                let found = if count > 1 { format!("{count} in one reply") } else { "one at a time".to_owned() };
                self.note("parallel calls", count > 1, found, None);
            }
            Err(error) => self.note("parallel calls", false, error.to_string(), None),
        }
    }

    async fn structured(&mut self) {
        let schema = json!({
            "type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"],
            "additionalProperties": false,
        });
        match self.ask(&[user("Are you ready? Answer as JSON with the field ready.")], &[], Some(&schema)).await {
            Ok(Asked { reply, .. }) => {
                let value: Value = serde_json::from_str(reply.text.trim()).unwrap_or_default();
                let fits = value["ready"].is_boolean() && value.as_object().is_some_and(|fields| fields.len() == 1);
                let found = if fits { "the answer fits the schema" } else { "the answer does not fit the schema" };
                self.note("structured output", fits, found.into(), None);
            }
            Err(error) => self.note("structured output", false, error.to_string(), None),
        }
    }

    async fn window(&mut self, source: &str) {
        let Some(window) = self.model.window().await else {
            let advice = "a conversation that is too long is noticed late; put the window into models.toml";
            self.trial.checks.push(Check {
                name: "window",
                works: None,
                found: "unknown".into(),
                advice: Some(advice.into()),
            });
            return;
        };
        let small = window < LEAST_WINDOW;
        let advice = small.then(|| {
            format!(
                "start the server with at least {LEAST_WINDOW} (llama.cpp -c, vLLM --max-model-len, Ollama num_ctx), or take a model \
                 that reads more"
            )
        });
        self.note("window", !small, format!("{window} tokens, {source}"), advice);
    }

    fn note(&mut self, name: &'static str, works: bool, found: String, advice: Option<String>) {
        self.trial.checks.push(Check { name, works: Some(works), found, advice });
    }

    async fn ask(
        &mut self,
        messages: &[Message],
        tools: &[ToolSpec],
        schema: Option<&Value>,
    ) -> Result<Asked, ModelError> {
        let began = Instant::now();
        let (mut pieces, mut first) = (0, None);
        let mut on = |delta: Delta<'_>| match delta {
            Delta::Again { .. } => (pieces, first) = (0, None),
            Delta::Text(_) | Delta::Call { .. } => {
                pieces += 1;
                first.get_or_insert_with(|| began.elapsed());
            }
        };
        let form = Form { schema, max_tokens: Some(MOST_TOKENS), once: true, ..Form::default() };
        let asked = self.model.chat(Request { messages, tools, form }, &mut on).await;
        let all = began.elapsed();
        let (tokens, usd) = match &asked {
            Ok(reply) => (reply.usage.map(|usage| usage.prompt.saturating_add(usage.completion)), reply.usd),
            Err(error) if error.spent => (None, None),
            Err(_) => (Some(0), Some(0.0)),
        };
        self.trial.tokens = self.trial.tokens.zip(tokens).map(|(sum, more)| sum.saturating_add(more));
        self.trial.usd = self.trial.usd.zip(usd).map(|(sum, more)| sum + more);
        asked.map(|reply| Asked { reply, pieces, first: first.unwrap_or(all), all })
    }
}

/// The call that was asked for.
struct Called {
    /// With an id, and its arguments as they are meant.
    call: Call,
    /// What was said besides.
    text: String,
    in_text: bool,
    mended: bool,
}

/// The call in a reply, or what there is instead.
fn called(reply: &Reply) -> Result<Called, String> {
    let in_text = reply.calls.is_empty();
    let (text, calls) = match in_text {
        true => intake::calls_in_text(&reply.text, &["note"]),
        false => (reply.text.clone(), reply.calls.clone()),
    };
    let Some(mut call) = calls.into_iter().next() else {
        return Err(format!("none; it said {:?}", text.chars().take(80).collect::<String>()));
    };
    let wanted = json!({"title": "ready", "count": 3});
    let Mended { value, repairs } = intake::arguments(&call.arguments, reply.finish != Finish::Length)?;
    if call.name != "note" || value != wanted {
        return Err(format!("{}({value}) instead of note({wanted})", call.name));
    }
    call.arguments = value.to_string();
    if call.id.is_empty() {
        call.id = "call_1".into();
    }
    Ok(Called { call, text, in_text, mended: !repairs.is_empty() })
}

fn user(text: &str) -> Message {
    Message::User(text.to_owned())
}

fn note() -> ToolSpec {
    let properties = json!({"title": {"type": "string"}, "count": {"type": "integer"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["title", "count"]});
    ToolSpec { name: "note".into(), description: "Keeps a note.".into(), strict: schema.clone(), schema }
}

/// What to do about an error.
fn advice(error: &ModelError) -> String {
    use super::ErrorKind::{Auth, Billing, ContextTooLong, Network, Protocol, Rate, Refused, Server};
    let text = match error.kind {
        Auth => "check the key and what it is allowed",
        Billing => "pay the account up, or take another provider",
        Rate => "wait, or ask for a higher limit",
        ContextTooLong => "give the model a larger window",
        Refused if error.status == Some(404) => "check the model's name and the address, which often ends with /v1",
        Refused => "what it declined stands before; check the model's name, and whether it takes tools",
        Server => "look into the server's own log, or try later",
        Network => "start the server, and check address and port",
        Protocol => "check the address, which often ends with /v1",
    };
    text.to_owned()
}
