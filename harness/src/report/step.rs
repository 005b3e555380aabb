//! One step of a run, judged without a model: was it valid, what did it change, what did it cost, what did it touch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Approver, Capability, Cost, Fault, JobRecord},
    figures::{bytes, duration, percent},
    grade::less_is_better,
    score::{Score, Verdict},
    text::truncate_middle,
};

/// Longest reason in the line of a step, in characters.
const WHY: usize = 160;

/// One tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, from 1.
    pub step: u32,
    /// The tool.
    pub tool: String,
    /// Whether it succeeded; null when it never returned.
    pub ok: Option<bool>,
    /// Whether tool and arguments were ones that there are; null where the log does not say.
    #[serde(default)]
    pub valid: Option<bool>,
    /// Why it did not succeed, by kind.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// The worst verdict: `fail` where the call failed, `unknown` where nobody judged it.
    pub verdict: Verdict,
    /// Its judgements.
    pub scores: Vec<Score>,
    /// The run's metric as this step measured it; null where it did not.
    #[serde(default)]
    pub metric: Option<Change>,
    /// The validation loss as this step left it; null where it did not train.
    #[serde(default)]
    pub loss: Option<Change>,
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
    /// What it took besides time.
    #[serde(default)]
    pub cost: StepCost,
    /// The rules that it touched.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// The error of a failed call, in one line.
    pub error: Option<String>,
    /// What its sandboxed jobs took.
    #[serde(default)]
    pub jobs: Vec<JobRecord>,
}

/// A figure of a step beside the best of the steps before it on the same rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What was measured, for example `accuracy` or `validation loss`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its 95 % interval, where it has one.
    pub interval: Option<(f64, f64)>,
    /// The best before; null for the first.
    pub best_before: Option<f64>,
    /// The figure minus the best before.
    pub difference: Option<f64>,
    /// Whether less is better.
    pub less_is_better: bool,
}

/// What a step took. What is not known is null, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    /// Seconds of processors of all its jobs.
    pub cpu_seconds: Option<f64>,
    /// Most memory of one of its jobs, in bytes.
    pub memory_bytes: Option<u64>,
    /// Tokens of the replies since the step before; a reply's first call carries all of them.
    pub tokens: Option<u64>,
    /// Dollars of these replies.
    pub usd: Option<f64>,
}

/// A rule of the run that a step touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Policy {
    /// It used the network.
    Network {
        /// The hosts that it named.
        hosts: Vec<String>,
    },
    /// It asked for hosts that it may not reach.
    Unreached {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// It needed an approval.
    Approval {
        /// For what.
        capability: Capability,
        /// Who decided.
        by: Approver,
        /// Whether it was given.
        granted: bool,
    },
    /// It asked for what the run does not allow.
    Denied,
    /// A limit of the step or the run ended it.
    Limited,
    /// It changed the frozen scope, with approval.
    Amended {
        /// The field.
        field: String,
    },
    /// A guard of the loop fired after it.
    Guarded {
        /// The guard.
        guard: String,
    },
    /// A job of it was confined less than the run declares.
    Degraded,
}

impl Step {
    /// The verdict in a word.
    pub fn word(&self) -> &'static str {
        match (self.ok, self.scores.is_empty(), self.verdict) {
            (None, ..) => "not finished",
            (Some(true), true, _) => "not judged",
            (_, _, verdict) => verdict.word(),
        }
    }

    /// What it changed on the run's metric, or on the validation loss.
    pub fn change(&self) -> Option<String> {
        self.metric.as_ref().or(self.loss.as_ref()).map(Change::text)
    }

    /// What it took, as far as that is known.
    pub fn took(&self) -> String {
        let StepCost { cpu_seconds, memory_bytes, tokens, usd } = &self.cost;
        let mut parts: Vec<String> = self.seconds.map(duration).into_iter().collect();
        parts.extend(cpu_seconds.map(|seconds| format!("CPU {}", duration(seconds))));
        parts.extend(memory_bytes.map(bytes));
        // What the playbook spends on replies is nothing, which needs no words.
        parts.extend(tokens.filter(|tokens| *tokens > 0).map(|tokens| format!("{tokens} tokens")));
        parts.extend(usd.filter(|usd| *usd > 0.0).map(|usd| format!("{usd:.4} USD")));
        parts.join(", ")
    }

    /// The judgements that are not a pass.
    pub fn doubts(&self) -> impl Iterator<Item = &Score> {
        self.scores.iter().filter(|score| score.verdict != Verdict::Pass)
    }

    /// What needs attention: the error, judgements that are not a pass with their reasons, and rules that it touched.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.valid == Some(false) {
            notes.push("invalid call".to_owned());
        }
        notes.extend(self.error.clone());
        notes.extend(
            self.doubts().map(|score| {
                format!("{} {}: {}", score.scorer, score.verdict.word(), truncate_middle(&score.why, WHY))
            }),
        );
        // What the error or a judgement says already is not said twice.
        let said = |policy: &&Policy| !matches!(policy, Policy::Denied | Policy::Limited | Policy::Degraded);
        notes.extend(self.policies.iter().filter(said).map(Policy::text));
        notes
    }
}

