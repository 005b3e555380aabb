//! Private keys, which are blocks of several lines.
//!
//! Only the line before a key is found by an expression. A text may hold many such lines and no end of a key, so the
//! ends are looked for once in the whole text, not once after each beginning.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::rules::begins;

/// Bytes after its first line in which a key ends. The longest in use need half of it.
const WINDOW: usize = 16 << 10;
/// Fewer bytes between both lines are no key.
const SHORTEST: usize = 20;

struct Forms {
    begin: Regex,
    end: Regex,
    /// What is taken for a key whose end is not there.
    lines: Regex,
}

static FORMS: LazyLock<Option<Forms>> = LazyLock::new(|| {
    let line = |word: &str| Regex::new(&format!("-----{word} (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")).ok();
    let lines = r"^(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,}(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]+)*";
    Some(Forms { begin: line("BEGIN")?, end: line("END")?, lines: Regex::new(lines).ok()? })
});

/// Where keys stand in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// Each with its first and its last line.
    pub found: Vec<Range<usize>>,
    /// Where the first one begins that goes on where the text ends.
    pub open: Option<usize>,
}

/// Finds keys in time that grows as the text does.
pub(super) fn find(text: &str) -> Keys {
    let mut keys = Keys::default();
    let Some(forms) = &*FORMS else { return keys };
    let mut ends = forms.end.find_iter(text).peekable();
    // Both only move forward: the end of the last key, and what next cannot stand in one.
    let (mut last, mut stop) = (0, 0);
    for begin in forms.begin.find_iter(text) {
        if begin.start() < last || !begins(&text[..begin.start()], "") {
            continue;
        }
        let body = begin.end();
        if stop < body {
            stop = body + foreign(&text[body..]);
        }
        while ends.next_if(|end| end.start() < body + SHORTEST).is_some() {}
        let end = ends.peek().filter(|end| end.start() < stop && end.start() - body <= WINDOW).map(|end| end.end());
        let lines = || forms.lines.find(&text[body..]).map(|lines| body + lines.end());
        let until = end.or_else(lines);
        let more = stop == text.len() && text.len() - body <= WINDOW
            || until.is_some_and(|until| text[until..].trim_start().is_empty());
        if end.is_none() && more {
            keys.open = keys.open.or(Some(begin.start()));
        }
        if let Some(until) = until {
            keys.found.push(begin.start()..until);
            last = until;
        }
    }
    keys
}

/// The first place of something that stands in no key, in JSON either.
fn foreign(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let part = c.is_ascii_alphanumeric() || c.is_whitespace() || "+/=:,.-".contains(c);
        let line_break = !part && c == '\\' && chars.next_if(|(_, next)| matches!(next, 'n' | 'r')).is_some();
        if !part && !line_break {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
    const END: &str = "-----END PRIVATE KEY-----";

    fn places(text: &str) -> Vec<(usize, usize)> {
        find(text).found.iter().map(|at| (at.start, at.end)).collect()
    }

    #[test]
    fn a_key_ends_at_its_last_line_or_with_its_letters() {
        let lines = "\nProc-Type: 4,ENCRYPTED\n\nabcdefghijklmnopqrst\n";
        let whole = format!("{BEGIN}{lines}{END}");
        for (text, found, open) in [
            (format!("a {whole} b"), vec![(2, whole.len() + 2)], None),
            (format!("{whole} {whole}"), vec![(0, whole.len()), (whole.len() + 1, whole.len() * 2 + 1)], None),
            (format!("{BEGIN}{lines}"), vec![], Some(0)),
            (format!("{BEGIN}{lines}("), vec![], None),
            (format!("{BEGIN}{lines}({END}"), vec![], None),
            (format!("{BEGIN} abcdefghijklmnop "), vec![(0, BEGIN.len() + 17)], Some(0)),
            (format!("{BEGIN} abcdefghijklmnop ()"), vec![(0, BEGIN.len() + 17)], None),
            (format!("{BEGIN} {END}"), vec![], Some(0)),
            (format!("x{whole}"), vec![], None),
        ] {
            assert_eq!((places(&text), find(&text).open), (found, open), "{text}");
        }
    }

    #[test]
    fn an_end_that_is_far_away_belongs_to_no_key() {
        let text = |length: usize| format!("{BEGIN} {}{END}", "a: ".repeat(length));
        let near = text(WINDOW / 3 - 1);
        assert_eq!(places(&near), [(0, near.len())]);
        assert_eq!(find(&text(WINDOW / 3 + 1)), Keys::default());
    }
}
