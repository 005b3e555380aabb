//! Starts jobs on this machine.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixStream, unix::pipe};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

mod output;

use output::{Output, read_lines};

use crate::probe::{NOTHING, PROBE};
use crate::proxy::Proxy;
use crate::wire::{self, Policy, Stop};
use crate::{
    Cancel, Ended, Finished, Job, Layer, Limit, Limits, Line, Mechanism, Peaks, Status, Stdin, Workdir, platform,
};

/// Where jobs look for programs, unless [`Job::env`] says otherwise.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts jobs on this machine.
#[derive(Debug, Clone)]
pub struct Local {
    init: PathBuf,
    confined: bool,
    without: Vec<Mechanism>,
    required: Vec<Layer>,
    /// Bytes that the workdirs of jobs may hold, where that is not left to the jobs.
    room: Option<u64>,
    /// What a job that only tried found.
    found: Arc<OnceLock<Vec<(Layer, Status)>>>,
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

impl Local {
    /// Confines jobs; the current program is the supervisor, so its `main` must call [`crate::init_main`] first.
    pub fn new() -> Self {
        // On Linux this names the running program even after its file was replaced.
        let itself = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
        Self::with_init(itself.unwrap_or_default())
    }

    /// Confines jobs with another program as the supervisor.
    pub fn with_init(exe: PathBuf) -> Self {
        Local {
            init: exe,
            confined: true,
            without: Vec::new(),
            required: Vec::new(),
            room: None,
            found: Arc::default(),
        }
    }

    /// The same starter with confinement taken away: limits on time, memory, processes, disk and output hold, and only the
    /// fixed variables are handed on.
    pub fn unconfined(self) -> Self {
        Local { confined: false, found: Arc::default(), ..self }
    }

    /// The same starter without a mechanism that the kernel may have: what would stand on a machine that has it not.
    pub fn without(mut self, mechanism: Mechanism) -> Self {
        self.without.push(mechanism);
        Local { found: Arc::default(), ..self }
    }

    /// The same starter, which starts nothing unless all these layers are [`Status::Enforced`].
    pub fn requiring(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.required.extend(layers);
        self
    }

    /// The same starter for jobs whose workdir may hold so many bytes, in place of the default of
    /// [`Limits::disk_bytes`](crate::Limits::disk_bytes). Whoever asks for less gets less.
    pub fn with_room(self, bytes: u64) -> Self {
        // No room at all is refused as a limit; a job that may hold a byte is ended by the first thing that it writes.
        Local { room: Some(bytes.max(1)), ..self }
    }

    /// Whether jobs are confined at all.
    pub fn is_confined(&self) -> bool {
        self.confined
    }

    /// What confines a job on this machine, found out by a job that does nothing. Every job says the same of itself in
    /// [`Finished::layers`].
    pub fn layers(&self) -> Vec<(Layer, Status)> {
        let unknown = |error: io::Error| {
            let status = Status::Unavailable(format!("no job can be started: {error}"));
            Layer::ALL.map(|layer| (layer, status.clone())).into()
        };
        self.found.get_or_init(|| self.find_layers().unwrap_or_else(unknown)).clone()
    }

    fn find_layers(&self) -> io::Result<Vec<(Layer, Status)>> {
        let dir = tempfile::tempdir()?;
        let mut job = Job::new([self.init.to_string_lossy().as_ref(), PROBE, NOTHING]);
        job.limits.wall = Some(Duration::from_secs(10));
        let policy = Policy {
            job,
            program: self.init.clone(),
            workdir: dir.path().canonicalize()?,
            without: self.without.clone(),
            required: Vec::new(),
            stdin: None,
        };
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let mut child = self.supervisor(theirs.into());
        let mut child = child.as_std_mut().stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let answer = wire::write(&mut ours, &policy).and_then(|()| wire::read::<Finished>(&mut ours));
        child.wait()?;
        match answer? {
            Finished { ended: Ended::Exit(0), layers, .. } => Ok(layers),
            Finished { ended, .. } => Err(io::Error::other(format!("{ended:?}"))),
        }
    }

