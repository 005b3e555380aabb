//! chrF and chrF++ as sacreBLEU computes them: F scores of character n-grams, and of words and pairs of words.

use std::{collections::HashMap, hash::Hash};

use crate::eval::python::strings::{is_space, words};

/// Longest n-gram of characters.
const CHARACTERS: usize = 6;
/// Longest n-gram of words in chrF++.
pub(crate) const WORDS: usize = 2;
/// Recall counts twice as much as precision.
const BETA_SQUARED: f64 = 4.0;

/// Numbers per text: n-grams written, wanted and hit for each order.
pub(crate) const fn width(word_order: usize) -> usize {
    3 * (CHARACTERS + word_order)
}

/// What one text adds to the corpus: the counts against the reference that it scores best on.
pub(crate) fn statistics(references: &[String], prediction: &str, word_order: usize) -> Vec<f64> {
    let counts = references.iter().map(|reference| against(reference, prediction, word_order));
    let scored = counts.map(|counts| (score(&counts), counts));
    // The first of several that are equally good.
    let best = scored.reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.map_or_else(|| vec![0.0; width(word_order)], |(_, counts)| counts)
}

fn against(reference: &str, prediction: &str, word_order: usize) -> Vec<f64> {
    let characters = |text: &str| -> Vec<char> { text.chars().filter(|c| !is_space(*c)).collect() };
    let (wanted, written) = (characters(reference), characters(prediction));
    let mut out: Vec<f64> = (1..=CHARACTERS).flat_map(|order| matches(&wanted, &written, order)).collect();
    let (wanted, written) = (split_words(reference), split_words(prediction));
    out.extend((1..=word_order).flat_map(|order| matches(&wanted, &written, order)));
    out
}

/// N-grams written, wanted and hit; none count as written where none is wanted.
fn matches<T: Hash + Eq>(wanted: &[T], written: &[T], order: usize) -> [f64; 3] {
    let mut counts: HashMap<&[T], usize> = HashMap::new();
    for ngram in wanted.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    let total = |tokens: &[T]| (tokens.len() + 1).saturating_sub(order) as f64;
    if counts.is_empty() {
        return [0.0; 3];
    }
    let mut hits = 0.0;
    for ngram in written.windows(order) {
        if let Some(left) = counts.get_mut(ngram).filter(|left| **left > 0) {
            *left -= 1;
            hits += 1.0;
        }
    }
    [total(written), total(wanted), hits]
}

/// The score from 0 to 100 (Popović 2015), the mean over the orders that occur on both sides.
pub(crate) fn score(sums: &[f64]) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for counts in sums.chunks_exact(3) {
        let (written, wanted, hits) = (counts[0], counts[1], counts[2]);
        if written > 0.0 && wanted > 0.0 {
            precision += hits / written;
            recall += hits / wanted;
            orders += 1.0;
        }
    }
    if orders == 0.0 || precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    100.0 * ((1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall))
}

/// Words, with a punctuation mark at the end, or else at the beginning, as a word of its own.
fn split_words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for word in words(text) {
        let mut chars = word.chars();
        let (first, last) = (chars.next(), chars.next_back());
        match (first, last) {
            (Some(_), Some(last)) if last.is_ascii_punctuation() => {
                out.extend([&word[..word.len() - 1], &word[word.len() - 1..]])
            }
            (Some(first), Some(_)) if first.is_ascii_punctuation() => out.extend([&word[..1], &word[1..]]),
            _ => out.push(word),
        }
    }
    out
}
