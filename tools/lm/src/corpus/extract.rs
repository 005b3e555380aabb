//! Sentences and the facts in them, as JSON objects.

use super::{Doc, Words, rng::Rng, service::user};

/// A kind of sentence: patterns with `<field>` marks, and what each field is called and filled with.
struct Frame {
    patterns: &'static [&'static str],
    fields: &'static [(&'static str, &'static [&'static str], &'static str)],
}

const FRAMES: [Frame; 8] = [
    Frame {
        patterns: &[
            "please send <n> <item> to <city>",
            "<name> ordered <n> <item> for the office in <city>",
            "i need <n> <item> delivered to <city>",
            "<n> <item> must go to <city>, says <name>",
            "we would like <n> of the <colour> <item>",
        ],
        fields: &[
            ("n", &["quantity", "count", "number", "amount"], "{2..30}"),
            ("item", &["item", "product", "article"], "{items}"),
            ("city", &["city", "destination", "place"], "{city}"),
            ("name", &["customer", "name", "buyer"], "{name}"),
            ("colour", &["colour", "shade"], "{colour}"),
        ],
    },
    Frame {
        patterns: &[
            "book a table for <n> on <day> under the name <name>",
            "<name> wants a table for <n> people, <day> at <hour>",
            "table for <n>, <day>, <hour> o'clock",
        ],
        fields: &[
            ("n", &["people", "guests", "size"], "{2..12}"),
            ("day", &["day", "date"], "{day}"),
            ("name", &["name", "guest"], "{name}"),
            ("hour", &["hour", "time"], "{5..11}"),
        ],
    },
    Frame {
        patterns: &[
            "<name> flies from <from> to <city> on <day>",
            "the train from <from> to <city> leaves at <hour> on <day>",
            "i travel to <city> from <from> with <n> bags",
        ],
        fields: &[
            ("from", &["from", "origin", "start"], "{city}"),
            ("city", &["to", "destination", "goal"], "{city}"),
            ("name", &["passenger", "name", "traveller"], "{name}"),
            ("day", &["day", "date"], "{day}"),
            ("hour", &["hour", "time"], "{1..23}"),
            ("n", &["bags", "pieces"], "{2..5}"),
        ],
    },
    Frame {
        patterns: &[
            "<name> <surname> is <n> years old and lives in <city>",
            "my name is <name> <surname>, i am <n> and come from <city>",
            "<name> <surname> from <city> has a <colour> <item>",
        ],
        fields: &[
            ("name", &["name", "first_name"], "{name}"),
            ("surname", &["surname", "last_name", "family_name"], "{surname}"),
            ("n", &["age", "years"], "{18..90}"),
            ("city", &["city", "town", "home"], "{city}"),
            ("colour", &["colour"], "{colour}"),
            ("item", &["item", "thing"], "{item}"),
        ],
    },
    Frame {
        patterns: &[
            "the <colour> <item> costs <n> euros",
            "for <n> euros you get a <colour> <item>",
            "<name> sold the <item> for <n> euros",
        ],
        fields: &[
            ("colour", &["colour", "color"], "{colour}"),
            ("item", &["item", "product", "object"], "{item}"),
            ("n", &["price", "euros", "cost"], "{5..900}"),
            ("name", &["seller", "name"], "{name}"),
        ],
    },
    Frame {
        patterns: &[
            "remind me to [call|visit|write to] <name> on <day> at <hour>",
            "meeting with <name> in <city> on <day>",
            "on <day> at <hour> i see <name>",
        ],
        fields: &[
            ("name", &["who", "person", "contact"], "{name}"),
            ("day", &["day", "when", "weekday"], "{day}"),
            ("hour", &["hour", "time", "at"], "{1..12}"),
            ("city", &["where", "place", "city"], "{city}"),
        ],
    },
    Frame {
        patterns: &[
            "turn [on|off] the <item> in <n> minutes",
            "set the <item> to <n>",
            "put <n> <colour> pillows next to the <item>",
        ],
        fields: &[
            ("item", &["device", "object", "item"], "{item}"),
            ("n", &["value", "minutes", "level", "number"], "{2..60}"),
            ("colour", &["colour"], "{colour}"),
        ],
    },
    Frame {
        patterns: &["in <city> it is <n> degrees and <sky>", "on <day> <city> will be <sky> with <n> degrees"],
        fields: &[
            ("city", &["city", "place", "location"], "{city}"),
            ("n", &["degrees", "temperature"], "{2..35}"),
            ("sky", &["weather", "sky"], "[sunny|cloudy|rainy|windy|foggy]"),
            ("day", &["day"], "{day}"),
        ],
    },
];

/// Up to three sentences of one kind, each answered with its facts as JSON; the field names stay the same.
pub(super) fn doc(words: &Words, rng: &mut Rng) -> Doc {
    let frame = rng.pick(&FRAMES);
    let names: Vec<&str> = frame.fields.iter().map(|(_, names, _)| *rng.pick(names)).collect();
    let spaced = rng.chance(65);
    let cue = *rng.pick(&["JSON:", "As JSON:", "json", "Extract the facts as JSON.", "Fields:", "Give me JSON."]);
    let listed = rng.chance(25);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 3) {
        let (text, facts) = sentence(words, rng, frame);
        let fields: Vec<(&str, String)> = facts.into_iter().map(|(i, value)| (names[i], value)).collect();
        let cue = if listed {
            let wanted: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            format!("JSON with {}:", wanted.join(", "))
        } else {
            cue.to_owned()
        };
        turns.push(user(&text, &cue));
        turns.push(("assistant", json(&fields, spaced)));
    }
    if rng.chance(12) {
        return Doc::Plain(turns.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"));
    }
    Doc::Chat(turns)
}

/// A sentence, and the index and value of each field in it, in the order of the fields.
fn sentence(words: &Words, rng: &mut Rng, frame: &Frame) -> (String, Vec<(usize, String)>) {
    let pattern = *rng.pick(frame.patterns);
    let mut text = words.expand(rng, pattern);
    let mut facts = Vec::new();
    for (i, (key, _, values)) in frame.fields.iter().enumerate() {
        let mark = format!("<{key}>");
        if text.contains(&mark) {
            let value = words.expand(rng, values);
            text = text.replace(&mark, &value);
            facts.push((i, value));
        }
    }
    let text = if rng.chance(50) { super::service::polish(&text) } else { text };
    (text, facts)
}

/// An object: whole numbers bare, all else quoted.
fn json(fields: &[(&str, String)], spaced: bool) -> String {
    let (colon, comma) = if spaced { (": ", ", ") } else { (":", ",") };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let bare = value.parse::<u64>().is_ok();
            if bare { format!("\"{name}\"{colon}{value}") } else { format!("\"{name}\"{colon}\"{value}\"") }
        })
        .collect();
    format!("{{{}}}", pairs.join(comma))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_are_json_and_every_value_stands_in_the_sentence() {
        let (words, mut rng) = (Words::load(), Rng::new(3));
        for _ in 0..500 {
            let Doc::Chat(turns) = doc(&words, &mut rng) else { continue };
            for pair in turns.chunks(2) {
                let facts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&pair[1].1).unwrap();
                assert!(!facts.is_empty());
                for value in facts.values() {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let sentence = pair[0].1.to_lowercase();
                    assert!(sentence.contains(&text.to_lowercase()), "{text:?} is not in {sentence:?}");
                }
            }
        }
    }
}
