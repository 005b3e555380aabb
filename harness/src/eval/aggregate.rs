//! One number with its standard error from the values of all rows, as lm-eval reports it.

mod bootstrap;
mod group;

use serde::{Deserialize, Serialize};

use super::{
    metrics::{
        Aggregation, Item, Metric, bleu, chrf,
        classify::{brier, f1, matthews},
        ter,
    },
    refusal::Refusal,
};
use bootstrap::{Cells, Statistic, Sums};
pub use group::{GroupMetric, TaskScores, aggregate_group};

/// What a metric behind a filter pipeline came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Name of the pipeline, `none` for the default.
    pub filter: String,
    /// Name of the metric.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// lm-eval's standard error; `None` is its `N/A`.
    pub stderr: Option<f64>,
    /// Number of values.
    pub n: usize,
    /// Whether a higher value is a better one, where somebody says.
    pub higher_is_better: Option<bool>,
}

/// How standard errors are estimated where there is no formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples; 0 leaves out all standard errors, as in lm-eval.
    pub iterations: usize,
    /// Threads that share the work; the result does not depend on them.
    pub threads: usize,
}

impl Bootstrap {
    /// lm-eval's number of resamples.
    pub const ITERATIONS: usize = 100_000;
    /// Most resamples that are drawn: all of them are held in memory.
    pub const MOST: usize = 10_000_000;
    /// Most resamples for metrics of translations.
    const FOR_TRANSLATIONS: usize = 100;

    fn iterations_for(self, metric: &str) -> usize {
        match metric {
            "bleu" | "chrf" | "chrf++" | "ter" => self.iterations.min(Self::FOR_TRANSLATIONS),
            _ => self.iterations,
        }
    }
}

/// Puts the values of a metric behind a pipeline together.
pub fn aggregate(metric: &Metric, filter: &str, items: &[Item], bootstrap: Bootstrap) -> Result<Score, Refusal> {
    if items.is_empty() {
        return Err(Refusal::values(format!("metric `{}` has no values", metric.name)));
    }
    let iterations = bootstrap.iterations_for(&metric.name);
    let resampled = |statistic: &dyn Statistic| {
        let wanted = iterations > 0 && items.len() > 1;
        wanted.then(|| sample_stddev(&bootstrap::resample(statistic, iterations, bootstrap.threads)))
    };
    let (value, stderr) = match statistic(metric, items)? {
        Some(statistic) => (statistic.whole(), resampled(&*statistic)),
        None => {
            let value = closed(metric, items)?;
            let formula = metric.aggregation == Aggregation::Mean && iterations > 0 && items.len() > 1;
            let stderr = if formula { Some(mean_stderr(&numbers(metric, items)?)) } else { None };
            (value, stderr)
        }
    };
    Ok(Score {
        filter: filter.into(),
        metric: metric.name.clone(),
        value,
        stderr,
        n: items.len(),
        higher_is_better: metric.higher_is_better,
    })
}

/// The aggregations that lm-eval resamples.
fn statistic(metric: &Metric, items: &[Item]) -> Result<Option<Box<dyn Statistic>>, Refusal> {
    let n = items.len() as f64;
    Ok(Some(match metric.aggregation {
        Aggregation::Median => Box::new(median(metric, items)?),
        Aggregation::MatthewsCorrcoef => Box::new(matthews_cells(metric, items)?),
        Aggregation::F1 => Box::new(f1_cells(metric, items)?),
        Aggregation::Perplexity => {
            let rows = numbers(metric, items)?;
            Box::new(Sums { rows, width: 1, value: Box::new(move |sums| (-(sums[0] / n)).exp()) })
        }
        Aggregation::Nanmean => {
            let row = |x: f64| if x.is_nan() { [0.0, 0.0] } else { [x, 1.0] };
            let rows = numbers(metric, items)?.into_iter().flat_map(row).collect();
            Box::new(Sums { rows, width: 2, value: Box::new(|sums| sums[0] / sums[1]) })
        }
        Aggregation::Bleu => {
            let rows = per_text(metric, items, |wanted, text| Ok(bleu::statistics(wanted, text).to_vec()))?;
            Box::new(Sums { rows, width: bleu::STATISTICS, value: Box::new(bleu::score) })
        }
        Aggregation::Chrf | Aggregation::ChrfPlusPlus => {
            let words = if metric.aggregation == Aggregation::Chrf { 0 } else { chrf::WORDS };
            let rows = per_text(metric, items, |wanted, text| Ok(chrf::statistics(wanted, text, words)))?;
            Box::new(Sums { rows, width: chrf::width(words), value: Box::new(chrf::score) })
        }
        Aggregation::Ter => {
            let rows = per_text(metric, items, |wanted, text| Ok(ter::statistics(wanted, text)?.to_vec()))?;
            Box::new(Sums { rows, width: 2, value: Box::new(ter::score) })
        }
        _ => return Ok(None),
    }))
}

