//! The loop in which a language model plans: it asks, runs what is called, answers with results and scores, and ends.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tunesmith_harness::{
    ask::Price,
    budget::{Budget, Spend},
    event::{Cost, Kind, LOST, lost},
    log::LogError,
    redact::redacted,
    task::Outcome,
    text::truncate_middle,
};
use tunesmith_tools::tool::{AnyTool, Cx, Tool, ToolError};

use crate::{
    approvals::Decide,
    context::{Context, Cut},
    guards::{self, Guards, Seen, Strike},
    ledger::{self, Ledger},
    model::{
        Call, ChatModel, Delta, ErrorKind, Finish, Form, Message, ModelError, Opaque, Reply, Request, ToolSpec, Usage,
        intake,
    },
    read_output::{self, ReadOutput},
    show::{self, Share},
    steps::{Asked, Journal, ScopeOf, Step, Steps, until},
};

/// Everything that a planned run needs.
pub struct Planning<'a> {
    /// The model that plans.
    pub model: &'a dyn ChatModel,
    /// Tokens that it reads and writes at most; `None` is unknown.
    pub window: Option<u64>,
    /// Most tokens of a reply, where that is known.
    pub longest: Option<u64>,
    /// What its tokens cost, where that is known.
    pub price: Option<Price>,
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
    /// What the user says to a run that goes on, after all that is recalled.
    pub instruction: Option<String>,
    /// How much of the user's data the model may see.
    pub share: Share,
    /// Where whole outputs are kept of which only a part is shown.
    pub outputs: &'a Path,
    /// Reads the scope out of a plan.
    pub scope_of: &'a ScopeOf<'a>,
    /// Whether a later plan may change the scope (`--allow scope`).
    pub may_amend: bool,
    /// Who is asked about what no flag allows.
    pub decide: &'a dyn Decide,
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

/// Runs the loop to its end. Only a log that cannot be written, or not be gone on with, is an error.
pub async fn drive(
    planning: Planning<'_>,
    journal: &mut dyn Journal,
    on: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<LoopEnd, LogError> {
    let mut run = Run::begin(&planning, journal)?;
    let (end, why) = loop {
        // What is recalled was within its limits when it happened.
        if let (None, Some(stop)) = (journal.next(), run.reached()) {
            break stop;
        }
        run.catch_up(journal)?;
        let reply = match run.reply(journal, on).await {
            Ok(reply) => reply,
            Err(Stop::TooLong(error)) if !run.may_shorten => break (End::Model(error.kind), error.to_string()),
            Err(Stop::TooLong(_)) => continue,
            Err(Stop::Model(error)) => break (End::Model(error.kind), error.to_string()),
            Err(Stop::End(end, why)) => break (end, why),
            Err(Stop::Log(error)) => return Err(error),
        };
        if let Some(stop) = run.turn(reply, journal).await? {
            break stop;
        }
    };
    Ok(LoopEnd { end, why, spent: planning.budget.spent() })
}

type Ending = (End, String);

/// The end of a run that the user has cancelled, or whose time is up.
pub fn stopped(cx: &Cx<'_>) -> Option<(End, String)> {
    if cx.cancel.is_cancelled() {
        return Some((End::Cancelled, "cancelled".to_owned()));
    }
    let late = cx.deadline.is_some_and(|deadline| Instant::now() >= Instant::from_std(deadline));
    late.then(|| (End::Budget, TIME_UP.to_owned()))
}

/// How often a reply is asked for whose attempts are paid for one by one.
const TRIES: u32 = 4;
const TIME_UP: &str = "the run's time is up";

/// Why there is no reply.
enum Stop {
    Model(ModelError),
    /// The request does not fit the model.
    TooLong(ModelError),
    End(End, String),
    Log(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Stop::Log(error)
    }
}

/// A request that brought no reply.
struct Unanswered {
    stop: Stop,
    /// What it may have cost at most; `None` where it cost nothing.
    lost: Option<Spend>,
    /// Whether asking again is left to whoever keeps the accounts.
    again: bool,
}

impl From<Stop> for Unanswered {
    fn from(stop: Stop) -> Self {
        Unanswered { stop, lost: None, again: false }
    }
}

/// The state of the loop.
struct Run<'a> {
    planning: &'a Planning<'a>,
    steps: Steps<'a>,
    specs: Vec<ToolSpec>,
    context: Context,
    ids: BTreeSet<String>,
    guards: Guards,
    /// Whether the conversation can still be shortened.
    may_shorten: bool,
    /// What the user says and the model has not heard yet.
    unheard: Option<String>,
}

