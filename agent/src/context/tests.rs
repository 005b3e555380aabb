use serde_json::json;

use super::*;

fn call(id: u32) -> Call {
    Call { id: id.to_string(), name: "look".into(), arguments: "{}".into(), extra: None }
}

/// A round whose result has so many words.
fn round(context: &mut Context, id: u32, words: usize) {
    context.push(Message::Assistant { text: String::new(), calls: vec![call(id)], opaque: None });
    context.push(Message::Tool { id: id.to_string(), content: "word ".repeat(words) });
}

fn context(window: Option<u64>) -> Context {
    Context::new("be good".into(), "tune it".into(), &[], window)
}

fn ids(context: &Context) -> Vec<String> {
    let id = |message: &Message| match message {
        Message::Tool { id, .. } => Some(id.clone()),
        _ => None,
    };
    context.request("s").iter().filter_map(id).collect()
}

#[test]
fn tokens_are_counted_about_as_vocabularies_do() {
    for (text, tokens) in [
        ("", 0),
        ("word", 1),
        ("two words", 2),
        ("internationalisation", 4),
        ("{\"a\": 12}", 5),
        ("привет", 3),
        ("2024", 2),
    ] {
        assert_eq!(count(text), tokens, "{text}");
    }
}

#[test]
fn without_a_window_nothing_is_cut_and_with_one_the_oldest_rounds_go_whole() {
    let mut endless = context(None);
    (0..50).for_each(|id| round(&mut endless, id, 1_000));
    assert_eq!(endless.over("state"), None);

    let mut small = context(Some(2_000));
    (0..7).for_each(|id| round(&mut small, id, 200));
    assert_eq!(small.over("state"), None, "{}", small.tokens("state"));
    round(&mut small, 7, 200);
    round(&mut small, 8, 200);
    let cut = small.over("state").unwrap();
    assert!(small.cut(cut));
    assert_eq!((cut.result_chars, ids(&small)), (None, vec!["5".into(), "6".into(), "7".into(), "8".into()]));
    assert_eq!(small.over("state"), None);
    // The system prompt and the request stay, and each result has its call.
    let request = small.request("state");
    assert_eq!(request[..2], [Message::System("be good".into()), Message::User("tune it".into())]);
    assert!(matches!(&request[2], Message::Assistant { calls, .. } if calls[0].id == "5"));
    assert!(matches!(request.last(), Some(Message::Tool { content, .. }) if content.ends_with("\n\nstate")));
}

#[test]
fn a_single_round_that_is_too_long_has_its_results_cut() {
    let mut small = context(Some(2_000));
    round(&mut small, 1, 100);
    round(&mut small, 2, 5_000);
    let cut = small.over("").unwrap();
    assert_eq!(cut.dropped, 2);
    assert!(small.cut(cut));
    assert_eq!(small.over(""), None, "{cut:?}");
    let Some(Message::Tool { content, .. }) = small.request("").pop() else { panic!("no result") };
    assert!(content.starts_with("{\"shortened\":\"word "), "{content}");
    // What is as short as can be cannot be cut again.
    let mut tiny = context(Some(20));
    let cut = tiny.over("a state that is longer than all of the window, which is only twenty tokens long").unwrap();
    assert_eq!(cut, Cut { dropped: 0, result_chars: None });
    assert!(!tiny.cut(cut));
}

#[test]
fn what_the_provider_counts_is_believed() {
    let mut context = context(Some(2_000));
    round(&mut context, 1, 1_000);
    let counted = context.tokens("");
    assert_eq!(context.learn(counted, counted * 2), None);
    assert_eq!(context.tokens(""), counted * 2);
    // Of short requests the words around messages are too large a part.
    let mut short = self::context(None);
    let counted = short.tokens("");
    assert_eq!(short.learn(counted, counted / 3), None);
    assert_eq!(short.tokens(""), counted);
}

#[test]
fn a_server_that_reads_the_same_of_more_and_more_has_a_window_that_it_does_not_tell() {
    let long = || Context::new("word ".repeat(400), "tune it".into(), &[], None);
    let mut context = long();
    (0..10).for_each(|id| round(&mut context, id, 200));
    let first = context.tokens("");
    assert_eq!(context.learn(first, 1_500), None, "one request says nothing");
    (10..20).for_each(|id| round(&mut context, id, 200));
    let second = context.tokens("");
    assert_eq!(context.learn(second, 1_510), Some(1_510));
    assert!(context.over("").is_some());
    // A server that counts only what it had not kept from before has read all, and a window that is known is believed.
    for (window, read) in [(None, 50), (Some(100_000), 1_500)] {
        let mut context = Context::new("word ".repeat(400), "tune it".into(), &[], window);
        for id in 0..30 {
            round(&mut context, id, 200);
            let sent = context.tokens("");
            assert_eq!(context.learn(sent, read), None);
        }
        assert_eq!(context.over(""), None);
    }
}

#[test]
fn a_request_that_is_refused_as_too_long_is_shorter_the_next_time() {
    for named in [None, Some(1_000), Some(1 << 20)] {
        let mut context = context(None);
        (0..10).for_each(|id| round(&mut context, id, 200));
        let mut tries = 0;
        while context.request("").len() > 4 {
            context.too_long(context.tokens(""), named);
            if let Some(cut) = context.over("") {
                context.cut(cut);
            }
            tries += 1;
            assert!(tries < 60, "{named:?}: {} messages", context.request("").len());
        }
    }
}

#[test]
fn the_state_stands_at_the_end_of_the_last_message_and_nowhere_else() {
    let mut context = context(None);
    let last = |context: &Context| context.request("STATE").pop();
    assert_eq!(last(&context), Some(Message::User("tune it\n\nSTATE".into())));
    context.push(Message::Assistant { text: "hm".into(), calls: Vec::new(), opaque: None });
    context.push(Message::Note("call a tool".into()));
    assert_eq!(last(&context), Some(Message::Note("call a tool\n\nSTATE".into())));
    assert_eq!(context.request("STATE").len(), 4);
    let told = json!(context.request("STATE")[..3].iter().map(|m| format!("{m:?}")).collect::<Vec<_>>()).to_string();
    assert!(!told.contains("STATE"), "{told}");
}
