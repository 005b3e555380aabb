//! Text as it is in a URL, where any character may be written as `%` and two digits, and any other may not.

use std::ops::Range;

use super::places;

/// A text with what was percent-encoded in it decoded, once.
pub(super) struct Decoded {
    /// Each byte as the character of that number, because the bytes need not be text.
    text: String,
    /// Where in the original stands what each byte of `text` belongs to, and the original's end.
    origins: Vec<usize>,
}

impl Decoded {
    /// Nothing where nothing is encoded.
    pub fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let escape = |at: usize| match bytes[at..] {
            [b'%', high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        (0..bytes.len()).find(|at| escape(*at).is_some())?;
        let mut decoded =
            Decoded { text: String::with_capacity(bytes.len()), origins: Vec::with_capacity(bytes.len()) };
        let mut at = 0;
        while at < bytes.len() {
            let (byte, length) = escape(at).map_or((bytes[at], 1), |byte| (byte, 3));
            decoded.text.push(char::from(byte));
            decoded.origins.resize(decoded.text.len(), at);
            at += length;
        }
        decoded.origins.push(bytes.len());
        Some(decoded)
    }

    /// Every place of `form` in the original.
    pub fn places(&self, form: &str) -> Vec<Range<usize>> {
        places(&self.text, &by_bytes(form)).into_iter().map(|at| self.origins[at.start]..self.origins[at.end]).collect()
    }

    /// Where in the original `head` begins, if it stands at the end.
    pub fn ends_with(&self, head: &str) -> Option<usize> {
        self.text.strip_suffix(&by_bytes(head)).map(|before| self.origins[before.len()])
    }
}

fn by_bytes(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

fn digit(symbol: u8) -> Option<u8> {
    char::from(symbol).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
