//! The replacement of `re.sub`.

use super::{Match, translate::Translated};

/// A piece of a replacement.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Group(usize),
}

/// Reads `\1`, `\g<name>` and the escapes of Python's texts.
pub(super) fn parse(replacement: &str, pattern: &Translated) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { return Err("a backslash ends the replacement".into()) };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(named) = rest.strip_prefix("g<") {
            let (name, after) = named.split_once('>').ok_or("the name of a group is not closed")?;
            let number = pattern.names.get(name).copied().or_else(|| name.parse().ok());
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Group(number.ok_or_else(|| format!("there is no group `{name}`"))?));
            rest = after;
        } else if let Some((code, length)) = octal(rest) {
            text.push(code);
            rest = &rest[length..];
        } else if digits > 0 {
            let length = digits.min(2);
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Group(rest[..length].parse().unwrap_or(0)));
            rest = &rest[length..];
        } else {
            match c {
                'a' => text.push('\u{7}'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'v' => text.push('\u{b}'),
                '\\' => text.push('\\'),
                c if c.is_ascii_alphabetic() => return Err(format!(r"the escape `\{c}` is not one of a replacement")),
                c => text.extend(['\\', c]),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    match parts.iter().find(|part| matches!(part, Part::Group(n) if *n > pattern.groups)) {
        Some(Part::Group(n)) => Err(format!("there is no group {n}")),
        _ => Ok(parts),
    }
}

/// A character by its octal code: `\0`, or three digits of which the first is at most 3.
fn octal(rest: &str) -> Option<(char, usize)> {
    let digits = rest.bytes().take(3).take_while(|b| (b'0'..b'8').contains(b)).count();
    let length = if rest.starts_with('0') { digits.min(3) } else { digits };
    if length == 0 || !(rest.starts_with('0') || length == 3) {
        return None;
    }
    Some((char::from_u32(u32::from_str_radix(&rest[..length], 8).ok()?)?, length))
}

pub(super) fn expand(parts: &[Part], found: &Match<'_>, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Group(number) => out.push_str(found.group(*number).unwrap_or_default()),
        }
    }
}
