//! A whole planned run against a server: a 429, a cut stream and a malformed call on the way, and it succeeds.

use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    model::{
        Call,
        catalogue::Facts,
        openai::{Endpoint, OpenAi, Pace},
    },
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
    steps::{Asked as Step, Steps},
};
use tunesmith_harness::{
    budget::{Budget, Caps, Spend},
    event::{Fault, JobRecord, Kind},
    score::{Score, Verdict},
};
use tunesmith_tools::tool::AnyTool;

use crate::{
    fakes::{Fake, Kept, Loose, World, finish, passed, plan, scope, scope_of},
    server::{Answer, Asked, Server},
};

/// The body in which no provider but one writes its errors.
const FOREIGN_429: &str = r#"{"object":"error","message":"slow down","code":429}"#;

pub fn endpoint(server: &Server) -> Endpoint {
    Endpoint { base: server.base.clone(), model: "m".into(), key: Some("sk-secret".into()), facts: Facts::default() }
}

/// Retries without waiting, so that a test over a real socket takes no time.
pub fn quick() -> Pace {
    Pace { backoff: std::time::Duration::ZERO, ..Pace::default() }
}

fn called(step: u32, id: &str, tool: &str, args: Value) -> Kind {
    Kind::Called { step, id: id.into(), tool: tool.into(), args }
}

fn returned(step: u32, id: &str, tool: &str, ok: bool, output: Value) -> Kind {
    let invalid = output.as_str().is_some_and(|why| why.starts_with("invalid arguments"));
    let fault = (!ok).then_some(if invalid { Fault::Invalid } else { Fault::Failed });
    Kind::Returned {
        step,
        id: id.into(),
        tool: tool.into(),
        ok,
        output,
        seconds: 0.0,
        jobs: Vec::new(),
        fault,
        asked: None,
    }
}

/// A reply as it is logged, calls included.
fn said(text: &str, calls: &[(&str, &str, &str)]) -> Kind {
    let call = |(id, name, arguments): &(&str, &str, &str)| Call {
        id: (*id).into(),
        name: (*name).into(),
        arguments: (*arguments).into(),
        extra: None,
    };
    Kind::Said {
        text: text.into(),
        tokens: Some(110),
        usd: None,
        calls: calls.iter().map(call).collect(),
        repairs: Vec::new(),
        finish: json!("calls"),
        opaque: None,
    }
}

/// The log without what the model was told, which the last request shows.
fn without_words(events: &[Kind]) -> Vec<Kind> {
    let words = |event: &&Kind| matches!(event, Kind::Told { .. } | Kind::Briefed { .. });
    events.iter().filter(|event| !words(event)).cloned().collect()
}

/// What stands behind the last message of the last request.
const STATE: &str = "State of the run, from its log:\n\
    scope (frozen): classification from \"text\" to \"intent\", base nano, lora, at most 60 tokens, accuracy\n\
    1 data_inspect\n\
    3 plan\n\
    4 train\n\
    open: step 5 evaluate failed: no adapter\n\
    5 steps taken; left: 15 steps";

/// The messages of a request in short: role, then what matters.
fn short(asked: &Asked) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = asked.body["messages"].as_array().unwrap();
    let shown = |message: &Value| match message["tool_calls"].as_array() {
        Some(calls) => calls.iter().map(|call| text(&call["function"]["arguments"])).collect::<Vec<_>>().join(";"),
        None => text(&message["content"]),
    };
    messages.iter().map(|message| (text(&message["role"]), shown(message))).collect()
}

