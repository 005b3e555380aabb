use jiff::Timestamp;
use tunesmith_harness::{
    event::{Fault, Rows},
    task::{JobKind, Scope, Task},
};

use super::*;

const ALL: Options = Options { share: Share::None, only_good: false, objects: false };
const GOOD: Options = Options { only_good: true, ..ALL };

fn started() -> Kind {
    let task = Task {
        request: "sort tickets".into(),
        files: Vec::new(),
        test: None,
        test_share: None,
        base: None,
        goals: Vec::new(),
        artifacts: Vec::new(),
        minutes: None,
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        max_bytes: None,
        seed: 3,
    };
    let rows = Rows { read: 10, open: 8, sealed: 2, dropped: 0, templated: 0, near_groups: 0 };
    Kind::Started {
        task,
        planner: "p".into(),
        version: "v".into(),
        rows,
        layers: Vec::new(),
        inputs: Vec::new(),
        before: None,
    }
}

fn said(text: &str) -> Kind {
    let calls = Vec::new();
    let opaque = Some(json!({"reasoning_content": "thoughts of a provider"}));
    Kind::Said { text: text.into(), tokens: None, usd: None, calls, repairs: Vec::new(), finish: Value::Null, opaque }
}

fn called(step: u32, tool: &str, args: Value) -> Kind {
    Kind::Called { step, id: format!("c{step}"), tool: tool.into(), args }
}

fn returned(step: u32, tool: &str, output: Result<Value, Fault>) -> Kind {
    let (id, tool, ok, fault) = (format!("c{step}"), tool.into(), output.is_ok(), output.as_ref().err().copied());
    let output = output.unwrap_or_else(|_| "it failed on \"a cell\"".into());
    Kind::Returned { step, id, tool, ok, output, seconds: 1.0, jobs: Vec::new(), fault, asked: None }
}

fn told(step: Option<u32>, content: &str) -> Kind {
    Kind::Told { step, content: content.into() }
}

fn scored(step: u32, verdict: Verdict) -> Kind {
    let (scorer, why) = ("train.loss".into(), "it fell".into());
    Kind::Scored { step: Some(step), score: Score { scorer, value: None, interval: None, verdict, why } }
}

fn briefed() -> Kind {
    Kind::Briefed { system: "be good".into(), request: format!("Request: sort tickets\n{}", prompt::PRIVATE) }
}

fn row(kinds: Vec<Kind>, options: Options) -> Trace {
    trace(kinds, options).unwrap()
}

fn trace(kinds: Vec<Kind>, options: Options) -> Result<Trace, TraceError> {
    let event =
        |(seq, kind): (usize, Kind)| Event { seq: seq as u64, at: Timestamp::UNIX_EPOCH, prev: String::new(), kind };
    of(&kinds.into_iter().enumerate().map(event).collect::<Vec<_>>(), options)
}

/// A run with a good turn, one in text, one with a failed and a good call, and one without an answer.
fn run() -> Vec<Kind> {
    vec![
        started(),
        briefed(),
        said("I look."),
        called(1, "data_inspect", json!({})),
        returned(1, "data_inspect", Ok(json!({"rows": 8}))),
        told(Some(1), "{\"ok\":true,\"note\":\"as told\"}"),
        said("Let me think."),
        told(None, "Call a tool."),
        said("<tool_call>{\"name\": \"train\", \"arguments\": {\"r\": 4}}</tool_call>"),
        called(2, "train", json!({"r": 4})),
        returned(2, "train", Err(Fault::Failed)),
        told(Some(2), "{\"ok\":false}"),
        called(3, "evaluate", "not json".into()),
        returned(3, "evaluate", Ok(json!({"value": 0.5}))),
        scored(3, Verdict::Pass),
        said(""),
        called(4, "train", json!({"r": 8})),
        returned(4, "train", Ok(json!({"adapter": "a"}))),
        scored(4, Verdict::Fail),
        said(""),
        called(5, "finish", json!({"summary": "done"})),
    ]
}

fn roles(trace: &Trace) -> Vec<String> {
    let messages = trace.row["messages"].as_array().unwrap().iter();
    let calls = |message: &Value| -> String {
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        calls.map(|call| format!(" {}", call["id"].as_str().unwrap().replace("call0000", "c"))).collect()
    };
    messages
        .map(|message| {
            let answers = message["tool_call_id"].as_str().map(|id| format!(" {}", id.replace("call0000", "c")));
            format!("{}{}{}", message["role"].as_str().unwrap(), calls(message), answers.unwrap_or_default())
        })
        .collect()
}

