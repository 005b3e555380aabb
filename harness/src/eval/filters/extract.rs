//! `regex` and `regex_pos`: parts of an answer that a pattern finds.

use std::sync::LazyLock;

use super::{Answer, NOTHING_FOUND};
use crate::eval::{
    python::{
        regex::{Found, Regex},
        strings::strip,
    },
    refusal::Refusal,
    settings::Settings,
};

/// `regex`: the match that `group_select` names, or the fallback.
#[derive(Clone, Debug)]
pub struct Extract {
    pattern: Regex,
    group_select: i64,
    pub(super) fallback: Answer,
}

impl Extract {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, Refusal> {
        let pattern = settings.text("regex_pattern")?;
        Ok(Self {
            pattern: Regex::new(pattern.as_deref().unwrap_or(r"#### (\-?[0-9\.\,]+)"))?,
            group_select: settings.whole("group_select")?.unwrap_or(0),
            fallback: settings.take("fallback").map_or_else(|| Answer::Text(NOTHING_FOUND.into()), Answer::from),
        })
    }

    pub(super) fn extract(&self, answer: &Answer) -> Result<Answer, Refusal> {
        match self.find(answer)? {
            None => Ok(self.fallback.clone()),
            Some(Some(found)) => Ok(Answer::Text(found)),
            // No group took part: lm-eval strips the fallback, too.
            Some(None) => match &self.fallback {
                Answer::Text(fallback) => Ok(Answer::Text(strip(fallback).into())),
                _ => Err(Refusal::values("filter `regex`: a fallback that is no text cannot be stripped")),
            },
        }
    }

    /// `None` without a match, `Some(None)` where all groups of the match are empty.
    pub(super) fn find(&self, answer: &Answer) -> Result<Option<Option<String>>, Refusal> {
        let Answer::Text(answer) = answer else {
            // lm-eval takes everything that is no text for an empty one.
            return self.find(&Answer::Text(String::new()));
        };
        let found = self.pattern.find_all(answer)?;
        if found.is_empty() {
            return Ok(None);
        }
        let group = match select(&found, self.group_select)? {
            Found::Text(only) => Some(only),
            Found::Groups(several) => several.iter().find(|group| !group.is_empty()),
        };
        Ok(Some(group.map(|group| strip(group).to_owned())))
    }

    pub(super) fn group_select(&self) -> i64 {
        self.group_select
    }
}

/// Python's `found[index]`, which counts from the end where the index is negative.
pub(super) fn select<T>(found: &[T], index: i64) -> Result<&T, Refusal> {
    let at = if index < 0 { index + found.len() as i64 } else { index };
    let item = usize::try_from(at).ok().and_then(|at| found.get(at));
    item.ok_or_else(|| {
        Refusal::values(format!("`group_select: {index}` asks for a match beyond the {} of an answer", found.len()))
    })
}

/// `regex_pos`: the tags of all `('word', 'TAG')` pairs.
pub(super) fn tags(answer: Answer, fallback: &Answer) -> Result<Answer, Refusal> {
    static PAIR: LazyLock<Option<regex::Regex>> = LazyLock::new(|| regex::Regex::new(r"\('([^']*)', '([^']*)'\)").ok());
    let (Answer::Text(answer), Some(pair)) = (answer, &*PAIR) else {
        return Err(Refusal::values("filter `regex_pos` takes only texts"));
    };
    let tags: Vec<Answer> = pair.captures_iter(&answer).map(|pair| Answer::Text(pair[2].into())).collect();
    Ok(if tags.is_empty() { fallback.clone() } else { Answer::List(tags) })
}
