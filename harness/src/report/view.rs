//! The report as text ready to be laid out; both templates see nothing else.

use serde::Serialize;

use super::{
    Curve, Report,
    data::{InputView, data_section},
    mended,
    sentence::capital,
};
use crate::{
    figures::{bytes, counted, duration, p_value, percent, percents},
    grade::{Confusion, Measured, shown, shown_gain, shown_interval},
    score::{Score, Verdict},
    stats,
    svg::{self, Line},
    task::{Bound, Goal, JobKind},
    text::truncate_middle,
};

/// Widest confusion matrix on the HTML page.
const WIDEST: usize = 30;
/// Most confused pairs listed.
const PAIRS: usize = 12;
/// Longest text of a row or a score, in characters.
const TEXT: usize = 300;

/// Everything the templates print.
#[derive(Serialize)]
pub(super) struct View {
    sentence: String,
    outcome: String,
    /// `good`, `bad` or `open`, for the colour.
    mood: &'static str,
    why: String,
    request: String,
    metric: Option<String>,
    results: Vec<Row>,
    classification: bool,
    goals: Vec<String>,
    curves: Vec<CurveView>,
    matrix: Option<Matrix>,
    pairs: Vec<Pair>,
    errors: Vec<[String; 3]>,
    unusable: Vec<String>,
    files: Vec<FileView>,
    steps: Vec<StepView>,
    scores: Vec<ScoreView>,
    inputs: Vec<InputView>,
    /// Laid out by the same engine with the same escapes; safe.
    data: Option<String>,
    facts: Vec<[String; 2]>,
    scope: Vec<[String; 2]>,
    hashes: Vec<[String; 2]>,
    amended: Vec<[String; 4]>,
    guards: Vec<[String; 2]>,
    instructions: Vec<String>,
    commands: Vec<[String; 2]>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: String,
    interval: String,
    n: String,
    p: String,
    exact: String,
    malformed: String,
    strong: bool,
}

#[derive(Serialize)]
struct CurveView {
    title: String,
    summary: String,
    /// Made by this crate out of numbers and its own words; the one value that the HTML template marks as safe.
    svg: Option<String>,
    shipped: bool,
}

#[derive(Serialize)]
struct Matrix {
    labels: Vec<String>,
    rows: Vec<MatrixRow>,
    /// Narrow enough for Markdown.
    narrow: bool,
}

#[derive(Serialize)]
struct MatrixRow {
    label: String,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    count: usize,
    /// Share of the row in percent, for the shade.
    shade: usize,
    right: bool,
}

#[derive(Serialize)]
struct Pair {
    truth: String,
    predicted: String,
    count: usize,
}

#[derive(Serialize)]
struct FileView {
    path: String,
    kind: String,
    size: String,
    verdict: &'static str,
    note: String,
}

#[derive(Serialize)]
struct StepView {
    step: u32,
    tool: String,
    verdict: &'static str,
    change: Option<String>,
    /// Like a chart, made by this crate out of numbers alone.
    bar: Option<String>,
    took: String,
    notes: Vec<String>,
    passed: Vec<ScoreView>,
}

#[derive(Serialize)]
struct ScoreView {
    scorer: String,
    verdict: &'static str,
    value: String,
    why: String,
}

