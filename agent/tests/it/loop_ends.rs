//! How the loop ends: finish, budgets, cancel, guards, a model that cannot be asked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    model::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Reply, Usage, scripted::Scripted},
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps, Spend},
    event::{Approver, Capability, Kind},
    task::Outcome,
};
use tunesmith_tools::tool::{AnyTool, FieldError, ToolError};

use crate::fakes::{Endless, Fake, Kept, Talker, World, finish, invalid, plan, scope, scope_of};

/// Plays a script in the loop and says how it ended.
struct Play<'a> {
    world: World,
    tools: Vec<&'a dyn AnyTool>,
    caps: Caps,
    share: Share,
    may_amend: bool,
    window: Option<u64>,
}

impl<'a> Play<'a> {
    fn new(tools: &[&'a dyn AnyTool]) -> Self {
        let (caps, share) = (Caps::default(), Share::Samples);
        Play { world: World::new(), tools: tools.to_vec(), caps, share, may_amend: false, window: None }
    }

    async fn run(&self, turns: &[Value]) -> (LoopEnd, Vec<Kind>) {
        let script: String = turns.iter().map(|turn| format!("{turn}\n")).collect();
        self.run_with(&Scripted::parse(&script, "test").unwrap()).await
    }

    async fn run_with(&self, model: &dyn ChatModel) -> (LoopEnd, Vec<Kind>) {
        let mut kept = Kept::default();
        let planning = Planning {
            model,
            tools: &self.tools,
            cx: &self.world.cx(),
            budget: &Budget::new(self.caps, tokio::time::Instant::now().into_std()),
            window: self.window,
            longest: None,
            price: None,
            outputs: self.world.outputs(),
            system: "s".into(),
            request: "r".into(),
            instruction: None,
            share: self.share,
            scope_of: &scope_of,
            may_amend: self.may_amend,
            decide: &Flag(false),
        };
        let mut on = |_: Delta<'_>| {};
        let end = send(drive(planning, &mut kept, &mut on)).await.unwrap();
        (end, kept.events)
    }
}

/// A run may be moved to another thread.
fn send<F: Future + Send>(future: F) -> F {
    future
}

fn call(name: &str, arguments: Value) -> Value {
    json!({"calls": [{"name": name, "arguments": arguments}]})
}

fn guards(events: &[Kind]) -> Vec<(&str, &str)> {
    let guard = |event: &Kind| matches!(event, Kind::Guarded { .. });
    events.iter().filter(|event| guard(event)).filter_map(names).collect()
}

fn names(event: &Kind) -> Option<(&str, &str)> {
    match event {
        Kind::Guarded { guard, why } => Some((guard, why)),
        _ => None,
    }
}

/// The results of the steps: whether it worked, and the output.
fn results(events: &[Kind]) -> Vec<(bool, Value)> {
    let result = |event: &Kind| match event {
        Kind::Returned { ok, output, .. } => Some((*ok, output.clone())),
        _ => None,
    };
    events.iter().filter_map(result).collect()
}

fn end(end: End, why: &str, steps: u32) -> LoopEnd {
    LoopEnd { end, why: why.into(), spent: Spend { steps, tokens: Some(0), usd: Some(0.0) } }
}

#[tokio::test]
async fn talk_without_calls_is_nudged_twice_and_then_ends_the_run() {
    let finish = finish();
    let play = Play::new(&[&finish]);
    let talk = json!({"text": "I would train a model."});
    let (ended, events) = play.run(&[talk.clone(), talk.clone(), talk.clone()]).await;
    let why = "the planner is stuck: 3 turns in a row without a call";
    assert_eq!(ended, end(End::Stuck, why, 0));
    assert_eq!(ended.outcome(), Some(Outcome::PlannerFailed));
    let fired = [1, 2, 3].map(|n| ("text_only", format!("{n} turns in a row without a call")));
    assert_eq!(guards(&events), fired.each_ref().map(|(guard, why)| (*guard, why.as_str())));
    // A call between the turns clears the count.
    let (ended, _) = play
        .run(&[talk.clone(), talk.clone(), call("nothing", json!({})), talk.clone(), talk, call("finish", json!({}))])
        .await;
    assert_eq!(ended.end, End::Finished(json!({"summary": null})));
}

#[tokio::test]
async fn the_same_call_with_the_same_result_ends_the_run_at_the_third_strike() {
    let look = Fake::new("look", |_| Ok(json!("nothing new")));
    let play = Play::new(&[&look]);
    // The order of keys makes no difference.
    let turns = [json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})].map(|args| call("look", args));
    let (ended, events) = play.run(&turns.iter().cycle().take(9).cloned().collect::<Vec<_>>()).await;
    let why = "look called 5 times in a row with the same arguments and result";
    assert_eq!(ended, end(End::Stuck, &format!("the planner is stuck: {why}"), 5));
    let fired: Vec<&str> = guards(&events).iter().map(|(guard, _)| *guard).collect();
    assert_eq!(fired, ["repetition"; 3]);
}

