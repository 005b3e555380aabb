//! Faults of servers, each over a real socket: what comes out, what was heard, and how often it was asked.

use std::time::Duration;

use serde_json::{Value, json};
use tunesmith::model::{
    ChatModel, Delta, ErrorKind, Finish, Form, Message, Request, ToolSpec,
    openai::{OpenAi, Pace},
};

use crate::{
    dialogue::endpoint,
    server::{Answer, Server, delta, finish},
};

/// What a fault comes to.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// The reply: its text, its calls as `name(arguments)`, and why it stopped.
    Reply(&'static str, &'static [&'static str], Finish),
    /// The error: its kind, its status, how its message begins, the window, and whether something may have been spent.
    Error(ErrorKind, Option<u16>, &'static str, Option<u64>, bool),
}

use Outcome::{Error, Reply};

struct Fault {
    name: &'static str,
    answers: Vec<Answer>,
    outcome: Outcome,
    /// Text and calls as they were heard; `|` where all before became void.
    heard: &'static str,
    requests: usize,
}

/// A stream that ends before it begins, as a name of a fault.
const NOTHING: &str = "ended before the first event";

/// Faults in which a server says nothing at all.
const EMPTY: [&str; 4] =
    [NOTHING, "an empty answer", "nothing but empty answers", "no stream where a request is refused"];

const CALLED: Outcome = Reply("Grüße.", &["plan({\"n\": 12345})"], Finish::Calls);
const HI: Outcome = Reply("hi", &[], Finish::Stop);

/// A whole answer: text with a character of several bytes, a call whose arguments hold a number, the end.
fn whole() -> Answer {
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "type": "function",
                      "function": {"name": "plan", "arguments": "{\"n\": 12345}"}}]});
    Answer::stream(&[delta(json!({"role": "assistant", "content": "Grüße."})), delta(call), finish("tool_calls")])
}

fn hi() -> Answer {
    Answer::stream(&[delta(json!({"content": "hi"})), finish("stop")])
}

fn busy() -> Answer {
    Answer::status(429, "slow down").header("retry-after", "0")
}

fn with_type(kind: &str, body: &str) -> Answer {
    let mut answer = Answer::status(200, body);
    answer.headers = vec![("content-type", kind.to_owned())];
    answer
}

fn events(text: &str) -> Answer {
    with_type("text/event-stream", text)
}

fn says(status: u16, message: &str) -> Answer {
    Answer::status(status, &json!({"error": {"message": message}}).to_string())
}

fn fault(name: &'static str, answers: Vec<Answer>, outcome: Outcome, heard: &'static str, requests: usize) -> Fault {
    Fault { name, answers, outcome, heard, requests }
}

/// Streams that break; whatever was heard of them is void, and the next answer counts whole.
fn cuts() -> Vec<Fault> {
    let two = |name, first: Answer, heard| fault(name, vec![first, whole()], CALLED, heard, 2);
    let mut faults = vec![
        two("closed before the first byte", Answer::raw(b""), "|Grüße.<plan>"),
        two("cut in the status line", Answer::raw(b"HTTP/1.1 20"), "|Grüße.<plan>"),
        two("cut in a header", Answer::raw(b"HTTP/1.1 200 OK\r\ncontent-ty"), "|Grüße.<plan>"),
        two(
            "less than was promised",
            Answer::raw(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 999\r\n\r\ndata: {}\n\n",
            ),
            "|Grüße.<plan>",
        ),
    ];
    for polite in [false, true] {
        let cut = |text, bytes| whole().cut_in(text, bytes, polite);
        faults.extend([
            two(if polite { NOTHING } else { "cut before the first event" }, cut("data: ", 0), "|Grüße.<plan>"),
            two("cut in a character", cut("ü", 1), "|Grüße.<plan>"),
            two("cut in the name of a field", cut("\"choices", 5), "|Grüße.<plan>"),
            two("cut in an event's field", cut("data: ", 3), "|Grüße.<plan>"),
            two("cut between events", cut("\n\ndata", 2), "Grüße.|Grüße.<plan>"),
            two("cut in the name of a call", cut("\"plan", 3), "Grüße.|Grüße.<plan>"),
            two("cut in a number of the arguments", cut("12345", 3), "Grüße.|Grüße.<plan>"),
            two("cut in the reason to stop", cut("\"tool_calls\"}]", 4), "Grüße.<plan>|Grüße.<plan>"),
            // The reason was heard, so only the usage may be lost.
            fault("cut in the last line", vec![cut("data: [DONE]", 8)], CALLED, "Grüße.<plan>", 1),
        ]);
    }
    faults
}

