//! What every tool that is not ours must say of itself, and within which bounds.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};
use tunesmith_harness::text::{truncate_middle, visible_lines};

use crate::{registry::validate, tool::ToolError};

/// Bytes of a schema.
const LARGEST: usize = 16 << 10;
/// Levels of a schema.
const DEEPEST: usize = 24;
/// Characters of a description.
const MOST: usize = 600;
/// Characters of a name.
const LONGEST: usize = 64;

/// The name, description and schema of such a tool.
#[derive(Debug)]
pub struct Foreign {
    /// What planners call.
    pub name: String,
    /// What it does, in its own words.
    pub description: String,
    /// JSON Schema of its arguments.
    pub schema: Value,
    validator: Validator,
}

impl Foreign {
    /// Checks what a tool says of itself.
    pub fn new(name: &str, description: &str, parameters: Value) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(good) {
            let shown: String = name.chars().take(LONGEST).collect();
            return Err(format!("{shown:?} is no name for a tool; use at most {LONGEST} letters, digits, _ and -"));
        }
        let Value::Object(mut schema) = parameters else { return Err("its parameters are no JSON Schema".into()) };
        if schema.entry("type").or_insert_with(|| json!("object")) != "object" {
            return Err("its parameters must be of type object".into());
        }
        let schema = Value::Object(schema);
        if !is_shallow(&schema, DEEPEST) {
            return Err(format!("its schema has more than {DEEPEST} levels"));
        }
        if schema.to_string().len() > LARGEST {
            return Err(format!("its schema has more than {LARGEST} bytes"));
        }
        // Patterns in linear time: a schema of somebody else's must not hold up the process that validates by it.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| format!("its schema is wrong: {error}"))?;
        let description = truncate_middle(&visible_lines(description), MOST).into_owned();
        Ok(Foreign { name: name.to_owned(), description, schema, validator })
    }

    /// The arguments, if they fit; a call without any may be null.
    pub fn read(&self, args: Value) -> Result<Map<String, Value>, ToolError> {
        let args = if args.is_null() { Value::Object(Map::new()) } else { args };
        validate(&self.validator, &args)?;
        match args {
            Value::Object(map) => Ok(map),
            _ => Err(ToolError::Failed("the schema of the tool takes what is no object".into())),
        }
    }
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|item| is_shallow(item, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tool_must_say_what_it_is_within_bounds() {
        let schema = json!({"properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let tool = Foreign::new("a_tool-2", "Counts.\u{1b}[31m", schema).unwrap();
        assert_eq!((tool.name.as_str(), tool.description.as_str()), ("a_tool-2", "Counts.\\u{1b}[31m"));
        assert_eq!(Value::from(tool.read(json!({"n": 1})).unwrap()), json!({"n": 1}));
        assert_eq!(tool.read(Value::Null).unwrap_err().to_string(), "invalid arguments: /n: is required");
        let mut deep = json!({});
        for _ in 0..30 {
            deep = json!({"properties": {"a": deep}});
        }
        let wide = json!({"description": "a".repeat(LARGEST)});
        let remote = json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}});
        let cases = [
            ("", json!({}), "\"\" is no name for a tool; use at most 64 letters, digits, _ and -"),
            ("a b", json!({}), "\"a b\" is no name for a tool; use at most 64 letters, digits, _ and -"),
            ("a", json!([]), "its parameters are no JSON Schema"),
            ("a", json!({"type": "string"}), "its parameters must be of type object"),
            ("a", deep, "its schema has more than 24 levels"),
            ("a", wide, "its schema has more than 16384 bytes"),
        ];
        for (name, schema, why) in cases {
            assert_eq!(Foreign::new(name, "", schema).unwrap_err(), why);
        }
        for wrong in [json!({"properties": 1}), json!({"properties": {"a": {"pattern": "(?=a)"}}}), remote] {
            assert!(Foreign::new("a", "", wrong).unwrap_err().starts_with("its schema is wrong: "));
        }
    }
}
