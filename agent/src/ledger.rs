//! The state of a run, made from its log: what a planner must know whatever has left the conversation.

use serde_json::Value;
use tunesmith_harness::{
    budget::{Budget, Spend},
    event::{Capability, Kind},
    redact::redacted,
    task::Scope,
    text::truncate_middle,
};

use crate::{measured::Measurement, show::Share};

/// Lines of steps that are kept of a long run, the last ones.
const LINES: usize = 10;
/// Characters of one line.
const LINE: usize = 160;

/// What a log says of where the run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// What is to be reached.
    pub request: String,
    /// The frozen scope, with its amendments.
    pub scope: Option<Scope>,
    /// The planner's own plan.
    pub plan: Vec<String>,
    /// One line for each step that came to something, with its number.
    pub steps: Vec<(u32, String)>,
    /// The best measurement of a trained model, with its step.
    pub best: Option<(u32, Measurement)>,
    /// What the user said in the middle of the run.
    pub instructions: Vec<String>,
    /// What was decided on, and by whom.
    pub decisions: Vec<String>,
    /// The last failure of each tool that has not succeeded since.
    pub open: Vec<(String, String)>,
    /// Steps that were begun.
    pub taken: u32,
}

/// Of each tool, the arguments and the parts of its output that stay worth knowing.
const FIGURES: [(&str, &[&str], &[&str]); 6] = [
    ("data_prepare", &[], &["/train", "/valid", "/max_length"]),
    ("data_make", &[], &["/path", "/rows"]),
    (
        "train",
        &["epochs", "max_steps", "learning_rate", "r", "weight_decay"],
        &["/adapter", "/stopped", "/best_step", "/valid_loss", "/valid_exact"],
    ),
    ("evaluate", &["adapter"], &["/metric", "/value", "/n", "/format_failures"]),
    ("convert", &["adapter", "to", "quant"], &["/path"]),
    ("generate", &["adapter"], &[]),
];

