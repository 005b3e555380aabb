//! What each instruction asks of a text.

use serde_json::{Map, Value};

use super::json::is_json;
use crate::eval::python::{
    is_true,
    regex::Regex,
    repr::str_of,
    strings::{strip, words},
};

/// Whether a text follows an instruction.
pub(super) type Rule = Box<dyn Fn(&str) -> Result<bool, String>>;

/// What to do about an instruction that needs a program of others.
const NOT_PORTED: &str = "which is not ported; leave rows with it out of a copy of the data";

/// What the answer to a question with a closed set of answers must contain.
const CLOSED_ANSWERS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

/// The rule of an instruction with its settings, or what it lacks.
pub(super) fn rule(id: &str, settings: &Map<String, Value>) -> Result<Rule, String> {
    let mut settings = Settings::new(settings);
    let rule: Rule = match id {
        "keywords:existence" => existence(&mut settings)?,
        "keywords:frequency" => {
            let keyword = pattern(format!("(?i){}", strip(&settings.text("keyword")?)))?;
            counted(settings.bound("frequency", "relation")?, move |text| count(&keyword, text))
        }
        "keywords:forbidden_words" => forbidden(&mut settings)?,
        "keywords:letter_frequency" => letters(&mut settings)?,
        "length_constraints:number_paragraphs" => paragraphs(settings.number("num_paragraphs")?)?,
        "length_constraints:number_words" => {
            let word = pattern(r"\w+".into())?;
            counted(settings.bound("num_words", "relation")?, move |text| count(&word, text))
        }
        "length_constraints:nth_paragraph_first_word" => first_word(&mut settings)?,
        "detectable_content:number_placeholders" => {
            let placeholder = pattern(r"\[.*?\]".into())?;
            let least = settings.number("num_placeholders")?;
            Box::new(move |text| Ok(count(&placeholder, text)? as f64 >= least))
        }
        "detectable_content:postscript" => postscript(strip(&settings.text("postscript_marker")?))?,
        "detectable_format:number_bullet_lists" => bullets(settings.number("num_bullets")?)?,
        "detectable_format:constrained_response" => {
            Box::new(|text| Ok(CLOSED_ANSWERS.iter().any(|answer| strip(text).contains(answer))))
        }
        "detectable_format:number_highlighted_sections" => highlights(settings.number("num_highlights")?)?,
        "detectable_format:multiple_sections" => {
            let splitter = pattern(format!(r"\s?{}\s?\d+\s?", strip(&settings.text("section_spliter")?)))?;
            let least = settings.number("num_sections")?;
            Box::new(move |text| Ok((splitter.split(text).map_err(failed)?.len() - 1) as f64 >= least))
        }
        "detectable_format:json_format" => Box::new(|text| is_json(unfenced(text))),
        "detectable_format:title" => title()?,
        "combination:two_responses" => Box::new(|text| Ok(has_two_responses(text))),
        "combination:repeat_prompt" => {
            let repeated = strip(&settings.text("prompt_to_repeat")?).to_lowercase();
            Box::new(move |text| Ok(strip(text).to_lowercase().starts_with(&repeated)))
        }
        "startend:end_checker" => {
            let end = strip(&settings.text("end_phrase")?).to_lowercase();
            Box::new(move |text| Ok(strip(text).trim_matches('"').to_lowercase().ends_with(&end)))
        }
        "startend:quotation" => Box::new(|text| {
            let text = strip(text);
            Ok(text.len() > 1 && text.starts_with('"') && text.ends_with('"'))
        }),
        "punctuation:no_comma" => Box::new(|text| Ok(!text.contains(','))),
        "language:response_language" | "change_case:english_capital" | "change_case:english_lowercase" => {
            return Err(format!("needs a language detector, {NOT_PORTED}"));
        }
        "length_constraints:number_sentences" | "change_case:capital_word_frequency" => {
            return Err(format!("needs NLTK's tokenizer, {NOT_PORTED}"));
        }
        _ => return Err("is not known".into()),
    };
    settings.end()?;
    Ok(rule)
}

/// The settings of an instruction, taken one by one; lm-eval draws those that are missing at random.
struct Settings(Vec<(String, Value)>);

