#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::{
    event::{Event, Kind},
    report::Report,
};

fn fold(kinds: Vec<Kind>) -> Vec<Step> {
    let events = kinds.into_iter().enumerate().map(|(at, kind)| Event {
        seq: at as u64,
        at: jiff::Timestamp::UNIX_EPOCH,
        prev: String::new(),
        kind,
    });
    Report::fold(&events.collect::<Vec<_>>()).steps
}

fn step(step: u32, tool: &str, args: Value, end: Result<Value, Fault>) -> [Kind; 2] {
    let (id, tool) = (step.to_string(), tool.to_owned());
    let output = end.clone().unwrap_or("why".into());
    let (ok, fault) = (end.is_ok(), end.err());
    let called = Kind::Called { step, id: id.clone(), tool: tool.clone(), args };
    [called, Kind::Returned { step, id, tool, ok, output, seconds: 1.0, jobs: Vec::new(), fault, asked: None }]
}

fn said(tokens: Option<u64>) -> Kind {
    Kind::words("", tokens, tokens.map(|tokens| tokens as f64 / 1000.0))
}

fn evaluated(number: u32, value: f64, limit: Option<u64>) -> [Kind; 2] {
    let output = json!({"metric": "accuracy", "value": value, "interval": [value - 0.1, value + 0.1], "n": 50});
    step(number, "evaluate", json!({"limit": limit}), Ok(output))
}

#[test]
fn the_metric_is_compared_with_the_best_before_on_the_same_rows() {
    let kinds = [
        evaluated(1, 0.25, None),
        evaluated(2, 0.75, None),
        evaluated(3, 0.5, None),
        evaluated(4, 0.5, Some(10)),
        step(5, "data_prepare", json!({}), Ok(json!({}))),
        evaluated(6, 0.5, None),
    ];
    let changes: Vec<_> = fold(kinds.into_iter().flatten().collect()).into_iter().map(|s| s.metric).collect();
    let differences: Vec<_> = changes.iter().map(|c| c.as_ref().map(|c| (c.best_before, c.difference))).collect();
    let none = Some((None, None));
    assert_eq!(differences, [none, Some((Some(0.25), Some(0.5))), Some((Some(0.75), Some(-0.25))), none, None, none]);
    let texts: Vec<_> = changes.iter().flatten().map(Change::text).collect();
    assert_eq!(texts[..3], ["accuracy 25.0 %", "accuracy 75.0 % ▲ 50.0 points", "accuracy 50.0 % ▼ 25.0 points"]);
    assert_eq!(changes[1].as_ref().unwrap().better(), Some(true));
}

#[test]
fn training_is_compared_with_the_best_run_so_far() {
    let train = |n, loss: f64| step(n, "train", json!({}), Ok(json!({"valid_loss": loss, "rows": [90, 10]})));
    let steps = fold([train(1, 0.5), train(2, 0.75), train(3, 0.25)].into_iter().flatten().collect());
    let texts: Vec<_> = steps.iter().filter_map(Step::change).collect();
    assert_eq!(texts, ["validation loss 0.500", "validation loss 0.750 ▲ 0.250", "validation loss 0.250 ▼ 0.250"]);
    assert_eq!(steps[2].loss.as_ref().unwrap().better(), Some(true));
    assert!(steps.iter().all(|step| step.metric.is_none()), "the run's metric was not measured");
}

#[test]
fn a_reply_is_paid_by_the_first_step_that_it_asks_for_and_unknown_stays_unknown() {
    let call = |n| step(n, "read_file", json!({}), Ok(json!({})));
    let mut kinds = vec![said(Some(5)), said(Some(7))];
    kinds.extend(call(1).into_iter().chain(call(2)));
    kinds.push(said(None));
    kinds.extend(call(3));
    let tokens: Vec<_> = fold(kinds).into_iter().map(|s| (s.cost.tokens, s.cost.usd)).collect();
    assert_eq!(tokens, [(Some(12), Some(0.012)), (Some(0), Some(0.0)), (None, None)]);
}

#[test]
fn jobs_add_up_and_an_unknown_part_makes_the_sum_unknown() {
    let job = |cpu_seconds, memory_bytes| JobRecord { cpu_seconds, memory_bytes, ..JobRecord::default() };
    let cost = |jobs: Vec<JobRecord>| {
        let [called, mut returned] = step(1, "train", json!({}), Ok(json!({})));
        if let Kind::Returned { jobs: list, .. } = &mut returned {
            *list = jobs;
        }
        let cost = fold(vec![called, returned]).remove(0).cost;
        (cost.cpu_seconds, cost.memory_bytes)
    };
    assert_eq!(cost(vec![job(Some(1.5), Some(7)), job(Some(2.0), None)]), (Some(3.5), Some(7)));
    assert_eq!(cost(vec![job(Some(1.5), None), job(None, None)]), (None, None));
    assert_eq!(cost(vec![]), (None, None));
}

