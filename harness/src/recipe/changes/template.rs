//! Texts with the names of columns in braces.

use serde_json::Value;

/// A text with holes.
pub(super) struct Template(Vec<Part>);

enum Part {
    Text(String),
    Column(String),
}

impl Template {
    /// Reads `{column}` as a hole, `{{` and `}}` as braces.
    pub fn parse(text: &str) -> Result<Template, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find(['{', '}']).filter(|end| brace == "{" && rest[*end..].starts_with('}'));
            let end = end.ok_or("a brace has no partner; write {{ or }} for a brace itself")?;
            if rest[..end].trim().is_empty() {
                return Err("{} names no column".into());
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Column(rest[..end].trim().to_owned()));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Template(parts))
    }

    /// The columns that it is made of.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with what is in the columns: strings as they are, other values as JSON, nothing for what is missing.
    pub fn fill<'a>(&self, cell: impl Fn(&str) -> Option<&'a Value>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Column(name) => match cell(name) {
                    None | Some(Value::Null) => {}
                    Some(Value::String(text)) => out.push_str(text),
                    Some(other) => out.push_str(&other.to_string()),
                },
            }
            // What is longer is refused; there is no need to build it.
            if out.len() > super::LONGEST {
                break;
            }
        }
        out
    }
}
