//! The loop in which a language model plans: it asks, runs what is called, answers with results and scores, and ends.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tunesmith_harness::{
    budget::{Budget, Spend},
    event::Kind,
    log::LogError,
    redact::redacted,
    task::Outcome,
    text::truncate_middle,
};
use tunesmith_tools::tool::{AnyTool, Cx, ToolError};

use crate::{
    guards::{self, Guards, Strike},
    model::{Call, ChatModel, Delta, ErrorKind, Finish, Form, Message, ModelError, Reply, Request, ToolSpec, intake},
    show::{self, Share},
    steps::{Asked, Journal, ScopeOf, Steps, until},
};

/// Everything that a planned run needs.
pub struct Planning<'a> {
    /// The model that plans.
    pub model: &'a dyn ChatModel,
    /// The tools it may call.
    pub tools: &'a [&'a dyn AnyTool],
    /// What the tools may use; also holds the deadline and the user's cancel.
    pub cx: &'a Cx<'a>,
    /// What the run may use; the loop books its steps and the model's replies here.
    pub budget: &'a Budget,
    /// The system prompt.
    pub system: String,
    /// The first user message.
    pub request: String,
    /// How much of the user's data the model may see.
    pub share: Share,
    /// Reads the scope out of a plan.
    pub scope_of: &'a ScopeOf<'a>,
    /// Whether a later plan may change the scope (`--allow scope`).
    pub may_amend: bool,
}

/// How a planned run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopEnd {
    /// As what.
    pub end: End,
    /// Why, in one line.
    pub why: String,
    /// What the budget says was spent.
    pub spent: Spend,
}

/// The ways a planned run ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// `finish` succeeded, with this output; the grader has the last word.
    Finished(Value),
    /// A budget or the deadline was reached.
    Budget,
    /// The user cancelled.
    Cancelled,
    /// A guard gave its third strike.
    Stuck,
    /// The model cannot be asked.
    Model(ErrorKind),
    /// The planner will not go on: the request does not fit the data, or nobody approved it.
    Refused,
    /// A step that the playbook cannot do without failed.
    Failed,
    /// A limit was set that cannot be watched, because the provider does not say what it costs.
    UnknownCost,
}

impl LoopEnd {
    /// The outcome of the run; `None` where the grader decides.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.end {
            End::Finished(_) => None,
            End::Budget => Some(Outcome::Budget),
            End::Cancelled => Some(Outcome::Cancelled),
            End::Refused | End::UnknownCost | End::Model(ErrorKind::Auth | ErrorKind::Billing) => {
                Some(Outcome::Blocked)
            }
            End::Stuck | End::Failed | End::Model(_) => Some(Outcome::PlannerFailed),
        }
    }
}

/// Runs the loop to its end. Only a log that cannot be written is an error.
pub async fn drive(
    planning: Planning<'_>,
    journal: &mut dyn Journal,
    on: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<LoopEnd, LogError> {
    let mut run = Run::new(&planning);
    let (end, why) = loop {
        if let Some(stop) = run.reached() {
            break stop;
        }
        let reply = match run.ask(on).await {
            Ok(reply) => reply,
            Err(Stop::Model(error)) if error.kind == ErrorKind::ContextTooLong && run.shorten(journal)? => continue,
            Err(Stop::Model(error)) => break (End::Model(error.kind), error.to_string()),
            Err(Stop::End(end, why)) => break (end, why),
        };
        if let Some(stop) = run.turn(reply, journal).await? {
            break stop;
        }
    };
    Ok(LoopEnd { end, why, spent: planning.budget.spent() })
}

type Ending = (End, String);

const TIME_UP: &str = "the run's time is up";

/// Why there is no reply.
enum Stop {
    Model(ModelError),
    End(End, String),
}

/// The state of the loop.
struct Run<'a> {
    planning: &'a Planning<'a>,
    steps: Steps<'a>,
    specs: Vec<ToolSpec>,
    messages: Vec<Message>,
    ids: BTreeSet<String>,
    guards: Guards,
}

impl<'a> Run<'a> {
    fn new(planning: &'a Planning<'a>) -> Self {
        let offered: Vec<&dyn AnyTool> =
            planning.tools.iter().copied().filter(|tool| planning.share.offers(tool.name())).collect();
        Run {
            planning,
            specs: specs(&offered),
            steps: Steps::new(offered, planning.cx, planning.scope_of, planning.may_amend),
            messages: vec![
                Message::System(planning.system.clone()),
                Message::User(redacted(&planning.request).into_owned()),
            ],
            ids: BTreeSet::new(),
            guards: Guards::default(),
        }
    }

