//! Changed copies of rows. The label's column is never changed, and what may change a text's meaning says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::recipe::Row;
use tunesmith_lm::rng::Rng;

use super::{column::Kind, spec::Spec};

/// One way of changing texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// What is done.
    pub how: How,
    /// The columns whose texts are changed.
    pub columns: Vec<String>,
    /// Share of the rows that get such a copy.
    #[serde(default = "all")]
    pub share: f64,
    /// `synonyms`: a word with what may stand for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<String, Vec<String>>,
    /// `paraphrase`: texts around `{text}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub around: Vec<String>,
}

/// Ways of changing a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// All letters small, all large, or the first one small.
    Case,
    /// Two blanks for one, or blanks at the ends.
    Spacing,
    /// With or without the full stop at the end.
    Punctuation,
    /// A letter left out, doubled or swapped, in words of four letters or more.
    Typos,
    /// Words of `words` for each other.
    Synonyms,
    /// A text of `around` around it.
    Paraphrase,
}

fn all() -> f64 {
    1.0
}

impl How {
    /// Why a label may no longer hold; nothing where it does.
    pub fn risk(self) -> Option<&'static str> {
        match self {
            How::Case | How::Spacing | How::Punctuation => None,
            How::Typos => Some("a typo may turn one word into another"),
            How::Synonyms => Some("a word may mean something else in its place"),
            How::Paraphrase => Some("what stands around a text may change its meaning"),
        }
    }

    /// Its name in a spec.
    pub fn word(self) -> &'static str {
        match self {
            How::Case => "case",
            How::Spacing => "spacing",
            How::Punctuation => "punctuation",
            How::Typos => "typos",
            How::Synonyms => "synonyms",
            How::Paraphrase => "paraphrase",
        }
    }
}

impl Augment {
    /// What makes no sense in it.
    pub fn check(&self, spec: &Spec) -> Result<(), String> {
        let at = format!("augment {}", self.how.word());
        let text = |name: &&String| {
            spec.column(name).is_none_or(|column| column.kind != Kind::Text || !column.choices.is_empty())
        };
        if self.columns.is_empty() {
            return Err(format!("{at}: name its columns"));
        }
        if let Some(name) = self.columns.iter().find(text) {
            return Err(format!("{at}: column {name:?} is no free text, and labels are never changed"));
        }
        match self.how {
            _ if !(self.share > 0.0 && self.share <= 1.0) => Err(format!("{at}: share must be above 0 and at most 1")),
            How::Synonyms if self.words.values().all(Vec::is_empty) => {
                Err(format!("{at}: give words, for example {{ buy = [\"purchase\"] }}"))
            }
            How::Paraphrase if !self.around.iter().any(|around| around.contains("{text}")) => {
                Err(format!("{at}: give around, texts with {{text}} in them"))
            }
            _ => Ok(()),
        }
    }

    /// A changed copy of a row; nothing where it is not drawn or nothing changes. It depends on the row and `seed` alone.
    pub fn copy(&self, row: &Row, id: &str, seed: u64) -> Option<Row> {
        let mut rng = Rng::new(seed, &format!("{} {id}", self.how.word()));
        if f64::from(rng.uniform()) >= self.share {
            return None;
        }
        let mut copy = row.clone();
        for name in &self.columns {
            if let Some(Value::String(text)) = copy.get_mut(name) {
                *text = self.change(text, &mut rng);
            }
        }
        (copy != *row).then_some(copy)
    }

    fn change(&self, text: &str, rng: &mut Rng) -> String {
        match self.how {
            How::Case => case(text, rng.below(3)),
            How::Spacing => spacing(text, rng),
            How::Punctuation => match text.trim_end().strip_suffix('.') {
                // More than one is no full stop.
                Some(bare) if !bare.ends_with('.') => bare.to_owned(),
                None if text.ends_with(char::is_alphanumeric) => format!("{text}."),
                _ => text.to_owned(),
            },
            How::Typos => typo(text, rng),
            How::Synonyms => self.synonyms(text, rng),
            How::Paraphrase => {
                let around: Vec<&String> = self.around.iter().filter(|around| around.contains("{text}")).collect();
                around
                    .get(rng.below(around.len()))
                    .map_or_else(|| text.to_owned(), |around| around.replace("{text}", text))
            }
        }
    }

    fn synonyms(&self, text: &str, rng: &mut Rng) -> String {
        let words = words(text).into_iter().map(|(word, is_word)| {
            let others = self.words.get(word).or_else(|| self.words.get(&word.to_lowercase()));
            match others.filter(|others| is_word && !others.is_empty()) {
                Some(others) => {
                    let other = &others[rng.below(others.len())];
                    let capital = word.chars().next().is_some_and(char::is_uppercase);
                    if capital { capitalised(other) } else { other.clone() }
                }
                None => word.to_owned(),
            }
        });
        words.collect()
    }
}

/// A text cut into words and what is between them.
fn words(text: &str) -> Vec<(&str, bool)> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest.find(|c: char| c.is_alphanumeric() != is_word).unwrap_or(rest.len());
        parts.push((&rest[..end], is_word));
        rest = &rest[end..];
    }
    parts
}

