//! A worker that stays: it is told one thing after another, and answers each, until it is dropped.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tunesmith_sandbox::{Cancel, Local, Running, Stdin, Workdir};

use super::{
    Line, Work,
    caller::{self, Heard},
};
use crate::tool::ToolError;

/// The connection to such a worker; dropping it kills the worker.
pub struct Standing {
    running: Option<Running>,
    work: Work,
    heard: Heard,
}

impl Standing {
    /// Starts a worker that may write `dir` and read `reads`.
    pub async fn start(
        jobs: &Local,
        dir: &Workdir,
        work: Work,
        reads: Vec<PathBuf>,
        cancel: &Cancel,
    ) -> Result<Self, ToolError> {
        let (mut job, order) = caller::job(&work, reads, None)?;
        job.stdin = Stdin::Open;
        let running = caller::spawn(jobs, dir, job)?;
        running.cancel_on(cancel);
        let mut standing = Standing { running: Some(running), work, heard: Heard::default() };
        standing.write(order).await?;
        Ok(standing)
    }

    /// Tells it something.
    pub async fn tell(&mut self, what: &impl Serialize) -> Result<(), ToolError> {
        let line = serde_json::to_vec(what).map_err(|e| ToolError::Failed(format!("it cannot be written: {e}")))?;
        self.write(line).await
    }

    async fn write(&mut self, mut line: Vec<u8>) -> Result<(), ToolError> {
        line.push(b'\n');
        let Some(stdin) = self.running.as_mut().and_then(|running| running.stdin.as_mut()) else {
            return Err(ToolError::Failed("the worker cannot be spoken to".into()));
        };
        // One that has ended is asked why.
        match stdin.write_all(&line).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().await),
        }
    }

    /// The next thing that it says; an error is how it ended.
    pub async fn hear(&mut self) -> Result<Value, ToolError> {
        loop {
            let next = match &mut self.running {
                Some(running) => running.lines.recv().await,
                None => None,
            };
            match next.map(|output| self.heard.line(output)) {
                Some(Some(Line::Partial(value))) => return Ok(value),
                Some(_) => {}
                None => return Err(self.ended().await),
            }
        }
    }

    async fn ended(&mut self) -> ToolError {
        let Some(mut running) = self.running.take() else {
            return ToolError::Failed("the worker has ended".into());
        };
        drop(running.stdin.take());
        while let Some(output) = running.lines.recv().await {
            self.heard.line(output);
        }
        let finished = running.wait().await;
        match std::mem::take(&mut self.heard).result(finished, &self.work) {
            Ok(_) => ToolError::Failed("the worker ended before it was told to".into()),
            Err(error) => error,
        }
    }
}
