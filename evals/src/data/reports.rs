//! Commands and the reports that they have been carried out: one fixed rule over a small vocabulary.

use super::Draw;

/// What is done, and how it is reported.
const VERBS: [(&str, &str); 14] = [
    ("open", "opened"),
    ("close", "closed"),
    ("clean", "cleaned"),
    ("paint", "painted"),
    ("repair", "repaired"),
    ("bring", "brought"),
    ("sell", "sold"),
    ("find", "found"),
    ("hide", "hidden"),
    ("lock", "locked"),
    ("wash", "washed"),
    ("take", "taken"),
    ("check", "checked"),
    ("build", "built"),
];

const ADJECTIVES: [&str; 9] = ["", "", "red", "green", "old", "new", "small", "large", "white"];

const NOUNS: [&str; 16] = [
    "door", "window", "box", "table", "lamp", "chair", "car", "boat", "gate", "bag", "clock", "mirror", "tent", "desk",
    "shelf", "bike",
];

const PLACES: [&str; 9] = [
    "",
    "",
    "",
    "in the hall",
    "in the garden",
    "in the kitchen",
    "near the bridge",
    "at the station",
    "behind the house",
];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (verb, done) = *rng.pick(&VERBS);
        let words = [*rng.pick(&ADJECTIVES), *rng.pick(&NOUNS), *rng.pick(&PLACES)];
        let thing = words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        (format!("{verb} the {thing}"), format!("The {thing} has been {done}."))
    })
}