#[tokio::test]
async fn polling_something_that_changes_is_no_repetition() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let look = Fake::new("look", move |_| Ok(json!(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed))));
    let finish = finish();
    let mut turns = vec![call("look", json!({})); 9];
    turns.push(call("finish", json!({"summary": "s"})));
    let (ended, events) = Play::new(&[&look, &finish]).run(&turns).await;
    assert_eq!((ended.end, guards(&events)), (End::Finished(json!({"summary": "s"})), vec![]));
}

#[tokio::test]
async fn malformed_arguments_in_a_row_end_the_run_at_the_third_strike() {
    let plan = plan();
    let turns: Vec<Value> = (0..9).map(|n| call("plan", json!(format!("{{broken {n}")))).collect();
    let (ended, events) = Play::new(&[&plan]).run(&turns).await;
    let why = "the planner is stuck: 4 calls in a row with arguments that do not fit";
    assert_eq!(ended, end(End::Stuck, why, 4));
    let fired: Vec<&str> = guards(&events).iter().map(|(guard, _)| *guard).collect();
    assert_eq!(fired, ["malformed_arguments"; 3]);
    // Arguments that are JSON but do not fit the schema count the same.
    let turns: Vec<Value> = (0..9).map(|n| call("plan", json!({ "n": n }))).collect();
    assert_eq!(Play::new(&[&plan]).run(&turns).await.0, end(End::Stuck, why, 4));
}

#[tokio::test]
async fn the_scope_of_the_first_plan_stays_unless_the_user_allowed_a_change() {
    let (plan, finish) = (plan(), finish());
    let turns = [
        call("plan", json!({})),
        call("plan", json!({"max_length": 60})),
        call("plan", json!({"max_length": 60, "other": 1})),
        call("plan", json!({"max_length": 20, "reason": "out of memory"})),
        call("finish", json!({})),
    ];
    let mut play = Play::new(&[&plan, &finish]);
    let (_, events) = play.run(&turns).await;
    let why = "not allowed: the scope is frozen and this plan changes max_length; that needs --allow scope";
    let ok = |length| (true, json!({"scope": scope(length)}));
    let required = invalid("/max_length", "is required").to_string();
    let last = (true, json!({"summary": null}));
    assert_eq!(results(&events), [(false, json!(required)), ok(60), ok(60), (false, json!(why)), last.clone()]);
    let scoped = |events: &[Kind]| {
        let kinds = |event: &&Kind| matches!(event, Kind::Scoped { .. } | Kind::Amended { .. });
        events.iter().filter(kinds).cloned().collect::<Vec<_>>()
    };
    assert_eq!(scoped(&events), [Kind::Scoped { scope: scope(60) }]);
    let asked = |granted| {
        let (what, by) = ("change max_length".to_owned(), Approver::Flag);
        Kind::decided(Some(4), what, Capability::Scope, by, granted)
    };
    assert_eq!(approvals(&events), [asked(false)]);

    play.may_amend = true;
    let (_, events) = play.run(&turns).await;
    assert_eq!(results(&events)[3..], [ok(20), last]);
    let amended =
        Kind::Amended { field: "max_length".into(), from: json!(60), to: json!(20), reason: "out of memory".into() };
    assert_eq!(scoped(&events), [Kind::Scoped { scope: scope(60) }, amended]);
    assert_eq!(approvals(&events), [asked(true)]);
}

fn approvals(events: &[Kind]) -> Vec<Kind> {
    events.iter().filter(|event| matches!(event, Kind::Approved { .. })).cloned().collect()
}

