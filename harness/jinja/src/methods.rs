//! Methods of Python's texts and lists that minijinja's compatibility layer does not have.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::{
    functions::{narrow, narrow_fields},
    python::strings,
};

pub(crate) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if value.kind() == ValueKind::String
        && let Some(text) = value.as_str()
        && let Some(result) = text_method(text, method, args)?
    {
        return Ok(result);
    }
    if value.kind() == ValueKind::Seq && method == "index" {
        let (what,): (Value,) = from_args(args)?;
        let found = value.try_iter()?.position(|item| item == what);
        return found.map(Value::from).ok_or_else(|| bad("the value is not in the list"));
    }
    unknown_method_callback(state, value, method, args)
}

fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if args.is_empty()
        && let Some(value) = white_space_method(text, method)
    {
        return Ok(Some(value));
    }
    Ok(Some(match method {
        "splitlines" => {
            let (keep_ends,): (bool,) = from_args(args)?;
            Value::from_iter(strings::split_lines(text, keep_ends))
        }
        "split" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most = most.and_then(|n| usize::try_from(n).ok());
            match (separator, most) {
                (None, most) => Value::from_iter(strings::split_words(text, most)),
                (Some(""), _) => return Err(bad("empty separator")),
                (Some(separator), Some(most)) => Value::from_iter(text.splitn(most + 1, separator)),
                (Some(separator), None) => Value::from_iter(text.split(separator)),
            }
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (head, tail) = text.split_once(separator).unwrap_or((text, ""));
            let found = if head.len() < text.len() { separator } else { "" };
            Value::from_iter([head, found, tail])
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            match text.rsplit_once(separator) {
                Some((head, tail)) => Value::from_iter([head, separator, tail]),
                None => Value::from_iter(["", "", text]),
            }
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let parts = rsplit(text, separator, most.and_then(|n| usize::try_from(n).ok()));
            Value::from_iter(parts)
        }
        "index" => {
            let (what,): (&str,) = from_args(args)?;
            match text.find(what) {
                Some(at) => text[..at].chars().count().into(),
                None => return Err(bad("substring not found")),
            }
        }
        "casefold" => {
            let () = from_args(args)?;
            text.to_lowercase().into()
        }
        "format" => {
            narrow_fields(text)?;
            return Ok(None);
        }
        "ljust" | "rjust" | "center" | "zfill" => pad(text, method, args)?.into(),
        _ => return Ok(None),
    }))
}

/// Methods without arguments that depend on Python's own sets of characters.
fn white_space_method(text: &str, method: &str) -> Option<Value> {
    Some(match method {
        "strip" => strings::strip(text).into(),
        "lstrip" => strings::lstrip(text).into(),
        "rstrip" => strings::rstrip(text).into(),
        "split" => Value::from_iter(strings::words(text)),
        "splitlines" => Value::from_iter(strings::split_lines(text, false)),
        "title" => strings::title(text).into(),
        "capitalize" => strings::capitalize(text).into(),
        "isdigit" => strings::is_digit(text).into(),
        "isspace" => (!text.is_empty() && text.chars().all(strings::is_space)).into(),
        _ => return None,
    })
}

/// Splits from the right, at most `most` times; without a separator at runs of white space.
fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Vec<String> {
    let most = most.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = match separator {
        Some(_) => text,
        None => strings::strip(text),
    };
    while parts.len() < most {
        let split = match separator {
            Some(separator) if !separator.is_empty() => rest.rsplit_once(separator),
            Some(_) => None,
            None => rest.rsplit_once(strings::is_space).map(|(head, tail)| (strings::rstrip(head), tail)),
        };
        let Some((head, tail)) = split else { break };
        parts.push(tail.to_string());
        rest = head;
    }
    if separator.is_some() || !rest.is_empty() {
        parts.push(rest.to_string());
    }
    parts.reverse();
    parts
}

fn pad(text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    narrow(width)?;
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(bad("the fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(text.chars().count());
    let fill = |n: usize| fill.repeat(n);
    Ok(match method {
        "ljust" => format!("{text}{}", fill(missing)),
        "rjust" => format!("{}{text}", fill(missing)),
        "zfill" => {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        _ => {
            // Python puts the odd blank on the left when both the gap and the width are odd.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", fill(left), fill(missing - left))
        }
    })
}

fn bad(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
