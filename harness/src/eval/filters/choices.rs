//! `multi_choice_regex`: the letter of a choice, from a pattern, the choice's text, or a letter behind a colon.

use std::sync::LazyLock;

use serde_json::Value;

use super::{
    Answer,
    extract::{Extract, select},
};
use crate::eval::{
    python::{
        regex::Regex,
        strings::{is_space, strip},
    },
    refusal::Refusal,
    request::Doc,
    settings::Settings,
};

/// `multi_choice_regex`.
#[derive(Clone, Debug)]
pub struct ChoiceRegex {
    extract: Extract,
    ignore_case: bool,
    ignore_punctuation: bool,
    regexes_to_ignore: Vec<Regex>,
}

/// The choices of a row, as texts to look for.
pub(super) struct Choices {
    /// In the row's order, cleaned as answers are; the later of two equal ones gives the letter.
    texts: Vec<String>,
    /// Indices, the longest text first, so that a choice that begins another one does not hide it.
    longest_first: Vec<usize>,
}

/// Choices have capital letters, of which there are so many.
const LETTERS: usize = 26;

impl ChoiceRegex {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, Refusal> {
        let ignored = settings.texts("regexes_to_ignore")?.unwrap_or_default();
        Ok(Self {
            extract: Extract::read(settings)?,
            ignore_case: settings.flag("ignore_case", false)?,
            ignore_punctuation: settings.flag("ignore_punctuation", false)?,
            regexes_to_ignore: ignored.iter().map(|source| Regex::new(source)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn fallback(&self) -> &Answer {
        &self.extract.fallback
    }

    pub(super) fn extract(&self, answer: &Answer, choices: &Choices) -> Result<Answer, Refusal> {
        let mut found = self.extract.find(answer)?.flatten().unwrap_or_default();
        let text = match answer {
            Answer::Text(text) => text,
            _ if found.is_empty() && self.cleans() => {
                return Err(Refusal::values("filter `multi_choice_regex` can ignore parts only of texts"));
            }
            _ => "",
        };
        if found.is_empty() {
            found = self.choice_in(text, choices)?;
        }
        if found.is_empty() {
            found = self.letter_behind_colon(text, choices.texts.len())?;
        }
        Ok(if found.is_empty() { self.extract.fallback.clone() } else { Answer::Text(found) })
    }

    /// The letter of the choice whose text the answer holds, in brackets.
    fn choice_in(&self, text: &str, choices: &Choices) -> Result<String, Refusal> {
        let cleaned = self.cleaned(text)?;
        let found = choices.find_all(&cleaned);
        if found.is_empty() {
            return Ok(String::new());
        }
        let found = strip(select(&found, self.extract.group_select())?);
        let place = choices.texts.iter().rposition(|choice| choice == found);
        Ok(match place {
            Some(place) if !found.is_empty() => letter(place),
            _ => found.to_owned(),
        })
    }

    /// Python's `:[\s]*(A|B|…)`.
    fn letter_behind_colon(&self, text: &str, choices: usize) -> Result<String, Refusal> {
        let mut found = Vec::new();
        for behind in text.split(':').skip(1) {
            let place = behind.trim_start_matches(is_space).chars().next().and_then(|c| (c as usize).checked_sub(65));
            found.extend(place.filter(|place| *place < choices.max(1)));
        }
        match found.is_empty() || choices == 0 {
            // Without choices the pattern ends in an empty group, which finds nothing to use.
            true => Ok(String::new()),
            false => Ok(letter(*select(&found, self.extract.group_select())?)),
        }
    }

    fn cleans(&self) -> bool {
        self.ignore_case || self.ignore_punctuation || !self.regexes_to_ignore.is_empty()
    }

    fn cleaned(&self, text: &str) -> Result<String, Refusal> {
        static PUNCTUATION: LazyLock<Option<regex::Regex>> = LazyLock::new(|| regex::Regex::new(r"\p{P}").ok());
        let mut cleaned = text.to_owned();
        for pattern in &self.regexes_to_ignore {
            cleaned = pattern.sub("", &cleaned, 0)?;
        }
        if self.ignore_case {
            cleaned = cleaned.to_lowercase();
        }
        match &*PUNCTUATION {
            Some(punctuation) if self.ignore_punctuation => Ok(punctuation.replace_all(&cleaned, "").into()),
            _ => Ok(cleaned),
        }
    }
}

impl Choices {
    /// The row's `choices`; of a map its keys, as Python iterates.
    pub(super) fn of(filter: &ChoiceRegex, doc: &Doc) -> Result<Self, Refusal> {
        let problem = || Refusal::values("filter `multi_choice_regex` needs a column `choices` with a list of texts");
        let raw: Vec<String> = match doc.get("choices").ok_or_else(problem)? {
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(problem)?
            }
            Value::Object(map) => map.keys().cloned().collect(),
            Value::String(text) => text.chars().map(String::from).collect(),
            _ => return Err(problem()),
        };
        if raw.len() > LETTERS {
            let problem = format!("{} choices are more than there are letters", raw.len());
            return Err(Refusal::values(format!("filter `multi_choice_regex`: {problem}")));
        }
        let texts = raw.iter().map(|choice| filter.cleaned(strip(choice))).collect::<Result<Vec<_>, _>>()?;
        let mut longest_first: Vec<usize> = (0..texts.len()).collect();
        // lm-eval sorts by the length of the escaped text; the sort keeps the order of equal ones.
        longest_first.sort_by_key(|&i| std::cmp::Reverse(escaped_len(&texts[i])));
        Ok(Self { texts, longest_first })
    }

    /// Python's `findall` of the alternatives.
    fn find_all<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut found = Vec::new();
        let mut at = 0;
        let mut after_empty = false;
        loop {
            let rest = &text[at..];
            let matched = self.longest_first.iter().map(|&i| self.texts[i].as_str());
            let matched = matched.filter(|choice| !(after_empty && choice.is_empty())).find(|c| rest.starts_with(*c));
            // No choices at all make an empty pattern, which matches everywhere, and finds nothing to use.
            match matched {
                Some(choice) => {
                    found.push(&rest[..choice.len()]);
                    at += choice.len();
                    after_empty = choice.is_empty();
                }
                None => match rest.chars().next() {
                    Some(c) => {
                        at += c.len_utf8();
                        after_empty = false;
                    }
                    None => return found,
                },
            }
        }
    }
}

/// Length of Python's `re.escape(text)`.
fn escaped_len(text: &str) -> usize {
    const SPECIAL: &str = "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}";
    text.chars().map(|c| if SPECIAL.contains(c) { 2 } else { 1 }).sum()
}

fn letter(place: usize) -> String {
    format!("({})", char::from(b'A' + place as u8))
}