    /// The limit that is reached, if one is.
    fn reached(&self) -> Option<Ending> {
        let Planning { cx, budget, .. } = self.planning;
        if cx.cancel.is_cancelled() {
            return Some((End::Cancelled, "cancelled".to_owned()));
        }
        if cx.deadline.is_some_and(|deadline| Instant::now() >= Instant::from_std(deadline)) {
            return Some((End::Budget, TIME_UP.to_owned()));
        }
        let why = budget.exceeded(Instant::now().into_std())?;
        let (caps, spent) = (budget.caps(), budget.spent());
        let unknown = caps.usd.is_some() && spent.usd.is_none() || caps.tokens.is_some() && spent.tokens.is_none();
        Some((if unknown { End::UnknownCost } else { End::Budget }, why))
    }

    /// The model's next reply, booked; time and cancel end the waiting.
    async fn ask(&self, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<Reply, Stop> {
        let Planning { cx, budget, model, .. } = self.planning;
        let nothing = Spend { steps: 0, tokens: Some(0), usd: Some(0.0) };
        let reserved = budget.reserve(nothing, Instant::now().into_std()).map_err(|why| Stop::End(End::Budget, why))?;
        let request = Request { messages: &self.messages, tools: &self.specs, form: Form::default() };
        let reply = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(Stop::End(End::Cancelled, "cancelled".to_owned())),
            () = until(cx.deadline) => Err(Stop::End(End::Budget, TIME_UP.to_owned())),
            reply = model.chat(request, on) => reply.map_err(Stop::Model),
        }?;
        budget.reconcile(reserved, Spend { steps: 0, tokens: tokens(&reply), usd: reply.usd });
        Ok(reply)
    }

