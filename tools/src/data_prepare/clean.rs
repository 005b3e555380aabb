//! Which examples repeat or contradict each other.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;
use tunesmith_harness::recipe::{Example, Row};

/// A cell as text, as [`tunesmith_harness::recipe::Recipe`] reads it; `None` where it is empty.
pub(super) fn cell<'a>(row: &'a Row, column: &str) -> Option<Cow<'a, str>> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text.trim())).filter(|text| !text.is_empty()),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// What tells an example from others: what is asked last, or raw text itself.
pub(super) fn asked(example: &Example) -> &str {
    example.prompt.last().map_or(&example.completion, |message| message.content.as_str())
}

/// An example's input with case, punctuation and spacing taken away: rows that differ in no more are one.
pub(super) fn normal(example: &Example) -> String {
    let text = whole(example);
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    // Inputs of signs alone, such as sums, are compared as they are.
    if words.is_empty() { text } else { words.join(" ") }
}

/// All that is asked, or raw text itself.
fn whole(example: &Example) -> String {
    match example.prompt.as_slice() {
        [] => example.completion.clone(),
        prompt => prompt.iter().map(|message| message.content.trim()).collect::<Vec<_>>().join("\n"),
    }
}

/// What becomes of an example beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Kept,
    /// It says what an earlier one says.
    Repeats(usize),
    /// Others answer the same input in another way; the first of them.
    Conflicts(usize),
}

/// Of examples that repeat each other the first stays; of those that contradict each other none does.
pub(super) fn fates<'a>(examples: impl Iterator<Item = &'a Example> + Clone) -> Vec<Fate> {
    // The first example of each input, and whether others contradict it.
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut of = Vec::new();
    let mut contradicted = Vec::new();
    let mut answers: Vec<&str> = Vec::new();
    for (at, example) in examples.enumerate() {
        let place = *first.entry(whole(example)).or_insert(at);
        answers.push(&example.completion);
        contradicted.push(false);
        contradicted[place] |= answers[place] != example.completion;
        of.push(place);
    }
    let fate = |(at, place): (usize, usize)| match () {
        () if contradicted[place] => Fate::Conflicts(place),
        () if at != place => Fate::Repeats(place),
        () => Fate::Kept,
    };
    of.into_iter().enumerate().map(fate).collect()
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
        let rows = [example("a", 0), example("b", 0), example("a ", 0), example("b", 1), example("c", 1)];
        let want = [Fate::Kept, Fate::Conflicts(1), Fate::Repeats(0), Fate::Conflicts(1), Fate::Kept];
        assert_eq!(fates(rows.iter()), want);
    }

    #[test]
    fn inputs_that_differ_in_case_and_signs_are_one() {
        assert_eq!(normal(&example("Row  number 3!", 0)), normal(&example("row, NUMBER 3", 1)));
        assert_ne!(normal(&example("1 + 2", 0)), normal(&example("1 + 3", 0)));
        assert_eq!(normal(&example("+-", 0)), "+-");
    }
}
