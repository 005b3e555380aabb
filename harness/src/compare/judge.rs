//! One metric of one task in two results: difference, test, and the verdict.

use super::{
    Aggregate, MetricResults, Options, Row, Side, Test, Verdict,
    items::{Matched, clusters},
    render,
};
use crate::{
    figures::counted,
    stats::{self, DRAWS, Difference, Estimate, Sums},
};

/// Additions that a resampled statistic may cost; more items get fewer resamples, at least a thousand.
const WORK: usize = 100_000_000;

/// What is known of a difference.
#[derive(Default)]
struct Found {
    interval: Option<(f64, f64)>,
    p: Option<f64>,
    detectable: Option<f64>,
}

/// Compares one metric; the verdict follows once all p-values are known.
pub(super) fn row(
    names: (&str, &str, &str),
    a: &MetricResults,
    b: &MetricResults,
    options: &Options,
) -> (Row, Option<String>) {
    let wide = a.items.iter().chain(&b.items).any(|item| item.sums.len() > Aggregate::NARROW);
    match wide {
        false => row_of::<{ Aggregate::NARROW }>(names, a, b, options),
        true => row_of::<{ Aggregate::WIDE }>(names, a, b, options),
    }
}

fn row_of<const N: usize>(
    (task, metric, filter): (&str, &str, &str),
    a: &MetricResults,
    b: &MetricResults,
    options: &Options,
) -> (Row, Option<String>) {
    let same_kind = a.aggregate == b.aggregate;
    let matched: Matched<N> = if same_kind { Matched::of(&a.items, &b.items) } else { Matched::of(&[], &[]) };
    let n = matched.n();
    let share = [a, b].iter().all(|side| is_share(side)) && !(a.items.is_empty() && b.items.is_empty());
    let (sides, difference, test, found) =
        if n > 0 { paired(a, &matched, share, options) } else { unpaired(a, b, share, options.alpha) };
    let key = format!("{metric},{filter}");
    let repeated: Vec<f64> =
        options.noise.iter().filter_map(|run| run.tasks.get(task)?.metrics.get(&key)?.value).collect();
    let row = Row {
        task: task.to_owned(),
        metric: metric.to_owned(),
        filter: filter.to_owned(),
        higher_is_better: a.higher_is_better,
        share,
        n,
        clusters: matched.clusters.as_ref().and_then(|clusters| clusters.iter().max()).map(|last| last + 1),
        unmatched: matched.unmatched,
        a: Side { reported_stderr: a.stderr, ..sides[0] },
        b: Side { reported_stderr: b.stderr, ..sides[1] },
        difference,
        interval: found.interval,
        test,
        p: found.p,
        p_adjusted: None,
        detectable: found.detectable,
        items_needed: difference
            .zip(found.detectable)
            .and_then(|(difference, detectable)| stats::items_needed(n, detectable, difference)),
        noise: stats::noise_floor(&repeated, options.alpha),
        verdict: Verdict::CannotTell,
        why: String::new(),
    };
    (row, note(task, a, b, &matched, options, repeated.len()))
}

fn note<const N: usize>(
    task: &str,
    a: &MetricResults,
    b: &MetricResults,
    matched: &Matched<N>,
    options: &Options,
    repeated: usize,
) -> Option<String> {
    if matched.n() == 0 && !a.items.is_empty() && !b.items.is_empty() {
        return Some(format!("{task}: no item is in both, so values are compared unpaired"));
    }
    if a.higher_is_better != b.higher_is_better {
        return Some(format!("{task}: the two do not agree on whether more is better; what A says is used"));
    }
    if matched.other_prompts > 0 {
        let items = counted(matched.other_prompts, "item");
        return Some(format!("{task}: the prompts of {items} differ, so a difference may come from that"));
    }
    (!options.noise.is_empty() && repeated < 2)
        .then(|| format!("{task}: fewer than two repeated runs have it, so its noise is not known"))
}

fn is_share(metric: &MetricResults) -> bool {
    let right_or_wrong = |sums: &[f64]| matches!(sums, [right, 1.0] if *right == 0.0 || *right == 1.0);
    metric.aggregate == Aggregate::Mean && metric.items.iter().all(|item| right_or_wrong(&item.sums))
}