#[tokio::test]
async fn a_planned_run_survives_a_429_a_cut_stream_and_a_malformed_call() {
    let server = Server::start(vec![
        Answer::calls("First the data.", &[("c1", "data_inspect", "{}")]),
        Answer::status(429, FOREIGN_429).header("retry-after", "0"),
        // Broken beyond repair: the error goes to the model.
        Answer::calls("", &[("c2", "plan", r#"{"max_length": sixty}"#)]),
        // The cut reply calls a tool that must never run.
        Answer::calls("I will", &[("c9", "destroy", "{}")]).cut_after(3),
        Answer::calls("", &[("c3", "plan", r#"{"max_length": 60,}"#)]),
        // One call with the id of an earlier one, one without an id.
        Answer::calls("", &[("c3", "train", r#"{"rate": 0.001}"#), ("", "evaluate", "")]),
        Answer::calls("All done.", &[("c5", "finish", r#"{"summary": "better"}"#)]),
    ])
    .await;
    let inspect = Fake::new("data_inspect", |_| Ok(json!({"rows": 10})));
    let train = Fake::new("train", |args| Ok(json!({"rate": args["rate"]}))).scored(passed("train.loss", 0.5));
    let evaluate = Fake::new("evaluate", |_| Err(tunesmith_tools::tool::ToolError::Failed("no adapter".into())));
    let destroy = Fake::new("destroy", |_| panic!("a cut reply was used"));
    let (plan, finish) = (plan(), finish());
    let tools: [&dyn AnyTool; 6] = [&inspect, &plan, &train, &evaluate, &destroy, &finish];
    let world = World::new();
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let mut kept = Kept::default();
    let mut restarts = Vec::new();
    let mut on = |delta: tunesmith::model::Delta<'_>| {
        if let tunesmith::model::Delta::Again { error, .. } = delta {
            restarts.push((error.kind, error.status));
        }
    };
    let planning = Planning {
        model: &model,
        tools: &tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps { steps: Some(20), ..Caps::default() }, std::time::Instant::now()),
        window: None,
        longest: None,
        price: None,
        outputs: world.outputs(),
        system: "be good".into(),
        request: "tune it".into(),
        instruction: None,
        share: Share::Samples,
        scope_of: &scope_of,
        may_amend: false,
        decide: &Flag(false),
    };
    let end = drive(planning, &mut kept, &mut on).await.unwrap();

    let finished = End::Finished(json!({"summary": "better"}));
    let spent = Spend { steps: 6, tokens: None, usd: None };
    assert_eq!(end, LoopEnd { end: finished, why: "the planner finished".into(), spent });
    use tunesmith::model::ErrorKind::{Network, Rate};
    assert_eq!(restarts, [(Rate, Some(429)), (Network, None)]);

    let wrong = "invalid arguments: the arguments are not valid JSON: expected value at line 1 column 16; \
                 send one JSON object that fits the tool's schema";
    let mut lost = said("", &[("c3", "plan", r#"{"max_length": 60,}"#)]);
    if let Kind::Said { tokens, repairs, .. } = &mut lost {
        (*tokens, *repairs) = (None, vec!["comma".to_owned()]);
    }
    let expected = vec![
        said("First the data.", &[("c1", "data_inspect", "{}")]),
        called(1, "c1", "data_inspect", json!({})),
        returned(1, "c1", "data_inspect", true, json!({"rows": 10})),
        said("", &[("c2", "plan", r#"{"max_length": sixty}"#)]),
        called(2, "c2", "plan", json!(r#"{"max_length": sixty}"#)),
        returned(2, "c2", "plan", false, json!(wrong)),
        // What the cut reply cost is unknown.
        lost,
        called(3, "c3", "plan", json!({"max_length": 60})),
        returned(3, "c3", "plan", true, json!({"scope": scope(60)})),
        Kind::Scoped { scope: scope(60) },
        said("", &[("c3", "train", r#"{"rate": 0.001}"#), ("", "evaluate", "")]),
        called(4, "call_4", "train", json!({"rate": 0.001})),
        returned(4, "call_4", "train", true, json!({"rate": 0.001})),
        Kind::Scored { step: Some(4), score: passed("train.loss", 0.5) },
        called(5, "call_5", "evaluate", json!({})),
        returned(5, "call_5", "evaluate", false, json!("no adapter")),
        said("All done.", &[("c5", "finish", r#"{"summary": "better"}"#)]),
        called(6, "c5", "finish", json!({"summary": "better"})),
        returned(6, "c5", "finish", true, json!({"summary": "better"})),
    ];
    assert_eq!(without_words(&kept.events), expected);
    assert_eq!(kept.events[0], Kind::Briefed { system: "be good".into(), request: "tune it".into() });
    assert_eq!(kept.synced.len(), 6);

    let asked = server.asked();
    assert_eq!(asked.len(), 7);
    for request in &asked {
        assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
        assert_eq!(request.headers["authorization"], "Bearer sk-secret");
        assert_eq!(request.body["model"], "m");
        let names: Vec<&str> =
            request.body["tools"].as_array().unwrap().iter().map(|t| t["function"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["data_inspect", "plan", "train", "evaluate", "destroy", "finish"]);
    }
    // All of a request but the state at its end is the beginning of the next one, so that providers can keep it.
    for pair in asked.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(short);
        let same = before.len() - 1;
        assert_eq!(before[..same], after[..same]);
        let told = |message: &(String, String)| message.1.split("\n\nState of").next().unwrap().to_owned();
        assert_eq!(told(&before[same]), told(&after[same]));
    }
    // Whatever failed on the way was asked again with the same messages.
    assert_eq!(asked[1].body, asked[2].body);
    assert_eq!(asked[3].body, asked[4].body);
    let last = short(&asked[6]);
    let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(
        last,
        [
            pair("system", "be good"),
            pair("user", "tune it"),
            pair("assistant", "{}"),
            pair("tool", r#"{"ok":true,"output":{"rows":10}}"#),
            pair("assistant", r#"{"not_json":"{\"max_length\": sixty}"}"#),
            pair("tool", &json!({"ok": false, "error": wrong}).to_string()),
            pair("assistant", r#"{"max_length":60}"#),
            pair("tool", &json!({"ok": true, "output": {"scope": scope(60)}}).to_string()),
            pair("assistant", r#"{"rate":0.001};{}"#),
            pair(
                "tool",
                r#"{"ok":true,"output":{"rate":0.001},"scores":[{"scorer":"train.loss","verdict":"pass","value":0.5,"why":"as it should be"}]}"#
            ),
            pair("tool", &format!("{}\n\n{STATE}", r#"{"ok":false,"error":"no adapter"}"#)),
        ]
    );
    let ids = |message: &Value| message["tool_calls"].as_array().unwrap().iter().map(|c| c["id"].clone()).collect();
    let calls: Vec<Value> = ids(&asked[6].body["messages"][8]);
    assert_eq!(calls, [json!("call_4"), json!("call_5")]);
    assert_eq!(asked[6].body["messages"][9]["tool_call_id"], "call_4");
    assert_eq!(asked[6].body["messages"][10]["tool_call_id"], "call_5");
}

#[tokio::test]
async fn a_job_that_ran_under_less_than_declared_is_a_warning_of_its_step() {
    let world = World::new();
    let cx = world.cx();
    let tools: Vec<&dyn AnyTool> = vec![&Loose];
    let mut steps = Steps::new(tools, &cx, &scope_of, false);
    let mut kept = Kept::default();
    let step = steps.take(Step { id: "c1", tool: "shell", args: Ok(&json!({})) }, &mut kept).await.unwrap();
    let score = Score {
        scorer: "sandbox".into(),
        value: None,
        interval: None,
        verdict: Verdict::Warn,
        why: "files (unavailable: gone)".into(),
    };
    assert_eq!(step.scores, std::slice::from_ref(&score));
    let mut returned = returned(1, "c1", "shell", false, json!("no"));
    if let Kind::Returned { jobs, .. } = &mut returned {
        *jobs = vec![JobRecord::default(); 2];
    }
    let expected = [called(1, "c1", "shell", json!({})), returned, Kind::Scored { step: Some(1), score }];
    assert_eq!(kept.events, expected);
}
