//! The head of a request to the proxy, and what of it goes on.
use crate::hosts::Target;

/// Bytes of the longest head.
pub(super) const LONGEST: usize = 16 << 10;

/// What a job asks of the proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Whom it is for.
    pub target: Target,
    /// What is to be done.
    pub kind: Kind,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes go to and fro.
    Tunnel,
    /// This head goes on, and so many bytes after it.
    Forward { head: String, body: u64 },
}

/// Why a request is not served: the status, and a line for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: &'static str,
    pub why: String,
}

impl Refusal {
    pub fn new(status: &'static str, why: impl Into<String>) -> Self {
        Refusal { status, why: why.into() }
    }

    fn bad(why: &str) -> Self {
        Self::new("400 Bad Request", why)
    }

    /// The whole answer.
    pub fn answer(&self) -> String {
        let (status, why) = (self.status, &self.why);
        let length = why.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
        )
    }
}

/// Headers that are about this connection and not about the request.
const OWN: &[&str] = &["connection", "host", "keep-alive", "te", "upgrade"];

/// Reads a head, which ends with an empty line.
pub(super) fn read(bytes: &[u8]) -> Result<Request, Refusal> {
    let text = str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix("\r\n\r\n"));
    let text = text.ok_or_else(|| Refusal::bad("the head is not text"))?;
    let mut lines = text.split("\r\n");
    // Servers differ in what they take for the end of a line, so that nothing but CR LF may look like one.
    if text.split("\r\n").any(|line| line.contains(|c: char| c.is_control() && c != '\t')) {
        return Err(Refusal::bad("there is a control character in the head"));
    }
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, uri, version @ ("HTTP/1.0" | "HTTP/1.1")] = words[..] else {
        return Err(Refusal::bad("the first line is not one of HTTP/1.1"));
    };
    if !is_token(method) {
        return Err(Refusal::bad("the method is not a word"));
    }
    let wrong = || Refusal::bad("name a host: CONNECT HOST:PORT, or http://HOST/PATH");
    if method == "CONNECT" {
        return Ok(Request { target: Target::read(uri, None).ok_or_else(wrong)?, kind: Kind::Tunnel });
    }
    let rest = uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).and_then(|_| uri.get(7..));
    let rest = rest.ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let target = Target::read(authority, Some(80)).ok_or_else(wrong)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} {version}\r\nHost: {}\r\n", target.authority(&[80]));
    let body = headers(lines, &mut head)?;
    // A second request on this connection would be for nobody knows whom.
    head.push_str("Connection: close\r\n\r\n");
    Ok(Request { target, kind: Kind::Forward { head, body } })
}

/// Copies the headers that go on, and says how long the body is.
fn headers<'t>(lines: impl Iterator<Item = &'t str>, head: &mut String) -> Result<u64, Refusal> {
    let mut body = None;
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if !is_token(name) {
            return Err(Refusal::bad("a header has no name"));
        }
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if name == "transfer-encoding" {
            return Err(Refusal::new("411 Length Required", "say how long the body is, or use CONNECT"));
        }
        if name == "content-length" {
            let length = value.parse::<u64>().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.filter(|_| body.is_none());
            body = Some(length.ok_or_else(|| Refusal::bad("the length of the body is not one number"))?);
        }
        if !OWN.contains(&name.as_str()) && !name.starts_with("proxy-") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    Ok(body.unwrap_or(0))
}

fn is_token(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> Target {
        Target { host: host.into(), port }
    }

    #[test]
    fn a_tunnel_names_a_host_and_a_port() {
        let tunnel = |uri: &str| read(format!("CONNECT {uri} HTTP/1.1\r\nHost: other\r\n\r\n").as_bytes());
        let to = |host, port| Ok(Request { target: target(host, port), kind: Kind::Tunnel });
        assert_eq!(tunnel("A.example.:443"), to("a.example", 443));
        assert_eq!(tunnel("[::1]:8443"), to("::1", 8443));
        for wrong in ["a.example", "a.example:0", "a@b:443", "http://a:443", ":443", "::1", "a:443/x"] {
            let why = "name a host: CONNECT HOST:PORT, or http://HOST/PATH";
            assert_eq!(tunnel(wrong), Err(Refusal::bad(why)), "{wrong}");
        }
    }

    #[test]
    fn a_request_goes_on_without_what_is_about_the_connection() {
        let bytes = b"POST HTTP://A.example:81?q HTTP/1.1\r\nHost: other\r\nProxy-Connection: keep-alive\r\n\
            connection: keep-alive, content-length\r\nX: y\r\nContent-Length: 3\r\nUpgrade: h2c\r\n\r\n";
        let head = "POST /?q HTTP/1.1\r\nHost: a.example:81\r\nX: y\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        let kind = Kind::Forward { head: head.into(), body: 3 };
        assert_eq!(read(bytes), Ok(Request { target: target("a.example", 81), kind }));
    }

    #[test]
    fn a_head_that_servers_may_read_differently_is_refused() {
        for (headers, status) in [
            ("Transfer-Encoding: chunked", "411 Length Required"),
            ("Transfer-Encoding : chunked", "400 Bad Request"),
            ("Content-Length: 1\r\nContent-Length: 2", "400 Bad Request"),
            ("Content-Length: +1", "400 Bad Request"),
            ("Content-Length: 1, 1", "400 Bad Request"),
            ("X: y\r\n folded", "400 Bad Request"),
            ("X: y\nTransfer-Encoding: chunked", "400 Bad Request"),
            ("X: y\rZ: z", "400 Bad Request"),
            ("X: \0", "400 Bad Request"),
            (": nameless", "400 Bad Request"),
        ] {
            let bytes = format!("GET http://a.example/ HTTP/1.1\r\n{headers}\r\n\r\n");
            assert_eq!(read(bytes.as_bytes()).map_err(|refusal| refusal.status), Err(status), "{headers}");
        }
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_refused() {
        for wrong in [
            "GET / HTTP/1.1",
            "GET https://a.example/ HTTP/1.1",
            "GET http:///x HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET http://a/ HTTP/2",
            "GET http://a/ b HTTP/1.1",
            "G(T http://a/ HTTP/1.1",
            "",
            "\u{16}\u{3}\u{1}",
        ] {
            let bytes = format!("{wrong}\r\n\r\n");
            assert_eq!(read(bytes.as_bytes()).map_err(|r| r.status), Err("400 Bad Request"), "{wrong}");
        }
        assert_eq!(read(b"\xff\r\n\r\n"), Err(Refusal::bad("the head is not text")));
    }
}
