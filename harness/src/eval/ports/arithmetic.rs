//! Arithmetic: questions in words, as GPT-3 was asked them.

use super::{map, text};
use crate::eval::{
    functions::{Native, Port},
    python::strings,
    request::Doc,
};

pub(super) const PORTS: &[Native] = &[Native {
    name: "process_docs",
    sha256: "287c1987c830232e91d9ef2ad2ea15dac6c11844cd9d77949d1f38bc912f2959",
    helpers: &[],
    port: Port::Docs(process_docs),
}];

fn process_docs(docs: Vec<Doc>) -> Result<Vec<Doc>, String> {
    map(docs, |doc| {
        let context = strings::strip(text(doc, "context")?).replace("\n\n", "\n");
        let context = context.replace("Q:", "Question:").replace("A:", "Answer:");
        super::column(doc, "completion")?;
        doc.insert("context".into(), context.into());
        Ok(())
    })
}
