//! JSON as small models write it: Python's quotes and words, bare keys, commas too many, and ends that are missing.
//!
//! What has one reading is read; all else is refused, with the error of the strict parser.

use serde_json::{Map, Value};

use super::Repair;

/// Nested deeper than this is refused, as the strict parser does.
const DEPTH: usize = 128;

/// The value, and what was mended to read it. `whole` is whether the text has its end: what was cut off is not closed.
pub fn value(text: &str, whole: bool) -> Option<(Value, Vec<Repair>)> {
    let mut reader = Reader { rest: text, whole, repairs: Vec::new() };
    let value = reader.value(0)?;
    reader.space();
    if !reader.rest.is_empty() {
        // One bracket too many says nothing; anything else would be lost.
        reader.rest.chars().all(|c| matches!(c, '}' | ']') || c.is_ascii_whitespace()).then_some(())?;
        reader.repair(Repair::Surplus);
    }
    Some((value, reader.repairs))
}

struct Reader<'a> {
    rest: &'a str,
    whole: bool,
    repairs: Vec<Repair>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.space();
        match self.rest.chars().next()? {
            _ if depth > DEPTH => None,
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' | '\'' => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut map = Map::new();
        self.skip(1);
        while self.more('}', !map.is_empty())? {
            let key = self.key()?;
            self.space();
            self.take(':').then_some(())?;
            map.insert(key, self.value(depth + 1)?);
        }
        Some(Value::Object(map))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut list = Vec::new();
        self.skip(1);
        while self.more(']', !list.is_empty())? {
            list.push(self.value(depth + 1)?);
        }
        Some(Value::Array(list))
    }

    /// Goes on to the next element, or over the bracket that ends them. `after` is whether there was one before.
    fn more(&mut self, close: char, after: bool) -> Option<bool> {
        self.space();
        let comma = after && self.take(',');
        self.space();
        let ends = self.rest.is_empty() || self.rest.starts_with(close);
        if ends && comma {
            self.repair(Repair::Comma);
        }
        match ends {
            true if self.take(close) => Some(false),
            true => self.closed().then_some(false),
            // Elements that nothing separates have no one reading.
            false => (comma || !after).then_some(true),
        }
    }

    fn key(&mut self) -> Option<String> {
        if self.rest.starts_with(['"', '\'']) {
            return self.string();
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        let key = self.rest[..end].to_owned();
        key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(())?;
        self.skip(end);
        self.repair(Repair::Key);
        Some(key)
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        self.skip(1);
        if quote == '\'' {
            self.repair(Repair::Quotes);
        }
        let mut text = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else { return self.closed().then_some(text) };
            self.skip(c.len_utf8());
            match c {
                c if c == quote => return Some(text),
                '\\' => text.push(self.escape()?),
                '\n' | '\r' | '\t' => {
                    self.repair(Repair::Breaks);
                    text.push(c);
                }
                c if c < ' ' => return None,
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        if self.take('\'') {
            self.repair(Repair::Quotes);
            return Some('\'');
        }
        // Two escapes may make one character; the strict parser knows how.
        let one = if self.rest.starts_with('u') { 5 } else { 1 };
        let pair = one + 6;
        [one, pair].into_iter().find_map(|length| {
            let escape = self.rest.get(..length)?;
            let text: String = serde_json::from_str(&format!("\"\\{escape}\"")).ok()?;
            let mut chars = text.chars();
            let (first, None) = (chars.next()?, chars.next()) else { return None };
            self.skip(length);
            Some(first)
        })
    }

    /// A number, or one of JSON's and Python's words.
    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
        let word = &self.rest[..end.unwrap_or(self.rest.len())];
        let python = match word {
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "None" => Some(Value::Null),
            _ => None,
        };
        let value = match &python {
            Some(value) => value.clone(),
            None => serde_json::from_str(word).ok()?,
        };
        self.skip(word.len());
        if python.is_some() {
            self.repair(Repair::Word);
        }
        Some(value)
    }

    /// Whether what is open where the text ends may be closed.
    fn closed(&mut self) -> bool {
        self.repair(Repair::Unclosed);
        self.whole
    }

    fn repair(&mut self, repair: Repair) {
        if !self.repairs.contains(&repair) {
            self.repairs.push(repair);
        }
    }

    fn take(&mut self, c: char) -> bool {
        let taken = self.rest.starts_with(c);
        if taken {
            self.skip(c.len_utf8());
        }
        taken
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}
