//! The embedded planner: a deterministic expert that calls the same typed tools as a language model would. It needs no
//! network and no key, and it is the control that every other planner must beat.
//!
//! Its decisions depend on the request, the data, and measured speed; each one is logged in words as it is made.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tunesmith_harness::{
    budget::{Budget, Reservation, Spend},
    event::{Kind, Rows},
    grade::shown,
    log::LogError,
    task::{JobKind, Outcome, Task},
};
use tunesmith_tools::{convert, data_inspect, data_prepare, encode::Encoder, evaluate, tool::ToolError, train};

use crate::{
    approvals::{self, Decide, Proposal, Verdict},
    planner_loop::{self, End, LoopEnd},
    steps::{self, Asked, Journal, Steps},
};

mod answers;
mod candidates;
mod columns;
mod inspecting;
pub mod ladder;
mod phrases;
mod preview;
pub mod react;
pub mod request;
mod targets;
pub mod wishes;
mod words;

use ladder::{Recipe, Speed};
pub use preview::Preview;

/// Longest example in tokens that the playbook plans with.
const MAX_LENGTH: usize = 512;
/// Validation rows, at most about: enough to choose between candidates.
const VALID_ROWS: f64 = 400.0;
/// Validation rows that the base is measured on; enough to see whether it can do the job already.
const BASE_ROWS: usize = 200;
/// Validation rows that a candidate is measured on. Where there is only one there is nothing to choose, and the base's rows
/// will do: a tuned model that does not end its answers takes several times as long as the base.
const CANDIDATE_ROWS: usize = 500;

/// The playbook at work on one run.
pub struct Playbook<'a> {
    task: &'a Task,
    /// The request as it is understood.
    wanted: request::Wanted,
    /// The columns that are read; several stand one below the other in the first.
    inputs: Vec<String>,
    rows: Rows,
    budget: &'a Budget,
    steps: Steps<'a>,
    journal: &'a mut dyn Journal,
}

/// Why the playbook stops before the end.
enum Stop {
    /// The log cannot be written.
    Log(LogError),
    /// The run ends as this, for this reason.
    End(End, String),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Stop::Log(error)
    }
}

/// What was learned before the long training: the data as prepared, the base's score, and the speeds.
struct Scouted {
    kind: JobKind,
    prepared: data_prepare::Output,
    speed: Speed,
    /// Most memory that the trial training held, in bytes.
    memory: Option<u64>,
}

/// Time that scoring takes, as it was measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Timed {
    /// Seconds to score one row.
    row_seconds: f64,
}

/// Time that is left, in seconds; `None` is no limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Left {
    /// Until the run must have ended.
    run: Option<f64>,
    /// Until the last step must have ended.
    steps: Option<f64>,
}

/// Whether another candidate may be trained.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Again {
    /// Time and steps are left for it.
    possible: bool,
}

impl<'a> Playbook<'a> {
    /// A playbook for `task`.
    pub fn new(task: &'a Task, rows: Rows, budget: &'a Budget, steps: Steps<'a>, journal: &'a mut dyn Journal) -> Self {
        Playbook {
            task,
            wanted: request::read(&task.request).unwrap_or_default(),
            inputs: Vec::new(),
            rows,
            budget,
            steps,
            journal,
        }
    }

    /// Works until the result is handed in. `approve` is asked once, with the plan.
    pub async fn drive(mut self, approve: &dyn Decide) -> Result<LoopEnd, LogError> {
        let (end, why) = match self.work(approve).await {
            Ok(output) => (End::Finished(output), "the playbook finished".to_owned()),
            Err(Stop::End(end, why)) => (end, why),
            Err(Stop::Log(error)) => return Err(error),
        };
        Ok(LoopEnd { end, why, spent: self.budget.spent() })
    }

