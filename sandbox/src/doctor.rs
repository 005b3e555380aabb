//! The self-test: tries to escape for real and reports what stopped it.
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::probe::{PROBE, STOPPED};
use crate::{Ended, Job, Layer, Line, Local, Status, Workdir};

/// One line of the self-test.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// The layer that should have stopped it.
    pub layer: Layer,
    /// What was tried.
    pub tried: String,
    /// What came of it.
    pub status: Status,
}

impl Local {
    /// Tries a few escapes in a temporary workdir and reports each layer as it was found.
    ///
    /// The status of a layer that no escape was tried on is the one of [`Local::layers`].
    pub async fn doctor(&self) -> io::Result<Vec<Check>> {
        let outside = tempfile::tempdir()?;
        let inside = tempfile::tempdir()?;
        let dir = Workdir::open(inside.path())?;
        let canary = outside.path().join("canary");
        fs::write(&canary, "canary")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let own = std::process::id().to_string();
        let attempts: [(Layer, &str, &str, &str); 9] = [
            (Layer::Files, "read a file outside", "read", text(&canary)),
            (Layer::Files, "write a file outside", "write", text(&canary)),
            (Layer::Files, "write a file outside through a link", "link", text(&canary)),
            (Layer::Network, "connect to a server on this machine", "tcp", &address),
            (Layer::Network, "send a datagram", "udp", &address),
            (Layer::Environment, "see a variable of the caller", "env", ""),
            (Layer::Syscalls, "trace the caller", "trace", &own),
            (Layer::Syscalls, "make calls that no job needs", "calls", ""),
            (Layer::Signals, "signal the caller", "signal", &own),
        ];
        let layers = self.layers();
        let mut checks = Vec::new();
        for (layer, tried, name, target) in attempts {
            let (ended, proof) = self.probe(&dir, name, target).await?;
            let status = if ended == Ended::Exit(STOPPED.into()) {
                declared(&layers, layer)
            } else if ended == Ended::Exit(0) {
                reached(&layers, layer)
            } else {
                Status::Unavailable(format!("the attempt could not be made: {ended:?} {proof}"))
            };
            checks.push(Check { layer, tried: tried.into(), status });
        }
        checks.push(self.daemon(&dir).await?);
        let rest: Vec<_> =
            layers.into_iter().filter(|(layer, _)| checks.iter().all(|check| check.layer != *layer)).collect();
        checks.extend(rest.into_iter().map(|(layer, status)| Check { layer, tried: "not tried".into(), status }));
        Ok(checks)
    }

    async fn daemon(&self, dir: &Workdir) -> io::Result<Check> {
        // No other process has the path of this temporary directory among its arguments.
        let token = text(dir.path());
        let (ended, proof) = self.probe(dir, "daemon", token).await?;
        let status = match (proof.parse::<u32>(), with_argument(token)) {
            (Err(_), _) => Status::Unavailable(format!("the attempt could not be made: {ended:?} {proof}")),
            (Ok(_), Some(pid)) => Status::Unavailable(format!("process {pid} was left behind")),
            (Ok(_), None) => Status::Enforced,
        };
        Ok(Check { layer: Layer::Tree, tried: "leave a daemon behind".into(), status })
    }

    /// Runs a probe as a job and gives its output.
    async fn probe(&self, dir: &Workdir, name: &str, target: &str) -> io::Result<(Ended, String)> {
        let mut job = Job::new([text(self.init()), PROBE, name, target]);
        job.limits.wall = Some(Duration::from_secs(10));
        let mut running = self.spawn(dir, job)?;
        let mut output = String::new();
        while let Some(Line::Out(line) | Line::Err(line)) = running.lines.recv().await {
            output.push_str(&line);
        }
        Ok((running.wait().await.ended, output))
    }
}

fn declared(layers: &[(Layer, Status)], layer: Layer) -> Status {
    let found = layers.iter().find(|(known, _)| *known == layer);
    found.map_or(Status::Enforced, |(_, status)| match status {
        // It was stopped, so what is declared missing altogether is there at least for this attempt.
        Status::Unavailable(why) => Status::Partial(format!("stopped, although {why}")),
        other => other.clone(),
    })
}

fn reached(layers: &[(Layer, Status)], layer: Layer) -> Status {
    match layers.iter().find(|(known, _)| *known == layer) {
        Some((_, Status::Partial(why) | Status::Unavailable(why))) => Status::Unavailable(why.clone()),
        _ => Status::Unavailable("the attempt succeeded".into()),
    }
}

/// A process that was started with this argument.
fn with_argument(argument: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