impl View {
    /// The view of a report.
    pub fn of(report: &Report) -> View {
        let good = report.outcome.map(|outcome| outcome.exit_code() == 0);
        View {
            sentence: report.sentence(),
            outcome: report.outcome.map_or("not finished".into(), |outcome| outcome.to_string()),
            mood: good.map_or("open", |good| if good { "good" } else { "bad" }),
            // Without goals the reason of a success is the sentence itself.
            why: if report.sentence().contains(&report.why) { String::new() } else { capital(&report.why) },
            request: report.request.clone(),
            metric: report.metric.as_ref().map(|metric| metric.replace('_', " ")),
            results: results(report),
            classification: report.confusion.is_some() || report.baselines.chance.is_some(),
            goals: report.goals.iter().map(|goal| self::goal(goal, report.metric.as_deref())).collect(),
            curves: curves(&report.curves),
            matrix: report.confusion.as_ref().and_then(matrix),
            pairs: report.confusion.as_ref().map(pairs).unwrap_or_default(),
            errors: report.errors.iter().map(|e| [&e.input, &e.expected, &e.got].map(|text| short(text))).collect(),
            unusable: report.unusable.iter().map(|(why, n)| format!("{}: {why}", counted(*n, "row"))).collect(),
            files: files(report),
            steps: steps(report),
            scores: report.scores.iter().map(score).collect(),
            inputs: report.inputs.iter().map(InputView::of).collect(),
            data: report.data.as_ref().and_then(|output| data_section(output, "h3", false)),
            facts: facts(report),
            scope: scope(report),
            hashes: report.hashes.iter().map(|(name, hash)| [name.clone(), hash.clone()]).collect(),
            amended: amended(report),
            guards: report.guards.iter().map(|g| [g.guard.clone(), g.why.clone()]).collect(),
            instructions: report.instructions.iter().map(|text| short(text)).collect(),
            commands: report.commands.iter().map(|c| [c.title.clone(), c.text.clone()]).collect(),
        }
    }
}

fn short(text: &str) -> String {
    truncate_middle(text, TEXT).into_owned()
}

const NONE: &str = "–";

fn results(report: &Report) -> Vec<Row> {
    let Some(base) = &report.base else { return Vec::new() };
    let metric = report.metric.as_deref().unwrap_or_default();
    let mut rows = vec![measured("base", (metric, base), None, false)];
    if let Some(tuned) = &report.tuned {
        rows.push(measured("tuned", (metric, tuned), report.gain.as_ref().map(|gain| gain.p_value), true));
    }
    for artifact in &report.artifacts {
        rows.extend(artifact.measured.as_ref().map(|m| measured(&artifact.path, (metric, m), None, false)));
    }
    let baselines = &report.baselines;
    let fixed = [("chance", baselines.chance, false), (majority(report), baselines.majority, true)];
    for (name, value, counted) in fixed.into_iter().chain([("naive Bayes", baselines.naive_bayes, true)]) {
        rows.extend(value.map(|value| baseline(name, value, counted.then_some(base.n))));
    }
    rows
}

/// What [`crate::grade::Baselines::majority`] is for this job.
fn majority(report: &Report) -> &'static str {
    if report.baselines.chance.is_some() { "majority class" } else { "most frequent answer" }
}

/// A target as people read it.
fn goal(goal: &Goal, metric: Option<&str>) -> String {
    let unit = metric.filter(|_| goal.metric == "gain").unwrap_or(&goal.metric);
    let sign = if matches!(goal.bound, Bound::AtMost(_)) { "≤" } else { "≥" };
    format!("{} {sign} {}", goal.metric, shown(unit, goal.bound.value()))
}

fn measured(name: &str, (metric, m): (&str, &Measured), p: Option<f64>, strong: bool) -> Row {
    Row {
        name: name.to_owned(),
        value: shown(metric, m.value),
        interval: shown_interval(metric, m.interval),
        n: m.n.to_string(),
        p: p.map_or(NONE.into(), |p| p_value(p).replace("p = ", "").replace("p < ", "< ")),
        exact: m.exact_match.map_or(NONE.into(), percent),
        malformed: m.format_failures.map_or(NONE.into(), percent),
        strong,
    }
}

fn baseline(name: &str, value: f64, n: Option<usize>) -> Row {
    let interval = n.map(|n| percents(stats::wilson((value * n as f64).round() as usize, n)));
    Row {
        name: name.to_owned(),
        value: percent(value),
        interval: interval.unwrap_or(NONE.into()),
        n: n.map_or(NONE.into(), |n| n.to_string()),
        p: NONE.into(),
        exact: NONE.into(),
        malformed: NONE.into(),
        strong: false,
    }
}

/// The graded curve first, then the others in order.
fn curves(curves: &[Curve]) -> Vec<CurveView> {
    let mut sorted: Vec<&Curve> = curves.iter().collect();
    sorted.sort_by_key(|curve| !curve.shipped);
    sorted
        .into_iter()
        .map(|curve| {
            let lines = [
                Line { name: "training", class: "train", points: &curve.train, dots: false },
                Line { name: "validation", class: "valid", points: &curve.valid, dots: curve.valid.len() <= 60 },
            ];
            CurveView {
                title: format!("Step {}{}", curve.step, if curve.shipped { ", the graded weights" } else { "" }),
                summary: summary(curve),
                svg: svg::chart(&lines, "optimiser step", "loss", curve.best_step.map(|step| (step, "kept"))),
                shipped: curve.shipped,
            }
        })
        .collect()
}

