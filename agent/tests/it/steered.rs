//! A run that its user stops and tells something else.

use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    model::{Call, Finish, Message, Reply},
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps},
    event::{Fault, Kind},
};
use tunesmith_tools::tool::AnyTool;

use crate::fakes::{Endless, Fake, Kept, Talker, World, finish};

fn reply(calls: &[(&str, &str)]) -> Reply {
    let call = |(id, name): &(&str, &str)| Call {
        id: (*id).into(),
        name: (*name).into(),
        arguments: "{\"summary\":\"s\"}".into(),
        extra: None,
    };
    let finish = if calls.is_empty() { Finish::Stop } else { Finish::Calls };
    Reply { calls: calls.iter().map(call).collect(), finish, ..Reply::default() }
}

/// Plays on after the log, perhaps with something that the user says; with a stop raised before if there is one.
async fn play(
    history: &[Kind],
    instruction: Option<&str>,
    replies: Vec<Reply>,
    stopped: bool,
) -> (LoopEnd, Vec<Kind>, Vec<Message>) {
    let world = World::new();
    let (look, end) = (Fake::new("look", |args| Ok(args.clone())), finish());
    let tools: [&dyn AnyTool; 3] = [&look, &Endless, &end];
    let model = Talker::new(replies.into_iter().map(Ok).collect());
    let mut kept = Kept::after(history);
    let planning = Planning {
        model: &model,
        window: None,
        longest: None,
        price: None,
        tools: &tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps::default(), std::time::Instant::now()),
        system: "be good".into(),
        request: "tune it".into(),
        instruction: instruction.map(str::to_owned),
        share: Share::Samples,
        outputs: world.outputs(),
        scope_of: &|_: &Value| Ok(None),
        may_amend: false,
        decide: &Flag(false),
    };
    let cancel = world.cancel.clone();
    let mut on = |_: tunesmith::model::Delta<'_>| {};
    let (end, ()) = tokio::join!(drive(planning, &mut kept, &mut on), async {
        // The training is under way by now: everything before it is done at once.
        tokio::task::yield_now().await;
        if stopped {
            cancel.cancel();
        }
    });
    let last = model.seen.lock().unwrap().last().cloned().unwrap_or_default();
    (end.unwrap(), kept.events, last)
}

/// The last words of a request, without the state of the run.
fn words(message: &Message) -> &str {
    match message {
        Message::User(text) | Message::Note(text) | Message::Tool { content: text, .. } => {
            text.split("\n\nState of the run").next().unwrap_or_default()
        }
        _ => "",
    }
}

#[tokio::test]
async fn what_the_user_says_after_a_stop_is_heard_before_anything_else_is_done() {
    let round = reply(&[("a", "look"), ("b", "train"), ("c", "look")]);
    let (end, stopped, _) = play(&[], None, vec![round], true).await;
    assert_eq!(end.end, End::Cancelled);
    let cut = |kind: &Kind| matches!(kind, Kind::Returned { fault: Some(Fault::Cancelled), .. });
    assert!(stopped.last().is_some_and(cut), "{stopped:?}");

    let (end, events, sent) = play(&stopped, Some("use less"), vec![reply(&[("d", "finish")])], false).await;
    assert_eq!(end.end, End::Finished(json!({"summary": "s"})));
    // Every call is answered once, and the training was not begun again.
    let answered: Vec<&str> = sent
        .iter()
        .filter_map(|message| match message {
            Message::Tool { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(answered, ["a", "b", "c"]);
    assert!(words(&sent[sent.len() - 3]).contains("cancelled"), "{sent:?}");
    assert_eq!(words(&sent[sent.len() - 2]), "not done: the user stopped this turn");
    assert_eq!(sent.last().map(words), Some("use less"));
    assert_eq!(events.iter().filter(|kind| kind.name() == "called").count(), 3);

    // A process that goes on after this one does and says the same, wherever the log was cut off.
    for at in stopped.len() + 2..events.len() {
        if matches!(events[..at].last(), Some(Kind::Called { .. })) {
            // Nobody knows how much was done of a call of these tools.
            continue;
        }
        let said = events[..at].iter().filter(|kind| kind.name() == "said").count();
        let rest = if said == 1 { vec![reply(&[("d", "finish")])] } else { vec![] };
        let (again, all, _) = play(&events[..at], None, rest, false).await;
        assert_eq!((&again.end, &all), (&end.end, &events), "cut after {at}");
    }
}

#[tokio::test]
async fn a_guard_that_warned_before_says_nothing_of_the_next_turn() {
    let same = || reply(&[("", "look")]);
    let (_, events, _) = play(&[], None, (0..3).map(|_| same()).collect(), false).await;
    let warned = |events: &[Kind]| events.iter().filter(|kind| kind.name() == "guarded").count();
    assert_eq!(warned(&events), 1, "{events:?}");
    let replies = vec![same(), same(), reply(&[("z", "finish")])];
    let (end, all, _) = play(&events, Some("look twice more"), replies, false).await;
    assert_eq!((end.end, warned(&all)), (End::Finished(json!({"summary": "s"})), 1));
}
