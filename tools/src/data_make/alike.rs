//! Whether a row is too like what is there already: rows made so far, seed rows, and rows of evaluations.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use tunesmith_harness::recipe::Row;

/// Characters of one run.
const RUN: usize = 5;
/// Words that in a row must not stand in rows to avoid as well, as in GPT-3's decontamination (Brown et al., 2020,
/// appendix C).
const WORDS: usize = 13;
/// Fewest words that count as a copy where the avoided text has no more.
const FEWEST: usize = 6;
/// Rows and bands of the MinHash table: of two texts that share 80 % of their runs, 99.7 % meet in a band.
const BANDS: usize = 20;
const ROWS: usize = 6;

/// Likeness to a row to avoid that is too much.
const AVOIDED: f64 = 0.8;

/// Everything that made rows are held against.
pub struct Index {
    columns: Vec<String>,
    made: Near,
    avoided: Near,
    /// Runs of words of rows to avoid, by their length.
    words: BTreeMap<usize, HashSet<u64>>,
}

/// Texts, and which of them may be alike.
struct Near {
    likeness: f64,
    /// The runs of each text, sorted, and where it comes from.
    texts: Vec<(Vec<u64>, Origin)>,
    bands: HashMap<(usize, u64), Vec<usize>>,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made earlier.
    Made,
    /// A seed row.
    Seeds,
    /// A row that nothing may be like.
    Avoided,
}

impl Index {
    /// An index of nothing. From a share of `likeness` common runs on, the texts of two rows in `columns` are alike.
    pub fn new(likeness: f64, columns: Vec<String>) -> Self {
        Index { columns, made: Near::new(likeness), avoided: Near::new(AVOIDED), words: BTreeMap::new() }
    }

    /// From now on nothing may be like this row of an evaluation, whatever its columns are.
    pub fn avoid(&mut self, row: &Row) {
        for text in texts(row.values()) {
            let words: Vec<&str> = text.split(' ').collect();
            let length = words.len().min(WORDS);
            if length >= FEWEST {
                self.words.entry(length).or_default().extend(words.windows(length).map(hash_words));
                self.avoided.add(runs(&text), Origin::Avoided);
            }
        }
    }

    /// Takes a row in.
    pub fn insert(&mut self, row: &Row, from: Origin) {
        self.made.add(runs(&self.text(row)), from);
    }

    /// What a row is too like.
    pub fn like(&self, row: &Row) -> Option<Origin> {
        self.made.like(&runs(&self.text(row)))
    }

    /// Whether a row is like a row to avoid, or holds a run of its words.
    pub fn is_avoided(&self, row: &Row) -> bool {
        self.avoided.like(&runs(&self.text(row))).is_some()
            || texts(row.values()).iter().any(|text| {
                let words: Vec<&str> = text.split(' ').collect();
                let known = |(length, known): (&usize, &HashSet<u64>)| {
                    words.windows(*length).any(|run| known.contains(&hash_words(run)))
                };
                self.words.iter().any(known)
            })
    }

    fn text(&self, row: &Row) -> String {
        texts(self.columns.iter().filter_map(|name| row.get(name))).join(" ")
    }
}

impl Near {
    fn new(likeness: f64) -> Self {
        Near { likeness, texts: Vec::new(), bands: HashMap::new() }
    }

    fn add(&mut self, runs: Vec<u64>, from: Origin) {
        if !runs.is_empty() {
            let at = self.texts.len();
            self.keys(&runs).into_iter().for_each(|key| self.bands.entry(key).or_default().push(at));
            self.texts.push((runs, from));
        }
    }

    fn like(&self, runs: &[u64]) -> Option<Origin> {
        if runs.is_empty() {
            return None;
        }
        let mut met: Vec<usize> =
            self.keys(runs).into_iter().filter_map(|key| self.bands.get(&key)).flatten().copied().collect();
        met.sort_unstable();
        met.dedup();
        met.into_iter().find(|at| jaccard(runs, &self.texts[*at].0) >= self.likeness).map(|at| self.texts[at].1)
    }

