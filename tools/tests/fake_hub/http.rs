//! The little of HTTP/1.1 that clients of a Hub need: one request and one answer for each connection.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// Most bytes of a body.
const LARGEST: usize = 1 << 28;

/// One request, as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The path without its query, parts decoded.
    pub path: Vec<String>,
    /// Fields of the query, in their order.
    pub query: Vec<(String, String)>,
    /// Path and query as they were sent.
    pub target: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a field of the query.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field of the query.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The token that came along.
    pub fn token(&self) -> Option<&str> {
        self.headers.get("authorization")?.strip_prefix("Bearer ")
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How much of the body is sent before the connection breaks.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn json(value: &serde_json::Value) -> Self {
        Answer::new(200, value.to_string().into_bytes()).with("content-type", "application/json")
    }

    pub fn new(status: u16, body: Vec<u8>) -> Self {
        Answer { status, headers: Vec::new(), body, cut: None }
    }

    /// A refusal as the Hub gives it.
    pub fn refused(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"error": message});
        let answer = Answer { status, ..Answer::json(&body) }.with("x-error-message", message);
        let answer = answer.with("x-request-id", "Root=1-fake");
        if code.is_empty() { answer } else { answer.with("x-error-code", code) }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Reads one request; `None` where the other side sent none.
pub fn read(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|what| what == "100-continue") {
        (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") {
        chunked(&mut input)?
    } else {
        let length: usize = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        input.take(length.min(LARGEST) as u64).read_to_end(&mut body)?;
        body
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |field: &str| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    };
    let query = query.split('&').filter(|field| !field.is_empty()).map(pair).collect();
    let path = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    Ok(Some(Request { method, path, query, target, headers, body }))
}

fn chunked(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        input.take(size.min(LARGEST) as u64).read_to_end(&mut body)?;
        input.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Writes the answer; after a cut the connection ends early.
pub fn write(mut stream: &TcpStream, method: &str, answer: &Answer) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| name == "content-length") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())])?;
    }
    stream.flush()
}

/// Without percent signs.
pub fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
