//! Whether a grade meets what was asked for.

use super::{Gain, Grade, Measured, files::ADAPTER, less_is_better, shown, shown_gain, shown_interval};
use crate::{
    figures::{bytes, counted, p_value, percent, percents},
    task::{Bound, Goal, JobKind},
};

/// The metrics that a goal may name, with what each means. A goal is `METRIC>=X`, and `METRIC<=X` for those of which less is
/// better.
pub const METRICS: [(&str, &str); 8] = [
    ("accuracy", "share of sealed rows that the tuned model gets right, on the headline metric"),
    ("exact_match", "share of sealed rows whose generated answer is right"),
    ("macro_f1", "mean F1 over the labels (classification only)"),
    ("field_accuracy", "share of the expected JSON objects' fields that are right (extraction only)"),
    ("well_formed", "share of generated answers that have the asked-for form"),
    ("bits_per_byte", "bits that the tuned model takes for a byte of sealed text, less is better (pretraining only)"),
    ("perplexity", "e to the tuned model's mean loss of a token of sealed text, less is better (pretraining only)"),
    ("gain", "what training gained on the headline metric, where that is a share"),
];

/// A gain counts as one when the test's p is below this.
const SIGNIFICANT: f64 = 0.05;

/// The value of a metric in `grade`; `None` where the grade has none or the name is not in [`METRICS`].
pub fn metric_value(grade: &Grade, metric: &str) -> Option<f64> {
    let tuned = grade.tuned.as_ref();
    match metric {
        // Of raw text there is none: its headline figure is no share.
        "accuracy" => tuned.map(|t| t.value).filter(|_| !less_is_better(&grade.metric)),
        "exact_match" => tuned?.exact_match,
        "macro_f1" => tuned?.macro_f1,
        "field_accuracy" => tuned?.field_accuracy,
        "well_formed" => tuned?.format_failures.map(|share| 1.0 - share),
        "bits_per_byte" => tuned.map(|t| t.value).filter(|_| grade.metric == metric),
        "perplexity" => tuned?.perplexity,
        // Nor are bits that were saved points of anything.
        "gain" => grade.gain.as_ref().map(|g| g.value).filter(|_| !less_is_better(&grade.metric)),
        _ => None,
    }
}

/// Whether `metric` can be a goal of a job of this kind.
pub fn is_metric(kind: JobKind, metric: &str) -> bool {
    let fits = match metric {
        "bits_per_byte" | "perplexity" => kind == JobKind::Pretraining,
        "macro_f1" => kind == JobKind::Classification,
        "field_accuracy" => kind == JobKind::Extraction,
        _ => kind != JobKind::Pretraining,
    };
    fits && METRICS.iter().any(|(name, _)| *name == metric)
}

/// Whether the goals are met on the sealed rows, and why, in one sentence.
///
/// Without goals, the gain's interval must be above zero with p below [`SIGNIFICANT`], and the tuned model's interval
/// above chance and above always giving the most frequent answer. In both cases a file of each kind in `wanted` must be
/// shipped, and every shipped file must have passed its check.
pub fn outcome(grade: &Grade, goals: &[Goal], wanted: &[String]) -> (bool, String) {
    let (met, mut why) = if goals.is_empty() { gained(grade) } else { reached(grade, goals) };
    let missing: Vec<&str> =
        wanted.iter().filter(|kind| !grade.artifacts.iter().any(|a| a.kind == **kind)).map(String::as_str).collect();
    if !missing.is_empty() {
        why = format!("{why}; the request asks for a file that was not handed in ({})", missing.join(", "));
    }
    let failed: Vec<String> =
        grade.artifacts.iter().filter_map(|a| Some(format!("{}: {}", a.path, a.failed.as_ref()?))).collect();
    if !failed.is_empty() {
        why = format!("{why}; a shipped file did not pass ({})", failed.join("; "));
    }
    (met && failed.is_empty() && missing.is_empty(), why)
}

