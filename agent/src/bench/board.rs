//! The scoreboard: a row of cells per run, and the total in words.

use tunesmith_harness::{
    figures::{duration, percent, percents},
    report::mended,
};

use super::results::{Results, TaskResult, Total};
use crate::commands::table::{NONE, count, short, table};

/// Names of the columns, and whether each holds figures.
pub(super) const COLUMNS: [(&str, bool); 12] = [
    ("task", false),
    ("metric", false),
    ("base", true),
    ("tuned", true),
    ("95 % interval", true),
    ("chance", true),
    ("goal", true),
    ("score", true),
    ("tokens", true),
    ("cost", true),
    ("time", true),
    ("outcome", false),
];

/// The cells of one run, in the order of [`COLUMNS`].
pub(super) fn cells(results: &Results, task: &TaskResult) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let share = |value: Option<f64>| or_none(value.map(percent));
    vec![
        name(results, task),
        task.metric.replace('_', " "),
        share(task.base),
        share(task.tuned),
        or_none(task.interval.map(percents)),
        share(task.chance),
        percent(task.goal),
        or_none(task.score.map(score)),
        or_none(task.tokens.map(count)),
        or_none(task.usd.map(dollars)),
        duration(task.seconds),
        task.ended(),
    ]
}

/// What a run is called: its task, and its seed where there are several.
pub(super) fn name(results: &Results, task: &TaskResult) -> String {
    if results.repeated() { format!("{} (seed {})", task.id, task.seed) } else { task.id.clone() }
}

/// All that the terminal shows below the progress.
pub(super) fn lines(results: &Results) -> Vec<String> {
    let head = COLUMNS.map(|(name, _)| name.to_owned()).to_vec();
    let rows = results.tasks.iter().map(|task| cells(results, task));
    let mut lines = vec![String::new()];
    lines.extend(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    lines.extend(failures(results));
    lines.extend(total(results));
    lines
}

/// Why each run that is below its threshold is there.
pub(super) fn failures(results: &Results) -> Vec<String> {
    let failed = results.tasks.iter().filter(|task| task.exit != 0);
    failed.map(|task| format!("{}: {}", name(results, task), short(&task.why, 300))).collect()
}

/// The success share with its interval, and what several tries are worth.
pub(super) fn total(results: &Results) -> Vec<String> {
    let Total { met, runs, share, interval, score: mean, score_interval, seconds, tokens, usd } = &results.total;
    let noun = if results.repeated() { "runs" } else { "tasks" };
    let share = match (share, interval) {
        (Some(share), Some(interval)) => format!(", {} (95 % interval {})", percent(*share), percents(*interval)),
        _ => String::new(),
    };
    let tokens = tokens.map_or_else(|| "unknown tokens".to_owned(), |tokens| format!("{} tokens", count(tokens)));
    let usd = usd.map_or_else(|| "unknown cost".to_owned(), dollars);
    let mut lines =
        vec![format!("{met} of {runs} {noun} at their threshold{share}; {}, {tokens}, {usd}", duration(*seconds))];
    if let Some(mean) = mean {
        let interval =
            score_interval.map_or_else(String::new, |(low, high)| format!(" (95 % interval {low:.2} to {high:.2})"));
        lines.push(format!("score {}{interval}: 0 is the base, 1 the goal, as a mean over {noun}", score(*mean)));
    }
    lines.extend(mended(&results.repairs()).map(|mended| format!("calls of the planner took {mended}")));
    let with = |value: Option<f64>, interval: Option<(f64, f64)>| {
        let interval = interval.map_or_else(String::new, |interval| format!(" ({})", percents(interval)));
        value.map_or_else(|| NONE.to_owned(), |value| format!("{}{interval}", percent(value)))
    };
    lines.extend(results.pass.iter().map(|pass| {
        let (any, all) = (with(pass.any, pass.any_interval), with(pass.all, pass.all_interval));
        format!("pass@{0} {any}, pass^{0} {all}", pass.k)
    }));
    lines
}

/// Dollars with as many digits as small amounts need.
fn dollars(usd: f64) -> String {
    if usd == 0.0 || usd >= 0.01 { format!("${usd:.2}") } else { format!("${usd:.4}") }
}

fn score(score: f64) -> String {
    format!("{score:.2}")
}
