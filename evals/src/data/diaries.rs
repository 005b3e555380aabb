//! Lines of diaries, and the same told by somebody else: names, verbs and owners change by rule, the rest is copied.

use super::Draw;

/// Who writes, and whose things they then are.
const WRITERS: [(&str, &str); 10] = [
    ("Mara", "her"),
    ("Edda", "her"),
    ("Tilda", "her"),
    ("Runa", "her"),
    ("Paula", "her"),
    ("Otto", "his"),
    ("Henk", "his"),
    ("Piet", "his"),
    ("Bruno", "his"),
    ("Janis", "his"),
];

/// What I do, and what they do.
const VERBS: [(&str, &str); 12] = [
    ("feed", "feeds"),
    ("brush", "brushes"),
    ("carry", "carries"),
    ("mend", "mends"),
    ("polish", "polishes"),
    ("hang up", "hangs up"),
    ("sketch", "sketches"),
    ("bury", "buries"),
    ("weigh", "weighs"),
    ("unpack", "unpacks"),
    ("watch", "watches"),
    ("tidy", "tidies"),
];

const THINGS: [&str; 14] = [
    "goat", "kite", "anvil", "loom", "saddle", "flute", "barrel", "canoe", "ladder", "lantern", "hammock", "wagon",
    "stove", "compass",
];

const TIMES: [&str; 8] = ["", "", "at noon", "by candlelight", "before the storm", "in secret", "all week", "again"];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (name, owner) = *rng.pick(&WRITERS);
        let things = rng.sample(&THINGS, 2);
        let (i, they) = *rng.pick(&VERBS);
        let mut said = format!("{name}: I {i} my {}", things[0]);
        let mut told = format!("{name} {they} {owner} {}", things[0]);
        if rng.chance(50) {
            let (i, they) = *rng.pick(&VERBS);
            said += &format!(" and {i} my {}", things[1]);
            told += &format!(" and {they} {owner} {}", things[1]);
        }
        let time = *rng.pick(&TIMES);
        let end = if time.is_empty() { ".".to_owned() } else { format!(" {time}.") };
        (said + &end, told + &end)
    })
}
