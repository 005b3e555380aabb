//! What the playbook asks for, what it may use, and what a tool's error means for the run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tunesmith_harness::{budget::Caps, score::Score};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::tool::{AnyTool, Cx};

use super::*;

type Calls = Arc<Mutex<Vec<(String, Value)>>>;
type Answer = fn(&str, &Value) -> Result<Value, ToolError>;

/// A tool that answers from a function and keeps what it was asked.
struct Fake {
    name: &'static str,
    answer: Answer,
    calls: Calls,
}

impl AnyTool for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        ""
    }

    fn schema(&self) -> &Value {
        &Value::Null
    }

    fn call<'a>(&'a self, _: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move {
            self.calls.lock().unwrap().push((self.name.to_owned(), args.clone()));
            (self.answer)(self.name, &args)
        })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

struct Nowhere;

impl Journal for Nowhere {
    fn record(&mut self, _: Kind) -> Result<(), LogError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn past(&self) -> &[Kind] {
        &[]
    }
}

const TOOLS: [&str; 7] = ["data_inspect", "plan", "data_prepare", "evaluate", "train", "convert", "finish"];

/// A column of short texts.
fn column(name: &str, distinct: usize) -> Value {
    json!({
        "name": name, "cells": "text", "missing": 0, "distinct": distinct, "lengths": [10, 20, 30, 40], "examples": [],
        "types": {"text": 1000},
    })
}

/// Everything works, and every candidate is as good as the others.
fn fine(tool: &str, args: &Value) -> Result<Value, ToolError> {
    let measured = |n: u64| {
        json!({
            "adapter": args.get("adapter"), "metric": "exact_match", "value": 0.5, "interval": [0.4, 0.6], "n": n,
            "exact_match": 0.5, "format_failures": 0.0, "exact_interval": [0.4, 0.6],
            "baselines": {"chance": null, "majority": null, "naive_bayes": null}, "mistakes": [],
        })
    };
    Ok(match tool {
        "data_inspect" => json!({
            "rows": 1000, "duplicates": 0, "columns": [column("q", 1000), column("a", 900)], "note": null,
            "proposal": {
                "kind": "generation", "input": "q", "target": "a", "answer_after": "####", "metric": "exact_match",
                "why": "because",
            },
        }),
        "data_prepare" => json!({
            "path": "prepared", "rows": 1000, "train": 900, "valid": 100,
            "dropped": {
                "empty": 0, "duplicates": 0, "conflicting": 0, "too_long": 0, "special_tokens": 0, "no_marker": 0,
            },
            "tokens": [20, 40], "longest_answer": 5, "max_length": 256, "max_new_tokens": 8, "cue": "",
            "template_ends_turns": true, "example": null, "recipe_sha256": "r",
        }),
        "evaluate" => measured(args["limit"].as_u64().unwrap_or(0)),
        "train" => json!({
            "adapter": format!("train-{}", args["learning_rate"]), "rows": [900, 100], "steps": [4, 4], "stopped": "done",
            "curve": [], "valid_curve": [], "exact_curve": [], "best_step": 4, "valid_loss": 1.0, "valid_exact": 0.5,
            "audit": {"reached": 14, "tensors": 14}, "max_grad_norm": 1.0, "parameters": 10, "seconds": 1.0,
            "tokens_per_second": 1e6, "ended": [1, 1],
        }),
        "convert" => return Err(ToolError::Failed("nothing was to be converted".into())),
        _ => json!({"summary": "s"}),
    })
}

fn task() -> Task {
    Task {
        request: "train it to predict column `a` from column `q`".into(),
        files: Vec::new(),
        test: None,
        test_share: None,
        base: None,
        goals: Vec::new(),
        artifacts: Vec::new(),
        max_bytes: None,
        minutes: None,
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        seed: 0,
    }
}

/// How a run ends, and what was called.
async fn run(answer: Answer, caps: Caps, began: Instant) -> (LoopEnd, Vec<(String, Value)>) {
    let calls = Calls::default();
    let fakes = TOOLS.map(|name| Fake { name, answer, calls: calls.clone() });
    let place = tempfile::tempdir().unwrap();
    let (dir, jobs, base) = (Workdir::open(place.path()).unwrap(), Local::new(), place.path().join("base"));
    tunesmith_tools::nano::write(&base).unwrap();
    let cx = Cx {
        dir: &dir,
        jobs: &jobs,
        base: &base,
        seed: 0,
        deadline: None,
        cancel: Cancel::default(),
        ask: None,
        hub: None,
        hosts: &[],
        on: &|_| {},
    };
    let scope_of = |_: &Value| Ok(None);
    let steps = Steps::new(fakes.iter().map(|fake| fake as &dyn AnyTool).collect(), &cx, &scope_of, false);
    let task = task();
    let rows = Rows { read: 1200, open: 1000, sealed: 200, dropped: 0, templated: 0, near_groups: 0 };
    let budget = Budget::new(caps, began);
    let mut journal = Nowhere;
    let end =
        Playbook::new(&task, rows, &budget, steps, &mut journal).drive(&crate::approvals::Flag(true)).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    (end, calls)
}