fn paired<const N: usize>(
    a: &MetricResults,
    matched: &Matched<N>,
    share: bool,
    options: &Options,
) -> ([Side; 2], Option<f64>, Test, Found) {
    let clusters = matched.clusters.as_deref();
    let (alpha, value) = (options.alpha, |sums: &Sums<N>| a.aggregate.value(sums));
    let (groups_a, groups_b) = matched.groups();
    let sides = [(&matched.a, &groups_a), (&matched.b, &groups_b)].map(|(items, groups)| {
        let interval = match a.aggregate {
            Aggregate::Mean if share => share_interval(items, clusters, alpha),
            Aggregate::Mean => Estimate::of(&firsts(items), clusters).and_then(|mean| mean.interval(alpha)),
            _ => resampled(groups.len(), options.seed, |picked| value(&picks(groups, picked)))
                .and_then(|values| stats::percentile_interval(values, alpha)),
        };
        Side { value: value(&picks(groups, &all(groups))), interval, reported_stderr: None }
    });
    let difference = sides[0].value.zip(sides[1].value).map(|(a, b)| b - a);
    if share && clusters.is_none() {
        let only = |x: &[Sums<N>], y: &[Sums<N>]| x.iter().zip(y).filter(|(x, y)| x[0] > y[0]).count();
        let (only_a, only_b) = (only(&matched.a, &matched.b), only(&matched.b, &matched.a));
        let found = Found {
            interval: stats::paired_share(only_a, only_b, matched.n(), alpha),
            p: Some(stats::mcnemar(only_a, only_b)),
            detectable: stats::detectable_paired(only_a, only_b, matched.n(), alpha),
        };
        return (sides, difference, Test::McnemarExact, found);
    }
    let draws = draws(groups_a.len());
    let p = stats::paired_permutation(&groups_a, &groups_b, value, draws, options.seed);
    let (interval, detectable) = if a.aggregate == Aggregate::Mean {
        let differences: Vec<f64> = matched.a.iter().zip(&matched.b).map(|(a, b)| b[0] - a[0]).collect();
        let estimate = Estimate::of(&differences, clusters);
        let detectable = estimate.and_then(|e| stats::detectable(e.se?, e.df(), alpha));
        (estimate.and_then(|e| e.interval(alpha)), detectable)
    } else {
        let values = resampled(groups_a.len(), options.seed, |picked| {
            Some(value(&picks(&groups_b, picked))? - value(&picks(&groups_a, picked))?)
        });
        let spread =
            values.as_ref().and_then(|values| Some(Estimate::of(values, None)?.se? * (values.len() as f64).sqrt()));
        let detectable = spread.and_then(|sd| stats::detectable(sd, f64::INFINITY, alpha));
        (values.and_then(|values| stats::percentile_interval(values, alpha)), detectable)
    };
    (sides, difference, Test::PairedPermutation, Found { interval, p, detectable })
}

/// Two values whose items are not known or not the same.
fn unpaired(a: &MetricResults, b: &MetricResults, share: bool, alpha: f64) -> ([Side; 2], Option<f64>, Test, Found) {
    let difference = a.value.zip(b.value).map(|(a, b)| b - a);
    if let (true, Some(right_a), Some(right_b)) = (share, right_of(a), right_of(b)) {
        let sides = [(a, right_a), (b, right_b)].map(|(side, (right, n))| Side {
            value: side.value,
            interval: stats::share(right, n, alpha),
            reported_stderr: None,
        });
        let found = Found {
            interval: stats::unpaired_share(right_a, right_b, alpha),
            p: stats::fisher(right_a, right_b),
            detectable: stats::detectable_unpaired(right_a, right_b, alpha),
        };
        return (sides, difference, Test::FisherExact, found);
    }
    let sides = [a, b].map(|side| {
        let around = |(value, se, df)| Some((value, stats::t_quantile(1.0 - alpha / 2.0, df)? * se));
        let interval = spread(side).and_then(around).map(|(value, half)| (value - half, value + half));
        Side { value: side.value, interval, reported_stderr: None }
    });
    let of_both = spread(a).zip(spread(b)).and_then(|(a, b)| Difference::of(a, b));
    let found = of_both.map_or_else(Found::default, |both| Found {
        interval: both.interval(alpha),
        p: both.p(),
        detectable: stats::detectable(both.se, both.df, alpha),
    });
    (sides, difference, Test::Unpaired, found)
}

/// Right answers and all, where the items are known and independent.
fn right_of(side: &MetricResults) -> Option<stats::Counted> {
    let independent = clusters(side.items.iter()).is_none() && !side.items.is_empty();
    let right = side.items.iter().filter(|item| item.sums.first() == Some(&1.0)).count();
    independent.then_some((right, side.items.len()))
}

