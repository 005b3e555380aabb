//! The words that a model learns for each value of a label column.

use std::collections::BTreeSet;

use anyhow::bail;
use tunesmith_harness::recipe::{Label, Row};

/// Most labels of a classification: each is scored for each row.
const MOST: usize = 1_000;

/// The labels of `target` in the rows that have an input, sorted by value.
pub(super) fn labels<'a>(rows: impl Iterator<Item = &'a Row>, input: &str, target: &str) -> anyhow::Result<Vec<Label>> {
    let filled = rows.filter(|row| super::clean::cell(row, input).is_some());
    let values: BTreeSet<String> =
        filled.filter_map(|row| Some(super::clean::cell(row, target)?.into_owned())).collect();
    match values.len() {
        0 => bail!("no row has both {input:?} and {target:?}; check the columns' names"),
        1 => bail!(
            "column {target:?} has one value only, so there is nothing to learn; give rows with different answers, or name another target"
        ),
        n if n > MOST => {
            bail!(
                "column {target:?} has {n} different values, at most {MOST} can be labels; join rare ones or use kind generation"
            )
        }
        _ => Ok(texts(values.into_iter().collect())),
    }
}

/// Words instead of identifiers; values that would become the same words stay as they are.
fn texts(values: Vec<String>) -> Vec<Label> {
    let words: Vec<String> = values.iter().map(|value| words(value)).collect();
    let clashes = |text: &String| text.is_empty() || words.iter().filter(|other| *other == text).count() > 1;
    // A clash with a value that was kept as it is counts too.
    let kept: BTreeSet<&String> = values.iter().zip(&words).filter(|(_, text)| clashes(text)).map(|(v, _)| v).collect();
    values
        .iter()
        .zip(&words)
        .map(|(value, text)| {
            let free = !clashes(text) && (text == value || !kept.contains(text));
            Label { value: value.clone(), text: if free { text.clone() } else { value.clone() } }
        })
        .collect()
}

/// `card_arrival` as `card arrival`; a hyphen stays where it is a sign or stands between digits.
fn words(value: &str) -> String {
    let chars: Vec<char> = value.chars().collect();
    let letter = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphabetic());
    let spaced: String = chars
        .iter()
        .enumerate()
        .map(|(at, c)| match c {
            '_' => ' ',
            '-' if letter(at.checked_sub(1)) && letter(Some(at + 1)) => ' ',
            c => *c,
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(values: &[&str]) -> Vec<(String, String)> {
        let labels = texts(values.iter().map(|v| v.to_string()).collect());
        labels.into_iter().map(|label| (label.value, label.text)).collect()
    }

    #[test]
    fn identifiers_become_words_and_stay_apart() {
        let same = |text: &str| (text.to_owned(), text.to_owned());
        let pair = |value: &str, text: &str| (value.to_owned(), text.to_owned());
        assert_eq!(
            pairs(&["card_arrival", "top-up  failed", "-1", "3-4", "OK"]),
            [
                pair("card_arrival", "card arrival"),
                pair("top-up  failed", "top up failed"),
                same("-1"),
                same("3-4"),
                same("OK")
            ]
        );
        assert_eq!(pairs(&["a b", "a_b", "__"]), [same("a b"), same("a_b"), same("__")]);
    }

    #[test]
    fn no_label_takes_the_text_of_one_that_was_kept() {
        let texts: Vec<String> = pairs(&["a_b", "a-b", "a b", "a__b", "x_y"]).into_iter().map(|p| p.1).collect();
        let distinct: BTreeSet<&String> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len(), "{texts:?}");
    }
}
