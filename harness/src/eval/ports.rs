//! Native ports of the Python functions of lm-eval 0.4.13's tasks.
//!
//! | module | tasks |
//! |---|---|
//! | [`arithmetic`] | arithmetic |
//! | [`gpqa`] | GPQA without examples, with reasoning, and of the leaderboard |
//! | [`hellaswag`] | HellaSwag and its translations |
//! | [`ifeval`] | IFEval, as far as its instructions need neither language detection nor NLTK's data |
//! | [`logiqa`] | LogiQA |
//! | [`mmlu_pro`] | MMLU-Pro |
//! | [`race`] | RACE |
//! | [`truthfulqa`] | the second kind of TruthfulQA's multiple choice |
//! | [`wikitext`] | WikiText |
//! | [`winogrande`] | WinoGrande |
//!
//! Where Python raises an exception, a port gives an error that names what does not fit.

mod arithmetic;
mod gpqa;
mod hellaswag;
mod ifeval;
mod logiqa;
mod mmlu_pro;
mod race;
mod truthfulqa;
mod wikitext;
mod winogrande;

use serde_json::Value;

use super::{functions::Native, python::repr::str_of, request::Doc};

/// All ports there are.
pub(super) fn all() -> impl Iterator<Item = &'static Native> {
    let families: [&[Native]; 10] = [
        arithmetic::PORTS,
        gpqa::PORTS,
        hellaswag::PORTS,
        ifeval::PORTS,
        logiqa::PORTS,
        mmlu_pro::PORTS,
        race::PORTS,
        truthfulqa::PORTS,
        wikitext::PORTS,
        winogrande::PORTS,
    ];
    families.into_iter().flatten()
}

/// `dataset.map(change)`: columns that a row does not have are added behind the others.
fn map(mut docs: Vec<Doc>, mut change: impl FnMut(&mut Doc) -> Result<(), String>) -> Result<Vec<Doc>, String> {
    for (at, doc) in docs.iter_mut().enumerate() {
        change(doc).map_err(|e| format!("row {}: {e}", at + 1))?;
    }
    Ok(docs)
}

/// The value of a column.
fn column<'a>(doc: &'a Doc, name: &str) -> Result<&'a Value, String> {
    doc.get(name).ok_or_else(|| format!("there is no column `{name}`"))
}

/// The text in a column.
fn text<'a>(doc: &'a Doc, name: &str) -> Result<&'a str, String> {
    let value = column(doc, name)?;
    value.as_str().ok_or_else(|| format!("`{name}` must be a text, not {}", str_of(value.clone())))
}

/// The texts in a column.
fn texts<'a>(doc: &'a Doc, name: &str) -> Result<Vec<&'a str>, String> {
    let value = column(doc, name)?;
    let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
    texts.ok_or_else(|| format!("`{name}` must be a list of texts, not {}", str_of(value.clone())))
}

/// Without what stands in square brackets on one line: Python's `re.sub(r"\[.*?\]", "", text)`.
fn without_brackets(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('[') {
        let Some(stop) = rest[open..].find([']', '\n']) else { break };
        let closed = rest[open + stop..].starts_with(']');
        kept.push_str(&rest[..if closed { open } else { open + stop + 1 }]);
        rest = &rest[open + stop + 1..];
    }
    kept + rest
}

#[cfg(test)]
mod tests;