fn summary(curve: &Curve) -> String {
    let mut parts = Vec::new();
    if let (Some(first), Some(last)) = (curve.train.first(), curve.train.last()) {
        parts.push(format!("training loss {:.3} to {:.3} over {} steps", first.1, last.1, last.0));
    }
    if let Some(best) = curve.valid.iter().filter(|p| p.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1)) {
        parts.push(format!("lowest validation loss {:.3} at step {}", best.1, best.0));
    }
    parts.extend(curve.best_step.map(|step| format!("weights kept from step {step}")));
    parts.join("; ")
}

fn matrix(confusion: &Confusion) -> Option<Matrix> {
    let labels = confusion.labels.len();
    let rows = confusion.labels.iter().zip(&confusion.counts).enumerate().map(|(truth, (label, counts))| {
        let total = counts.iter().sum::<usize>().max(1);
        let cells = counts.iter().enumerate();
        let cells = cells.map(|(at, count)| Cell { count: *count, shade: count * 100 / total, right: at == truth });
        MatrixRow { label: label.clone(), cells: cells.collect() }
    });
    let rows = rows.collect();
    (1..=WIDEST).contains(&labels).then(|| Matrix { labels: confusion.labels.clone(), rows, narrow: labels <= 12 })
}

/// The most confused pairs, most frequent first, then in the order of the labels.
fn pairs(confusion: &Confusion) -> Vec<Pair> {
    let cells =
        confusion.counts.iter().enumerate().flat_map(|(t, row)| row.iter().enumerate().map(move |(p, n)| (t, p, *n)));
    let mut wrong: Vec<(usize, usize, usize)> = cells.filter(|(t, p, n)| t != p && *n > 0).collect();
    wrong.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
    let name = |at: usize| confusion.labels.get(at).cloned().unwrap_or_default();
    wrong.into_iter().take(PAIRS).map(|(t, p, count)| Pair { truth: name(t), predicted: name(p), count }).collect()
}

fn files(report: &Report) -> Vec<FileView> {
    report
        .artifacts
        .iter()
        .map(|a| FileView {
            path: a.path.clone(),
            kind: a.kind.clone(),
            size: if a.sha256.is_empty() { NONE.into() } else { bytes(a.bytes) },
            verdict: if a.failed.is_some() { "fail" } else { "pass" },
            note: match (&a.failed, &a.measured) {
                (Some(why), _) => short(why),
                (None, Some(m)) => {
                    let value = shown(report.metric.as_deref().unwrap_or_default(), m.value);
                    format!("{value} on the sealed rows, by itself")
                }
                (None, None) => String::new(),
            },
        })
        .collect()
}

fn steps(report: &Report) -> Vec<StepView> {
    report
        .steps
        .iter()
        .map(|step| StepView {
            step: step.step,
            tool: step.tool.clone(),
            verdict: step.word(),
            change: step.change(),
            // A loss is no share of anything, and a longer bar would look better.
            bar: step
                .metric
                .as_ref()
                .filter(|metric| !metric.less_is_better)
                .and_then(|metric| svg::bar(metric.value, metric.best_before)),
            took: step.took(),
            notes: step.notes(),
            passed: step.scores.iter().filter(|score| score.verdict == Verdict::Pass).map(score).collect(),
        })
        .collect()
}

fn score(score: &Score) -> ScoreView {
    let number = |v: f64| format!("{v:.4}").trim_end_matches('0').trim_end_matches('.').to_owned();
    let mut value = score.value.map(number).unwrap_or_default();
    if let Some((low, high)) = score.interval {
        value = format!("{value} ({} to {})", number(low), number(high));
    }
    ScoreView { scorer: score.scorer.clone(), verdict: score.verdict.word(), value, why: short(&score.why) }
}

