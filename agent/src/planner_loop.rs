//! The loop in which a language model plans: it asks, runs what is called, answers with results and scores, and ends.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tunesmith_harness::{
    event::Kind,
    log::LogError,
    task::{Outcome, Task},
};
use tunesmith_tools::tool::{AnyTool, Cx, ToolError};

use crate::{
    guards::{self, Guards, Strike},
    model::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Reply, Request, ToolSpec, intake},
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
    /// Where the run must stop.
    pub budget: Budget,
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

/// Where a planned run must stop, beside the deadline in [`Cx`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Most steps.
    pub steps: Option<u32>,
    /// Most tokens, read and written.
    pub tokens: Option<u64>,
    /// Most dollars.
    pub usd: Option<f64>,
}

impl Budget {
    /// The budget that a task names. Steps are always bounded: nobody may be watching.
    pub fn of(task: &Task) -> Self {
        const STEPS: u32 = 100;
        Budget { steps: Some(task.steps.unwrap_or(STEPS)), tokens: None, usd: task.usd }
    }
}

/// How a planned run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopEnd {
    /// As what.
    pub end: End,
    /// Why, in one line.
    pub why: String,
    /// Steps taken.
    pub steps: u32,
    /// What the model cost.
    pub spent: Spent,
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
            End::UnknownCost | End::Model(ErrorKind::Auth | ErrorKind::Billing) => Some(Outcome::Blocked),
            End::Stuck | End::Model(_) => Some(Outcome::PlannerFailed),
        }
    }
}

/// What a model cost so far; once a part is unknown, so is the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// Dollars.
    pub usd: Option<f64>,
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
            Err(Stop::End(end, why)) => break (end, why.to_owned()),
        };
        if let Some(stop) = run.turn(reply, journal).await? {
            break stop;
        }
    };
    Ok(LoopEnd { end, why, steps: run.steps.taken(), spent: run.spent })
}

type Ending = (End, String);

const TIME_UP: &str = "the run's time is up";

/// Why there is no reply.
enum Stop {
    Model(ModelError),
    End(End, &'static str),
}

/// The state of the loop.
struct Run<'a> {
    planning: &'a Planning<'a>,
    steps: Steps<'a>,
    specs: Vec<ToolSpec>,
    messages: Vec<Message>,
    ids: BTreeSet<String>,
    guards: Guards,
    spent: Spent,
}

impl<'a> Run<'a> {
    fn new(planning: &'a Planning<'a>) -> Self {
        let offered: Vec<&dyn AnyTool> =
            planning.tools.iter().copied().filter(|tool| planning.share.offers(tool.name())).collect();
        Run {
            planning,
            specs: specs(&offered),
            steps: Steps::new(offered, planning.cx, planning.scope_of, planning.may_amend),
            messages: vec![Message::System(planning.system.clone()), Message::User(planning.request.clone())],
            ids: BTreeSet::new(),
            guards: Guards::default(),
            spent: Spent { tokens: Some(0), usd: Some(0.0) },
        }
    }

    /// The budget that is used up, if one is.
    fn reached(&self) -> Option<Ending> {
        let budget = self.planning.budget;
        let budget_end = |why: String| Some((End::Budget, why));
        let cx = self.planning.cx;
        if cx.cancel.is_cancelled() {
            return Some((End::Cancelled, "cancelled".to_owned()));
        }
        if cx.deadline.is_some_and(|deadline| Instant::now() >= Instant::from_std(deadline)) {
            return budget_end(TIME_UP.to_owned());
        }
        if let Some(most) = budget.steps.filter(|most| self.steps.taken() >= *most) {
            return budget_end(format!("the budget of {most} steps is used up"));
        }
        match (budget.tokens, self.spent.tokens) {
            (Some(most), Some(spent)) if spent >= most => return budget_end(format!("{spent} of {most} tokens used")),
            (Some(_), None) => return Some(unknown("how many tokens a reply takes", "the token limit")),
            _ => {}
        }
        match (budget.usd, self.spent.usd) {
            (Some(most), Some(spent)) if spent >= most => budget_end(format!("{spent:.4} of {most} US dollars used")),
            (Some(_), None) => Some(unknown("what a reply costs", "--usd")),
            _ => None,
        }
    }

    /// The model's next reply; time and cancel end the waiting.
    async fn ask(&self, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<Reply, Stop> {
        let cx = self.planning.cx;
        let request = Request { messages: &self.messages, tools: &self.specs };
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(Stop::End(End::Cancelled, "cancelled")),
            () = until(cx.deadline) => Err(Stop::End(End::Budget, TIME_UP)),
            reply = self.planning.model.chat(request, on) => reply.map_err(Stop::Model),
        }
    }

    /// Takes a reply in and does what it asks for.
    async fn turn(&mut self, reply: Reply, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
        let tokens = reply.usage.map(|usage| usage.prompt.saturating_add(usage.completion));
        self.spent.tokens = self.spent.tokens.zip(tokens).map(|(sum, more)| sum.saturating_add(more));
        self.spent.usd = self.spent.usd.zip(reply.usd).map(|(sum, more)| sum + more);
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
            args.push(taken_in(call));
        }
        self.messages.push(Message::Assistant { text, calls: calls.clone() });
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
        let step = self.steps.take(Asked { id: &call.id, tool: &call.name, args: asked }, journal).await?;
        match &step.result {
            Ok(output) if call.name == "finish" => {
                return Ok(Some((End::Finished(output.clone()), "the planner finished".to_owned())));
            }
            Err(ToolError::Cancelled) => return Ok(Some((End::Cancelled, "cancelled".to_owned()))),
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
            self.messages.push(Message::Assistant { text, calls: Vec::new() });
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
        if let Some(most) = self.planning.budget.steps {
            left.insert("steps".into(), most.saturating_sub(self.steps.taken()).into());
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
            **content = json!({ "shortened": show::cut(content, SHORT) }).to_string();
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

fn unknown(what: &str, limit: &str) -> Ending {
    let why =
        format!("the provider does not say {what}, so {limit} cannot be kept; run without it or with another planner");
    (End::UnknownCost, why)
}

/// The arguments of a call, or the text that is none and what is wrong with it.
type Args = Result<Value, (String, String)>;

/// Reads a call's arguments. Servers parse what is sent back to them, so what is kept in the call is always JSON.
fn taken_in(call: &mut Call) -> Args {
    let raw = std::mem::take(&mut call.arguments);
    let args = intake::arguments(&raw);
    call.arguments = match &args {
        Ok(args) => args.to_string(),
        Err(_) => json!({"not_json": show::cut(&raw, 1_000)}).to_string(),
    };
    args.map_err(|why| (raw, why))
}

/// The tools as the model sees them.
pub fn specs(tools: &[&dyn AnyTool]) -> Vec<ToolSpec> {
    let spec = |tool: &&dyn AnyTool| ToolSpec {
        name: tool.name().to_owned(),
        description: tool.description().to_owned(),
        schema: tool.schema().clone(),
    };
    tools.iter().map(spec).collect()
}