/// Servers that say no, wait, or nothing.
fn refusals() -> Vec<Fault> {
    use ErrorKind::{Auth, Billing, ContextTooLong, Network, Rate, Refused, Server};
    let one = |name, answer, kind, status, message| {
        fault(name, vec![answer], Error(kind, Some(status), message, None, false), "", 1)
    };
    let date = "Sat, 21 Nov 2026 10:00:00 GMT";
    vec![
        fault("a storm of 429", vec![busy(), busy(), busy(), busy(), hi()], HI, "||||hi", 5),
        fault("a storm without end", vec![busy(); 9], Error(Rate, Some(429), "slow down", None, false), "||||", 5),
        fault(
            "429 until a date",
            vec![Answer::status(429, "").header("date", date).header("retry-after", date), hi()],
            HI,
            "|hi",
            2,
        ),
        fault("429 with milliseconds", vec![Answer::status(429, "").header("retry-after-ms", "1"), hi()], HI, "|hi", 2),
        one("429 for an hour", Answer::status(429, "later").header("retry-after", "3600"), Rate, 429, "later"),
        one("no quota left", says(429, "insufficient_quota"), Billing, 429, "insufficient_quota"),
        one("pay first", Answer::status(402, r#"{"error":"pay first"}"#), Billing, 402, "pay first"),
        one("a wrong key", says(401, "bad key sk-secret"), Auth, 401, "bad key [key]"),
        one("no such model", Answer::status(404, r#"{"detail":"no model m"}"#), Refused, 404, "no model m"),
        one(
            "a validation error",
            Answer::status(422, r#"{"detail":[{"msg":"bad field"}]}"#),
            Refused,
            422,
            "bad field",
        ),
        one(
            "a redirect",
            Answer::status(307, "").header("location", "http://192.0.2.1/"),
            ErrorKind::Protocol,
            307,
            "no message",
        ),
        fault(
            "a conversation that is too long",
            vec![Answer::status(
                400,
                r#"{"error":{"code":400,"message":"request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":2000,"n_ctx":1024}}"#,
            )],
            Error(ContextTooLong, Some(400), "request exceeds the available context size", Some(1024), false),
            "",
            1,
        ),
        fault("a 502 of a proxy", vec![Answer::status(502, "<html>bad gateway"), hi()], HI, "|hi", 2),
        fault("down", vec![Answer::status(503, "down"); 9], Error(Server, Some(503), "down", None, false), "||||", 5),
        fault("an error body that stalls", vec![Answer::status(500, "wait").hold(), hi()], HI, "|hi", 2),
        fault("no head", vec![Answer::raw(b"").hold(), hi()], HI, "|hi", 2),
        fault("silence after the head", vec![events("").hold(), hi()], HI, "|hi", 2),
        fault(
            "silence within the reply",
            vec![events("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n").hold(), hi()],
            HI,
            "x|hi",
            2,
        ),
        fault(
            "silence without end",
            vec![events("").hold(); 9],
            Error(Network, None, "no next piece for ", None, true),
            "||||",
            5,
        ),
    ]
}

/// Answers in other forms than the one that was asked for.
fn oddities() -> Vec<Fault> {
    use ErrorKind::{Auth, ContextTooLong, Network, Protocol, Refused};
    let message = json!({"content": "hi", "tool_calls": null, "function_call": null});
    let plain = |extra: Value| {
        let mut body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with_type("application/json; charset=utf-8", &body.to_string())
    };
    let in_stream = |error: Value| Answer::stream(&[delta(json!({"content": "par"})), json!({ "error": error })]);
    let lines = "\u{feff}: a comment\r\n\r\nevent: message\r\nid: 7\r\nretry: 5\r\ndata: {\"choices\":[{\"delta\":\
                 {\"content\":\"hi\"}}]}\r\n\r\n: ping\r\n\r\ndata:{\"choices\":[{\"delta\":{},\"finish_reason\":\
                 \"stop\"}]}\r\n\r\ndata:[DONE]\r\n\r\n";
    let two_choices = json!({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"},
                                         {"index": 1, "delta": {"content": "no"}}]});
    let spent = |kind, status, message| Error(kind, status, message, None, true);
    vec![
        fault("plain JSON instead of a stream", vec![plain(json!({}))], HI, "hi", 1),
        fault(
            "an error in plain JSON with status 200",
            vec![plain(json!({"error": {"message": "no", "code": 401}}))],
            spent(Auth, Some(401), "no"),
            "",
            1,
        ),
        fault(
            "JSON that is none",
            vec![with_type("application/json", "{\"choices\": [")],
            spent(Protocol, None, "the answer is not the JSON it claims to be"),
            "",
            1,
        ),
        fault(
            "a web page",
            vec![with_type("text/html; charset=utf-8", "<html>sign in")],
            spent(Protocol, None, "it answers with a web page"),
            "",
            1,
        ),
        fault(
            "no stream where a request is refused",
            vec![events(""), says(400, "This model's maximum context length is 2048 tokens.")],
            Error(ErrorKind::ContextTooLong, Some(400), "This model's maximum", Some(2048), true),
            "|",
            2,
        ),
        fault("an empty answer", vec![events(""), hi()], HI, "|hi", 2),
        fault(
            "nothing but empty answers",
            vec![events(""); 9],
            spent(Network, None, "the stream broke off"),
            "||||",
            5,
        ),
        fault("comments, names, CRLF and a byte order mark", vec![events(lines)], HI, "hi", 1),
        fault(
            "an event that is no JSON",
            vec![events("data: oops\n\n")],
            spent(Protocol, None, "a piece of the answer is not JSON"),
            "",
            1,
        ),
        fault("two choices", vec![Answer::stream(&[two_choices])], HI, "hi", 1),
        fault(
            "no choices at all",
            vec![Answer::stream(&[json!({"choices": []}), json!(7), json!(null)])],
            Reply("", &[], Finish::Other(String::new())),
            "",
            1,
        ),
        fault(
            "an unknown reason",
            vec![Answer::stream(&[delta(json!({"content": "hi"})), finish("tired")])],
            Reply("hi", &[], Finish::Other("tired".into())),
            "hi",
            1,
        ),
        fault(
            "a number as reason",
            vec![Answer::stream(&[
                delta(json!({"content": "hi"})),
                json!({"choices": [{"delta": {}, "finish_reason": 1}]}),
            ])],
            Reply("hi", &[], Finish::Other(String::new())),
            "hi",
            1,
        ),
        fault(
            "an overload inside the stream",
            vec![in_stream(json!({"type": "overloaded_error", "message": "busy"})), hi()],
            HI,
            "par|hi",
            2,
        ),
        fault(
            "an integer code inside the stream",
            vec![in_stream(json!({"code": 503, "message": "busy"})), hi()],
            HI,
            "par|hi",
            2,
        ),
        fault("an error as text inside the stream", vec![in_stream(json!("busy")), hi()], HI, "par|hi", 2),
        fault(
            "too long, said inside the stream",
            vec![in_stream(json!({"code": 400, "message": "m", "type": "exceed_context_size_error", "n_ctx": 512}))],
            Error(ContextTooLong, Some(400), "m", Some(512), true),
            "par",
            1,
        ),
        fault(
            "a filter",
            vec![Answer::stream(&[delta(json!({"content": "h"})), finish("content_filter")])],
            spent(Refused, None, "a content filter stopped the reply"),
            "h",
            1,
        ),
        fault(
            "a reply without end",
            vec![Answer::stream(&vec![
                delta(
                    json!({"content": "", "tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(1 << 20)}}]})
                );
                6
            ])],
            spent(Protocol, None, "the reply is longer than"),
            "",
            1,
        ),
        fault(
            "an event without end",
            vec![events(&"data: xxxx\n".repeat(1 << 20))],
            spent(Protocol, None, "the reply is longer than"),
            "",
            1,
        ),
        fault(
            "bytes that are no text",
            vec![Answer {
                pieces: vec![
                    b"data: {\"choices\":[{\"delta\":{\"content\":\"h\xffi\"},\"finish_reason\":\"stop\"}]}\n\n"
                        .to_vec(),
                ],
                ..events("")
            }],
            Reply("h\u{fffd}i", &[], Finish::Stop),
            "h\u{fffd}i",
            1,
        ),
        fault(
            "JSON without end",
            vec![with_type("application/json", &" ".repeat(5 << 20))],
            spent(Protocol, None, "the reply is longer than"),
            "",
            1,
        ),
    ]
}

#[tokio::test]
async fn each_fault_comes_to_a_whole_reply_or_a_typed_error() {
    let faults: Vec<Fault> = cuts().into_iter().chain(refusals()).chain(oddities()).collect();
    assert!(faults.len() >= 50);
    for Fault { name, answers, outcome, heard: expected, requests } in faults {
        let server = Server::start(answers).await;
        // Long enough for an answer on a machine that does other things, too.
        let short = Duration::from_millis(500);
        let pace = Pace { head: short, idle: short, backoff: Duration::ZERO, ..Pace::default() };
        let model = OpenAi::with_pace(endpoint(&server), 1, pace).unwrap();
        let mut heard = String::new();
        let mut on = |delta: Delta<'_>| match delta {
            Delta::Text(text) => heard.push_str(text),
            Delta::Call { name } => heard.push_str(&format!("<{name}>")),
            Delta::Again { .. } => heard.push('|'),
        };
        let messages = [Message::User("hello".into())];
        let schema = json!({"type": "object"});
        let tools =
            [ToolSpec { name: "plan".into(), description: "Plans.".into(), schema: schema.clone(), strict: schema }];
        let reply = model.chat(Request { messages: &messages, tools: &tools, form: Form::default() }, &mut on).await;
        match (reply, &outcome) {
            (Ok(reply), Reply(text, calls, finish)) => {
                let called: Vec<String> =
                    reply.calls.iter().map(|call| format!("{}({})", call.name, call.arguments)).collect();
                assert_eq!(
                    (reply.text.as_str(), called.as_slice(), &reply.finish),
                    (*text, &to_owned(calls)[..], finish),
                    "{name}"
                );
            }
            (Err(error), Error(kind, status, message, window, spent)) => {
                let got = (error.kind, error.status, error.window, error.spent);
                assert_eq!(got, (*kind, *status, *window, *spent), "{name}: {error}");
                assert!(error.message.starts_with(message), "{name}: {error}");
            }
            (reply, expected) => panic!("{name}: {expected:?} was expected, not {reply:?}"),
        }
        assert_eq!(heard, expected, "{name}");
        let asked = server.asked();
        assert_eq!(asked.len(), requests, "{name}");
        // Each request is the same, with nothing in it that was not needed.
        let wanted = json!({
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": true,
            "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function":
                       {"name": "plan", "description": "Plans.", "parameters": {"type": "object"}}}],
        });
        let mut plain = wanted.clone();
        plain["stream"] = json!(false);
        plain.as_object_mut().unwrap().shift_remove("stream_options");
        for (at, asked) in asked.iter().enumerate() {
            // Where a stream was empty, the answer is asked for in one piece.
            let without = at > 0 && EMPTY.contains(&name);
            assert_eq!(asked.body, if without { plain.clone() } else { wanted.clone() }, "{name}");
        }
    }
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
