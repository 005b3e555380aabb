//! `tunesmith runs`: what runs came to, read from their logs, also where their process was killed.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tunesmith_harness::{
    event::Event,
    figures::counted,
    grade::shown,
    log,
    report::{Report, Step, mended},
    run::{Run, Summary},
    text::visible,
};
use tunesmith_sandbox::Cancel;

use super::{
    print, print_json,
    run::RUNS,
    table::{NONE, short, table},
    usage,
};
use crate::{config::Config, run::Failure};

mod diff;
mod export;
mod replay;
mod rm;

/// List, show, compare, replay, export and remove runs
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Runs {
    /// Every run in a directory, oldest first
    List(List),
    /// The steps, scores and outcome of a run
    Show(Show),
    /// What differs between two runs
    Diff(diff::Args),
    /// Play a run again from its log, and hold the two against each other
    Replay(replay::Args),
    /// Write runs as chats with tool calls, to fine-tune a planner on
    Export(export::Args),
    /// Remove runs and all that is in them
    Rm(rm::Args),
}

/// Where runs are kept.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Kept {
    /// Where runs are kept [default: runs]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Kept {
    /// As the flag says, else as the settings do.
    pub fn dir(&self) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(Config::here()?.values.dir.unwrap_or_else(|| RUNS.into())),
        }
    }
}

/// A run that is there.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Named {
    /// The run: its directory, or its name in --dir
    run: PathBuf,
    #[command(flatten)]
    kept: Kept,
}

impl Named {
    /// The run, and where runs are kept.
    pub fn open(&self) -> Result<(Run, PathBuf), Failure> {
        let dir = self.kept.dir()?;
        Ok((open(&self.run, &dir)?, dir))
    }
}

/// `runs list`.
#[derive(Clone, Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    kept: Kept,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// `runs show`.
#[derive(Clone, Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    named: Named,
    /// Print one JSON object: summary, log and report
    #[arg(long)]
    json: bool,
}

/// Lists or shows.
pub async fn main(runs: Runs, cancel: &Cancel) -> Result<u8, Failure> {
    match runs {
        Runs::List(args) => list(&args),
        Runs::Show(args) => show(&args),
        Runs::Diff(args) => diff::main(&args),
        Runs::Replay(args) => replay::main(args, cancel).await,
        Runs::Export(args) => export::main(&args),
        Runs::Rm(args) => rm::main(&args),
    }
}

/// Where a run is that was named: a directory, or a name in `dir`.
fn place(run: &Path, dir: &Path) -> PathBuf {
    let here = run.is_dir() || run.components().count() > 1;
    if here { run.to_owned() } else { dir.join(run) }
}

/// Opens a run that was named.
pub(crate) fn open(run: &Path, dir: &Path) -> Result<Run, Failure> {
    Run::open(&place(run, dir)).map_err(|error| usage(format!("{error}; see `tunesmith runs list`")))
}

fn list(args: &List) -> Result<u8, Failure> {
    let dir = args.kept.dir()?;
    if args.json {
        print_json(&summaries(&dir)?)?;
    } else {
        print_list(&dir)?;
    }
    Ok(0)
}

fn summaries(dir: &Path) -> Result<Vec<Summary>, Failure> {
    Run::list(dir).map_err(|error| usage(error.to_string()))
}

/// Prints every run in a directory, oldest first.
pub fn print_list(dir: &Path) -> Result<(), Failure> {
    let summaries = summaries(dir)?;
    if summaries.is_empty() {
        print(&format!("no runs in {}", visible(&dir.display().to_string())));
    } else {
        let head = ["run", "outcome", "metric", "base", "tuned", "steps", "request"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(summaries.iter().map(row)).collect();
        table(&rows).iter().for_each(|line| print(line));
    }
    Ok(())
}

fn row(summary: &Summary) -> Vec<String> {
    let metric = summary.metric.as_deref().unwrap_or(NONE);
    let figure = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |value| shown(metric, value));
    vec![
        summary.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        state(summary),
        metric.replace('_', " "),
        figure(summary.base),
        figure(summary.tuned),
        summary.steps.to_string(),
        summary.request.as_deref().map_or_else(|| NONE.to_owned(), |request| short(request, 50)),
    ]
}