    /// What [`Playbook::drive`] would do, measured as far as that takes no training.
    pub async fn preview(mut self) -> Result<Result<Preview, (Outcome, String)>, LogError> {
        match self.look_ahead().await {
            Ok(preview) => Ok(Ok(preview)),
            Err(Stop::Log(error)) => Err(error),
            Err(Stop::End(end, why)) => {
                let ended = LoopEnd { end, why: why.clone(), spent: self.budget.spent() };
                Ok(Err((ended.outcome().unwrap_or(Outcome::Internal), why)))
            }
        }
    }

    async fn look_ahead(&mut self) -> Result<Preview, Stop> {
        let proposal = self.inspect().await?;
        self.plan(&proposal).await?;
        let scouted = self.scout(&proposal).await?;
        let recipe = self.choose(&scouted)?;
        Ok(Preview::new((self.task, &self.wanted, &self.inputs), self.rows, &proposal, &scouted, &recipe))
    }

    async fn work(&mut self, approve: &dyn Decide) -> Result<Value, Stop> {
        let proposal = self.inspect().await?;
        self.plan(&proposal).await?;
        let what = match proposal.kind {
            JobKind::Pretraining => {
                format!("train a LoRA adapter to go on reading {:?} in {} rows", proposal.input, self.rows.open)
            }
            kind => format!(
                "train a LoRA adapter as a {} from {:?} to {:?} on {} rows",
                name(kind),
                proposal.input,
                proposal.target,
                self.rows.open
            ),
        };
        let step = Some(self.steps.taken());
        if let Verdict::Stop(reason) = approvals::decided(step, Proposal::of_plan(what), approve, self.journal).await? {
            let (end, why) = planner_loop::stopped(self.steps.cx())
                .unwrap_or_else(|| (End::Refused, crate::run::not_approved(reason)));
            return Err(Stop::End(end, why));
        }
        let scouted = self.scout(&proposal).await?;
        let recipe = self.choose(&scouted)?;
        let best = self.train_candidates(&scouted, &recipe).await?;
        let mut artifacts = Vec::new();
        for export in self.wanted.exports.clone() {
            let args = json!({ "adapter": best.trained.adapter, "to": export.format, "quant": export.quant });
            artifacts.push(self.call::<convert::Output>("convert", args).await?.path);
        }
        let summary = format!(
            "LoRA at learning rate {:e}, best step {}; {} on validation rows",
            best.settings.learning_rate,
            best.trained.best_step.map_or_else(|| "none".into(), |step| step.to_string()),
            shown(&best.measured.metric, best.measured.measured.value)
        );
        self.call("finish", json!({ "summary": summary, "adapter": best.trained.adapter, "artifacts": artifacts }))
            .await
    }

    async fn plan(&mut self, proposal: &data_inspect::Proposal) -> Result<(), Stop> {
        let mut args = json!({
            "kind": proposal.kind,
            "input": proposal.input,
            "target": proposal.target,
            "max_length": self.max_length(),
            "metric": proposal.metric,
            "steps": [
                "prepare examples and a validation part",
                "measure the base",
                "try the training on a few steps and measure its speed",
                "train candidates that differ in the learning rate",
                "choose on validation rows, export, hand in",
            ],
            "why": proposal.why,
        });
        if let Some(marker) = &proposal.answer_after {
            args["answer_after"] = json!(marker);
        }
        self.call::<Value>("plan", args).await.map(drop)
    }

    /// The longest example: what the base takes, if that is less. A base that cannot be read is refused where it is
    /// used.
    fn max_length(&self) -> usize {
        Encoder::longest(self.steps.cx().base).map_or(MAX_LENGTH, |longest| MAX_LENGTH.min(longest))
    }

