//! `tunesmith doctor --planner`: a model is tried with five questions at most.

use serde_json::{Value, json};

use crate::{
    cli::{Said, command},
    server::{Answer, Server, delta, finish},
};

const NOTE: &str = r#"{"title": "ready", "count": 3}"#;

fn text(pieces: &[&str]) -> Answer {
    let mut events: Vec<Value> = pieces.iter().map(|piece| delta(json!({ "content": piece }))).collect();
    events.push(finish("stop"));
    events.push(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}));
    Answer::stream(&events)
}

/// What the doctor says of a server with these answers.
async fn doctor(answers: Vec<Answer>, more: &'static [&'static str]) -> (Said, Server) {
    let server = Server::start(answers).await;
    let planner = format!("url:{}#m", server.base);
    let said = tokio::task::spawn_blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<&str> = ["doctor", "--planner", &planner].iter().chain(more).copied().collect();
        command(dir.path(), &args).env("TUNESMITH_API_KEY", "sk-secret").output().unwrap().into()
    });
    (said.await.unwrap(), server)
}

fn works(said: &Said) -> Vec<(String, Option<bool>)> {
    let checks = said.json()["checks"].as_array().unwrap().clone();
    checks.iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check["works"].as_bool())).collect()
}

fn expected(checks: &[(&str, Option<bool>)]) -> Vec<(String, Option<bool>)> {
    checks.iter().map(|(name, works)| ((*name).to_owned(), *works)).collect()
}

fn whole() -> Vec<Answer> {
    vec![
        text(&["1 2", " 3"]),
        Answer::calls("", &[("c1", "note", NOTE)]),
        text(&["done"]),
        Answer::calls("", &[("a", "note", r#"{"title": "a"}"#), ("b", "note", r#"{"title": "b"}"#)]),
        text(&[r#"{"ready": true}"#]),
        Answer::status(200, &json!({"data": [{"id": "m", "max_model_len": 16384}]}).to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_all_can_plan() {
    let (said, server) = doctor(whole(), &["--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let names = ["key", "answers", "streams", "tool calls", "goes on", "parallel calls", "structured output", "window"];
    let mut checks: Vec<(&str, Option<bool>)> = names.iter().map(|name| (*name, Some(true))).collect();
    checks.push(("price", None));
    assert_eq!(works(&said), expected(&checks));
    let found = said.json();
    assert_eq!((&found["can_plan"], &found["tokens"], &found["usd"]), (&json!(true), &json!(550), &Value::Null));
    assert_eq!(found["checks"][7]["found"], "16384 tokens, told by the server");
    let before = format!(
        "m at {} is asked up to 5 questions, each for at most 2000 tokens; nothing of yours is sent\n",
        server.base
    );
    assert_eq!(said.err, before);
    assert!(!said.out.contains("sk-secret"));
    let asked = server.asked();
    assert_eq!(asked.len(), 6);
    assert!(asked[..5].iter().all(|asked| asked.body["max_tokens"] == 2000 && asked.body.get("tool_choice").is_none()));
    // The conversation goes on with the call and its result.
    let roles: Vec<&Value> = asked[2].body["messages"].as_array().unwrap().iter().map(|m| &m["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table_and_what_to_do() {
    let (said, server) = doctor(whole(), &[]).await;
    let timed = |line: &&str| !["answers", "streams", "speed"].iter().any(|name| line.trim_start().starts_with(name));
    let lines: Vec<&str> = said.out.lines().filter(timed).collect();
    let head = format!("m at {}", server.base);
    assert_eq!(
        lines,
        [
            head.as_str(),
            "  key                yes  TUNESMITH_API_KEY is set",
            "  tool calls         yes  by itself",
            "  goes on            yes  after a tool's result",
            "  parallel calls     yes  2 in one reply",
            "  structured output  yes  the answer fits the schema",
            "  window             yes  16384 tokens, told by the server",
            "  price                   unknown",
            "  spent                   550 tokens, dollars unknown",
            "",
            "It can plan.",
            "  price: --usd holds only where the provider says what a reply costs; put the price into models.toml",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_the_text_are_enough() {
    let call = r#"<tool_call>{"name": "note", "arguments": {'title': 'ready', 'count': 3}}</tool_call>"#;
    let answers = vec![text(&["1"]), text(&[call]), text(&["done"]), text(&[call]), text(&["yes"])];
    let (said, server) = doctor(answers, &["--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let no = Some(false);
    let checks = [
        ("key", Some(true)),
        ("answers", Some(true)),
        ("streams", no),
        ("tool calls", Some(true)),
        ("goes on", Some(true)),
        ("parallel calls", no),
        ("structured output", no),
        ("window", None),
        ("price", None),
    ];
    assert_eq!(works(&said), expected(&checks));
    assert_eq!(said.json()["checks"][3]["found"], "in its text, and its arguments had to be mended");
    assert_eq!(server.asked()[2].body["messages"][1]["tool_calls"][0]["id"], "call_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_calls_nothing_or_something_else_cannot_plan() {
    let wrong = r#"{"title": "ready", "count": "three"}"#;
    let cut = r#"{"title": "re"#;
    for (answer, found) in [
        (text(&["I would call note."]), r#"none; it said "I would call note.""#),
        (
            Answer::calls("", &[("c", "note", wrong)]),
            r#"note({"title":"ready","count":"three"}) instead of note({"title":"ready","count":3})"#,
        ),
        (
            Answer::calls("", &[("c", "note", cut)]),
            r#"note({"title":"re"}) instead of note({"title":"ready","count":3})"#,
        ),
        (
            Answer::status(400, r#"{"error":"m does not support tools"}"#),
            "the provider declined the request (http 400): m does not support tools",
        ),
    ] {
        let (said, _) = doctor(vec![text(&["1 2", "3"]), answer], &["--json"]).await;
        assert_eq!(said.code, 5, "{said:?}");
        let calls = said.json()["checks"][3].clone();
        assert_eq!((&calls["works"], &calls["found"]), (&json!(false), &json!(found)));
        assert!(calls["advice"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_ends_the_trial_at_once() {
    let (said, server) = doctor(vec![Answer::status(401, "bad key sk-secret")], &["--json"]).await;
    assert_eq!(said.code, 5, "{said:?}");
    assert_eq!(works(&said), expected(&[("key", Some(true)), ("answers", Some(false)), ("price", None)]));
    assert_eq!(said.json()["checks"][1]["found"], "the provider rejects the key (http 401): bad key [key]");
    assert_eq!((&said.json()["tokens"], &said.json()["usd"]), (&json!(0), &json!(0.0)));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_cannot_be_tried_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let doctor = |args: &[&str]| -> Said {
        command(dir.path(), &[&["doctor", "--planner"], args].concat()).output().unwrap().into()
    };
    for (args, code, why) in [
        (&["playbook"][..], 2, "error: --planner playbook: it is built in and needs no model; nothing to try\n"),
        (&["scripted:x"], 2, "error: --planner scripted:x: it says what a file says; nothing to try\n"),
        (&["openai:x"], 5, "error: no key for https://api.openai.com/v1; set OPENAI_API_KEY\n"),
    ] {
        assert_eq!(doctor(args).refused(code), why);
    }
    assert!(doctor(&["gpt"]).refused(2).starts_with("error: --planner: unknown planner \"gpt\""));
    assert_eq!(doctor(&["ollama:x", "--require", "files"]).code, 2);
}
