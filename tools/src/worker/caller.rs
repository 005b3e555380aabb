//! The caller's side: starts a worker, follows it, and says in plain words how it ended.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::{Cancel, Ended, Finished, Job, Limit, Limits, Line as Output, Local, Stdin, Workdir};

use super::{Line, Order, Outcome, Tick, WORKER, Work};
use crate::{
    confined,
    tool::{Progress, ToolError},
};

/// How long a worker that knows its deadline may take to come to an end after it.
const GRACE: Duration = Duration::from_secs(4);
/// The same of one that says all the time what it has, so that little is lost with it.
const GRACE_OF_GRADER: Duration = Duration::from_millis(1_500);

/// The longest line of a worker: the grade of many rows is one line.
const LINE: usize = 256 << 20;

/// The signal that no process can refuse.
const SIGKILL: i32 = 9;

/// Lines of a worker's standard error that are kept.
const KEPT: usize = 5;

pub(super) async fn run(
    jobs: &Local,
    dir: &Workdir,
    work: &Work,
    reads: Vec<PathBuf>,
    (deadline, cancel): (Option<Instant>, &Cancel),
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Outcome {
    match start(jobs, dir, work, reads, deadline) {
        Ok(running) => {
            running.cancel_on(cancel);
            follow(running, jobs, work, on).await
        }
        Err(error) => Outcome { result: Err(error), partial: None },
    }
}

fn start(
    jobs: &Local,
    dir: &Workdir,
    work: &Work,
    reads: Vec<PathBuf>,
    deadline: Option<Instant>,
) -> Result<tunesmith_sandbox::Running, ToolError> {
    let (mut job, order) = job(work, reads, deadline)?;
    job.stdin = Stdin::Bytes(order);
    spawn(jobs, dir, job)
}

/// The job of a worker, and what it is to read first.
pub(super) fn job(work: &Work, reads: Vec<PathBuf>, deadline: Option<Instant>) -> Result<(Job, Vec<u8>), ToolError> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(ToolError::Limit("there is no time left for this step".into()));
    }
    let order = Order { work: work.clone(), seconds: left.map(|left| left.as_secs_f64()) };
    let order =
        serde_json::to_vec(&order).map_err(|e| ToolError::Failed(format!("the order cannot be written: {e}")))?;
    let mut job = Job::new([itself()?, WORKER.to_owned()]);
    job.reads = reads;
    match work {
        Work::Train(training) => job.devices = training.devices(),
        Work::EvalTasks(tasks) => job.writes = tasks.writes(),
        _ => {}
    }
    job.line_bytes = LINE;
    let grace = if matches!(work, Work::Grade(_)) { GRACE_OF_GRADER } else { GRACE };
    job.limits = Limits { wall: left.map(|left| left + grace), output_bytes: Some(1 << 30), ..Limits::default() };
    Ok((job, order))
}

pub(super) fn spawn(jobs: &Local, dir: &Workdir, job: Job) -> Result<tunesmith_sandbox::Running, ToolError> {
    jobs.spawn(dir, job).map_err(|error| match error.kind() {
        // What the caller named is refused; the worker is not at fault.
        io::ErrorKind::InvalidInput => ToolError::Failed(error.to_string()),
        _ => ToolError::Failed(format!("the worker cannot be started: {error}")),
    })
}

/// The running program; on Linux also where its file was replaced meanwhile.
fn itself() -> Result<String, ToolError> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".to_owned());
    }
    let path = std::env::current_exe().map_err(|e| ToolError::Failed(format!("this program cannot be found: {e}")))?;
    path.into_os_string().into_string().map_err(|_| ToolError::Failed("this program's path is not UTF-8".into()))
}

