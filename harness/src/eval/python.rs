//! What Python does with numbers, texts, values and patterns, where lm-eval's results depend on it.
//!
//! | module | answers |
//! |---|---|
//! | [`random`] | which numbers does `random.Random(seed)` draw |
//! | [`literal`] | which value does `ast.literal_eval` read |
//! | [`source`] | which text does `inspect.getsource` cut out of a file |
//! | [`regex`] | what do the functions of `re` find |
//! | [`repr`], [`strings`] | what do `str`, `repr` and the methods of texts give |

pub mod literal;
pub mod random;
pub mod source;

use serde_json::Value;

pub use tunesmith_jinja::python::{regex, repr, strings};

/// Whether Python takes a value for true.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
    }
}
