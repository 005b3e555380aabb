//! What may be added to a run: servers of the Model Context Protocol, and programs that are tools.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;
use tunesmith_harness::redact::hide;

use crate::model::spec;

/// What a server or a tool is called: `a` to `z`, digits and `_`, at most 24 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match (1..=24).contains(&text.len())
            && text.chars().all(good)
            && text.starts_with(|c: char| c.is_ascii_lowercase())
        {
            true => Ok(Name(text)),
            false => Err(format!("{text:?} is no name; use at most 24 of a to z, 0 to 9 and _, a letter first")),
        }
    }
}

/// What is added, and what it may reach; by default nothing beside its workdir, for a minute.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extension {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The address of a server, in place of a program.
    pub url: Option<String>,
    /// Headers for the address, each by the name of the variable that holds its whole value.
    pub headers: BTreeMap<String, String>,
    /// Only these of a server's tools; all where none is named.
    pub only: Vec<String>,
    /// Hosts that the program may reach.
    pub net: Vec<String>,
    /// Files and directories that the program may read as well.
    pub reads: Vec<PathBuf>,
    /// Files and directories that the program may write as well.
    pub writes: Vec<PathBuf>,
    /// The program's variables, each by the name of the variable that holds the value.
    pub env: BTreeMap<String, String>,
    /// Seconds that a call may take.
    pub timeout: f64,
    /// Most bytes of a result.
    pub output: usize,
}

impl Default for Extension {
    fn default() -> Self {
        Extension {
            command: Vec::new(),
            url: None,
            headers: BTreeMap::new(),
            only: Vec::new(),
            net: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            env: BTreeMap::new(),
            timeout: 60.0,
            output: 64 << 10,
        }
    }
}

/// A program that is a tool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Extension")]
pub struct External(pub Extension);

/// A server of the Model Context Protocol: a program, or an address.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Extension")]
pub struct Server(pub Extension);

impl TryFrom<Extension> for External {
    type Error = String;

    fn try_from(given: Extension) -> Result<Self, String> {
        given.check()?;
        let of_servers = given.url.is_some() || !given.headers.is_empty() || !given.only.is_empty();
        match (given.command.first(), of_servers) {
            (Some(_), false) => Ok(External(given)),
            (Some(_), true) => Err("url, headers and only are for servers, under [mcp.NAME]".into()),
            (None, _) => Err("a tool needs command = [\"PROGRAM\", ...]".into()),
        }
    }
}

impl TryFrom<Extension> for Server {
    type Error = String;

    fn try_from(given: Extension) -> Result<Self, String> {
        given.check()?;
        let paths = given.reads.len() + given.writes.len();
        let confined = given.net.is_empty() && given.env.is_empty() && paths == 0;
        match (&given.url, given.command.is_empty()) {
            (Some(url), true) if confined => address(url).map(|()| Server(given)),
            (Some(_), true) => Err("net, reads, writes and env are for servers with a command".into()),
            (None, false) if given.headers.is_empty() => Ok(Server(given)),
            (None, false) => Err("headers are for servers with a url".into()),
            _ => Err("a server needs either command = [\"PROGRAM\", ...] or url = \"https://...\"".into()),
        }
    }
}

impl Extension {
    /// What holds for all of them.
    fn check(&self) -> Result<(), String> {
        if !(self.timeout > 0.0 && self.timeout <= 86_400.0) {
            return Err("timeout must be a number of seconds above 0, and at most 86400".into());
        }
        if !(1..=16 << 20).contains(&self.output) {
            return Err("output must be a number of bytes from 1 to 16777216".into());
        }
        if let Some(host) = self.net.iter().find(|host| !tunesmith_sandbox::allows([host.as_str()], host)) {
            return Err(format!("net: {host:?} is no host; write HOST, HOST:PORT or *.DOMAIN"));
        }
        match self.env.values().chain(self.headers.values()).find(|name| is_ours(name)) {
            Some(name) => Err(format!("{name} is a key of Tunesmith's own; name another variable")),
            None => Ok(()),
        }
    }

    /// The time that a call may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

/// An address that keys may be sent to: encrypted, or on this machine, and without a key in itself.
fn address(url: &str) -> Result<(), String> {
    let read = reqwest::Url::parse(url).map_err(|error| format!("url: {error}"))?;
    let here = matches!(read.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match read.scheme() {
        _ if !read.username().is_empty() || read.password().is_some() || read.query().is_some() => {
            Err("url: put no key into the address; use headers = { Authorization = \"VARIABLE\" }".into())
        }
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => Err("url: use https; http is for this machine alone".into()),
    }
}

/// Variables that no other program gets, whatever a file says.
fn is_ours(name: &str) -> bool {
    const HUB: [&str; 3] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"];
    spec::keys().contains(&name) || HUB.contains(&name) || name.starts_with("TUNESMITH_")
}

/// The values of these variables, which from now on are not shown.
pub fn variables(
    wanted: &BTreeMap<String, String>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let value = |(name, from): (&String, &String)| {
        let value = env(from).ok_or_else(|| format!("{from} is not in the environment; set it, or leave it out"))?;
        hide(&value);
        Ok((name.clone(), value))
    };
    wanted.iter().map(value).collect()
}
