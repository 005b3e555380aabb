//! Texts that nearly repeat each other.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use tunesmith_harness::near::{Jaccard, Near as Index};

use super::{
    draw::Drawn,
    output::Near,
    text::{example, plain, said_in},
};

/// From this likeness on two texts nearly repeat each other.
const LIKENESS: f64 = 0.8;
/// Texts are compared by so many of their characters.
const CHARACTERS: usize = 2_000;
/// Groups that are shown, and texts of each.
const SHOWN: (usize, usize) = (5, 3);

/// The groups of rows whose texts in `columns` nearly repeat the first of the group: places in the sample.
pub(super) fn groups(sample: &[Drawn], columns: &[String], seed: u64) -> Vec<Vec<usize>> {
    let text = |drawn: &Drawn| said_in(&drawn.row, columns).chars().take(CHARACTERS).collect();
    let texts: Vec<String> = sample.par_iter().map(text).collect();
    // An empty text is like nothing.
    let filled: Vec<usize> = (0..texts.len()).filter(|&at| !texts[at].trim().is_empty()).collect();
    let texts: Vec<&str> = filled.iter().map(|&at| texts[at].as_str()).collect();
    let Some(likeness) = Jaccard::new(LIKENESS) else { return Vec::new() };
    let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, first) in Index::new(likeness, seed).add_all(&texts).into_iter().enumerate() {
        if let Some(first) = first {
            alike.entry(first).or_insert_with(|| vec![filled[first]]).push(filled[at]);
        }
    }
    let mut groups: Vec<Vec<usize>> = alike.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group.first().copied()));
    groups
}

/// What is said of the groups.
pub(super) fn summary(groups: &[Vec<usize>], sample: &[Drawn], columns: &[String], names: &[String]) -> Near {
    let shown = |at: &usize| example(&sample[*at], &said_in(&sample[*at].row, columns), names);
    let examples = groups.iter().take(SHOWN.0).map(|group| group.iter().take(SHOWN.1).map(shown).collect());
    // All of one text's words are in one group.
    let different = |group: &Vec<usize>| {
        group.iter().map(|at| plain(&said_in(&sample[*at].row, columns))).collect::<BTreeSet<_>>().len()
    };
    Near {
        same_words: groups.iter().map(|group| group.len() - different(group)).sum(),
        columns: columns.to_vec(),
        of: sample.len(),
        groups: groups.len(),
        rows: groups.iter().map(|group| group.len() - 1).sum(),
        largest: groups.first().map_or(0, Vec::len),
        examples: examples.collect(),
    }
}
