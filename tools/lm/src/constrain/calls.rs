//! Text in which tools are called, in the form that a model was trained to write.

use serde_json::Value;

use super::{
    grammar::{Grammar, Node},
    schema::Builder,
};
use crate::error::Result;

/// How a call is written: `mark`, `before`, the name, `between`, the arguments as JSON, `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallForm {
    /// What begins a call and nothing else; never empty.
    pub mark: String,
    /// From there to the tool's name.
    pub before: String,
    /// From the name to the arguments.
    pub between: String,
    /// What ends the call.
    pub after: String,
}

impl Default for CallForm {
    /// As Hermes and Qwen learn it.
    fn default() -> Self {
        CallForm {
            mark: "<tool_call>".into(),
            before: "\n{\"name\": \"".into(),
            between: "\", \"arguments\": ".into(),
            after: "}\n</tool_call>".into(),
        }
    }
}

impl CallForm {
    /// The text and the call of what was written: the tool's name and its arguments. `None` where there is no whole call.
    pub fn parse<'t>(&self, written: &'t str, tools: &[&str]) -> Option<(&'t str, String, Value)> {
        let (text, call) = written.split_once(self.mark.as_str())?;
        let call = call.strip_prefix(self.before.as_str())?;
        let named = tools.iter().filter_map(|name| {
            let rest = call.strip_prefix(name)?.strip_prefix(self.between.as_str())?;
            let arguments = rest.strip_suffix(self.after.as_str())?;
            Some(((*name).to_owned(), serde_json::from_str(arguments).ok()?))
        });
        let (name, arguments) = named.into_iter().next()?;
        Some((text, name, arguments))
    }
}

impl Grammar {
    /// Text of at most so many characters, and then perhaps a call of one of these tools, each with the schema of its
    /// arguments. With no characters of text there must be a call, and so there must where the text comes to its most.
    pub fn of_calls(form: &CallForm, tools: &[(&str, &Value)], most: u32) -> Result<Self> {
        let mut builder = Builder::new();
        let mut calls = Vec::new();
        for (name, schema) in tools {
            let begin = builder.literal(&format!("{}{name}{}", form.before, form.between))?;
            let arguments = builder.schema(schema)?;
            let parts = match form.after.as_str() {
                "" => vec![begin, arguments],
                after => vec![begin, arguments, builder.literal(after)?],
            };
            calls.push(builder.add(Node::Sequence(parts.into()))?);
        }
        let then = builder.union(calls)?;
        let root = builder.add(Node::Speech { mark: form.mark.as_bytes().into(), then, most })?;
        builder.finish(root)
    }
}
