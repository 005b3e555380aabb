//! Which examples stay, and which part of them validates.

use std::collections::BTreeMap;

use serde_json::Value;
use tunesmith_harness::recipe::{Example, Row};
use tunesmith_lm::rng::Rng;

use super::Dropped;

/// Most validation examples: they are scored after every epoch.
const MOST_VALID: usize = 1_000;

/// A cell as text, as [`tunesmith_harness::recipe::Recipe`] reads it; `None` where it is empty.
pub(super) fn cell(row: &Row, column: &str) -> Option<String> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

/// An example's input with case, punctuation and spacing taken away: rows that differ in no more are one.
pub(super) fn normal(example: &Example) -> String {
    let text: String = example.prompt.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n");
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    // Inputs of signs alone, such as sums, are compared as they are.
    if words.is_empty() { text } else { words.join(" ") }
}

/// Drops examples that repeat or contradict another one. Of repeated ones the first stays.
pub(super) fn unique(examples: Vec<Example>, dropped: &mut Dropped) -> Vec<Example> {
    let key = |example: &Example| {
        example.prompt.iter().map(|message| message.content.trim().to_owned()).collect::<Vec<_>>().join("\n")
    };
    let mut answers: BTreeMap<String, (String, bool)> = BTreeMap::new();
    let mut first = vec![false; examples.len()];
    for (example, first) in examples.iter().zip(&mut first) {
        match answers.get_mut(&key(example)) {
            None => {
                answers.insert(key(example), (example.completion.clone(), false));
                *first = true;
            }
            Some((answer, contradicted)) => *contradicted |= *answer != example.completion,
        }
    }
    let mut kept = Vec::new();
    for (example, first) in examples.into_iter().zip(first) {
        match answers.get(&key(&example)) {
            Some((_, true)) => dropped.conflicting += 1,
            _ if !first => dropped.duplicates += 1,
            _ => kept.push(example),
        }
    }
    kept
}

/// Cuts the validation part: a seeded share of each label, with inputs that are nearly the same kept together. Both
/// parts stay in the order of the file.
pub(super) fn split(examples: Vec<Example>, share: f64, seed: u64) -> (Vec<Example>, Vec<Example>) {
    let share = share.min(MOST_VALID as f64 / examples.len().max(1) as f64);
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, example) in examples.iter().enumerate() {
        groups.entry(normal(example)).or_default().push(at);
    }
    let mut strata: BTreeMap<Option<usize>, Vec<Vec<usize>>> = BTreeMap::new();
    for group in groups.into_values() {
        strata.entry(examples[group[0]].label).or_default().push(group);
    }
    let mut valid = vec![false; examples.len()];
    for (label, mut groups) in strata {
        // In the order of the file before they are shuffled, so that only the rows and the seed decide.
        groups.sort_unstable();
        Rng::new(seed, &format!("validation {label:?}")).shuffle(&mut groups);
        let rows: usize = groups.iter().map(Vec::len).sum();
        let wanted = (rows as f64 * share).round().max(1.0) as usize;
        let mut taken = 0;
        // The last group always stays for training.
        for group in groups.iter().take(groups.len() - 1) {
            if taken >= wanted {
                break;
            }
            taken += group.len();
            group.iter().for_each(|at| valid[*at] = true);
        }
    }
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (example, valid) in examples.into_iter().zip(valid) {
        if valid { &mut validation } else { &mut train }.push(example);
    }
    (train, validation)
}

#[cfg(test)]
mod tests {
    use tunesmith_harness::model::Message;

    use super::*;

    fn example(input: &str, label: usize) -> Example {
        Example { prompt: vec![Message::user(input)], completion: format!("l{label}"), label: Some(label) }
    }

    #[test]
    fn repeated_rows_stay_once_and_contradictions_go() {
        let rows = vec![example("a", 0), example("b", 0), example("a ", 0), example("b", 1), example("c", 1)];
        let mut dropped = Dropped::default();
        assert_eq!(unique(rows, &mut dropped), [example("a", 0), example("c", 1)]);
        assert_eq!(dropped, Dropped { duplicates: 1, conflicting: 2, ..Dropped::default() });
    }

    #[test]
    fn every_label_is_in_both_parts_and_near_repeats_stay_together() {
        let mut rows: Vec<Example> = (0..40).map(|i| example(&format!("row number {i}"), i % 4)).collect();
        rows.extend((0..40).map(|i| example(&format!("Row  number {i}!"), i % 4)));
        let (train, valid) = split(rows.clone(), 0.2, 7);
        assert_eq!((train.len(), valid.len()), (64, 16));
        for label in 0..4 {
            assert_eq!(valid.iter().filter(|e| e.label == Some(label)).count(), 4);
        }
        let trained: Vec<String> = train.iter().map(normal).collect();
        assert!(valid.iter().all(|example| !trained.contains(&normal(example))));
        assert_eq!(split(rows.clone(), 0.2, 7), (train.clone(), valid));
        assert_ne!(split(rows, 0.2, 8).0, train);
    }

    #[test]
    fn one_row_of_a_label_is_trained_on() {
        let (train, valid) = split(vec![example("a", 0), example("b", 1), example("c", 1)], 0.1, 0);
        assert_eq!((train.len(), valid.len()), (2, 1));
        assert_eq!(valid[0].label, Some(1));
    }
}
