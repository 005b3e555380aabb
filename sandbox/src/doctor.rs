//! The self-test: tries to escape for real and reports what stopped it.
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::probe::{PROBE, STOPPED};
use crate::{Ended, Job, Layer, Limit, Limits, Line, Local, Status, Workdir};

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
    /// A limit that was held has the status of [`Local::layers`], which says how promptly it is held.
    pub async fn doctor(&self) -> io::Result<Vec<Check>> {
        let outside = tempfile::tempdir()?;
        let inside = tempfile::tempdir()?;
        let dir = Workdir::open(inside.path())?;
        let canary = outside.path().join("canary");
        fs::write(&canary, "canary")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let own = std::process::id().to_string();
        let left_open = fs::File::open(&canary)?;
        leave_open(&left_open)?;
        let canary = text(&canary);
        let attempts: [(Layer, &str, &str, &str); 13] = [
            (Layer::Files, "read a file outside", "read", canary),
            (Layer::Files, "write a file outside", "write", canary),
            (Layer::Files, "write a file outside through a link", "link", canary),
            (Layer::Metadata, "see the size of a file outside", "stat", canary),
            (Layer::Metadata, "change the mode of a file outside", "chmod", canary),
            (Layer::Network, "connect to a server on this machine", "tcp", &address),
            (Layer::Network, "send a datagram", "udp", &address),
            (Layer::Environment, "see a variable of the caller", "env", ""),
            (Layer::Syscalls, "trace the caller", "trace", &own),
            (Layer::Syscalls, "make calls that no job needs", "calls", ""),
            (Layer::Descriptors, "use a file that the caller has open", "files", ""),
            (Layer::Privileges, "have a capability over the machine, or gain one", "privileges", ""),
            (Layer::Signals, "signal the caller", "signal", &own),
        ];
        let layers = self.layers();
        let mut checks = Vec::new();
        for (layer, tried, name, target) in attempts {
            let status = self.attempt(&dir, (layer, &layers), (name, target), Limits::default()).await?;
            checks.push(Check { layer, tried: tried.into(), status });
        }
        checks.push(self.daemon(&dir).await?);
        for (layer, tried, name, limits) in excesses() {
            let status = self.attempt(&dir, (layer, &layers), (name, ""), limits).await?;
            checks.push(Check { layer, tried: tried.into(), status });
        }
        checks.sort_by_key(|check| Layer::ALL.iter().position(|layer| *layer == check.layer));
        Ok(checks)
    }

    /// Makes one attempt and says what it shows of its layer.
    async fn attempt(
        &self,
        dir: &Workdir,
        (layer, layers): (Layer, &[(Layer, Status)]),
        (name, target): (&str, &str),
        limits: Limits,
    ) -> io::Result<Status> {
        let (ended, proof) = self.probe(dir, name, target, limits).await?;
        Ok(match ended {
            Ended::Exit(code) if code == i32::from(STOPPED) => declared(layers, layer),
            Ended::Limit(Limit::Memory | Limit::Processes | Limit::Disk) => declared(layers, layer),
            Ended::Exit(0) => reached(layers, layer),
            _ => not_made(&ended, &proof),
        })
    }

    async fn daemon(&self, dir: &Workdir) -> io::Result<Check> {
        // No other process has the path of this temporary directory among its arguments.
        let token = text(dir.path());
        let (ended, proof) = self.probe(dir, "daemon", token, Limits::default()).await?;
        let status = match (proof.parse::<u32>(), with_argument(token)) {
            (Err(_), _) => not_made(&ended, &proof),
            (Ok(_), Some(pid)) => Status::Unavailable(format!("process {pid} was left behind")),
            (Ok(_), None) => Status::Enforced,
        };
        Ok(Check { layer: Layer::Tree, tried: "leave a daemon behind".into(), status })
    }

    /// Runs a probe as a job and gives its output.
    async fn probe(&self, dir: &Workdir, name: &str, target: &str, limits: Limits) -> io::Result<(Ended, String)> {
        let mut job = Job::new([text(self.init()), PROBE, name, target]);
        job.limits = Limits { wall: Some(Duration::from_secs(10)), ..limits };
        let mut running = self.spawn(dir, job)?;
        let mut output = String::new();
        while let Some(Line::Out(line) | Line::Err(line)) = running.lines.recv().await {
            output.push_str(&line);
        }
        Ok((running.wait().await.ended, output))
    }
}

/// What takes more than its limits allow: each of them is a tenth of what the attempt takes, or less.
fn excesses() -> [(Layer, &'static str, &'static str, Limits); 3] {
    const MIB: u64 = 1 << 20;
    let none = Limits::default;
    [
        (Layer::Memory, "fill more memory than allowed", "memory", Limits { memory: Some(32 * MIB), ..none() }),
        (Layer::Processes, "start more processes than allowed", "fork", Limits { processes: Some(8), ..none() }),
        (Layer::Disk, "fill more of the disk than allowed", "fill", Limits { disk_bytes: Some(4 * MIB), ..none() }),
    ]
}

/// Has a file stay open in programs that are started from now on, as careless callers do.
fn leave_open(file: &fs::File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
    let _ = file;
    Ok(())
}

fn not_made(ended: &Ended, proof: &str) -> Status {
    Status::Unavailable(format!("the attempt could not be made: {ended:?} {proof}"))
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