    /// Takes a reply in and does what it asks for.
    async fn turn(&mut self, reply: Reply, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
        let tokens = tokens(&reply);
        let (text, mut calls) = match reply.calls.is_empty() {
            true => intake::calls_in_text(&reply.text, &self.names()),
            false => (reply.text.clone(), reply.calls),
        };
        journal.record(Kind::Said { text: reply.text, tokens, usd: reply.usd })?;
        if calls.is_empty() {
            return self.nudge(text, &reply.finish, journal);
        }
        let mut args = Vec::new();
        for call in &mut calls {
            self.name(call);
            args.push(taken_in(call, matches!(reply.finish, Finish::Stop | Finish::Calls)));
        }
        self.messages.push(Message::Assistant { text, calls: calls.clone(), opaque: reply.opaque });
        for (call, args) in calls.iter().zip(&args) {
            if let Some(end) = self.step(call, args, &reply.finish, journal).await? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Runs one call and answers it.
    async fn step(
        &mut self,
        call: &Call,
        args: &Args,
        finish: &Finish,
        journal: &mut dyn Journal,
    ) -> Result<Option<Ending>, LogError> {
        if let Some(stop) = self.reached() {
            return Ok(Some(stop));
        }
        let too_long = "your reply was cut at its length limit, so the arguments are incomplete; write less";
        let asked = match args {
            Ok(args) => Ok(args),
            Err((raw, _)) if *finish == Finish::Length => Err((raw.as_str(), too_long)),
            Err((raw, why)) => Err((raw.as_str(), why.as_str())),
        };
        let budget = self.planning.budget;
        let reserved = match budget.reserve(Spend::STEP, Instant::now().into_std()) {
            Ok(reserved) => reserved,
            Err(why) => return Ok(Some((End::Budget, why))),
        };
        let step = self.steps.take(Asked { id: &call.id, tool: &call.name, args: asked }, journal).await?;
        budget.reconcile(reserved, Spend::STEP);
        match &step.result {
            Ok(output) if call.name == "finish" => {
                return Ok(Some((End::Finished(output.clone()), "the planner finished".to_owned())));
            }
            Err(ToolError::Cancelled) => return Ok(Some((End::Cancelled, "cancelled".to_owned()))),
            // A first plan that is not allowed is one that the user's goals rule out; no other plan could keep them.
            Err(ToolError::Denied(why)) if call.name == "plan" && self.steps.scope().is_none() => {
                return Ok(Some((End::Refused, why.clone())));
            }
            _ => {}
        }
        let malformed = matches!(step.result, Err(ToolError::Invalid(_)));
        let outcome = step.result.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        let sent = asked.map_or_else(|(raw, _)| Value::from(raw), Value::clone);
        let strike = self.guards.called(&call.name, &sent, malformed, &outcome);
        let note = strike.as_ref().map(|strike| strike.note);
        let content = show::result(&step, self.planning.share, note, &self.left());
        self.messages.push(Message::Tool { id: call.id.clone(), content });
        strike.map_or(Ok(None), |strike| struck(strike, journal))
    }

    /// A turn without a call: the model is reminded, twice.
    fn nudge(&mut self, text: String, finish: &Finish, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
        let strike = self.guards.talked();
        let cut = if *finish == Finish::Length { "Your reply was cut at its length limit. " } else { "" };
        // Some providers refuse an empty message, and it would say nothing.
        if !text.is_empty() {
            self.messages.push(Message::Assistant { text, calls: Vec::new(), opaque: None });
        }
        self.messages.push(Message::User(format!("{cut}{}", strike.note)));
        struck(strike, journal)
    }

    /// Gives a call an id where it has none of its own.
    fn name(&mut self, call: &mut Call) {
        if call.id.is_empty() || self.ids.contains(&call.id) {
            call.id = format!("call_{}", self.ids.len() + 1);
            while self.ids.contains(&call.id) {
                call.id.push('x');
            }
        }
        self.ids.insert(call.id.clone());
    }

    fn names(&self) -> Vec<&str> {
        self.specs.iter().map(|spec| spec.name.as_str()).collect()
    }

    /// What is left of the budgets, for the model to plan with.
    fn left(&self) -> Map<String, Value> {
        let mut left = Map::new();
        let budget = self.planning.budget;
        if let Some(most) = budget.caps().steps {
            left.insert("steps".into(), most.saturating_sub(budget.spent().steps).into());
        }
        if let Some(deadline) = self.planning.cx.deadline {
            let rest = Instant::from_std(deadline).saturating_duration_since(Instant::now());
            left.insert("minutes".into(), (rest.as_secs() / 60).into());
        }
        left
    }

    /// Shortens the results of older steps, so that the conversation fits. False when nothing was left to shorten.
    fn shorten(&mut self, journal: &mut dyn Journal) -> Result<bool, LogError> {
        const KEPT: usize = 2;
        const SHORT: usize = 300;
        let results = self.messages.iter_mut().filter_map(|message| match message {
            Message::Tool { content, .. } => Some(content),
            _ => None,
        });
        let mut results: Vec<&mut String> = results.collect();
        let old = results.len().saturating_sub(KEPT);
        let mut dropped = 0;
        for content in results.iter_mut().take(old).filter(|content| content.len() > 2 * SHORT) {
            **content = json!({ "shortened": truncate_middle(content, SHORT) }).to_string();
            dropped += 1;
        }
        if dropped > 0 {
            journal.record(Kind::Compacted { dropped })?;
        }
        Ok(dropped > 0)
    }
}

/// Logs a strike; the last one ends the run.
fn struck(strike: Strike, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
    let last = strike.count >= guards::LAST;
    journal.record(Kind::Guarded { guard: strike.guard.to_owned(), why: strike.why.clone() })?;
    Ok(last.then(|| (End::Stuck, format!("the planner is stuck: {}", strike.why))))
}

/// Tokens read and written.
fn tokens(reply: &Reply) -> Option<u64> {
    reply.usage.map(|usage| usage.prompt.saturating_add(usage.completion))
}

/// The arguments of a call, or the text that is none and what is wrong with it.
type Args = Result<Value, (String, String)>;

/// Reads a call's arguments. Servers parse what is sent back to them, so what is kept in the call is always JSON.
fn taken_in(call: &mut Call, whole: bool) -> Args {
    let raw = std::mem::take(&mut call.arguments);
    let args = intake::arguments(&raw, whole).map(|mended| mended.value);
    call.arguments = match &args {
        Ok(args) => args.to_string(),
        Err(_) => json!({"not_json": truncate_middle(&raw, 1_000)}).to_string(),
    };
    args.map_err(|why| (raw, why))
}

/// The tools as the model sees them.
pub fn specs(tools: &[&dyn AnyTool]) -> Vec<ToolSpec> {
    let spec = |tool: &&dyn AnyTool| {
        let mut schema = tool.schema().clone();
        lean(&mut schema);
        ToolSpec { name: tool.name().to_owned(), description: tool.description().to_owned(), schema }
    };
    tools.iter().map(spec).collect()
}

/// A schema with what a model needs to fill it in: names, types, choices, and what is required. The words about a field
/// stay where they say more than its name, which short ones do not; every request pays for them again.
fn lean(schema: &mut Value) {
    const SHORT: usize = 50;
    let Some(map) = schema.as_object_mut() else { return };
    // A field that does not exist is refused with a message that says so.
    map.shift_remove("additionalProperties");
    for field in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        let Some(field) = field.as_object_mut() else { continue };
        if field.get("description").and_then(Value::as_str).is_some_and(|text| text.len() < SHORT) {
            field.shift_remove("description");
        }
        // Of an object its description names the fields; arguments that do not fit are answered with what would.
        ["properties", "additionalProperties"].iter().for_each(|part| drop(field.shift_remove(*part)));
        if let Some(item) = field.get_mut("items").and_then(Value::as_object_mut) {
            item.shift_remove("description");
        }
    }
}