impl<'a> Run<'a> {
    fn begin(planning: &'a Planning<'a>, journal: &mut dyn Journal) -> Result<Self, LogError> {
        let offered: Vec<&dyn AnyTool> =
            planning.tools.iter().copied().filter(|tool| planning.share.offers(tool.name())).collect();
        let specs = specs(&offered);
        // A run that goes on tells the model what it was told.
        let (mut system, mut request) = (planning.system.clone(), redacted(&planning.request).into_owned());
        match journal.next() {
            Some(Kind::Briefed { system: told, request: asked }) => {
                (system, request) = (told.clone(), asked.clone());
                journal.skip()?;
            }
            _ => journal.record(Kind::Briefed { system: system.clone(), request: request.clone() })?,
        }
        let Planning { cx, budget, scope_of, may_amend, window, decide, .. } = *planning;
        Ok(Run {
            planning,
            context: Context::new(system, request, &specs, window),
            specs,
            steps: Steps::new(offered, cx, scope_of, may_amend).paid_by(budget).decided_by(decide),
            ids: BTreeSet::new(),
            guards: Guards::default(),
            may_shorten: true,
            unheard: planning.instruction.as_deref().map(|text| redacted(text).into_owned()),
        })
    }

    /// The limit that is reached, if one is.
    fn reached(&self) -> Option<Ending> {
        let Planning { cx, budget, .. } = self.planning;
        if let Some(stop) = stopped(cx) {
            return Some(stop);
        }
        let why = budget.exceeded(Instant::now().into_std())?;
        let (caps, spent) = (budget.caps(), budget.spent());
        let unknown = caps.usd.is_some() && spent.usd.is_none() || caps.tokens.is_some() && spent.tokens.is_none();
        Some((if unknown { End::UnknownCost } else { End::Budget }, why))
    }

    /// The state of the run, as the log has it now.
    fn state(&self, journal: &dyn Journal) -> String {
        let Planning { cx, budget, share, .. } = self.planning;
        let rest = |deadline| Instant::from_std(deadline).saturating_duration_since(Instant::now()).as_secs() / 60;
        Ledger::of(journal.past(), *share).text(&ledger::left(budget, cx.deadline.map(rest)))
    }

    /// Whether the user says something next, before anything else is done.
    fn is_said(&self, journal: &dyn Journal) -> bool {
        journal.next().map_or(self.unheard.is_some(), |next| matches!(next, Kind::Instructed { .. }))
    }

    /// Does what came before the next reply: the user said something, the conversation was shortened, a reply was lost.
    fn catch_up(&mut self, journal: &mut dyn Journal) -> Result<(), LogError> {
        loop {
            match journal.next() {
                // One that was too long all the same was cut again, and may have cost something.
                Some(Kind::Compacted { dropped, result_chars, .. }) => {
                    let result_chars = result_chars.and_then(|most| usize::try_from(most).ok());
                    self.context.cut(Cut { dropped: *dropped as usize, result_chars });
                }
                Some(Kind::Observed { what, value }) if what == LOST => {
                    let Cost { tokens, usd } = lost(value);
                    self.planning.budget.book(Spend { steps: 0, tokens, usd });
                }
                Some(Kind::Instructed { text }) => {
                    let text = text.clone();
                    self.hear(text);
                }
                Some(Kind::Observed { what, value }) if what == WINDOW => self.context.told(value.as_u64()),
                Some(_) => return Ok(()),
                None => break,
            }
            journal.skip()?;
        }
        if let Some(text) = self.unheard.take() {
            journal.record(Kind::Instructed { text: text.clone() })?;
            journal.sync()?;
            self.hear(text);
        }
        self.fit(journal)
    }

