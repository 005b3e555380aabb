//! What `docs/extending.md` shows, run as it stands there; and servers that are not as they should be.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tunesmith::{
    config::extend::Extension,
    mcp::client,
    model::{ChatModel, Form, Message, Request},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::tool::{AnyTool, Cx, Progress, ToolError};

use crate::{
    cli::{Said, anywhere, base, command, tickets, tunesmith},
    looker::Looker,
};

/// The block of a language in the page that holds these words.
fn example(language: &str, words: &str) -> String {
    let page = include_str!("../../../docs/extending.md");
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(words)).unwrap().to_owned()
}

fn has_python() -> bool {
    let there = Path::new("/usr/bin/python3").exists();
    if !there {
        println!("SKIPPED: there is no /usr/bin/python3");
    }
    there
}

#[test]
fn a_run_calls_the_program_and_the_server_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("rows.csv", &tickets(60));
    write("count_words.sh", &example("sh", "count_words"));
    fs::set_permissions(dir.path().join("count_words.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    write("shouter.py", &example("python", "shouter"));
    let python = has_python();
    let servers = if python { example("toml", "shouter") } else { String::new() };
    write("tunesmith.toml", &format!("{}\n{servers}", example("toml", "count_words")));
    let call = |id: &str, name: &str, arguments: Value| {
        json!({"text": "", "calls": [{"id": id, "name": name, "arguments": arguments}]}).to_string()
    };
    let mut turns = vec![call("a", "count_words", json!({"file": "data/train.jsonl"}))];
    turns.extend(python.then(|| call("b", "shouter_shout", json!({"text": "quietly"}))));
    turns.extend([call("c", "count_words", json!({"fil": 1})), call("d", "finish", json!({"summary": "done"}))]);
    write("script.jsonl", &turns.join("\n"));
    let run = |share: &str| -> Said {
        let args = [
            "run",
            "look",
            "--file",
            "rows.csv",
            "--base",
            base().to_str().unwrap(),
            "--planner",
            "scripted:script.jsonl",
            "--approve",
            "auto",
            "--share",
            share,
            "--json",
        ];
        command(dir.path(), &args).env("OPENAI_API_KEY", "sk-canary-of-a-user-1234567").output().unwrap().into()
    };
    let returned = |said: &Said, id: &str| -> Value {
        let mut lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|event| event["kind"] == "returned" && event["id"] == id).unwrap_or_default()
    };
    // An untrusted file adds nothing.
    let said = run("samples");
    assert!(said.err.contains("tools.count_words without effect"), "{said:?}");
    assert_eq!(returned(&said, "a")["ok"], false, "{said:?}");
    tunesmith(dir.path(), &["config", "trust", "--yes"]).ok();

    let said = run("samples");
    let counted = returned(&said, "a");
    assert!(counted["ok"] == true && counted["output"]["words"].as_u64().unwrap() > 100, "{said:?}");
    assert_eq!(returned(&said, "c")["fault"], "invalid", "{said:?}");
    if python {
        assert_eq!(returned(&said, "b")["output"], json!({"text": "QUIETLY"}), "{said:?}");
    }
    assert!(!said.out.contains("canary") && !said.err.contains("canary"), "{said:?}");
    // Where rows are not shared, neither is what works on them.
    let said = run("none");
    assert_eq!(returned(&said, "a")["ok"], false, "{said:?}");
    assert!(
        said.err.contains("left out: it could see rows") || said.out.contains("left out: it could see rows"),
        "{said:?}"
    );
}

#[test]
fn the_eval_task_of_the_page_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("team.yaml"), example("yaml", "team")).unwrap();
    fs::write(dir.path().join("team.jsonl"), example("json", "message")).unwrap();
    let args = ["eval", "--model", base().to_str().unwrap(), "--tasks", "team.yaml", "--json"];
    let said = tunesmith(dir.path(), &args).ok().json();
    assert!(said["results"]["team"].is_object() || said["team"].is_object(), "{said}");
}

#[tokio::test]
async fn the_provider_of_the_page_plans() {
    assert_eq!(example("rust", "Looker"), include_str!("looker.rs"));
    let ask = async |messages: &[Message]| {
        let request = Request { messages, tools: &[], form: Form::default() };
        Looker.chat(request, &mut |_| {}).await.unwrap().calls[0].name.clone()
    };
    let looked = Message::Tool { id: "1".into(), content: "{}".into() };
    assert_eq!((ask(&[]).await, ask(&[looked]).await), ("data_inspect".to_owned(), "finish".to_owned()));
}

