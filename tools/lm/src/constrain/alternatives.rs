//! Whether two choices of a `oneOf` keep out of each other's way.

use serde_json::Value;

use super::schema::is_of;

/// References that are followed.
const FOLLOWED: usize = 16;

/// Whether a value may fit both, as far as types, constants and required constants of objects tell.
pub(super) fn may_both(one: &Value, other: &Value, whole: &Value) -> bool {
    let (one, other) = (resolved(one, whole), resolved(other, whole));
    if let (Some(ones), Some(others)) = (constants(one), constants(other)) {
        return ones.iter().any(|value| others.iter().any(|other| same(value, other)));
    }
    match (constants(one), constants(other)) {
        (Some(values), None) => return values.iter().any(|value| may_be(value, other)),
        (None, Some(values)) => return values.iter().any(|value| may_be(value, one)),
        _ => {}
    }
    let (Some(kinds), Some(others)) = (kinds(one), kinds(other)) else { return true };
    let number = |kind: &str| if kind == "integer" { "number".to_owned() } else { kind.to_owned() };
    let mut shared = kinds.iter().filter(|kind| others.iter().any(|other| number(other) == number(kind)));
    shared.any(|kind| *kind != "object" || !told_apart(one, other, whole))
}

/// Whether a property that both require has other constants in each.
fn told_apart(one: &Value, other: &Value, whole: &Value) -> bool {
    let required = |schema: &Value, name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = one["properties"].as_object().into_iter().flatten();
    properties.filter(|(name, _)| required(one, name) && required(other, name)).any(|(name, schema)| {
        let of = |schema| constants(resolved(schema, whole));
        match (of(schema), of(&other["properties"][name])) {
            (Some(ones), Some(others)) => !ones.iter().any(|value| others.iter().any(|other| same(value, other))),
            _ => false,
        }
    })
}

/// What a reference leads to.
fn resolved<'a>(schema: &'a Value, whole: &'a Value) -> &'a Value {
    let follow = |schema: &&'a Value| whole.pointer(schema["$ref"].as_str()?.strip_prefix('#')?);
    std::iter::successors(Some(schema), follow).take(FOLLOWED).last().unwrap_or(schema)
}

fn constants(schema: &Value) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

fn kinds(schema: &Value) -> Option<Vec<String>> {
    match schema.get("type")? {
        Value::String(kind) => Some(vec![kind.clone()]),
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn may_be(value: &Value, schema: &Value) -> bool {
    kinds(schema).is_none_or(|kinds| kinds.iter().any(|kind| is_of(value, kind)))
}

/// Whether two constants are the same value: 1 and 1.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