impl Change {
    /// `accuracy 91.2 % ▲ 3.1 points`, or without a comparison where there is none.
    pub fn text(&self) -> String {
        let (value, unit) = match self.less_is_better {
            true => (format!("{:.3}", self.value), ""),
            false => (percent(self.value), " points"),
        };
        let name = self.name.replace('_', " ");
        let Some(difference) = self.difference else { return format!("{name} {value}") };
        let size = match self.less_is_better {
            true => format!("{:.3}", difference.abs()),
            false => format!("{:.1}", difference.abs() * 100.0),
        };
        let arrow = match difference {
            difference if difference > 0.0 => "▲",
            difference if difference < 0.0 => "▼",
            _ => return format!("{name} {value} ="),
        };
        format!("{name} {value} {arrow} {size}{unit}")
    }

    /// Whether it is better than the best before; `None` without one, and where it is the same.
    pub fn better(&self) -> Option<bool> {
        self.difference.filter(|difference| *difference != 0.0).map(|d| (d < 0.0) == self.less_is_better)
    }
}

impl Policy {
    /// It in words.
    pub fn text(&self) -> String {
        match self {
            Policy::Network { hosts } if hosts.is_empty() => "network".to_owned(),
            Policy::Network { hosts } => format!("network: {}", hosts.join(", ")),
            Policy::Unreached { hosts } => format!("asked for hosts that it may not reach: {}", hosts.join(", ")),
            Policy::Approval { capability, by, granted } => {
                let what = match capability {
                    Capability::Plan => "plan",
                    Capability::Scope => "change of scope",
                    Capability::Network => "network",
                    Capability::Publish => "publishing",
                };
                let by = match by {
                    Approver::Policy => "--approve",
                    Approver::Person => "a person",
                    Approver::Flag => "--allow",
                };
                format!("{what} {} by {by}", if *granted { "approved" } else { "refused" })
            }
            Policy::Denied => "not allowed".to_owned(),
            Policy::Limited => "stopped by a limit".to_owned(),
            Policy::Amended { field } => format!("changed the scope: {field}"),
            Policy::Guarded { guard } => format!("guard: {guard}"),
            Policy::Degraded => "confined less than declared".to_owned(),
        }
    }
}

/// What is known while steps are folded: replies not yet booked to a step, and the best figures so far.
#[derive(Default)]
pub(super) struct Steps {
    unbooked: Option<(Option<u64>, Option<f64>)>,
    best: BTreeMap<Key, f64>,
    /// How often the data was prepared: figures of other rows are not compared.
    prepared: usize,
    args: Value,
}

/// What two figures must share to be compared: the measure, the rows as JSON, and how often the data was prepared.
type Key = (String, String, usize);

impl Steps {
    /// Notes the cost of a reply, for the step that it asks for.
    pub fn said(&mut self, tokens: Option<u64>, usd: Option<f64>) {
        let (t, u) = self.unbooked.unwrap_or((Some(0), Some(0.0)));
        self.unbooked = Some((t.zip(tokens).map(|(a, b)| a.saturating_add(b)), u.zip(usd).map(|(a, b)| a + b)));
    }

