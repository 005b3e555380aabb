//! Rows as JSON: an object per line, or the elements of an array.

use std::{cell::Cell, fmt, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, map::Entry};

use super::{MAX_VALUES, Problem, batch::Sink, units::Chunk};
use crate::recipe::Row;

/// Reads lines of one object each.
pub(super) fn lines(chunk: &Chunk, sink: &mut Sink) -> Result<(), Problem> {
    for unit in chunk.units() {
        let row = match sink.text(&unit).map(str::trim_ascii_end) {
            Ok("") => continue,
            Ok(text) => parse(text)
                .map_err(|e| e.problem(unit.line, 0, "; each line must be one whole object"))
                .and_then(|value| object(value, || format!("line {}", unit.line))),
            Err(problem) => Err(problem),
        };
        sink.take(row, unit.line, unit.bytes)?;
    }
    Ok(())
}

/// Reads elements of an array.
pub(super) fn elements(chunk: &Chunk, sink: &mut Sink) -> Result<(), Problem> {
    let broken = |line, why: &str, advice| Problem::NotJson { line, why: why.to_owned(), advice };
    let (mut last, mut whole) = (chunk.line, true);
    for (at, unit) in chunk.units().enumerate() {
        let blank = unit.bytes.len() - unit.bytes.trim_ascii_start().len();
        // Where the element itself begins: its line, and the column before it.
        let before = &unit.bytes[..blank];
        let line = unit.line + before.iter().filter(|&&b| b == b'\n').count() as u64;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count();
        let text = sink.text(&unit).map(str::trim_ascii);
        let row = match text {
            Ok("") => continue,
            Err(problem) => Err(problem),
            Ok(_) if chunk.closed.is_some_and(|closed| at >= closed) => {
                Err(broken(line, "text behind the end of the array", ""))
            }
            Ok("]") if unit.number == 0 => continue,
            Ok(text) => {
                let text = text.strip_suffix([',', ']']).unwrap_or(text);
                let place = || format!("row {}", unit.number + 1);
                parse(text).map_err(|e| e.problem(line, column, "")).and_then(|value| object(value, place))
            }
        };
        (last, whole) = (line, row.is_ok());
        sink.take(row, line, unit.bytes)?;
    }
    if chunk.cut_off && whole {
        sink.take(Err(broken(last, "the array never ends", "; was the file cut off?")), last, b"")?;
    }
    Ok(())
}

/// A list of rows inside the one object that a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Where it stands in the text, in bytes, with its brackets.
    pub(super) at: Range<u64>,
    /// The line on which it begins, from 1.
    pub(super) line: u64,
}

/// The one list of objects inside the object that a whole text is. Without one, or with several, it is not known what the
/// rows are.
pub(super) fn listed(text: &str, object: &Row) -> Result<Listed, Problem> {
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object));
    let keys: Vec<&String> = object.iter().filter(|(_, value)| is_list(value)).map(|(key, _)| key).collect();
    let found = lists(text).into_iter().rfind(|(key, _)| keys.contains(&key));
    match (&keys[..], found) {
        ([], _) => Err(Problem::OneObject(String::new())),
        ([_], Some((key, at))) => {
            let line = 1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..at.start]).count() as u64;
            Ok(Listed { key, at: at.start as u64..at.end as u64, line })
        }
        ([first, ..], _) => {
            Err(Problem::OneObject(format!(", here for example with: jq -c '.[{}][]'", Value::from(first.as_str()))))
        }
    }
}

