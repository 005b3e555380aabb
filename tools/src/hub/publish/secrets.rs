//! Secrets in files of any size: read in pieces that overlap, so that one over several lines is found too.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io::{self, Read},
};

use tunesmith_harness::redact::{SHORTEST, redacted};

/// Bytes that are read at once, and how many of them are looked at again with those that follow: more than a secret has.
const PIECE: u64 = 1 << 20;
const AGAIN: usize = 64 << 10;

/// The line, from 1, on which the first thing that looks like a secret stands.
pub fn line(mut input: impl Read) -> io::Result<Option<u64>> {
    let (mut held, mut line) = (Vec::new(), 1);
    loop {
        let n = input.by_ref().take(PIECE).read_to_end(&mut held)?;
        let text = String::from_utf8_lossy(&held);
        if let Some(at) = first(&text) {
            return Ok(Some(line + breaks(&text.as_bytes()[..at])));
        }
        if n == 0 {
            return Ok(None);
        }
        // Words stay whole, because a token begins where a word does.
        let done = held.len().saturating_sub(AGAIN);
        let done = held[done..].iter().position(u8::is_ascii_whitespace).map_or(done, |space| done + space);
        line += breaks(&held[..done]);
        held.drain(..done);
    }
}

fn breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where the first one stands in a text, plain or behind JSON's escapes.
fn first(text: &str) -> Option<usize> {
    let found = |text: &str| match redacted(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(clean) => Some(text.bytes().zip(clean.bytes()).take_while(|(a, b)| a == b).count()),
    };
    found(text).or_else(|| match unescaped(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(plain) => found(&plain).map(|at| at.min(text.len())),
    })
}

/// `text` with what JSON may write as `\u0041` or `\/` as the characters themselves.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u00") && !text.contains("\\/") {
        return text.into();
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest[at..].strip_prefix("\\u").and_then(|rest| u32::from_str_radix(rest.get(..4)?, 16).ok());
        // Line breaks stay as they are, so that lines keep their numbers.
        let printed = code.and_then(char::from_u32).filter(|c| !c.is_control());
        let (shown, taken) = match printed {
            Some(c) => (c, 6),
            None if rest[at..].starts_with("\\/") => ('/', 2),
            None => ('\\', 1),
        };
        out.push(shown);
        rest = &rest[at + taken..];
    }
    out.push_str(rest);
    out.into()
}

/// The texts in a binary file: all runs of letters that are long enough for a secret.
pub struct Texts<R> {
    from: R,
    run: Vec<u8>,
    ready: VecDeque<u8>,
}

impl<R: Read> Texts<R> {
    /// The texts in `from`.
    pub fn new(from: R) -> Self {
        Texts { from, run: Vec::new(), ready: VecDeque::new() }
    }

    fn end(&mut self) {
        if self.run.len() >= SHORTEST {
            self.ready.extend(self.run.drain(..).chain([0]));
        }
        self.run.clear();
    }
}

impl<R: Read> Read for Texts<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut buffer = vec![0; AGAIN];
        while self.ready.is_empty() {
            let n = self.from.read(&mut buffer)?;
            if n == 0 {
                self.end();
                break;
            }
            for byte in &buffer[..n] {
                match byte {
                    b' '..=b'~' | b'\n' | b'\r' | b'\t' => self.run.push(*byte),
                    _ => self.end(),
                }
            }
            if self.run.len() >= AGAIN {
                self.ready.extend(self.run.drain(..));
            }
        }
        self.ready.read(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "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";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_secret_is_found_wherever_it_stands(before in 0_usize..2_300_000, after in 0_usize..70_000) {
            let text = [vec![b'\n'; before], format!(" {TOKEN} ").into_bytes(), vec![b'x'; after]].concat();
            prop_assert_eq!(line(&text[..]).unwrap(), Some(before as u64 + 1));
            let binary = [vec![0; before], TOKEN.as_bytes().to_vec(), vec![0xff; after]].concat();
            prop_assert!(line(Texts::new(&binary[..])).unwrap().is_some());
        }
    }

    #[test]
    fn one_over_several_lines_or_behind_escapes_is_found_and_plain_text_is_none() {
        let key = "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234567890abcdefghijklmnopqrstuvwxyzABCDEFGH\n\
            -----END RSA PRIVATE KEY-----\n";
        let escaped = "{}\n{\"a\": \"\\u0068f\\u005fQwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi\"}";
        assert_eq!([line(key.as_bytes()).unwrap(), line(escaped.as_bytes()).unwrap()], [Some(2), Some(2)]);
        for plain in ["", "hf_tokenizer", "caf\u{e9} \\u00e9 \\/ \\", "\\u00", "\\u00e"] {
            assert_eq!(line(plain.as_bytes()).unwrap(), None, "{plain}");
        }
        assert_eq!(line(Texts::new(&[0, b'a', 0xff, b'b'][..])).unwrap(), None);
    }
}
