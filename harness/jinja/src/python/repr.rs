//! `str` and `repr` of Python's values.

use std::{fmt::Write, sync::LazyLock};

use fancy_regex::Regex;
use minijinja::{
    Error, Value,
    value::{Serde, Tuple, ValueKind},
};
use serde::Serialize;

use crate::functions::limit;

/// Deeper values are cut off: the writer is recursive.
const DEEPEST: usize = 200;

/// What `json.dumps(value, indent=indent, ensure_ascii=False)` writes.
pub fn dumps(value: impl Serialize, indent: Option<usize>) -> Result<String, crate::Error> {
    crate::json::dumps(&Value::from(Serde(value)), indent).map_err(|e| crate::Error::Render(crate::one_line(&e)))
}

/// `str(value)`: texts as they are, everything else as `repr` writes it.
pub fn str_of(value: impl Serialize) -> String {
    str_within(&Value::from(Serde(value)), usize::MAX)
}

/// `repr(value)`.
pub fn repr_of(value: impl Serialize) -> String {
    let mut out = String::new();
    write(&mut out, &Value::from(Serde(value)), 0, usize::MAX);
    out
}

/// `str(value)` of a template's value; an error where it is too long. A list that holds itself twice, which holds itself
/// twice, and so on is small in memory and endless on paper.
pub(crate) fn str_of_value(value: &Value) -> Result<String, Error> {
    let text = str_within(value, crate::LONGEST_OUTPUT);
    limit(text.len()).map(|()| text)
}

/// `str(value)`; what is longer than `most` bytes ends somewhere behind them.
fn str_within(value: &Value, most: usize) -> String {
    match value.as_str() {
        Some(text) if value.kind() == ValueKind::String => text.to_string(),
        _ => {
            let mut out = String::new();
            if !value.is_undefined() {
                write(&mut out, value, 0, most);
            }
            out
        }
    }
}

fn write(out: &mut String, value: &Value, depth: usize, most: usize) {
    if out.len() > most {
        return;
    }
    if depth > DEEPEST {
        return out.push_str("...");
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => match value.is_integer() {
            true => out.push_str(&value.to_string()),
            false => out.push_str(&f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)),
        },
        ValueKind::String => string(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let tuple = value.downcast_object_ref::<Tuple>().is_some();
            let [open, close] = if tuple { ['(', ')'] } else { ['[', ']'] };
            out.push(open);
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                out.push_str(if count > 0 { ", " } else { "" });
                write(out, &item, depth + 1, most);
                count += 1;
            }
            out.push_str(if tuple && count == 1 { "," } else { "" });
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(out, &key, depth + 1, most);
                out.push_str(": ");
                write(out, &value.get_item(&key).unwrap_or_default(), depth + 1, most);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// A float as `repr` writes it: the shortest digits that read back, with an exponent outside of 1e-4 to 1e16.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let short = format!("{x:e}");
    let (mantissa, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        if plain.contains('.') { plain } else { plain + ".0" }
    } else {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

/// A text in quotes: single ones, unless it holds a single and no double one.
fn string(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a text cannot fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// `str.isprintable` of one character: neither of the categories "other" and "separator", the blank aside.
fn is_printable(c: char) -> bool {
    static HIDDEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{C}\p{Z}]").ok());
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let hidden = HIDDEN.as_ref().and_then(|hidden| hidden.is_match(c.encode_utf8(&mut [0; 4])).ok());
    !hidden.unwrap_or(false)
}