    /// The user speaks: a turn of its own begins.
    fn hear(&mut self, text: String) {
        self.guards = Guards::default();
        self.context.push(Message::User(text));
    }

    /// Shortens the conversation where the next request would not fit the window.
    fn fit(&mut self, journal: &mut dyn Journal) -> Result<(), LogError> {
        let state = self.state(journal);
        let Some(cut) = self.context.over(&state) else { return Ok(()) };
        let before = self.context.tokens(&state);
        self.may_shorten = self.context.cut(cut);
        if self.may_shorten {
            journal.record(Kind::Compacted {
                dropped: u32::try_from(cut.dropped).unwrap_or(u32::MAX),
                tokens: (before, self.context.tokens(&state)),
                result_chars: cut.result_chars.map(|most| most as u64),
            })?;
        }
        Ok(())
    }

    /// The next reply: the one that the log holds, or a new one.
    async fn reply(
        &mut self,
        journal: &mut dyn Journal,
        on: &mut (dyn FnMut(Delta<'_>) + Send),
    ) -> Result<Reply, Stop> {
        if let Some(reply) = journal.next().and_then(recalled) {
            journal.skip()?;
            self.planning.model.heard(&reply);
            self.planning.budget.book(Spend { steps: 0, tokens: tokens(&reply), usd: reply.usd });
            loop {
                match journal.next() {
                    Some(Kind::Guarded { guard, .. }) if guard == WINDOW => {}
                    Some(Kind::Observed { what, value }) if what == WINDOW => self.context.told(value.as_u64()),
                    _ => return Ok(reply),
                }
                journal.skip()?;
            }
        }
        if let Some(was) = journal.next() {
            return Err(Stop::Log(LogError::Diverged { was: was.name(), now: "said" }));
        }
        let state = self.state(journal);
        let (sent, messages) = (self.context.tokens(&state), self.context.request(&state));
        let mut tries = 1;
        let reply = loop {
            let Unanswered { stop, lost, again } = match self.ask(&messages, sent, on).await {
                Ok(reply) => break reply,
                Err(unanswered) => unanswered,
            };
            if let Some(Spend { tokens, usd, .. }) = lost {
                // A process that goes on after this one must know.
                journal.record(Kind::Observed { what: LOST.to_owned(), value: json!(Cost { tokens, usd }) })?;
            }
            match stop {
                Stop::Model(error) if again && error.spent && error.is_transient() && tries < TRIES => {
                    self.wait(&error, tries, on).await?;
                    tries += 1;
                }
                Stop::Model(error) if error.kind == ErrorKind::ContextTooLong => {
                    let before = self.context.window();
                    self.context.too_long(sent, error.window);
                    if self.context.window() != before {
                        self.note_window(journal)?;
                    }
                    return Err(Stop::TooLong(error));
                }
                stop => return Err(stop),
            }
        };
        journal.record(Kind::Said {
            text: reply.text.clone(),
            tokens: tokens(&reply),
            usd: reply.usd,
            calls: reply.calls.clone(),
            repairs: intake::repairs(&reply, &self.names()).iter().map(|repair| repair.name().to_owned()).collect(),
            finish: serde_json::to_value(&reply.finish).unwrap_or_default(),
            opaque: reply.opaque.as_ref().and_then(|opaque| serde_json::to_value(opaque).ok()),
        })?;
        let read = reply.usage.map(|usage| usage.prompt).filter(|read| *read > 0);
        if let Some(window) = read.and_then(|read| self.context.learn(sent, read)) {
            let why =
                format!("the server reads {window} tokens whatever it is sent, and leaves out the rest without a word");
            journal.record(Kind::Guarded { guard: WINDOW.to_owned(), why })?;
            self.note_window(journal)?;
        }
        Ok(reply)
    }

    /// Logs the window that the server has shown, for a process that goes on after this one.
    fn note_window(&self, journal: &mut dyn Journal) -> Result<(), LogError> {
        journal.record(Kind::Observed { what: WINDOW.to_owned(), value: json!(self.context.window()) })
    }

    /// The model's next reply, booked; time and cancel end the waiting.
    async fn ask(
        &self,
        messages: &[Message],
        sent: u64,
        on: &mut (dyn FnMut(Delta<'_>) + Send),
    ) -> Result<Reply, Unanswered> {
        let Planning { cx, budget, model, .. } = self.planning;
        let (most, form) = self.most(sent)?;
        let reserved = budget.reserve(most, Instant::now().into_std()).map_err(|why| Stop::End(End::Budget, why))?;
        let request = Request { messages, tools: &self.specs, form };
        let reply = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(Stop::End(End::Cancelled, "cancelled".to_owned())),
            () = until(cx.deadline) => Err(Stop::End(End::Budget, TIME_UP.to_owned())),
            reply = model.chat(request, on) => reply.map_err(Stop::Model),
        };
        let (spent, lost) = match &reply {
            Ok(reply) => (Spend { steps: 0, tokens: tokens(reply), usd: reply.usd }, None),
            // What never cost anything is nothing; what an attempt cost that brought nothing is at most what was set aside for
            // it, or unknown.
            Err(Stop::Model(error)) if !error.spent => (Spend::NOTHING, None),
            Err(_) => {
                let limited = form.max_tokens.and(Some(most));
                let tokens = limited.and_then(|most| most.tokens);
                let lost = Spend { steps: 0, tokens, usd: self.free().or(limited.and_then(|most| most.usd)) };
                (lost, (tokens.is_some() || self.free().is_none()).then_some(lost))
            }
        };
        budget.reconcile(reserved, spent);
        reply.map_err(|stop| Unanswered { stop, lost, again: form.once })
    }

    /// What a reply may cost at most, and how long it may be for that: where money or tokens are limited, the reply is kept as
    /// short as what is left pays for, and is asked for once at a time.
    fn most(&self, sent: u64) -> Result<(Spend, Form<'static>), Stop> {
        const LEAST: u64 = 256;
        let Planning { budget, price, .. } = self.planning;
        let (caps, spent) = (budget.caps(), budget.spent());
        let over = |why: String| {
            Stop::End(End::Budget, format!("{why} are used, and the next reply could take more than the rest"))
        };
        // What is counted here may be a little less than what the server counts.
        let counted = sent + sent / 16;
        let mut longest = None;
        if let (Some(cap), Some(price), Some(spent)) = (caps.usd, price.filter(|price| !is_free(price)), spent.usd) {
            let left = cap - spent - counted as f64 * price.read;
            let paid = if price.written > 0.0 { (left / price.written).floor() } else { f64::MAX };
            if left < 0.0 || paid < LEAST as f64 {
                return Err(over(format!("${spent:.2} of ${cap:.2}")));
            }
            longest = Some(paid as u64);
        }
        if let (Some(cap), Some(spent)) = (caps.tokens, spent.tokens) {
            let left = cap.saturating_sub(spent).saturating_sub(counted);
            if left < LEAST {
                return Err(over(format!("{spent} of {cap} tokens")));
            }
            longest = Some(longest.map_or(left, |longest| left.min(longest)));
        }
        let Some(longest) = longest else { return Ok((Spend::NOTHING, Form::default())) };
        let window = self.context.window().map_or(u64::MAX, |window| window.saturating_sub(counted).max(LEAST));
        let longest = longest.min(window).min(self.planning.longest.unwrap_or(4_096));
        let usd = price.map(|price| counted as f64 * price.read + longest as f64 * price.written);
        let most = Spend { steps: 0, tokens: Some(counted + longest), usd };
        Ok((most, Form { max_tokens: Some(longest), once: true, ..Form::default() }))
    }

    /// Waits before the same is asked again; time and cancel end it.
    async fn wait(&self, error: &ModelError, tries: u32, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<(), Stop> {
        let cx = self.planning.cx;
        let wait = Duration::from_secs(1 << (tries - 1));
        on(Delta::Again { error, wait });
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(Stop::End(End::Cancelled, "cancelled".to_owned())),
            () = until(cx.deadline) => Err(Stop::End(End::Budget, TIME_UP.to_owned())),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// What nothing costs where asking is free.
    fn free(&self) -> Option<f64> {
        self.planning.price.as_ref().is_some_and(is_free).then_some(0.0)
    }

    /// Takes a reply in and does what it asks for.
    async fn turn(&mut self, reply: Reply, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
        self.may_shorten = true;
        self.guards.turn();
        let (text, mut calls) = match reply.calls.is_empty() {
            true => intake::calls_in_text(&reply.text, &self.names()),
            false => (reply.text, reply.calls),
        };
        if calls.is_empty() {
            return self.nudge((text, reply.opaque), &reply.finish, journal);
        }
        let mut args = Vec::new();
        for call in &mut calls {
            self.name(call);
            args.push(taken_in(call, reply.finish.is_whole()));
        }
        self.context.push(Message::Assistant { text, calls: calls.clone(), opaque: reply.opaque });
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
        if self.is_said(journal) {
            // A call needs an answer all the same.
            self.context.push(Message::Tool { id: call.id.clone(), content: UNDONE.to_owned() });
            return Ok(None);
        }
        let live = journal.next().is_none();
        if let (true, Some(stop)) = (live, self.reached()) {
            return Ok(Some(stop));
        }
        let too_long = "your reply was cut at its length limit, so the arguments are incomplete; write less";
        let asked = match args {
            Ok(args) => Ok(args),
            Err((raw, _)) if *finish == Finish::Length => Err((raw.as_str(), too_long)),
            Err((raw, why)) => Err((raw.as_str(), why.as_str())),
        };
        let budget = self.planning.budget;
        let reserved = match live.then(|| budget.reserve(Spend::STEP, Instant::now().into_std())).transpose() {
            Ok(reserved) => reserved,
            Err(why) => return Ok(Some((End::Budget, why))),
        };
        let step = self.steps.take(Asked { id: &call.id, tool: &call.name, args: asked }, journal).await?;
        match reserved {
            Some(reserved) => budget.reconcile(reserved, Spend::STEP),
            None => budget.book(Spend::STEP),
        }
        match &step.result {
            Ok(output) if call.name == "finish" => {
                return Ok(Some((End::Finished(output.clone()), "the planner finished".to_owned())));
            }
            // What was stopped in an earlier process is answered; the user has said more since.
            Err(ToolError::Cancelled) if self.planning.cx.cancel.is_cancelled() => {
                return Ok(Some((End::Cancelled, "cancelled".to_owned())));
            }
            // A first plan that is not allowed is one that the user's goals rule out; no other plan could keep them.
            Err(ToolError::Denied(why)) if call.name == "plan" && self.steps.scope().is_none() => {
                return Ok(Some((End::Refused, why.clone())));
            }
            _ => {}
        }
        let error = step.result.as_ref().err().map(ToString::to_string);
        let sent = asked.map_or_else(|(raw, _)| Value::from(raw), Value::clone);
        let strike = self.guards.called(Seen {
            tool: &call.name,
            args: &sent,
            malformed: matches!(step.result, Err(ToolError::Invalid(_))),
            result: step.result.as_ref().map_err(|_| error.as_deref().unwrap_or_default()),
        });
        let content = match journal.next() {
            // What it was told then may have been cut otherwise.
            Some(Kind::Told { step: Some(_), content }) => content.clone(),
            _ => self.shown(&call.name, &step, strike.as_ref().map(|strike| strike.note)),
        };
        self.tell(Some(step.number), &content, journal)?;
        self.context.push(Message::Tool { id: call.id.clone(), content });
        strike.map_or(Ok(None), |strike| self.struck(strike, journal))
    }

    /// What the model sees of a step. Of a long output the whole is kept where it can be read in parts.
    fn shown(&self, tool: &str, step: &Step, note: Option<&str>) -> String {
        // What `read_output` gives has been through this already.
        let share = if tool == ReadOutput::NAME { Share::Samples } else { self.planning.share };
        let shown = show::result(step, share, note, self.context.result_chars());
        if let Some(whole) = &shown.whole
            && let Err(error) = read_output::keep(self.planning.outputs, step.number, whole)
        {
            tracing::warn!(%error, step = step.number, "the whole output is not kept");
        }
        shown.content
    }

    /// Logs what the model is told.
    fn tell(&self, step: Option<u32>, content: &str, journal: &mut dyn Journal) -> Result<(), LogError> {
        journal.record(Kind::Told { step, content: content.to_owned() })
    }

    /// A turn without a call: the model is reminded, twice.
    fn nudge(
        &mut self,
        (text, opaque): (String, Option<Opaque>),
        finish: &Finish,
        journal: &mut dyn Journal,
    ) -> Result<Option<Ending>, LogError> {
        let strike = self.guards.talked();
        let cut = if *finish == Finish::Length { "Your reply was cut at its length limit. " } else { "" };
        // Some providers refuse an empty message, and it would say nothing.
        if !text.is_empty() {
            self.context.push(Message::Assistant { text, calls: Vec::new(), opaque });
        }
        let note = format!("{cut}{}", strike.note);
        self.tell(None, &note, journal)?;
        self.context.push(Message::Note(note));
        self.struck(strike, journal)
    }

    /// Logs a strike. The last one ends the run, unless the user has gone on with it after that: then all guards begin anew.
    fn struck(&mut self, strike: Strike, journal: &mut dyn Journal) -> Result<Option<Ending>, LogError> {
        let recalled = journal.next().is_some();
        journal.record(Kind::Guarded { guard: strike.guard.to_owned(), why: strike.why.clone() })?;
        if strike.count < guards::LAST {
            return Ok(None);
        }
        match journal.next() {
            Some(Kind::Observed { what, .. }) if what == ANEW => journal.skip()?,
            None if recalled && journal.inherited() > 0 => {
                journal.record(Kind::Observed { what: ANEW.to_owned(), value: Value::Null })?
            }
            _ => return Ok(Some((End::Stuck, format!("the planner is stuck: {}", strike.why)))),
        }
        self.guards = Guards::default();
        Ok(None)
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
}

/// What a call is answered that the user stopped before it was made.
const UNDONE: &str = "not done: the user stopped this turn";

/// What is logged where a run goes on that its guards had ended.
pub(crate) const ANEW: &str = "guards anew";

/// The guard that speaks, and what is logged of the window, when a server reads less than it was sent.
pub(crate) const WINDOW: &str = "window";

fn is_free(price: &Price) -> bool {
    price.read <= 0.0 && price.written <= 0.0
}

/// A reply as the log holds it.
fn recalled(event: &Kind) -> Option<Reply> {
    let Kind::Said { text, tokens, usd, calls, finish, opaque, .. } = event else { return None };
    Some(Reply {
        text: text.clone(),
        calls: calls.clone(),
        finish: serde_json::from_value(finish.clone()).unwrap_or_default(),
        // Of the two parts only their sum is kept.
        usage: tokens.map(|tokens| Usage { prompt: tokens, completion: 0 }),
        usd: *usd,
        opaque: opaque.as_ref().and_then(|opaque| serde_json::from_value(opaque.clone()).ok()),
    })
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
        let (name, description) = (tool.name().to_owned(), tool.description().to_owned());
        ToolSpec { name, description, schema, strict: tool.strict().clone() }
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
