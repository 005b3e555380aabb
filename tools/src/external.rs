//! A program of the user's as a tool, in any language: it says what it takes with `--schema`, reads JSON, writes JSON.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tunesmith_harness::{score::Score, text::visible};
use tunesmith_sandbox::{Cancel, Ended, Finished, Job, Limit, Limits, Line, Local, Net, Stdin, Workdir};

use crate::{
    confined,
    foreign::Foreign,
    shell::confinable,
    tool::{AnyTool, Cx, Progress, ToolError},
};

/// Seconds in which a program must say what it takes.
const SCHEMA: Duration = Duration::from_secs(20);
/// Bytes in which it must.
const SAID: usize = 64 << 10;
/// Lines of its standard error that are kept.
const KEPT: usize = 5;

/// A program, and what it may reach; nothing beside its workdir unless the user says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The tool's name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Hosts that it may reach.
    pub net: Vec<String>,
    /// What it may read as well.
    pub reads: Vec<PathBuf>,
    /// What it may write as well.
    pub writes: Vec<PathBuf>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// How long a call may take.
    pub timeout: Duration,
    /// Most bytes of a result.
    pub output: usize,
}

impl Program {
    /// The job that runs it with these arguments more.
    pub fn job(&self, more: &[&str]) -> Job {
        let more = more.iter().map(|word| (*word).to_owned());
        let mut job = Job::new(self.command.iter().cloned().chain(more));
        // A program may be a script beside the settings, and its interpreter gets it as an argument.
        let named = self.command.iter().map(PathBuf::from).filter(|word| word.is_absolute() && word.is_file());
        job.reads = self.reads.iter().cloned().chain(named).collect();
        job.writes = self.writes.clone();
        job.env = self.env.clone();
        job.net = if self.net.is_empty() { Net::None } else { Net::Hosts(self.net.clone()) };
        job
    }
}

/// A program that has said what it takes.
pub struct External {
    program: Program,
    tool: Foreign,
}

/// What `--schema` prints.
#[derive(Deserialize)]
struct Said {
    name: String,
    #[serde(default)]
    description: String,
    parameters: Value,
}

/// A line of standard error that says how far a call is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tick {
    progress: Done,
}

#[derive(Deserialize)]
struct Done {
    done: usize,
    #[serde(default)]
    total: usize,
    note: Option<String>,
}

impl External {
    /// Asks a program what it takes.
    pub async fn open(jobs: &Local, dir: &Workdir, program: Program, cancel: &Cancel) -> Result<Self, ToolError> {
        confinable(jobs)?;
        let mut job = program.job(&["--schema"]);
        job.limits.wall = Some(SCHEMA);
        let failed = |why: String| ToolError::Failed(format!("{} --schema: {why}", program.name));
        let (text, _) = talk(jobs, dir, job, (SAID, cancel), &|_| {}).await.map_err(|error| match error {
            ToolError::Cancelled => ToolError::Cancelled,
            other => failed(other.to_string()),
        })?;
        let said: Said = serde_json::from_str(&text).map_err(|error| failed(format!("no schema: {error}")))?;
        if said.name != program.name {
            return Err(failed(format!("it calls itself {:?}; use one name in both places", visible(&said.name))));
        }
        let tool = Foreign::new(&said.name, &said.description, said.parameters).map_err(failed)?;
        Ok(External { program, tool })
    }
}

impl AnyTool for External {
    fn name(&self) -> &str {
        &self.tool.name
    }

    fn description(&self) -> &str {
        &self.tool.description
    }

    fn schema(&self) -> &Value {
        &self.tool.schema
    }

    fn call<'a>(&'a self, cx: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move {
            let args = Value::Object(self.tool.read(args)?);
            confinable(cx.jobs)?;
            let left = cx.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let wall = left.map_or(self.program.timeout, |left| left.min(self.program.timeout));
            if wall.is_zero() {
                return Err(ToolError::Limit("there is no time left for this step".into()));
            }
            let mut job = self.program.job(&[]);
            job.stdin = Stdin::Bytes(args.to_string().into_bytes());
            job.limits.wall = Some(wall);
            let on = |done: Done| {
                let note = done.note.map(|note| visible(&note).into_owned());
                let what = self.program.name.clone();
                (cx.on)(Progress { what, done: done.done, total: done.total, note, ..Progress::default() });
            };
            let (text, finished) = talk(cx.jobs, cx.dir, job, (self.program.output, &cx.cancel), &on).await?;
            confined::tell(cx.jobs, &finished, self.name(), cx.on);
            serde_json::from_str(&text)
                .map_err(|error| ToolError::Failed(format!("{} returned no single JSON value: {error}", self.name())))
        })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

/// Runs a job to its end: what it prints on standard output, of at most so many bytes.
async fn talk(
    jobs: &Local,
    dir: &Workdir,
    mut job: Job,
    (most, cancel): (usize, &Cancel),
    on: &(dyn Fn(Done) + Send + Sync),
) -> Result<(String, Finished), ToolError> {
    // What it says on standard error counts too, and is little.
    job.limits = Limits { output_bytes: Some(most as u64 + (1 << 20)), ..job.limits };
    job.line_bytes = most + 1;
    let failed = |error: std::io::Error| ToolError::Failed(format!("it cannot be started: {error}"));
    let mut running = jobs.spawn(dir, job).map_err(failed)?;
    running.cancel_on(cancel);
    let (mut text, mut said) = (String::new(), VecDeque::new());
    while let Some(line) = running.lines.recv().await {
        match line {
            Line::Out(line) if text.len() + line.len() <= most => {
                text.push_str(&line);
                text.push('\n');
            }
            Line::Out(_) => {
                running.cancel();
                running.wait().await;
                return Err(ToolError::Limit(format!("it printed more than {most} bytes; ask for less at a time")));
            }
            Line::Err(line) => match serde_json::from_str::<Tick>(&line) {
                Ok(tick) => on(tick.progress),
                Err(_) if line.trim().is_empty() => {}
                Err(_) => {
                    said.push_back(line);
                    if said.len() > KEPT {
                        said.pop_front();
                    }
                }
            },
        }
    }
    let finished = running.wait().await;
    let how = match &finished.ended {
        Ended::Exit(0) => return Ok((text, finished)),
        Ended::Cancelled => return Err(ToolError::Cancelled),
        Ended::Limit(Limit::Wall) => {
            let seconds = finished.wall.as_secs_f64();
            return Err(ToolError::Limit(format!("time ran out after {seconds:.0} s")));
        }
        Ended::Limit(limit) => return Err(ToolError::Limit(format!("{limit:?}"))),
        Ended::Exit(code) => format!("exit code {code}"),
        Ended::Signal(number) => format!("signal {number}"),
        Ended::Failed(why) => format!("it could not run: {why}"),
    };
    Err(ToolError::Failed(format!("{how}{}", last_words(&said))))
}

/// The end of what a program said on standard error.
pub fn last_words(said: &VecDeque<String>) -> String {
    let words: Vec<String> = said.iter().map(|line| visible(line).chars().take(300).collect()).collect();
    if words.is_empty() { String::new() } else { format!("; its last words: {}", words.join(" / ")) }
}
