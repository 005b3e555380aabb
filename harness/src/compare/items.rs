//! The items that two results share.

use std::collections::{BTreeMap, BTreeSet};

use super::Item;
use crate::stats::Sums;

/// Items in both, in a fixed order.
pub(super) struct Matched {
    pub a: Vec<Sums>,
    pub b: Vec<Sums>,
    /// The cluster of each item, numbered, where every item has one.
    pub clusters: Option<Vec<usize>>,
    /// Items in A alone, and in B alone.
    pub unmatched: (usize, usize),
    /// Items whose prompts differ.
    pub other_prompts: usize,
}

impl Matched {
    pub fn of(a: &[Item], b: &[Item]) -> Matched {
        let others: BTreeMap<&str, &Item> = b.iter().map(|item| (item.key.as_str(), item)).collect();
        let pairs: BTreeMap<&str, (&Item, &Item)> =
            a.iter().filter_map(|item| Some((item.key.as_str(), (item, *others.get(item.key.as_str())?)))).collect();
        let pairs: Vec<(&Item, &Item)> = pairs.into_values().collect();
        let names: Option<Vec<&String>> = pairs.iter().map(|(item, _)| item.cluster.as_ref()).collect();
        let clusters = names.filter(|names| !names.is_empty()).map(|names| {
            let numbers: BTreeSet<&String> = names.iter().copied().collect();
            let numbers: BTreeMap<&String, usize> = numbers.into_iter().zip(0..).collect();
            names.iter().map(|name| numbers[name]).collect()
        });
        Matched {
            a: pairs.iter().map(|(item, _)| item.sums).collect(),
            b: pairs.iter().map(|(_, item)| item.sums).collect(),
            clusters,
            unmatched: (a.len() - pairs.len(), b.len() - pairs.len()),
            other_prompts: pairs.iter().filter(|(a, b)| a.prompt != b.prompt).count(),
        }
    }

    pub fn n(&self) -> usize {
        self.a.len()
    }

    /// The sums of each group of A and B: of each cluster, or of each item.
    pub fn groups(&self) -> (Vec<Sums>, Vec<Sums>) {
        let Some(clusters) = &self.clusters else { return (self.a.clone(), self.b.clone()) };
        let count = clusters.iter().max().map_or(0, |last| last + 1);
        let grouped = |items: &[Sums]| {
            let mut groups = vec![[0.0; 4]; count];
            for (sums, cluster) in items.iter().zip(clusters) {
                groups[*cluster].iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
            }
            groups
        };
        (grouped(&self.a), grouped(&self.b))
    }
}
