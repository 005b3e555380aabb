//! What one pass over the rows finds out about a column.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    output::{Cells, Column, LabelCount, Numbers},
    propose::MOST_LABELS,
    sketch::{Digest, Distinct, Key, Table},
};
use crate::files::cut;

/// Characters of a value in a list of values.
const VALUE: usize = 100;
/// Of few different values, how many are shown.
const SHOWN_LABELS: usize = 30;
/// Example values, and the characters of one.
const EXAMPLES: (usize, usize) = (3, 160);
/// What people write into a cell to say that there is nothing.
const PLACEHOLDERS: [&str; 10] = ["n/a", "na", "nan", "null", "none", "nil", "-", "--", "?", "#n/a"];

/// A cell that is not null.
pub(super) struct Cell<'a> {
    /// Its type in the file.
    pub kind: Kind,
    /// As text without blanks around it; what is no string is written as JSON.
    pub text: Cow<'a, str>,
    /// Of the text.
    pub key: Key,
}

/// The types of JSON without null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Boolean,
    List,
    Object,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Text, "text"),
    (Kind::Number, "number"),
    (Kind::Boolean, "boolean"),
    (Kind::List, "list"),
    (Kind::Object, "object"),
];

impl<'a> Cell<'a> {
    pub fn of(value: &'a Value) -> Option<Cell<'a>> {
        let (kind, text) = match value {
            Value::Null => return None,
            Value::String(text) => (Kind::Text, Cow::Borrowed(text.trim())),
            Value::Number(number) => (Kind::Number, Cow::Owned(number.to_string())),
            Value::Bool(flag) => (Kind::Boolean, Cow::Borrowed(if *flag { "true" } else { "false" })),
            Value::Array(_) => (Kind::List, Cow::Owned(value.to_string())),
            Value::Object(_) => (Kind::Object, Cow::Owned(value.to_string())),
        };
        Some(Cell { kind, key: Key::of(text.as_bytes()), text })
    }
}

/// What is counted of one column.
pub(super) struct Tally {
    pub name: String,
    /// Of the name.
    pub key: Key,
    /// Rows that name the column, those of them with null, and with only blanks.
    named: usize,
    null: usize,
    blank: usize,
    kinds: [usize; 5],
    json: usize,
    number: usize,
    boolean: usize,
    placeholders: usize,
    distinct: Distinct,
    /// Every value, while they are few.
    values: Option<Values>,
    examples: Vec<String>,
    lengths: Digest,
    numbers: Digest,
}

/// Few different values with their rows, in the order of first sight.
#[derive(Default)]
struct Values {
    list: Vec<(String, usize, Key)>,
    places: Table<Key, usize>,
}

impl Tally {
    pub fn new(name: String, key: Key, limit: usize) -> Tally {
        Tally {
            name,
            key,
            named: 0,
            null: 0,
            blank: 0,
            kinds: [0; 5],
            json: 0,
            number: 0,
            boolean: 0,
            placeholders: 0,
            distinct: Distinct::new(limit),
            values: Some(Values::default()),
            examples: Vec::new(),
            lengths: Digest::default(),
            numbers: Digest::default(),
        }
    }

    /// Counts a cell; `None` is null.
    pub fn add(&mut self, cell: Option<&Cell<'_>>) {
        self.named += 1;
        let Some(cell) = cell else {
            self.null += 1;
            return;
        };
        let text = cell.text.as_ref();
        if text.is_empty() {
            self.blank += 1;
            return;
        }
        self.kinds[cell.kind as usize] += 1;
        let number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && text.len() <= 400;
        if let Some(number) = number.then(|| text.parse::<f64>().ok()).flatten().filter(|number| number.is_finite()) {
            self.number += 1;
            self.numbers.add(number);
        }
        self.boolean += usize::from(matches!(text, "true" | "false" | "True" | "False"));
        self.json += usize::from(match cell.kind {
            Kind::List | Kind::Object => true,
            _ => text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok(),
        });
        self.placeholders +=
            usize::from(text.len() <= 4 && PLACEHOLDERS.iter().any(|nothing| text.eq_ignore_ascii_case(nothing)));
        self.lengths.add(text.chars().count() as f64);
        let key = cell.key;
        self.distinct.add(key, 1);
        self.example(|| cut(text, EXAMPLES.1));
        self.value(key, 1, || cut(text, VALUE));
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES.0 {
            let text = text();
            if !self.examples.contains(&text) {
                self.examples.push(text);
            }
        }
    }

