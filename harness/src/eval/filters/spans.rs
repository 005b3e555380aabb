//! `format_span`: named entities as `label: value $ label: value`.

use std::sync::LazyLock;

use crate::eval::{
    python::{
        regex::{Error, Found, Regex},
        strings::strip,
    },
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

/// What finds each of them, and what stands there then.
static PATTERNS: LazyLock<Result<Vec<(Regex, String)>, Error>> = LazyLock::new(|| {
    let pattern = |(word, label)| Ok((Regex::new(&format!(r"\b{word}\s*:"))?, format!("{label}:")));
    LABELS.into_iter().map(pattern).collect()
});

/// An entity behind one of lm-eval's labels.
static ENTITY: LazyLock<Result<Regex, Error>> = LazyLock::new(|| Regex::new(r"\b(PER|LOC|ORG|DATE):\s*([^$]+)"));

pub(super) fn format(answer: &str) -> Result<String, Refusal> {
    let mut text = answer.to_lowercase().to_lowercase();
    for (pattern, label) in PATTERNS.as_ref().map_err(Clone::clone)? {
        text = pattern.sub(label, &text, 0)?;
    }
    let text = text.replace("$$", "$");
    let text = text.trim_end_matches('$').replace('\n', "$");
    let mut entities = Vec::new();
    let entity = ENTITY.as_ref().map_err(Clone::clone)?;
    for found in entity.find_all(strip(&text))? {
        let Found::Groups(groups) = found else { continue };
        let [label, values] = groups.as_slice() else { continue };
        for value in values.split(',').map(strip) {
            if value.to_lowercase() != "none" {
                entities.push(format!("{}: {value}", label.to_lowercase()));
            }
        }
    }
    Ok(entities.join(" $ "))
}
