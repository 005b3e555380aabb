//! Questions with three options, of which one is right. The answer is the option's text.

use super::Draw;

/// What is asked for, and words that are examples of it and of no other.
const KINDS: [(&str, [&str; 4]); 6] = [
    ("a tool", ["chisel", "pliers", "trowel", "mallet"]),
    ("an instrument", ["oboe", "cello", "tuba", "lute"]),
    ("a vegetable", ["leek", "turnip", "kale", "radish"]),
    ("a ship", ["sloop", "ferry", "barge", "frigate"]),
    ("a fabric", ["linen", "wool", "denim", "tweed"]),
    ("a rock", ["granite", "slate", "basalt", "flint"]),
];

const QUESTIONS: [&str; 5] = [
    "Which one is {kind}?",
    "Which of these is {kind}?",
    "Find {kind}.",
    "Only one is {kind}. Which?",
    "{kind}, please:",
];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let kinds = rng.sample(&KINDS, 3);
        let options: Vec<&str> = kinds.iter().map(|(_, words)| *rng.pick(words)).collect();
        let right = rng.below(kinds.len());
        let question = rng.pick(&QUESTIONS).replace("{kind}", kinds[right].0);
        (format!("{question} {}, {} or {}", options[0], options[1], options[2]), options[right].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use tunesmith_lm::corpus::rng::Rng;

    use super::*;

    #[test]
    fn one_option_is_of_the_kind_that_is_asked_for() {
        let (mut draw, mut rng) = (draw(), Rng::new(3));
        for _ in 0..500 {
            let (text, answer) = draw(&mut rng);
            let (_, of_kind) = KINDS.iter().find(|(kind, _)| text.contains(kind)).unwrap();
            let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
            let options: Vec<&&str> = of_kind.iter().filter(|word| words.contains(word)).collect();
            assert_eq!(options, [&answer.as_str()], "{text:?}");
        }
    }
}
