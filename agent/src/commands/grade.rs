//! `tunesmith grade`: grades a run again, to check what its log says.

use std::path::PathBuf;

use serde_json::json;
use tunesmith_harness::{
    event::{Event, Kind},
    grade::{Grade, Measured, shown},
    log,
    run::Run,
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::tool::Progress;

use super::{print, print_json, require::Require, run::Sandboxes, usage};
use crate::{
    grading::{self, Graded, Submitted},
    run::{Failure, Watch},
    terminal::Terminal,
};

/// Grade a finished run again, without changing it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The run's directory
    run: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Grades; exit code 3 says that the log says something else.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let run = Run::open(&args.run).map_err(|error| usage(format!("{error}; see `tunesmith runs list`")))?;
    let events = log::read(&run.log()).map_err(|error| usage(error.to_string()))?;
    let submitted = finished(&events).or_else(|| Submitted::of_events(&events));
    let Some(submitted) = submitted else { return Err(usage("the run handed in nothing to grade")) };
    let jobs = Require::default().jobs(Sandboxes::On)?;
    let terminal = Terminal::progress_only("grade");
    let on = |progress: Progress| terminal.progress(&progress);
    let graded = grading::grade(&run, &submitted, &jobs, (None, cancel), &on).await;
    terminal.clear();
    let grade = match graded {
        Graded::Whole(grade) => grade,
        Graded::Part(_, why) => return Err(Failure::new(4, why)),
        Graded::None(outcome, why) => return Err(Failure::new(outcome.exit_code(), why)),
    };
    let logged = logged(&events);
    let same = logged.map(|logged| *logged == grade);
    if args.json {
        print_json(&json!({"grade": grade, "equals_log": same}))?;
    } else {
        let figure = |measured: &Measured| shown(&grade.metric, measured.value);
        let (base, tuned) = (figure(&grade.base), grade.tuned.as_ref().map_or_else(|| "none".to_owned(), figure));
        print(&visible(&format!("{}: base {base}, tuned {tuned}", grade.metric.replace('_', " "))));
        let failed = grade.artifacts.iter().filter_map(|file| Some((&file.path, file.failed.as_ref()?)));
        failed.for_each(|(path, why)| print(&visible(&format!("{path} did not pass: {why}"))));
        print(match same {
            Some(true) => "the log says the same",
            Some(false) => "the log says something else",
            None => "the log has no grade to compare with",
        });
    }
    Ok(if same == Some(false) { 3 } else { 0 })
}

/// What `finish` handed in.
fn finished(events: &[Event]) -> Option<Submitted> {
    events.iter().rev().find_map(|event| match &event.kind {
        Kind::Returned { tool, ok: true, output, .. } if tool == "finish" => Submitted::of_finish(output),
        _ => None,
    })
}

fn logged(events: &[Event]) -> Option<&Grade> {
    events.iter().rev().find_map(|event| match &event.kind {
        Kind::Graded { grade, .. } => Some(&**grade),
        _ => None,
    })
}