#[test]
fn the_page_names_what_there_is() {
    let page = include_str!("../../../docs/extending.md");
    let help = anywhere(&["mcp", "--help"]).ok().out;
    for option in ["--host", "--http", "--file", "--minutes"] {
        assert!(page.contains(option) && help.contains(option), "{option}");
    }
}

/// A server in Python that misbehaves when it is told to, and what it was told in.
struct Server {
    dir: tempfile::TempDir,
    heard: Mutex<Vec<Progress>>,
}

const SERVER: &str = r#"
import json, os, sys, time
def say(message):
    print(json.dumps(dict(message, jsonrpc="2.0")), flush=True)
def reply(message, result):
    say({"id": message["id"], "result": result})
def hello(message):
    reply(message, {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                    "serverInfo": {"name": "s", "version": "1"}})
def tool(name, schema={"type": "object"}):
    return {"name": name, "description": "d", "inputSchema": schema}
def serve(listed, call):
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if method == "initialize": hello(message)
        elif method == "tools/list": reply(message, {"tools": listed})
        elif method == "tools/call": call(message)
"#;

impl Server {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("server.py"), format!("{SERVER}{body}")).unwrap();
        Server { dir, heard: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("server.py")
    }

    async fn open_as(&self, given: Extension) -> Result<(Vec<Box<dyn AnyTool>>, Vec<String>), String> {
        let command = vec!["python3".into(), self.path().to_str().unwrap().to_owned()];
        let given = Extension { command, ..given };
        let env = |name: &str| (name == "SECRET_OF_IT").then(|| "its own secret".to_owned());
        client::open("s", &given, &jobs(), &env).await
    }

    async fn open(&self) -> Result<(Vec<Box<dyn AnyTool>>, Vec<String>), String> {
        self.open_as(Extension { timeout: 20.0, output: 4000, ..Extension::default() }).await
    }

    async fn call(&self, tool: &dyn AnyTool, args: Value, cancel: Cancel) -> Result<Value, ToolError> {
        let work = tempfile::tempdir().unwrap();
        let dir = Workdir::open(work.path()).unwrap();
        let jobs = jobs();
        let on = |progress: Progress| self.heard.lock().unwrap().push(progress);
        let cx = Cx {
            dir: &dir,
            jobs: &jobs,
            base: Path::new("/nowhere"),
            seed: 0,
            deadline: Some(Instant::now() + Duration::from_secs(60)),
            cancel,
            ask: None,
            hub: None,
            hosts: &[],
            on: &on,
        };
        tool.call(&cx, args).await
    }
}

