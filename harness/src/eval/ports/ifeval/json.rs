//! Whether Python's `json.loads` takes a text.

/// Deeper nesting is refused: Python fails on it in ways that depend on its stack.
const DEEPEST: usize = 900;

/// Digits of a whole number from which on Python refuses to read it.
const MOST_DIGITS: usize = 4300;

/// Whether the text is JSON for Python, which also takes `NaN` and `Infinity`.
pub(super) fn is_json(text: &str) -> Result<bool, String> {
    let mut rest = blanks(text);
    // The brackets that are open, by how they are closed.
    let mut open: Vec<char> = Vec::new();
    loop {
        let value = match rest.chars().next() {
            Some('[') => container(rest, ']'),
            Some('{') => container(rest, '}'),
            _ => scalar(rest).map(|rest| (rest, None)),
        };
        let Some((after, opened)) = value else { return Ok(false) };
        rest = blanks(after);
        if let Some(close) = opened {
            open.push(close);
            if open.len() > DEEPEST {
                return Err(format!("is about JSON that is nested deeper than {DEEPEST}"));
            }
        } else {
            // A value has ended, and with it perhaps some of what it stands in.
            while let Some(after) = open.last().and_then(|close| rest.strip_prefix(*close)) {
                open.pop();
                rest = blanks(after);
            }
            match open.last() {
                None => return Ok(rest.is_empty()),
                Some(_) => match rest.strip_prefix(',') {
                    Some(after) => rest = blanks(after),
                    None => return Ok(false),
                },
            }
        }
        if open.last() == Some(&'}') {
            match key(rest) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
    }
}

fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

/// What follows a list or map that is empty, or its bracket and how that is closed.
fn container(text: &str, close: char) -> Option<(&str, Option<char>)> {
    let inside = blanks(&text[1..]);
    match inside.strip_prefix(close) {
        Some(after) => Some((after, None)),
        None => Some((inside, Some(close))),
    }
}

fn key(text: &str) -> Option<&str> {
    Some(blanks(blanks(string(text)?).strip_prefix(':')?))
}

fn scalar(text: &str) -> Option<&str> {
    if text.starts_with('"') {
        return string(text);
    }
    let words = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
    words.into_iter().find_map(|word| text.strip_prefix(word)).or_else(|| number(text))
}

fn string(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('"')?;
    loop {
        let at = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
        let after = &rest[at + 1..];
        match rest.as_bytes()[at] {
            b'"' => return Some(after),
            b'\\' if after.starts_with('u') => {
                let code = after.get(1..5)?;
                if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                rest = &after[5..];
            }
            b'\\' => rest = after.strip_prefix(['"', '\\', '/', 'b', 'f', 'n', 'r', 't'])?,
            _ => return None,
        }
    }
}

fn number(text: &str) -> Option<&str> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = if unsigned.starts_with('0') { 1 } else { digits(unsigned) };
    if whole == 0 {
        return None;
    }
    let mut rest = &unsigned[whole..];
    let mut is_whole = true;
    if let Some(after) = rest.strip_prefix('.').filter(|after| digits(after) > 0) {
        rest = &after[digits(after)..];
        is_whole = false;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        if digits(after) > 0 {
            rest = &after[digits(after)..];
            is_whole = false;
        }
    }
    (!is_whole || whole <= MOST_DIGITS).then_some(rest)
}
