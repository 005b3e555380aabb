//! Patterns of task files with the meaning they have in Python's `re`.

use std::fmt;

use crate::eval::refusal::Refusal;

/// A pattern of a task file.
#[derive(Clone)]
pub(crate) struct Pattern {
    source: String,
    regex: fancy_regex::Regex,
}

/// Steps a pattern with look-around may take on one answer; Python would go on for ever.
const STEPS: usize = 10_000_000;

impl Pattern {
    pub(crate) fn new(source: &str) -> Result<Self, Refusal> {
        let built = fancy_regex::RegexBuilder::new(&translated(source)).backtrack_limit(STEPS).build();
        let regex = built.map_err(|e| Refusal::setting(format!("pattern `{source}`"), e.to_string()))?;
        Ok(Self { source: source.into(), regex })
    }

    /// Python's `findall`: per match its groups, or the whole match where there are none.
    pub(crate) fn find_all(&self, text: &str) -> Result<Vec<Vec<String>>, Refusal> {
        let mut found = Vec::new();
        self.each_match(text, |captures| {
            let group = |i: usize| captures.get(i).map_or("", |m| m.as_str()).to_owned();
            found.push(if captures.len() == 1 { vec![group(0)] } else { (1..captures.len()).map(group).collect() });
        })?;
        Ok(found)
    }

    /// Python's `re.sub(pattern, "", text)`.
    pub(crate) fn remove(&self, text: &str) -> Result<String, Refusal> {
        let mut kept = String::new();
        let mut at = 0;
        self.each_match(text, |captures| {
            if let Some(whole) = captures.get(0) {
                kept.push_str(&text[at..whole.start()]);
                at = whole.end();
            }
        })?;
        Ok(kept + &text[at..])
    }

    /// Walks over matches as Python does: an empty one may follow another match, but not an empty one in its place.
    fn each_match(&self, text: &str, mut visit: impl FnMut(fancy_regex::Captures<'_>)) -> Result<(), Refusal> {
        let mut from = 0;
        let mut last_empty = None;
        while let Some(captures) = self.regex.captures_from_pos(text, from).map_err(|e| self.endless(&e))? {
            let Some(whole) = captures.get(0) else { break };
            let (start, end) = (whole.start(), whole.end());
            let again = start == end && last_empty == Some(start);
            if again {
                match text[start..].chars().next() {
                    Some(c) => from = start + c.len_utf8(),
                    None => break,
                }
            } else {
                visit(captures);
                last_empty = (start == end).then_some(start);
                from = end;
            }
        }
        Ok(())
    }

    fn endless(&self, e: &fancy_regex::Error) -> Refusal {
        Refusal::values(format!("pattern `{}` does not come to an end on an answer: {e}", self.source))
    }
}

/// `source` with classes and anchors as Python means them.
fn translated(source: &str) -> String {
    const WORD: &str = r"\p{L}\p{N}_";
    const SPACE: &str = r"\s\x1c-\x1f";
    let multiline = source.starts_with("(?") && source.split(')').next().is_some_and(|flags| flags.contains('m'));
    let mut out = String::new();
    let mut class = false;
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match (c, class) {
            ('\\', _) => match (chars.next(), class) {
                (Some('w'), true) => out.push_str(WORD),
                (Some('s'), true) => out.push_str(SPACE),
                (Some('w'), false) => out.push_str(&format!("[{WORD}]")),
                (Some('W'), _) => out.push_str(&format!("[^{WORD}]")),
                (Some('s'), false) => out.push_str(&format!("[{SPACE}]")),
                (Some('S'), _) => out.push_str(&format!("[^{SPACE}]")),
                (Some('b'), false) => {
                    let [before, behind] = [format!("(?<=[{WORD}])"), format!("(?=[{WORD}])")];
                    let [not_before, not_behind] = [format!("(?<![{WORD}])"), format!("(?![{WORD}])")];
                    out.push_str(&format!("(?:{before}{not_behind}|{not_before}{behind})"));
                }
                (Some('Z'), false) => out.push_str(r"\z"),
                (Some(escaped), _) => out.extend(['\\', escaped]),
                (None, _) => out.push('\\'),
            },
            ('[', true) => out.push_str(r"\["),
            ('[', false) => {
                class = true;
                out.push('[');
                // A bracket that comes first is one of the class.
                let rest = chars.as_str();
                let negated = rest.strip_prefix('^');
                if negated.is_some() {
                    chars.next();
                    out.push('^');
                }
                if negated.unwrap_or(rest).starts_with(']') {
                    chars.next();
                    out.push_str(r"\]");
                }
            }
            (']', true) => {
                class = false;
                out.push(']');
            }
            ('&' | '~', true) => out.extend(['\\', c]),
            ('$', false) if !multiline => out.push_str(r"(?=\n?\z)"),
            _ => out.push(c),
        }
    }
    out
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}
