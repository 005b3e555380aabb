//! One step: a call is logged, made, logged again with its result, and judged. Both planners take their steps here.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, timeout};
use tunesmith_harness::{
    budget::{Budget, Spend},
    event::{Capability, Cost, Fault, JobRecord, Kind},
    log::LogError,
    score::Score,
    task::Scope,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    confined,
    hub::Hub,
    hub_search::HubSearch,
    shell::Shell,
    tool::{AnyTool, Cx, FieldError, JobEnd, Progress, Tool, ToolError},
};

use crate::{
    approvals::{self, Decide, Flag, Proposal, Told, Verdict},
    hub,
};

/// Receives every event as it happens: the log, perhaps with a terminal beside it.
///
/// A run that goes on does all that it did before once more, without doing it: what the log holds already is recalled
/// instead of made, in the order in which it happened.
pub trait Journal: Send {
    /// Takes one event. Of a run that goes on it must be the next one of the log, as long as there is one.
    fn record(&mut self, kind: Kind) -> Result<(), LogError>;
    /// Makes everything taken so far survive a crash; called after each finished step.
    fn sync(&mut self) -> Result<(), LogError>;
    /// The events up to now.
    fn past(&self) -> &[Kind];
    /// The next event of the log of a run that goes on; `None` once all is recalled.
    fn next(&self) -> Option<&Kind> {
        None
    }
    /// How many of the past events another process wrote. Their results are taken as they are, but a directory may come from
    /// anywhere, so that their decisions grant nothing that is still to be done.
    fn inherited(&self) -> usize {
        0
    }
    /// Goes past the next event, because it has happened.
    fn skip(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// What is recalled of a step that was made before.
#[derive(Debug, Default)]
struct Recalled {
    /// Whether a change of the scope was allowed.
    amends: Option<Verdict>,
    /// What the call came to; `None` where it was interrupted.
    result: Option<Result<Value, ToolError>>,
}

/// Reads the scope out of a successful `plan`'s output; an error refuses the plan.
pub type ScopeOf<'a> = dyn Fn(&Value) -> Result<Option<Scope>, ToolError> + Send + Sync + 'a;

/// How long a tool may take to stop by itself at the deadline, which it knows; less where the run has not much longer.
const GRACE: Duration = Duration::from_secs(5);
/// How long it may take once it was told to, and then it is left alone.
const DYING: Duration = Duration::from_secs(1);

/// Both.
pub const STOPPING: Duration = Duration::from_secs(6);

/// Takes steps, counts them, and keeps the scope frozen.
pub struct Steps<'a> {
    tools: Vec<&'a dyn AnyTool>,
    cx: &'a Cx<'a>,
    scope_of: &'a ScopeOf<'a>,
    may_amend: bool,
    scope: Option<Scope>,
    taken: u32,
    deadline: Option<std::time::Instant>,
    budget: Option<&'a Budget>,
    decide: &'a dyn Decide,
}

/// What a step came to.
#[derive(Debug)]
pub struct Step {
    /// Its number, from 1.
    pub number: u32,
    /// The output, or why there is none.
    pub result: Result<Value, ToolError>,
    /// What its scorers say.
    pub scores: Vec<Score>,
    /// The arguments that a person put in place of the planner's.
    pub edited: Option<Value>,
}

/// A call to make.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The call's id.
    pub id: &'a str,
    /// The tool.
    pub tool: &'a str,
    /// The arguments; `Err` holds the text that is not JSON and what is wrong with it.
    pub args: Result<&'a Value, (&'a str, &'a str)>,
}

impl<'a> Steps<'a> {
    /// Steps with `tools`. `may_amend` says whether a later `plan` may change the scope (`--allow scope`).
    pub fn new(tools: Vec<&'a dyn AnyTool>, cx: &'a Cx<'a>, scope_of: &'a ScopeOf<'a>, may_amend: bool) -> Self {
        Steps {
            tools,
            cx,
            scope_of,
            may_amend,
            scope: None,
            taken: 0,
            deadline: cx.deadline,
            budget: None,
            decide: &Flag(false),
        }
    }

