//! A run as a conversation from which a planner can learn: OpenAI's messages with tools, made from the log.
//!
//! What a language model was told stands in the log, word for word. The playbook was told nothing; its run is written as if
//! a model had planned it, with the prompt that a model gets. Fields that belong to a provider are left out.

use serde_json::{Map, Value, json};
use tunesmith_harness::{
    event::{Event, Kind},
    grade::Grade,
    redact,
    score::{Score, Verdict},
    task::Outcome,
};
use tunesmith_tools::registry;

use crate::{
    model::{ToolSpec, intake},
    planner_loop::specs,
    prompt,
    read_output::ReadOutput,
    show::{self, Share},
    steps,
};

/// Characters of a playbook's result, as a model with a large window is shown.
const RESULT: usize = 6_000;

/// How a run is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How much of the rows may be in it, where the log does not hold what was shown.
    pub share: Share,
    /// Steps that failed or were judged a failure are left out, and turns without a call.
    pub only_good: bool,
    /// Arguments of calls are objects, as transformers' templates want them, and not texts.
    pub objects: bool,
}

/// A run as one row of training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The row: messages, tools, metadata.
    pub row: Value,
    /// Steps in it.
    pub steps: usize,
    /// Steps, and turns without a call, that were left out.
    pub left_out: usize,
}

/// Why a run gives no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The log does not say what the run was to do.
    #[error("its log does not hold what it was to do")]
    NoTask,
    /// No call is left.
    #[error("no step of it is left to learn from")]
    NoSteps,
    /// The lessons cannot be read.
    #[error("the system prompt cannot be made")]
    NoPrompt,
}

/// One reply of the planner and all that answered it.
#[derive(Default)]
struct Turn {
    /// What the user said before it, in the middle of the run.
    instruction: Option<String>,
    text: String,
    calls: Vec<Called>,
    reminders: Vec<String>,
}

/// One call, as far as the log goes.
struct Called {
    step: u32,
    tool: String,
    args: Value,
    returned: Option<steps::Step>,
    told: Option<String>,
}

/// What a run was told and did.
#[derive(Default)]
struct Run {
    brief: Option<(String, String)>,
    turns: Vec<Turn>,
    metadata: Map<String, Value>,
}

/// Writes a run as a conversation.
pub fn of(events: &[Event], options: Options) -> Result<Trace, TraceError> {
    let mut run = Run::default();
    events.iter().for_each(|event| run.take(&event.kind));
    let (system, request, share) = match run.brief.take() {
        Some((system, request)) => {
            let share = if request.ends_with(prompt::PRIVATE) { Share::None } else { Share::Samples };
            (system, request, share)
        }
        None => {
            let system = prompt::system().map_err(|_| TraceError::NoPrompt)?;
            (system, request(events, options.share).ok_or(TraceError::NoTask)?, options.share)
        }
    };
    let mut messages = vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": request})];
    let (mut steps, mut left_out) = (0, 0);
    for turn in &run.turns {
        messages.extend(turn.instruction.iter().map(|text| json!({"role": "user", "content": text})));
        let kept: Vec<&Called> = turn.calls.iter().filter(|call| call.may_stay(options)).collect();
        left_out += turn.calls.len() - kept.len();
        if turn.calls.is_empty() && !turn.reminders.is_empty() {
            match options.only_good {
                true => left_out += 1,
                false => messages.extend(turn.talk()),
            }
        }
        steps += kept.len();
        if !kept.is_empty() {
            messages.extend(turn.work(&kept, share, options));
        }
    }
    if steps == 0 {
        return Err(TraceError::NoSteps);
    }
    // What is learnt are replies, so it ends with one.
    while messages.last().is_some_and(|message| message["role"] != "assistant") {
        messages.pop();
    }
    let tools: Vec<Value> = tools(&run.turns, share).iter().map(tool).collect();
    run.metadata.insert("steps".into(), steps.into());
    run.metadata.insert("left_out".into(), left_out.into());
    let row = json!({"messages": messages, "tools": tools, "metadata": run.metadata});
    Ok(Trace { row: redact::value(row), steps, left_out })
}

impl Run {
    fn take(&mut self, kind: &Kind) {
        match kind {
            Kind::Started { task, planner, version, .. } => {
                self.metadata.insert("planner".into(), planner.as_str().into());
                self.metadata.insert("version".into(), version.as_str().into());
                self.metadata.insert("seed".into(), task.seed.into());
            }
            Kind::Briefed { system, request } => self.brief = Some((system.clone(), request.clone())),
            Kind::Instructed { text } => {
                self.turns.push(Turn { instruction: Some(text.clone()), ..Turn::default() });
            }
            Kind::Said { text, .. } => self.turns.push(Turn { text: text.clone(), ..Turn::default() }),
            Kind::Called { step, tool, args, .. } => {
                // The playbook looks at each result before it calls again.
                if self.brief.is_none() && self.turns.last().is_some_and(|turn| !turn.calls.is_empty()) {
                    self.turns.push(Turn::default());
                }
                let (step, tool, args) = (*step, tool.clone(), args.clone());
                self.turn().calls.push(Called { step, tool, args, returned: None, told: None });
            }
            Kind::Returned { step, ok, output, fault, .. } => {
                let result = if *ok { Ok(output.clone()) } else { Err(steps::recalled_error(output, *fault)) };
                let returned = steps::Step { number: *step, result, scores: Vec::new(), edited: None };
                if let Some(call) = self.call(*step) {
                    call.returned = Some(returned);
                }
            }
            Kind::Told { step: Some(step), content } => {
                if let Some(call) = self.call(*step) {
                    call.told = Some(content.clone());
                }
            }
            Kind::Told { step: None, content } => self.turn().reminders.push(content.clone()),
            Kind::Scored { step: Some(step), score } => {
                if let Some(returned) = self.call(*step).and_then(|call| call.returned.as_mut()) {
                    returned.scores.push(score.clone());
                }
            }
            Kind::Graded { grade, .. } => self.grade(grade),
            Kind::Ended { outcome, .. } => self.end(*outcome),
            _ => {}
        }
    }

