//! Python's `re`, on top of `fancy_regex`.
//!
//! Patterns are translated piece by piece, because the same signs mean different things: `$` also matches before a final
//! line break, `\w` leaves combining marks out, a `[` inside of a class is a bracket. Searching goes on after an empty match
//! as Python does, and a pattern that backtracks without end is an error instead of a hang. One difference is known: where a
//! repeated group can match nothing, as in `(a*)*`, it keeps what it matched last before that nothing.

mod replacement;
mod translate;

use std::sync::OnceLock;

use fancy_regex::{Captures, RegexBuilder};

/// Steps back after which a search gives up; about a second.
const MOST_STEPS: usize = 10_000_000;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Regex {
    translated: translate::Translated,
    search: fancy_regex::Regex,
    /// The same, except that a match must not be empty where the search begins.
    moving: OnceLock<Result<fancy_regex::Regex, Error>>,
    /// The same, at the start of the text only.
    anchored: OnceLock<Result<fancy_regex::Regex, Error>>,
}

/// Why a pattern, or a search with it, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The pattern is not one of Python's, or uses what is not supported.
    #[error("the pattern `{pattern}` cannot be used: {message}")]
    Pattern {
        /// The pattern, cut short.
        pattern: String,
        /// What is wrong.
        message: String,
    },
    /// The search took too many steps.
    #[error("the pattern `{0}` takes too long on a text; make it simpler")]
    TooLong(String),
}

/// What one match of `re.findall` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'t> {
    /// The match, or its only group.
    Text(&'t str),
    /// All groups of a pattern with several; empty where one took no part.
    Groups(Vec<&'t str>),
}

/// A match: its groups, of which the first is the whole match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'t> {
    /// Where it begins and ends, in bytes.
    pub range: std::ops::Range<usize>,
    groups: Vec<Option<&'t str>>,
}

impl<'t> Match<'t> {
    /// `match.group(number)`; `None` where the group took no part.
    pub fn group(&self, number: usize) -> Option<&'t str> {
        self.groups.get(number).copied().flatten()
    }

    /// All groups, the whole match first.
    pub fn groups(&self) -> &[Option<&'t str>] {
        &self.groups
    }
}

impl Regex {
    /// Compiles a pattern as `re.compile(pattern)` does; flags stand in it, for example `(?i)` at its start.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let short = shortened(pattern);
        let translated =
            translate::translate(pattern).map_err(|message| Error::Pattern { pattern: short.clone(), message })?;
        let search = build(&translated.pattern, &short)?;
        Ok(Self { translated, search, moving: OnceLock::new(), anchored: OnceLock::new() })
    }

    /// `re.search`: the first match.
    pub fn search<'t>(&self, text: &'t str) -> Result<Option<Match<'t>>, Error> {
        self.find(&self.search, text, 0)
    }

    /// `re.match`: a match at the start.
    pub fn match_start<'t>(&self, text: &'t str) -> Result<Option<Match<'t>>, Error> {
        let anchored = self.anchored.get_or_init(|| self.variant(r"\A(?:", ")"));
        self.find(anchored.as_ref().map_err(Clone::clone)?, text, 0)
    }

    /// `re.findall`.
    pub fn find_all<'t>(&self, text: &'t str) -> Result<Vec<Found<'t>>, Error> {
        let found = |m: Match<'t>| match m.groups.len() {
            1 => Found::Text(m.group(0).unwrap_or_default()),
            2 => Found::Text(m.group(1).unwrap_or_default()),
            _ => Found::Groups(m.groups[1..].iter().map(|group| group.unwrap_or_default()).collect()),
        };
        Ok(self.matches(text, usize::MAX)?.into_iter().map(found).collect())
    }

    /// `re.finditer`, at most `most` matches.
    pub fn matches<'t>(&self, text: &'t str, most: usize) -> Result<Vec<Match<'t>>, Error> {
        let mut found: Vec<Match<'t>> = Vec::new();
        let (mut at, mut empty) = (0, false);
        while found.len() < most && at <= text.len() {
            let regex = match empty {
                // After an empty match the next one may begin at the same place, if it is not empty.
                true => {
                    let moving = self.moving.get_or_init(|| self.variant("(?:", r")(?!\G)"));
                    moving.as_ref().map_err(Clone::clone)?
                }
                false => &self.search,
            };
            let Some(next) = self.find(regex, text, at)? else { break };
            (at, empty) = (next.range.end, next.range.is_empty());
            found.push(next);
        }
        Ok(found)
    }

    /// `re.sub`: replaces the first `count` matches; 0 is all. `replacement` may name groups as `\1` and `\g<name>`.
    pub fn sub(&self, replacement: &str, text: &str, count: usize) -> Result<String, Error> {
        let parts = replacement::parse(replacement, &self.translated)
            .map_err(|message| Error::Pattern { pattern: shortened(replacement), message })?;
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for found in self.matches(text, if count == 0 { usize::MAX } else { count })? {
            out.push_str(&text[done..found.range.start]);
            replacement::expand(&parts, &found, &mut out);
            done = found.range.end;
        }
        out.push_str(&text[done..]);
        Ok(out)
    }

    /// `re.split`: the texts between the matches, and the groups of the matches.
    pub fn split<'t>(&self, text: &'t str) -> Result<Vec<Option<&'t str>>, Error> {
        let mut parts = Vec::new();
        let mut done = 0;
        for found in self.matches(text, usize::MAX)? {
            parts.push(Some(&text[done..found.range.start]));
            parts.extend(&found.groups[1..]);
            done = found.range.end;
        }
        parts.push(Some(&text[done..]));
        Ok(parts)
    }

    fn variant(&self, before: &str, after: &str) -> Result<fancy_regex::Regex, Error> {
        build(&format!("{before}{}{after}", self.translated.pattern), &self.translated.source)
    }

    fn find<'t>(&self, regex: &fancy_regex::Regex, text: &'t str, at: usize) -> Result<Option<Match<'t>>, Error> {
        let captures = regex.captures_from_pos(text, at);
        let captures = captures.map_err(|_| Error::TooLong(self.translated.source.clone()))?;
        Ok(captures.map(|captures: Captures<'t>| Match {
            range: captures.get(0).map_or(0..0, |whole| whole.range()),
            groups: captures.iter().map(|group| group.map(|group| group.as_str())).collect(),
        }))
    }
}

fn build(pattern: &str, shown: &str) -> Result<fancy_regex::Regex, Error> {
    RegexBuilder::new(pattern).backtrack_limit(MOST_STEPS).build().map_err(|e| {
        let message = crate::clean(&e.to_string());
        Error::Pattern { pattern: shown.to_string(), message }
    })
}

/// Enough of a pattern to know it by, on one line.
fn shortened(pattern: &str) -> String {
    let line: String = pattern.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if pattern.chars().count() > 80 { line + "…" } else { line }
}
