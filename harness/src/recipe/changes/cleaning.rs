//! Ways to clean a text.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use icu_normalizer::ComposingNormalizerBorrowed;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way to clean texts. They are applied in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
// The words stay out of the schema, which a planner pays for.
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub enum Clean {
    // UTF-8 that was once read as Windows-1252 is read again: `Ã©` becomes `é`.
    Encoding,
    // Tags and comments of HTML go, and entities become their characters.
    Html,
    // Unicode's composed form (NFC).
    Unicode,
    // Control characters but line breaks and tabs go, and so do characters without width that join nothing.
    Control,
    // Runs of blanks become one, three line breaks or more become two, and both ends are trimmed.
    Spaces,
    // Both ends are trimmed.
    Trim,
    // Lower case.
    Lower,
}

/// A text, cleaned in all these ways; borrowed where nothing was to be done.
pub(super) fn all<'a>(text: &'a str, ways: &BTreeSet<Clean>) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for way in ways {
        if let Some(cleaned) = one(&text, *way) {
            text = Cow::Owned(cleaned);
        }
    }
    text
}

/// `None` where nothing changes.
fn one(text: &str, way: Clean) -> Option<String> {
    let changed = |cleaned: Cow<'_, str>| (cleaned != text).then(|| cleaned.into_owned());
    match way {
        Clean::Encoding => encoding(text),
        Clean::Html => changed(html(text)),
        Clean::Unicode => changed(ComposingNormalizerBorrowed::new_nfc().normalize(text)),
        Clean::Control => text.chars().any(is_noise).then(|| text.chars().filter(|c| !is_noise(*c)).collect()),
        Clean::Spaces => changed(Cow::Owned(spaces(text))),
        Clean::Trim => changed(Cow::Borrowed(text.trim())),
        Clean::Lower => text.chars().any(|c| c.is_uppercase() || !c.is_ascii()).then(|| text.to_lowercase()),
    }
}

/// Undoes the damage where the whole text is UTF-8 when it is written in Windows-1252.
fn encoding(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let (bytes, _, lossy) = encoding_rs::WINDOWS_1252.encode(text);
    (!lossy).then(|| String::from_utf8(bytes.into_owned()).ok()).flatten()
}

static TAG: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?s)<!--.*?-->|(?i)<(br|/p|/div|/li|/tr|/h[1-6])\b[^<>]*>|</?[a-zA-Z][^<>]*>|&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,6});").ok()
});

/// Blocks and line breaks of HTML end a line.
fn html(text: &str) -> Cow<'_, str> {
    let Some(tag) = TAG.as_ref().filter(|_| text.contains(['<', '&'])) else { return Cow::Borrowed(text) };
    tag.replace_all(text, |found: &regex::Captures<'_>| match (found.get(1), found.get(2)) {
        (Some(_), _) => "\n".to_owned(),
        (_, Some(name)) => entity(name.as_str()).unwrap_or_else(|| found[0].to_owned()),
        _ => String::new(),
    })
}

/// The character of an entity that texts hold again and again, or that is a number.
fn entity(name: &str) -> Option<String> {
    let code = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => {
            const KNOWN: [(&str, char); 17] = [
                ("amp", '&'),
                ("lt", '<'),
                ("gt", '>'),
                ("quot", '"'),
                ("apos", '\''),
                ("nbsp", '\u{a0}'),
                ("ndash", '–'),
                ("mdash", '—'),
                ("hellip", '…'),
                ("lsquo", '‘'),
                ("rsquo", '’'),
                ("ldquo", '“'),
                ("rdquo", '”'),
                ("euro", '€'),
                ("pound", '£'),
                ("copy", '©'),
                ("deg", '°'),
            ];
            KNOWN.iter().find(|(known, _)| *known == name)?.1.into()
        }
    };
    char::from_u32(code).filter(|c| *c != '\0').map(String::from)
}

/// Characters that nobody sees: controls, marks of byte order and direction, spaces and joiners without width. The joiner
/// that scripts and emoji need stays.
fn is_noise(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{ad}' => true,
        c => c.is_control(),
    }
}

fn spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines() {
        let from = out.len();
        for word in line.split_whitespace() {
            if out.len() > from {
                out.push(' ');
            }
            out.push_str(word);
        }
        empty = if out.len() == from { empty + 1 } else { 0 };
        if empty < 2 && !out.is_empty() {
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out
}
