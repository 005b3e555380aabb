//! What a request in plain words asks for, as far as the playbook can tell.

use tunesmith_harness::task::{Goal, JobKind};

/// A request as the playbook understands it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The kind of job, where the words say it.
    pub kind: Option<JobKind>,
    /// The GGUF quantisation to export, where a file to ship is asked for.
    pub gguf: Option<&'static str>,
    /// Targets named in the request.
    pub goals: Vec<Goal>,
}

/// Beginnings of words that ask for a model to be trained or for what a trained model does.
const TRAIN: [&str; 12] = [
    "fine-tun", "finetun", "train", "tune", "adapt", "teach", "classif", "rout", "label", "categor", "extract", "learn",
];
const CLASSIFY: [&str; 9] =
    ["classif", "rout", "label", "intent", "categor", "sentiment", "triag", "topic", "departments"];
const EXTRACT: [&str; 4] = ["extract", "json", "fields", "entities"];
const GENERATE: [&str; 11] = [
    "solv",
    "answer",
    "rewrit",
    "translat",
    "summar",
    "reformat",
    "convert",
    "transform",
    "paraphras",
    "respond",
    "math",
];

/// Reads a request; `None` when nothing in it asks for a model to be trained.
pub fn read(request: &str) -> Option<Wanted> {
    let lower = request.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).collect();
    let any = |stems: &[&str]| words.iter().any(|word| stems.iter().any(|stem| word.starts_with(stem)));
    let fine_tune = words.windows(2).any(|pair| pair[0] == "fine" && pair[1].starts_with("tun"));
    if !any(&TRAIN) && !fine_tune {
        return None;
    }
    let kind = match () {
        // "Sort this JSON export" and "label by these fields" describe the rows, so these words alone decide little.
        () if any(&CLASSIFY) => Some(JobKind::Classification),
        () if any(&EXTRACT) => Some(JobKind::Extraction),
        () if any(&GENERATE) => Some(JobKind::Generation),
        () => None,
    };
    Some(Wanted { kind, gguf: gguf(&lower), goals: goals(&lower, &words) })
}

/// The quantisation: the one named, else Q8_0, which loses almost nothing at half the size of F16.
fn gguf(lower: &str) -> Option<&'static str> {
    let asked = ["gguf", "llama.cpp", "ollama"].iter().any(|word| lower.contains(word));
    let named = [("f32", "f32"), ("f16", "f16"), ("fp16", "f16"), ("q8_0", "q8_0")];
    asked.then(|| named.into_iter().find(|(word, _)| lower.contains(word)).map_or("q8_0", |(_, quant)| quant))
}

/// "at least 90 %", "over 0.9": a target for F1 when that is named, else for the headline metric.
fn goals(lower: &str, words: &[&str]) -> Vec<Goal> {
    const BEFORE: [&str; 7] = ["at least", "over", "above", "minimum of", "better than", "more than", ">="];
    let metric = if words.iter().any(|w| *w == "f1" || *w == "macro-f1") { "macro_f1" } else { "accuracy" };
    let found = BEFORE.iter().flat_map(|before| after(lower, before)).find_map(fraction);
    found.map(|at_least| Goal { metric: metric.to_owned(), at_least }).into_iter().collect()
}

/// What follows each place where `phrase` stands by itself.
fn after<'a>(lower: &'a str, phrase: &'a str) -> impl Iterator<Item = &'a str> {
    lower.match_indices(phrase).filter_map(move |(at, _)| {
        let (before, rest) = (&lower[..at], &lower[at + phrase.len()..]);
        let within = before.ends_with(char::is_alphanumeric) || begins_a_word(rest);
        (phrase == ">=" || !within).then(|| rest.trim_start())
    })
}

fn begins_a_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// The score at the beginning of `text`: a percentage with its sign or word, or a decimal fraction with a point. Whole
/// numbers without a sign count rows, teams or years.
fn fraction(text: &str) -> Option<f64> {
    let number: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    // The point may be that of the sentence.
    let number = number.trim_end_matches('.');
    let (value, rest) = (number.parse::<f64>().ok()?, &text[number.len()..]);
    let unit = rest.trim_start();
    let named = ["percent", "per cent"].iter().any(|n| unit.strip_prefix(n).is_some_and(|rest| !begins_a_word(rest)));
    match unit.starts_with('%') || named {
        true => Some(value / 100.0).filter(|share| *share > 0.0 && *share <= 1.0),
        false if begins_a_word(rest) || !number.contains('.') => None,
        false => Some(value).filter(|share| *share > 0.0 && *share < 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(metric: &str, at_least: f64) -> Vec<Goal> {
        vec![Goal { metric: metric.to_owned(), at_least }]
    }

    #[test]
    fn the_main_job_is_understood() {
        let wanted = read(
            "Fine-tune a small model to route these customer messages to the right intent. Tell me how good it is before \
             and after on messages it has not seen, and give me a GGUF file I can ship.",
        );
        assert_eq!(wanted, Some(Wanted { kind: Some(JobKind::Classification), gguf: Some("q8_0"), goals: vec![] }));
        let maths = read("Fine-tune a small model to solve these maths problems; show accuracy before and after.");
        assert_eq!(maths, Some(Wanted { kind: Some(JobKind::Generation), gguf: None, goals: vec![] }));
    }

    #[test]
    fn what_is_no_training_is_refused() {
        for request in ["write me a poem", "What is the capital of France?", "", "delete all my files", "hello"] {
            assert_eq!(read(request), None, "{request}");
        }
    }

    #[test]
    fn targets_and_formats_are_read() {
        let wanted = read("Train a classifier with at least 90 % F1 and export it to ollama as f16").unwrap();
        assert_eq!(wanted.goals, goal("macro_f1", 0.9));
        assert_eq!(wanted.gguf, Some("f16"));
        assert_eq!(read("classify these, accuracy over 0.85.").unwrap().goals, goal("accuracy", 0.85));
        assert_eq!(read("classify over 3 departments").unwrap().goals, vec![]);
        assert_eq!(read("classify them, f1>=85%").unwrap().goals, goal("macro_f1", 0.85));
        // The phrase counts where a score follows it.
        assert_eq!(read("classify rows from over 3 years at over 70 percent").unwrap().goals, goal("accuracy", 0.7));
    }

    #[test]
    fn numbers_that_are_no_score_are_no_goal() {
        for request in [
            "classify tickets collected over 1 year",
            "route these into more than 1 team",
            "classify what we recover 0.9 of",
            "train it on more than 1.0 rows",
            "train it, overall 0.9 is nice",
            "train a model above 0.5b",
            "train it on at least 200 % of what we have",
            "train it at over 0 %",
            "train it above the 90 percentile, over 90 percentile",
            "train it with over 0.9.1",
        ] {
            assert_eq!(read(request).unwrap().goals, vec![], "{request}");
        }
    }

    #[test]
    fn words_about_the_form_of_the_rows_do_not_choose_the_job() {
        let kind = |request| read(request).unwrap().kind;
        for request in
            ["classify the tickets in this json file", "label each row by its fields", "train: topic of json"]
        {
            assert_eq!(kind(request), Some(JobKind::Classification), "{request}");
        }
        for request in ["extract the order number as json", "train a model that fills in the fields"] {
            assert_eq!(kind(request), Some(JobKind::Extraction), "{request}");
        }
        assert_eq!(kind("fine-tune a model on this"), None);
    }
}