/// The aggregations that it does not.
fn closed(metric: &Metric, items: &[Item]) -> Result<f64, Refusal> {
    let mean = |values: &[f64]| sum(values) / values.len() as f64;
    match metric.aggregation {
        Aggregation::Bypass => Ok(999.0),
        Aggregation::WeightedPerplexity => Ok((-weighted_mean(metric, items)?).exp()),
        Aggregation::BitsPerByte => Ok(-weighted_mean(metric, items)? / std::f64::consts::LN_2),
        Aggregation::Truths => Ok(mean(&truths(metric, items)?)),
        Aggregation::BrierScore => Ok(mean(&brier_distances(metric, items)?)),
        _ => Ok(mean(&numbers(metric, items)?)),
    }
}

/// Python's `sum`: one after the other. The order of additions is part of the result.
fn sum(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, value| sum + value)
}

fn sample_stddev(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = sum(values) / n;
    let squares: Vec<f64> = values.iter().map(|x| (x - mean).powi(2)).collect();
    (sum(&squares) / (n - 1.0)).sqrt()
}

fn mean_stderr(values: &[f64]) -> f64 {
    sample_stddev(values) / (values.len() as f64).sqrt()
}

fn other_items(metric: &Metric, expected: &str) -> Refusal {
    let aggregation = metric.aggregation.name();
    Refusal::values(format!("metric `{}`: the aggregation `{aggregation}` needs {expected}", metric.name))
}

fn numbers(metric: &Metric, items: &[Item]) -> Result<Vec<f64>, Refusal> {
    let number = |item: &Item| match item {
        Item::Number(x) => Ok(*x),
        _ => Err(other_items(metric, "a number per row")),
    };
    items.iter().map(number).collect()
}

/// What is true of all rows; there must be something.
fn truths(metric: &Metric, items: &[Item]) -> Result<Vec<f64>, Refusal> {
    let mut all = Vec::new();
    for item in items {
        let Item::Truths(truths) = item else { return Err(other_items(metric, "truth values")) };
        all.extend(truths.iter().map(|truth| f64::from(u8::from(*truth))));
    }
    if all.is_empty() { Err(other_items(metric, "at least one instruction")) } else { Ok(all) }
}

fn weighted_mean(metric: &Metric, items: &[Item]) -> Result<f64, Refusal> {
    let (mut values, mut weights) = (0.0, 0);
    for item in items {
        let Item::Weighted(value, weight) = item else {
            return Err(other_items(metric, "a sum and a weight per row"));
        };
        values += value;
        weights += weight;
    }
    match weights {
        0 => Err(other_items(metric, "texts that are not empty")),
        _ => Ok(values / weights as f64),
    }
}

pub(super) fn brier_distances(metric: &Metric, items: &[Item]) -> Result<Vec<f64>, Refusal> {
    let mut labels = None;
    let distance = |item: &Item| match item {
        Item::Probabilities(gold, probabilities)
            if *labels.get_or_insert(probabilities.len()) == probabilities.len() =>
        {
            let gold = if *gold < 0 { gold + probabilities.len() as i64 } else { *gold };
            let gold = usize::try_from(gold).ok().filter(|gold| *gold < probabilities.len());
            let gold = gold.ok_or_else(|| other_items(metric, "a right choice in every row"))?;
            Ok(brier(gold, probabilities))
        }
        _ => Err(other_items(metric, "the same number of choices in every row")),
    };
    items.iter().map(distance).collect()
}