    /// The turn that goes on. The playbook says nothing before most of its calls.
    fn turn(&mut self) -> &mut Turn {
        if self.turns.is_empty() {
            self.turns.push(Turn::default());
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn call(&mut self, step: u32) -> Option<&mut Called> {
        self.turns.iter_mut().rev().flat_map(|turn| turn.calls.iter_mut()).find(|call| call.step == step)
    }

    fn grade(&mut self, grade: &Grade) {
        self.metadata.insert("metric".into(), grade.metric.as_str().into());
        self.metadata.insert("base".into(), grade.base.value.into());
        self.metadata.insert("tuned".into(), grade.tuned.as_ref().map(|tuned| tuned.value).into());
    }

    fn end(&mut self, outcome: Outcome) {
        self.metadata.insert("outcome".into(), serde_json::to_value(outcome).unwrap_or_default());
    }
}

impl Called {
    /// Whether it is part of the row: a call without an answer never is.
    fn may_stay(&self, options: Options) -> bool {
        let failed = |score: &Score| score.verdict == Verdict::Fail;
        let good = |step: &steps::Step| step.result.is_ok() && !step.scores.iter().any(failed);
        self.returned.as_ref().is_some_and(|step| !options.only_good || good(step))
    }

    /// Nine letters and digits, because some templates take no other id.
    fn id(&self) -> String {
        format!("call{:05}", self.step)
    }

    fn content(&self, share: Share) -> String {
        let shown = || self.returned.as_ref().map(|step| show::result(step, share, None, RESULT).content);
        self.told.clone().or_else(shown).unwrap_or_default()
    }
}

impl Turn {
    /// A turn without a call, and what it was answered.
    fn talk(&self) -> Vec<Value> {
        let said = (!self.text.is_empty()).then(|| json!({"role": "assistant", "content": self.text}));
        let reminders = self.reminders.iter().map(|text| json!({"role": "user", "content": text}));
        said.into_iter().chain(reminders).collect()
    }

    /// A turn with these of its calls, and their results.
    fn work(&self, kept: &[&Called], share: Share, options: Options) -> Vec<Value> {
        let names: Vec<&str> = self.calls.iter().map(|call| call.tool.as_str()).collect();
        // Calls that were written as text are no text once they are calls.
        let (text, _) = intake::calls_in_text(&self.text, &names);
        let call = |call: &&Called| {
            let args = match &call.args {
                Value::Object(_) => call.args.clone(),
                other => json!({"not_json": other}),
            };
            let arguments = if options.objects { args } else { args.to_string().into() };
            json!({"id": call.id(), "type": "function", "function": {"name": call.tool, "arguments": arguments}})
        };
        let calls: Vec<Value> = kept.iter().map(call).collect();
        let said = json!({"role": "assistant", "content": text, "tool_calls": calls});
        let result = |call: &&Called| json!({"role": "tool", "tool_call_id": call.id(), "name": call.tool, "content": call.content(share)});
        [said].into_iter().chain(kept.iter().map(result)).collect()
    }
}

/// The request of a run that no model planned, as a model would have been told.
fn request(events: &[Event], share: Share) -> Option<String> {
    let (task, rows) = events.iter().find_map(|event| match &event.kind {
        Kind::Started { task, rows, .. } => Some((task, *rows)),
        _ => None,
    })?;
    let base = events.iter().find_map(|event| match &event.kind {
        Kind::Scoped { scope } => Some(scope.base.as_str()),
        _ => None,
    });
    let columns: Vec<String> = events.iter().find_map(columns).unwrap_or_default();
    let dataset = prompt::Dataset { path: "data/train.jsonl", rows, columns: &columns, samples: &[] };
    Some(prompt::request(task, base.or(task.base.as_deref()).unwrap_or("nano"), &dataset, share))
}

/// The columns that a look at the data found.
fn columns(event: &Event) -> Option<Vec<String>> {
    let Kind::Returned { tool, ok: true, output, .. } = &event.kind else { return None };
    let columns = output.get("columns").filter(|_| tool == "data_inspect")?.as_array()?;
    Some(columns.iter().filter_map(|column| Some(column.get("name")?.as_str()?.to_owned())).collect())
}

/// The tools that were offered, as far as this version knows them.
fn tools(turns: &[Turn], share: Share) -> Vec<ToolSpec> {
    let registry = registry::all();
    let read_output = registry::typed(ReadOutput { dir: Default::default(), part: RESULT });
    let read = turns.iter().flat_map(|turn| &turn.calls).any(|call| call.tool == read_output.name());
    let offered = registry.iter().filter(|tool| share.offers(tool.name()));
    let read = read.then_some(&*read_output);
    specs(&offered.chain(read).collect::<Vec<_>>())
}

fn tool(spec: &ToolSpec) -> Value {
    let function = json!({"name": spec.name, "description": spec.description, "parameters": spec.schema});
    json!({"type": "function", "function": function})
}

#[cfg(test)]
mod tests;