    /// Who is asked about what no flag allows.
    pub fn decided_by(self, decide: &'a dyn Decide) -> Self {
        Steps { decide, ..self }
    }

    /// The budget that tools charge when they ask a model.
    pub fn paid_by(self, budget: &'a Budget) -> Self {
        Steps { budget: Some(budget), ..self }
    }

    /// What the tools may use.
    pub fn cx(&self) -> &'a Cx<'a> {
        self.cx
    }

    /// When the steps from now on must have ended, in place of the context's deadline.
    pub fn end_by(&mut self, deadline: Option<std::time::Instant>) {
        self.deadline = deadline;
    }

    /// How many steps were taken.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// The frozen scope, once there is one.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Takes one step. Only a log that cannot be written is an error; a tool's failure is a result.
    pub async fn take(&mut self, asked: Asked<'_>, journal: &mut dyn Journal) -> Result<Step, LogError> {
        self.taken += 1;
        let number = self.taken;
        let (id, tool) = (asked.id.to_owned(), asked.tool.to_owned());
        let args = asked.args.map_or_else(|(raw, _)| Value::from(raw), Value::clone);
        let begun = matches!(journal.next(), Some(Kind::Called { .. }));
        journal.record(Kind::Called { step: number, id, tool, args })?;
        // What waited for a decision had not begun.
        let waited = asked.args.is_ok_and(|args| self.needs(asked.tool, args).is_some())
            && !matches!(journal.next(), Some(Kind::Approved { .. }));
        let allowed = match asked.args {
            Ok(args) => self.allowed(asked.tool, args, journal).await?,
            Err(_) => Ok(Allowed::default()),
        };
        let recalled = if begun { self.recall(journal)? } else { Recalled::default() };
        let known = recalled.result.is_some();
        let edited = allowed.as_ref().ok().and_then(|allowed| allowed.edited.clone());
        let amends = recalled.amends;
        let (result, amended, warnings) = match recalled.result {
            Some(result) => {
                let amended = match &result {
                    Ok(output) if asked.tool == "plan" => self.freeze(output, asked.args.ok(), amends, journal).await?,
                    _ => Ok(Vec::new()),
                };
                (result, amended.unwrap_or_default(), Vec::new())
            }
            None => self.make(asked, (begun && !waited, allowed, amends), journal).await?,
        };
        for event in amended {
            journal.record(event)?;
        }
        let scores = self.scores((number, asked.tool, known), &result, warnings, journal)?;
        journal.sync()?;
        Ok(Step { number, result, scores, edited })
    }

    /// The judgements of a step: those that the log holds, and those that a process which died left to be made.
    fn scores(
        &self,
        (number, tool, known): (u32, &str, bool),
        result: &Result<Value, ToolError>,
        warnings: Vec<Score>,
        journal: &mut dyn Journal,
    ) -> Result<Vec<Score>, LogError> {
        let mut scores = Vec::new();
        while let Some(Kind::Scored { step: Some(_), score }) = journal.next() {
            scores.push(score.clone());
            journal.skip()?;
        }
        if known && journal.next().is_some() {
            return Ok(scores);
        }
        let judged = match (result, self.find(tool)) {
            (Ok(output), Some(tool)) => tool.scores(output, self.cx.dir),
            _ => Vec::new(),
        };
        let left: Vec<Score> = judged.into_iter().chain(warnings).skip(scores.len()).collect();
        for score in left {
            journal.record(Kind::Scored { step: Some(number), score: score.clone() })?;
            scores.push(score);
        }
        Ok(scores)
    }