fn labels(metric: &Metric, items: &[Item]) -> Result<Vec<(i64, i64)>, Refusal> {
    let pair = |item: &Item| match item {
        Item::Labels(gold, pred) => Ok((*gold, *pred)),
        _ => Err(other_items(metric, "labels")),
    };
    items.iter().map(pair).collect()
}

/// For each value its place among the different ones, and those in order.
fn distinct<T: Copy>(values: &[T], order: impl Fn(&T, &T) -> std::cmp::Ordering) -> (Vec<u32>, Vec<T>) {
    let mut sorted = values.to_vec();
    sorted.sort_by(&order);
    sorted.dedup_by(|a, b| order(a, b).is_eq());
    let place = |value: &T| sorted.partition_point(|other| order(other, value).is_lt()) as u32;
    (values.iter().map(place).collect(), sorted)
}

fn median(metric: &Metric, items: &[Item]) -> Result<Cells, Refusal> {
    let values = numbers(metric, items)?;
    if values.iter().any(|value| value.is_nan()) {
        return Err(other_items(metric, "numbers, of which NaN is none"));
    }
    let (of, sorted) = distinct(&values, f64::total_cmp);
    let middle = values.len() as u64 / 2;
    let value = move |counts: &[u64]| {
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += count;
            below > middle
        });
        at.map_or(f64::NAN, |at| sorted[at])
    };
    Ok(Cells { of, value: Box::new(value) })
}

fn matthews_cells(metric: &Metric, items: &[Item]) -> Result<Cells, Refusal> {
    let pairs = labels(metric, items)?;
    let (of, cells) = distinct(&pairs, Ord::cmp);
    let all: Vec<i64> = cells.iter().flat_map(|(gold, pred)| [*gold, *pred]).collect();
    let (places, names) = distinct(&all, Ord::cmp);
    let value = move |counts: &[u64]| {
        let cells = places.chunks_exact(2).zip(counts);
        matthews(cells.map(|(cell, n)| (cell[0] as usize, cell[1] as usize, *n)), names.len())
    };
    Ok(Cells { of, value: Box::new(value) })
}

/// Refuses the labels that scikit-learn's binary F1 refuses.
fn f1_cells(metric: &Metric, items: &[Item]) -> Result<Cells, Refusal> {
    let pairs = labels(metric, items)?;
    let (of, cells) = distinct(&pairs, Ord::cmp);
    let all: Vec<i64> = cells.iter().flat_map(|(gold, pred)| [*gold, *pred]).collect();
    let (_, names) = distinct(&all, Ord::cmp);
    if names.len() > 2 || (names.len() == 2 && !names.contains(&1)) {
        return Err(other_items(metric, "two choices, and a right one in every row"));
    }
    let value = move |counts: &[u64]| {
        let counted: Vec<_> = cells.iter().zip(counts).map(|((gold, pred), n)| (*gold, *pred, *n)).collect();
        f1(&counted)
    };
    Ok(Cells { of, value: Box::new(value) })
}

/// The statistics of all texts one after the other.
///
/// Where numbers of references differ, lm-eval uses as many as the row with the fewest has, of those in a resample.
fn per_text(
    metric: &Metric,
    items: &[Item],
    statistics: impl Fn(&[String], &str) -> Result<Vec<f64>, Refusal>,
) -> Result<Vec<f64>, Refusal> {
    let mut rows = Vec::new();
    let mut references = None;
    for item in items {
        let (wanted, text) = match item {
            Item::Texts(wanted, text) => (std::slice::from_ref(wanted), text),
            Item::References(wanted, text) => (wanted.as_slice(), text),
            _ => return Err(other_items(metric, "texts")),
        };
        if wanted.is_empty() || *references.get_or_insert(wanted.len()) != wanted.len() {
            return Err(other_items(metric, "the same number of right answers in every row"));
        }
        rows.extend(statistics(wanted, text)?);
    }
    Ok(rows)
}