fn jobs() -> Local {
    Local::with_init(env!("CARGO_BIN_EXE_tunesmith").into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_s_tools_are_called_with_progress_and_nothing_of_ours() {
    if !has_python() {
        return;
    }
    let server = Server::new(
        r#"
def call(message):
    token = message["params"]["_meta"]["progressToken"]
    for i in (1, 2):
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": i, "total": 2, "message": "m"}})
        time.sleep(0.5)
    reply(message, {"content": [], "structuredContent": {"env": sorted(os.environ), "secret": os.environ.get("ITS_SECRET"), "files": os.listdir(".")}})
serve([tool("look"), tool("bad name"), tool("wrong", {"type": "object", "properties": 1}), tool("other")], call)
"#,
    );
    let env = [("ITS_SECRET".to_owned(), "SECRET_OF_IT".to_owned())].into();
    let only = vec!["look".to_owned(), "bad name".to_owned(), "wrong".to_owned()];
    let (tools, notes) = server.open_as(Extension { env, only, ..Extension::default() }).await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name()).collect();
    assert_eq!(names, ["s_look"]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("its tool \"bad name\" is left out: \"s_bad name\" is no name"), "{notes:?}");
    let output = server.call(&*tools[0], json!({}), Cancel::default()).await.unwrap();
    assert_eq!(output["secret"], "its own secret");
    let names: Vec<&str> = output["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let fixed = ["HOME", "ITS_SECRET", "LANG", "LC_CTYPE", "PATH", "TMPDIR"];
    assert!(names.iter().all(|name| fixed.contains(name)), "{names:?}");
    let heard: Vec<(usize, usize)> = server.heard.lock().unwrap().iter().map(|tick| (tick.done, tick.total)).collect();
    assert!(heard.is_sorted() && heard.last() == Some(&(2, 2)), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_a_server_fails_is_an_error_of_its_tool() {
    if !has_python() {
        return;
    }
    let told = json!({"how": "x"});
    for (how, why) in [
        ("sys.stderr.write('oh no\\n'); sys.exit(3)", "s: it ended with exit code 3; its last words: oh no"),
        ("os.kill(os.getpid(), 9)", "s: signal 9 ended it"),
        (
            "[print('rubbish') for _ in range(100)]; sys.stdout.flush()",
            "s: it prints what is no message of the protocol, or is too long",
        ),
        (
            "[print('x' * (1 << 20), end='') for _ in range(1000)]",
            "s: it prints what is no message of the protocol, or is too long",
        ),
        (
            "reply(message, {'content': [{'type': 'text', 'text': 'x' * 5000}]})",
            "stopped by a limit: it returned more than 4000 bytes; ask for less at a time",
        ),
        ("reply(message, {'isError': True, 'content': [{'type': 'text', 'text': 'no luck'}]})", "no luck"),
        (
            "say({'id': message['id'], 'error': {'code': -32602, 'message': 'no such tool'}})",
            "s answered: no such tool",
        ),
    ] {
        let server = Server::new(&format!("\ndef call(message):\n    {how}\nserve([tool('t')], call)\n"));
        let (tools, _) = server.open().await.unwrap();
        let error = server.call(&*tools[0], told.clone(), Cancel::default()).await.unwrap_err();
        assert_eq!(error.to_string(), why, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_after_its_time_or_when_the_user_cancels() {
    if !has_python() {
        return;
    }
    let server = Server::new("\nserve([tool('t')], lambda message: time.sleep(300))\n");
    let (tools, _) = server.open_as(Extension { timeout: 1.0, ..Extension::default() }).await.unwrap();
    let late = server.call(&*tools[0], json!({}), Cancel::default()).await.unwrap_err();
    assert_eq!(late.to_string(), "stopped by a limit: s said nothing for 1 s");
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(matches!(server.call(&*tools[0], json!({}), cancel).await, Err(ToolError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_says_why() {
    if !has_python() {
        return;
    }
    for (body, why) in [
        ("sys.exit(2)", "it ended with exit code 2"),
        ("[print('rubbish') for _ in range(100)]", "it prints what is no message of the protocol, or is too long"),
        (
            "serve([tool('t%d' % i) for i in range(40)], None)",
            "it has more than 32 tools; choose some with only = [\"NAME\", ...]",
        ),
    ] {
        assert_eq!(Server::new(body).open().await.err().unwrap(), why, "{body}");
    }
    let missing = Server::new("serve([tool('t')], None)");
    let given = Extension { only: vec!["u".into()], ..Extension::default() };
    assert_eq!(missing.open_as(given).await.err().unwrap(), "it has no tool \"u\"; correct `only`");
}

/// Opens a server at an address with a header from a variable of the user's.
async fn open_at(url: &str, header: &str) -> Result<Vec<Box<dyn AnyTool>>, String> {
    let header = header.to_owned();
    let headers = [("Authorization".to_owned(), "ITS_KEY".to_owned())].into();
    let given = Extension { url: Some(url.into()), headers, ..Extension::default() };
    let env = move |name: &str| (name == "ITS_KEY").then(|| header.clone());
    client::open("ours", &given, &jobs(), &env).await.map(|(tools, _)| tools)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_is_called_over_http_by_our_own_client() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, url, token) = crate::mcp_served::over_http(dir.path(), &[]);
    let tools = open_at(&url, &format!("Bearer {token}")).await.unwrap();
    let shell = tools.iter().find(|tool| tool.name() == "ours_shell").unwrap();
    let place = Server::new("");
    let said = place.call(&**shell, json!({"command": "echo hello"}), Cancel::default()).await.unwrap();
    assert_eq!(said["stdout"], "hello");
    let wrong = place.call(&**shell, json!({"comand": "x"}), Cancel::default()).await.unwrap_err().to_string();
    assert_eq!(wrong, "invalid arguments: /comand: there is no such argument; leave it out; /command: is required");
    let refused = open_at(&url, "Bearer guess").await.err().unwrap();
    assert_eq!(refused, "it wants authorization; name a variable with headers = { Authorization = \"VARIABLE\" }");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_no_header_elsewhere() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let (address, other) = (listener.local_addr().unwrap(), elsewhere.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 307 Elsewhere\r\nLocation: http://{other}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    open_at(&format!("http://{address}/mcp"), "its own key").await.err().unwrap();
    assert_eq!(elsewhere.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
