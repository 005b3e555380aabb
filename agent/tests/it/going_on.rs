//! A run that goes on from its log: cut off after any event, it comes to the same end, and no finished step is made twice.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    model::{Call, Delta, Finish, Message, Reply, Usage},
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps},
    event::Kind,
};
use tunesmith_tools::tool::{AnyTool, ToolError};

use crate::fakes::{Fake, Kept, Talker, World, finish, passed, plan, scope_of};

fn calls(text: &str, calls: &[(&str, &str, Value)]) -> Reply {
    let call = |(id, name, arguments): &(&str, &str, Value)| Call {
        id: (*id).into(),
        name: (*name).into(),
        arguments: arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned),
        extra: None,
    };
    Reply {
        text: text.into(),
        calls: calls.iter().map(call).collect(),
        finish: if calls.is_empty() { Finish::Stop } else { Finish::Calls },
        usage: Some(Usage { prompt: 100, completion: 20 }),
        usd: Some(0.125),
        ..Reply::default()
    }
}

/// A dialogue with a bit of everything that a log can hold.
fn replies() -> Vec<Reply> {
    let mut replies = vec![
        calls("First the data.", &[("a", "look", json!({"n": 0}))]),
        calls("I think about it.", &[]),
        calls("", &[("b", "plan", json!("{broken"))]),
        calls("", &[("c", "plan", json!({"max_length": 60}))]),
        calls("", &[("c", "train", json!({"rate": 1})), ("", "evaluate", json!({"adapter": "x"}))]),
        calls("", &[("d", "plan", json!({"max_length": 20, "reason": "out of memory"}))]),
        calls("<tool_call>{\"name\": \"look\", \"arguments\": {\"n\": 7}}</tool_call>", &[]),
        calls("", &[("e", "shell", json!({"hosts": ["a.test"]}))]),
        calls("", &[("f", "shell", json!({"hosts": ["a.test"]}))]),
        calls("", &[("g", "shell", json!({"hosts": ["a.test"]}))]),
    ];
    replies.extend((10..30).map(|n| calls("", &[("", "look", json!({ "n": n }))])));
    replies.push(calls("All done.", &[("z", "finish", json!({"summary": "s"}))]));
    replies
}

/// How often each call was made.
type Made = Arc<Mutex<Vec<String>>>;

/// Plays the dialogue after what the log holds; the end, the log, what was sent last, and what was made.
async fn play(history: &[Kind]) -> (LoopEnd, Vec<Kind>, Vec<Message>, Vec<String>) {
    let made = Made::default();
    let tool = |name: &'static str, answer: fn(&Value) -> Result<Value, ToolError>| {
        let made = made.clone();
        Fake::new(name, move |args| {
            made.lock().unwrap().push(format!("{name} {args}"));
            answer(args)
        })
    };
    let look = tool("look", |args| Ok(json!({"n": args["n"], "text": "word ".repeat(200)})));
    let train =
        tool("train", |args| Ok(json!({"rate": args["rate"], "adapter": "x"}))).scored(passed("train.loss", 0.5));
    let evaluate = tool("evaluate", |_| Err(ToolError::Failed("no adapter".into())));
    let shell = tool("shell", |_| Err(ToolError::Denied("no network".into())));
    let (plan, finish) = (plan(), finish());
    let tools: [&dyn AnyTool; 6] = [&look, &train, &evaluate, &shell, &plan, &finish];
    let world = World::new();
    let said = history.iter().filter(|event| matches!(event, Kind::Said { .. })).count();
    let model = Talker::new(replies().into_iter().skip(said).map(Ok).collect());
    let mut kept = Kept::after(history);
    let planning = Planning {
        model: &model,
        window: Some(4_000),
        longest: None,
        price: None,
        tools: &tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps { steps: Some(60), usd: Some(100.0), ..Caps::default() }, std::time::Instant::now()),
        system: "be good".into(),
        request: "tune it".into(),
        instruction: None,
        share: Share::Samples,
        outputs: world.outputs(),
        scope_of: &scope_of,
        may_amend: true,
        decide: &Flag(false),
    };
    let end = drive(planning, &mut kept, &mut |_: Delta<'_>| {}).await.unwrap();
    let last = model.seen.lock().unwrap().last().cloned().unwrap_or_default();
    let made = made.lock().unwrap().clone();
    (end, kept.events, last, made)
}

