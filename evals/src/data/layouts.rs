//! Words and how to lay them out: the same words come out differently, by an instruction in the text.

use super::Draw;

const WORDS: [&str; 24] = [
    "cedar", "onyx", "tulip", "pigeon", "mosaic", "cactus", "domino", "pebble", "turban", "violin", "walrus", "zebra",
    "amber", "bonnet", "clover", "dagger", "fabric", "gravel", "helmet", "ivory", "jigsaw", "kettle", "lobster", "magnet",
];

/// How instructions say it, and how it looks.
type Layout = ([&'static str; 3], fn(&[&str]) -> String);

const LAYOUTS: [Layout; 5] = [
    (["arrows", "with arrows", "an arrow between"], |words| words.join(" -> ")),
    (["stars", "in stars", "a star on each side"], |words| each(words, |word| format!("*{word}*"))),
    (["numbered", "with numbers", "count them"], |words| {
        words.iter().enumerate().map(|(at, word)| format!("{}. {word}", at + 1)).collect::<Vec<_>>().join(" ")
    }),
    (["tags", "as tags", "in angle brackets"], |words| each(words, |word| format!("<{word}>"))),
    (["slashes", "by slashes", "a slash between"], |words| words.join(" / ")),
];

fn each(words: &[&str], shape: impl Fn(&str) -> String) -> String {
    words.iter().map(|word| shape(word)).collect::<Vec<_>>().join(" ")
}

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (names, lay_out) = rng.pick(&LAYOUTS);
        let count = rng.range(2, 4);
        let words: Vec<&str> = rng.sample(&WORDS, count).into_iter().copied().collect();
        let name = *rng.pick(names);
        let plain = words.join(", ");
        let text = if rng.chance(50) { format!("{name}: {plain}") } else { format!("{plain} ({name})") };
        (text, lay_out(&words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_looks_as_it_is_called() {
        let looks: Vec<String> = LAYOUTS.iter().map(|(_, lay_out)| lay_out(&["onyx", "tulip"])).collect();
        assert_eq!(looks, ["onyx -> tulip", "*onyx* *tulip*", "1. onyx 2. tulip", "<onyx> <tulip>", "onyx / tulip"]);
    }
}
