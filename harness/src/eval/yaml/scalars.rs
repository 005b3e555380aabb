//! What a scalar means: the resolvers and constructors of PyYAML's `SafeLoader`.

use serde_json::{Number, Value};

/// The value of a plain scalar. The order of the questions does not matter: no text has two meanings.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(true.into()),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Ok(false.into()),
        "=" => return Err("a lone = has no meaning here; write \"=\"".into()),
        _ => {}
    }
    if looks_like_float(text) {
        float(text)
    } else if looks_like_int(text) {
        int(text)
    } else {
        Ok(text.into())
    }
}

/// The value of a scalar with a tag of YAML's own, such as `!!str`.
pub(super) fn tagged(kind: &str, text: &str) -> Result<Value, String> {
    match kind {
        "str" | "timestamp" => Ok(text.into()),
        "null" => Ok(Value::Null),
        "int" => int(text),
        "float" => float(text),
        "bool" => match text.to_lowercase().as_str() {
            "yes" | "true" | "on" => Ok(true.into()),
            "no" | "false" | "off" => Ok(false.into()),
            _ => Err(format!("{text:?} is not true or false")),
        },
        _ => Err(format!("the tag !!{kind} is not known here; leave it out")),
    }
}

/// The text that Python's `str()` gives for a key. Lists and maps are no keys in Python either.
pub(super) fn key(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if text == "!function" => {
            Err("!function is a tag, not a key; write KEY: !function …".into())
        }
        Value::String(text) => Ok(text),
        Value::Null => Ok("None".into()),
        Value::Bool(true) => Ok("True".into()),
        Value::Bool(false) => Ok("False".into()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Array(_) | Value::Object(_) => Err("a list or a map is no key; quote the text if it is one".into()),
    }
}

/// What is left after one or no sign.
fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(|c| allowed(c) || c == '_')
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn digits(text: &str) -> bool {
    starts_with_digit(text) && all(text, |c| c.is_ascii_digit())
}

/// `:[0-5]?[0-9]`, once or more, after the first part.
fn sixties<'a>(mut parts: impl Iterator<Item = &'a str>) -> bool {
    parts.all(|part| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    })
}

fn looks_like_int(text: &str) -> bool {
    let text = unsigned(text);
    if let Some(rest) = text.strip_prefix("0b") {
        return all(rest, |c| matches!(c, '0' | '1'));
    }
    if let Some(rest) = text.strip_prefix("0x") {
        return all(rest, |c| c.is_ascii_hexdigit());
    }
    if let Some(rest) = text.strip_prefix('0') {
        return rest.is_empty() || all(rest, |c| matches!(c, '0'..='7'));
    }
    let mut parts = text.split(':');
    parts.next().is_some_and(digits) && sixties(parts)
}

fn looks_like_float(text: &str) -> bool {
    if matches!(unsigned(text), ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = text.split_once('.') else { return false };
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    // PyYAML wants the sign of the exponent: 1.0e5 is a text to it.
    let exponent_fits = exponent.is_none_or(|e| {
        e.strip_prefix(['-', '+']).is_some_and(|e| !e.is_empty() && e.bytes().all(|b| b.is_ascii_digit()))
    });
    let fraction_fits = fraction.is_empty() || all(fraction, |c| c.is_ascii_digit());
    if whole.is_empty() {
        return digits(fraction) && exponent_fits;
    }
    let mut parts = unsigned(whole).split(':');
    let whole_fits = parts.next().is_some_and(digits);
    match whole.contains(':') {
        true => whole_fits && sixties(parts) && fraction_fits && exponent.is_none(),
        false => whole_fits && fraction_fits && exponent_fits,
    }
}

fn int(text: &str) -> Result<Value, String> {
    let bare = text.replace('_', "");
    let sign = if bare.starts_with('-') { -1 } else { 1 };
    let bare = unsigned(&bare);
    let value = if let Some(rest) = bare.strip_prefix("0b") {
        i128::from_str_radix(rest, 2).ok()
    } else if let Some(rest) = bare.strip_prefix("0x") {
        i128::from_str_radix(rest, 16).ok()
    } else if bare.starts_with('0') {
        i128::from_str_radix(bare, 8).ok()
    } else {
        bare.split(':').try_fold(0_i128, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))
    };
    // A second sign would be read by the parser of the standard library.
    let value = value.filter(|_| starts_with_digit(bare)).map(|value| sign * value);
    let number =
        value.and_then(|v| i64::try_from(v).map(Number::from).or_else(|_| u64::try_from(v).map(Number::from)).ok());
    number.map(Value::Number).ok_or_else(|| format!("{text} is not an integer of 64 bits; quote it if it is a text"))
}

fn float(text: &str) -> Result<Value, String> {
    let bare = text.replace('_', "").to_lowercase();
    let negative = bare.starts_with('-');
    let bare = unsigned(&bare);
    match bare {
        ".inf" => return Ok(if negative { "-inf" } else { "inf" }.into()),
        ".nan" => return Ok("nan".into()),
        _ => {}
    }
    let wrong = || format!("{text} is not a number that is read; quote it if it is a text");
    if bare.contains(|c: char| c.is_alphabetic() && c != 'e') {
        return Err(wrong());
    }
    // From the last part on, in PyYAML's order of additions, so that the sum rounds as it does there.
    let (mut base, mut sum) = (1.0, 0.0);
    for part in bare.rsplit(':') {
        sum += part.parse::<f64>().map_err(|_| wrong())? * base;
        base *= 60.0;
    }
    // Python writes 1e999 as an infinity too.
    match Number::from_f64(if negative { -sum } else { sum }) {
        Some(number) => Ok(Value::Number(number)),
        None => Ok(if negative { "-inf" } else { "inf" }.into()),
    }
}
