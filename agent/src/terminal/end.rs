//! The last lines of a run.

use tunesmith_harness::{
    figures::{bytes, percent},
    grade::{Measured, shown, shown_gain, shown_interval},
    report::Report,
    task::Outcome,
    text::{visible, visible_lines},
};

use crate::{
    commands::table::{NONE, table},
    run::Finished,
};

/// The verdict in words, the figures, what was made, where it is, and how to use it.
pub(super) fn lines(finished: &Finished) -> Vec<String> {
    let report = &finished.report;
    let mut lines = vec![String::new(), visible(&report.sentence()).into_owned()];
    // Without targets, the sentence says all that the reason of a graded run says.
    let graded = report.tuned.is_some() && matches!(finished.outcome, Outcome::Met | Outcome::NotMet);
    if !graded || !report.goals.is_empty() {
        lines.push(visible(&finished.why).into_owned());
    }
    let figures = figures(report);
    if !figures.is_empty() {
        lines.push(String::new());
        lines.extend(table(&figures));
    }
    let made = artifacts(finished);
    if !made.is_empty() {
        lines.push(String::new());
        lines.extend(made);
    }
    lines.push(String::new());
    let report_path = finished.dir.join("report.html");
    lines.push(format!("report  {}", visible(&report_path.display().to_string())));
    lines.push(format!("log     {}", finished.head));
    lines.extend(going_on(finished));
    for command in &report.commands {
        lines.push(String::new());
        lines.push(format!("With {}:", visible(&command.title)));
        // Not indented: a line break inside quotes must stay what it is.
        lines.extend(visible_lines(&command.text).lines().map(str::to_owned));
    }
    lines
}

/// How to go on with a run that was stopped, or had no time for a better result.
fn going_on(finished: &Finished) -> Option<String> {
    let more = match finished.outcome {
        Outcome::Cancelled => "",
        Outcome::Budget => ", with more --minutes, --steps, --usd, --tokens or --disk",
        _ => return None,
    };
    let dir = finished.dir.display().to_string();
    Some(format!("go on   tunesmith resume '{}'{more}", visible(&dir.replace('\'', "'\\''"))))
}

/// Base, tuned model, shipped files and what needs no model, on the same sealed rows.
fn figures(report: &Report) -> Vec<Vec<String>> {
    let Some(base) = &report.base else { return Vec::new() };
    let metric = report.metric.as_deref().unwrap_or("score");
    let measured = |name: &str, m: &Measured| measured(metric, name, m);
    let title = metric.replace('_', " ");
    let mut rows = vec![["", title.as_str(), "95 % interval", "exact match", "malformed"].map(str::to_owned).to_vec()];
    rows.push(measured("base", base));
    rows.extend(report.tuned.as_ref().map(|tuned| measured("tuned", tuned)));
    rows.extend(report.gain.as_ref().map(|gain| {
        let size = shown_gain(metric, gain.value);
        let size = size.trim_end_matches(" points").trim_end_matches(" bits per byte");
        vec!["gain".to_owned(), size.to_owned(), shown_interval(metric, gain.interval)]
    }));
    for artifact in &report.artifacts {
        rows.extend(artifact.measured.as_ref().map(|m| measured(&artifact.path, m)));
    }
    let baselines = &report.baselines;
    let majority = if baselines.chance.is_some() { "majority class" } else { "most frequent" };
    for (name, value) in
        [("chance", baselines.chance), (majority, baselines.majority), ("naive Bayes", baselines.naive_bayes)]
    {
        rows.extend(value.map(|value| vec![name.to_owned(), percent(value)]));
    }
    rows
}

fn measured(metric: &str, name: &str, m: &Measured) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or_else(|| NONE.to_owned(), percent);
    let (value, interval) = (shown(metric, m.value), shown_interval(metric, m.interval));
    vec![name.to_owned(), value, interval, share(m.exact_match), share(m.format_failures)]
}

fn artifacts(finished: &Finished) -> Vec<String> {
    let line = |artifact: &tunesmith_harness::grade::Artifact| {
        let path = finished.dir.join(&artifact.path);
        let path = visible(&path.display().to_string()).into_owned();
        match &artifact.failed {
            None => format!("{:<11} {path}  {}", artifact.kind, bytes(artifact.bytes)),
            Some(why) => format!("{:<11} {path}  {NONE} did not pass: {}", artifact.kind, visible(why)),
        }
    };
    finished.report.artifacts.iter().map(line).collect()
}
