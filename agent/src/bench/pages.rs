//! The scoreboard as Markdown for a pull request, and as one page with plots that needs no script and no other file.

use serde::Serialize;
use tunesmith_harness::report::{html_page, markdown_page};

use super::{
    board::{COLUMNS, cells, failures, name, total},
    results::{Results, TaskResult},
};

/// Width of a plot in its own units.
const WIDTH: f64 = 240.0;

/// The scoreboard as Markdown, with `notes` below.
pub(super) fn markdown(results: &Results, notes: &[String]) -> String {
    markdown_page(include_str!("board.md.j2"), View::of(results, notes))
}

/// The scoreboard as a page, with `notes` below.
pub(super) fn html(results: &Results, notes: &[String]) -> String {
    html_page(include_str!("board.html.j2"), View::of(results, notes))
}

#[derive(Serialize)]
struct View<'a> {
    suite: &'a str,
    planner: &'a str,
    seed: u64,
    sealed_seed: u64,
    met: bool,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    plots: Vec<Plot>,
    total: Vec<String>,
    failures: Vec<String>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Column {
    name: &'static str,
    figures: bool,
}

/// One run along an axis from 0 to 100 %, and its time along one from nothing to the longest run; all in plot units.
#[derive(Serialize)]
struct Plot {
    name: String,
    met: bool,
    base: Option<String>,
    tuned: Option<String>,
    low: Option<String>,
    high: Option<String>,
    chance: Option<String>,
    goal: String,
    time: String,
}

impl<'a> View<'a> {
    fn of(results: &'a Results, notes: &'a [String]) -> Self {
        let longest = results.tasks.iter().map(|task| task.seconds).fold(f64::MIN_POSITIVE, f64::max);
        View {
            suite: &results.suite,
            planner: &results.planner,
            seed: results.seed,
            sealed_seed: results.sealed_seed,
            met: results.met,
            columns: COLUMNS.map(|(name, figures)| Column { name, figures }).into(),
            rows: results.tasks.iter().map(|task| cells(results, task)).collect(),
            plots: results.tasks.iter().map(|task| plot(results, task, longest)).collect(),
            total: total(results),
            failures: failures(results),
            notes,
        }
    }
}

fn plot(results: &Results, task: &TaskResult, longest: f64) -> Plot {
    let at = |share: f64| format!("{:.1}", share.clamp(0.0, 1.0) * WIDTH);
    Plot {
        name: name(results, task),
        met: task.exit == 0,
        base: task.base.map(at),
        tuned: task.tuned.map(at),
        low: task.interval.map(|i| at(i.0)),
        high: task.interval.map(|i| at(i.1)),
        chance: task.chance.map(at),
        goal: at(task.goal),
        time: at(task.seconds / longest),
    }
}
