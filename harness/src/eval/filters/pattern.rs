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
        let built = fancy_regex::RegexBuilder::new(source).backtrack_limit(STEPS).build();
        let regex = built.map_err(|e| Refusal::setting(format!("pattern `{source}`"), e.to_string()))?;
        Ok(Self { source: source.into(), regex })
    }

    /// Python's `findall`: per match its groups, or the whole match where there are none.
    pub(crate) fn find_all(&self, text: &str) -> Result<Vec<Vec<String>>, Refusal> {
        let mut found = Vec::new();
        for captures in self.regex.captures_iter(text) {
            let captures = captures.map_err(|e| self.endless(&e))?;
            let group = |i: usize| captures.get(i).map_or("", |m| m.as_str()).to_owned();
            found.push(if captures.len() == 1 { vec![group(0)] } else { (1..captures.len()).map(group).collect() });
        }
        Ok(found)
    }

    /// Python's `re.sub(pattern, "", text)`.
    pub(crate) fn remove(&self, text: &str) -> Result<String, Refusal> {
        self.regex.try_replacen(text, 0, "").map(Into::into).map_err(|e| self.endless(&e))
    }

    fn endless(&self, e: &fancy_regex::Error) -> Refusal {
        Refusal::values(format!("pattern `{}` does not come to an end on an answer: {e}", self.source))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}
