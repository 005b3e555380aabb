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
        () if any(&EXTRACT) => Some(JobKind::Extraction),
        () if any(&CLASSIFY) => Some(JobKind::Classification),
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
    BEFORE
        .iter()
        .filter_map(|before| {
            let rest = lower[lower.find(before)? + before.len()..].trim_start();
            let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let value: f64 = number.trim_end_matches('.').parse().ok()?;
            let after = rest[number.len()..].trim_start();
            let percent = after.starts_with('%') || after.starts_with("percent") || after.starts_with("per cent");
            match (percent, value) {
                (true, 0.0..=100.0) => Some(value / 100.0),
                (false, 0.0..=1.0) => Some(value),
                _ => None,
            }
        })
        .next()
        .map(|at_least| Goal { metric: metric.to_owned(), at_least })
        .into_iter()
        .collect()
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
    }
}
