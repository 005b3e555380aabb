//! How an OpenAI-compatible endpoint is read: errors typed, oddities of servers taken as they come.

use serde_json::{Value, json};
use tunesmith::model::{
    Call, ChatModel, Delta, ErrorKind, Finish, Form, Message, ModelError, Opaque, Reply, Request, Usage,
    catalogue::Facts,
    openai::{Endpoint, OpenAi, Pace},
};

use crate::{
    dialogue::{endpoint, quick},
    server::{Answer, Server, delta, finish},
};

/// What the model says when the server gives these answers, and what was heard on the way.
async fn chat(answers: Vec<Answer>) -> (Result<Reply, ModelError>, String, Server) {
    let server = Server::start(answers).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let mut heard = String::new();
    let messages = [Message::User("hello".into())];
    let mut on = |delta: Delta<'_>| match delta {
        Delta::Text(text) => heard.push_str(text),
        Delta::Call { name } => heard.push_str(&format!("<{name}>")),
        Delta::Again { .. } => heard.push('|'),
    };
    let reply = model.chat(Request { messages: &messages, tools: &[], form: Form::default() }, &mut on).await;
    (reply, heard, server)
}

fn call(id: &str, name: &str, arguments: &str) -> Call {
    Call { id: id.into(), name: name.into(), arguments: arguments.into(), extra: None }
}

fn error(kind: ErrorKind, status: u16, message: &str) -> ModelError {
    ModelError { status: Some(status), ..ModelError::new(kind, message) }
}