    /// What the log holds of the step that was just called, from its approval on.
    fn recall(&self, journal: &mut dyn Journal) -> Result<Recalled, LogError> {
        let mut recalled = Recalled::default();
        while let Some(Kind::Approved { capability: Capability::Scope, granted, reason, .. }) = journal.next() {
            recalled.amends = Some(if *granted { Verdict::Go(None) } else { Verdict::Stop(reason.clone()) });
            journal.skip()?;
        }
        if approvals::is_open(journal) {
            recalled.amends = None;
        }
        if let Some(Kind::Returned { ok, output, fault, asked, .. }) = journal.next() {
            if let (Some(budget), Some(Cost { tokens, usd })) = (self.budget, asked) {
                budget.book(Spend { steps: 0, tokens: *tokens, usd: *usd });
            }
            recalled.result = Some(if *ok { Ok(output.clone()) } else { Err(recalled_error(output, *fault)) });
            journal.skip()?;
        }
        Ok(recalled)
    }

    /// Makes the call and logs what came of it; `again` where a process died in its middle.
    async fn make(
        &mut self,
        asked: Asked<'_>,
        (again, allowed, amends): (bool, Result<Allowed, ToolError>, Option<Verdict>),
        journal: &mut dyn Journal,
    ) -> Result<(Result<Value, ToolError>, Vec<Kind>, Vec<Score>), LogError> {
        let (began, before) = (Instant::now(), self.budget.map(Budget::spent));
        let (jobs, room) = (Jobs::default(), self.budget.and_then(Budget::room));
        let mut result = match (allowed, asked.args) {
            (Err(denied), _) => Err(denied),
            (Ok(allowed), Ok(args)) => {
                let args = allowed.edited.as_ref().unwrap_or(args);
                self.call(asked.tool, self.as_planned(asked.tool, args), (again, &allowed), (&jobs, room)).await
            }
            (_, Err((_, why))) => Err(malformed(why)),
        };
        let mut amended = Vec::new();
        if let (Ok(output), "plan") = (&result, asked.tool) {
            match self.freeze(output, asked.args.ok(), amends, journal).await? {
                Ok(events) => amended = events,
                Err(denied) => result = Err(denied),
            }
        }
        if let (Ok(output), "data_prepare", Some(scope)) = (&result, asked.tool, &self.scope)
            && let Err(why) = within(scope, asked.args.ok(), output)
        {
            result = Err(ToolError::Failed(why));
        }
        let (jobs, warnings) = jobs.taken();
        if let Some(why) = self.filled(&jobs, room)
            && let Err(ToolError::Resource(_)) = result
        {
            result = Err(ToolError::Limit(why));
        }
        let error = result.as_ref().err();
        journal.record(Kind::Returned {
            step: self.taken,
            id: asked.id.to_owned(),
            tool: asked.tool.to_owned(),
            ok: result.is_ok(),
            output: result.as_ref().map_or_else(|error| Value::from(error.to_string()), Value::clone),
            seconds: began.elapsed().as_secs_f64(),
            jobs,
            fault: error.map(|error| if self.find(asked.tool).is_none() { Fault::Invalid } else { fault(error) }),
            asked: before.zip(self.budget.map(Budget::spent)).and_then(|(before, after)| cost(before, after)),
        })?;
        Ok((result, amended, warnings))
    }

    /// Books the disk space after a step; the result says so where its jobs were ended for passing the `room` of the run.
    fn filled(&self, jobs: &[JobRecord], room: Option<u64>) -> Option<String> {
        let (budget, room) = self.budget.zip(room)?;
        let passed = |job: &&JobRecord| job.ended == serde_json::json!({"limit": "disk"});
        let most = jobs.iter().filter(passed).filter_map(|job| job.disk_bytes).max();
        let more = most.map_or(0, |most| most.saturating_sub(room));
        budget.fill(more);
        if more > 0 { budget.exceeded(std::time::Instant::now()) } else { None }
    }

    /// The plan's length is the default for preparing the data.
    fn as_planned(&self, tool: &str, args: &Value) -> Value {
        let mut args = args.clone();
        if let ("data_prepare", Some(scope), Some(given)) = (tool, &self.scope, args.as_object_mut()) {
            given.entry("max_length").or_insert(scope.max_length.into());
        }
        args
    }

