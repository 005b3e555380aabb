//! What YAML 1.1 allows and the parser does not: lines of quoted texts and flow collections that are indented too little.
//!
//! White space at the start of such lines means nothing, so they are given more of it where the parser complains.
//! Following the parser's complaint, instead of looking for quotes, changes no text that is read without that.

use saphyr_parser::ScanError;

/// More spaces than any block is indented by.
const MARGIN: usize = 200;

/// The text with more space where the error lies, if it is about too little of it.
pub(super) fn indent(text: &str, error: &ScanError) -> Option<String> {
    let first = error.marker().line().checked_sub(1)?;
    match error.info() {
        "invalid indentation in quoted scalar" => {
            let start = line_start(text, first)?;
            let open = start + text[start..].char_indices().nth(error.marker().col())?.0;
            let end = open + quoted(&text[open..])?;
            let continued = text[open..end].replace('\n', &format!("\n{}", " ".repeat(MARGIN)));
            // The same complaint again would mean that more space does not help.
            let padded = text[open..end].split('\n').skip(1).all(|line| line.starts_with(&" ".repeat(MARGIN)));
            (!padded).then(|| format!("{}{continued}{}", &text[..open], &text[end..]))
        }
        "invalid indentation" | "invalid indentation in flow construct" => {
            let start = line_start(text, first)?;
            let padded = text[start..].starts_with(&" ".repeat(MARGIN));
            (!padded).then(|| format!("{}{}{}", &text[..start], " ".repeat(MARGIN), &text[start..]))
        }
        _ => None,
    }
}

/// Where a line begins, counted from 0.
fn line_start(text: &str, line: usize) -> Option<usize> {
    match line {
        0 => Some(0),
        line => text.match_indices('\n').nth(line - 1).map(|(at, _)| at + 1),
    }
}

/// The length of the quoted text that a text begins with.
fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}