#[test]
fn validity_and_rules_are_read_from_the_log() {
    let host = json!({"hosts": ["a.test"]});
    let hosts = vec!["a.test".to_owned()];
    let table = [
        ("shell", Ok(json!({})), Some(true), vec![Policy::Network { hosts: hosts.clone() }]),
        (
            "shell",
            Ok(json!({"refused_hosts": ["b.test"]})),
            Some(true),
            vec![Policy::Network { hosts: hosts.clone() }, Policy::Unreached { hosts: vec!["b.test".into()] }],
        ),
        ("shell", Err(Fault::Denied), Some(true), vec![Policy::Denied]),
        ("shell", Err(Fault::Invalid), Some(false), vec![]),
        ("shell", Err(Fault::Limit), Some(true), vec![Policy::Network { hosts }, Policy::Limited]),
    ];
    for (tool, end, valid, policies) in table {
        let got = fold(step(1, tool, host.clone(), end.clone()).into()).remove(0);
        assert_eq!((got.valid, got.policies), (valid, policies), "{end:?}");
    }
    let [called, returned] = step(1, "shell", host, Err(Fault::Denied));
    let (capability, by, granted) = (Capability::Network, Approver::Flag, false);
    let asked = Kind::decided(Some(1), "reach a.test".into(), capability, by, granted);
    let got = fold(vec![called, asked, returned]).remove(0);
    assert_eq!(got.policies, [Policy::Approval { capability, by, granted }, Policy::Denied]);
    assert_eq!(got.notes(), ["why", "network refused by --allow"]);
    let mut kinds: Vec<Kind> = step(1, "plan", json!({}), Ok(json!({}))).into();
    kinds.push(Kind::Amended { field: "method".into(), from: json!(1), to: json!(2), reason: "x".into() });
    let approved = |step, by, granted| Kind::decided(step, "x".into(), Capability::Scope, by, granted);
    kinds.push(approved(Some(1), Approver::Flag, true));
    kinds.push(approved(Some(7), Approver::Person, false));
    kinds.push(approved(None, Approver::Policy, false));
    kinds.push(Kind::Guarded { guard: "repeat".into(), why: "x".into() });
    let score = |verdict| Score { scorer: "sandbox".into(), value: None, interval: None, verdict, why: "less".into() };
    kinds.push(Kind::Scored { step: Some(1), score: score(Verdict::Warn) });
    let got = fold(kinds).remove(0);
    let amended = Policy::Amended { field: "method".into() };
    let approval = Policy::Approval { capability: Capability::Scope, by: Approver::Flag, granted: true };
    assert_eq!(got.policies, [amended, approval, Policy::Guarded { guard: "repeat".into() }, Policy::Degraded]);
    let notes =
        ["sandbox warn: less", "changed the scope: method", "change of scope approved by --allow", "guard: repeat"];
    assert_eq!(got.notes(), notes);
}

#[test]
fn a_log_of_an_early_version_leaves_unknown_what_it_does_not_say() {
    let [called, mut returned] = step(1, "shell", json!({}), Err(Fault::Failed));
    if let Kind::Returned { fault, .. } = &mut returned {
        *fault = None;
    }
    let got = fold(vec![called, returned]).remove(0);
    assert_eq!((got.valid, got.fault, got.error.as_deref()), (None, None, Some("why")));
}

/// Prints what folding takes for each step: `cargo test -p tunesmith-harness soak_folding -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn soak_folding_takes_little_for_each_step() {
    const STEPS: u32 = 2_000;
    let curve: Vec<(usize, f64)> = (0..200).map(|at| (at, 1.0)).collect();
    let kinds: Vec<Kind> = (1..=STEPS)
        .flat_map(|n| match n % 2 {
            0 => evaluated(n, f64::from(n) / f64::from(STEPS), None),
            _ => step(n, "train", json!({}), Ok(json!({"valid_loss": 0.5, "rows": [90, 10], "curve": curve}))),
        })
        .collect();
    let began = std::time::Instant::now();
    let steps = fold(kinds);
    let each = began.elapsed().as_secs_f64() * 1e3 / f64::from(STEPS);
    println!("{each:.4} ms for each of {} steps", steps.len());
    assert!(steps.len() == STEPS as usize && each < 5.0);
}

#[test]
fn what_a_step_asks_of_a_model_itself_is_its_cost() {
    let asked = |n, end, cost| {
        let [called, returned] = step(n, "data_make", json!({}), end);
        let Kind::Returned { step, id, tool, ok, output, seconds, jobs, fault, .. } = returned else { unreachable!() };
        vec![called, Kind::Returned { step, id, tool, ok, output, seconds, jobs, fault, asked: cost }]
    };
    let cost = |tokens, usd| Some(Cost { tokens, usd });
    let kinds = [
        vec![said(Some(100))],
        asked(1, Ok(json!({})), cost(Some(500), Some(0.25))),
        asked(2, Ok(json!({})), cost(None, Some(0.25))),
        asked(3, Err(Fault::Resource), cost(None, None)),
        asked(4, Err(Fault::Denied), None),
        asked(5, Ok(json!({})), None),
    ];
    let costs: Vec<_> = fold(kinds.concat()).into_iter().map(|step| (step.cost.tokens, step.cost.usd)).collect();
    let nothing = (Some(0), Some(0.0));
    assert_eq!(costs, [(Some(600), Some(0.35)), (None, Some(0.25)), (None, None), nothing, nothing]);
}
