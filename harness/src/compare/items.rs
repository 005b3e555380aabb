//! The items that two results share.

use std::collections::{BTreeMap, BTreeSet};

use super::Item;
use crate::stats::Sums;

/// Items in both, in a fixed order.
pub(super) struct Matched<const N: usize> {
    pub a: Vec<Sums<N>>,
    pub b: Vec<Sums<N>>,
    /// The cluster of each item, numbered, where every item has one.
    pub clusters: Option<Vec<usize>>,
    /// Items in A alone, and in B alone.
    pub unmatched: (usize, usize),
    /// Items whose prompts differ.
    pub other_prompts: usize,
}

impl<const N: usize> Matched<N> {
    pub fn of(a: &[Item], b: &[Item]) -> Self {
        let others: BTreeMap<&str, &Item> = b.iter().map(|item| (item.key.as_str(), item)).collect();
        let pairs: BTreeMap<&str, (&Item, &Item)> =
            a.iter().filter_map(|item| Some((item.key.as_str(), (item, *others.get(item.key.as_str())?)))).collect();
        let pairs: Vec<(&Item, &Item)> = pairs.into_values().collect();
        // Fewer sums than there is room for are as if the others were zero.
        let sums = |item: &Item| std::array::from_fn(|i| item.sums.get(i).copied().unwrap_or(0.0));
        Matched {
            a: pairs.iter().map(|(item, _)| sums(item)).collect(),
            b: pairs.iter().map(|(_, item)| sums(item)).collect(),
            clusters: clusters(pairs.iter().map(|(item, _)| *item)),
            unmatched: (a.len() - pairs.len(), b.len() - pairs.len()),
            other_prompts: pairs.iter().filter(|(a, b)| a.prompt != b.prompt).count(),
        }
    }

    pub fn n(&self) -> usize {
        self.a.len()
    }

    /// The sums of each group of A and B: of each cluster, or of each item.
    pub fn groups(&self) -> (Vec<Sums<N>>, Vec<Sums<N>>) {
        let Some(clusters) = &self.clusters else { return (self.a.clone(), self.b.clone()) };
        let count = clusters.iter().max().map_or(0, |last| last + 1);
        let grouped = |items: &[Sums<N>]| {
            let mut groups = vec![[0.0; N]; count];
            for (sums, cluster) in items.iter().zip(clusters) {
                groups[*cluster].iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
            }
            groups
        };
        (grouped(&self.a), grouped(&self.b))
    }
}

/// The number of each item's cluster, where every item has one.
pub(super) fn clusters<'a>(items: impl Iterator<Item = &'a Item>) -> Option<Vec<usize>> {
    let names: Vec<&String> = items.map(|item| item.cluster.as_ref()).collect::<Option<_>>()?;
    let numbers: BTreeSet<&String> = names.iter().copied().collect();
    let numbers: BTreeMap<&String, usize> = numbers.into_iter().zip(0..).collect();
    (!names.is_empty()).then(|| names.iter().map(|name| numbers[name]).collect())
}