    /// A step begins. Without a reply since the step before, its cost is in that step's.
    pub fn called(&mut self, step: u32, tool: &str, args: &Value) -> Step {
        let (tokens, usd) = self.unbooked.take().unwrap_or((Some(0), Some(0.0)));
        self.args = args.clone();
        let mut policies = Vec::new();
        let hosts = texts(&args["hosts"]);
        if !hosts.is_empty() || tool == "hub_search" {
            policies.push(Policy::Network { hosts });
        }
        Step {
            step,
            tool: tool.to_owned(),
            ok: None,
            valid: None,
            fault: None,
            verdict: Verdict::Unknown,
            scores: Vec::new(),
            metric: None,
            loss: None,
            seconds: None,
            cost: StepCost { tokens, usd, ..StepCost::default() },
            policies,
            error: None,
            jobs: Vec::new(),
        }
    }

    /// Books what a step returned: its kind of failure, what its jobs and questions took, and its figures. `metric` is the run's.
    pub fn returned(
        &mut self,
        entry: &mut Step,
        (fault, jobs, asked): (Option<Fault>, &[JobRecord], Option<Cost>),
        output: &Value,
        metric: Option<&str>,
    ) {
        entry.fault = fault;
        entry.valid = match (entry.ok, fault) {
            (Some(true), _) => Some(true),
            (_, fault) => fault.map(|fault| fault != Fault::Invalid),
        };
        let (tokens, usd) = asked.map_or((Some(0), Some(0.0)), |cost| (cost.tokens, cost.usd));
        entry.cost.tokens = entry.cost.tokens.zip(tokens).map(|(a, b)| a.saturating_add(b));
        entry.cost.usd = entry.cost.usd.zip(usd).map(|(a, b)| a + b);
        entry.cost.cpu_seconds = sum(jobs.iter().map(|job| job.cpu_seconds));
        entry.cost.memory_bytes = jobs.iter().filter_map(|job| job.memory_bytes).max();
        entry.jobs = jobs.to_vec();
        match fault {
            // A network that was refused was not used.
            Some(Fault::Denied) => {
                entry.policies.retain(|policy| matches!(policy, Policy::Approval { .. }));
                entry.policies.push(Policy::Denied);
            }
            Some(Fault::Invalid) => entry.policies.clear(),
            Some(Fault::Limit) => entry.policies.push(Policy::Limited),
            _ => {}
        }
        let unreached = texts(&output["refused_hosts"]);
        if !unreached.is_empty() {
            entry.policies.push(Policy::Unreached { hosts: unreached });
        }
        if entry.ok != Some(true) {
            return;
        }
        match entry.tool.as_str() {
            "data_prepare" => self.prepared += 1,
            "evaluate" => entry.metric = self.evaluated(output, metric),
            "train" => entry.loss = self.trained(output),
            _ => {}
        }
    }

    fn evaluated(&mut self, output: &Value, metric: Option<&str>) -> Option<Change> {
        let name = output["metric"].as_str().filter(|name| metric.is_none_or(|metric| metric == *name))?.to_owned();
        let value = output["value"].as_f64()?;
        let rows = serde_json::json!([self.args["data"], self.args["limit"], output["n"]]);
        let interval = serde_json::from_value(output["interval"].clone()).ok();
        let less_is_better = less_is_better(&name);
        Some(self.change(Change { name, value, interval, best_before: None, difference: None, less_is_better }, rows))
    }

    fn trained(&mut self, output: &Value) -> Option<Change> {
        let value = output["valid_loss"].as_f64()?;
        let name = "validation loss".to_owned();
        let rows = serde_json::json!([self.args["data"], output["rows"]]);
        Some(self.change(
            Change { name, value, interval: None, best_before: None, difference: None, less_is_better: true },
            rows,
        ))
    }

    /// Compares a figure with the best one of its kind, and keeps it where it is better.
    fn change(&mut self, change: Change, rows: Value) -> Change {
        let Change { value, less_is_better, .. } = change;
        let key = (change.name.clone(), rows.to_string(), self.prepared);
        let Some(best) = self.best.get_mut(&key) else {
            self.best.insert(key, value);
            return change;
        };
        let before = *best;
        *best = if less_is_better { before.min(value) } else { before.max(value) };
        Change { best_before: Some(before), difference: Some(value - before), ..change }
    }
}

/// A sum that is unknown where a part is, and where there are no parts.
fn sum(parts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    parts.reduce(|a, b| a.zip(b).map(|(a, b)| a + b)).flatten()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
