//! Two JSON documents beside each other.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// A list that differs in more places than this is one difference.
const PLACES: usize = 4;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// JSON pointer of the field.
    pub at: String,
    /// The first value; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<Value>,
    /// The second value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<Value>,
}

/// The fields in which two documents differ, in the order of the first, then of what only the second has.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    add(&mut found, String::new(), Some(a), Some(b));
    found
}

fn add(found: &mut Vec<Difference>, at: String, a: Option<&Value>, b: Option<&Value>) {
    match (a, b) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let known: BTreeSet<&String> = a.keys().collect();
            let names = a.keys().chain(b.keys().filter(|name| !known.contains(name)));
            names.for_each(|name| add(found, format!("{at}/{}", escaped(name)), a.get(name), b.get(name)));
        }
        (Some(Value::Array(list)), Some(Value::Array(other))) if list.len() == other.len() => {
            let mut inside = Vec::new();
            for (place, (a, b)) in list.iter().zip(other).enumerate() {
                add(&mut inside, format!("{at}/{place}"), Some(a), Some(b));
            }
            if inside.len() > PLACES {
                inside = vec![Difference { at, a: a.cloned(), b: b.cloned() }];
            }
            found.extend(inside);
        }
        (a, b) => found.push(Difference { at, a: a.cloned(), b: b.cloned() }),
    }
}

/// A name as a part of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
