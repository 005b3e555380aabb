//! What the examples are like, measured once by the worker.

use std::collections::{BTreeMap, BTreeSet};

use tunesmith_harness::{recipe::Example, seal::near_repeats};

use super::{
    Quality,
    clean::{asked, normal},
};
use crate::encode::Encoder;

/// The figures of the two parts, as they are written.
pub(super) fn of(train: &[Example], valid: &[Example], encoder: &Encoder) -> anyhow::Result<Quality> {
    let texts: Vec<&str> = train.iter().chain(valid).map(asked).collect();
    let (nearly_leaked, near_duplicates) = near_repeats(&texts, train.len());
    let trained: BTreeSet<String> = train.iter().map(normal).collect();
    let leaked = valid.iter().filter(|example| trained.contains(&normal(example))).count();
    let stops = encoder.stops();
    let (mut untrained, mut endless) = (0, 0);
    for example in train.iter().chain(valid) {
        let ids = encoder.answer(&example.completion)?;
        let ends = ids.last().is_some_and(|id| stops.contains(id));
        endless += usize::from(!ends);
        untrained += usize::from(ids.len() <= usize::from(ends));
    }
    let (largest_label, label_entropy) = balance(train).unzip();
    Ok(Quality { near_duplicates, leaked, nearly_leaked, untrained, endless, largest_label, label_entropy })
}

/// The share of the most frequent label, and Shannon's entropy `-sum p log p` over its greatest value, `log n`.
fn balance(examples: &[Example]) -> Option<(f64, f64)> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    examples.iter().filter_map(|example| example.label).for_each(|label| *counts.entry(label).or_default() += 1);
    let all = counts.values().sum::<usize>() as f64;
    let shares: Vec<f64> = counts.values().map(|count| *count as f64 / all).collect();
    let largest = shares.iter().copied().reduce(f64::max)?;
    let entropy: f64 = shares.iter().map(|share| -share * share.ln()).sum();
    let most = (shares.len() as f64).ln();
    Some((largest, if most > 0.0 { entropy / most } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use tunesmith_harness::model::Message;

    use super::*;

    fn labelled(labels: &[usize]) -> Vec<Example> {
        let example = |label: &usize| Example {
            prompt: vec![Message::user("a")],
            completion: label.to_string(),
            label: Some(*label),
        };
        labels.iter().map(example).collect()
    }

    #[test]
    fn balance_is_whole_where_labels_are_even_and_none_where_there_is_one() {
        assert_eq!(balance(&labelled(&[0, 1, 0, 1])), Some((0.5, 1.0)));
        assert_eq!(balance(&labelled(&[3, 3])), Some((1.0, 0.0)));
        assert_eq!(balance(&[]), None);
    }
}
