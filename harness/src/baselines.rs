//! What a result must beat to be worth a model: chance, the majority class or most frequent answer, and naive Bayes
//! over words.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{grade::Baselines, metrics, recipe::Recipe, task::JobKind};

/// Scores the baselines: trained on `open` rows, measured on `sealed` ones, each a text and its label if it has one.
///
/// All are `None` where there is no closed set of labels; see [`constant`] for these. A sealed text without a known label counts as wrong.
pub fn baselines(kind: JobKind, labels: usize, open: &[(&str, usize)], sealed: &[(&str, Option<usize>)]) -> Baselines {
    if kind != JobKind::Classification || labels == 0 {
        return Baselines::default();
    }
    let chance = Some(1.0 / labels as f64);
    if open.is_empty() {
        return Baselines { chance, ..Baselines::default() };
    }
    let most = majority(labels, open);
    let bayes = NaiveBayes::fit(labels, open);
    let share = |predict: &dyn Fn(&str) -> usize| {
        let right: Vec<bool> = sealed.iter().map(|(text, label)| *label == Some(predict(text))).collect();
        Some(metrics::accuracy(&right))
    };
    Baselines { chance, majority: share(&|_| most), naive_bayes: share(&|text| bayes.predict(text)) }
}

/// The baseline without a closed set of labels: `sealed` scored as if each were given the most frequent answer of `open`.
///
/// Each is a completion; of equally frequent answers the first in the order of their text is taken. A sealed row without
/// a completion counts as wrong.
pub fn constant(recipe: &Recipe, open: &[String], sealed: &[Option<&str>]) -> Baselines {
    let mut counts: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for completion in open {
        if let Some(answer) = answer(recipe, completion) {
            counts.entry(answer).or_insert((0, completion)).0 += 1;
        }
    }
    let most = counts.values().map(|(count, _)| *count).max();
    let Some((_, said)) = counts.values().find(|(count, _)| Some(*count) == most) else { return Baselines::default() };
    let right: Vec<bool> = sealed.iter().map(|want| want.is_some_and(|want| recipe.judge(said, want).right)).collect();
    Baselines { majority: Some(metrics::accuracy(&right)), ..Baselines::default() }
}

/// What two completions that are the same answer have in common.
fn answer(recipe: &Recipe, completion: &str) -> Option<String> {
    let text = recipe.answer(completion).filter(|text| !text.is_empty())?;
    match (recipe.kind, serde_json::from_str::<Value>(text)) {
        (JobKind::Extraction, Ok(mut value)) => {
            value.sort_all_objects();
            Some(value.to_string())
        }
        _ => Some(text.to_owned()),
    }
}

/// The most frequent label, the first of them where several are.
fn majority(labels: usize, rows: &[(&str, usize)]) -> usize {
    let mut counts = vec![0usize; labels];
    rows.iter().for_each(|(_, label)| counts[*label] += 1);
    first_best(counts.iter().map(|count| *count as f64))
}

/// Multinomial naive Bayes over lower-cased words, with Laplace smoothing and the labels' own frequencies.
///
/// The textbook form (C. Manning, P. Raghavan and H. Schütze, "Introduction to information retrieval", 2008, chapter
/// 13), with words as runs of two or more letters, digits or underscores: what `CountVectorizer` and `MultinomialNB`
/// of scikit-learn do with their defaults.
pub struct NaiveBayes {
    /// The logarithm of each label's share; negative infinity for a label without rows.
    priors: Vec<f64>,
    /// For each word, the logarithm of its probability under each label.
    words: BTreeMap<String, Vec<f64>>,
}

impl NaiveBayes {
    /// Fits on texts and their labels, each below `labels`.
    pub fn fit(labels: usize, rows: &[(&str, usize)]) -> NaiveBayes {
        let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let (mut rows_of, mut words_of) = (vec![0usize; labels], vec![0usize; labels]);
        for (text, label) in rows {
            rows_of[*label] += 1;
            for word in words(text) {
                words_of[*label] += 1;
                counts.entry(word).or_insert_with(|| vec![0; labels])[*label] += 1;
            }
        }
        let vocabulary = counts.len();
        let likelihood = |count: usize, of: usize| ((count + 1) as f64).ln() - ((of + vocabulary) as f64).ln();
        NaiveBayes {
            priors: rows_of.iter().map(|n| (*n as f64).ln() - (rows.len() as f64).ln()).collect(),
            words: counts
                .into_iter()
                .map(|(word, counts)| (word, counts.iter().zip(&words_of).map(|(c, n)| likelihood(*c, *n)).collect()))
                .collect(),
        }
    }

