//! Corpus BLEU as sacreBLEU computes it: tokeniser 13a, exponential smoothing, n-grams up to four words.

use std::collections::HashMap;

use crate::eval::python::strings::{is_space, words};

/// Longest n-gram.
const ORDER: usize = 4;
/// Numbers per text: its length, the reference's, and hits and n-grams of each order.
pub(crate) const STATISTICS: usize = 2 + 2 * ORDER;

/// What one text adds to the corpus; sums over texts give the score.
pub(crate) fn statistics(references: &[String], prediction: &str) -> [f64; STATISTICS] {
    let prediction = tokenize(prediction);
    let tokens: Vec<&str> = words(&prediction).collect();
    let references: Vec<String> = references.iter().map(|reference| tokenize(reference)).collect();
    let references: Vec<Vec<&str>> = references.iter().map(|reference| words(reference).collect()).collect();
    let lengths = references.iter().map(Vec::len);
    let closest = lengths.min_by_key(|length| (length.abs_diff(tokens.len()), *length)).unwrap_or(0);

    let mut out = [0.0; STATISTICS];
    out[0] = tokens.len() as f64;
    out[1] = closest as f64;
    for order in 1..=ORDER {
        let mut wanted: HashMap<&[&str], usize> = HashMap::new();
        for reference in &references {
            for (ngram, count) in ngrams(reference, order) {
                let most = wanted.entry(ngram).or_default();
                *most = count.max(*most);
            }
        }
        for (ngram, count) in ngrams(&tokens, order) {
            out[1 + order] += count.min(wanted.get(ngram).copied().unwrap_or(0)) as f64;
            out[1 + ORDER + order] += count as f64;
        }
    }
    out
}

/// The score from 0 to 100 (Papineni et al. 2002; smoothing 3 of Chen and Cherry 2014).
pub(crate) fn score(sums: &[f64]) -> f64 {
    let (length, wanted) = (sums[0], sums[1]);
    let (hits, totals) = (&sums[2..2 + ORDER], &sums[2 + ORDER..]);
    if hits.iter().all(|hits| *hits == 0.0) {
        return 0.0;
    }
    let brevity = match length < wanted {
        true if length > 0.0 => (1.0 - wanted / length).exp(),
        true => 0.0,
        false => 1.0,
    };
    let mut precisions = [0.0; ORDER];
    let mut smoothing = 1.0;
    for (precision, (hits, total)) in precisions.iter_mut().zip(hits.iter().zip(totals)) {
        if *total == 0.0 {
            break;
        }
        *precision = if *hits == 0.0 {
            smoothing *= 2.0;
            100.0 / (smoothing * total)
        } else {
            100.0 * hits / total
        };
    }
    // sacreBLEU's logarithm of nothing.
    let log = |precision: &f64| if *precision == 0.0 { -9_999_999_999.0 } else { precision.ln() };
    brevity * (precisions.iter().map(log).sum::<f64>() / ORDER as f64).exp()
}

fn ngrams<'a, 't>(tokens: &'a [&'t str], order: usize) -> HashMap<&'a [&'t str], usize> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// Tokeniser 13a of mteval: words apart from punctuation, by spaces.
fn tokenize(text: &str) -> String {
    let mut text = text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if text.contains('&') {
        text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    }
    let mut spaced = String::with_capacity(text.len() + 2);
    for c in format!(" {text} ").chars() {
        match c {
            ' '..='&' | '('..='+' | ':'..='@' | '/' | '['..='`' | '{'..='~' => spaced.extend([' ', c, ' ']),
            _ => spaced.push(c),
        }
    }
    // A full stop or comma stays with digits around it; a dash goes from the digit before it.
    let is_point = |c: char| matches!(c, '.' | ',');
    let spaced = split_pairs(&spaced, |a, b| !a.is_ascii_digit() && is_point(b), |a, b| [a, ' ', b, ' ']);
    let spaced = split_pairs(&spaced, |a, b| is_point(a) && !b.is_ascii_digit(), |a, b| [' ', a, ' ', b]);
    split_pairs(&spaced, |a, b| a.is_ascii_digit() && b == '-', |a, b| [a, ' ', b, ' '])
}

/// Python's `re.sub` of a pattern of two characters.
fn split_pairs(text: &str, matches: impl Fn(char, char) -> bool, spaced: impl Fn(char, char) -> [char; 4]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.next_if(|b| matches(a, *b)) {
            Some(b) => out.extend(spaced(a, b)),
            None => out.push(a),
        }
    }
    out
}
