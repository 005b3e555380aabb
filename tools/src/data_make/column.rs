//! One column of made rows: what its cells are, and the schema that says so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tunesmith_harness::text::visible;

/// Most characters of a text, where a column does not say.
const MOST_TEXT: f64 = 8_000.0;
/// Most characters that a column may allow.
const MOST_LENGTH: f64 = 100_000.0;

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The name.
    pub name: String,
    /// What its cells are.
    #[serde(default)]
    pub kind: Kind,
    /// What it is for, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The texts that it may hold; any where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Least number, or fewest characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// Greatest number, or most characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// JSON Schema of its cells, for `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Anything that fits `schema`.
    Json,
}

impl Column {
    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let distinct: BTreeSet<&String> = self.choices.iter().collect();
        match self {
            _ if name.trim().is_empty() => Err("a column has no name".into()),
            _ if visible(name) != name.as_str() => {
                Err(format!("column {name:?}: a name must not hold characters that act on a display"))
            }
            _ if !self.choices.is_empty() && self.kind != Kind::Text => {
                Err(format!("column {name:?}: only texts have choices"))
            }
            _ if distinct.len() < self.choices.len() => Err(format!("column {name:?}: a choice stands twice")),
            _ if self.schema.is_some() != (self.kind == Kind::Json) => {
                Err(format!("column {name:?}: schema goes with kind = \"json\", and that needs one"))
            }
            _ if self.least.zip(self.most).is_some_and(|(least, most)| least > most) => {
                Err(format!("column {name:?}: least is above most"))
            }
            Column { kind: Kind::Text, least, most, .. }
                if least.iter().chain(most).any(|length| !(0.0..=MOST_LENGTH).contains(length)) =>
            {
                Err(format!("column {name:?}: least and most of a text are its characters, 0 to {MOST_LENGTH}"))
            }
            Column { schema: Some(schema), .. } => jsonschema::validator_for(schema)
                .map(drop)
                .map_err(|error| format!("column {name:?}: the schema is none: {error}")),
            _ => Ok(()),
        }
    }

    /// JSON Schema of its cells.
    pub fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text if !self.choices.is_empty() => json!({"type": "string", "enum": self.choices}),
            Kind::Text => {
                // Lengths are counted; half a character is none.
                let (least, most) = (self.least.unwrap_or(1.0), self.most.unwrap_or(MOST_TEXT));
                json!({"type": "string", "minLength": least.max(0.0) as u64, "maxLength": most.max(0.0) as u64})
            }
            Kind::Integer => json!({"type": "integer"}),
            Kind::Number => json!({"type": "number"}),
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Json => self.schema.clone().unwrap_or_else(|| json!({})),
        };
        if matches!(self.kind, Kind::Integer | Kind::Number) {
            for (key, bound) in [("minimum", self.least), ("maximum", self.most)] {
                let whole = |bound: &f64| bound.fract() == 0.0 && bound.abs() < 9e15;
                bound.iter().for_each(|b| schema[key] = if whole(b) { json!(*b as i64) } else { json!(b) });
            }
        }
        if !self.about.is_empty() && schema.is_object() {
            schema["description"] = json!(self.about);
        }
        schema
    }
}