/// The first shipped model that is larger than `most` bytes, in words; the adapter where no model is shipped.
pub fn too_large(grade: &Grade, most: u64) -> Option<String> {
    let models = grade.artifacts.iter().any(|artifact| artifact.kind != ADAPTER);
    let mut shipped = grade.artifacts.iter().filter(|artifact| models == (artifact.kind != ADAPTER));
    let large = shipped.find(|artifact| artifact.bytes > most)?;
    Some(format!("{} takes {}, more than the {} that it may take", large.path, bytes(large.bytes), bytes(most)))
}

fn gained(grade: &Grade) -> (bool, String) {
    let (Some(tuned), Some(gain)) = (&grade.tuned, &grade.gain) else {
        return (false, "there is no tuned model to compare with the base".to_owned());
    };
    let figures = change(&grade.metric, &grade.base, tuned, gain);
    if gain.interval.0 <= 0.0 || gain.p_value >= SIGNIFICANT {
        return (false, format!("{figures}, which is not clearly above zero"));
    }
    // The interval and not the value: a model that learned to always say the same may have hit on an answer that is a
    // little more frequent among the sealed rows than the one that the baseline says.
    let bars =
        [("chance", grade.baselines.chance), ("always giving the most frequent answer", grade.baselines.majority)];
    let bar = bars.into_iter().find_map(|(name, bar)| Some((name, bar.filter(|bar| tuned.interval.0 <= *bar)?)));
    match bar {
        Some((name, bar)) => {
            let interval = percents(tuned.interval);
            (
                false,
                format!(
                    "{figures}, but {name} reaches {}, not clearly below the tuned model's {interval}",
                    percent(bar)
                ),
            )
        }
        None => (true, figures),
    }
}

/// What training changed, with its figures: `accuracy rose from 10.4 % to 91.5 % on 375 sealed rows, ...`.
pub(crate) fn change(metric: &str, base: &Measured, tuned: &Measured, gain: &Gain) -> String {
    let (from, to) = (shown(metric, base.value), shown(metric, tuned.value));
    let words = match () {
        () if tuned.value > base.value => format!("rose from {from} to {to}"),
        () if tuned.value < base.value => format!("fell from {from} to {to}"),
        () => format!("stayed at {to}"),
    };
    let rows = counted(tuned.n, "sealed row");
    let kind = if gain.value < 0.0 { "change" } else { "gain" };
    let (size, interval) = (shown_gain(metric, gain.value), shown_interval(metric, gain.interval));
    let (interval, p) = (interval.trim_end_matches(" %"), p_value(gain.p_value));
    let metric = metric.replace('_', " ");
    format!("{metric} {words} on {rows}, a {kind} of {size} (95 % interval {interval}, {p})")
}

fn reached(grade: &Grade, goals: &[Goal]) -> (bool, String) {
    if grade.tuned.is_none() {
        return (false, "there is no tuned model to hold against the goals".to_owned());
    }
    let rows = counted(grade.base.n, "sealed row");
    let judged: Vec<(bool, String)> = goals
        .iter()
        .map(|goal| match metric_value(grade, &goal.metric) {
            Some(got) => {
                let met = goal.bound.is_met(got);
                let word = if met { "meets" } else { "misses" };
                let most = if matches!(goal.bound, Bound::AtMost(_)) { "at most " } else { "" };
                let (got, bar) = (shown(&goal.metric, got), shown(&goal.metric, goal.bound.value()));
                (met, format!("{} of {got} {word} the goal of {most}{bar}", goal.metric))
            }
            None => (false, format!("{} is not a metric of this result", goal.metric)),
        })
        .collect();
    let words: Vec<&str> = judged.iter().map(|(_, why)| why.as_str()).collect();
    (judged.iter().all(|(met, _)| *met), format!("on {rows}, {}", words.join(", ")))
}