    fn find(&self, name: &str) -> Option<&'a dyn AnyTool> {
        self.tools.iter().copied().find(|tool| tool.name() == name)
    }

    /// Calls the tool with a stop of its own, raised by the user's cancel and by the run's deadline.
    async fn call(
        &self,
        name: &str,
        args: Value,
        (again, allowed): (bool, &Allowed),
        (ended, room): (&Jobs, Option<u64>),
    ) -> Result<Value, ToolError> {
        let Some(tool) = self.find(name) else {
            let known: Vec<&str> = self.tools.iter().map(|tool| tool.name()).collect();
            return Err(ToolError::Failed(format!("there is no tool {name:?}; there are: {}", known.join(", "))));
        };
        let stop = Cancel::default();
        let on = |progress: Progress| ended.pass(progress, self.cx.on);
        let bounded = room.map(|room| self.cx.jobs.clone().with_room(room));
        let jobs = bounded.as_ref().unwrap_or(self.cx.jobs);
        let hosts: Vec<String> = self.cx.hosts.iter().chain(&allowed.hosts).cloned().collect();
        let hub = self.cx.hub.or(allowed.hub.as_ref());
        let cx = Cx { cancel: stop.clone(), deadline: self.deadline, on: &on, hosts: &hosts, hub, jobs, ..*self.cx };
        let (grace, dying) = self.patience();
        let mut call = if again { tool.call_again(&cx, args) } else { tool.call(&cx, args) };
        let stopped = tokio::select! {
            biased;
            result = &mut call => return result,
            () = self.cx.cancel.cancelled() => ToolError::Cancelled,
            () = until(self.deadline.map(|deadline| deadline + grace)) => ToolError::Limit("the run's time is up".into()),
        };
        stop.cancel();
        match timeout(dying, call).await {
            // What was finished all the same is kept.
            Ok(Ok(output)) => Ok(output),
            Ok(Err(ToolError::Cancelled)) | Err(_) => Err(stopped),
            Ok(Err(error)) => Err(error),
        }
    }

    /// What a tool may take to stop by itself at the deadline, and once it was told to: together at most half of what is left
    /// of the run then.
    fn patience(&self) -> (Duration, Duration) {
        let rest = self.budget.and_then(Budget::deadline).zip(self.deadline);
        let most = rest.map_or(GRACE, |(all, steps)| all.saturating_duration_since(steps) / 4);
        (GRACE.min(most), DYING.min(most))
    }

    /// What a call needs that someone must allow, and the hosts of it that `--allow` does not name; `None` where it needs
    /// nothing.
    fn needs(&self, tool: &str, args: &Value) -> Option<(String, Vec<String>, bool)> {
        match self.find(tool)?.name() {
            HubSearch::NAME => Some(("search the Hub".to_owned(), vec![hub::host()], self.cx.hub.is_some())),
            Shell::NAME => {
                let hosts: Vec<&str> = args.get("hosts")?.as_array()?.iter().filter_map(Value::as_str).collect();
                let what = (!hosts.is_empty()).then(|| format!("reach {}", hosts.join(", ")))?;
                let missing = |host: &&&str| !tunesmith_sandbox::allows(self.cx.hosts, host);
                let missing: Vec<String> = hosts.iter().filter(missing).map(|host| (*host).to_owned()).collect();
                let granted = missing.is_empty();
                Some((what, missing, granted))
            }
            _ => None,
        }
    }

    /// Whether a call may reach the network, and what it is given for that; the error is what the planner hears.
    async fn allowed(
        &self,
        tool: &str,
        args: &Value,
        journal: &mut dyn Journal,
    ) -> Result<Result<Allowed, ToolError>, LogError> {
        let Some((what, hosts, granted)) = self.needs(tool, args) else { return Ok(Ok(Allowed::default())) };
        let flag = hosts.first().map(|host| format!("--allow network:{host}"));
        let call = Some((tool.to_owned(), args.clone()));
        let proposal = Proposal { what, capability: Capability::Network, call, flag };
        let decide: &dyn Decide = if granted { &Flag(true) } else { self.decide };
        match approvals::decided(Some(self.taken), proposal, decide, journal).await? {
            Verdict::Go(edited) => {
                let hosts = edited.as_ref().and_then(|args| self.needs(tool, args)).map_or(hosts, |needs| needs.1);
                let hub = (tool == HubSearch::NAME && self.cx.hub.is_none()).then(hub::open).transpose();
                Ok(match hub {
                    Ok(hub) => Ok(Allowed { edited, hosts, hub }),
                    Err(error) => Err(ToolError::Failed(error.to_string())),
                })
            }
            Verdict::Stop(Some(reason)) => Ok(Err(ToolError::Denied(format!("the user refused: {reason}")))),
            // The tool itself knows best what would have allowed it.
            Verdict::Stop(None) => Ok(Ok(Allowed::default())),
        }
    }

    /// The first plan freezes the scope; a later one may not change it unless someone allows that.
    async fn freeze(
        &mut self,
        output: &Value,
        args: Option<&Value>,
        amends: Option<Verdict>,
        journal: &mut dyn Journal,
    ) -> Result<Result<Vec<Kind>, ToolError>, LogError> {
        let new = match (self.scope_of)(output) {
            Ok(Some(new)) => new,
            Ok(None) => return Ok(Ok(Vec::new())),
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(old) = &self.scope else {
            self.scope = Some(new.clone());
            return Ok(Ok(vec![Kind::Scoped { scope: new }]));
        };
        let changes = changes(old, &new);
        if changes.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let fields: Vec<&str> = changes.iter().map(|(field, ..)| field.as_str()).collect();
        let fields = fields.join(", ");
        let reason = args.and_then(|args| args.get("reason")?.as_str()).unwrap_or("no reason given").to_owned();
        let each = changes.iter().map(|(field, from, to)| format!("{field} from {from} to {to}"));
        let shown = format!("{} ({reason})", each.collect::<Vec<_>>().join(", "));
        let proposal = Proposal {
            what: format!("change {fields}"),
            capability: Capability::Scope,
            call: None,
            flag: Some("--allow scope".to_owned()),
        };
        // A person is shown the values; the log has them in the amendment.
        let person = Told { decide: self.decide, what: format!("change {shown}") };
        let decide: &dyn Decide = if self.may_amend { &Flag(true) } else { &person };
        let verdict = match amends {
            Some(known) => known,
            None => approvals::decided(Some(self.taken), proposal, decide, journal).await?,
        };
        if let Verdict::Stop(reason) = verdict {
            let why = match reason {
                Some(reason) => format!("the user refused to change {fields}: {reason}"),
                None => format!("the scope is frozen and this plan changes {fields}; that needs --allow scope"),
            };
            return Ok(Err(ToolError::Denied(why)));
        }
        self.scope = Some(new);
        let event = |(field, from, to)| Kind::Amended { field, from, to, reason: reason.clone() };
        Ok(Ok(changes.into_iter().map(event).collect()))
    }
}