impl Ledger {
    /// What these events come to.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Kind>, share: Share) -> Self {
        let (mut ledger, mut args) = (Ledger::default(), Value::Null);
        for event in events {
            ledger.take(event, &mut args, share);
        }
        ledger
    }

    fn take(&mut self, event: &Kind, args: &mut Value, share: Share) {
        match event {
            Kind::Started { task, .. } => self.request = task.request.clone(),
            Kind::Scoped { scope } => self.scope = Some(scope.clone()),
            Kind::Amended { field, from, to, reason } => {
                self.decide(format!("{field} changed from {from} to {to}: {reason}"));
                let changed = self.scope.as_ref().and_then(|scope| {
                    let mut value = serde_json::to_value(scope).ok()?;
                    *value.get_mut(field)? = to.clone();
                    serde_json::from_value(value).ok()
                });
                self.scope = changed.or(self.scope.take());
            }
            // That it may plan is no news to a planner, and names a directory that is another one in each run.
            Kind::Approved { capability: Capability::Plan, granted: true, .. } => {}
            Kind::Approved { what, granted, reason, .. } => {
                let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                self.decide(format!("{what}: {}{reason}", if *granted { "allowed" } else { "refused" }));
            }
            Kind::Instructed { text } => self.instructions.push(truncate_middle(text, 3 * LINE).into_owned()),
            Kind::Guarded { guard, why } => self.decide(format!("warned ({guard}): {why}")),
            Kind::Called { step, args: given, .. } => {
                self.taken = *step;
                *args = given.clone();
            }
            Kind::Returned { step, tool, ok, output, .. } => self.returned(*step, (tool, args), (*ok, output), share),
            _ => {}
        }
    }

    fn decide(&mut self, line: String) {
        self.decisions.push(truncate_middle(&line, LINE).into_owned());
    }

    fn returned(&mut self, step: u32, (tool, args): (&str, &Value), (ok, output): (bool, &Value), share: Share) {
        self.open.retain(|(open, _)| open != tool);
        if !ok {
            let why = share.quoted(output.as_str().unwrap_or_default());
            let line = format!("step {step} {tool} failed: {why}");
            self.open.push((tool.to_owned(), truncate_middle(&line, LINE).into_owned()));
            return;
        }
        if tool == "plan" {
            let steps = args.get("steps").and_then(Value::as_array).into_iter().flatten();
            self.plan = steps.filter_map(|step| Some(truncate_middle(step.as_str()?, 100).into_owned())).collect();
        }
        let (given, found) = FIGURES.iter().find(|row| row.0 == tool).map_or((&[][..], &[][..]), |row| (row.1, row.2));
        let given = given.iter().filter_map(|name| Some((*name, args.get(name)?)));
        let found = found.iter().filter_map(|at| Some((at.rsplit('/').next()?, output.pointer(at)?)));
        let parts: Vec<String> = given.chain(found).filter_map(|(name, value)| said(name, value)).collect();
        let line = format!("{step} {tool} {}", parts.join(", "));
        self.steps.push((step, truncate_middle(line.trim_end(), LINE).into_owned()));
        if let ("evaluate", Some(measured)) = (tool, Measurement::of(args, output))
            && measured.replaces(self.best.as_ref().map(|best| &best.1))
        {
            self.best = Some((step, measured));
        }
    }

    /// The state in words, with what is left of the budget; at most about four thousand characters.
    pub fn text(&self, left: &str) -> String {
        let mut lines = vec!["State of the run, from its log:".to_owned()];
        if let Some(scope) = &self.scope {
            let kind = crate::playbook::name(scope.kind);
            let line = format!(
                "scope (frozen): {kind} from {:?} to {:?}, base {}, {}, at most {} tokens, {}",
                scope.input, scope.target, scope.base, scope.method, scope.max_length, scope.metric
            );
            lines.push(truncate_middle(&line, 3 * LINE).into_owned());
        }
        if !self.plan.is_empty() {
            lines.push(truncate_middle(&format!("plan: {}", self.plan.join("; ")), 3 * LINE).into_owned());
        }
        lines.extend(self.instructions.iter().rev().take(3).rev().map(|text| format!("the user said: {text}")));
        let (old, new) = self.steps.split_at(self.steps.len().saturating_sub(LINES));
        if !old.is_empty() {
            let best = self.best.as_ref().map(|best| best.0);
            let base = old.iter().rev().find(|line| is_base(&line.1)).map(|line| line.0);
            let kept = |line: &&(u32, String)| Some(line.0) == best || Some(line.0) == base;
            lines.push(format!("{} earlier steps worked, of them:", old.len()));
            lines.extend(old.iter().filter(kept).map(|line| line.1.clone()));
        }
        lines.extend(new.iter().map(|line| line.1.clone()));
        if let Some((step, Measurement { adapter, value, .. })) = &self.best {
            lines.push(format!("best so far: {adapter} with {} (step {step})", figure(*value)));
        }
        lines.extend(self.decisions.iter().rev().take(4).rev().map(|line| format!("decided: {line}")));
        lines.extend(self.open.iter().rev().take(3).rev().map(|(_, line)| format!("open: {line}")));
        lines.push(format!("{} steps taken{left}", self.taken));
        redacted(&lines.join("\n")).into_owned()
    }
}

/// Whether a line is the measurement of the base, which every gain is counted from.
fn is_base(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("evaluate ") && !rest.contains("adapter "))
}

/// A field in a few words; nothing where it holds nothing.
fn said(name: &str, value: &Value) -> Option<String> {
    let value = match value {
        Value::Null => return None,
        Value::String(text) => truncate_middle(text, 60).into_owned(),
        Value::Number(number) if number.is_f64() => figure(number.as_f64()?),
        Value::Object(_) => return None,
        other => truncate_middle(&other.to_string(), 60).into_owned(),
    };
    Some(format!("{name} {value}"))
}

/// A number with as many digits as tell it from others.
fn figure(value: f64) -> String {
    if value == 0.0 || (0.001..1e6).contains(&value.abs()) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.2e}")
    }
}

/// What is left of a budget, in words that follow others; empty where nothing is limited.
pub fn left(budget: &Budget, minutes: Option<u64>) -> String {
    let (caps, Spend { steps, tokens, usd }) = (budget.caps(), budget.spent());
    let mut left = Vec::new();
    left.extend(caps.steps.map(|most| format!("{} steps", most.saturating_sub(steps))));
    left.extend(minutes.map(|minutes| format!("{minutes} minutes")));
    left.extend(caps.tokens.zip(tokens).map(|(most, used)| format!("{} tokens", most.saturating_sub(used))));
    left.extend(caps.usd.zip(usd).map(|(most, used)| format!("${:.2}", (most - used).max(0.0))));
    if left.is_empty() { String::new() } else { format!("; left: {}", left.join(", ")) }
}

#[cfg(test)]
mod tests;
