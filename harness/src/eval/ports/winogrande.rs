//! WinoGrande: which of two names fits into the gap of a sentence.

use serde_json::Value;

use super::text;
use crate::eval::{
    functions::{Native, Port},
    python::strings,
    request::Doc,
};

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "doc_to_text",
        sha256: "27e9872afeab76902d6032c976619ccb70c61c8204fa9bac8dbd2663ebb6ec8a",
        helpers: &[],
        port: Port::Doc(doc_to_text),
    },
    Native {
        name: "doc_to_target",
        sha256: "ad09001157056053ce4ea43e48232ffaf5a001cef295a03b776d89c4fbe862c1",
        helpers: &[],
        port: Port::Doc(doc_to_target),
    },
    Native {
        name: "doc_to_choice",
        sha256: "530c0030f94d2ae37970a3131ab888123ec785148a461cce557f4e81ffdd0829",
        helpers: &[],
        port: Port::Doc(doc_to_choice),
    },
];

/// Which choice is right; the choices themselves are the prompts.
fn doc_to_text(doc: &Doc) -> Result<Value, String> {
    match text(doc, "answer")? {
        "1" => Ok(0.into()),
        "2" => Ok(1.into()),
        other => Err(format!("`answer` must be 1 or 2, not `{other}`")),
    }
}

/// What follows the gap.
fn doc_to_target(doc: &Doc) -> Result<Value, String> {
    Ok(strings::strip(around_gap(doc)?.1).into())
}

/// The sentence up to the gap, with each of the names in it.
fn doc_to_choice(doc: &Doc) -> Result<Value, String> {
    let before = around_gap(doc)?.0;
    let choice = |name: &str| -> Result<String, String> { Ok(format!("{before}{}", text(doc, name)?)) };
    Ok(vec![choice("option1")?, choice("option2")?].into())
}

fn around_gap(doc: &Doc) -> Result<(&str, &str), String> {
    text(doc, "sentence")?.split_once('_').ok_or_else(|| "`sentence` has no gap `_`".into())
}