    /// The layers that no job should run unnoticed without, and that are not fully there.
    pub fn missing(&self) -> Vec<(Layer, Status)> {
        let mut layers = self.layers();
        layers.retain(|(layer, status)| layer.is_base() && *status != Status::Enforced);
        layers
    }

    /// The layers of [`requiring`](Self::requiring) that are not fully there: no job will start.
    pub fn lacking(&self) -> Vec<(Layer, Status)> {
        let mut layers = self.layers();
        layers.retain(|(layer, status)| self.required.contains(layer) && *status != Status::Enforced);
        layers
    }

    pub(crate) fn init(&self) -> &Path {
        &self.init
    }

    /// Starts a job; must be called inside a tokio runtime.
    ///
    /// What [`Job::check`] refuses, and a program that does not exist, are errors here; what goes wrong later is an
    /// [`Ended::Failed`].
    pub fn spawn(&self, dir: &Workdir, mut job: Job) -> io::Result<Running> {
        if let Some(room) = self.room {
            let asked = job.limits.disk_bytes.filter(|asked| Some(*asked) != Limits::default().disk_bytes);
            job.limits.disk_bytes = Some(asked.map_or(room, |asked| asked.min(room)));
        }
        job.check(dir)?;
        let program = find_program(dir, &job)?;
        let (input, pipe) = match std::mem::take(&mut job.stdin) {
            Stdin::Null => (None, None),
            Stdin::Bytes(bytes) => (Some(bytes), None),
            Stdin::Open => (None, Some(pipe::pipe()?)),
        };
        let proxy = Proxy::of(&job.net)?;
        let (output_bytes, line_bytes) = (job.limits.output_bytes.unwrap_or(u64::MAX), job.line_bytes);
        let policy = Policy {
            job,
            program,
            workdir: dir.path().to_path_buf(),
            without: self.without.clone(),
            required: self.required.clone(),
            stdin: input.as_ref().map(|bytes| bytes.len() as u64),
        };
        let mut greeting = wire::frame(&policy)?;
        greeting.extend(input.unwrap_or_default());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let mut supervisor = self.supervisor(theirs.into());
        let stdin = match pipe {
            None => None,
            Some((writer, reader)) => {
                platform::hand_over(ours.as_fd(), reader.into_blocking_fd()?.as_fd())?;
                supervisor.arg(wire::INPUT);
                Some(writer)
            }
        };
        ours.set_nonblocking(true)?;
        let mut child = supervisor.spawn()?;
        let (lines_in, lines) = mpsc::channel(256);
        let output = Arc::new(Output {
            most: output_bytes,
            printed: AtomicU64::new(0),
            line_bytes,
            over: Cancel::default(),
            dead: Cancel::default(),
        });
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(read_lines(stdout, Line::Out, lines_in.clone(), output.clone())));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(read_lines(stderr, Line::Err, lines_in, output.clone())));
        }
        let cancel = Cancel::default();
        let socket = UnixStream::from_std(ours)?;
        let watch = Watch { child, socket, readers, output: output.clone(), cancel: cancel.clone(), proxy };
        Ok(Running { lines, stdin, cancel, output, finished: Some(tokio::spawn(watch.run(greeting))) })
    }

    fn supervisor(&self, socket: OwnedFd) -> Command {
        let mut command = Command::new(&self.init);
        let mode = if self.confined { wire::CONFINED } else { "open" };
        command.args([wire::INIT, mode]).stdin(Stdio::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C on the terminal reaches the caller, who decides what becomes of the job.
        command.process_group(0);
        // What the supervisor does not have, no job can read out of it; keys are kept from unconfined jobs as well.
        command.env_clear();
        command
    }
}

/// A job that was started; dropping it kills the job.
#[derive(Debug)]
pub struct Running {
    /// The job's output; it ends when the job has ended.
    pub lines: mpsc::Receiver<Line>,
    /// What the job reads, where it was started with [`Stdin::Open`]; dropping it ends the job's input.
    pub stdin: Option<pipe::Sender>,
    cancel: Cancel,
    output: Arc<Output>,
    finished: Option<JoinHandle<Finished>>,
}

