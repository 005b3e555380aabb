//! Python's view of white space, and texts of values.

use serde_json::Value;

/// Whether Python's `str.isspace` and `\s` hold for a character: Unicode's white space and four control characters.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.split()`: the words between runs of white space.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Number of parts of Python's `re.split(r"\s+", text)`, empty ones at the ends included.
pub(crate) fn parts(text: &str) -> usize {
    let mut runs = 0;
    let mut inside = false;
    for c in text.chars() {
        let space = is_space(c);
        runs += usize::from(space && !inside);
        inside = space;
    }
    runs + 1
}

/// Python's `str()` of a value that is no list and no map.
pub(crate) fn print(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => print_float(float),
            None => number.to_string(),
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// Python's `repr` of a float: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
fn print_float(x: f64) -> String {
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1c}\u{a0} a b\u{3000}\u{85}"), "a b");
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
        assert_eq!(words("\u{1d}a\t\nb ").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(["", " ", "a", "a  b", " a b "].map(parts), [1, 2, 1, 2, 4]);
    }

    #[test]
    fn values_print_as_python_prints_them() {
        let values = [json!(null), json!(true), json!(-3), json!(0.5), json!(1e16), json!(1.5e-5), json!(123456.0), json!("a")];
        let got: Vec<_> = values.iter().filter_map(print).collect();
        assert_eq!(got, ["None", "True", "-3", "0.5", "1e+16", "1.5e-05", "123456.0", "a"]);
        assert_eq!(print(&json!([1])), None);
    }
}