    /// Prepares the data, measures the base, and runs a few steps of the very training that follows.
    async fn scout(&mut self, proposal: &data_inspect::Proposal) -> Result<Scouted, Stop> {
        let share = (VALID_ROWS / self.rows.open.max(1) as f64).clamp(0.01, 0.1);
        let mut args = json!({ "kind": proposal.kind, "input": proposal.input, "target": proposal.target });
        args["valid_share"] = json!(share);
        if let [first, _, ..] = &self.inputs[..] {
            let cell = |name: &String| format!("{{{}}}", name.replace('{', "{{").replace('}', "}}"));
            let all: Vec<String> = self.inputs.iter().map(cell).collect();
            args["steps"] = json!({ "set": { first: all.join("\n") } });
        }
        args["max_length"] = json!(self.max_length());
        if let Some(marker) = &proposal.answer_after {
            args["answer_after"] = json!(marker);
        }
        let prepared: data_prepare::Output = self.call("data_prepare", args).await?;
        let base: evaluate::Output = self.call("evaluate", json!({ "limit": BASE_ROWS })).await?;
        let rows = base.measured.n.max(1) as f64;
        let Timed { row_seconds } = self
            .observe("scoring", |playbook| Timed { row_seconds: playbook.last_seconds().unwrap_or_default() / rows })?;
        let mut smoke = json!({ "max_steps": ladder::SMOKE_STEPS, "name": "smoke", "learning_rate": ladder::RATES[0] });
        if proposal.kind == JobKind::Pretraining {
            // A block of text is as long as many rows.
            smoke["batch_size"] = json!(1);
            smoke["select"] = json!("loss");
        }
        let smoke: train::Output = self.call("train", smoke).await?;
        let speed = Speed {
            train_rows: prepared.train,
            // The median, with a tenth for the long tail.
            train_tokens: prepared.train * prepared.tokens.0 * 11 / 10,
            tokens_per_second: smoke.tokens_per_second,
            row_seconds,
            valid_rows: prepared.valid,
            sealed_rows: self.rows.sealed,
        };
        self.say(format!(
            "the base scores {} on validation rows; training runs at {:.0} tokens per second, scoring takes {:.1} ms a row",
            shown(&base.metric, base.measured.value),
            speed.tokens_per_second,
            1e3 * row_seconds
        ))?;
        Ok(Scouted { kind: proposal.kind, prepared, speed, memory: smoke.peak_memory })
    }

    /// The largest rung of the ladder that fits the time that is left.
    fn choose(&mut self, scouted: &Scouted) -> Result<Recipe, Stop> {
        let graded = 2 + self.wanted.exports.len();
        let left = self.observe("time left", |playbook| {
            let (now, seconds) = (Instant::now(), |left: Duration| left.as_secs_f64());
            let run = playbook.budget.deadline().map(|deadline| deadline.saturating_duration_since(now));
            Left { run: run.map(seconds), steps: playbook.budget.left_for_steps(now).map(seconds) }
        })?;
        let grading = scouted.speed.grading(graded);
        let time = left.run.zip(left.steps).map(|(run, steps)| {
            Duration::try_from_secs_f64(steps.min(run - grading.as_secs_f64()).max(0.0)).unwrap_or_default()
        });
        let Some(recipe) = ladder::choose(scouted.kind, &scouted.speed, time) else {
            let why = format!(
                "the time left does not hold even the shortest training and the final grading ({} s); give more --minutes",
                grading.as_secs()
            );
            return Err(Stop::End(End::Budget, why));
        };
        let time = time.map_or("no time limit".into(), |t: Duration| format!("{} s for training", t.as_secs()));
        self.say(format!("{time}: {recipe}"))?;
        Ok(recipe)
    }