/// What a call is given because someone allowed it.
#[derive(Default)]
struct Allowed {
    /// The arguments that a person put in place of the planner's.
    edited: Option<Value>,
    /// Hosts beside those of the run.
    hosts: Vec<String>,
    /// The Hub, where the run has none.
    hub: Option<Hub>,
}

/// The sandboxed jobs of a step, gathered from what is told of their ends.
#[derive(Default)]
pub struct Jobs(Mutex<Vec<JobEnd>>);

impl Jobs {
    /// Takes note of a job that has ended, and passes all on.
    pub fn pass(&self, progress: Progress, on: &(dyn Fn(Progress) + Send + Sync)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(progress.job.clone());
        on(progress);
    }

    /// What the log keeps of them, and its warnings of those that ran under less than the run declares.
    pub fn taken(&self) -> (Vec<JobRecord>, Vec<Score>) {
        let ends = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let degraded: BTreeSet<String> = ends.iter().filter_map(|end| end.degraded.clone()).collect();
        (ends.into_iter().map(|end| end.record).collect(), degraded.into_iter().map(confined::warning).collect())
    }
}

/// Whether data was prepared as the plan says. The grader checks the same again; here the planner can still mend it.
fn within(scope: &Scope, args: Option<&Value>, output: &Value) -> Result<(), String> {
    let text = |field: &str| args.and_then(|args| args.get(field)?.as_str());
    let planned = serde_json::to_value(scope).unwrap_or_default();
    for field in ["kind", "input", "target", "answer_after"] {
        let planned = planned.get(field).and_then(Value::as_str);
        if text(field) != planned {
            let said = |value: Option<&str>| value.map_or("none".into(), |value| format!("{value:?}"));
            let (planned, asked) = (said(planned), said(text(field)));
            return Err(format!("the plan says {field} {planned}, not {asked}; prepare the data again as planned"));
        }
    }
    match output.get("max_length").and_then(Value::as_u64) {
        Some(length) if length > scope.max_length as u64 => Err(format!(
            "the plan says examples of at most {0} tokens, not {length}; prepare the data again with max_length {0}",
            scope.max_length
        )),
        _ => Ok(()),
    }
}