impl Settings {
    /// Leaves out what Python takes for false.
    fn new(settings: &Map<String, Value>) -> Self {
        Self(
            settings
                .iter()
                .filter(|(_, value)| is_true(value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    fn take(&mut self, key: &str) -> Result<Value, String> {
        let at = self.0.iter().position(|(known, _)| known == key);
        let at = at.ok_or_else(|| format!("has no `{key}`, which lm-eval would draw at random"))?;
        Ok(self.0.remove(at).1)
    }

    fn text(&mut self, key: &str) -> Result<String, String> {
        match self.take(key)? {
            Value::String(text) => Ok(text),
            other => Err(format!("has a `{key}` that is no text, but {}", str_of(other))),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, String> {
        let value = self.take(key)?;
        serde_json::from_value(value).map_err(|_| format!("has `{key}` that are not a list of texts"))
    }

    fn number(&mut self, key: &str) -> Result<f64, String> {
        match self.take(key)? {
            Value::Bool(_) => Ok(1.0),
            value => {
                let number = value.as_f64().filter(|number| *number >= 0.0);
                number.ok_or_else(|| format!("has a `{key}` that is no number from 0 on, but {}", str_of(value)))
            }
        }
    }

    fn whole(&mut self, key: &str) -> Result<usize, String> {
        let number = self.take(key)?;
        let whole = number.as_u64().and_then(|number| usize::try_from(number).ok());
        whole.ok_or_else(|| format!("has a `{key}` that is no whole number, but {}", str_of(number)))
    }

    /// A number that a count is to be below, or to reach.
    fn bound(&mut self, key: &str, relation: &str) -> Result<(f64, bool), String> {
        let number = self.number(key)?;
        match self.text(relation)?.as_str() {
            "less than" => Ok((number, true)),
            "at least" => Ok((number, false)),
            other => Err(format!("has a `{relation}` other than `less than` and `at least`: `{other}`")),
        }
    }

    fn end(&self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |(key, _)| Err(format!("has an unknown setting `{key}`")))
    }
}

fn failed(why: crate::eval::python::regex::Error) -> String {
    format!("has a pattern that fails: {why}")
}

fn pattern(source: String) -> Result<Regex, String> {
    Regex::new(&source).map_err(failed)
}

fn count(pattern: &Regex, text: &str) -> Result<usize, String> {
    pattern.find_all(text).map(|found| found.len()).map_err(failed)
}

/// What a pattern finds, whole.
fn found<'t>(pattern: &Regex, text: &'t str) -> Result<Vec<&'t str>, String> {
    let matches = pattern.matches(text, usize::MAX).map_err(failed)?;
    Ok(matches.into_iter().map(|found| &text[found.range]).collect())
}

fn counted((number, below): (f64, bool), count: impl Fn(&str) -> Result<usize, String> + 'static) -> Rule {
    Box::new(move |text| {
        let count = count(text)? as f64;
        Ok(if below { count < number } else { count >= number })
    })
}

fn existence(settings: &mut Settings) -> Result<Rule, String> {
    let mut keywords = settings.texts("keywords")?;
    keywords.sort();
    let keywords = keywords.into_iter().map(|word| pattern(format!("(?i){word}"))).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |text| {
        for keyword in &keywords {
            if keyword.search(text).map_err(failed)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }))
}

fn forbidden(settings: &mut Settings) -> Result<Rule, String> {
    let mut words = settings.texts("forbidden_words")?;
    words.sort();
    let words = words.into_iter().map(|word| pattern(format!(r"(?i)\b{word}\b"))).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |text| {
        for word in &words {
            if word.search(text).map_err(failed)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }))
}

fn letters(settings: &mut Settings) -> Result<Rule, String> {
    let letter = settings.text("letter")?.to_lowercase();
    let bound = settings.bound("let_frequency", "let_relation")?;
    let mut one = letter.chars();
    match (one.next(), one.next()) {
        (Some(letter @ 'a'..='z'), None) => {
            Ok(counted(bound, move |text| Ok(text.to_lowercase().chars().filter(|c| *c == letter).count())))
        }
        _ => Err(format!("has a `letter` that is none from a to z, but `{letter}`; lm-eval would draw one at random")),
    }
}

/// Paragraphs stand between three asterisks; only the first and the last may be empty.
fn paragraphs(wanted: f64) -> Result<Rule, String> {
    let between = pattern(r"\s?\*\*\*\s?".into())?;
    Ok(Box::new(move |text| {
        let parts = between.split(text).map_err(failed)?;
        let is_empty: Vec<bool> = parts.into_iter().map(|part| strip(part.unwrap_or_default()).is_empty()).collect();
        let last = is_empty.len() - 1;
        let inside = is_empty.iter().enumerate().any(|(at, empty)| *empty && at != 0 && at != last);
        let full = is_empty.iter().filter(|empty| !**empty).count();
        Ok(!inside && full as f64 == wanted)
    }))
}

fn first_word(settings: &mut Settings) -> Result<Rule, String> {
    let (paragraphs, nth) = (settings.whole("num_paragraphs")?, settings.whole("nth_paragraph")?);
    let wanted = settings.text("first_word")?.to_lowercase();
    if nth > paragraphs {
        return Err(format!("asks about paragraph {nth} of {paragraphs}; lm-eval would draw another at random"));
    }
    Ok(Box::new(move |text| {
        let parts: Vec<&str> = text.split("\n\n").collect();
        let full = parts.iter().filter(|part| !strip(part).is_empty()).count();
        let word = parts.get(nth - 1).filter(|_| nth <= full).and_then(|part| words(part).next());
        let Some(word) = word else { return Ok(false) };
        let word = word.trim_start_matches('\'').trim_start_matches('"');
        let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
        // Letter by letter, so that no final sigma is made.
        let lower: String = word[..end].chars().flat_map(char::to_lowercase).collect();
        Ok(full == paragraphs && lower == wanted)
    }))
}

fn postscript(marker: &str) -> Result<Rule, String> {
    let marker = match marker {
        "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
        "P.S." => r"p\.\s?s\.".to_owned(),
        other => other.to_lowercase(),
    };
    let found = pattern(format!(r"(?m)\s*{marker}.*$"))?;
    // A list of matches, not of what they hold, decides.
    Ok(Box::new(move |text| Ok(count(&found, &text.to_lowercase())? > 0)))
}

fn bullets(wanted: f64) -> Result<Rule, String> {
    let stars = pattern(r"(?m)^\s*\*[^\*].*$".into())?;
    let dashes = pattern(r"(?m)^\s*-.*$".into())?;
    Ok(Box::new(move |text| Ok((count(&stars, text)? + count(&dashes, text)?) as f64 == wanted)))
}

fn highlights(least: f64) -> Result<Rule, String> {
    let single = pattern(r"\*[^\n\*]*\*".into())?;
    let double = pattern(r"\*\*[^\n\*]*\*\*".into())?;
    Ok(Box::new(move |text| {
        let full = |text: &str| !strip(text).is_empty();
        let singles = found(&single, text)?.into_iter().filter(|text| full(text.trim_matches('*'))).count();
        let inside = |text: &'_ str| full(&text["**".len()..text.len() - "**".len()]);
        let doubles = found(&double, text)?.into_iter().filter(|text| inside(text)).count();
        Ok((singles + doubles) as f64 >= least)
    }))
}

fn title() -> Result<Rule, String> {
    let titles = pattern(r"<<[^\n]+>>".into())?;
    Ok(Box::new(move |text| {
        let inside = |title: &&str| !strip(title.trim_start_matches('<').trim_end_matches('>')).is_empty();
        Ok(found(&titles, text)?.iter().any(inside))
    }))
}

/// Two different texts with six asterisks between; only the first and the last part may be empty.
fn has_two_responses(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(strip).collect();
    let last = parts.len() - 1;
    let inside = parts.iter().enumerate().any(|(at, part)| part.is_empty() && at != 0 && at != last);
    let full: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
    !inside && full.len() == 2 && full[0] != full[1]
}

/// Without a fence of three backticks around.
fn unfenced(text: &str) -> &str {
    let mut text = strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    strip(text.strip_suffix("```").unwrap_or(text))
}
