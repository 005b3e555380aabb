//! Rows that are to be made up: how many, with which labels, and who writes them.

use serde::Serialize;
use serde_json::{Map, Value, json};
use tunesmith_harness::task::JobKind;

use super::Wanted;
use crate::playbook::{phrases, targets, words::Words};

/// Rows where the request says no number.
const ROWS: usize = 300;
/// What a number of rows may be; smaller ones count other things.
const RANGE: std::ops::RangeInclusive<usize> = 20..=20_000;
/// Most labels that a request lists, and most words of one.
const LABELS: usize = 30;
const WORDS: usize = 4;

/// Rows that are to be made up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// So many.
    pub rows: usize,
    /// The labels that they shall have; none for other kinds of jobs.
    pub labels: Vec<String>,
    /// The id of the model that writes them, where the request names one.
    pub teacher: Option<String>,
}

impl Wanted {
    /// What is said of rows to be made up.
    pub(super) fn making(&mut self, words: &Words, request: &str) {
        // "I have no examples, so make some up": only what stands right before denies it.
        let denied =
            |at: usize| (at.saturating_sub(2)..at).any(|at| ["dont", "not", "never"].contains(&words.word(at)));
        let asked = |phrase: &str| words.all(phrase).iter().any(|found| !denied(found.start));
        if !phrases::MAKING.iter().any(|phrase| asked(phrase)) {
            return;
        }
        let mut made = Made { rows: targets::count(words, RANGE).unwrap_or(ROWS), ..Made::default() };
        match self.kinds[..] {
            [JobKind::Classification] => match labels(request) {
                Some(labels) => made.labels = labels,
                None => self.questions.push(
                    "which labels the rows that are made up have; list them, for example \"sort into billing, shipping or \
                     returns\""
                        .into(),
                ),
            },
            [JobKind::Extraction | JobKind::Generation] => {}
            _ => self.questions.push("what the rows that are made up are for: labels, values or texts".into()),
        }
        self.made = Some(made);
    }
}

impl Made {
    /// The spec for [`tunesmith_tools::data_make`]: the request itself is what the model that writes rows is told.
    pub fn spec(&self, request: &str, kind: Option<&JobKind>, seed: u64) -> Map<String, Value> {
        let columns = match kind {
            Some(JobKind::Classification) => json!([{"name": "text"}, {"name": "label", "choices": self.labels}]),
            Some(JobKind::Extraction) => {
                json!([{"name": "text"}, {"name": "answer", "kind": "json", "schema": {"type": "object"}}])
            }
            _ => json!([{"name": "input"}, {"name": "output"}]),
        };
        let instructions = format!(
            "Write rows for training a small model. What the model is to learn, in the words of the person who needs it: \
             {request}\nEach row is one realistic example of what the model will see, as people really write it, with the right \
             answer. Vary length, wording, names and details; do not repeat yourself."
        );
        let mut spec = Map::from_iter([
            ("name".to_owned(), json!("made-up rows")),
            ("about".to_owned(), json!(request)),
            ("seed".to_owned(), json!(seed)),
            ("columns".to_owned(), columns),
            ("teacher".to_owned(), json!({"instructions": instructions})),
        ]);
        if self.labels.is_empty() {
            spec.insert("rows".to_owned(), json!(self.rows));
        } else {
            let each = self.rows.div_ceil(self.labels.len());
            let counts = self.labels.iter().map(|label| (label.clone(), json!(each)));
            spec.insert("label".to_owned(), json!("label"));
            spec.insert("counts".to_owned(), Value::Object(counts.collect()));
        }
        spec
    }
}

/// The labels that a sentence lists: "into: order, complaint, something else", "as spam or not spam".
fn labels(request: &str) -> Option<Vec<String>> {
    const MARKS: [&str; 10] = [
        ": ",
        " into ",
        " as either ",
        " either ",
        " as ",
        " between ",
        " is about ",
        " labels ",
        " categories ",
        " namely ",
    ];
    let sentences = request.split(['.', '!', '?', '\n', ';']);
    let listed = sentences.flat_map(|sentence| {
        // Offsets in lower case may differ where letters change their length.
        let lower = sentence.to_lowercase();
        let places = MARKS.iter().filter_map(|mark| Some(lower.find(mark)? + mark.len()));
        let mut places: Vec<usize> = places.collect();
        places.sort_unstable();
        places.into_iter().map(|at| lower[at..].to_owned()).collect::<Vec<_>>()
    });
    listed.filter_map(|list| items(&list)).max_by_key(Vec::len)
}

/// The items of a list, up to the first that is no label.
fn items(list: &str) -> Option<Vec<String>> {
    // Where they come from is said behind them.
    let list = list.split(" on made").next().unwrap_or_default();
    let list = list.replace(" and ", ",").replace(" or ", ",").replace('/', ",");
    let mut found: Vec<String> = Vec::new();
    for item in list.split([',', '(', ')']) {
        let item = item.trim().trim_matches(['"', '\'', '“', '”', '‘', '’', '`', ':']);
        let item = ["or ", "and ", "a ", "an ", "the ", "either "]
            .iter()
            .fold(item, |item, word| item.strip_prefix(word).unwrap_or(item).trim());
        match item.split_whitespace().count() {
            0 => continue,
            1..=WORDS if found.len() < LABELS => found.push(item.to_owned()),
            _ => break,
        }
    }
    let mut different = found.clone();
    different.sort();
    different.dedup();
    (found.len() >= 2 && different.len() == found.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::playbook::request::read;

    #[test]
    fn labels_and_numbers_of_rows_to_make_up_are_read() {
        for (request, rows, labels) in [
            (
                "sort whatsapps into: order, complaint, opening hours, something else. i have no examples so make some up, \
                 maybe 200 or so",
                200,
                &["order", "complaint", "opening hours", "something else"][..],
            ),
            ("Invent 500 mails and train a filter that labels them as spam or not spam.", 500, &["spam", "not spam"]),
            (
                "train a classifier into billing/shipping/returns on made-up rows",
                300,
                &["billing", "shipping", "returns"],
            ),
        ] {
            let made = read(request).unwrap().made.unwrap();
            assert_eq!(
                (made.rows, &made.labels[..]),
                (rows, &labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()[..])
            );
        }
        let pairs = read(
            "Let a-b/Teacher-7 act as the teacher and write 200 pairs of a rude and a polite mail, then train on them to rewrite them",
        );
        let made = pairs.unwrap().made.unwrap();
        assert_eq!((made.rows, made.labels, made.teacher.as_deref()), (200, vec![], Some("a-b/Teacher-7")));
        assert_eq!(read("sort my tickets into billing, shipping and returns").unwrap().made, None);
    }

    #[test]
    fn labels_that_nobody_lists_are_asked_for() {
        let wanted = read("make up 200 complaints and train a classifier on them").unwrap();
        assert!(wanted.questions[0].starts_with("which labels"), "{:?}", wanted.questions);
    }
}
