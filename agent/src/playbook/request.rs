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
    /// What is asked for that the playbook does not do, in words for people.
    pub beyond: Vec<&'static str>,
}

/// Phrases that ask for something that the playbook does not do, and what that is. A phrase that ends in `*` is the
/// beginning of a word.
const BEYOND: [(&str, &str); 31] = [
    ("onnx", "an ONNX file"),
    ("tflite", "a TFLite file"),
    ("coreml", "a Core ML file"),
    ("core ml", "a Core ML file"),
    ("torchscript", "a TorchScript file"),
    ("openvino", "an OpenVINO file"),
    ("mlx", "an MLX model"),
    ("tensorrt", "a TensorRT engine"),
    ("awq", "AWQ quantisation"),
    ("gptq", "GPTQ quantisation"),
    ("q2_*", "2-bit quantisation"),
    ("q3_*", "3-bit quantisation"),
    ("q4_*", "4-bit quantisation"),
    ("q5_*", "5-bit quantisation"),
    ("q6_*", "6-bit quantisation"),
    ("4-bit", "4-bit quantisation"),
    ("int4", "4-bit quantisation"),
    ("dpo", "DPO"),
    ("orpo", "ORPO"),
    ("grpo", "GRPO"),
    ("ppo", "PPO"),
    ("rlhf", "RLHF"),
    ("qlora", "QLoRA"),
    ("dora", "DoRA"),
    ("full fine-tun*", "full fine-tuning"),
    ("full finetun*", "full fine-tuning"),
    ("publish to the hub", "publishing"),
    ("push to the hub", "publishing"),
    ("upload to the hub", "publishing"),
    ("do not train", "anything but training"),
    ("don't train", "anything but training"),
];

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
    Some(Wanted { kind, gguf: gguf(&lower), goals: goals(&lower, &words), beyond: beyond(&lower) })
}

/// What of [`BEYOND`] the request names, each once.
fn beyond(lower: &str) -> Vec<&'static str> {
    let named = |phrase: &str| {
        let (stem, open) = phrase.strip_suffix('*').map_or((phrase, false), |stem| (stem, true));
        lower.match_indices(stem).any(|(at, _)| {
            let (before, rest) = (&lower[..at], &lower[at + stem.len()..]);
            !before.ends_with(char::is_alphanumeric) && (open || !begins_a_word(rest))
        })
    };
    let mut found: Vec<&'static str> = Vec::new();
    for (_, what) in BEYOND.iter().filter(|(phrase, _)| named(phrase)) {
        if !found.contains(what) {
            found.push(what);
        }
    }
    found
}

/// The quantisation: the one named, else Q8_0, which loses almost nothing at half the size of F16.
fn gguf(lower: &str) -> Option<&'static str> {
    let asked = ["gguf", "llama.cpp", "ollama"].iter().any(|word| lower.contains(word));
    let named = [("f32", "f32"), ("f16", "f16"), ("fp16", "f16"), ("q8_0", "q8_0")];
    asked.then(|| named.into_iter().find(|(word, _)| lower.contains(word)).map_or("q8_0", |(_, quant)| quant))
}

/// "at least 90 %", "reach 0.9", "accuracy of 90 %", "90 % accuracy": a target for F1 when that is named, else for the
/// headline metric.
fn goals(lower: &str, words: &[&str]) -> Vec<Goal> {
    const BEFORE: [&str; 19] = [
        "at least",
        "over",
        "above",
        "minimum of",
        "better than",
        "more than",
        ">=",
        "reach",
        "reaches",
        "reaching",
        "achieve",
        "achieves",
        "hit",
        "get to",
        "accuracy",
        "accuracy of",
        "accuracy to",
        "f1",
        "f1 of",
    ];
    const AFTER: [&str; 5] = ["accura", "f1", "macro", "correct", "exact match"];
    let metric = if words.iter().any(|w| *w == "f1" || *w == "macro-f1") { "macro_f1" } else { "accuracy" };
    let named = || {
        let starts = lower.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at);
        let whole = starts.filter(|at| !lower[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '.'));
        whole
            .filter_map(|at| score(&lower[at..]))
            .find_map(|(value, rest)| AFTER.iter().any(|word| rest.trim_start().starts_with(word)).then_some(value))
    };
    let found = BEFORE.iter().flat_map(|before| after(lower, before)).find_map(fraction).or_else(named);
    found.map(|at_least| Goal { metric: metric.to_owned(), at_least }).into_iter().collect()
}

