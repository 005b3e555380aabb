//! Tools, a journal and a context for tests of the loop.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tunesmith::{
    model::{ChatModel, Delta, ErrorKind, Message, ModelError, Reply, Request},
    steps::Journal,
};
use tunesmith_harness::{
    event::Kind,
    log::LogError,
    score::{Score, Verdict},
    task::{JobKind, Scope},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::tool::{AnyTool, Cx, FieldError, JobEnd, Progress, ToolError};

pub type Answer = Box<dyn Fn(&Value) -> Result<Value, ToolError> + Send + Sync>;

/// A tool that answers from a function.
pub struct Fake {
    name: &'static str,
    schema: Value,
    answer: Answer,
    scores: Vec<Score>,
}

impl Fake {
    pub fn new(
        name: &'static str,
        answer: impl Fn(&Value) -> Result<Value, ToolError> + Send + Sync + 'static,
    ) -> Self {
        Fake { name, schema: json!({"type": "object"}), answer: Box::new(answer), scores: Vec::new() }
    }

    /// What it answers to these arguments.
    pub fn answer(&self, args: &Value) -> Result<Value, ToolError> {
        (self.answer)(args)
    }

    pub fn scored(mut self, score: Score) -> Self {
        self.scores.push(score);
        self
    }
}

impl AnyTool for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        "A tool of a test."
    }

    fn schema(&self) -> &Value {
        &self.schema
    }

    fn call<'a>(&'a self, _: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move { (self.answer)(&args) })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        self.scores.clone()
    }
}

/// A tool that works until it is told to stop.
pub struct Endless;

impl AnyTool for Endless {
    fn name(&self) -> &str {
        "train"
    }

    fn description(&self) -> &str {
        "Never ends by itself."
    }

    fn schema(&self) -> &Value {
        &Value::Null
    }

    fn call<'a>(&'a self, cx: &'a Cx<'a>, _: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async {
            cx.cancel.cancelled().await;
            Err(ToolError::Cancelled)
        })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

/// A tool whose job ran under less than was declared.
pub struct Loose;

impl AnyTool for Loose {
    fn name(&self) -> &str {
        "shell"
    }

    fn description(&self) -> &str {
        "Says twice that a layer was missing."
    }

    fn schema(&self) -> &Value {
        &Value::Null
    }

    fn call<'a>(&'a self, cx: &'a Cx<'a>, _: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        let job = JobEnd { degraded: Some("files (unavailable: gone)".to_owned()), ..JobEnd::default() };
        (0..2).for_each(|_| (cx.on)(Progress { job: Some(job.clone()), ..Progress::default() }));
        Box::pin(async { Err(ToolError::Failed("no".into())) })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

/// A model that gives prepared replies and keeps what it was asked.
pub struct Talker {
    replies: Mutex<VecDeque<Result<Reply, ModelError>>>,
    pub seen: Mutex<Vec<Vec<Message>>>,
}

impl Talker {
    pub fn new(replies: Vec<Result<Reply, ModelError>>) -> Self {
        Talker { replies: Mutex::new(replies.into()), seen: Mutex::default() }
    }
}

impl ChatModel for Talker {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        _: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.seen.lock().unwrap().push(request.messages.to_vec());
        let next = self.replies.lock().unwrap().pop_front();
        let none = || Err(ModelError::new(ErrorKind::Protocol, "no more replies in this test"));
        Box::pin(async move { next.unwrap_or_else(none) })
    }
}

/// Keeps events, with wall-clock seconds set to zero so that they compare.
#[derive(Default)]
pub struct Kept {
    pub events: Vec<Kind>,
    /// How many events there were at each sync.
    pub synced: Vec<usize>,
    /// How many events have happened; those behind are recalled.
    at: usize,
}

impl Kept {
    /// The events of a run that goes on.
    pub fn after(events: &[Kind]) -> Self {
        Kept { events: events.to_vec(), ..Kept::default() }
    }
}

impl Journal for Kept {
    fn record(&mut self, mut kind: Kind) -> Result<(), LogError> {
        if let Kind::Returned { seconds, .. } = &mut kind {
            *seconds = 0.0;
        }
        match self.events.get(self.at) {
            Some(was) => assert_eq!(was, &kind, "the run goes on with something else than it did"),
            None => self.events.push(kind),
        }
        self.at += 1;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.synced.push(self.events.len());
        Ok(())
    }

    fn past(&self) -> &[Kind] {
        &self.events[..self.at]
    }

    fn next(&self) -> Option<&Kind> {
        self.events.get(self.at)
    }

    fn skip(&mut self) -> Result<(), LogError> {
        self.at += 1;
        Ok(())
    }
}

/// The parts of a [`Cx`] that someone must own.
pub struct World {
    dir: Workdir,
    jobs: Local,
    pub cancel: Cancel,
    pub deadline: Option<Instant>,
    pub hosts: Vec<String>,
    outputs: PathBuf,
    _temp: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Workdir::create(&temp.path().join("work")).unwrap();
        let (outputs, cancel) = (temp.path().join("outputs"), Cancel::default());
        World { dir, jobs: Local::new(), cancel, deadline: None, hosts: Vec::new(), outputs, _temp: temp }
    }

    /// Where whole outputs are kept.
    pub fn outputs(&self) -> &Path {
        &self.outputs
    }

    pub fn cx(&self) -> Cx<'_> {
        Cx {
            dir: &self.dir,
            jobs: &self.jobs,
            base: Path::new("/nowhere"),
            seed: 0,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
            ask: None,
            hub: None,
            hosts: &self.hosts,
            on: &|_| {},
        }
    }
}

/// Reads a scope out of the fake plan's output.
pub fn scope_of(output: &Value) -> Result<Option<Scope>, ToolError> {
    Ok(output.get("scope").and_then(|scope| serde_json::from_value(scope.clone()).ok()))
}

pub fn scope(max_length: usize) -> Scope {
    Scope {
        base: "nano".into(),
        base_sha256: "b".into(),
        data_sha256: "d".into(),
        kind: JobKind::Classification,
        input: "text".into(),
        target: "intent".into(),
        answer_after: None,
        method: "lora".into(),
        max_length,
        metric: "accuracy".into(),
    }
}

/// A plan tool whose scope has the asked-for length.
pub fn plan() -> Fake {
    Fake::new("plan", |args| {
        let Some(length) = args["max_length"].as_u64() else {
            return Err(invalid("/max_length", "is required"));
        };
        Ok(json!({"scope": scope(length as usize)}))
    })
}

pub fn finish() -> Fake {
    Fake::new("finish", |args| Ok(json!({"summary": args["summary"]})))
}

pub fn invalid(pointer: &str, message: &str) -> ToolError {
    ToolError::Invalid(vec![FieldError { pointer: pointer.into(), message: message.into() }])
}

pub fn passed(scorer: &str, value: f64) -> Score {
    Score {
        scorer: scorer.into(),
        value: Some(value),
        interval: None,
        verdict: Verdict::Pass,
        why: "as it should be".into(),
    }
}
