//! How much a model reads at once, and what it costs: known, told by the server, or unknown.

use serde_json::{Value, json};
use tunesmith::model::{
    ChatModel, Form, Message, Request,
    catalogue::Facts,
    openai::{Endpoint, OpenAi},
};
use tunesmith_harness::ask::Price;

use crate::{
    dialogue::{endpoint, quick},
    server::{Answer, Server, delta, finish},
};

fn said(value: &Value) -> Answer {
    Answer::status(200, &value.to_string())
}

fn missing() -> Answer {
    Answer::status(404, "no such page")
}

fn model(server: &Server, facts: Facts) -> OpenAi {
    OpenAi::with_pace(Endpoint { facts, ..endpoint(server) }, 1, quick()).unwrap()
}

async fn asked(model: &OpenAi) -> Result<Option<f64>, String> {
    let messages = [Message::User("hello".into())];
    let reply = model.chat(Request { messages: &messages, tools: &[], form: Form::default() }, &mut |_| {}).await;
    reply.map(|reply| reply.usd).map_err(|error| error.message)
}

#[tokio::test]
async fn each_kind_of_server_tells_its_window_in_its_own_place() {
    let list = |entry: Value| said(&json!({"object": "list", "data": [{"id": "other", "context_length": 1}, entry]}));
    let shown =
        |parameters: &str| said(&json!({"model_info": {"llama.context_length": 131_072}, "parameters": parameters}));
    let loaded = |name: &str| said(&json!({"models": [{"name": name, "context_length": 8192}]}));
    let (models, props, show, ps) = ("GET /v1/models", "GET /props", "POST /api/show", "GET /api/ps");
    let all = vec![models, props, show, ps];
    let cases = [
        ("vLLM", vec![list(json!({"id": "m", "max_model_len": 4096}))], Some(4096), vec![models]),
        ("OpenRouter", vec![list(json!({"id": "m", "context_length": 4096}))], Some(4096), vec![models]),
        ("Together", vec![said(&json!([{"id": "m", "context_length": 4096}]))], Some(4096), vec![models]),
        ("Anthropic", vec![list(json!({"id": "m", "max_input_tokens": 4096}))], Some(4096), vec![models]),
        (
            "llama.cpp",
            vec![
                said(&json!({"data": [{"id": "/tmp/x.gguf", "meta": {"n_ctx_train": 99}}]})),
                said(&json!({"default_generation_settings": {"n_ctx": 1024}})),
            ],
            Some(1024),
            vec![models, props],
        ),
        (
            "Ollama, loaded",
            vec![list(json!({"id": "m"})), missing(), shown(""), loaded("m:latest")],
            Some(8192),
            all.clone(),
        ),
        (
            "Ollama, with a setting",
            vec![list(json!({"id": "m"})), missing(), shown("stop  \"x\"\nnum_ctx    2048"), loaded("n")],
            Some(2048),
            all.clone(),
        ),
        // What the model was trained with is not what the server gives it.
        ("Ollama, before it is loaded", vec![missing(), missing(), shown(""), said(&json!({"models": []}))], None, all),
        ("one that tells nothing", vec![missing(), missing(), missing()], None, vec![models, props, show]),
        (
            "nonsense",
            vec![list(json!({"id": "m", "max_model_len": -1})), said(&json!(7)), said(&json!([]))],
            None,
            vec![models, props, show],
        ),
        ("zero", vec![list(json!({"id": "m", "max_model_len": 0}))], None, vec![models]),
        (
            "a page",
            vec![Answer::status(200, "<html>"), Answer::status(200, ""), missing()],
            None,
            vec![models, props, show],
        ),
    ];
    for (name, answers, window, lines) in cases {
        let server = Server::start(answers).await;
        assert_eq!(model(&server, Facts::default()).window().await, window, "{name}");
        let asked = server.asked();
        let expected: Vec<String> = lines.iter().map(|line| format!("{line} HTTP/1.1")).collect();
        assert_eq!(asked.iter().map(|asked| asked.line.clone()).collect::<Vec<_>>(), expected, "{name}");
        assert_eq!(asked[0].headers["authorization"], "Bearer sk-secret");
    }
}

#[tokio::test]
async fn what_is_known_is_not_asked_for_and_what_is_not_told_is_asked_for_thrice() {
    let server = Server::start(vec![]).await;
    let known = Facts { window: Some(7), ..Facts::default() };
    assert_eq!((model(&server, known).window().await, server.asked().len()), (Some(7), 0));
    let unknown = model(&server, Facts::default());
    for _ in 0..5 {
        assert_eq!(unknown.window().await, None);
    }
    assert_eq!(server.asked().iter().filter(|asked| asked.line.contains("/models")).count(), 3);
}

#[tokio::test]
async fn a_refusal_tells_the_window_and_goes_before_what_was_known() {
    let refusal = r#"{"error":{"message":"This model's maximum context length is 2048 tokens."}}"#;
    let server = Server::start(vec![Answer::status(400, refusal)]).await;
    let model = model(&server, Facts { window: Some(4096), ..Facts::default() });
    assert_eq!(asked(&model).await, Err("This model's maximum context length is 2048 tokens.".into()));
    assert_eq!((model.window().await, server.asked().len()), (Some(2048), 1));
}

#[tokio::test]
async fn a_reply_costs_what_the_provider_says_or_what_its_tokens_cost_or_nobody_knows() {
    let usage =
        |usage: Value| Answer::stream(&[delta(json!({"content": "hi"})), finish("stop"), json!({"usage": usage})]);
    let counted = json!({"prompt_tokens": 1000, "completion_tokens": 10});
    let told = json!({"prompt_tokens": 1000, "completion_tokens": 10, "cost": 0.5});
    let price = |price| Facts { price, ..Facts::default() };
    let dear = Some(Price { read: 0.25, written: 2.0 });
    for (answer, facts, usd) in [
        (usage(counted.clone()), price(dear), Some(270.0)),
        (usage(told), price(dear), Some(0.5)),
        (usage(counted.clone()), price(None), None),
        // Without a count a price says nothing, unless it is nothing.
        (usage(Value::Null), price(dear), None),
        (usage(Value::Null), Facts::FREE, Some(0.0)),
        (usage(counted), Facts::FREE, Some(0.0)),
    ] {
        let server = Server::start(vec![answer]).await;
        assert_eq!(asked(&model(&server, facts)).await, Ok(usd));
    }
}