#[tokio::test]
async fn what_a_call_needs_of_the_network_is_decided_in_the_log() {
    let search = Fake::new("hub_search", |_| Err(ToolError::Denied("no network".into())));
    let shell = Fake::new("shell", |args| match args["hosts"].as_array().is_some_and(|hosts| hosts.len() < 3) {
        true => Ok(json!("done")),
        false => Err(invalid("/hosts", "are too many")),
    });
    let turns = [
        call("shell", json!({"hosts": []})),
        call("shell", json!({"hosts": ["a.test"]})),
        call("shell", json!({"hosts": ["a.test", "b.test"]})),
        call("shell", json!({"hosts": ["a.test", "b.test", "c.test"]})),
        call("hub_search", json!({})),
    ];
    let mut play = Play::new(&[&shell, &search]);
    play.world.hosts = vec!["a.test".into()];
    let (_, events) = play.run(&turns).await;
    let asked = |step, what: &str, granted| {
        let (what, by) = (what.to_owned(), Approver::Flag);
        Kind::decided(Some(step), what, Capability::Network, by, granted)
    };
    let reach = [asked(2, "reach a.test", true), asked(3, "reach a.test, b.test", false)];
    let more = [asked(4, "reach a.test, b.test, c.test", false), asked(5, "search the Hub", false)];
    assert_eq!(approvals(&events), [&reach[..], &more].concat());
}

#[tokio::test]
async fn a_first_plan_that_the_goals_rule_out_ends_the_run_as_blocked() {
    let plan = Fake::new("plan", |_| Err(ToolError::Denied("a generation has no macro_f1".into())));
    let (got, _) = Play::new(&[&plan]).run(&[call("plan", json!({})), call("plan", json!({}))]).await;
    assert_eq!((got.end.clone(), got.why.as_str()), (End::Refused, "a generation has no macro_f1"));
    assert_eq!(got.outcome(), Some(Outcome::Blocked));
}

#[tokio::test]
async fn data_is_prepared_as_the_plan_says() {
    let prepare = Fake::new("data_prepare", |args| Ok(json!({"max_length": args["max_length"]})));
    let (plan, finish) = (plan(), finish());
    let columns = json!({"kind": "classification", "input": "text", "target": "intent"});
    let with = |field: &str, value: Value| {
        let mut args = columns.clone();
        args[field] = value;
        call("data_prepare", args)
    };
    let turns = [
        call("plan", json!({"max_length": 60})),
        call("data_prepare", columns.clone()),
        with("max_length", json!(61)),
        with("target", json!("text")),
        with("answer_after", json!("####")),
        call("finish", json!({})),
    ];
    let (_, events) = Play::new(&[&plan, &prepare, &finish]).run(&turns).await;
    let long = "the plan says examples of at most 60 tokens, not 61; prepare the data again with max_length 60";
    let target = "the plan says target \"intent\", not \"text\"; prepare the data again as planned";
    let after = "the plan says answer_after none, not \"####\"; prepare the data again as planned";
    let refused = |why: &str| (false, json!(why));
    assert_eq!(
        results(&events)[1..5],
        [(true, json!({"max_length": 60})), refused(long), refused(target), refused(after)]
    );
}

#[tokio::test]
async fn a_finish_that_is_refused_does_not_end_the_run() {
    let finish = Fake::new("finish", |args| match args["ready"].as_bool() {
        Some(true) => Ok(json!("ok")),
        _ => Err(ToolError::Failed("no adapter yet".into())),
    });
    let turns = [call("finish", json!({})), call("finish", json!({"ready": true}))];
    let (ended, _) = Play::new(&[&finish]).run(&turns).await;
    assert_eq!(ended, end(End::Finished(json!("ok")), "the planner finished", 2));
    assert_eq!(ended.outcome(), None);
}

