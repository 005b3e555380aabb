//! `replay:RUN`: what a model said in an earlier run, said again.

use std::path::Path;

use serde_json::json;
use tunesmith::model::{Call, Finish, Form, Opaque, Reply, Request, Usage, spec};

/// All replies of a planner, and why there are no more.
async fn replies(planner: &str) -> Result<(Vec<Reply>, String), String> {
    let model = spec::parse(planner)
        .unwrap()
        .open(&|_| None, &tunesmith_sandbox::Local::new(), 0)
        .map_err(|error| error.message)?
        .unwrap();
    let mut replies = Vec::new();
    loop {
        match model.chat(Request { messages: &[], tools: &[], form: Form::default() }, &mut |_| {}).await {
            Ok(reply) => replies.push(reply),
            Err(error) => return Ok((replies, error.message)),
        }
    }
}

fn write(path: &Path, lines: &[serde_json::Value]) {
    std::fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn free(reply: Reply) -> Reply {
    Reply { usage: Some(Usage::default()), usd: Some(0.0), ..reply }
}

#[tokio::test]
async fn the_replies_of_a_log_come_again_as_they_were_and_cost_nothing() {
    let run = tempfile::tempdir().unwrap();
    let event = |seq: u64, fields: serde_json::Value| {
        let mut event = json!({"seq": seq, "at": "2026-11-21T10:00:00Z", "prev": "0"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event
    };
    let opaque = json!({"base": "http://h/v1", "model": "m", "fields": {"reasoning": "r"}});
    let log = run.path().join("events.jsonl");
    write(
        &log,
        &[
            event(0, json!({"kind": "started", "planner": "openai:x"})),
            event(
                1,
                json!({"kind": "said", "text": "First.", "tokens": 110, "usd": 0.5, "finish": "calls", "opaque": opaque,
                "calls": [{"id": "c1", "name": "data_inspect", "arguments": "{\"a\": 1,}", "extra": {"s": 1}}]}),
            ),
            event(2, json!({"kind": "called", "step": 1, "id": "c1", "tool": "data_inspect", "args": {}})),
            event(
                3,
                json!({"kind": "said", "text": "", "tokens": null, "usd": null, "finish": "length",
                "calls": [{"name": "plan", "arguments": "{\"cut"}]}),
            ),
            event(4, json!({"kind": "said", "text": "Hm.", "tokens": null, "usd": null, "finish": {"other": "tired"}})),
            // Of an early version.
            event(5, json!({"kind": "said", "text": "Bye.", "tokens": null, "usd": null})),
        ],
    );
    let call = |id: &str, name: &str, arguments: &str| Call {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        extra: None,
    };
    let opaque: Option<Opaque> = serde_json::from_value(opaque).unwrap();
    let expected = vec![
        free(Reply {
            text: "First.".into(),
            calls: vec![Call { extra: Some(json!({"s": 1})), ..call("c1", "data_inspect", "{\"a\": 1,}") }],
            finish: Finish::Calls,
            opaque,
            ..Reply::default()
        }),
        free(Reply { calls: vec![call("", "plan", "{\"cut")], finish: Finish::Length, ..Reply::default() }),
        free(Reply { text: "Hm.".into(), finish: Finish::Other("tired".into()), ..Reply::default() }),
        free(Reply { text: "Bye.".into(), ..Reply::default() }),
    ];
    let over = format!("script {} has no more turns; the recorded run ended here", log.display());
    for path in [run.path(), &log] {
        assert_eq!(replies(&format!("replay:{}", path.display())).await, Ok((expected.clone(), over.clone())));
    }
}

#[tokio::test]
async fn a_file_of_replies_is_a_recording_and_a_script() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let call = Call { name: "plan".into(), arguments: "{}".into(), ..Call::default() };
    let usage = Some(Usage { prompt: 3, completion: 4 });
    let reply = Reply { calls: vec![call], finish: Finish::Calls, usage, usd: Some(0.5), ..Reply::default() };
    write(file.path(), &[serde_json::to_value(&reply).unwrap()]);
    let path = file.path().display();
    assert_eq!(replies(&format!("scripted:{path}")).await.unwrap().0, std::slice::from_ref(&reply));
    assert_eq!(replies(&format!("replay:{path}")).await.unwrap().0, [free(reply)]);
}

#[tokio::test]
async fn what_is_no_recording_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let said = json!({"seq": 0, "kind": "said", "text": "I inspect the data.", "tokens": 0, "usd": 0.0});
    let none = format!("{path} holds no replies of a language model; name a run that one has planned");
    for (lines, why) in [
        (vec![said], none.clone()),
        (vec![], none),
        (vec![json!({"text": "", "cals": []})], format!("line 1 of script {path} is not a turn: unknown field `cals`")),
        (vec![json!([1])], format!("line 1 of script {path} is not a turn: invalid type")),
    ] {
        write(file.path(), &lines);
        let told = replies(&format!("replay:{path}")).await.unwrap_err();
        assert!(told.starts_with(&why), "{told}");
    }
    let told = replies("replay:/no/such/run").await.unwrap_err();
    assert!(told.starts_with("cannot read recording /no/such/run: "), "{told}");
}