    /// What is seen of clocks and budgets at a decision of this name. All that could be another number in a second run of
    /// the same playbook comes in here, as one value that can be written down.
    ///
    /// Of a run that goes on it is what was seen then.
    fn observe<T>(&mut self, decision: &'static str, look: impl FnOnce(&Self) -> T) -> Result<T, LogError>
    where
        T: Serialize + DeserializeOwned,
    {
        if let Some(Kind::Observed { what, value }) = self.journal.next()
            && what == decision
            && let Ok(seen) = serde_json::from_value(value.clone())
        {
            self.journal.skip()?;
            return Ok(seen);
        }
        let seen = look(self);
        if let Ok(value) = serde_json::to_value(&seen) {
            self.journal.record(Kind::Observed { what: decision.to_owned(), value })?;
        }
        Ok(seen)
    }

    /// Calls a tool. What it cannot do ends the run, because the playbook has no other way.
    async fn call<T: DeserializeOwned>(&mut self, tool: &str, args: Value) -> Result<T, Stop> {
        // What is recalled was within its limits when it happened.
        let live = self.journal.next().is_none();
        let reserved = live.then(|| self.reserve(tool)).transpose().map_err(|why| Stop::End(End::Budget, why))?;
        let id = format!("playbook_{}", self.steps.taken() + 1);
        let step = self.steps.take(Asked { id: &id, tool, args: Ok(&args) }, self.journal).await?;
        match reserved {
            Some(reserved) => self.budget.reconcile(reserved, Spend::STEP),
            None => self.budget.book(Spend::STEP),
        }
        let output = step.result.map_err(|error| stop(tool, &args, error))?;
        serde_json::from_value(output)
            .map_err(|e| Stop::End(End::Failed, format!("{tool} answered something unknown: {e}")))
    }

    /// Sets a step aside and says when it must end. What hands in a trained model may take half of the time that is
    /// kept for the grading, because without it there is nothing to grade.
    fn reserve(&mut self, tool: &str) -> Result<Reservation, String> {
        let mut now = Instant::now();
        let mut end = self.budget.deadline_for_steps();
        if let (true, Some(steps), Some(all)) = (hands_in(tool), end, self.budget.deadline()) {
            // A tool that does not stop by itself takes some seconds to be stopped.
            let late = steps + (all.saturating_duration_since(steps) / 2).saturating_sub(steps::STOPPING);
            if (steps..late).contains(&now) {
                end = Some(late);
                // The budget's own deadline is that of all other steps.
                now = steps.checked_sub(Duration::from_nanos(1)).unwrap_or(now);
            }
        }
        let reserved = self.budget.reserve(Spend::STEP, now)?;
        self.steps.end_by(end);
        Ok(reserved)
    }

    /// Seconds that the last step took, in whichever process it was made.
    fn last_seconds(&self) -> Option<f64> {
        self.journal.past().iter().rev().find_map(|event| match event {
            Kind::Returned { seconds, .. } => Some(*seconds),
            _ => None,
        })
    }

    fn say(&mut self, text: String) -> Result<(), LogError> {
        self.journal.record(Kind::words(text, Some(0), Some(0.0)))
    }
}

fn hands_in(tool: &str) -> bool {
    matches!(tool, "evaluate" | "convert" | "finish")
}

/// What a tool's error means for the run.
fn stop(tool: &str, args: &Value, error: ToolError) -> Stop {
    match error {
        ToolError::Cancelled => Stop::End(End::Cancelled, "cancelled".into()),
        ToolError::Limit(why) => Stop::End(End::Budget, why),
        // Both need the user, and both end blocked.
        ToolError::Denied(why) | ToolError::Resource(why) => Stop::End(End::Refused, why),
        ToolError::Failed(why) if is_about_inputs(tool, args, &why) => {
            Stop::End(End::Refused, format!("{tool}: {why}"))
        }
        error => Stop::End(End::Failed, format!("{tool}: {error}")),
    }
}

/// Whether it is the user's data or base that a tool cannot use; a worker that crashed or could not start says so.
fn is_about_inputs(tool: &str, args: &Value, why: &str) -> bool {
    let reads_inputs = match tool {
        "data_inspect" | "data_prepare" => true,
        "evaluate" => args.get("adapter").is_none(),
        _ => false,
    };
    reads_inputs && !why.starts_with("the worker ")
}

/// A kind of job in words.
pub fn name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Classification => "classification",
        JobKind::Extraction => "extraction",
        JobKind::Generation => "generation",
        JobKind::Pretraining => "continued pretraining",
    }
}

#[cfg(test)]
mod tests;
