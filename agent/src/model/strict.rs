//! Schemas in the part of JSON Schema to which OpenAI and others hold a model strictly.
//!
//! There, objects are closed and have all their fields
//! (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).

use serde_json::{Map, Value};

/// Keywords that are in that part.
const KNOWN: [&str; 16] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "$defs",
    "title",
    "description",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
];

/// The schema with its objects closed; `None` where it needs more than that part has.
pub fn closed(schema: &Value) -> Option<Value> {
    let object = schema.as_object()?;
    // An answer is an object, and of no other shape.
    (object.get("type")? == "object" && !object.contains_key("anyOf")).then_some(())?;
    part(schema)
}

fn part(schema: &Value) -> Option<Value> {
    let mut object = schema.as_object()?.clone();
    object.keys().all(|word| KNOWN.contains(&word.as_str())).then_some(())?;
    if object.get("type").is_some_and(|kind| kind == "object") {
        let properties = object.get("properties")?.as_object()?;
        let required = object.get("required").and_then(Value::as_array);
        let is_required = |name: &String| required.is_some_and(|required| required.iter().any(|one| one == name));
        (properties.keys().all(is_required) && object.get("additionalProperties").is_none_or(|more| more == false))
            .then_some(())?;
        object.insert("additionalProperties".into(), false.into());
    }
    for word in ["properties", "$defs"] {
        if let Some(parts) = object.get_mut(word) {
            let closed = parts.as_object()?.iter().map(|(name, schema)| Some((name.clone(), part(schema)?)));
            *parts = Value::Object(closed.collect::<Option<Map<_, _>>>()?);
        }
    }
    if let Some(items) = object.get_mut("items") {
        *items = part(items)?;
    }
    if let Some(choices) = object.get_mut("anyOf") {
        *choices = choices.as_array()?.iter().map(part).collect::<Option<Vec<_>>>()?.into();
    }
    Some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_closed_at_every_depth() {
        let schema = json!({
            "type": "object", "required": ["a", "b"],
            "properties": {
                "a": {"type": "array", "items": {"type": "object", "properties": {"c": {"enum": ["x"]}}, "required": ["c"]}},
                "b": {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]},
            },
            "$defs": {"d": {"type": "object", "properties": {}, "additionalProperties": false}},
        });
        let mut expected = schema.clone();
        expected["additionalProperties"] = json!(false);
        expected["properties"]["a"]["items"]["additionalProperties"] = json!(false);
        assert_eq!(closed(&schema), Some(expected));
    }

    #[test]
    fn what_needs_more_is_left_as_it_is() {
        let with = |field: Value| json!({"type": "object", "properties": {"a": field}, "required": ["a"]});
        for schema in [
            json!({"type": "object"}),
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {}, "anyOf": []}),
            with(json!({"type": "object"})),
            with(json!({"type": "string", "format": "date"})),
            with(json!({"type": "array", "items": {"oneOf": []}})),
            with(json!(true)),
            json!(7),
        ] {
            assert_eq!(closed(&schema), None, "{schema}");
        }
    }
}