    /// Where a text that is alike may be found: equal ones under one key, others under one for each band of MinHashes.
    fn keys(&self, runs: &[u64]) -> Vec<(usize, u64)> {
        if self.likeness >= 1.0 {
            return vec![(BANDS, runs.iter().fold(0, |key, run| mix(key ^ run)))];
        }
        let least = |n: usize| runs.iter().map(|run| mix(run ^ mix(n as u64))).min().unwrap_or_default();
        (0..BANDS).map(|band| (band, (0..ROWS).fold(0, |key, row| mix(key ^ least(band * ROWS + row))))).collect()
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut all = Vec::new();
    values.for_each(|value| collect(value, &mut all));
    all
}

/// The texts of a value in lower-case words of letters and digits.
fn collect(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let lower: String =
                text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).flat_map(char::to_lowercase).collect();
            let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
            // Text of neither letters nor digits is all there is of it.
            out.push(if words.is_empty() { text.trim().to_owned() } else { words });
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, out)),
        Value::Object(values) => values.values().for_each(|value| collect(value, out)),
        _ => {}
    }
}

/// Hashes of the runs of characters of a text, sorted, each once; a shorter text is one run.
fn runs(text: &str) -> Vec<u64> {
    let chars: Vec<u64> = text.chars().map(|c| u64::from(u32::from(c))).collect();
    let hash = |run: &[u64]| run.iter().fold(run.len() as u64, |hash, c| mix(hash ^ c));
    let mut runs: Vec<u64> = match chars.len() {
        0 => Vec::new(),
        1..RUN => vec![hash(&chars)],
        _ => chars.windows(RUN).map(hash).collect(),
    };
    runs.sort_unstable();
    runs.dedup();
    runs
}

fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    shared as f64 / (a.len() + b.len() - shared) as f64
}

fn hash_words(words: &[&str]) -> u64 {
    words
        .iter()
        .flat_map(|word| word.bytes().chain([b' ']))
        .fold(words.len() as u64, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// One round of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(text: &str) -> Row {
        json!({"text": text, "label": "a"}).as_object().unwrap().clone()
    }

    #[test]
    fn near_repeats_are_found_whatever_their_case_and_punctuation() {
        let mut index = Index::new(0.8, vec!["text".into()]);
        index.insert(
            &row("My card has not arrived yet, and I have been waiting for it since last Monday."),
            Origin::Made,
        );
        index.insert(&row("How do I top up?"), Origin::Seeds);
        let like = |text: &str| index.like(&row(text));
        assert_eq!(
            like("my card has NOT arrived yet - and I have been waiting for it since last monday"),
            Some(Origin::Made)
        );
        assert_eq!(
            like("My card has not arrived yet, and I have been waiting for it since last Sunday."),
            Some(Origin::Made)
        );
        assert_eq!(like("how do i top up"), Some(Origin::Seeds));
        assert_eq!(like("My card was stolen yesterday while I was waiting."), None);
        assert_eq!(like(""), None);
    }

    #[test]
    fn words_of_an_evaluation_are_found_within_longer_rows() {
        let mut index = Index::new(0.8, vec!["text".into()]);
        let asked = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.";
        index.avoid(&json!({"question": asked, "short": "Yes it is"}).as_object().unwrap().clone());
        index.avoid(&row("What is the capital of Freedonia?"));
        assert!(index.is_avoided(&row(&asked.to_uppercase())));
        let long =
            "Solve this: ".to_owned() + &asked[..80] + " and many other things happened to her as well on that day";
        assert!(index.is_avoided(&row(&long)) && index.like(&row(&long)).is_none());
        assert!(index.is_avoided(&row("Tell me, what is the capital of Freedonia? And of Sylvania?")));
        assert!(!index.is_avoided(&row("Yes it is, she sold clips to 48 of her friends")));
    }

    #[test]
    fn equal_texts_are_found_and_nearly_equal_ones_kept_where_only_equal_ones_are_alike() {
        let mut index = Index::new(1.0, vec!["text".into()]);
        index.insert(&row("I paid 12 and then 13 at the shop"), Origin::Made);
        assert_eq!(index.like(&row("I paid 12, and then 13 at the shop.")), Some(Origin::Made));
        assert_eq!(index.like(&row("I paid 12 and then 14 at the shop")), None);
    }

    #[test]
    fn two_texts_at_the_bound_meet_nearly_always() {
        let word = |n: u64| format!("{:04x} ", mix(n) & 0xffff);
        let text = |from: u64, to: u64| (from..to).map(word).collect::<String>();
        let mut index = Index::new(0.75, vec!["text".into()]);
        (0..200).for_each(|n| index.insert(&row(&text(n * 1000, n * 1000 + 100)), Origin::Made));
        // 90 of 110 words in common: a Jaccard likeness of about 0.8.
        let found = (0..200).filter(|n| index.like(&row(&text(n * 1000 + 10, n * 1000 + 110))).is_some()).count();
        assert!(found >= 195, "{found} of 200");
    }
}