/// What follows each place where `phrase` stands by itself.
fn after<'a>(lower: &'a str, phrase: &'a str) -> impl Iterator<Item = &'a str> {
    lower.match_indices(phrase).filter_map(move |(at, _)| {
        let (before, rest) = (&lower[..at], &lower[at + phrase.len()..]);
        let within = before.ends_with(char::is_alphanumeric) || begins_a_word(rest);
        (phrase == ">=" || !within).then(|| rest.trim_start_matches([' ', ':', '=', '\n', '\t']))
    })
}

fn begins_a_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// The score at the beginning of `text`: a percentage with its sign or word, or a decimal fraction with a point. Whole
/// numbers without a sign count rows, teams or years.
fn fraction(text: &str) -> Option<f64> {
    score(text).map(|(value, _)| value)
}

/// The same, with what follows it.
fn score(text: &str) -> Option<(f64, &str)> {
    let number: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    // The point may be that of the sentence.
    let number = number.trim_end_matches('.');
    let (value, rest) = (number.parse::<f64>().ok()?, &text[number.len()..]);
    // Rounded once: 99.9 / 100 is not 0.999.
    let share = format!("{number}e-2").parse::<f64>().ok()?;
    let unit = rest.trim_start();
    let word = |n: &&str| unit.strip_prefix(*n).filter(|rest| !begins_a_word(rest));
    let percent = unit.strip_prefix('%').or_else(|| ["percent", "per cent"].iter().find_map(word));
    match percent {
        Some(rest) => Some((share, rest)).filter(|(share, _)| *share > 0.0 && *share <= 1.0),
        None if begins_a_word(rest) || !number.contains('.') => None,
        None => Some((value, rest)).filter(|(share, _)| *share > 0.0 && *share < 1.0),
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
        assert_eq!(
            wanted,
            Some(Wanted { kind: Some(JobKind::Classification), gguf: Some("q8_0"), goals: vec![], beyond: vec![] })
        );
        let maths = read("Fine-tune a small model to solve these maths problems; show accuracy before and after.");
        assert_eq!(maths, Some(Wanted { kind: Some(JobKind::Generation), gguf: None, goals: vec![], beyond: vec![] }));
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
    fn a_target_may_stand_before_or_after_its_metric() {
        for (request, want) in [
            ("fine-tune these and reach 95 % accuracy", goal("accuracy", 0.95)),
            ("fine-tune and reach accuracy 99.9%. then ship it", goal("accuracy", 0.999)),
            ("train a classifier with an accuracy of 0.9", goal("accuracy", 0.9)),
            ("classify these; i need 80% f1", goal("macro_f1", 0.8)),
            ("train it until 70 percent are exact matches", vec![]),
            ("train it on 80 % of the rows", vec![]),
        ] {
            assert_eq!(read(request).unwrap().goals, want, "{request}");
        }
    }

    #[test]
    fn what_the_playbook_does_not_do_is_named() {
        for (request, want) in [
            ("classify these and give me an ONNX file", vec!["an ONNX file"]),
            ("classify these as a Q4_K_M gguf and publish to the hub", vec!["4-bit quantisation", "publishing"]),
            ("full fine-tuning with DPO, no LoRA", vec!["DPO", "full fine-tuning"]),
            ("Do not train anything, just classify", vec!["anything but training"]),
            ("route support tickets to departments and adopt a tone", vec![]),
        ] {
            assert_eq!(read(request).unwrap().beyond, want, "{request}");
        }
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
