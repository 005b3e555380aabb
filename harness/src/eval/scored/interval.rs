//! How sure the value of a metric is.

use std::collections::BTreeMap;

use crate::{
    eval::{
        aggregate::{Score, brier_distances},
        metrics::{Aggregation, Item, Metric},
    },
    stats,
};

/// Level of every interval.
const ALPHA: f64 = 0.05;

/// Resamples behind an interval that has no formula.
const DRAWS: usize = 2_000;

/// The 95 % interval of a value, and how it was made; `None` where no way is known, as for most statistics of clusters.
pub(super) fn interval(
    score: &Score,
    metric: &Metric,
    items: &[Item],
    clusters: Option<&[usize]>,
) -> Option<((f64, f64), &'static str)> {
    match metric.aggregation {
        Aggregation::Truths => {
            let (truths, rows) = truths(items, clusters);
            Some((stats::clustered_share(&truths, &rows, ALPHA)?, "clustered"))
        }
        Aggregation::Mean => mean(&numbers(items)?, clusters),
        Aggregation::BrierScore => mean(&brier_distances(metric, items).ok()?, clusters),
        // exp(-x) falls, so it turns the ends of the mean's interval into those of the perplexity's.
        Aggregation::Perplexity => {
            let ((low, high), method) = mean(&numbers(items)?, clusters)?;
            Some((((-high).exp(), (-low).exp()), method))
        }
        Aggregation::WeightedPerplexity | Aggregation::BitsPerByte => {
            weighted(metric.aggregation, &weights(items)?, clusters).map(|interval| (interval, "bootstrap"))
        }
        _ if clusters.is_some() => None,
        _ => {
            let half = stats::normal_quantile(1.0 - ALPHA / 2.0)? * score.stderr.filter(|e| e.is_finite())?;
            Some(((score.value - half, score.value + half), "bootstrap, normal"))
        }
    }
}

/// The interval of a mean, or of a share where all values are 0 or 1.
fn mean(values: &[f64], clusters: Option<&[usize]>) -> Option<((f64, f64), &'static str)> {
    let right = values.iter().all(|x| *x == 0.0 || *x == 1.0);
    let right: Option<Vec<bool>> = right.then(|| values.iter().map(|x| *x == 1.0).collect());
    match (right, clusters) {
        (Some(right), None) => {
            let method = if right.len() < stats::FEW { "clopper-pearson" } else { "wilson" };
            Some((stats::share(right.iter().filter(|right| **right).count(), right.len(), ALPHA)?, method))
        }
        (Some(right), Some(clusters)) => Some((stats::clustered_share(&right, clusters, ALPHA)?, "clustered")),
        (None, clusters) => {
            let method = if clusters.is_some() { "clustered" } else { "student t" };
            Some((stats::Estimate::of(values, clusters)?.interval(ALPHA)?, method))
        }
    }
}

fn numbers(items: &[Item]) -> Option<Vec<f64>> {
    items.iter().map(|item| if let Item::Number(x) = item { Some(*x) } else { None }).collect()
}

/// What is true of rows, each with its row or cluster: what is true of the same row is not independent.
fn truths(items: &[Item], clusters: Option<&[usize]>) -> (Vec<bool>, Vec<usize>) {
    let cluster = |row: usize| clusters.and_then(|clusters| clusters.get(row)).copied().unwrap_or(row);
    let truths = items.iter().enumerate().flat_map(|(row, item)| match item {
        Item::Truths(truths) => truths.iter().map(|truth| (*truth, cluster(row))).collect(),
        _ => Vec::new(),
    });
    truths.unzip()
}

fn weights(items: &[Item]) -> Option<Vec<(f64, f64)>> {
    let weighted =
        |item: &Item| if let Item::Weighted(sum, weight) = item { Some((*sum, *weight as f64)) } else { None };
    items.iter().map(weighted).collect()
}

/// Perplexities and bits have no formula that lm-eval would use; texts, or clusters of them, are resampled.
fn weighted(aggregation: Aggregation, pairs: &[(f64, f64)], clusters: Option<&[usize]>) -> Option<(f64, f64)> {
    let mut groups: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (at, (sum, weight)) in pairs.iter().enumerate() {
        let cluster = clusters.and_then(|clusters| clusters.get(at)).copied().unwrap_or(at);
        let group = groups.entry(cluster).or_default();
        *group = (group.0 + sum, group.1 + weight);
    }
    let groups: Vec<(f64, f64)> = groups.into_values().collect();
    let statistic = |picked: &[usize]| {
        let (sum, weight) = picked.iter().fold((0.0, 0.0), |all, at| (all.0 + groups[*at].0, all.1 + groups[*at].1));
        Some(match aggregation {
            Aggregation::BitsPerByte => -sum / weight / std::f64::consts::LN_2,
            _ => (-sum / weight).exp(),
        })
    };
    stats::percentile_interval(stats::bootstrap(groups.len(), DRAWS, 0, statistic)?, ALPHA)
}
