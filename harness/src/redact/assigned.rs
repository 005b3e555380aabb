//! Secrets of no known form, which the name beside them gives away: `"api_key": "…"`, `HF_TOKEN=…`, `--password …`.
//!
//! Code is full of such names. So a value counts only where it looks drawn at random, or where it stands in quotes
//! beside a password and is no plain word. Name and value are on one line and near each other, so that a text that
//! arrives in pieces has to hold back little.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// Bytes from the beginning of a name within which its value begins, by the expressions below.
const NEAR: usize = 160;

/// A place, its kind, and what must hold of it.
type Form = (&'static str, Regex, fn(&str) -> bool);

struct Forms {
    /// The group is the value.
    values: [Form; 6],
    /// Names that each of these begins with, or holds.
    name: Regex,
}

static FORMS: LazyLock<Option<Forms>> = LazyLock::new(|| {
    let key = "(?:api|access|secret|private|auth|account|signing|encryption|master)[_-]?key";
    let word = "passw(?:or)?d|passphrase|pwd";
    let name = format!("(?:{key}|secret|token|{word})");
    let (gap, space) = ("[ \t]{0,8}", "[ \t]{1,8}");
    // The end of the name: `"]` of `os.environ["API_KEY"]`. A type behind it.
    let end = r#"(?:\\{0,4}["'`]\]?)?"#;
    let of = format!(r"{gap}:{gap}[&A-Za-z][&A-Za-z0-9_<>\[\]|' ]{{0,40}}");
    let typed = format!("{end}(?:{of})?");
    let sign = format!("{gap}(?:=>|[=:>]){gap}");
    let quote = r#"[bru]?\\{0,4}["'`]"#;
    let long = "([A-Za-z0-9_.~+/=-]{16,})";
    let chars = r"([!#-&(-\[\]-~]{8,})";
    let form = |kind, form: String, holds| Some((kind, Regex::new(&form).ok()?, holds));
    Some(Forms {
        values: [
            // api_key = "…", "api_key": "…", os.environ["API_KEY"] = "…", <apiKey>…, ?token=…
            form("secret", format!("(?i){name}{end}{sign}(?:{quote})?{long}"), is_random as fn(&str) -> bool)?,
            // api_key: &str = "…". A form of its own: what looks like a type may be a value with something behind it.
            form("secret", format!("(?i){name}{end}{of}{gap}={gap}(?:{quote})?{long}"), is_random)?,
            // ("api_key", "…")
            form("secret", format!(r#"(?i){name}\\{{0,4}}["']{gap},{gap}{quote}{long}"#), is_random)?,
            // Kaggle's file, --api-key …, ENV API_KEY …, a netrc file, W&B's command
            form(
                "secret",
                format!(
                    r#"(?:username\\?"{gap}:{gap}\\?"[^"\\]{{0,64}}\\?"{gap},{gap}\\?"key\\?"{gap}:{gap}\\?"|(?:--[a-z-]{{0,32}}(?:{name})|[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)|login(?:{space}[^ \t]{{1,64}}{space}password|{space}--relogin)?){space}(?:{quote})?){long}"#
                ),
                is_random,
            )?,
            // password = "…"
            form("password", format!(r#"(?i)(?:{word}){typed}{sign}{quote}{chars}\\{{0,4}}["'`]"#), is_chosen)?,
            // DB_PASSWORD=…
            form("password", format!(r"PASS(?:WORD|WD|PHRASE)={chars}"), is_chosen)?,
        ],
        name: Regex::new(&format!("(?i){name}|_key|username|login")).ok()?,
    })
});

/// Where such values stand.
pub(super) fn find(text: &str) -> impl Iterator<Item = (Range<usize>, &'static str)> + '_ {
    let values = FORMS.as_ref().map_or(&[][..], |forms| &forms.values);
    values.iter().flat_map(move |(kind, form, holds)| {
        let value = form.captures_iter(text).filter_map(|captures| captures.get(1));
        value.filter(|value| holds(value.as_str())).map(|value| (value.range(), *kind))
    })
}

/// Where the first word at the end of a text begins that holds a name whose value may be still to come.
pub(super) fn ahead(text: &str) -> Option<usize> {
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let mut from = text.len().saturating_sub(NEAR).max(line);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let name = from + FORMS.as_ref()?.name.find(&text[from..])?.start();
    let space = text[..name].char_indices().rev().find(|(_, c)| c.is_whitespace());
    Some(space.map_or(0, |(at, c)| at + c.len_utf8()))
}

/// Whether a text looks drawn at random: digits and letters change all the time. Names and paths have words in them,
/// and numbers at the ends of words.
fn is_random(text: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Class {
        Digit,
        Lower,
        Upper,
    }
    const LONG: usize = 40;
    if text.starts_with(['/', '~', '.']) {
        return false;
    }
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let (mut changes, mut of_digits, mut last, mut before) = (0, 0, None, None);
    for byte in text.bytes() {
        let class = match byte {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            // Base64; a shorter text with a slash is a path.
            b'+' | b'=' => continue,
            b'/' if text.len() >= LONG => continue,
            _ => {
                (last, before) = (None, None);
                continue;
            }
        };
        // A capital letter begins a word.
        let word = class == Class::Lower && last == Some(Class::Upper) && before != Some(Class::Upper);
        let change = last.is_some_and(|last| last != class);
        changes += usize::from(change && !word);
        of_digits += usize::from(change && (class == Class::Digit || last == Some(Class::Digit)));
        (before, last) = (last, Some(class));
    }
    let all = letters + digits;
    let mixed = changes * 4 >= all || of_digits * 5 >= all;
    letters > 0 && digits > 0 && (mixed || text.len() >= 32 && text.bytes().all(hex))
}

/// Whether somebody may have chosen this as a password: it is no word, no note and no expression.
fn is_chosen(text: &str) -> bool {
    let has = |what: fn(&u8) -> bool| text.bytes().any(|byte| what(&byte));
    has(u8::is_ascii_alphabetic)
        && has(u8::is_ascii_digit)
        && !text.contains(['(', ')', '{', '}', '<', '>', '[', '|', '$'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_an_expression() {
        assert!(FORMS.is_some());
    }

    #[test]
    fn names_and_paths_do_not_look_random() {
        let random = ["a1B2c3D4e5F6g7H8", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x9f8a7b6c5d4e3f2"];
        let named = [
            "tokenizer.eos_token",
            "meta-llama-3.2-1b-instruct-q8_0.gguf",
            "convert_ids_to_tokens2",
            "keys/server1/v2/id_rsa4096",
            "/run/secrets/a1b2c3d4e5f6g7",
            "2024-11-21T22-48-09Z",
            "1234567890123456",
            "getUserNameFromSession2",
            "SHA256_WITH_RSA_ENCRYPTION",
        ];
        assert_eq!(random.map(is_random), [true; 3]);
        assert_eq!(named.map(is_random), [false; 9]);
    }
}