async fn follow(
    mut running: tunesmith_sandbox::Running,
    jobs: &Local,
    work: &Work,
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Outcome {
    let (mut rates, mut partial, mut heard) = (Rates::default(), None, Heard::default());
    while let Some(output) = running.lines.recv().await {
        match heard.line(output) {
            Some(Line::Progress(tick)) => on(rates.progress(tick)),
            Some(Line::Partial(value)) => partial = Some(value),
            _ => {}
        }
    }
    let finished = running.wait().await;
    confined::tell(jobs, &finished, "work", on);
    Outcome { result: heard.result(finished, work), partial }
}

/// What a worker said, as far as it tells how it ended.
#[derive(Default)]
pub(super) struct Heard {
    end: Option<Line>,
    said: VecDeque<String>,
}

impl Heard {
    /// Takes a line in; gives back what is news of work that goes on.
    pub(super) fn line(&mut self, output: Output) -> Option<Line> {
        match output {
            Output::Out(text) => match serde_json::from_str(&text) {
                Ok(news @ (Line::Progress(_) | Line::Partial(_))) => return Some(news),
                Ok(last) => self.end = Some(last),
                Err(_) => self.said.push_back(text),
            },
            Output::Err(text) => self.said.push_back(text),
        }
        if self.said.len() > KEPT {
            self.said.pop_front();
        }
        None
    }

    /// What the end of the worker means.
    pub(super) fn result(self, finished: Finished, work: &Work) -> Result<Value, ToolError> {
        let Heard { end, said } = self;
        let telling = |line: &&String| !line.trim().is_empty() && !line.starts_with("note: run with");
        // An allocation that the system refuses ends a Rust program with this line instead of by a limit.
        let refused = said.iter().any(|line| line.starts_with("memory allocation of"));
        let finished = match finished.ended {
            Ended::Signal(_) if refused => Finished { ended: Ended::Limit(Limit::Memory), ..finished },
            _ => finished,
        };
        let advice = match refused {
            true => format!("{}, and look at the base's chat template", advice(work)),
            false => advice(work).to_owned(),
        };
        result(finished, end, said.iter().rfind(telling), &advice)
    }
}

/// What uses less memory.
fn advice(work: &Work) -> &'static str {
    match work {
        Work::Train(_) | Work::Pretrain(_) => "use a smaller batch_size, shorter rows or a smaller base",
        Work::Inspect(_) | Work::Prepare(_) | Work::Outgoing(_) | Work::Gather(_) => "use fewer or shorter rows",
        Work::PrepareRows(_) => "use fewer rows, or leave near out",
        Work::Overlap(_) => "hold fewer eval rows at once against them",
        Work::Evaluate(_) | Work::EvalTasks(_) | Work::Generate(_) | Work::Convert(_) | Work::Grade(_) => {
            "use a smaller base"
        }
        Work::Chat(_) => "take a smaller model, or one in a GGUF file of fewer bits",
    }
}

/// What the end of the worker means to whoever asked for the work.
fn result(finished: Finished, end: Option<Line>, said: Option<&String>, advice: &str) -> Result<Value, ToolError> {
    let seconds = finished.wall.as_secs_f64();
    match (finished.ended, end) {
        (Ended::Exit(0), Some(Line::Done(value))) => Ok(value),
        (Ended::Exit(_), Some(Line::Failed { message, short: true, .. })) => Err(ToolError::Resource(message)),
        (Ended::Exit(_), Some(Line::Failed { message, full: true, .. })) => {
            Err(ToolError::Resource(format!("{message}; free some space on the disk")))
        }
        (Ended::Exit(_), Some(Line::Failed { message, full: false, .. })) => Err(ToolError::Failed(message)),
        (Ended::Cancelled, _) => Err(ToolError::Cancelled),
        (Ended::Limit(Limit::Disk), _) => {
            Err(ToolError::Resource("the workdir is full; remove files or use a smaller base".to_owned()))
        }
        (Ended::Limit(limit), _) => Err(ToolError::Limit(match limit {
            Limit::Memory => format!(
                "ran out of memory{}; {advice}",
                finished.peaks.memory.map(|bytes| format!(" at {} MB", bytes / 1_000_000)).unwrap_or_default()
            ),
            Limit::Wall => format!("time ran out after {seconds:.0} s; do less in this step"),
            Limit::Cpu => "processor time ran out; do less in this step".to_owned(),
            Limit::Processes => "too many processes or threads; this is a defect of the worker".to_owned(),
            Limit::FileSize | Limit::Disk => "a file became too large; use a smaller base".to_owned(),
            Limit::Files => "there are too many files in the workdir; remove some".to_owned(),
            Limit::Output => "too much output; ask for less at a time".to_owned(),
        })),
        // The sandbox says which limit it kills for, so somebody else did: as a rule the kernel, out of memory.
        (Ended::Signal(SIGKILL), _) => Err(ToolError::Resource(format!(
            "the worker was killed (signal {SIGKILL}), probably because the machine ran out of memory; {advice}, or give it \
             more memory"
        ))),
        (Ended::Failed(why), _) => Err(ToolError::Failed(format!("the worker could not run: {}", visible(&why)))),
        (ended, _) => {
            let how = match ended {
                Ended::Signal(number) => format!("signal {number}"),
                Ended::Exit(code) => format!("exit code {code}"),
                _ => "no result".to_owned(),
            };
            let last = said.map_or_else(String::new, |line| {
                let line: String = visible(line).chars().take(300).collect();
                format!("; its last words: {line}")
            });
            Err(ToolError::Failed(format!("the worker crashed ({how}){last}")))
        }
    }
}

/// Rates since the start of what is being done now.
#[derive(Default)]
pub struct Rates {
    start: Option<(String, Instant, Tick)>,
}