#[tokio::test]
async fn the_step_budget_holds_inside_one_reply() {
    let look = Fake::new("look", |args| Ok(args.clone()));
    let mut play = Play::new(&[&look]);
    play.caps.steps = Some(2);
    let calls: Vec<Value> = (0..5).map(|n| json!({"name": "look", "arguments": {"n": n}})).collect();
    let (ended, events) = play.run(&[json!({ "calls": calls })]).await;
    assert_eq!(ended, end(End::Budget, "all 2 steps are used", 2));
    assert_eq!(ended.outcome(), Some(Outcome::Budget));
    assert_eq!(results(&events).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stops_a_running_tool() {
    let mut play = Play::new(&[&Endless]);
    play.world.deadline = Some(tokio::time::Instant::now().into_std() + Duration::from_secs(600));
    let began = tokio::time::Instant::now();
    let (ended, events) = play.run(&[call("train", json!({}))]).await;
    // A tool knows the deadline and has five seconds to stop by itself, a trainer at its last checkpoint.
    assert_eq!(began.elapsed().as_secs(), 605);
    assert_eq!(ended, end(End::Budget, "the run's time is up", 1));
    assert_eq!(results(&events), [(false, json!("stopped by a limit: the run's time is up"))]);
    assert!(!play.world.cancel.is_cancelled(), "the user did not cancel");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_a_running_tool() {
    let play = Play::new(&[&Endless]);
    let cancel = play.world.cancel.clone();
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    };
    let turns = [call("train", json!({}))];
    let ((ended, events), ()) = tokio::join!(play.run(&turns), later);
    assert_eq!(ended, end(End::Cancelled, "cancelled", 1));
    assert_eq!(ended.outcome(), Some(Outcome::Cancelled));
    assert_eq!(results(&events), [(false, json!("cancelled"))]);
}

#[tokio::test]
async fn a_run_whose_time_is_up_asks_for_nothing() {
    let mut play = Play::new(&[]);
    play.world.deadline = Some(Instant::now());
    let (ended, events) = play.run(&[call("train", json!({}))]).await;
    let briefed = Kind::Briefed { system: "s".into(), request: "r".into() };
    assert_eq!((ended, events), (end(End::Budget, "the run's time is up", 0), vec![briefed]));
}

#[tokio::test]
async fn a_script_that_runs_out_says_so() {
    let (ended, _) = Play::new(&[]).run(&[]).await;
    assert_eq!(ended.end, End::Model(ErrorKind::Protocol));
    assert!(ended.why.ends_with("script test has no more turns; end it with a call of finish"), "{}", ended.why);
    let error = Scripted::parse("{\"text\": \"a\"}\n\n{\"txt\": 1}", "s.jsonl").err().unwrap();
    assert!(error.message.starts_with("line 3 of script s.jsonl is not a turn: unknown field `txt`"), "{error}");
}

#[tokio::test]
async fn calls_written_as_text_are_run_and_unknown_tools_are_named() {
    let finish = finish();
    let turns = [
        json!({"text": "<tool_call>{\"name\": \"fly\", \"arguments\": {}}</tool_call>"}),
        json!({"text": "```json\n{\"name\": \"finish\", \"arguments\": {\"summary\": \"s\"}}\n```"}),
    ];
    let (ended, events) = Play::new(&[&finish]).run(&turns).await;
    assert_eq!(ended.end, End::Finished(json!({"summary": "s"})));
    assert_eq!(results(&events)[0], (false, json!("there is no tool \"fly\"; there are: finish")));
}

#[tokio::test]
async fn with_nothing_shared_tools_that_show_rows_cannot_be_called() {
    let read = Fake::new("read_file", |_| panic!("rows were read"));
    let finish = finish();
    let mut play = Play::new(&[&read, &finish]);
    play.share = Share::None;
    let (_, events) = play.run(&[call("read_file", json!({})), call("finish", json!({}))]).await;
    assert_eq!(results(&events)[0], (false, json!("there is no tool \"read_file\"; there are: finish")));
}

/// A reply that calls one tool.
fn reply(name: &str, arguments: &str) -> Reply {
    let call = Call { name: name.into(), arguments: arguments.into(), ..Call::default() };
    let usage = Some(Usage { prompt: 40, completion: 10 });
    Reply { calls: vec![call], finish: Finish::Calls, usage, usd: Some(0.1), ..Reply::default() }
}

/// The contents of the tool messages of a conversation.
fn contents(messages: &[Message]) -> Vec<Value> {
    let content = |message: &Message| match message {
        // Behind the last result stands the state of the run.
        Message::Tool { content, .. } => {
            Some(serde_json::from_str(content.split("\n\nState of the run").next().unwrap()).unwrap())
        }
        _ => None,
    };
    messages.iter().filter_map(content).collect()
}

#[tokio::test]
async fn tokens_and_dollars_end_the_run_when_they_are_used_up() {
    let look = Fake::new("look", |args| Ok(args.clone()));
    let mut play = Play::new(&[&look]);
    let replies = || (0..40).map(|n| Ok(reply("look", &format!("{{\"n\":{n}}}")))).collect();
    play.caps = Caps { tokens: Some(1_000), ..Caps::default() };
    // Nothing is asked that could pass the limit: what is sent counts as well as what may be answered.
    let (ended, _) = play.run_with(&Talker::new(replies())).await;
    assert!(ended.spent.tokens.is_some_and(|tokens| (300..=744).contains(&tokens)), "{ended:?}");
    let why = format!(
        "{} of 1000 tokens are used, and the next reply could take more than the rest",
        ended.spent.tokens.unwrap()
    );
    assert_eq!((ended.end, ended.why), (End::Budget, why));
    play.caps = Caps { usd: Some(0.25), ..Caps::default() };
    let (ended, _) = play.run_with(&Talker::new(replies())).await;
    assert_eq!((ended.end, ended.spent.steps, ended.why.as_str()), (End::Budget, 2, "$0.30 of $0.25 are used"));
}

#[tokio::test]
async fn a_limit_that_cannot_be_watched_blocks_the_run() {
    let look = Fake::new("look", |args| Ok(args.clone()));
    let mut play = Play::new(&[&look]);
    play.caps.usd = Some(5.0);
    let unpriced = Reply { usd: None, ..reply("look", "{}") };
    let (ended, _) = play.run_with(&Talker::new(vec![Ok(unpriced)])).await;
    let why = "the planner's cost is unknown, so the limit of $5.00 cannot be kept; limit --steps instead of --usd";
    let spent = Spend { steps: 0, tokens: Some(50), usd: None };
    assert_eq!(ended, LoopEnd { end: End::UnknownCost, why: why.into(), spent });
    assert_eq!(ended.outcome(), Some(Outcome::Blocked));
}

#[tokio::test]
async fn a_model_that_cannot_be_asked_ends_the_run_with_its_reason() {
    for (kind, outcome) in [(ErrorKind::Auth, Outcome::Blocked), (ErrorKind::Server, Outcome::PlannerFailed)] {
        let error = ModelError { status: Some(499), ..ModelError::new(kind, "no") };
        let (ended, events) = Play::new(&[]).run_with(&Talker::new(vec![Err(error.clone())])).await;
        assert_eq!(ended, end(End::Model(kind), &error.to_string(), 0));
        assert_eq!((ended.outcome(), events.len()), (Some(outcome), 1));
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_rounds() {
    let look = Fake::new("look", |args| Ok(json!({"n": args["n"], "text": "x".repeat(1_000)})));
    let finish = finish();
    let mut replies: Vec<_> = (0..4).map(|n| Ok(reply("look", &format!("{{\"n\":{n}}}")))).collect();
    let too_long = || Err(ModelError::new(ErrorKind::ContextTooLong, "8k"));
    replies.extend([too_long(), Ok(reply("finish", "{}"))]);
    let play = Play::new(&[&look, &finish]);
    let model = Talker::new(replies);
    let (ended, events) = play.run_with(&model).await;
    assert_eq!(ended.end, End::Finished(json!({"summary": null})));
    let compacted = |event: &&Kind| matches!(event, Kind::Compacted { .. });
    assert_eq!(events.iter().filter(compacted).count(), 1, "{events:?}");
    let seen = model.seen.lock().unwrap().clone();
    let (refused, last) = (&seen[4], &seen[5]);
    // The request and the newest rounds stay, each call with its result.
    assert_eq!(last[..2], refused[..2]);
    assert!(last.len() < refused.len() && last.len() % 2 == 0, "{}", last.len());
    assert!(matches!(last[2], Message::Assistant { .. }));
    assert_eq!(contents(last).last(), contents(refused).last());
    // When nothing is left to leave out, the run ends.
    let (ended, _) = play.run_with(&Talker::new(vec![too_long(), too_long()])).await;
    assert_eq!(ended.outcome(), Some(Outcome::PlannerFailed));
}

#[tokio::test]
async fn long_outputs_are_cut_and_strikes_are_told_beside_the_result() {
    let look = Fake::new("look", |_| Ok(json!({"head": 1, "text": "é".repeat(20_000), "tail": 2})));
    let model = Talker::new((0..5).map(|_| Ok(reply("look", "{}"))).collect());
    let (_, events) = Play::new(&[&look]).run_with(&model).await;
    // The log has it whole.
    assert_eq!(results(&events)[0].1["text"].as_str().unwrap().len(), 40_000);
    let seen = contents(model.seen.lock().unwrap().last().unwrap());
    let text = seen[0]["output_cut"].as_str().unwrap();
    assert!(text.starts_with("{\"head\":1") && text.ends_with("\"tail\":2}"), "{text}");
    assert!(text.contains("the middle left out"), "{text}");
    assert_eq!(text.chars().count(), 6_000);
    let notes: Vec<bool> = seen.iter().map(|content| content.get("note").is_some()).collect();
    assert_eq!(notes, [false, false, true, true]);
}

#[tokio::test]
async fn a_call_that_was_cut_at_the_length_limit_is_said_to_be_so() {
    let look = Fake::new("look", |_| panic!("half a call was run"));
    let cut = Reply { finish: Finish::Length, ..reply("look", "{\"a\": 1") };
    let (_, events) = Play::new(&[&look]).run_with(&Talker::new(vec![Ok(cut)])).await;
    let why = "invalid arguments: your reply was cut at its length limit, so the arguments are incomplete; write \
               less; send one JSON object that fits the tool's schema";
    assert_eq!(results(&events), [(false, json!(why))]);
}

#[tokio::test]
async fn with_nothing_shared_no_row_reaches_the_model() {
    let output = json!({
        "rows": 2, "path": "data/train.jsonl", "samples": [{"text": "private"}], "longest": "private", "mistakes": ["x"],
        "columns": [
            {"name": "the text", "cells": "text", "examples": ["private"], "values": ["private", 3]},
            {"name": "e-mail", "labels": [{"label": "a@private.test", "rows": 2}]},
            {"name": "team", "labels": [{"label": "sales", "rows": 2}]},
        ],
        "labels": [{"label": "private", "rows": 2}],
        "proposal": {"kind": "classification", "target": "team", "why": "the answers are 2 different labels"},
    });
    let inspect = Fake::new("data_inspect", move |_| Ok(output.clone()));
    let prepare =
        Fake::new("data_prepare", |_| Err(ToolError::Failed("row 3 is \"a private \\\"x\\\" cell\", fix it".into())));
    let plan = Fake::new("plan", |_| {
        let error = FieldError { pointer: "/kind".into(), message: "\"x\" is not of type \"string\"".into() };
        Err(ToolError::Invalid(vec![error]))
    });
    let mut play = Play::new(&[&inspect, &prepare, &plan]);
    play.share = Share::None;
    let calls = ["data_inspect", "data_prepare", "plan"].map(|name| Ok(reply(name, "{}")));
    let end = Err(ModelError::new(ErrorKind::Server, "end"));
    let model = Talker::new(calls.into_iter().chain([end]).collect());
    play.run_with(&model).await;
    let hidden = "[not shared]";
    let shown = json!({
        "rows": 2, "path": "data/train.jsonl", "samples": hidden, "longest": hidden, "mistakes": hidden,
        "columns": [
            {"name": "the text", "cells": "text", "examples": hidden, "values": [hidden, 3]},
            {"name": "e-mail", "labels": [{"label": hidden, "rows": 2}]},
            // What there is to choose from must be known.
            {"name": "team", "labels": [{"label": "sales", "rows": 2}]},
        ],
        "labels": [{"label": hidden, "rows": 2}],
        "proposal": {"kind": "classification", "target": "team", "why": "the answers are 2 different labels"},
    });
    let seen = contents(model.seen.lock().unwrap().last().unwrap());
    assert_eq!(seen[0], json!({"ok": true, "output": shown}));
    assert_eq!(seen[1], json!({"ok": false, "error": "row 3 is [not shared], fix it"}));
    // The arguments are the planner's own.
    assert_eq!(seen[2]["error"], json!("invalid arguments: /kind: \"x\" is not of type \"string\""));
}