/// Resolves at the deadline, or never.
pub async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(Instant::from_std(deadline)).await,
        None => std::future::pending().await,
    }
}

fn fault(error: &ToolError) -> Fault {
    match error {
        ToolError::Invalid(_) => Fault::Invalid,
        ToolError::Denied(_) => Fault::Denied,
        ToolError::Failed(_) => Fault::Failed,
        ToolError::Limit(_) => Fault::Limit,
        ToolError::Resource(_) => Fault::Resource,
        ToolError::Cancelled => Fault::Cancelled,
    }
}

/// What was spent between two looks at the budget; `None` where nothing was.
fn cost(before: Spend, after: Spend) -> Option<Cost> {
    let tokens = before.tokens.zip(after.tokens).map(|(before, after)| after.saturating_sub(before));
    let usd = before.usd.zip(after.usd).map(|(before, after)| after - before);
    (before != after).then_some(Cost { tokens, usd })
}

/// The error of a step as the log holds it. Its words are the same; what else there was of it has been dealt with.
pub(crate) fn recalled_error(output: &Value, fault: Option<Fault>) -> ToolError {
    let text = output.as_str().unwrap_or_default();
    let without = |words: &str| text.strip_prefix(words).unwrap_or(text).to_owned();
    match fault {
        Some(Fault::Invalid) if text.starts_with(INVALID) => {
            ToolError::Invalid(vec![FieldError { pointer: String::new(), message: without(INVALID) }])
        }
        Some(Fault::Denied) => ToolError::Denied(without("not allowed: ")),
        Some(Fault::Limit) => ToolError::Limit(without("stopped by a limit: ")),
        Some(Fault::Resource) => ToolError::Resource(text.to_owned()),
        Some(Fault::Cancelled) => ToolError::Cancelled,
        Some(Fault::Invalid | Fault::Failed) | None => ToolError::Failed(text.to_owned()),
    }
}

/// How the words of arguments that do not fit begin.
const INVALID: &str = "invalid arguments: ";

fn malformed(why: &str) -> ToolError {
    let message = format!("{why}; send one JSON object that fits the tool's schema");
    ToolError::Invalid(vec![FieldError { pointer: String::new(), message }])
}

/// The fields in which two scopes differ, with both values.
fn changes(old: &Scope, new: &Scope) -> Vec<(String, Value, Value)> {
    let fields = |scope: &Scope| match serde_json::to_value(scope) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let mut new = fields(new);
    let old = fields(old).into_iter();
    old.filter_map(|(field, from)| {
        let to = new.remove(&field)?;
        (from != to).then_some((field, from, to))
    })
    .collect()
}
