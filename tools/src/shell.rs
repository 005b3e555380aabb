//! `shell`: a command in the sandbox, for what no other tool does.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    score::{Score, Verdict},
    text::{truncate_middle, visible_lines},
};
use tunesmith_sandbox::{Ended, Job, Limits, Line, Local, Net, Workdir};

use crate::{
    bases, confined,
    files::score,
    tool::{Cx, INTERRUPTED, Tool, ToolError},
};

/// See [`Args`].
pub struct Shell;

/// Runs a shell command in the workdir; no network but `hosts`, nothing else writable. For what no other tool does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// For sh.
    #[schemars(length(min = 1, max = 8000))]
    pub command: String,
    /// Seconds until killed.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1.0, max = 3600.0))]
    pub timeout: f64,
    /// Where the user allows.
    #[serde(default)]
    pub hosts: Vec<String>,
}

fn sixty() -> f64 {
    60.0
}

/// What it printed and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Standard output, the middle of a long one left out.
    pub stdout: String,
    /// Standard error, the middle of a long one left out.
    pub stderr: String,
    /// How it ended.
    pub ended: Ended,
    /// Hosts that it asked for and could not reach, because `hosts` did not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_hosts: Vec<String>,
}

/// Characters kept of each output.
const KEPT: usize = 8_000;
/// Bytes after which the command is stopped.
const MOST: u64 = 16 << 20;

impl Tool for Shell {
    const NAME: &'static str = "shell";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        confinable(cx.jobs)?;
        if let Some(host) = args.hosts.iter().find(|host| !tunesmith_sandbox::allows(cx.hosts, host)) {
            return Err(ToolError::Denied(format!(
                "this run may not reach {host}; the user can allow it with --allow network:{host}"
            )));
        }
        let mut wall = Duration::try_from_secs_f64(args.timeout).unwrap_or(Duration::from_secs(60));
        if let Some(deadline) = cx.deadline {
            wall = wall.min(deadline.saturating_duration_since(Instant::now()));
        }
        if wall.is_zero() {
            return Err(ToolError::Limit("there is no time left for this step".into()));
        }
        let mut job = Job::new(["sh", "-c", &args.command]);
        job.reads = bases::reads(cx.base);
        job.net = if args.hosts.is_empty() { Net::None } else { Net::Hosts(args.hosts) };
        // A line in one piece: what is cut in two is no longer known for a secret.
        job.line_bytes = MOST as usize;
        job.limits = Limits { wall: Some(wall), output_bytes: Some(MOST), ..Limits::default() };
        let failed = |error: std::io::Error| ToolError::Failed(format!("the command cannot be started: {error}"));
        let mut running = cx.jobs.spawn(cx.dir, job).map_err(failed)?;
        running.cancel_on(&cx.cancel);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(line) = running.lines.recv().await {
            match line {
                Line::Out(line) => stdout.push(line),
                Line::Err(line) => stderr.push(line),
            }
        }
        let finished = running.wait().await;
        confined::tell(cx.jobs, &finished, "shell", cx.on);
        let refused_hosts = finished.refused_hosts;
        match finished.ended {
            Ended::Cancelled => Err(ToolError::Cancelled),
            Ended::Failed(why) => Err(ToolError::Failed(format!("the command could not run: {why}"))),
            ended => Ok(Output { stdout: shown(&stdout), stderr: shown(&stderr), ended, refused_hosts }),
        }
    }

    /// A command may have done half of what it does.
    async fn call_again(&self, _: &Cx<'_>, _: Args) -> Result<Output, ToolError> {
        Err(ToolError::Failed(INTERRUPTED.to_owned()))
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let (verdict, why) = match &output.ended {
            Ended::Exit(0) => (Verdict::Pass, "it returned 0".to_owned()),
            Ended::Exit(code) => (Verdict::Warn, format!("it returned {code}")),
            Ended::Signal(number) => (Verdict::Warn, format!("signal {number} killed it")),
            Ended::Limit(limit) => (Verdict::Warn, format!("a limit stopped it ({limit:?})")),
            Ended::Cancelled | Ended::Failed(_) => (Verdict::Fail, "it did not run".to_owned()),
        };
        vec![score("shell.exit", None, verdict, why)]
    }
}

/// Whether commands of a planner may run here: confined, or where the user has decided that they need not be.
pub fn confinable(jobs: &Local) -> Result<(), ToolError> {
    let missing = jobs.missing();
    // Whoever switched confinement off for the whole run has decided.
    if !jobs.is_confined() || missing.is_empty() {
        return Ok(());
    }
    let layers: Vec<String> = missing.iter().map(|(layer, status)| format!("{layer} ({status})")).collect();
    Err(ToolError::Denied(format!(
        "commands cannot be confined on this machine: {}; the user may allow them with --sandbox none",
        layers.join(", ")
    )))
}

fn shown(lines: &[String]) -> String {
    truncate_middle(&visible_lines(&lines.join("\n")), KEPT).into_owned()
}