/// The outcome, or why there is none.
fn state(summary: &Summary) -> String {
    let state = match (summary.outcome, summary.running) {
        (Some(outcome), _) => outcome.to_string(),
        (None, true) => "running".to_owned(),
        (None, false) => "did not end".to_owned(),
    };
    if summary.problem.is_some() { format!("{state}, log damaged") } else { state }
}

/// What `runs show --json` prints.
#[derive(Serialize)]
struct Shown {
    summary: Summary,
    log: LogState,
    report: Report,
}

/// How much of a log there is.
#[derive(Serialize)]
struct LogState {
    events: usize,
    /// Hash of the last line that can be trusted.
    head: String,
    /// Bytes of a last line that was cut off.
    torn_bytes: usize,
    /// Where the log stops being what was written.
    broken: Option<String>,
}

fn show(args: &Show) -> Result<u8, Failure> {
    let (run, _) = args.named.open()?;
    let (history, problem) = match log::scan(&run.log()) {
        Ok(history) => (Some(history), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let events: &[Event] = history.as_ref().map_or(&[], |history| &history.events);
    let shown = Shown {
        summary: run.summary(),
        log: LogState {
            events: history.as_ref().map_or(0, |history| history.written as usize),
            head: history.as_ref().map_or_else(|| log::GENESIS.to_owned(), |history| history.head.clone()),
            torn_bytes: history.as_ref().map_or(0, |history| history.torn),
            broken: history
                .as_ref()
                .and_then(|h| Some(format!("line {}: {}", h.broken.as_ref()?.line, h.broken.as_ref()?.why)))
                .or(problem),
        },
        report: Report::fold(events),
    };
    if args.json {
        print_json(&shown)?;
    } else {
        lines(&run, &shown).iter().for_each(|line| print(line));
    }
    Ok(0)
}

fn lines(run: &Run, shown: &Shown) -> Vec<String> {
    let (summary, report) = (&shown.summary, &shown.report);
    let mut lines = vec![visible(summary.request.as_deref().unwrap_or("no request was recorded")).into_owned()];
    lines.push(format!("run      {}", visible(&run.dir().display().to_string())));
    lines.extend(summary.started.map(|at| format!("started  {at}")));
    let mended = mended(&report.repairs).map_or(String::new(), |mended| format!(", whose calls took {mended}"));
    lines.push(format!("planner  {}", visible(&format!("{}{mended}", report.planner))));
    lines.push(format!("outcome  {}", state(summary)));
    if !report.steps.is_empty() {
        lines.push(String::new());
        lines.extend(report.steps.iter().map(step_line));
    }
    lines.push(String::new());
    if report.base.is_some() || summary.outcome.is_some() {
        lines.push(visible(&report.sentence()).into_owned());
    }
    if let Some(why) = summary.why.as_ref().filter(|why| !report.sentence().contains(why.as_str())) {
        lines.push(visible(why).into_owned());
    }
    if summary.outcome.is_none() && shown.log.broken.is_none() {
        lines.push(if summary.running {
            "a process is working on this run now".to_owned()
        } else {
            "the run did not end: its process was killed, or its disk was full; go on with `tunesmith resume`"
                .to_owned()
        });
    }
    if shown.log.torn_bytes > 0 {
        lines.push(format!("the log's last line was cut off ({} bytes) and is left out", shown.log.torn_bytes));
    }
    lines.extend(
        shown
            .log
            .broken
            .as_ref()
            .map(|why| format!("the log is damaged at {}; what stands before it is shown", visible(why))),
    );
    let report_path = run.report("html");
    if report_path.is_file() {
        lines.push(format!("report   {}", visible(&report_path.display().to_string())));
    }
    lines.push(format!("log      {}, last hash {}", counted(shown.log.events, "event"), shown.log.head));
    lines
}

/// One line: number, tool, verdict, what changed, what it cost, and what needs a look.
fn step_line(step: &Step) -> String {
    let parts = [step.change().unwrap_or_default(), step.took()].into_iter().chain(step.notes());
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).map(|part| short(&part, 200)).collect();
    format!("{:>2}  {:<13} {:<12} {}", step.step, visible(&step.tool), step.word(), parts.join("; "))
}
