//! A scripted HTTP server on loopback that answers exactly what a test says, down to where it cuts a connection.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One answer.
#[derive(Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Sent one by one, each as its own chunk.
    pub pieces: Vec<Vec<u8>>,
    /// Whether the connection breaks instead of ending.
    pub cut: bool,
    /// Whether the pieces are all that is sent, head included.
    pub raw: bool,
    /// Whether the connection stays open and silent after the pieces.
    pub hold: bool,
}

/// One request, as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

pub struct Server {
    /// The base address for an endpoint.
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Answer {
    pub fn status(status: u16, body: &str) -> Self {
        let pieces = vec![body.as_bytes().to_vec()];
        Answer { status, headers: vec![("content-type", "text/plain".into())], pieces, ..Answer::default() }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A stream of these events, and `[DONE]`.
    pub fn stream(events: &[Value]) -> Self {
        let mut pieces: Vec<Vec<u8>> = events.iter().map(|event| format!("data: {event}\n\n").into_bytes()).collect();
        pieces.push(b"data: [DONE]\n\n".to_vec());
        Answer { status: 200, headers: vec![("content-type", "text/event-stream".into())], pieces, ..Answer::default() }
    }

    /// The stream of a reply that calls tools: (id, name, arguments).
    pub fn calls(text: &str, calls: &[(&str, &str, &str)]) -> Self {
        let mut events = vec![delta(json!({"role": "assistant", "content": text}))];
        for (index, (id, name, arguments)) in calls.iter().enumerate() {
            // The arguments come in two parts, as from real servers.
            let (head, tail) = arguments.split_at(arguments.len() / 2);
            events.push(delta(json!({"tool_calls": [{
                "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": head}}]})));
            events.push(delta(json!({"tool_calls": [{"index": index, "function": {"arguments": tail}}]})));
        }
        events.push(finish(if calls.is_empty() { "stop" } else { "tool_calls" }));
        events.push(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}));
        Answer::stream(&events)
    }

    /// Exactly these bytes, head included, and then a broken connection.
    pub fn raw(bytes: &[u8]) -> Self {
        Answer { pieces: vec![bytes.to_vec()], cut: true, raw: true, ..Answer::default() }
    }

    /// The same answer, after which nothing more comes and nothing ends.
    pub fn hold(mut self) -> Self {
        self.hold = true;
        self
    }

    /// The same answer, cut at the first place where `text` stands, so many bytes into it. Politely: the body ends
    /// as if that were all.
    pub fn cut_in(mut self, text: &str, bytes: usize, polite: bool) -> Self {
        let mut whole = self.pieces.concat();
        let at = whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        whole.truncate(at + bytes);
        self.pieces = vec![whole];
        self.cut = !polite;
        self
    }

    /// The same answer, with the connection broken after `pieces`.
    pub fn cut_after(mut self, pieces: usize) -> Self {
        self.pieces.truncate(pieces);
        self.cut = true;
        self
    }
}

pub fn delta(delta: Value) -> Value {
    json!({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

pub fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

impl Server {
    /// Serves `answers` in order, one per connection, and then 501.
    pub async fn start(answers: Vec<Answer>) -> Server {
        let mut answers = VecDeque::from(answers);
        Server::answering(move |_| {
            answers.pop_front().unwrap_or_else(|| Answer::status(501, "no more answers in this test"))
        })
        .await
    }

    /// Serves what `answer` makes of each request's body, each connection by itself: one that breaks ends no other.
    pub async fn answering(answer: impl FnMut(&Value) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(Mutex::new(answer)));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                tokio::spawn(async move {
                    let request = read(&mut socket).await;
                    let answer = (answer.lock().unwrap())(&request.body);
                    log.lock().unwrap().push(request);
                    write(&mut socket, answer).await;
                });
            }
        });
        Server { base, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(socket: &mut TcpStream) -> Asked {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the request broke off");
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + 4 + length {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the request broke off");
    }
    let body = if length == 0 { Value::Null } else { serde_json::from_slice(&bytes[head + 4..]).unwrap() };
    Asked { line, headers, body }
}

async fn write(socket: &mut TcpStream, answer: Answer) {
    let mut head = format!("HTTP/1.1 {} X\r\ntransfer-encoding: chunked\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if !answer.raw {
        socket.write_all(head.as_bytes()).await.unwrap();
    }
    for piece in answer.pieces.iter().filter(|piece| !piece.is_empty()) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        socket.write_all(if answer.raw { piece } else { &chunk }).await.ok();
        socket.flush().await.unwrap();
    }
    if answer.hold {
        // Until the reader goes away.
        let _ = socket.read(&mut [0]).await;
    } else if !answer.cut {
        socket.write_all(b"0\r\n\r\n").await.unwrap();
    }
    // Without the last chunk the reader notices that something is missing.
    let _ = socket.shutdown().await;
}
