//! Fields that only a provider understands go back to that provider, and nobody loses a turn over them.

use serde_json::{Value, json};
use tunesmith::model::{
    Call, ChatModel, Form, Message, Opaque, Reply, Request,
    openai::{Endpoint, OpenAi},
};

use crate::{
    dialogue::{endpoint, quick},
    server::{Answer, Server, delta, finish},
};

/// A turn that thinks and then calls a tool, as DeepSeek and Gemini stream it together.
fn thinking() -> Answer {
    Answer::stream(&[
        delta(json!({"role": "assistant", "content": null, "reasoning_content": "First "})),
        delta(json!({"reasoning_content": "the data."})),
        delta(json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{}"},
                     "extra_content": {"google": {"thought_signature": "s"}}}]})),
        finish("tool_calls"),
    ])
}

fn after(reply: Reply) -> Vec<Message> {
    let called = Message::Assistant { text: reply.text, calls: reply.calls, opaque: reply.opaque };
    vec![Message::User("tune".into()), called, Message::Tool { id: "c1".into(), content: "10 rows".into() }]
}

async fn ask(model: &OpenAi, messages: &[Message]) -> Reply {
    model.chat(Request { messages, tools: &[], form: Form::default() }, &mut |_| {}).await.unwrap()
}

/// The assistant's message in each request that was sent.
fn echoed(server: &Server) -> Vec<Value> {
    let turn = |body: &Value| body["messages"].as_array().unwrap().iter().find(|m| m["role"] == "assistant").cloned();
    server.asked().iter().filter_map(|asked| turn(&asked.body)).collect()
}

#[tokio::test]
async fn reasoning_goes_back_to_the_model_that_reasoned_and_to_no_other() {
    let stop = || Answer::stream(&[finish("stop")]);
    let server = Server::start(vec![thinking(), stop(), stop()]).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let reply = ask(&model, &[Message::User("tune".into())]).await;
    let fields = json!({"reasoning_content": "First the data."}).as_object().unwrap().clone();
    let opaque = Opaque { base: server.base.clone(), model: "m".into(), fields };
    assert_eq!(reply.opaque, Some(opaque));
    let messages = after(reply);
    ask(&model, &messages).await;
    let other = OpenAi::with_pace(Endpoint { model: "n".into(), ..endpoint(&server) }, 1, quick()).unwrap();
    ask(&other, &messages).await;

    let mut call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let bare = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    call["extra_content"] = json!({"google": {"thought_signature": "s"}});
    let whole = json!({"role": "assistant", "content": null, "tool_calls": [call],
                       "reasoning_content": "First the data."});
    assert_eq!(echoed(&server), [whole, bare]);
}

#[tokio::test]
async fn a_turn_without_calls_goes_back_without_its_reasoning() {
    let server = Server::start(vec![Answer::stream(&[finish("stop")])]).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let fields = json!({"reasoning": "r"}).as_object().unwrap().clone();
    let opaque = Some(Opaque { base: server.base.clone(), model: "m".into(), fields });
    ask(&model, &[Message::Assistant { text: "Hm.".into(), calls: vec![], opaque }, Message::User("go on".into())])
        .await;
    assert_eq!(echoed(&server), [json!({"role": "assistant", "content": "Hm."})]);
}

#[tokio::test]
async fn a_server_that_refuses_its_own_reasoning_is_asked_without_it_from_then_on() {
    // Groq sends `reasoning` and does not take it back.
    let unknown = "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property \
                   'reasoning_content' is unsupported)]";
    let refusal = Answer::status(400, &json!({"error": {"message": unknown}}).to_string());
    let stop = || Answer::stream(&[finish("stop")]);
    let server = Server::start(vec![thinking(), refusal, stop(), stop()]).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let reply = ask(&model, &[Message::User("tune".into())]).await;
    let messages = after(reply);
    ask(&model, &messages).await;
    ask(&model, &messages).await;
    let sent: Vec<Value> = echoed(&server).iter().map(|turn| turn["reasoning_content"].clone()).collect();
    assert_eq!(sent, [json!("First the data."), Value::Null, Value::Null]);
}

#[tokio::test]
async fn a_server_that_misses_reasoning_is_not_asked_with_less() {
    let missing = "The `reasoning_content` in the thinking mode must be passed back to the API.";
    let refusal = Answer::status(400, &json!({"error": {"message": missing}}).to_string());
    let server = Server::start(vec![thinking(), refusal]).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let messages = after(ask(&model, &[Message::User("tune".into())]).await);
    let error =
        model.chat(Request { messages: &messages, tools: &[], form: Form::default() }, &mut |_| {}).await.unwrap_err();
    assert_eq!((error.message.as_str(), server.asked().len()), (missing, 2));
}

#[test]
fn replies_and_messages_are_read_back_as_they_were_written() {
    let fields = json!({"b": [{"index": 0}], "a": ""}).as_object().unwrap().clone();
    let opaque = Some(Opaque { base: "http://h/v1".into(), model: "m".into(), fields });
    let call = Call { id: "c".into(), name: "look".into(), arguments: "{}".into(), extra: Some(json!({"s": 1})) };
    let reply = Reply { text: "Hm.".into(), calls: vec![call.clone()], opaque: opaque.clone(), ..Reply::default() };
    let text = serde_json::to_string(&reply).unwrap();
    assert_eq!(
        text,
        r#"{"text":"Hm.","calls":[{"id":"c","name":"look","arguments":"{}","extra":{"s":1}}],"finish":"stop","opaque":{"base":"http://h/v1","model":"m","fields":{"b":[{"index":0}],"a":""}}}"#
    );
    assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    assert_eq!(serde_json::from_str::<Reply>("{}").unwrap(), Reply::default());
    let messages = vec![
        Message::System("s".into()),
        Message::Assistant { text: "Hm.".into(), calls: vec![call], opaque },
        Message::Tool { id: "c".into(), content: "x".into() },
    ];
    let text = serde_json::to_string(&messages).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Message>>(&text).unwrap(), messages);
}