/// A value with its standard error and the degrees of freedom of that: of its items where they are known, else as reported.
fn spread(side: &MetricResults) -> Option<(f64, f64, f64)> {
    if side.aggregate == Aggregate::Mean && !side.items.is_empty() {
        let values: Vec<f64> = side.items.iter().filter_map(|item| item.sums.first().copied()).collect();
        let mean = Estimate::of(&values, clusters(side.items.iter()).as_deref())?;
        return Some((mean.value, mean.se?, mean.df()));
    }
    Some((side.value?, side.stderr.filter(|se| *se > 0.0)?, f64::INFINITY))
}

fn share_interval<const N: usize>(items: &[Sums<N>], clusters: Option<&[usize]>, alpha: f64) -> Option<(f64, f64)> {
    let right: Vec<bool> = items.iter().map(|sums| sums[0] == 1.0).collect();
    match clusters {
        Some(clusters) => stats::clustered_share(&right, clusters, alpha),
        None => stats::share(right.iter().filter(|right| **right).count(), right.len(), alpha),
    }
}

fn firsts<const N: usize>(items: &[Sums<N>]) -> Vec<f64> {
    items.iter().map(|sums| sums[0]).collect()
}

fn all<const N: usize>(groups: &[Sums<N>]) -> Vec<usize> {
    (0..groups.len()).collect()
}

fn picks<const N: usize>(groups: &[Sums<N>], picked: &[usize]) -> Sums<N> {
    picked.iter().fold([0.0; N], |sum, group| std::array::from_fn(|i| sum[i] + groups[*group][i]))
}

fn draws(groups: usize) -> usize {
    (WORK / groups.max(1)).clamp(1_000, DRAWS)
}

fn resampled(groups: usize, seed: u64, statistic: impl FnMut(&[usize]) -> Option<f64>) -> Option<Vec<f64>> {
    if groups < 2 { None } else { stats::bootstrap(groups, draws(groups), seed, statistic) }
}

/// Decides a row whose adjusted p-value is known, among `tests` of them.
///
/// A value that B has lost, as where a model answers no numbers any more, is worse than any that A has.
pub(super) fn verdict(row: &mut Row, alpha: f64, tests: usize) {
    if row.a.value.is_some() && row.b.value.is_none() {
        (row.verdict, row.why) = (Verdict::Worse, "worse: A has a value and B has none".to_owned());
        return;
    }
    let (Some(difference), Some(p)) = (row.difference, row.p_adjusted) else {
        row.why = "cannot tell: neither items nor a standard error are known; keep the samples of both".to_owned();
        return;
    };
    let size = |value: f64| render::size(row, value.abs());
    let past = |(low, high): (f64, f64)| if difference > 0.0 { low > 0.0 } else { high < 0.0 };
    // The interval is asked too: with few clusters, or a shape far from the test's null hypothesis, it may disagree.
    let clear = p < alpha && row.interval.is_some_and(past);
    let better = (difference > 0.0) == row.higher_is_better;
    let noisy = row.noise.filter(|noise| difference.abs() <= *noise);
    let why = match noisy {
        Some(noise) if clear => format!(
            "cannot tell: repeated runs of the same thing differ by up to {}, which is not less than {}",
            size(noise),
            size(difference)
        ),
        None if clear => format!("{} by {}", if better { "better" } else { "worse" }, size(difference)),
        _ => unclear(row, difference, alpha, tests),
    };
    if clear && noisy.is_none() {
        row.verdict = if better { Verdict::Better } else { Verdict::Worse };
    }
    row.why = why;
}

/// Why nobody can tell, and how many items it would take.
fn unclear(row: &Row, difference: f64, alpha: f64, tests: usize) -> String {
    let size = |value: f64| render::size(row, value.abs());
    if row.p.is_some_and(|p| p < alpha) && row.p_adjusted.is_some_and(|p| p >= alpha) {
        let among = counted(tests, "comparison");
        return format!("cannot tell: a difference of {} may be chance among {among}", size(difference));
    }
    let Some(detectable) = row.detectable else {
        return "cannot tell: these items do not say how large a difference they would show".to_owned();
    };
    let shown = format!("cannot tell: what was compared shows differences from {} on", size(detectable));
    match row.items_needed {
        Some(needed) if needed > row.n && row.n > 0 => {
            format!("{shown}; one of {} would take about {} items", size(difference), render::rounded(needed))
        }
        _ => shown,
    }
}