#[tokio::test]
async fn every_failure_is_typed_by_its_status_whatever_its_body() {
    let openai = r#"{"error":{"message":"Incorrect API key: sk-secret","type":"invalid_request_error","code":"x"}}"#;
    let cases = [
        (401, openai, ErrorKind::Auth, "Incorrect API key: [key]"),
        (403, "<html>no\n entry</html>", ErrorKind::Auth, "<html>no entry</html>"),
        (402, r#"{"error":"pay first"}"#, ErrorKind::Billing, "pay first"),
        (429, r#"{"error":{"message":"broke","code":"insufficient_quota"}}"#, ErrorKind::Billing, "broke"),
        (404, r#"{"detail":"no such model"}"#, ErrorKind::Refused, "no such model"),
        (400, r#"[{"error":{"code":400,"message":"bad"}}]"#, ErrorKind::Refused, "bad"),
        (400, r#"{"message":"maximum context length is 8"}"#, ErrorKind::ContextTooLong, "maximum context length is 8"),
        (302, "", ErrorKind::Protocol, "no message"),
    ];
    for (status, body, kind, message) in cases {
        // The header of a redirect leads to another host; nothing may go there.
        let answer = Answer::status(status, body).header("location", "http://192.0.2.1/steal");
        let (reply, heard, server) = chat(vec![answer]).await;
        assert_eq!((reply, heard.as_str()), (Err(error(kind, status, message)), ""), "{status} {body}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn transient_failures_are_asked_again_and_the_last_one_is_told() {
    let body = r#"{"object":"error","message":"slow down","code":429}"#;
    let answers = vec![
        Answer::status(429, body).header("retry-after", "0"),
        Answer::status(503, "busy"),
        Answer::stream(&[delta(json!({"content": "hi"})), finish("stop")]),
    ];
    let (reply, heard, server) = chat(answers).await;
    let usage = None;
    let expected = Reply { text: "hi".into(), usage, ..Reply::default() };
    assert_eq!((reply, heard.as_str()), (Ok(expected), "||hi"));
    assert_eq!(server.asked().len(), 3);

    let (reply, _, server) = chat((0..9).map(|n| Answer::status(500 + n, "down")).collect()).await;
    assert_eq!(reply, Err(error(ErrorKind::Server, 504, "down")));
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn pieces_may_end_inside_a_character_and_inside_the_json_of_arguments() {
    let mut answer = Answer::calls("Grüße, 世界 🙂", &[("a", "plan", r#"{"text":"naïve \"x\" 🙂"}"#)]);
    let whole = answer.pieces.concat();
    // Every piece is one byte: each character and each line is cut everywhere it can be.
    answer.pieces = whole.iter().map(|byte| vec![*byte]).collect();
    let (reply, heard, _) = chat(vec![answer]).await;
    let expected = Reply {
        text: "Grüße, 世界 🙂".into(),
        calls: vec![call("a", "plan", r#"{"text":"naïve \"x\" 🙂"}"#)],
        finish: Finish::Calls,
        usage: Some(Usage { prompt: 100, completion: 10 }),
        ..Reply::default()
    };
    assert_eq!((reply, heard.as_str()), (Ok(expected), "Grüße, 世界 🙂<plan>"));
}

#[tokio::test]
async fn nothing_of_a_cut_reply_is_used_wherever_it_is_cut() {
    let whole = || Answer::calls("Hi.", &[("a", "plan", "{}")]);
    // The last three pieces say that the reply is complete; before them every cut is noticed.
    let complete = whole().pieces.len() - 3;
    for pieces in 0..=complete {
        for polite in [false, true] {
            // A polite cut ends the body properly, but in the middle of the reply.
            let cut = Answer { cut: !polite, ..whole().cut_after(pieces) };
            let (reply, heard, server) = chat(vec![cut, whole()]).await;
            let reply = reply.unwrap();
            assert_eq!((reply.text.as_str(), reply.calls), ("Hi.", vec![call("a", "plan", "{}")]), "{pieces}");
            assert!(heard.ends_with("|Hi.<plan>"), "{heard}");
            assert_eq!(server.asked().len(), 2);
        }
    }
}

#[tokio::test]
async fn what_a_lost_attempt_cost_is_unknown_unless_asking_is_free() {
    let whole = || Answer::calls("Hi.", &[]);
    let usage = Some(Usage { prompt: 100, completion: 10 });
    for (first, facts, expected) in [
        (whole().cut_after(1), Facts::default(), (None, None)),
        (whole().cut_after(0), Facts::default(), (None, None)),
        (whole().cut_after(1), Facts::FREE, (usage, Some(0.0))),
        // A request that was turned away cost nothing.
        (Answer::status(429, "slow down").header("retry-after", "0"), Facts::default(), (usage, None)),
    ] {
        let server = Server::start(vec![first, whole()]).await;
        let model = OpenAi::with_pace(Endpoint { facts, ..endpoint(&server) }, 1, quick()).unwrap();
        let messages = [Message::User("hello".into())];
        let reply =
            model.chat(Request { messages: &messages, tools: &[], form: Form::default() }, &mut |_| {}).await.unwrap();
        assert_eq!((reply.usage, reply.usd), expected);
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn who_pays_for_each_attempt_is_told_of_the_first_that_may_have_cost_something() {
    let whole = || Answer::calls("Hi.", &[]);
    let busy = || Answer::status(429, "slow down").header("retry-after", "0");
    let once = Form { once: true, ..Form::default() };
    for (answers, asked, spent) in [
        (vec![busy(), whole()], 2, None),
        (vec![busy(), whole().cut_after(1), whole()], 2, Some(true)),
        (vec![Answer::status(401, "no")], 1, Some(false)),
    ] {
        let server = Server::start(answers).await;
        let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
        let messages = [Message::User("hello".into())];
        let reply = model.chat(Request { messages: &messages, tools: &[], form: once }, &mut |_| {}).await;
        assert_eq!((reply.err().map(|error| error.spent), server.asked().len()), (spent, asked));
    }
    // Nobody there, nothing spent.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    let endpoint =
        Endpoint { base: format!("http://{nobody}/v1"), model: "m".into(), key: None, facts: Facts::default() };
    let model = OpenAi::with_pace(endpoint, 1, quick()).unwrap();
    let messages = [Message::User("hello".into())];
    let reply = model.chat(Request { messages: &messages, tools: &[], form: once }, &mut |_| {}).await;
    assert_eq!(reply.map_err(|error| (error.kind, error.spent)), Err((ErrorKind::Network, false)));
}

#[tokio::test]
async fn a_cut_after_the_end_of_the_reply_loses_only_the_usage() {
    let whole = Answer::calls("Hi.", &[("a", "plan", "{}")]);
    let upto_finish = whole.pieces.len() - 2;
    let (reply, heard, server) = chat(vec![whole.cut_after(upto_finish)]).await;
    let calls = vec![call("a", "plan", "{}")];
    let expected = Reply { text: "Hi.".into(), calls, finish: Finish::Calls, ..Reply::default() };
    assert_eq!((reply, heard.as_str(), server.asked().len()), (Ok(expected), "Hi.<plan>", 1));
}

#[tokio::test]
async fn a_reply_without_end_is_given_up() {
    let text = "x".repeat(1 << 20);
    let events: Vec<Value> = (0..6).map(|_| delta(json!({ "content": text }))).collect();
    let (reply, ..) = chat(vec![Answer::stream(&events)]).await;
    let long = ModelError::new(ErrorKind::Protocol, "the reply is longer than 4194304 bytes");
    assert_eq!(reply, Err(ModelError { spent: true, ..long }));
}

#[tokio::test]
async fn a_server_that_always_cuts_is_given_up() {
    let (reply, _, server) = chat((0..9).map(|_| Answer::calls("Hi.", &[]).cut_after(1)).collect()).await;
    assert_eq!(reply.map_err(|error| (error.kind, error.status)), Err((ErrorKind::Network, None)));
    assert_eq!(server.asked().len(), 5);
}

/// The calls that come out of these deltas.
async fn calls_of(deltas: &[Value]) -> Vec<Call> {
    let mut events: Vec<Value> = deltas.iter().map(|calls| delta(json!({ "tool_calls": calls }))).collect();
    events.push(finish("tool_calls"));
    chat(vec![Answer::stream(&events)]).await.0.unwrap().calls
}

#[tokio::test]
async fn call_deltas_are_put_together_however_a_server_splits_them() {
    // Two calls whose pieces alternate.
    let mixed = [
        json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": "{\"p\""}}]),
        json!([{"index": 1, "id": "b", "function": {"name": "y", "arguments": ""}}]),
        json!([{"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "{}"}}]),
    ];
    assert_eq!(calls_of(&mixed).await, [call("a", "x", "{\"p\":1}"), call("b", "y", "{}")]);
    // Whole calls, all under index 0, with the name as id or with no id at all, arguments as an object.
    let same_index = [
        json!([{"index": 0, "id": "1", "function": {"name": "x", "arguments": "{}"}}]),
        json!([{"index": 0, "id": "2", "function": {"name": "x", "arguments": "{}"}}]),
    ];
    assert_eq!(calls_of(&same_index).await, [call("1", "x", "{}"), call("2", "x", "{}")]);
    let empty = [
        json!([{"index": 0, "id": "1", "function": {"name": "x", "arguments": ""}}]),
        json!([{"index": 0, "id": "2", "function": {"name": "x", "arguments": ""}}]),
        json!([{"function": {"name": "y"}}]),
    ];
    assert_eq!(calls_of(&empty).await, [call("1", "x", ""), call("2", "x", ""), call("", "y", "")]);
    let no_ids = [
        json!([{"index": 0, "function": {"name": "x", "arguments": {"p": 1}}}]),
        json!([{"function": {"name": "y", "arguments": "{}"}}]),
    ];
    assert_eq!(calls_of(&no_ids).await, [call("", "x", "{\"p\":1}"), call("", "y", "{}")]);
    // Id and name repeated with every piece.
    let repeated = [
        json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": "{\"p\""}}]),
        json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": ":1}"}}]),
    ];
    assert_eq!(calls_of(&repeated).await, [call("a", "x", "{\"p\":1}")]);
    // A signature that must go back unread.
    let signed = json!([{"index": 0, "id": "a", "function": {"name": "x"}, "extra_content": {"google": {"s": "1"}}}]);
    let expected = Call { extra: Some(json!({"google": {"s": "1"}})), ..call("a", "x", "") };
    assert_eq!(calls_of(&[signed]).await, [expected]);
}

#[tokio::test]
async fn oddities_of_compatible_servers_are_taken_as_they_come() {
    let text = |text: &str, finish: Finish| Ok(Reply { text: text.into(), finish, ..Reply::default() });
    // Empty and unknown reasons, unknown fields, content in parts, null everywhere, half a usage.
    let odd = [
        json!({"choices": [{"delta": {"content": [{"type": "text", "text": "a"}], "reasoning_content": "hm"},
               "finish_reason": ""}], "usage": null}),
        json!({"choices": [{"delta": {"content": null, "tool_calls": null}, "finish_reason": "stop_sequence"}],
               "usage": {"prompt_tokens": 3}}),
        json!({"nothing": "known"}),
    ];
    let (reply, _, server) = chat(vec![Answer::stream(&odd)]).await;
    let fields = json!({"reasoning_content": "hm"}).as_object().unwrap().clone();
    let opaque = Some(Opaque { base: server.base.clone(), model: "m".into(), fields });
    assert_eq!(reply, text("a", Finish::Other("stop_sequence".into())).map(|reply| Reply { opaque, ..reply }));
    // `[DONE]` without any reason is an end, too.
    let (reply, ..) = chat(vec![Answer::stream(&[delta(json!({"content": "b"}))])]).await;
    assert_eq!(reply, text("b", Finish::Other(String::new())));
    // A price, where the provider tells it.
    let priced = [finish("stop"), json!({"usage": {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.25}})];
    let (reply, ..) = chat(vec![Answer::stream(&priced)]).await;
    let reply = reply.unwrap();
    assert_eq!((reply.usage, reply.usd), (Some(Usage { prompt: 1, completion: 2 }), Some(0.25)));
    // Zeros where nothing was counted are no price.
    let zeros = json!({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0}});
    let (reply, ..) = chat(vec![Answer::stream(&[delta(json!({"content": "c"})), finish("stop"), zeros])]).await;
    assert_eq!(reply, text("c", Finish::Stop));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = "{\n \"choices\": [{\"message\": {\"content\": \"hi\", \"tool_calls\": [{\"id\": \"a\", \"function\": \
                {\"name\": \"x\", \"arguments\": \"{}\"}}]}, \"finish_reason\": \"tool_calls\"}]}";
    let mut answer = Answer::status(200, body);
    answer.headers = vec![("content-type", "application/json".into())];
    let (reply, ..) = chat(vec![answer]).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.calls), ("hi", vec![call("a", "x", "{}")]));
}

#[tokio::test]
async fn an_error_inside_a_stream_has_its_kind() {
    let integer = json!({"error": {"message": "slow", "code": 429}});
    let whole = || Answer::stream(&[delta(json!({"content": "x"})), finish("stop")]);
    let (reply, heard, _) = chat(vec![Answer::stream(&[delta(json!({"content": "par"})), integer]), whole()]).await;
    assert_eq!((reply.unwrap().text.as_str(), heard.as_str()), ("x", "par|x"));
    let wrong_key = json!({"error": {"message": "key", "code": "401"}});
    let (reply, ..) = chat(vec![Answer::stream(&[wrong_key])]).await;
    assert_eq!(reply, Err(ModelError { spent: true, ..error(ErrorKind::Auth, 401, "key") }));
    let (reply, ..) = chat(vec![Answer::stream(&[finish("content_filter")])]).await;
    assert_eq!(reply.map_err(|error| error.kind), Err(ErrorKind::Refused));
}

#[tokio::test]
async fn a_server_that_knows_no_usage_is_asked_without_it() {
    let refusal = Answer::status(400, r#"{"message":"unknown field stream_options"}"#);
    let (reply, _, server) = chat(vec![refusal, Answer::stream(&[finish("stop")])]).await;
    assert_eq!(reply.unwrap().usage, None);
    let options: Vec<Value> = server.asked().iter().map(|asked| asked.body["stream_options"].clone()).collect();
    assert_eq!(options, [json!({"include_usage": true}), Value::Null]);
}

#[tokio::test]
async fn the_form_of_a_reply_is_asked_for_and_left_out_where_a_server_does_not_know_it() {
    let refusals = ["response_format is not supported", "Unsupported parameter: temperature"]
        .map(|why| Answer::status(400, &json!({"error": {"message": why}}).to_string()));
    let server = Server::start(refusals.into_iter().chain([Answer::stream(&[finish("stop")])]).collect()).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let schema = json!({"type": "object"});
    let form =
        Form { schema: Some(&schema), max_tokens: Some(9), temperature: Some(0.5), seed: Some(u64::MAX), once: false };
    let messages = [Message::User("hello".into())];
    model.chat(Request { messages: &messages, tools: &[], form }, &mut |_| {}).await.unwrap();
    let asked = server.asked();
    let wanted = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": false}});
    let formats: Vec<&Value> = asked.iter().map(|asked| &asked.body["response_format"]).collect();
    assert_eq!(formats, [&wanted, &Value::Null, &Value::Null]);
    let rest: Vec<_> = ["max_tokens", "temperature", "seed"].map(|field| asked[2].body[field].clone()).into();
    assert_eq!(rest, [json!(9), Value::Null, json!(0x7fff_ffff)]);
}

#[tokio::test]
async fn without_a_key_no_authorization_is_sent_and_free_endpoints_cost_nothing() {
    let server = Server::start(vec![Answer::stream(&[finish("stop")])]).await;
    let endpoint = Endpoint { key: None, facts: Facts::FREE, ..endpoint(&server) };
    let model = OpenAi::with_pace(endpoint, 1, Pace::default()).unwrap();
    let reply = model.chat(Request { messages: &[], tools: &[], form: Form::default() }, &mut |_| {}).await.unwrap();
    assert_eq!(reply.usd, Some(0.0));
    let headers = server.asked()[0].headers.clone();
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_refuse() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint { base: format!("http://{free}/v1"), model: "m".into(), key: None, facts: Facts::FREE };
    let model = OpenAi::with_pace(endpoint, 1, quick()).unwrap();
    let mut tries = 1;
    let mut on = |delta: Delta<'_>| tries += u32::from(matches!(delta, Delta::Again { .. }));
    let error = model.chat(Request { messages: &[], tools: &[], form: Form::default() }, &mut on).await.unwrap_err();
    assert_eq!((error.kind, tries), (ErrorKind::Network, 5));
    assert!(error.message.to_lowercase().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn a_key_is_never_shown() {
    let endpoint =
        Endpoint { base: "http://x".into(), model: "m".into(), key: Some("sk-secret".into()), facts: Facts::default() };
    assert!(!format!("{endpoint:?}").contains("sk-secret"));
    let broken = Endpoint { key: Some("two\nlines".into()), ..endpoint };
    let error = OpenAi::new(broken, 0).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(!error.message.contains("lines\n") && !error.message.contains("two"));
}
