//! What the user has added to a run: programs that are tools, and the tools of other servers.
//!
//! Both are offered only where rows may be shared. A program works where the rows are, so its results may be made of
//! them; a server gets whatever a planner passes to it. A network is never granted by settings alone: each host that one
//! of them reaches needs its `--allow network:HOST`, as for every job. What is left out is told.

use std::collections::BTreeMap;

use tunesmith_harness::text::visible;
use tunesmith_tools::{
    external::{self, Program},
    registry,
    tool::{AnyTool, Cx, Tool},
};

use crate::{
    config::{
        Values,
        extend::{Extension, External, Name, Server, variables},
    },
    hub,
    mcp::client,
    read_output::ReadOutput,
    run::{Options, Watch},
    show::Share,
};

/// Tools that may be added; each costs a planner's window.
const MOST: usize = 32;

/// What is to be added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extensions {
    /// Servers of the Model Context Protocol.
    pub mcp: BTreeMap<Name, Server>,
    /// Programs.
    pub tools: BTreeMap<Name, External>,
}

impl From<&Values> for Extensions {
    fn from(values: &Values) -> Self {
        Extensions { mcp: values.mcp.clone(), tools: values.tools.clone() }
    }
}

impl Extensions {
    /// The tools of a run: servers are started, and programs are asked what they take. Dropping the tools ends their
    /// servers.
    pub async fn open(&self, cx: &Cx<'_>, options: &Options, watch: &dyn Watch) -> Vec<Box<dyn AnyTool>> {
        let mut tools = Vec::new();
        let programs = self.tools.iter().map(|(name, given)| ("tools", name, &given.0));
        let servers = self.mcp.iter().map(|(name, given)| ("mcp", name, &given.0));
        for (kind, name, given) in programs.chain(servers) {
            let found = match granted(given, options.share, &options.allow) {
                Err(why) => Err(why),
                Ok(()) if kind == "mcp" => tokio::select! {
                    found = client::open(name.as_str(), given, cx.jobs, &env) => found,
                    () = cx.cancel.cancelled() => Err("cancelled".into()),
                },
                Ok(()) => program(name, given, cx).await.map(|tool| (vec![tool], Vec::new())),
            };
            let told = |why: &str| watch.note(&visible(&format!("{kind}.{}: {why}", name.as_str())));
            match found {
                Ok((found, notes)) => {
                    notes.iter().for_each(|note| told(note));
                    found.into_iter().for_each(|tool| add(&mut tools, tool, &told));
                }
                Err(why) => told(&format!("left out: {why}")),
            }
        }
        tools
    }
}

/// The environment, of which a program or server gets what its settings name.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Adds a tool, unless its name is taken or there are too many.
fn add(tools: &mut Vec<Box<dyn AnyTool>>, tool: Box<dyn AnyTool>, told: &dyn Fn(&str)) {
    let ours = registry::all();
    let name = tool.name();
    if name == ReadOutput::NAME || ours.get(name).is_some() || tools.iter().any(|known| known.name() == name) {
        told(&format!("tool {name} is left out: its name is taken"));
    } else if tools.len() >= MOST {
        told(&format!("tool {name} is left out: there are {MOST} already"));
    } else {
        tools.push(tool);
    }
}

/// Whether a run may use it.
fn granted(given: &Extension, share: Share, allow: &[String]) -> Result<(), String> {
    if share == Share::None {
        return Err("it could see rows, or be told of them; allow that with --share samples".into());
    }
    let address = given.url.as_deref().map(hub::host_of);
    let allowed = hub::hosts(allow);
    let hosts = given.net.iter().cloned().chain(address);
    let refused: Vec<String> = hosts
        .filter(|host| !tunesmith_sandbox::allows(&allowed, host))
        .map(|host| format!("--allow network:{host}"))
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(format!("it needs {}", refused.join(" "))) }
}

async fn program(name: &Name, given: &Extension, cx: &Cx<'_>) -> Result<Box<dyn AnyTool>, String> {
    let program = Program {
        name: name.as_str().to_owned(),
        command: given.command.clone(),
        net: given.net.clone(),
        reads: given.reads.clone(),
        writes: given.writes.clone(),
        env: variables(&given.env, &env)?,
        timeout: given.patience(),
        output: given.output,
    };
    let tool =
        external::External::open(cx.jobs, cx.dir, program, &cx.cancel).await.map_err(|error| error.to_string())?;
    Ok(Box::new(tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_be_shared_and_each_host_allowed() {
        let asks = |given: &Extension, share, allow: &[&str]| {
            let allow: Vec<String> = allow.iter().map(|word| (*word).to_owned()).collect();
            granted(given, share, &allow)
        };
        let quiet = Extension::default();
        let hidden = "it could see rows, or be told of them; allow that with --share samples";
        assert_eq!(asks(&quiet, Share::None, &["network:a.example"]), Err(hidden.into()));
        assert_eq!(asks(&quiet, Share::Samples, &[]), Ok(()));
        let net = vec!["a.example".into(), "b.example:80".into()];
        let program = Extension { net, ..Extension::default() };
        let both = "it needs --allow network:a.example --allow network:b.example:80";
        assert_eq!(asks(&program, Share::Samples, &["scope"]), Err(both.into()));
        assert_eq!(asks(&program, Share::Samples, &["network:a.example", "network:b.example"]), Ok(()));
        let server = Extension { url: Some("https://a.example:8443/mcp?".into()), ..Extension::default() };
        let port = "it needs --allow network:a.example:8443";
        assert_eq!(asks(&server, Share::Samples, &["network:b.example"]), Err(port.into()));
        assert_eq!(asks(&server, Share::Samples, &["network:a.example:8443"]), Ok(()));
    }
}
