//! Secrets kept out of everything that is printed, logged or shown to a planner.
//!
//! Two things are recognised. The values that this process was given as secrets ([`hide`]) are found wherever they
//! stand, also as part of a URL, of JSON or of base64 on one line. Tokens of well-known forms are found as
//! words of their own, and values without a form beside names such as `api_key`. A value of fewer than [`SHORTEST`] characters is not replaced: it may be any word.
//!
//! What arrives in pieces goes through a [`Stream`], which shows nothing that may still turn out to be part of a secret.

use std::{
    borrow::Cow,
    collections::HashMap,
    ops::Range,
    sync::{PoisonError, RwLock, TryLockError},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use decoded::Decoded;

mod assigned;
mod decoded;
mod forms;
mod keys;
mod rules;

/// Characters of the shortest value that is replaced.
pub const SHORTEST: usize = 8;

/// The secrets of this process. There is one environment, so there is one of these.
static SECRETS: RwLock<Redactor> = RwLock::new(Redactor { forms: Vec::new() });

/// From now on this value is shown nowhere.
pub fn hide(secret: &str) {
    SECRETS.write().unwrap_or_else(PoisonError::into_inner).add(secret);
}

/// `text` without secrets: those of this process and all of well-known forms.
pub fn redacted(text: &str) -> Cow<'_, str> {
    SECRETS.read().unwrap_or_else(PoisonError::into_inner).text(text)
}

/// As [`redacted`], but without waiting, where a thread panics that may itself be taking note of a secret: nothing then.
pub fn redacted_at_once(text: &str) -> Option<Cow<'_, str>> {
    match SECRETS.try_read() {
        Ok(secrets) => Some(secrets.text(text)),
        Err(TryLockError::Poisoned(secrets)) => Some(secrets.into_inner().text(text)),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Takes secrets out of all strings of a JSON document, names of fields included.
pub fn value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(self::value).collect(),
        Value::Object(fields) => {
            let (mut clean, mut numbers) = (Map::new(), HashMap::<String, usize>::new());
            for (name, content) in fields {
                let name = unlike(redacted(&name).into_owned(), &clean, &mut numbers);
                clean.insert(name, self::value(content));
            }
            Value::Object(clean)
        }
        other => other,
    }
}

/// `name`, numbered where a field has it already: fields whose names differed in their secrets alone stay apart.
fn unlike(name: String, fields: &Map<String, Value>, numbers: &mut HashMap<String, usize>) -> String {
    if !fields.contains_key(&name) {
        return name;
    }
    let last = numbers.entry(name.clone()).or_insert(1);
    loop {
        *last += 1;
        let numbered = format!("{name} {last}");
        if !fields.contains_key(&numbered) {
            return numbered;
        }
    }
}

/// `record` without secrets. It is an error where it cannot do without one, as a path that is opened again.
pub fn record<T: Serialize + DeserializeOwned>(record: T) -> Result<T, String> {
    let Ok(written) = serde_json::to_value(&record) else { return Ok(record) };
    let clean = value(written.clone());
    if clean == written {
        return Ok(record);
    }
    serde_json::from_value(clean)
        .map_err(|error| format!("it holds a secret, and without it it does not read ({error})"))
}

/// A place, and of which kind it is where that is known.
type Found = (Range<usize>, &'static str);

/// Where words of the forms that keys and passwords have stand in a text, and of which kind each is.
pub fn forms_in(text: &str) -> Vec<(Range<usize>, &'static str)> {
    rules::find(text)
}

/// Finds secrets in text.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// How the known values may be written.
    forms: Vec<String>,
}

impl Redactor {
    /// Knows well-known forms only.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on this value is found too.
    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.chars().count() < SHORTEST {
            return;
        }
        self.forms.extend(forms::of(secret));
        self.forms.sort_unstable();
        self.forms.dedup();
    }

    /// `text` with each secret replaced.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.find(text);
        if found.is_empty() {
            return text.into();
        }
        let (mut out, mut end) = (String::with_capacity(text.len()), 0);
        for (at, kind) in found {
            if at.start >= end {
                out.push_str(&text[end..at.start]);
                out.push_str("[redacted");
                out.push_str(if kind.is_empty() { "" } else { " " });
                out.push_str(kind);
                out.push(']');
            }
            end = end.max(at.end);
        }
        out.push_str(&text[end..]);
        out.into()
    }

    /// Where secrets stand, in the order of their beginnings, the longest first where several begin at one place.
    fn find(&self, text: &str) -> Vec<Found> {
        let mut found = rules::find(text);
        found.extend(self.forms.iter().flat_map(|form| places(text, form)).map(|at| (at, "")));
        if let Some(decoded) = Decoded::of(text) {
            found.extend(self.forms.iter().flat_map(|form| decoded.places(form)).map(|at| (at, "")));
        }
        found.sort_by_key(|(at, kind)| (at.start, std::cmp::Reverse(at.end), kind.is_empty()));
        found
    }

    /// How much of the beginning of a text can be shown before the rest is known, because nothing that arrives later
    /// changes what is a secret in it: whole words, none that may begin a secret of several words, and no cut secret.
    fn settled(&self, text: &str) -> usize {
        let end = text.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8());
        let words = &text[..end];
        let decoded = Decoded::of(words);
        let begun = |form: &String| {
            let heads = form.char_indices().map(|(at, _)| &form[..at]).filter(|head| !head.is_empty());
            let plain = heads.clone().filter(|head| words.ends_with(head)).map(|head| end - head.len()).min();
            let encoded = decoded.as_ref().and_then(|decoded| heads.filter_map(|head| decoded.ends_with(head)).min());
            plain.into_iter().chain(encoded).min().unwrap_or(end)
        };
        let spaced = self.forms.iter().filter(|form| form.contains(char::is_whitespace));
        let begun = spaced.map(begun).min().unwrap_or(end);
        let cut = |cut: usize, (at, _): &Found| if at.contains(&cut) { at.start } else { cut };
        self.find(words).iter().rev().fold(begun.min(rules::settled(words)), cut)
    }
}

/// Every place of `form` in `text`, overlapping ones too.
fn places(text: &str, form: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = text[from..].find(form) {
        let start = from + at;
        found.push(start..start + form.len());
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// Text that arrives in pieces. Each is looked at when it arrives, with what was held back before it, and not again.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Without secrets.
    shown: String,
    /// What may still become part of a secret.
    held: String,
}

impl Stream {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) {
        self.held.push_str(piece);
        let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
        let settled = secrets.settled(&self.held);
        self.shown.push_str(&secrets.text(&self.held[..settled]));
        self.held.drain(..settled);
    }

    /// All that arrived so far and cannot be a part of a secret any more, without secrets: a word is shown once it has
    /// ended, because until then it may become one.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Everything, once nothing more arrives.
    pub fn finish(self) -> String {
        self.shown + &redacted(&self.held)
    }
}

#[cfg(test)]
mod tests;
