//! The worker's side: one order in, JSON lines out.

use std::{
    any::Any,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Line, Order, Tick};

/// Progress more often than this only costs.
const PAUSE: Duration = Duration::from_millis(200);

/// What work may know while it runs: when to stop, and who to tell.
pub struct Live<'a> {
    /// When the work must have ended.
    pub deadline: Option<Instant>,
    send: Box<dyn FnMut(Line) + 'a>,
    last: Option<(Instant, String)>,
}

impl Live<'_> {
    /// Nobody is told, and there is no deadline: for work in the calling process.
    pub fn silent() -> Self {
        Live { deadline: None, send: Box::new(|_| {}), last: None }
    }

    /// Tells how far the work is. Not every call is passed on.
    pub fn progress(&mut self, what: &str, done: usize, total: usize) {
        self.tick(Tick { what: what.to_owned(), done, total, ..Tick::default() });
    }

    /// The same with more figures.
    pub fn tick(&mut self, tick: Tick) {
        let due = match &self.last {
            Some((at, what)) => tick.done >= tick.total || *what != tick.what || at.elapsed() >= PAUSE,
            None => true,
        };
        if due || tick.warning.is_some() || tick.note.is_some() {
            self.last = Some((Instant::now(), tick.what.clone()));
            (self.send)(Line::Progress(tick));
        }
    }

    /// Says what went wrong without ending the work.
    pub fn warn(&mut self, what: &str, warning: String) {
        self.tick(Tick { what: what.to_owned(), warning: Some(warning), ..Tick::default() });
    }

    /// Says what is worth a line of its own, if there is something.
    pub fn note(&mut self, what: &str, note: Option<String>) {
        if note.is_some() {
            self.tick(Tick { what: what.to_owned(), note, ..Tick::default() });
        }
    }

    /// Hands out a result that is already useful.
    pub fn partial(&mut self, result: Value) {
        (self.send)(Line::Partial(result));
    }
}

pub(super) fn main() -> ExitCode {
    let line = match order() {
        Err(error) => failed(format!("the order cannot be read: {error}")),
        Ok(order) => {
            if !order.work.is_of_rows() {
                tunesmith_lm::engine::keep_freed_memory();
            }
            obey(&order)
        }
    };
    let failed = matches!(line, Line::Failed { .. });
    match print(&line) {
        Ok(()) if !failed => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn order() -> anyhow::Result<Order> {
    // Work that is asked one thing after another reads the lines that follow.
    let mut text = String::new();
    io::stdin().read_line(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn obey(order: &Order) -> Line {
    let deadline = order.seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).map(|left| Instant::now() + left);
    // A caller that is gone kills this process; that a line cannot be printed needs no other answer.
    let send = Box::new(|line: Line| drop(print(&line)));
    let mut live = Live { deadline, send, last: None };
    guarded(|| order.work.run(&mut live))
}

/// A panic is a failure like any other: one line on standard output, so that the caller knows why.
fn guarded(work: impl FnOnce() -> anyhow::Result<Value>) -> Line {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(result)) => Line::Done(result),
        Ok(Err(error)) => Line::Failed { message: one_line(&told(&error)), full: full(&error), short: short(&error) },
        Err(panic) => failed(format!("defect in the worker: {}", one_line(words(&*panic)))),
    }
}

fn failed(message: String) -> Line {
    Line::Failed { message, full: false, short: false }
}

/// The error with its causes; what an error says of its cause already is not said twice.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        said if said.contains(&cause) => told,
        said => format!("{said}: {cause}"),
    })
}

/// Whether there was no space left for a file, on the disk or under a limit.
fn full(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| {
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
    })
}

/// Whether the work was refused because it would not fit into memory.
fn short(error: &anyhow::Error) -> bool {
    use tunesmith_lm::error::Error;
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Memory(_))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

fn one_line(text: &str) -> String {
    tunesmith_harness::text::visible(text).chars().take(2_000).collect()
}

fn print(line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use tunesmith_harness::run::RunError;

    use super::*;

    #[test]
    fn panics_and_errors_become_one_line() {
        let failed = |message: &str| failed(message.to_owned());
        assert_eq!(guarded(|| Ok(Value::from(3))), Line::Done(Value::from(3)));
        assert_eq!(guarded(|| Err(anyhow!("no\nway").context("tried"))), failed("tried: no\\nway"));
        assert_eq!(guarded(|| panic!("index {} is bad", 7)), failed("defect in the worker: index 7 is bad"));
    }

    #[test]
    fn a_file_of_results_that_finds_no_space_is_a_full_disk() {
        let full = RunError::Io {
            path: "results.json".into(),
            error: io::ErrorKind::StorageFull.into(),
            advice: "; free some space and start again",
        };
        let message = "results.json: no storage space; free some space and start again".to_owned();
        let found = guarded(|| Err(tunesmith_harness::eval::evaluation::EvaluationError::from(full).into()));
        assert_eq!(found, Line::Failed { message, full: true, short: false });
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = tunesmith_lm::error::Error::io("cannot write", "x".as_ref(), io::ErrorKind::StorageFull.into());
        let Line::Failed { message, full: true, short: false } =
            guarded(|| Err(anyhow::Error::from(error).context("training")))
        else {
            panic!("not told apart")
        };
        // Once: the error's own text ends with its cause's.
        assert_eq!(message, "training: cannot write x: no storage space");
    }

    #[test]
    fn progress_is_thinned_but_ends_and_changes_are_told() {
        let mut told = Vec::new();
        let send = Box::new(|line| match line {
            Line::Progress(tick) => told.push((tick.what, tick.done)),
            other => panic!("{other:?}"),
        });
        let mut live = Live { deadline: None, send, last: None };
        (0..=1000).for_each(|done| live.progress("a", done, 1000));
        live.progress("b", 1, 2);
        drop(live);
        let [first, .., last, next] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!([first, last, next], [&("a".to_owned(), 0), &("a".to_owned(), 1000), &("b".to_owned(), 1)]);
        assert!(told.len() < 100, "{}", told.len());
    }
}