impl Rates {
    /// The tick with its rates.
    pub fn progress(&mut self, tick: Tick) -> Progress {
        let now = Instant::now();
        // A note before the first step has no tokens yet, so that rates begin after it.
        let begins = |first: &Tick| first.what != tick.what || first.tokens.is_none() && tick.tokens.is_some();
        if self.start.as_ref().is_none_or(|(.., first)| begins(first)) {
            self.start = Some((tick.what.clone(), now, tick.clone()));
        }
        let (mut tokens_per_second, mut eta_seconds) = (None, None);
        if let Some((_, began, first)) = &self.start {
            let seconds = now.duration_since(*began).as_secs_f64();
            let done = tick.done.saturating_sub(first.done);
            if seconds > 0.2 && done > 0 {
                eta_seconds = Some(tick.total.saturating_sub(tick.done) as f64 * seconds / done as f64);
                let tokens = tick.tokens.zip(first.tokens).map(|(now, then)| now.saturating_sub(then));
                tokens_per_second = tokens.map(|tokens| tokens as f64 / seconds);
            }
        }
        Progress {
            what: tick.what,
            done: tick.done,
            total: tick.total,
            loss: tick.loss,
            valid_loss: tick.valid_loss,
            tokens_per_second,
            eta_seconds,
            utilisation: tick.utilisation,
            peak_memory: tick.peak_memory,
            note: tick.note,
            warning: tick.warning,
            job: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tunesmith_sandbox::Peaks;

    use super::*;

    fn ended(ended: Ended) -> Finished {
        let peaks = Peaks { memory: Some(123_000_000), ..Peaks::default() };
        Finished {
            ended,
            wall: Duration::from_secs(7),
            cpu: None,
            peaks,
            layers: Vec::new(),
            refused_hosts: Vec::new(),
        }
    }

    fn message(end: Ended, line: Option<Line>, said: Option<&str>) -> String {
        result(ended(end), line, said.map(String::from).as_ref(), "do less").unwrap_err().to_string()
    }

    #[test]
    fn every_end_of_a_worker_says_what_to_do() {
        let done = || Some(Line::Done(Value::from(1)));
        assert_eq!(result(ended(Ended::Exit(0)), done(), None, "").unwrap(), 1);
        assert_eq!(
            message(Ended::Limit(Limit::Memory), None, None),
            "stopped by a limit: ran out of memory at 123 MB; do less"
        );
        assert_eq!(
            message(Ended::Limit(Limit::Wall), None, None),
            "stopped by a limit: time ran out after 7 s; do less in this step"
        );
        assert_eq!(message(Ended::Cancelled, done(), None), "cancelled");
        assert_eq!(
            message(Ended::Signal(11), None, Some("oh \u{1b}[31mno")),
            "the worker crashed (signal 11); its last words: oh \\u{1b}[31mno"
        );
        // A result without a clean end is no result, and a clean end without a result is none either.
        assert_eq!(message(Ended::Exit(3), done(), None), "the worker crashed (exit code 3)");
        assert_eq!(message(Ended::Exit(0), None, None), "the worker crashed (exit code 0)");
    }

    #[test]
    fn a_full_disk_is_no_failure_of_the_work() {
        let failed = |full| Some(Line::Failed { message: "cannot write x".into(), full, short: false });
        let error = |end, line| result(ended(end), line, None, "").unwrap_err();
        assert!(matches!(error(Ended::Limit(Limit::Disk), None), ToolError::Resource(_)));
        assert!(matches!(error(Ended::Exit(1), failed(true)), ToolError::Resource(_)));
        assert!(matches!(error(Ended::Exit(1), failed(false)), ToolError::Failed(_)));
        assert!(matches!(error(Ended::Limit(Limit::FileSize), None), ToolError::Limit(_)));
    }

    #[test]
    fn a_worker_that_was_killed_lacked_memory_and_one_that_broke_did_not() {
        let error = |signal| result(ended(Ended::Signal(signal)), None, None, "use a smaller base").unwrap_err();
        let killed = error(9);
        assert!(matches!(killed, ToolError::Resource(_)));
        assert_eq!(
            killed.to_string(),
            "the worker was killed (signal 9), probably because the machine ran out of memory; use a smaller base, or give \
             it more memory"
        );
        assert!(matches!(error(11), ToolError::Failed(_)));
    }

    #[test]
    fn rates_start_anew_with_each_part_of_the_work() {
        let mut rates = Rates::default();
        let tick =
            |what: &str, done| Tick { what: what.into(), done, total: 10, tokens: Some(done * 5), ..Tick::default() };
        assert_eq!(rates.progress(tick("a", 0)).eta_seconds, None);
        rates.start = rates.start.map(|(what, at, tick)| (what, at - Duration::from_secs(4), tick));
        let progress = rates.progress(tick("a", 4));
        assert!((5.9..6.5).contains(&progress.eta_seconds.unwrap()), "{progress:?}");
        assert!((4.6..5.01).contains(&progress.tokens_per_second.unwrap()), "{progress:?}");
        assert_eq!(rates.progress(tick("b", 4)).eta_seconds, None);
    }
}