    /// The most probable label; words never seen are passed over, and the first of equals wins.
    pub fn predict(&self, text: &str) -> usize {
        first_best(self.scores(text).into_iter())
    }

    /// The probability of each label given the text, which adds up to one.
    pub fn probabilities(&self, text: &str) -> Vec<f64> {
        let scores = self.scores(text);
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let all: f64 = shares.iter().sum();
        shares.iter().map(|share| share / all).collect()
    }

    /// The logarithm of the probability of each label and the text's known words together.
    fn scores(&self, text: &str) -> Vec<f64> {
        let mut scores = self.priors.clone();
        for likelihoods in words(text).filter_map(|word| self.words.get(&word)) {
            scores.iter_mut().zip(likelihoods).for_each(|(score, l)| *score += l);
        }
        scores
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let lower = text.to_lowercase();
    let words: Vec<String> = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| word.chars().nth(1).is_some())
        .map(str::to_owned)
        .collect();
    words.into_iter()
}

fn first_best(scores: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, score) in scores.enumerate() {
        if score > best.1 {
            best = (at, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: [(&str, usize); 5] = [
        ("my card has not arrived", 0),
        ("where is my card", 0),
        ("card still not here", 0),
        ("I want my money back", 1),
        ("refund my money", 1),
    ];

    #[test]
    fn each_baseline_is_measured_on_the_sealed_rows() {
        let sealed = [
            ("the card is not here", Some(0)),
            ("give me my money", Some(1)),
            ("refund", Some(1)),
            ("card?", Some(1)),
            ("money", None),
        ];
        assert_eq!(
            baselines(JobKind::Classification, 2, &OPEN, &sealed),
            Baselines { chance: Some(0.5), majority: Some(0.2), naive_bayes: Some(0.6) }
        );
        assert_eq!(baselines(JobKind::Generation, 2, &OPEN, &sealed), Baselines::default());
        assert_eq!(
            baselines(JobKind::Classification, 4, &[], &sealed),
            Baselines { chance: Some(0.25), majority: None, naive_bayes: None }
        );
    }

    #[test]
    fn free_answers_are_held_against_the_most_frequent_one() {
        let recipe = |kind, marker: Option<&str>| Recipe {
            kind,
            input: "q".into(),
            target: "a".into(),
            cue: String::new(),
            labels: Vec::new(),
            changes: Default::default(),
            answer_after: marker.map(str::to_owned),
            max_length: 64,
            max_new_tokens: 8,
        };
        let sums = ["1 and 1 #### 2", "4 less 2 #### 2", "#### 3", "no marker"].map(str::to_owned);
        let sealed = [Some("so #### 2"), Some("#### 3"), None, Some("#### 22")];
        let only = |majority| Baselines { majority, ..Baselines::default() };
        assert_eq!(constant(&recipe(JobKind::Generation, Some("####")), &sums, &sealed), only(Some(0.25)));
        let objects = [r#"{"a": 1, "b": 2}"#, r#"{"b":2,"a":1}"#, r#"{"a": 9}"#].map(str::to_owned);
        let sealed = [Some(r#"{"b": 2, "a": 1}"#), Some(r#"{"a": 9}"#)];
        assert_eq!(constant(&recipe(JobKind::Extraction, None), &objects, &sealed), only(Some(0.5)));
        assert_eq!(constant(&recipe(JobKind::Extraction, None), &[], &sealed), Baselines::default());
    }

    #[test]
    fn probabilities_follow_the_rule_of_bayes() {
        // Two rows, one word each and one in common: p(a) of "x" is 2/5 * 1/2 over that and 1/5 * 1/2.
        let bayes = NaiveBayes::fit(2, &[("xx yy", 0), ("zz yy", 1)]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let found = bayes.probabilities("xx unseen");
        assert!(near(found[0], 2.0 / 3.0) && near(found[1], 1.0 / 3.0), "{found:?}");
        assert_eq!(bayes.probabilities("nothing known"), [0.5, 0.5]);
    }

    #[test]
    fn a_label_without_rows_is_never_predicted() {
        let bayes = NaiveBayes::fit(3, &OPEN);
        assert_eq!(["", "zebra", "money money"].map(|text| bayes.predict(text)), [0, 0, 1]);
    }
}