#[tokio::test]
async fn a_run_cut_off_after_any_event_comes_to_the_same_end_and_makes_no_finished_step_again() {
    let (end, events, sent, made) = play(&[]).await;
    assert_eq!(end.end, End::Finished(json!({"summary": "s"})));
    let count = |kind: &str| events.iter().filter(|event| event.name() == kind).count();
    // All that a log can hold of such a run is in it.
    let seen = ["briefed", "said", "called", "returned", "told", "scoped", "scored", "amended", "approved", "guarded"];
    assert!(seen.iter().all(|kind| count(kind) > 0), "{:?}", seen.map(count));
    assert!(count("compacted") >= 2, "{}", count("compacted"));
    for cut in 0..events.len() {
        let (again, all, last, rest) = play(&events[..cut]).await;
        let returned =
            |event: &&Kind| matches!(event, Kind::Returned { tool, .. } if tool != "plan" && tool != "finish");
        let malformed = |event: &Kind| matches!(event, Kind::Returned { id, .. } if id == "b");
        let done = events[..cut].iter().filter(|event| returned(event) && !malformed(event)).count();
        let interrupted = matches!(events[..cut].last(), Some(Kind::Called { .. } | Kind::Approved { .. }));
        if interrupted {
            // Such a tool does not know how to do half a call again; the planner hears of it, and goes on.
            assert!(rest.len() <= made.len() - done, "{cut}: {rest:?}");
            continue;
        }
        assert_eq!(rest, made[done..], "cut after {cut}: {:?}", events[..cut].last());
        assert_eq!((&again, &all), (&end, &events), "cut after {cut}: {:?}", events[..cut].last());
        if !last.is_empty() {
            assert_eq!(last, sent, "cut after {cut}");
        }
    }
}

#[tokio::test]
async fn an_interrupted_call_that_cannot_be_repeated_is_told_and_not_made() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let shell = Fake::new("shell", move |_| Ok(json!(counted.fetch_add(1, Ordering::Relaxed))));
    let finish = finish();
    let tools: [&dyn AnyTool; 2] = [&shell, &finish];
    let world = World::new();
    let said = |reply: &Reply| Kind::Said {
        text: String::new(),
        tokens: Some(120),
        usd: reply.usd,
        calls: reply.calls.clone(),
        repairs: Vec::new(),
        finish: json!("calls"),
        opaque: None,
    };
    let first = calls("", &[("a", "shell", json!({"command": "rm it"}))]);
    let history = [
        Kind::Briefed { system: "be good".into(), request: "tune it".into() },
        said(&first),
        Kind::Called { step: 1, id: "a".into(), tool: "shell".into(), args: json!({"command": "rm it"}) },
    ];
    let mut kept = Kept::after(&history);
    let model = Talker::new(vec![Ok(calls("", &[("b", "finish", json!({"summary": "s"}))]))]);
    let planning = Planning {
        model: &model,
        window: None,
        longest: None,
        price: None,
        tools: &tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps::default(), std::time::Instant::now()),
        system: "be bad".into(),
        request: "tune something else".into(),
        instruction: None,
        share: Share::Samples,
        outputs: world.outputs(),
        scope_of: &scope_of,
        may_amend: false,
        decide: &Flag(false),
    };
    let end = drive(planning, &mut kept, &mut |_: Delta<'_>| {}).await.unwrap();
    assert_eq!((end.end, count.load(Ordering::Relaxed)), (End::Finished(json!({"summary": "s"})), 0));
    let sent = model.seen.lock().unwrap()[0].clone();
    // What the model was told when the run began, it is told again.
    assert_eq!(sent[..2], [Message::System("be good".into()), Message::User("tune it".into())]);
    let Message::Tool { id, content } = &sent[3] else { panic!("{sent:?}") };
    assert!(id == "a" && content.contains("this was interrupted before it ended"), "{content}");
    assert_eq!((end.spent.tokens, end.spent.steps), (Some(240), 2));
}