fn case(text: &str, which: usize) -> String {
    match which {
        0 => text.to_lowercase(),
        1 => text.to_uppercase(),
        _ => {
            let mut chars = text.chars();
            chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn spacing(text: &str, rng: &mut Rng) -> String {
    let blanks: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
    match rng.below(3) {
        0 if !blanks.is_empty() => {
            let at = blanks[rng.below(blanks.len())];
            format!("{} {}", &text[..at], &text[at..])
        }
        1 => format!(" {text}"),
        _ => format!("{text} "),
    }
}

/// One typo in a word of letters alone: numbers and codes stay as they are.
fn typo(text: &str, rng: &mut Rng) -> String {
    let parts = words(text);
    let long = |part: &(usize, &(&str, bool))| {
        let (word, is_word) = part.1;
        *is_word && word.chars().count() >= 4 && word.chars().all(char::is_alphabetic)
    };
    let places: Vec<usize> = parts.iter().enumerate().filter(long).map(|(at, _)| at).collect();
    if places.is_empty() {
        return text.to_owned();
    }
    let place = places[rng.below(places.len())];
    let mut letters: Vec<char> = parts[place].0.chars().collect();
    // The first letter stays: people rarely miss it.
    let at = 1 + rng.below(letters.len() - 2);
    match rng.below(3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    let typo: String = letters.into_iter().collect();
    parts.iter().enumerate().map(|(at, (word, _))| if at == place { typo.as_str() } else { word }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn augment(how: &str) -> Augment {
        serde_json::from_value(json!({
            "how": how, "columns": ["text"], "words": {"buy": ["purchase"]}, "around": ["Please: {text}", "no slot"],
        }))
        .unwrap()
    }

    fn copies(how: &str, text: &str) -> std::collections::BTreeSet<String> {
        let row = json!({"text": text, "label": "buy four 1234"}).as_object().unwrap().clone();
        let copies = (0..200).filter_map(|seed| augment(how).copy(&row, "id", seed));
        copies
            .map(|copy| {
                assert_eq!(copy["label"], "buy four 1234");
                copy["text"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    fn all(copies: &[&str]) -> std::collections::BTreeSet<String> {
        copies.iter().map(|copy| copy.to_string()).collect()
    }

    #[test]
    fn each_way_changes_what_it_says_and_nothing_else() {
        assert_eq!(copies("case", "Buy It"), all(&["buy it", "BUY IT", "buy It"]));
        assert_eq!(copies("spacing", "a b"), all(&["a  b", " a b", "a b "]));
        assert_eq!(copies("punctuation", "Stop."), all(&["Stop"]));
        assert_eq!(copies("punctuation", "Stop"), all(&["Stop."]));
        assert_eq!(copies("punctuation", "Why?"), all(&[]));
        assert_eq!(copies("punctuation", "Well..."), all(&[]));
        assert_eq!(copies("synonyms", "Buy or buy, buyer"), all(&["Purchase or purchase, buyer"]));
        assert_eq!(copies("paraphrase", "why"), all(&["Please: why"]));
        assert_eq!(
            copies("typos", "ab 12345 café"),
            all(&[
                "ab 12345 cfaé",
                "ab 12345 caéf",
                "ab 12345 cfé",
                "ab 12345 caé",
                "ab 12345 caafé",
                "ab 12345 caffé"
            ])
        );
    }

    #[test]
    fn about_a_share_of_the_rows_is_copied() {
        let half = Augment { share: 0.5, ..augment("case") };
        let row = json!({"text": "Some Text"}).as_object().unwrap().clone();
        let copied = (0..1000).filter(|at| half.copy(&row, &at.to_string(), 1).is_some()).count();
        assert!((450..550).contains(&copied), "{copied}");
    }

    #[test]
    fn labels_and_numbers_are_never_changed() {
        let spec = |augment: Value| {
            let spec = json!({
                "name": "n", "rows": 1, "seeds": [{"text": "a", "label": "x"}], "augment": [augment],
                "columns": [{"name": "text"}, {"name": "label", "choices": ["x"]}, {"name": "n", "kind": "integer"}],
            });
            Spec::of(spec).map(drop).unwrap_err()
        };
        for column in ["label", "n"] {
            assert_eq!(
                spec(json!({"how": "case", "columns": [column]})),
                format!("augment case: column {column:?} is no free text, and labels are never changed")
            );
        }
        assert!(spec(json!({"how": "synonyms", "columns": ["text"]})).contains("give words"));
        assert!(spec(json!({"how": "paraphrase", "columns": ["text"], "around": ["x"]})).contains("give around"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn no_text_makes_an_augmentation_panic(text in "\\PC{0,30}", seed in 0u64..1000) {
            let row = json!({"text": text}).as_object().unwrap().clone();
            for how in ["case", "spacing", "punctuation", "typos", "synonyms", "paraphrase"] {
                let copy = augment(how).copy(&row, "id", seed);
                proptest::prop_assert_eq!(&copy, &augment(how).copy(&row, "id", seed));
            }
        }
    }
}
