//! The functions that transformers gives to chat templates.

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, escape_formatter, filters, functions,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs},
};

use crate::{
    json,
    python::{regex::Regex, repr, strings},
};

/// A fixed day for `strftime_now`: the real one would make two runs of the same template differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// For example 2026.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// Marks an error that `raise_exception` made, so that it can be told from a broken template.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) String);

pub(crate) fn register(environment: &mut Environment<'static>, today: Option<Today>) {
    environment.add_filter("tojson", json::tojson);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_filter("indent", indent);
    environment
        .add_filter("capitalize", |text: Value| repr::str_of_value(&text).map(|text| strings::capitalize(&text)));
    environment.add_filter("trim", trim);
    environment.add_filter("int", int);
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    environment.add_filter("regex_replace", regex_replace);
    environment.add_filter("join", join);
    environment.add_filter("slice", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        narrow(count).and_then(|()| filters::slice(state, value, count, fill))
    });
    environment.add_filter("batch", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        narrow(count).and_then(|()| filters::batch(state, value, count, fill))
    });
    environment.add_filter("format", |state: &mut State, text: &Value, values: Rest<ValueOrKwargs>| {
        narrow_fields(text.as_str().unwrap_or_default()).and_then(|()| filters::format(state, text, values))
    });
    environment.add_filter("string", |value: Value| repr::str_of_value(&value));
    environment.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        let text = message.to_string();
        Err(Error::new(ErrorKind::InvalidOperation, text.clone()).with_source(Raised(text)))
    });
    environment.add_function("dict", dict);
    if let Some(today) = today {
        environment.add_function("strftime_now", move |format: &str| today.format(format));
    }
}

/// As in Jinja, what is undefined has no length and none is an error.
fn length(value: Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("cannot calculate length of value of type {}", value.kind()))
    })
}

/// Jinja's `indent(width=4, first=False, blank=False)`; the width may be a text.
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    more: Kwargs,
) -> Result<String, Error> {
    let width = match width {
        Some(width) => Some(width),
        None => more.get("width")?,
    };
    let by = match &width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(width.clone())?.min(1000)),
        },
    };
    let first = first.or(more.get("first")?).unwrap_or(false);
    let blank = blank.or(more.get("blank")?).unwrap_or(false);
    more.assert_all_used()?;
    let mut out = String::new();
    for (number, line) in text.split('\n').enumerate() {
        let inside = number > 0 && (blank || !line.is_empty());
        out.push_str(if number > 0 { "\n" } else { "" });
        out.push_str(if inside || (number == 0 && first) { &by } else { "" });
        out.push_str(line.strip_suffix('\r').unwrap_or(line));
        limit(out.len())?;
    }
    Ok(out)
}

/// How much a template has written, also into macros and set blocks whose text is kept in memory.
#[derive(Debug, Default)]
struct Written(usize);

/// Writes a value as Python's `str` shows it, up to a limit for all of them together.
pub(crate) fn emit(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        // The engine refuses what is undefined where it must be.
        ValueKind::Undefined | ValueKind::String | ValueKind::Invalid => {
            count(state, value.as_str().map_or(0, str::len))?;
            escape_formatter(out, state, value)
        }
        _ => {
            let text = repr::str_of_value(value)?;
            count(state, text.len())?;
            Ok(out.write_str(&text)?)
        }
    }
}

fn count(state: &mut State, length: usize) -> Result<(), Error> {
    let written = state.get_or_insert_extension(Written::default());
    written.0 += length;
    limit(written.0 / 4)
}

/// No text that a filter or a method makes may be longer.
pub(crate) fn limit(length: usize) -> Result<(), Error> {
    match length <= crate::LONGEST_OUTPUT {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidOperation, "the text is too long")),
    }
}

/// Fields and rows that are wider than this are refused: a few characters would ask for all memory there is.
const WIDEST: usize = 100_000;

pub(crate) fn narrow(width: usize) -> Result<(), Error> {
    match width <= WIDEST {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidOperation, "the width is too large")),
    }
}

/// Refuses a pattern of `format` with a field that is too wide, which stands there in digits.
pub(crate) fn narrow_fields(pattern: &str) -> Result<(), Error> {
    let numbers = pattern.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let mut widths = numbers.map(|number| number.parse().unwrap_or(usize::MAX));
    widths.try_for_each(narrow)
}