#[test]
fn a_planned_run_is_what_its_model_said_and_saw() {
    let trace = row(run(), ALL);
    let want = [
        "system",
        "user",
        "assistant c1",
        "tool c1",
        "assistant",
        "user",
        "assistant c2 c3",
        "tool c2",
        "tool c3",
        "assistant c4",
    ];
    assert_eq!(roles(&trace), want);
    assert_eq!((trace.steps, trace.left_out), (4, 1));
    let messages = &trace.row["messages"];
    assert_eq!(messages[0], json!({"role": "system", "content": "be good"}));
    assert_eq!(messages[3]["content"], "{\"ok\":true,\"note\":\"as told\"}");
    assert_eq!(messages[5]["content"], "Call a tool.");
    // A call that was written as text is a call, and its text is gone; arguments are text, always of JSON.
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = [call("call00002", "train", "{\"r\":4}"), call("call00003", "evaluate", "{\"not_json\":\"not json\"}")];
    assert_eq!(messages[6], json!({"role": "assistant", "content": "", "tool_calls": calls}));
    // What the log does not hold as told is shown as the run shares it.
    let shown = json!({"ok": true, "output": {"value": 0.5}, "scores": [{"scorer": "train.loss", "verdict": "pass", "why": "it fell"}]});
    assert_eq!(messages[8]["content"], shown.to_string());
    assert!(!trace.row.to_string().contains("thoughts of a provider"));
    let tools: Vec<&str> =
        trace.row["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert!(tools.contains(&"train") && !tools.contains(&"shell"), "{tools:?}");
    assert_eq!(trace.row["metadata"], json!({"planner": "p", "version": "v", "seed": 3, "steps": 4, "left_out": 1}));
}

#[test]
fn only_good_steps_stay_with_their_answers() {
    let trace = row(run(), GOOD);
    assert_eq!(roles(&trace), ["system", "user", "assistant c1", "tool c1", "assistant c3"]);
    assert_eq!((trace.steps, trace.left_out), (2, 4));
    assert_eq!(trace.row["metadata"]["left_out"], 4);
    let args =
        row(run(), Options { objects: true, ..GOOD }).row["messages"][2]["tool_calls"][0]["function"]["arguments"]
            .clone();
    assert_eq!(args, json!({}));
}

#[test]
fn a_run_of_the_playbook_is_written_as_a_model_would_have_planned_it() {
    let secret = ["hf_", &"aB3dE6gHi9".repeat(4)].concat();
    let columns = json!({"columns": [{"name": "text"}, {"name": "label"}], "samples": ["a cell"]});
    let scope = Scope {
        base: "small".into(),
        base_sha256: String::new(),
        data_sha256: String::new(),
        kind: JobKind::Classification,
        input: "text".into(),
        target: "label".into(),
        answer_after: None,
        method: "lora".into(),
        max_length: 128,
        metric: "accuracy".into(),
    };
    let kinds = || {
        vec![
            started(),
            called(1, "data_inspect", json!({})),
            returned(1, "data_inspect", Ok(columns.clone())),
            Kind::Scoped { scope: scope.clone() },
            said(&format!("the base scores 50 %, {secret}")),
            called(2, "train", json!({"r": 32})),
            returned(2, "train", Err(Fault::Failed)),
            called(3, "train", json!({"r": 16})),
            returned(3, "train", Ok(json!({"adapter": "a"}))),
        ]
    };
    let trace = row(kinds(), ALL);
    assert_eq!(roles(&trace), ["system", "user", "assistant c1", "tool c1", "assistant c2", "tool c2", "assistant c3"]);
    let messages = &trace.row["messages"];
    assert_eq!(messages[0]["content"], prompt::system().unwrap());
    let request = "Request: sort tickets\nData: data/train.jsonl with 8 rows you may use (2 more are sealed), columns \"text\", \"label\"\nBase model: small\n";
    assert_eq!(messages[1]["content"], format!("{request}{}", prompt::PRIVATE));
    assert_eq!(messages[4]["content"], "the base scores 50 %, [redacted hf token]");
    // No row is in it unless it is asked for.
    assert!(!trace.row.to_string().contains("a cell"));
    let shared = row(kinds(), Options { share: Share::Samples, ..ALL });
    assert!(shared.row["messages"][3]["content"].as_str().unwrap().contains("a cell"));
}

#[test]
fn a_log_without_a_task_or_a_step_gives_no_row() {
    assert_eq!(trace(Vec::new(), ALL), Err(TraceError::NoTask));
    assert_eq!(trace(vec![started()], ALL), Err(TraceError::NoSteps));
    let failed =
        vec![started(), briefed(), said(""), called(1, "train", json!({})), returned(1, "train", Err(Fault::Failed))];
    assert_eq!(trace(failed.clone(), GOOD), Err(TraceError::NoSteps));
    assert_eq!(row(failed, ALL).steps, 1);
    // Events that belong to no step of it change nothing.
    let strange = vec![started(), returned(9, "train", Ok(json!({}))), told(Some(7), "x"), scored(8, Verdict::Pass)];
    assert_eq!(trace(strange, ALL), Err(TraceError::NoSteps));
}

#[test]
fn what_the_user_said_in_the_middle_stands_where_it_was_said() {
    let mut kinds = run();
    let words = Kind::Instructed { text: "use a smaller rank".into() };
    let turn = kinds.iter().position(|kind| matches!(kind, Kind::Said { text, .. } if text.starts_with("<tool_call>")));
    kinds.insert(turn.unwrap(), words);
    let trace = row(kinds, ALL);
    let messages = trace.row["messages"].as_array().unwrap();
    let said = messages.iter().position(|message| message["content"] == "use a smaller rank").unwrap();
    assert_eq!((&messages[said]["role"], &messages[said + 1]["role"]), (&json!("user"), &json!("assistant")));
}
