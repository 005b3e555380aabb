//! LogiQA: a passage, a question and four options.

use serde_json::Value;

use super::{column, text};
use crate::eval::{
    functions::{Native, Port},
    python::{repr::str_of, strings},
    request::Doc,
};

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "doc_to_text",
        sha256: "0d0e1a7f188a6dc10feab64ab3e62193c62565107401868f3e57bfb054dc4b88",
        helpers: &[],
        port: Port::Doc(doc_to_text),
    },
    Native {
        name: "doc_to_target",
        sha256: "2aeda69a3389557807f81f9a8c9fbc00407b004b332a071f737be2012a5086aa",
        helpers: &[],
        port: Port::Doc(doc_to_target),
    },
];

fn doc_to_text(doc: &Doc) -> Result<Value, String> {
    let (passage, question) = (text(doc, "context")?, text(doc, "question")?);
    let mut prompt = format!("Passage: {passage}\nQuestion: {question}\nChoices:\n");
    let options = column(doc, "options")?.as_array().ok_or("`options` must be a list")?;
    for (letter, option) in ('A'..='D').zip(options) {
        prompt += &format!("{letter}. {}\n", str_of(option.clone()));
    }
    Ok((prompt + "Answer:").into())
}

fn doc_to_target(doc: &Doc) -> Result<Value, String> {
    let label = strings::strip(text(doc, "label")?);
    let letters = ["a", "b", "c", "d"];
    let at = letters.iter().position(|letter| *letter == label);
    at.map(Value::from).ok_or_else(|| format!("`label` must be a to d, not `{label}`"))
}