fn facts(report: &Report) -> Vec<[String; 2]> {
    let mut facts: Vec<[String; 2]> = Vec::new();
    let mut fact = |name: &str, value: String| facts.push([name.to_owned(), value]);
    if let Some(gain) = &report.gain {
        let metric = report.metric.as_deref().unwrap_or_default();
        let interval = shown_interval(metric, gain.interval);
        let (value, interval) = (shown_gain(metric, gain.value), interval.trim_end_matches(" %"));
        fact("Gain", format!("{value}, 95 % interval {interval}, {}", p_value(gain.p_value)));
    }
    if let (Some(base), Some(tuned)) = (perplexity(report.base.as_ref()), perplexity(report.tuned.as_ref())) {
        fact("Perplexity", format!("{base:.2} to {tuned:.2} for a token"));
    }
    if let Some(f1) = report.tuned.as_ref().and_then(|tuned| tuned.macro_f1) {
        fact("Macro F1", format!("{f1:.3}"));
    }
    if let Some(rows) = report.rows {
        let dropped = if rows.dropped == 0 { String::new() } else { format!(", {} dropped as repeats", rows.dropped) };
        fact("Rows", format!("{} read, {} open, {} sealed{dropped}", rows.read, rows.open, rows.sealed));
        if rows.near_groups > 0 {
            fact("Near-copies", format!("{} kept on one side", counted(rows.near_groups, "group")));
        }
        if rows.templated > 0 {
            let why = "so alike that near-copies may stand on both sides, which makes scores look better";
            fact("Templated rows", format!("{} {why}", rows.templated));
        }
    }
    fact("Time", duration(report.cost.seconds));
    let tokens = report.cost.tokens.map_or("tokens unknown".into(), |tokens| format!("{tokens} tokens"));
    let usd = report.cost.usd.map_or("cost unknown".into(), |usd| format!("{usd:.2} USD"));
    if report.rows.is_some() {
        fact("Planner", format!("{}; {tokens}, {usd}", report.planner));
        if let Some(mended) = mended(&report.repairs) {
            fact("Mended calls", mended);
        }
        if let Some(most) = report.cost.disk_bytes {
            let limit =
                report.cost.disk_limit.map_or(String::new(), |limit| format!("; the run may hold {}", bytes(limit)));
            fact("Disk", format!("{} at most in the workdir{limit}", bytes(most)));
        }
        fact("Seed", report.seed.map_or("unknown".into(), |seed| seed.to_string()));
        fact("Sandbox", sandbox(&report.layers));
        fact("Version", report.tunesmith.clone());
    }
    facts
}

fn perplexity(measured: Option<&Measured>) -> Option<f64> {
    measured?.perplexity
}

/// The layers that are enforced, then what is missing of the others.
fn sandbox(layers: &[String]) -> String {
    let whole = |layer: &String| match layer.split_once(": ") {
        None => Some(layer.clone()),
        Some((name, status)) => (status == "enforced").then(|| name.to_owned()),
    };
    let enforced: Vec<String> = layers.iter().filter_map(whole).collect();
    let rest = layers.iter().filter(|layer| whole(layer).is_none());
    let enforced = if enforced.is_empty() { "none".to_owned() } else { enforced.join(", ") };
    std::iter::once(enforced).chain(rest.cloned()).collect::<Vec<_>>().join("; ")
}

fn scope(report: &Report) -> Vec<[String; 2]> {
    let Some(scope) = &report.scope else { return Vec::new() };
    let kind =
        serde_json::to_value(scope.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let after = scope.answer_after.as_ref().map(|marker| format!(", only what follows {marker:?} is compared"));
    let columns = match scope.kind {
        JobKind::Pretraining => format!("{:?}, read as it stands", scope.input),
        _ => format!("{:?} to {:?}{}", scope.input, scope.target, after.unwrap_or_default()),
    };
    [
        ("Base", scope.base.clone()),
        ("Job", kind),
        ("Columns", columns),
        ("Method", scope.method.clone()),
        ("Longest example", format!("{} tokens at most", scope.max_length)),
        ("Metric", scope.metric.clone()),
    ]
    .map(|(name, value)| [name.to_owned(), value])
    .into()
}

fn amended(report: &Report) -> Vec<[String; 4]> {
    let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    report.amended.iter().map(|a| [a.field.clone(), plain(&a.from), plain(&a.to), a.reason.clone()]).collect()
}
