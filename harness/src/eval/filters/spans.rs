//! `format_span`: named entities as `label: value $ label: value`.

use std::sync::LazyLock;

use super::Pattern;
use crate::eval::{
    python::strings::{is_space, strip},
    refusal::Refusal,
};

/// What models call the labels, in the order of lm-eval, which matters: each is replaced in what the former left.
const LABELS: [(&str, &str); 15] = [
    ("person", "PER"),
    ("location", "LOC"),
    ("organization", "ORG"),
    ("counties", "LOC"),
    ("places", "LOC"),
    ("people", "PER"),
    ("persons", "PER"),
    ("company", "ORG"),
    ("country", "LOC"),
    ("continent", "LOC"),
    ("time", "DATE"),
    ("date", "DATE"),
    ("per", "PER"),
    ("loc", "LOC"),
    ("org", "ORG"),
];

/// An entity behind one of lm-eval's labels.
const ENTITY: &str = r"\b(PER|LOC|ORG|DATE):\s*([^$]+)";

pub(super) fn format(answer: &str) -> Result<String, Refusal> {
    let mut text = answer.to_lowercase().to_lowercase();
    for (word, label) in LABELS {
        text = relabel(&text, word, label);
    }
    let text = text.replace("$$", "$");
    let text = text.trim_end_matches('$').replace('\n', "$");
    let mut entities = Vec::new();
    for found in Pattern::new(ENTITY)?.find_all(strip(&text))? {
        let [label, values] = found.as_slice() else { continue };
        for value in values.split(',').map(strip) {
            if value.to_lowercase() != "none" {
                entities.push(format!("{}: {value}", label.to_lowercase()));
            }
        }
    }
    Ok(entities.join(" $ "))
}

/// Python's `re.sub(r"\bword\s*:", "label:", text)`.
fn relabel(text: &str, word: &str, label: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(word) {
        let (head, tail) = rest.split_at(at);
        let left = head.chars().next_back().or(before);
        let behind = &tail[word.len()..];
        out.push_str(head);
        match behind.trim_start_matches(is_space).strip_prefix(':') {
            Some(after) if !left.is_some_and(is_word) => {
                out.push_str(label);
                out.push(':');
                before = Some(':');
                rest = after;
            }
            _ => {
                // A shorter step than the word would find no other beginning of it: no label repeats its first letters.
                out.push_str(word);
                before = word.chars().next_back();
                rest = behind;
            }
        }
    }
    out + rest
}

/// Python's `\w`, which has no combining marks.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<Option<regex::Regex>> = LazyLock::new(|| regex::Regex::new(r"^[\p{L}\p{N}_]").ok());
    WORD.as_ref().is_some_and(|word| word.is_match(c.encode_utf8(&mut [0; 4])))
}