/// The lists that are values of the object that a text is, each with its key and its place. The text is known to be JSON.
fn lists(text: &str) -> Vec<(String, Range<usize>)> {
    let (mut found, mut depth, mut key, mut start) = (Vec::new(), 0usize, String::new(), 0);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let mut end = at;
                while let Some((next, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => {
                            end = next;
                            break;
                        }
                        _ => {}
                    }
                }
                // A value may be taken for the key, until the next key comes.
                if depth == 1 {
                    key = text.get(at..=end).and_then(|key| serde_json::from_str(key).ok()).unwrap_or_default();
                }
            }
            b'[' | b'{' => {
                if depth == 1 {
                    start = at;
                }
                depth += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 1 && byte == b']' {
                    found.push((key.clone(), start..at + 1));
                }
            }
            _ => {}
        }
    }
    found
}

fn object(value: Value, place: impl Fn() -> String) -> Result<Row, Problem> {
    let what = match value {
        Value::Object(row) => return Ok(row),
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
    };
    Err(Problem::NotAnObject { place: place(), what })
}

/// Why a text is not JSON, or none that is kept whole.
#[derive(Debug)]
pub(super) enum Broken {
    Json(serde_json::Error, bool),
    Digits,
}

impl Broken {
    fn problem(self, line: u64, column: usize, advice: &'static str) -> Problem {
        let (error, nan) = match self {
            Broken::Json(error, nan) => (error, nan),
            Broken::Digits => {
                let (why, advice) = ("a whole number has more than 64 bits".to_owned(), "; write it as a string");
                return Problem::NotJson { line, why, advice };
            }
        };
        // The parser's own message ends with a position that is relative to the unit.
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        let column = error.column() + if error.line() == 1 { column } else { 0 };
        let advice = if nan { "; NaN and Infinity are no JSON, write null" } else { advice };
        let line = line + (error.line() as u64).saturating_sub(1);
        Problem::NotJson { line, why: format!("{why} (column {column})"), advice }
    }
}

/// Parses a text that is one value, of which nothing is lost.
pub(super) fn parse(text: &str) -> Result<Value, Broken> {
    let (huge, left) = (Cell::new(false), Cell::new(MAX_VALUES));
    let mut parser = serde_json::Deserializer::from_str(text);
    let value =
        Seed { huge: &huge, left: &left }.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    let value = value.map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
        // The parser stands at the word's first letter, or behind its sign.
        let at = error.column().saturating_sub(1);
        let nan = ["NaN", "Infinity"].iter().any(|word| line.get(at..).is_some_and(|rest| rest.starts_with(word)));
        Broken::Json(error, nan)
    })?;
    if huge.get() && whole_beyond_64_bits(text) { Err(Broken::Digits) } else { Ok(value) }
}

/// Whether a number without fraction and exponent is too large for 64 bits; the parser would round it.
fn whole_beyond_64_bits(text: &str) -> bool {
    let mut in_text = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if in_text => drop(bytes.next()),
            b'"' => in_text = !in_text,
            b'-' | b'0'..=b'9' if !in_text => {
                let rest = &text[at..];
                let end =
                    rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len());
                let number = &rest[..end];
                let whole = !number.contains(['.', 'e', 'E']);
                if whole && number.parse::<u64>().is_err() && number.parse::<i64>().is_err() {
                    return true;
                }
                if end > 1 {
                    bytes.nth(end - 2);
                }
            }
            _ => {}
        }
    }
    false
}

/// Reads a value, refuses a key that stands twice in one object and too many values, and notes a number that may have been
/// a whole one.
#[derive(Clone, Copy)]
struct Seed<'a> {
    huge: &'a Cell<bool>,
    /// How many values there may be yet.
    left: &'a Cell<usize>,
}

impl Seed<'_> {
    fn count<E: Error>(self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(E::custom(format_args!("it holds more than {MAX_VALUES} values"))),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        // The smallest whole number that does not fit into i64 below zero.
        if n.abs() >= 9.2e18 {
            self.huge.set(true);
        }
        Ok(n.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            self.count()?;
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            self.count()?;
            match object.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(entry) => {
                    let twice = format_args!("the key {:?} stands twice in one object", entry.key());
                    return Err(A::Error::custom(twice));
                }
            }
        }
        Ok(object.into())
    }
}