    fn value(&mut self, key: Key, rows: usize, text: impl FnOnce() -> String) {
        let Some(values) = &mut self.values else { return };
        match values.places.get(&key) {
            Some(place) => values.list[*place].1 += rows,
            None if values.list.len() >= MOST_LABELS => self.values = None,
            None => {
                values.places.insert(key, values.list.len());
                values.list.push((text(), rows, key));
            }
        }
    }

    /// Takes in what was counted of later rows.
    pub fn merge(&mut self, other: Tally) {
        self.named += other.named;
        self.null += other.null;
        self.blank += other.blank;
        self.kinds.iter_mut().zip(other.kinds).for_each(|(mine, theirs)| *mine += theirs);
        self.json += other.json;
        self.number += other.number;
        self.boolean += other.boolean;
        self.placeholders += other.placeholders;
        self.distinct.merge(&other.distinct);
        other.examples.into_iter().for_each(|text| self.example(|| text));
        match other.values.filter(|_| self.values.is_some()) {
            None => self.values = None,
            Some(values) => {
                for (text, rows, key) in values.list {
                    self.value(key, rows, || text);
                }
            }
        }
        self.lengths.merge(&other.lengths);
        self.numbers.merge(&other.numbers);
    }

    /// Keeps fewer different values.
    pub fn shrink(&mut self, limit: usize) {
        self.distinct.shrink(limit);
    }

    /// Values that differ, with their rows, where there are few of them: the most frequent first, and equally frequent ones
    /// in the order of the file.
    pub fn values(&self) -> Option<Vec<LabelCount>> {
        let mut list: Vec<LabelCount> = self
            .values
            .as_ref()?
            .list
            .iter()
            .map(|(label, rows, _)| LabelCount { label: label.clone(), rows: *rows })
            .collect();
        list.sort_by_key(|value| std::cmp::Reverse(value.rows));
        Some(list)
    }

    /// What is said of the column among `rows` rows.
    pub fn finish(&self, rows: usize) -> Column {
        let filled = self.named - self.null - self.blank;
        let distinct = self.distinct.different();
        // What is estimated is never less than what is known, nor more than there are cells.
        let most = distinct.value.min(filled as u64) as usize;
        let lengths = self.lengths.quantiles(&[0.0, 0.5, 0.95, 1.0]);
        let length = |at: usize| lengths.get(at).map_or(0, |length| length.round() as usize);
        let numbers = self.numbers.quantiles(&[0.0, 0.05, 0.5, 0.95, 1.0]);
        let numbers = <[f64; 5]>::try_from(numbers).ok().zip(self.numbers.mean()).map(|(mut quantiles, mean)| {
            (quantiles[0], quantiles[4]) = (self.numbers.least, self.numbers.most);
            Numbers { quantiles, mean, error: self.numbers.error() }
        });
        let mut labels = self.values().filter(|values| values.len() * 2 <= filled).unwrap_or_default();
        labels.truncate(SHOWN_LABELS);
        labels.iter_mut().for_each(|value| value.label = cut(&value.label, 80));
        let cells = match filled {
            0 => Cells::Empty,
            n if n == self.json => Cells::Json,
            n if n == self.number => Cells::Number,
            n if n == self.boolean => Cells::Boolean,
            _ => Cells::Text,
        };
        let types = KINDS.iter().map(|(kind, name)| ((*name).to_owned(), self.kinds[*kind as usize]));
        Column {
            name: self.name.clone(),
            cells,
            missing: rows - filled,
            distinct: most,
            lengths: [
                self.lengths.least.min(self.lengths.most).max(0.0) as usize,
                length(1),
                length(2),
                self.lengths.most.max(0.0) as usize,
            ],
            labels,
            examples: self.examples.clone(),
            absent: [rows - self.named, self.null, self.blank],
            placeholders: self.placeholders,
            types: types.filter(|(_, cells)| *cells > 0).collect::<BTreeMap<_, _>>(),
            distinct_estimated: !distinct.exact,
            lengths_error: self.lengths.error(),
            numbers: numbers.filter(|_| cells == Cells::Number),
            languages: Vec::new(),
        }
    }
}
