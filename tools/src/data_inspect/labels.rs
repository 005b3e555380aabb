//! What is wrong with labels.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use tunesmith_harness::baselines::NaiveBayes;

use super::{
    draw::Drawn,
    output::{Example, LabelCount, Labels, Proposal},
    text::{cell, example, plain},
};

/// A label with fewer rows is rare.
const RARE: usize = 10;
/// Labels that are listed.
const LISTED: usize = 100;
/// Groups of examples that are shown, and rows of each.
const SHOWN: (usize, usize) = (5, 3);
/// Parts of the rows, each of which is judged by what was learned from the others.
const FOLDS: usize = 5;
/// Rows that are judged, and characters of each.
const JUDGED: (usize, usize) = (20_000, 2_000);
/// Words times labels that are learned: so many numbers are held.
const NUMBERS: usize = 1 << 23;
/// Fewest rows that are judged, and fewest of a label for it to be suggested instead of another.
const FEWEST: (usize, usize) = (50, 5);
/// How sure the judge must be of another label at least, and how little it may think of the given one.
const SURE: (f64, f64) = (0.9, 0.05);

/// A row of the sample with its input and its label.
struct Pair<'a> {
    drawn: &'a Drawn,
    at: usize,
    input: String,
    label: String,
}

/// Looks at the labels that a proposal names; `counts` are those of all rows, `near` groups of the sample.
pub(super) fn look(
    proposal: &Proposal,
    counts: Vec<LabelCount>,
    sample: &[Drawn],
    near: &[Vec<usize>],
    names: &[String],
) -> Labels {
    let pair = |(at, drawn): (usize, &'_ Drawn)| {
        let (input, label) = (cell(&drawn.row, &proposal.input)?, cell(&drawn.row, &proposal.target)?);
        Some(Pair { at, input: input.into_owned(), label: label.into_owned(), drawn: &sample[at] })
    };
    let pairs: Vec<Pair<'_>> = sample.iter().enumerate().filter_map(pair).collect();
    let shown = |pair: &Pair<'_>| Example {
        label: Some(crate::files::cut(&pair.label, 80)),
        ..example(pair.drawn, &pair.input, names)
    };
    let (contradicting, contradicting_examples) = by_input(&pairs, &shown);
    let (near, near_examples) = alike(&pairs, near, &shown);
    let doubts = doubts(&pairs);
    let mut found = Labels {
        target: proposal.target.clone(),
        input: proposal.input.clone(),
        count: counts.len(),
        balance: [counts.first(), counts.last()].map(|label| label.map_or(0, |label| label.rows)),
        rare: counts.iter().filter(|label| label.rows < RARE).count(),
        variants: variants(&counts),
        contradicting,
        contradicting_examples,
        near,
        near_examples,
        suspicious: doubts.as_ref().map_or(0, |(doubts, _)| doubts.len()),
        suspicious_of: doubts.as_ref().map_or(0, |(_, of)| *of),
        suspicious_examples: Vec::new(),
        counts,
    };
    for doubt in doubts.iter().flat_map(|(doubts, _)| doubts).take(2 * SHOWN.0) {
        let rather = Some(crate::files::cut(&doubt.rather, 80));
        found.suspicious_examples.push(Example { rather, ..shown(&pairs[doubt.at]) });
    }
    found.counts.truncate(LISTED);
    found
}

/// Labels that are the same words.
fn variants(counts: &[LabelCount]) -> Vec<Vec<LabelCount>> {
    let mut same: BTreeMap<String, Vec<LabelCount>> = BTreeMap::new();
    for label in counts {
        let words: String = plain(&label.label).split(' ').collect();
        same.entry(words).or_default().push(label.clone());
    }
    let mut groups: Vec<Vec<LabelCount>> = same.into_values().filter(|labels| labels.len() > 1).collect();
    groups.truncate(4 * SHOWN.0);
    groups
}

/// Rows whose input another row has with another label.
fn by_input(pairs: &[Pair<'_>], shown: &dyn Fn(&Pair<'_>) -> Example) -> (usize, Vec<Vec<Example>>) {
    let mut same: BTreeMap<String, Vec<&Pair<'_>>> = BTreeMap::new();
    pairs.iter().for_each(|pair| same.entry(plain(&pair.input)).or_default().push(pair));
    disagreeing(same.into_values(), shown)
}

