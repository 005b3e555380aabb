//! `ast.literal_eval`: the values that Python's literals stand for.

use std::collections::HashMap;

use serde_json::{Number, Value};

use super::strings::is_space;

mod text;

/// Deeper nesting is refused: the reader is recursive.
const DEEPEST: usize = 100;

/// What a literal stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a point or an exponent.
    Float(f64),
    /// A text.
    Str(String),
    /// `[…]`.
    List(Vec<Literal>),
    /// `(…)`.
    Tuple(Vec<Literal>),
    /// `{…}`, as written.
    Set(Vec<Literal>),
    /// `{…: …}`, as written.
    Dict(Vec<(Literal, Literal)>),
}

impl Literal {
    /// The same as JSON: tuples and sets are lists there, and keys are texts. `None` where JSON has no such value.
    pub fn into_json(self) -> Option<Value> {
        let list = |items: Vec<Literal>| items.into_iter().map(Self::into_json).collect::<Option<_>>();
        Some(match self {
            Self::None => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Number(Number::from_i128(value)?),
            Self::Float(value) => Value::Number(Number::from_f64(value)?),
            Self::Str(text) => Value::String(text),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Value::Array(list(items)?),
            Self::Dict(pairs) => {
                let pair = |(key, value): (Literal, Literal)| match key {
                    Self::Str(key) => Some((key, value.into_json()?)),
                    _ => None,
                };
                Value::Object(pairs.into_iter().map(pair).collect::<Option<_>>()?)
            }
        })
    }
}

/// Why a text is not a literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Python literal: {message} at character {at}")]
pub struct Error {
    /// What is wrong.
    pub message: &'static str,
    /// Where, in characters from the start.
    pub at: usize,
}

/// Reads `text` as Python's `ast.literal_eval` does. Bytes, complex numbers and names of characters are refused.
pub fn literal_eval(text: &str) -> Result<Literal, Error> {
    let text = text.trim_start_matches([' ', '\t']);
    let mut reader = Reader { rest: text, all: text, depth: 0, brackets: 0 };
    reader.empty_lines()?;
    let value = reader.expression_list()?;
    // What follows an expression may be line breaks.
    reader.brackets = 1;
    reader.blanks();
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.error("something follows the value")) }
}

struct Reader<'a> {
    rest: &'a str,
    all: &'a str,
    depth: usize,
    /// Line breaks count as blanks inside of brackets only.
    brackets: usize,
}