impl Running {
    /// Kills the job with all its processes.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Kills the job as soon as this flag is raised.
    pub fn cancel_on(&self, flag: &Cancel) {
        let (flag, own, output) = (flag.clone(), self.cancel.clone(), self.output.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = flag.cancelled() => own.cancel(),
                () = output.dead.cancelled() => {}
            }
        });
    }

    /// Waits for the end; output that was not received yet is dropped.
    pub async fn wait(mut self) -> Finished {
        self.lines.close();
        while self.lines.try_recv().is_ok() {}
        match self.finished.take() {
            Some(task) => task.await.unwrap_or_else(|error| failed(format!("the watching task ended: {error}"))),
            None => failed("the job was already waited for".into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn failed(why: String) -> Finished {
    let peaks = Peaks::default();
    let (layers, refused_hosts) = (Vec::new(), Vec::new());
    Finished { ended: Ended::Failed(why), wall: Duration::ZERO, cpu: None, peaks, layers, refused_hosts }
}

/// Finds the program as the job would, so that a wrong name is an error before anything is started.
fn find_program(dir: &Workdir, job: &Job) -> io::Result<PathBuf> {
    let name = job.argv.first().map(String::as_str).unwrap_or_default();
    let missing = |why: &str| Err(io::Error::new(io::ErrorKind::NotFound, format!("cannot run `{name}`: {why}")));
    if name.contains('/') {
        let path = dir.path().join(name);
        if !path.is_file() {
            return missing("there is no such file");
        }
        // A link in the workdir, which an earlier job may have made, does not say what is run.
        let within = |path: PathBuf| path.starts_with(dir.path());
        if Path::new(name).is_relative() && !path.canonicalize().is_ok_and(within) {
            return missing("it leads out of the workdir; give its absolute path");
        }
        return Ok(path);
    }
    let path = job.env.get("PATH").map_or(PATH, String::as_str);
    let found = std::env::split_paths(path).map(|folder| dir.path().join(folder).join(name)).find(|at| at.is_file());
    match found {
        Some(program) => Ok(program),
        None => missing(&format!("it is not in {path}")),
    }
}

/// Everything that watches one job on the caller's side.
struct Watch {
    child: Child,
    socket: UnixStream,
    readers: Vec<JoinHandle<()>>,
    output: Arc<Output>,
    cancel: Cancel,
    proxy: Option<Arc<Proxy>>,
}

impl Watch {
    async fn run(mut self, greeting: Vec<u8>) -> Finished {
        let answer = self.converse(&greeting).await;
        drop(self.socket);
        let status = self.child.wait().await;
        self.output.dead.cancel();
        for reader in self.readers {
            let _ = reader.await;
        }
        match answer {
            Ok(mut finished) => {
                finished.refused_hosts = self.proxy.map(|proxy| proxy.refused()).unwrap_or_default();
                finished.peaks.output_bytes = Some(self.output.printed.load(Ordering::Relaxed));
                if matches!(finished.ended, Ended::Exit(_) | Ended::Signal(_)) && self.output.over.is_cancelled() {
                    finished.ended = Ended::Limit(Limit::Output);
                }
                finished
            }
            Err(error) => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                failed(format!("the supervisor was lost ({status}): {error}"))
            }
        }
    }

    async fn converse(&mut self, greeting: &[u8]) -> io::Result<Finished> {
        let (mut from, mut to) = self.socket.split();
        let stop = async {
            // A supervisor that refuses the policy answers at once, so failing to send is not an error by itself.
            let _ = to.write_all(greeting).await;
            let stop = tokio::select! {
                () = self.cancel.cancelled() => Stop::Cancel,
                () = self.output.over.cancelled() => Stop::Output,
            };
            let _ = to.write_all(&[stop.to_byte()]).await;
            std::future::pending().await
        };
        let answer = async {
            let length = match self.proxy.clone() {
                Some(proxy) => proxy.serve_until_answer(&mut from).await?,
                None => from.read_u32_le().await?,
            };
            let mut body = vec![0; length as usize];
            from.read_exact(&mut body).await?;
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::select! {
            answer = answer => answer,
            never = stop => never,
        }
    }
}
