//! Questions with three lettered options, of which one is right.

use super::Draw;

/// What is asked for, and words that are examples of it and of no other.
const KINDS: [(&str, [&str; 10]); 6] = [
    ("a tool", ["chisel", "pliers", "saw", "trowel", "spanner", "drill", "mallet", "rasp", "awl", "wrench"]),
    ("an instrument", ["oboe", "cello", "harp", "tuba", "lute", "zither", "bugle", "viola", "gong", "fiddle"]),
    ("a vegetable", ["leek", "turnip", "kale", "radish", "celery", "beet", "fennel", "chard", "parsnip", "endive"]),
    ("a ship", ["sloop", "ferry", "barge", "frigate", "cutter", "tanker", "trawler", "schooner", "dinghy", "tug"]),
    ("a fabric", ["linen", "wool", "denim", "felt", "tweed", "satin", "muslin", "gauze", "corduroy", "flannel"]),
    ("a rock", ["granite", "slate", "basalt", "marble", "chalk", "flint", "pumice", "gneiss", "sandstone", "shale"]),
];

const QUESTIONS: [&str; 5] =
    ["Which one is {kind}?", "Which of these is {kind}?", "Find {kind}.", "Only one is {kind}. Which?", "{kind}, please:"];

/// The letters of the options.
pub const LETTERS: [&str; 3] = ["A", "B", "C"];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let kinds = rng.sample(&KINDS, LETTERS.len());
        let right = rng.below(LETTERS.len());
        let options: Vec<String> =
            LETTERS.iter().zip(&kinds).map(|(letter, (_, words))| format!("{letter}) {}", rng.pick(words))).collect();
        let question = rng.pick(&QUESTIONS).replace("{kind}", kinds[right].0);
        (format!("{question} {}", options.join(" ")), LETTERS[right].to_owned())
    })
}
