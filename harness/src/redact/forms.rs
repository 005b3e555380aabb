//! The ways in which a known secret may be written.

/// The value itself, its long lines, and both inside of JSON and base64.
pub(super) fn of(secret: &str) -> Vec<String> {
    // A line this long of a key that has several is no ordinary text.
    const LINE: usize = 16;
    let lines = secret.lines().map(str::trim).filter(|line| line.len() >= LINE && *line != secret);
    [secret].into_iter().chain(lines).flat_map(written).collect()
}

fn written(value: &str) -> Vec<String> {
    let once = in_json(value);
    // JSON is often sent as a string inside of JSON.
    let twice = in_json(&once);
    let mut forms = vec![value.to_owned(), once, twice];
    for symbols in [STANDARD, URL] {
        forms.extend((0..3).map(|offset| in_base64(value.as_bytes(), offset, symbols)));
    }
    forms
}

fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters that depend on `bytes` alone where they stand `offset` bytes after a multiple of three in what is
/// encoded: these are the same whatever stands before and after.
fn in_base64(bytes: &[u8], offset: usize, symbols: &[u8; 64]) -> String {
    let bit = |index: usize| {
        let byte = (index / 8).checked_sub(offset).and_then(|at| bytes.get(at)).copied().unwrap_or_default();
        byte >> (7 - index % 8) & 1
    };
    let first = (offset * 8).div_ceil(6);
    let last = (offset + bytes.len()) * 8 / 6;
    let symbol = |at: usize| (0..6).fold(0, |value, i| value << 1 | usize::from(bit(at * 6 + i)));
    (first..last).map(|at| char::from(symbols[symbol(at)])).collect()
}
