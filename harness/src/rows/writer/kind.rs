//! What the values of a column are, and as what type of Parquet they are written.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

/// Most fields of an object that become columns of their own; one with more is a table of its own, not a type.
const MOST_FIELDS: usize = 256;
/// Deepest nesting of lists and objects that becomes types; each takes up to two levels of a schema.
const DEEPEST: usize = 10;
/// Whole numbers up to this have a float of their own.
const EXACT: u64 = 1 << 53;

/// All kinds of values that a column was seen to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kind {
    truth: bool,
    text: bool,
    number: bool,
    below_zero: bool,
    beyond_i64: bool,
    beyond_float: bool,
    fraction: bool,
    list: Option<Box<Kind>>,
    object: Option<Fields>,
    too_deep: bool,
}

/// The fields of objects, in the order of first sight.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    kinds: Vec<(String, Kind)>,
    places: HashMap<String, usize>,
    too_many: bool,
}

/// As what a column is written. Every value may be missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    /// Only nulls.
    Null,
    Bool,
    Int,
    UInt,
    Float,
    Text,
    List(Box<Column>),
    Struct(Vec<(String, Column)>),
}

impl Fields {
    /// Takes note of an object; gives roughly what it takes in memory.
    pub fn take(&mut self, object: &Map<String, Value>, depth: usize, most: usize) -> usize {
        let mut bytes = 0;
        for (n, (name, value)) in object.iter().enumerate() {
            // Rows name their fields in one order as a rule.
            let known = self.kinds.get(n).filter(|(known, _)| known == name).map(|_| n);
            let place = known.or_else(|| self.places.get(name).copied()).unwrap_or_else(|| {
                self.places.insert(name.clone(), self.kinds.len());
                self.kinds.push((name.clone(), Kind::default()));
                self.kinds.len() - 1
            });
            bytes += name.len() + self.kinds[place].1.take(value, depth);
            if self.kinds.len() > most {
                self.too_many = true;
                self.kinds.truncate(1);
                self.places.clear();
            }
            if self.too_many {
                return bytes;
            }
        }
        bytes
    }

    /// The columns, and what is said of those that are not written as they are.
    pub fn columns(&self, within: &str, notes: &mut Vec<String>) -> Vec<(String, Column)> {
        let join = |name: &str| if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") };
        self.kinds.iter().map(|(name, kind)| (name.clone(), kind.column(&join(name), notes))).collect()
    }

    /// Whether there were too many to keep.
    pub fn is_too_wide(&self) -> bool {
        self.too_many
    }

    fn len(&self) -> usize {
        self.kinds.len()
    }
}

impl Kind {
    fn take(&mut self, value: &Value, depth: usize) -> usize {
        32 + match value {
            Value::Null => 0,
            Value::Bool(_) => {
                self.truth = true;
                0
            }
            Value::String(text) => {
                self.text = true;
                text.len()
            }
            Value::Number(number) => {
                self.number(number);
                0
            }
            Value::Array(_) | Value::Object(_) if depth >= DEEPEST => {
                self.too_deep = true;
                value.to_string().len()
            }
            Value::Array(items) => {
                let kind = self.list.get_or_insert_default();
                items.iter().map(|item| kind.take(item, depth + 1)).sum()
            }
            Value::Object(object) => {
                let fields = self.object.get_or_insert_default();
                if fields.too_many { value.to_string().len() } else { fields.take(object, depth + 1, MOST_FIELDS) }
            }
        }
    }

    fn number(&mut self, number: &Number) {
        self.number = true;
        let size = match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => {
                self.below_zero |= whole < 0;
                whole.unsigned_abs()
            }
            (None, Some(whole)) => {
                self.beyond_i64 = true;
                whole
            }
            (None, None) => {
                self.fraction = true;
                0
            }
        };
        self.beyond_float |= size > EXACT;
    }

    /// What holds all these values without loss: a type where they are of one, else text.
    fn column(&self, path: &str, notes: &mut Vec<String>) -> Column {
        let fields = self.object.as_ref();
        let seen = [
            (self.truth, "true or false"),
            (self.text, "texts"),
            (self.number, "numbers"),
            (self.list.is_some(), "lists"),
            (fields.is_some(), "objects"),
            (self.too_deep, "values that are nested too deeply"),
        ];
        let seen: Vec<&str> = seen.iter().filter(|(seen, _)| *seen).map(|(_, what)| *what).collect();
        let mut as_text = |what: &str| {
            notes.push(format!("{path} holds {what}: written as texts, with JSON for what is none"));
            Column::Text
        };
        if self.too_deep || seen.len() > 1 {
            return as_text(&seen.join(" and "));
        }
        if let Some(fields) = fields {
            return match fields.len() {
                _ if fields.too_many => as_text(&format!("objects with more than {MOST_FIELDS} different keys")),
                0 => as_text("objects without keys"),
                _ => Column::Struct(fields.columns(path, notes)),
            };
        }
        match &self.list {
            Some(items) => Column::List(Box::new(items.column(&format!("{path}[]"), notes))),
            None if self.truth => Column::Bool,
            None if self.text => Column::Text,
            None if !self.number => Column::Null,
            None if self.fraction && self.beyond_float => {
                as_text("fractions and whole numbers that no 64-bit float is equal to")
            }
            None if self.fraction => Column::Float,
            None if self.below_zero && self.beyond_i64 => as_text("numbers below zero and ones that need all 64 bits"),
            None if self.beyond_i64 => Column::UInt,
            None => Column::Int,
        }
    }
}