fn steps(most: u32) -> Caps {
    Caps { steps: Some(most), ..Caps::default() }
}

fn names(calls: &[(String, Value)]) -> Vec<&str> {
    calls.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn plan_and_data_agree_and_measuring_is_bounded() {
    let (end, calls) = run(fine, Caps::default(), Instant::now()).await;
    assert_eq!((end.end, end.spent.steps), (End::Finished(json!({"summary": "s"})), 12));
    let of = |tool: &str| -> Vec<&Value> { calls.iter().filter(|call| call.0 == tool).map(|call| &call.1).collect() };
    let (plan, prepare) = (of("plan")[0], of("data_prepare")[0]);
    let base = tempfile::tempdir().unwrap();
    tunesmith_tools::nano::write(base.path()).unwrap();
    let longest = Encoder::longest(base.path()).unwrap().min(MAX_LENGTH);
    assert_eq!((&plan["max_length"], &prepare["max_length"]), (&json!(longest), &json!(longest)));
    assert_eq!((&plan["answer_after"], &prepare["answer_after"]), (&json!("####"), &json!("####")));
    let limits: Vec<&Value> = of("evaluate").into_iter().map(|args| &args["limit"]).collect();
    assert_eq!(limits, [200, 500, 500, 500]);
}

#[tokio::test]
async fn a_limit_of_steps_holds_for_every_step() {
    let whole = ["data_inspect", "plan", "data_prepare", "evaluate", "train", "train", "evaluate", "finish"];
    for most in 1..8 {
        let (end, calls) = run(fine, steps(most), Instant::now()).await;
        assert_eq!((end.end, end.why), (End::Budget, format!("all {most} steps are used")));
        assert_eq!((end.spent.steps, names(&calls)), (most, whole[..most as usize].to_vec()));
    }
    // Another candidate is tried only where handing it in is possible too.
    for (most, used) in [(8, 8), (10, 8), (11, 10), (12, 10), (13, 12)] {
        let (end, calls) = run(fine, steps(most), Instant::now()).await;
        assert_eq!((end.spent.steps, calls.last().unwrap().0.as_str()), (used, "finish"), "{most}");
    }
}

#[tokio::test]
async fn only_data_and_base_are_the_users_to_mend() {
    fn failing(at: &str, tool: &str, args: &Value, error: ToolError) -> Result<Value, ToolError> {
        if at == tool { Err(error) } else { fine(tool, args) }
    }
    let cases: [(Answer, End); 8] = [
        (|t, a| failing("data_inspect", t, a, ToolError::Failed("line 3: not JSON".into())), End::Refused),
        (|t, a| failing("data_prepare", t, a, ToolError::Failed("only 1 of 9 rows can be used".into())), End::Refused),
        (|t, a| failing("data_prepare", t, a, ToolError::Failed("the worker crashed (signal 11)".into())), End::Failed),
        (|t, a| failing("evaluate", t, a, ToolError::Failed("the base cannot be used".into())), End::Refused),
        (|t, a| failing("evaluate", t, a, ToolError::Failed("the worker crashed (signal 11)".into())), End::Failed),
        (|t, a| failing("train", t, a, ToolError::Failed("cannot write the adapter".into())), End::Failed),
        (|t, a| failing("train", t, a, ToolError::Resource("the disk is full".into())), End::Refused),
        (|t, a| failing("train", t, a, ToolError::Limit("ran out of memory".into())), End::Budget),
    ];
    for (at, (answer, end)) in cases.into_iter().enumerate() {
        assert_eq!(run(answer, Caps::default(), Instant::now()).await.0.end, end, "case {at}");
    }
}

#[test]
fn what_hands_in_may_take_half_of_the_time_for_grading() {
    let place = tempfile::tempdir().unwrap();
    let (dir, jobs) = (Workdir::open(place.path()).unwrap(), Local::new());
    let (base, cancel) = (place.path(), Cancel::default());
    let cx = Cx {
        dir: &dir,
        jobs: &jobs,
        base,
        seed: 0,
        deadline: None,
        cancel,
        ask: None,
        hub: None,
        hosts: &[],
        on: &|_| {},
    };
    let scope_of = |_: &Value| Ok(None);
    // Of 1000 s, 150 are kept for the grading: 860 s in, steps are over; 930 s in, half of the rest is gone too.
    for (passed, expected) in [(10, [true, true]), (860, [false, true]), (930, [false, false])] {
        let began = Instant::now().checked_sub(Duration::from_secs(passed)).unwrap();
        let budget = Budget::new(Caps { wall: Some(Duration::from_secs(1000)), ..Caps::default() }, began);
        let mut journal = Nowhere;
        let task = task();
        let rows = Rows { read: 9, open: 8, sealed: 1, dropped: 0, templated: 0, near_groups: 0 };
        let steps = Steps::new(Vec::new(), &cx, &scope_of, false);
        let mut playbook = Playbook::new(&task, rows, &budget, steps, &mut journal);
        assert_eq!(["train", "finish"].map(|tool| playbook.reserve(tool).is_ok()), expected, "{passed}");
    }
}