/// Jinja's `join(d="", attribute=None)`, with values as Python's `str` shows them.
fn join(values: &Value, separator: Option<Value>, attribute: Option<Value>, more: Kwargs) -> Result<String, Error> {
    let separator = separator.or(more.get("d")?).map(|separator| repr::str_of_value(&separator)).transpose()?;
    let attribute = attribute.or(more.get("attribute")?);
    more.assert_all_used()?;
    let mut out = String::new();
    for (number, value) in values.try_iter()?.enumerate() {
        let value = match &attribute {
            Some(attribute) => value.get_item(attribute)?,
            None => value,
        };
        out.push_str(separator.as_deref().filter(|_| number > 0).unwrap_or_default());
        out.push_str(&repr::str_of_value(&value)?);
        limit(out.len())?;
    }
    Ok(out)
}

/// Jinja's `int(default=0, base=10)`: the default stands for all that is no number, and white space around one is allowed.
fn int(state: &State, value: &Value, default: Option<Value>, base: Option<u32>, more: Kwargs) -> Result<Value, Error> {
    let value = match (value.kind(), value.as_str()) {
        (ValueKind::Seq | ValueKind::Map, _) => Value::from(()),
        (ValueKind::String, Some(text)) => strings::strip(text).into(),
        _ => value.clone(),
    };
    let default = default.or(more.get("default")?).unwrap_or_else(|| Value::from(0));
    filters::int(state, &value, Some(default), base, more)
}

/// Jinja's `trim(chars=None)`: Python's `strip`.
fn trim(text: Value, chars: Option<&str>) -> Result<String, Error> {
    let text = repr::str_of_value(&text)?;
    Ok(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_string(),
        None => strings::strip(&text).to_string(),
    })
}

/// lm-eval's filter `regex_replace(pattern, repl, count=0)`: Python's `re.sub`.
fn regex_replace(text: &str, pattern: &str, replacement: &str, count: Option<usize>) -> Result<String, Error> {
    let replaced = Regex::new(pattern).and_then(|regex| regex.sub(replacement, text, count.unwrap_or(0)));
    let replaced = replaced.map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
    limit(replaced.len())?;
    Ok(replaced)
}

/// Python's `dict`, which besides a map takes pairs.
fn dict(value: Option<Value>, more: Kwargs) -> Result<Value, Error> {
    let value = match value {
        Some(pairs) if pairs.kind() == ValueKind::Seq => {
            let mut map = Vec::new();
            for pair in pairs.try_iter()? {
                map.push((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?));
            }
            Some(Value::from_pairs(map))
        }
        other => other,
    };
    functions::dict(value, more)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Today {
    /// Python's `strftime` at midnight of this day.
    fn format(&self, format: &str) -> Result<String, Error> {
        let month = MONTHS.get(self.month.wrapping_sub(1) as usize).copied().unwrap_or("");
        let weekday = DAYS[self.weekday()];
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('Y') => out.push_str(&self.year.to_string()),
                Some('y') => out.push_str(&format!("{:02}", self.year.rem_euclid(100))),
                Some('m') => out.push_str(&format!("{:02}", self.month)),
                Some('d') => out.push_str(&format!("{:02}", self.day)),
                Some('e') => out.push_str(&format!("{:2}", self.day)),
                Some('-') => match chars.next() {
                    Some('d') => out.push_str(&self.day.to_string()),
                    Some('m') => out.push_str(&self.month.to_string()),
                    other => return Err(unknown(other)),
                },
                Some('B') => out.push_str(month),
                Some('b' | 'h') => out.push_str(&month[..month.len().min(3)]),
                Some('A') => out.push_str(weekday),
                Some('a') => out.push_str(&weekday[..3]),
                Some('F') => out.push_str(&format!("{}-{:02}-{:02}", self.year, self.month, self.day)),
                Some('H' | 'M' | 'S') => out.push_str("00"),
                Some('I') => out.push_str("12"),
                Some('p') => out.push_str("AM"),
                Some('T') => out.push_str("00:00:00"),
                Some('%') => out.push('%'),
                other => return Err(unknown(other)),
            }
        }
        Ok(out)
    }

    /// Days since Sunday, by Sakamoto's method.
    fn weekday(&self) -> usize {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        let shift = SHIFT.get(self.month.wrapping_sub(1) as usize).copied().unwrap_or(0);
        (year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + shift + self.day as i32)
            .rem_euclid(7) as usize
    }
}

fn unknown(directive: Option<char>) -> Error {
    let name = directive.map(String::from).unwrap_or_default();
    Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know %{name}"))
}
