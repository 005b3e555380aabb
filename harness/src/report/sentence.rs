//! The verdict in words.

use super::Report;
use crate::{
    figures::{counted, percent},
    grade::{change, shown},
};

pub(super) fn sentence(report: &Report) -> String {
    let outcome = report.outcome.map_or_else(|| "not finished".to_owned(), |outcome| outcome.to_string());
    let (Some(metric), Some(base)) = (&report.metric, &report.base) else {
        return capital(&format!("{outcome}: nothing was scored on the sealed rows."));
    };
    let (Some(tuned), Some(gain)) = (&report.tuned, &report.gain) else {
        let (value, rows) = (shown(metric, base.value), counted(base.n, "sealed row"));
        let metric = metric.replace('_', " ");
        return capital(&format!("{outcome}: there is no tuned model; the base has {value} {metric} on {rows}."));
    };
    let figures = change(metric, base, tuned, gain);
    let head = match best_baseline(report) {
        Some((name, value)) if value > tuned.value => {
            format!("{outcome}, but {name} does better without any model ({}): ", percent(value))
        }
        _ => format!("{outcome}: "),
    };
    // The reason of a run that missed begins with the same figures and goes on with what was missed.
    if report.why.starts_with(&figures) {
        return capital(&format!("{head}{}.", report.why));
    }
    let files = report.artifacts.iter().filter(|a| a.failed.is_some()).count();
    let tail = if files == 0 { String::new() } else { format!("; {} did not pass", counted(files, "shipped file")) };
    capital(&format!("{head}{figures}{tail}."))
}

fn best_baseline(report: &Report) -> Option<(&'static str, f64)> {
    let baselines = &report.baselines;
    let majority = if baselines.chance.is_some() { "the majority class" } else { "always giving one answer" };
    [("chance", baselines.chance), (majority, baselines.majority), ("naive Bayes", baselines.naive_bayes)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// `text` with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}
