use serde_json::json;
use tunesmith_harness::{
    event::{Approver, Capability},
    task::JobKind,
};

use super::*;

fn scope() -> Scope {
    Scope {
        base: "nano".into(),
        base_sha256: "b".into(),
        data_sha256: "d".into(),
        kind: JobKind::Classification,
        input: "text".into(),
        target: "team".into(),
        answer_after: None,
        method: "lora".into(),
        max_length: 128,
        metric: "accuracy".into(),
    }
}

/// A step with its result.
fn step(step: u32, tool: &str, args: Value, result: Result<Value, &str>) -> [Kind; 2] {
    let called = Kind::Called { step, id: step.to_string(), tool: tool.into(), args };
    let (ok, output) = (result.is_ok(), result.unwrap_or_else(Value::from));
    let (id, tool, jobs) = (step.to_string(), tool.to_owned(), Vec::new());
    [called, Kind::Returned { step, id, tool, ok, output, seconds: 0.0, jobs, fault: None, asked: None }]
}

fn train(n: u32) -> [Kind; 2] {
    let args = json!({"epochs": 3, "learning_rate": 0.0005, "name": "x"});
    step(n, "train", args, Ok(json!({"adapter": format!("train-{n}"), "valid_loss": 0.412345, "curve": [1, 2]})))
}

fn measure(n: u32, of: u32, value: f64) -> [Kind; 2] {
    let output = json!({"metric": "accuracy", "value": value, "n": 90, "mistakes": ["a row"]});
    step(n, "evaluate", json!({"adapter": format!("train-{of}")}), Ok(output))
}

#[test]
fn the_state_says_what_counts_in_few_words() {
    let plan = json!({"steps": ["prepare", "train", "hand in"]});
    let events: Vec<Kind> = [
        step(1, "plan", plan, Ok(json!({}))).to_vec(),
        vec![Kind::Scoped { scope: scope() }],
        step(2, "data_prepare", json!({}), Ok(json!({"train": 800, "valid": 90, "max_length": 128}))).to_vec(),
        step(3, "evaluate", json!({}), Ok(json!({"metric": "accuracy", "value": 0.07, "n": 90}))).to_vec(),
        train(4).to_vec(),
        measure(5, 4, 0.71).to_vec(),
        step(6, "convert", json!({}), Err("\"train-9\" is not there")).to_vec(),
        vec![
            Kind::decided(Some(7), "change max_length".into(), Capability::Scope, Approver::Flag, true),
            Kind::Amended {
                field: "max_length".into(),
                from: json!(128),
                to: json!(256),
                reason: "rows are longer".into(),
            },
        ],
    ]
    .concat();
    let ledger = Ledger::of(&events, Share::Samples);
    let expected = "State of the run, from its log:\n\
        scope (frozen): classification from \"text\" to \"team\", base nano, lora, at most 256 tokens, accuracy\n\
        plan: prepare; train; hand in\n\
        1 plan\n\
        2 data_prepare train 800, valid 90, max_length 128\n\
        3 evaluate metric accuracy, value 0.07, n 90\n\
        4 train epochs 3, learning_rate 5.00e-4, adapter train-4, valid_loss 0.4123\n\
        5 evaluate adapter train-4, metric accuracy, value 0.71, n 90\n\
        best so far: train-4 with 0.71 (step 5)\n\
        decided: change max_length: allowed\n\
        decided: max_length changed from 128 to 256: rows are longer\n\
        open: step 6 convert failed: \"train-9\" is not there\n\
        6 steps taken; left: 4 steps";
    assert_eq!(ledger.text("; left: 4 steps"), expected);
    // What an error quotes may be a row.
    let private = Ledger::of(&events, Share::None).text("");
    assert!(private.contains("convert failed: [not shared] is not there"), "{private}");
}

#[test]
fn a_long_run_keeps_its_best_and_its_base_in_a_state_that_does_not_grow() {
    let mut events = vec![Kind::Scoped { scope: scope() }];
    events.extend(step(1, "evaluate", json!({}), Ok(json!({"metric": "accuracy", "value": 0.07, "n": 90}))));
    for n in (2..300).step_by(2) {
        events.extend(train(n));
        events.extend(measure(n + 1, n, if n == 40 { 0.9 } else { 0.5 }));
    }
    let text = Ledger::of(&events, Share::Samples).text("");
    assert!(text.contains("\n1 evaluate metric accuracy, value 0.07, n 90\n"), "{text}");
    assert!(text.contains("\n41 evaluate adapter train-40, metric accuracy, value 0.9, n 90\n"), "{text}");
    assert!(text.contains("\nbest so far: train-40 with 0.9 (step 41)\n"), "{text}");
    assert!(text.len() < 2_200, "{}", text.len());
}
