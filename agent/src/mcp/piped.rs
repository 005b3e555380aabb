//! A server that is a program: a confined job, spoken to through its standard input and output.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{io::AsyncWriteExt, net::unix::pipe, task::JoinHandle, time::timeout};
use tunesmith_sandbox::{Ended, Line, Local, Running, Stdin, Workdir};
use tunesmith_tools::external::{Program, last_words};

use super::client::most;
use crate::config::extend::{Extension, variables};

/// Lines that are no messages, after which a server is not listened to any more.
const RUBBISH: usize = 64;
/// Lines of its standard error that are kept.
const KEPT: usize = 5;
/// How long a server that says no more may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that a server may print in its life.
const PRINTED: u64 = 1 << 30;

/// The connection to such a server. Dropping it kills the server.
pub(super) struct Piped {
    running: Option<Running>,
    ending: Option<JoinHandle<()>>,
    stdin: Arc<tokio::sync::Mutex<Option<pipe::Sender>>>,
    said: Arc<Said>,
    rubbish: usize,
}

/// What is known of a server beside its messages.
#[derive(Default)]
pub(super) struct Said(Mutex<(VecDeque<String>, Option<String>)>);

impl Said {
    /// How it ended, if it has, with its last words.
    pub fn end(&self) -> Option<String> {
        let said = self.lock();
        said.1.as_ref().map(|end| format!("{end}{}", last_words(&said.0)))
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<String>, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piped {
    /// Starts the program in a workdir, with the variables that the user names for it and no other.
    pub fn start(
        name: &str,
        given: &Extension,
        (jobs, dir): (&Local, &Workdir),
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let program = Program {
            name: name.to_owned(),
            command: given.command.clone(),
            net: given.net.clone(),
            reads: given.reads.clone(),
            writes: given.writes.clone(),
            env: variables(&given.env, env)?,
            timeout: given.patience(),
            output: given.output,
        };
        let mut job = program.job(&[]);
        job.stdin = Stdin::Open;
        job.line_bytes = most(given);
        // It lives as long as the run, which ends it.
        job.limits.wall = None;
        job.limits.output_bytes = Some(PRINTED);
        let mut running = jobs.spawn(dir, job).map_err(|error| format!("it cannot be started: {error}"))?;
        let stdin = Arc::new(tokio::sync::Mutex::new(running.stdin.take()));
        Ok(Piped { running: Some(running), ending: None, stdin, said: Arc::default(), rubbish: 0 })
    }

    /// What is known of it, also once the connection is gone.
    pub fn said(&self) -> Arc<Said> {
        self.said.clone()
    }

    /// Waits for the end of the server, once it has begun; may be dropped and asked again.
    async fn ended(&mut self) {
        if let Some(ending) = &mut self.ending {
            let _ = ending.await;
        }
    }

    /// Begins the end of the server: it has ended by itself, or has to, for this reason.
    fn end(&mut self, why: Option<&'static str>) {
        if let Some(running) = self.running.take() {
            self.ending = Some(tokio::spawn(end(running, self.said.clone(), why)));
        }
    }
}

/// Takes note of how a server ended.
async fn end(running: Running, said: Arc<Said>, why: Option<&'static str>) {
    if why.is_some() {
        running.cancel();
    }
    let how = match timeout(PATIENCE, running.wait()).await.map(|finished| finished.ended) {
        Ok(Ended::Exit(code)) => format!("it ended with exit code {code}"),
        Ok(Ended::Signal(number)) => format!("signal {number} ended it"),
        Ok(Ended::Limit(limit)) => format!("a limit ended it ({limit:?})"),
        Ok(Ended::Failed(why)) => format!("it could not run: {why}"),
        Ok(Ended::Cancelled) => "it was stopped".into(),
        Err(_) => "it closed its output".into(),
    };
    said.lock().1 = Some(why.map_or(how, str::to_owned));
}

impl Transport<RoleClient> for Piped {
    type Error = io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let stdin = self.stdin.clone();
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            match stdin.lock().await.as_mut() {
                Some(stdin) => stdin.write_all(&line).await,
                None => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let Some(running) = &mut self.running else {
                self.ended().await;
                return None;
            };
            match running.lines.recv().await {
                Some(Line::Out(line)) => match serde_json::from_str(&line) {
                    Ok(message) => return Some(message),
                    Err(_) if line.trim().is_empty() => {}
                    Err(_) => self.rubbish += 1,
                },
                Some(Line::Err(line)) => {
                    let mut said = self.said.lock();
                    said.0.push_back(line.chars().take(300).collect());
                    if said.0.len() > KEPT {
                        said.0.pop_front();
                    }
                }
                None => self.end(None),
            }
            if self.rubbish > RUBBISH {
                self.end(Some("it prints what is no message of the protocol, or is too long"));
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.end(Some("it was stopped"));
        self.ended().await;
        Ok(())
    }
}
