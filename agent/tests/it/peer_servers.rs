//! Real servers, with the bundled base as their model: llama.cpp's, where `TUNESMITH_PEER_LLAMA` names the directory
//! of its programs, and llama-cpp-python's, where `TUNESMITH_PEER_LLAMAPY` names an interpreter that has it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tunesmith::model::{
    ChatModel, Delta, ErrorKind, Finish, Form, Message, ModelError, Reply, Request, ToolSpec,
    catalogue::Facts,
    openai::{Endpoint, OpenAi},
};

use crate::{
    cli::tunesmith,
    dialogue::quick,
    server::{Answer, Server},
};

/// A server that ends with the test.
struct Peer {
    child: Child,
    base: String,
    _dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        eprintln!("SKIPPED: {variable} is not set, so a real server was not asked");
    }
    path
}

/// Starts a server on a free port; it is there once it prints `ready`.
fn start(ready: &str, command: impl FnOnce(&Path, u16) -> Command) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    tunesmith(dir.path(), &["convert", "--model", "nano", "--to", "gguf", "--out", "nano.gguf"]).ok();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = command(&dir.path().join("nano.gguf"), port);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let Some(Ok(line)) = lines.next() else { panic!("the server has ended: {said}") };
        if line.contains(ready) {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    // What it says later is read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Peer { child, base: format!("http://127.0.0.1:{port}/v1"), _dir: dir }
}

fn model(base: &str) -> OpenAi {
    let endpoint = Endpoint { base: base.into(), model: "nano".into(), key: None, facts: Facts::FREE };
    OpenAi::with_pace(endpoint, 1, quick()).unwrap()
}

fn form() -> Form<'static> {
    Form { max_tokens: Some(60), temperature: Some(1.0), seed: Some(7), ..Form::default() }
}

/// The reply, and in how many pieces it came.
async fn ask(
    model: &OpenAi,
    text: &str,
    tools: &[ToolSpec],
    form: Form<'_>,
) -> (Result<Reply, ModelError>, usize, usize) {
    let (mut pieces, mut again) = (0, 0);
    let mut on = |delta: Delta<'_>| match delta {
        Delta::Again { .. } => again += 1,
        _ => pieces += 1,
    };
    let messages = [Message::System("You help.".into()), Message::User(text.into())];
    let reply = model.chat(Request { messages: &messages, tools, form }, &mut on).await;
    (reply, pieces, again)
}

fn search() -> ToolSpec {
    let properties = json!({"count": {"type": "integer"}, "deep": {"type": "boolean"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["count", "deep"]});
    ToolSpec { name: "search".into(), description: "Searches.".into(), strict: schema.clone(), schema }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_llama_cpp_is_understood() {
    let Some(programs) = named("TUNESMITH_PEER_LLAMA") else { return };
    let peer = start("listening on", |model, port| {
        let mut command = Command::new(programs.join("llama-server"));
        command.arg("-m").arg(model).args(["--host", "127.0.0.1", "-c", "256", "-t", "1", "--jinja", "--port"]);
        command.arg(port.to_string()).env("LD_LIBRARY_PATH", &programs);
        command
    });
    let model = model(&peer.base);
    assert_eq!(model.window().await, Some(256));

    let (reply, pieces, again) = ask(&model, "hello there", &[search()], form()).await;
    let reply = reply.unwrap();
    let usage = reply.usage.unwrap();
    assert!(usage.prompt > 0 && (1..=60).contains(&usage.completion), "{reply:?}");
    assert_eq!((again, reply.usd), (0, Some(0.0)));
    assert!(reply.text.is_empty() || pieces > 1, "{pieces} pieces: {reply:?}");

    let schema = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"],
                        "additionalProperties": false});
    let (reply, ..) = ask(&model, "Ready?", &[], Form { schema: Some(&schema), ..form() }).await;
    let answer: Value = serde_json::from_str(&reply.unwrap().text).unwrap();
    assert!(answer["ready"].is_boolean(), "{answer}");

    let (reply, _, again) = ask(&model, &"abc ".repeat(2_000), &[], form()).await;
    let error = reply.unwrap_err();
    let typed = (error.kind, error.status, error.window, error.spent, again);
    assert_eq!(typed, (ErrorKind::ContextTooLong, Some(400), Some(256), false, 0), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_server_of_llama_cpp_python_forces_is_understood() {
    let (Some(programs), Some(python)) = (named("TUNESMITH_PEER_LLAMA"), named("TUNESMITH_PEER_LLAMAPY")) else {
        return;
    };
    let peer = start("running on", |model, port| {
        let mut command = Command::new(python);
        command.args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--n_ctx", "512"]);
        command.args(["--chat_format", "chatml-function-calling", "--port", &port.to_string(), "--model"]);
        command.arg(model).env("LLAMA_CPP_LIB_PATH", &programs).env("LD_LIBRARY_PATH", &programs);
        command
    });
    // In between, the request is made to force the call: a model that was not trained for it makes none.
    let address = format!("{}/chat/completions", peer.base);
    let (client, runtime) = (reqwest::Client::new(), tokio::runtime::Handle::current());
    let between = Server::answering(move |body| {
        let mut body = body.clone();
        body["tool_choice"] = json!({"type": "function", "function": {"name": "search"}});
        let sent = client.post(&address).header("content-type", "application/json").body(body.to_string()).send();
        let passed = async { sent.await.unwrap().bytes().await.unwrap().to_vec() };
        let bytes = tokio::task::block_in_place(|| runtime.block_on(passed));
        Answer { pieces: bytes.chunks(7).map(<[u8]>::to_vec).collect(), ..Answer::stream(&[]) }
    })
    .await;
    let (reply, _, again) =
        ask(&model(&between.base), "find it", &[search()], Form { max_tokens: Some(400), ..form() }).await;
    let reply = reply.unwrap();
    assert_eq!((again, reply.calls.len(), reply.calls[0].name.as_str()), (0, 1, "search"), "{reply:?}");
    assert_eq!((&reply.finish, reply.calls[0].id.is_empty()), (&Finish::Calls, false), "{reply:?}");
    let arguments: Value = serde_json::from_str(&reply.calls[0].arguments).unwrap();
    assert!(arguments["count"].is_i64() && arguments["deep"].is_boolean(), "{arguments}");

    let (reply, pieces, _) = ask(&model(&peer.base), "hello there", &[], form()).await;
    assert!(reply.unwrap().text.is_empty() || pieces > 1);

    // It ends the stream without a word, and says why when it is asked for no stream; it closes connections at times.
    let (reply, _, again) = ask(&model(&peer.base), &"abc ".repeat(2_000), &[], form()).await;
    let error = reply.unwrap_err();
    let typed = (error.kind, error.status, error.window);
    assert_eq!(typed, (ErrorKind::ContextTooLong, Some(400), Some(512)), "{error}");
    assert!((1..4).contains(&again), "{again}");
}
