//! `tunesmith mcp`, as other agents meet it: with the official Python client where it is there, and byte by byte.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::cli::{anywhere, base, command, tickets};

const KEYS: [(&str, &str); 2] =
    [("OPENAI_API_KEY", "sk-proj-Canary4of5a6planner7ZxCvBnMq"), ("HF_TOKEN", "hf_Canary0of1the2hub3QwErTyUiOpAsDfGh")];

/// A server over standard input and output.
pub struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut command = command(dir, &[&["mcp", "--base", base().to_str().unwrap()], more].concat());
        let command = command.envs(KEYS).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, stdin, stdout };
        let hello =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let said = server.ask(1, "initialize", hello);
        assert_eq!(said["result"]["serverInfo"]["name"], "tunesmith", "{said}");
        server.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    fn send(&mut self, message: Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, id: u32, method: &str, params: Value) -> Value {
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let said = self.next();
            if said["id"] == id {
                return said;
            }
        }
    }

    fn call(&mut self, id: u32, name: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({"name": name, "arguments": arguments}))["result"].clone()
    }

    /// Ends with its input.
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn every_tool_is_served_with_its_schema_and_errors_name_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let mut server = Server::start(dir.path(), &["--file", "rows.csv"]);
    let listed = server.ask(2, "tools/list", json!({}))["result"]["tools"].clone();
    let ours = anywhere(&["tools", "--schema"]).ok().json();
    let renamed = |tool: &Value| json!([tool["name"], tool["description"], tool["parameters"]]);
    let want: Vec<Value> = ours.as_array().unwrap().iter().map(renamed).collect();
    let seen = |tool: &Value| json!([tool["name"], tool["description"], tool["inputSchema"]]);
    let found: Vec<Value> = listed.as_array().unwrap().iter().map(seen).collect();
    assert_eq!(found, want);

    let inspected = server.call(3, "data_inspect", json!({"file": "data/train.jsonl"}));
    assert_eq!(
        (&inspected["isError"], &inspected["structuredContent"]["rows"]),
        (&json!(false), &json!(120)),
        "{inspected}"
    );
    let text: Value = serde_json::from_str(inspected["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, inspected["structuredContent"]);

    let wrong = server.call(4, "data_inspect", json!({"fil": 1}));
    assert_eq!((&wrong["isError"], &wrong["structuredContent"]["kind"]), (&json!(true), &json!("invalid")));
    assert_eq!(
        wrong["structuredContent"]["fields"],
        json!([{"pointer": "/fil", "message": "there is no such argument; leave it out"}])
    );
    let unknown = server.ask(5, "tools/call", json!({"name": "nothing", "arguments": {}}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    // Nothing that is the user's, and no sealed row, is where a caller can look.
    let looked = server.call(6, "shell", json!({"command": "env; cat ../sealed/rows.jsonl; ls .."}));
    let looked = looked["structuredContent"].to_string();
    assert!(!looked.contains("Canary") && !looked.contains("rows.jsonl\\n") && !looked.contains("intent"), "{looked}");
    server.end();
}

#[test]
fn a_cancelled_call_kills_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let call =
        json!({"name": "shell", "arguments": {"command": "echo here > started; exec sleep 300", "timeout": 300}});
    server.send(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}));
    let runs = dir.path().join("runs");
    let started = || {
        let run = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
        run.join("work/started").exists()
    };
    while !started() {
        std::thread::yield_now();
    }
    server.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}));
    // Calls are done one after the other, so this one begins when the job is dead.
    let began = std::time::Instant::now();
    let after = server.call(3, "shell", json!({"command": "echo done"}));
    assert_eq!(after["structuredContent"]["stdout"], "done", "{after}");
    assert!(began.elapsed().as_secs() < 60);
    server.end();
}

/// What an HTTP server answers: the status, and all of it.
fn http(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST /mcp HTTP/1.1\r\n{head}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let text = String::from_utf8_lossy(&all).into_owned();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// A server over HTTP: the process, its address and its token.
pub fn over_http(dir: &Path, more: &[&str]) -> (Server, String, String) {
    let args = [&["mcp", "--http", "127.0.0.1:0", "--base", base().to_str().unwrap()], more].concat();
    let mut child = command(dir, &args)
        .envs(KEYS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut word = |name: &str| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
    };
    let (url, token) = (word("url"), word("token"));
    (Server { child, stdin: None, stdout }, url, token)
}

#[test]
fn over_http_only_those_with_the_token_and_no_web_page_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, url, token) = over_http(dir.path(), &[]);
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}})
    .to_string();
    let host = format!("Host: {address}\r\n");
    let key = format!("Authorization: Bearer {token}\r\n");
    let status = |head: &[&str]| http(address, &head.concat(), &hello).0;
    let (good, said) = http(address, &[host.as_str(), &key].concat(), &hello);
    assert!(good == 200 && said.contains("\"tunesmith\""), "{said}");
    assert_eq!(status(&[&host]), 401);
    assert_eq!(status(&[&host, "Authorization: Bearer guess\r\n"]), 401);
    assert_eq!(status(&["Host: evil.example\r\n", &key]), 403);
    assert_eq!(status(&[&host, &key, "Origin: http://evil.example\r\n"]), 403);
    assert_eq!(status(&[&host, &key, "Origin: null\r\n"]), 403);
    let (large, _) = http(address, &[host.as_str(), &key].concat(), &format!("\"{}\"", "a".repeat(5 << 20)));
    assert_eq!(large, 413);
}

#[test]
fn an_address_that_others_can_reach_needs_a_name() {
    let said = anywhere(&["mcp", "--http", "0.0.0.0:0"]);
    assert!(said.refused(2).contains("say by which name with --host NAME"), "{said:?}");
}

#[test]
fn the_official_client_lists_calls_hears_progress_and_cancels() {
    let Some(python) = std::env::var_os("TUNESMITH_PEER_MCP") else {
        return println!("SKIPPED: TUNESMITH_PEER_MCP names no interpreter that has the official client");
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mcp_client.py");
    let names: Vec<Value> = anywhere(&["tools", "--json"])
        .ok()
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    let check = |args: &[&str]| {
        let mut client = std::process::Command::new(&python);
        client.arg(script).args(args).current_dir(dir.path()).envs(KEYS).env("HOME", dir.path());
        let output = client.output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(said["tools"], json!(names));
        assert_eq!(said["rows"], json!([false, 120, 120]));
        assert_eq!(said["wrong"], json!([true, "invalid", ["/fil"]]));
        assert_eq!(said["trained"][0], false, "{said}");
        assert!(said["ticks"].as_u64().unwrap() > 0 && said["growing"] == true, "{said}");
        assert!(!said["keys"].to_string().contains("Canary"), "{said}");
        assert!(said["unknown"].as_str().unwrap().contains("there is no tool"), "{said}");
        assert_eq!(said["after"], "asleep", "{said}");
    };
    let program = env!("CARGO_BIN_EXE_tunesmith");
    let base = base().to_str().unwrap();
    check(&["stdio", program, "mcp", "--base", base, "--file", "rows.csv"]);
    let (_server, url, token) = over_http(dir.path(), &["--file", "rows.csv"]);
    check(&["http", &url, &token]);
}