/// Rows that are nearly another one with another label, but not the same.
fn alike(pairs: &[Pair<'_>], near: &[Vec<usize>], shown: &dyn Fn(&Pair<'_>) -> Example) -> (usize, Vec<Vec<Example>>) {
    let places: BTreeMap<usize, &Pair<'_>> = pairs.iter().map(|pair| (pair.at, pair)).collect();
    let groups = near.iter().map(|group| group.iter().filter_map(|at| places.get(at).copied()).collect::<Vec<_>>());
    let differ =
        |group: &Vec<&Pair<'_>>| group.iter().map(|pair| plain(&pair.input)).collect::<BTreeSet<_>>().len() > 1;
    disagreeing(groups.filter(differ), shown)
}

/// The rows of groups with more than one label, and some of them: of each label the first.
fn disagreeing<'a>(
    groups: impl Iterator<Item = Vec<&'a Pair<'a>>>,
    shown: &dyn Fn(&Pair<'_>) -> Example,
) -> (usize, Vec<Vec<Example>>) {
    let (mut rows, mut examples) = (0, Vec::new());
    for group in groups {
        let mut labels: BTreeMap<&str, &Pair<'_>> = BTreeMap::new();
        for pair in &group {
            labels.entry(&pair.label).or_insert(pair);
        }
        if labels.len() > 1 {
            rows += group.len();
            if examples.len() < SHOWN.0 {
                examples.push(labels.values().take(SHOWN.1).map(|pair| shown(pair)).collect());
            }
        }
    }
    (rows, examples)
}

/// A row whose label is doubted.
struct Doubt {
    at: usize,
    rather: String,
    margin: f64,
}

/// Rows whose label is denied by naive Bayes trained on the other folds, the clearest first, and how many were judged.
///
/// Confident learning (C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
/// labels", JAIR 70, 2021): another label counts if its probability is at least the mean of those that rows of that label
/// get for it, so that a judge that is always sure accuses no one by it alone.
fn doubts(pairs: &[Pair<'_>]) -> Option<(Vec<Doubt>, usize)> {
    let mut labels: Vec<&str> = pairs.iter().map(|pair| pair.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let mut words = 0;
    let fitting = |pair: &&Pair<'_>| {
        words += pair.input.chars().take(JUDGED.1).filter(|c| c.is_whitespace()).count() + 1;
        words * labels.len() <= NUMBERS
    };
    let judged = pairs.iter().take(JUDGED.0).take_while(fitting).count();
    if labels.len() < 2 || judged < FEWEST.0 {
        return None;
    }
    let texts: Vec<String> = pairs[..judged].iter().map(|pair| pair.input.chars().take(JUDGED.1).collect()).collect();
    let label_of = |pair: &Pair<'_>| labels.binary_search(&pair.label.as_str()).unwrap_or_default();
    let rows: Vec<(&str, usize)> = texts.iter().map(String::as_str).zip(pairs.iter().map(label_of)).collect();
    let mut chances: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    for fold in 0..FOLDS {
        // The sample is in the order of hashes, so that every fifth row is a fair part.
        let others: Vec<(&str, usize)> =
            rows.iter().enumerate().filter(|(at, _)| at % FOLDS != fold).map(|(_, row)| *row).collect();
        let judge = NaiveBayes::fit(labels.len(), &others);
        let own: Vec<(usize, Vec<f64>)> =
            (fold..rows.len()).into_par_iter().step_by(FOLDS).map(|at| (at, judge.probabilities(rows[at].0))).collect();
        own.into_iter().for_each(|(at, chance)| chances[at] = chance);
    }
    let (mut sums, mut counts) = (vec![0.0; labels.len()], vec![0usize; labels.len()]);
    for ((_, label), chance) in rows.iter().zip(&chances) {
        sums[*label] += chance[*label];
        counts[*label] += 1;
    }
    let doubt = |(at, ((_, given), chance)): (usize, (&(&str, usize), &Vec<f64>))| {
        let sure = |label: usize| chance[label] >= (sums[label] / counts[label] as f64).max(SURE.0);
        let others = (0..labels.len()).filter(|label| label != given && counts[*label] >= FEWEST.1 && sure(*label));
        let rather = others.max_by(|a, b| chance[*a].total_cmp(&chance[*b]))?;
        let margin = chance[rather] - chance[*given];
        (chance[*given] <= SURE.1).then(|| Doubt { at, rather: labels[rather].to_owned(), margin })
    };
    let mut doubts: Vec<Doubt> = rows.iter().zip(&chances).enumerate().filter_map(doubt).collect();
    doubts.sort_by(|a, b| b.margin.total_cmp(&a.margin).then(a.at.cmp(&b.at)));
    Some((doubts, judged))
}
