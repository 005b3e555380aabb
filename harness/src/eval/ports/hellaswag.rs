//! HellaSwag: an activity, the beginning of a description, and four endings.

use serde_json::Value;

use super::{column, map, text, texts, without_brackets};
use crate::eval::{
    functions::{Native, Port},
    python::{literal::int, repr::str_of, strings},
    request::Doc,
};

pub(super) const PORTS: &[Native] = &[Native {
    name: "process_docs",
    sha256: "4020b018114de14b671f03b26b7e1ed763c728879f17852e17789fbc83b00150",
    helpers: &[("preprocess", "7c49aced40db735bdc875229e8c85543904ac85697233c65fd66cdcd9019b32a")],
    port: Port::Docs(process_docs),
}];

fn process_docs(docs: Vec<Doc>) -> Result<Vec<Doc>, String> {
    map(docs, |doc| {
        let begun = strings::capitalize(text(doc, "ctx_b")?);
        let query = format!("{}: {} {begun}", text(doc, "activity_label")?, text(doc, "ctx_a")?);
        let choices: Vec<String> = texts(doc, "endings")?.into_iter().map(clean).collect();
        let gold = label(column(doc, "label")?)?;
        doc.insert("query".into(), clean(&query).into());
        doc.insert("choices".into(), choices.into());
        doc.insert("gold".into(), gold.into());
        Ok(())
    })
}

/// Without the marks that WikiHow left in the texts.
fn clean(text: &str) -> String {
    without_brackets(&strings::strip(text).replace(" [title]", ". ")).replace("  ", " ")
}

/// Python's `int(label)`.
fn label(label: &Value) -> Result<i64, String> {
    let number = match label {
        Value::String(text) => int(text).and_then(|number| i64::try_from(number).ok()),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        _ => None,
    };
    number.ok_or_else(|| format!("`label` must be a whole number, not {}", str_of(label.clone())))
}
