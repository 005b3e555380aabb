//! What both searches look at: the texts of a value, and hashes of their runs.

use serde_json::Value;

/// The base of all hashes here: odd, so that nothing is lost from them.
pub const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Calls `each` with all texts in `value`, in order. Names of roles are no texts; numbers are with `numbers`, in the cells
/// of a table.
pub fn texts(value: &Value, numbers: bool, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Number(number) if numbers => each(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::Array(list) => list.iter().for_each(|value| texts(value, numbers, each)),
        Value::Object(map) => cells(map.iter(), numbers, each),
    }
}

/// The same for the cells of a row.
pub fn cells<'a>(cells: impl Iterator<Item = (&'a String, &'a Value)>, numbers: bool, each: &mut impl FnMut(&str)) {
    cells.filter(|(name, _)| *name != "role").for_each(|(_, value)| texts(value, numbers, each));
}

/// A hash of each run of `length` parts, rolled along the stream.
pub fn hashes<T>(stream: &[T], length: usize, number: impl Fn(&T) -> u64) -> impl Iterator<Item = u64> {
    let gone = BASE.wrapping_pow(length as u32);
    let mut hash = 0u64;
    stream.iter().enumerate().filter_map(move |(at, part)| {
        hash = hash.wrapping_mul(BASE).wrapping_add(number(part));
        if at >= length {
            hash = hash.wrapping_sub(gone.wrapping_mul(number(&stream[at - length])));
        }
        (at + 1 >= length).then_some(hash)
    })
}
