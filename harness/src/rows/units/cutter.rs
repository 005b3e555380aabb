//! Where lines, records, elements of an array and paragraphs end, byte by byte.

use std::mem;

use memchr::{memchr, memchr2, memchr3};

/// What a unit is, with what is known of the text before the next byte.
#[derive(Debug)]
pub(in crate::rows) enum Cutter {
    /// A line.
    Lines,
    /// A record between delimiters, in which quoted fields may hold line breaks.
    Records { delimiter: u8, quote: Quote, before: u8 },
    /// An element of a JSON array with the comma or bracket behind it; the bracket before the first is a unit, and each
    /// line behind the last.
    Elements { depth: usize, text: bool, escaped: bool, ended: bool },
    /// Lines up to and with a blank one.
    Paragraphs { blank: bool },
    /// All there is.
    Whole,
}

/// Where a record stands with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rows) enum Quote {
    Outside,
    Inside,
    /// Behind a quote inside, which ends the field unless another one follows.
    Perhaps,
}

impl Cutter {
    pub fn records(delimiter: u8) -> Cutter {
        Cutter::Records { delimiter, quote: Quote::Outside, before: b'\n' }
    }

    pub fn elements() -> Cutter {
        Cutter::Elements { depth: 0, text: false, escaped: false, ended: false }
    }

    /// Where the next unit ends in `bytes`, which follow those that were looked at before.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Cutter::Lines => memchr(b'\n', bytes).map(|at| at + 1),
            Cutter::Records { delimiter, quote, before } => record_end(bytes, *delimiter, quote, before),
            Cutter::Elements { depth, text, escaped, ended } => element_end(bytes, depth, text, escaped, ended),
            Cutter::Paragraphs { blank } => {
                for (at, byte) in bytes.iter().enumerate() {
                    match byte {
                        b'\n' if mem::replace(blank, true) => return Some(at + 1),
                        byte if byte.is_ascii_whitespace() => {}
                        _ => *blank = false,
                    }
                }
                None
            }
            Cutter::Whole => None,
        }
    }

    /// What a unit that the text's end cuts off is missing.
    pub fn missing(&self) -> bool {
        match self {
            Cutter::Records { quote, .. } => *quote == Quote::Inside,
            Cutter::Elements { ended, .. } => !ended,
            _ => false,
        }
    }
}

fn record_end(bytes: &[u8], delimiter: u8, quote: &mut Quote, before: &mut u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match quote {
            Quote::Perhaps if bytes[at] == b'"' => {
                *quote = Quote::Inside;
                at += 1;
            }
            // What follows the closing quote belongs to the field as it stands, quotes too.
            Quote::Perhaps => {
                *quote = Quote::Outside;
                *before = b'"';
            }
            Quote::Inside => match memchr(b'"', &bytes[at..]) {
                Some(next) => {
                    *quote = Quote::Perhaps;
                    at += next + 1;
                }
                None => return None,
            },
            Quote::Outside => {
                let Some(next) = memchr3(b'"', b'\n', b'\r', &bytes[at..]) else {
                    *before = bytes[bytes.len() - 1];
                    return None;
                };
                if next > 0 {
                    *before = bytes[at + next - 1];
                }
                at += next + 1;
                let byte = bytes[at - 1];
                let opens = [delimiter, b'\n', b'\r'].contains(&mem::replace(before, byte));
                match byte {
                    b'"' if opens => *quote = Quote::Inside,
                    b'"' => {}
                    _ => return Some(at),
                }
            }
        }
    }
    None
}

fn element_end(
    bytes: &[u8],
    depth: &mut usize,
    text: &mut bool,
    escaped: &mut bool,
    ended: &mut bool,
) -> Option<usize> {
    if *ended {
        return memchr(b'\n', bytes).map(|at| at + 1);
    }
    let mut at = 0;
    while at < bytes.len() {
        if mem::take(escaped) {
            at += 1;
            continue;
        }
        if *text {
            let next = memchr2(b'"', b'\\', &bytes[at..])?;
            at += next + 1;
            (*text, *escaped) = (bytes[at - 1] == b'\\', bytes[at - 1] == b'\\');
            continue;
        }
        at += 1;
        match bytes[at - 1] {
            b'"' => *text = true,
            b'[' | b'{' => {
                *depth += 1;
                if *depth == 1 {
                    return Some(at);
                }
            }
            b']' | b'}' => {
                *depth = depth.saturating_sub(1);
                if *depth == 0 {
                    *ended = true;
                    return Some(at);
                }
            }
            b',' if *depth == 1 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