impl Reader<'_> {
    fn error(&self, message: &'static str) -> Error {
        Error { message, at: self.all[..self.all.len() - self.rest.len()].chars().count() }
    }

    fn blanks(&mut self) {
        loop {
            let before = self.rest.len();
            let inside = self.brackets > 0;
            self.rest = self
                .rest
                .trim_start_matches(|c| matches!(c, ' ' | '\t' | '\u{c}') || (inside && matches!(c, '\n' | '\r')));
            for joint in ["\\\n", "\\\r\n"] {
                self.rest = self.rest.strip_prefix(joint).unwrap_or(self.rest);
            }
            if self.rest.starts_with('#') {
                self.rest = &self.rest[self.rest.find(['\n', '\r']).unwrap_or(self.rest.len())..];
            }
            if self.rest.len() == before {
                return;
            }
        }
    }

    /// Skips lines without code; the first with code must not be indented.
    fn empty_lines(&mut self) -> Result<(), Error> {
        self.blanks();
        while self.rest.starts_with(['\n', '\r']) {
            self.rest = self.rest.trim_start_matches(['\n', '\r']);
            let indented = self.rest.starts_with([' ', '\t']);
            self.blanks();
            if indented && !self.rest.starts_with(['\n', '\r']) {
                return Err(self.error("the line is indented"));
            }
        }
        Ok(())
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A value, or several with commas between them, which are a tuple.
    fn expression_list(&mut self) -> Result<Literal, Error> {
        let first = self.value()?;
        self.blanks();
        if !self.rest.starts_with(',') {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(',') {
            self.blanks();
            if self.rest.is_empty() || self.rest.starts_with([')', '\n', '\r']) {
                break;
            }
            items.push(self.value()?);
            self.blanks();
        }
        Ok(Literal::Tuple(items))
    }

    fn value(&mut self) -> Result<Literal, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("it is nested too deeply"));
        }
        let value = self.value_inside();
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self) -> Result<Literal, Error> {
        match self.rest.chars().next() {
            Some('[') => self.bracket(']', |reader| Ok(Literal::List(reader.items(']')?))),
            Some('(') => self.bracket(')', |reader| match reader.rest.starts_with(')') {
                true => Ok(Literal::Tuple(Vec::new())),
                false => reader.expression_list(),
            }),
            Some('{') => self.bracket('}', Self::braces),
            Some('+' | '-') => self.signed(),
            Some('0'..='9' | '.') => self.number(),
            Some('\'' | '"') => self.strings(),
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            Some(_) => Err(self.error("this is no value")),
            None => Err(self.error("a value is missing")),
        }
    }

    fn bracket(
        &mut self,
        close: char,
        inside: impl FnOnce(&mut Self) -> Result<Literal, Error>,
    ) -> Result<Literal, Error> {
        self.rest = &self.rest[1..];
        self.brackets += 1;
        self.blanks();
        let value = inside(self)?;
        self.blanks();
        if !self.eat(close) {
            return Err(self.error("a bracket is not closed here"));
        }
        self.brackets -= 1;
        Ok(value)
    }

    fn items(&mut self, close: char) -> Result<Vec<Literal>, Error> {
        let mut items = Vec::new();
        while !self.rest.starts_with(close) {
            items.push(self.value()?);
            self.blanks();
            if !self.eat(',') {
                break;
            }
            self.blanks();
        }
        Ok(items)
    }

    fn braces(&mut self) -> Result<Literal, Error> {
        if self.rest.starts_with('}') {
            return Ok(Literal::Dict(Vec::new()));
        }
        let first = self.value()?;
        self.blanks();
        if !self.rest.starts_with(':') {
            let mut items = vec![first];
            if self.eat(',') {
                self.blanks();
                items.extend(self.items('}')?);
            }
            return Ok(Literal::Set(items));
        }
        let mut pairs: Vec<(Literal, Literal)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut key = first;
        loop {
            self.blanks();
            if !self.eat(':') {
                return Err(self.error("a colon is missing"));
            }
            self.blanks();
            let value = self.value()?;
            match *places.entry(format!("{key:?}")).or_insert(pairs.len()) {
                place if place < pairs.len() => pairs[place].1 = value,
                _ => pairs.push((key, value)),
            }
            self.blanks();
            if !self.eat(',') {
                break;
            }
            self.blanks();
            if self.rest.starts_with('}') {
                break;
            }
            key = self.value()?;
        }
        Ok(Literal::Dict(pairs))
    }

    fn signed(&mut self) -> Result<Literal, Error> {
        let negative = self.rest.starts_with('-');
        self.rest = &self.rest[1..];
        self.blanks();
        if self.rest.starts_with(['+', '-']) {
            return Err(self.error("a number has one sign"));
        }
        match self.value()? {
            Literal::Int(value) => Ok(Literal::Int(if negative { -value } else { value })),
            Literal::Float(value) => Ok(Literal::Float(if negative { -value } else { value })),
            _ => Err(self.error("only numbers have a sign")),
        }
    }

    fn number(&mut self) -> Result<Literal, Error> {
        let radix = match self.rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => Some(16),
            Some("0o") => Some(8),
            Some("0b") => Some(2),
            _ => None,
        };
        let mut before = ' ';
        let end = self.rest.find(|c: char| {
            let exponent = matches!(c, '+' | '-') && radix.is_none() && matches!(before, 'e' | 'E');
            before = c;
            !(c.is_alphanumeric() || matches!(c, '.' | '_') || exponent)
        });
        let token = &self.rest[..end.unwrap_or(self.rest.len())];
        let parts: Vec<&str> = token.split('_').collect();
        let digit_beside = |part: &&str| !part.is_empty();
        let lone = token.contains("_.") || token.contains("._") || !parts.iter().all(digit_beside);
        if lone || !token.is_ascii() {
            return Err(self.error("this is no number"));
        }
        let plain = parts.concat();
        let value = if let Some(radix) = radix {
            i128::from_str_radix(plain.get(2..).unwrap_or_default(), radix).ok().map(Literal::Int)
        } else if plain.bytes().all(|b| b.is_ascii_digit()) {
            let leading_zero = plain.starts_with('0') && plain.bytes().any(|b| b != b'0');
            if leading_zero { None } else { plain.parse().ok().map(Literal::Int) }
        } else if plain.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
            plain.parse().ok().map(Literal::Float)
        } else {
            None
        };
        let value = value.ok_or_else(|| self.error("this is no number"))?;
        self.rest = &self.rest[token.len()..];
        Ok(value)
    }

    fn word(&mut self) -> Result<Literal, Error> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        if after.starts_with(['\'', '"']) {
            return self.strings();
        }
        let value = match word {
            "None" => Literal::None,
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            "set" if after.starts_with("()") => {
                self.rest = &after["()".len()..];
                return Ok(Literal::Set(Vec::new()));
            }
            _ => return Err(self.error("this is a name, not a value")),
        };
        self.rest = after;
        Ok(value)
    }
}

/// `int(text)` for a text of digits, with white space and a sign around them.
pub fn int(text: &str) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let groups: Vec<&str> = digits.split('_').collect();
    if !groups.iter().all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let value: i128 = groups.concat().parse().ok()?;
    Some(if negative { -value } else { value })
}
