//! Words and how to lay them out: the same words come out differently, by an instruction in the text.

use super::Draw;

const WORDS: [&str; 12] = [
    "apple", "river", "stone", "cloud", "garden", "window", "copper", "winter", "bridge", "candle", "forest", "silver",
];

/// How instructions say it, and how it looks.
type Layout = ([&'static str; 2], fn(&[&str]) -> String);

const LAYOUTS: [Layout; 4] = [
    (["arrow", "with an arrow"], |words| words.join(" > ")),
    (["stars", "in stars"], |words| words.iter().map(|word| format!("*{word}*")).collect::<Vec<_>>().join(" ")),
    (["numbers", "with numbers"], |words| {
        words.iter().enumerate().map(|(at, word)| format!("{}. {word}", at + 1)).collect::<Vec<_>>().join(" ")
    }),
    (["slashes", "with slashes"], |words| words.join(" / ")),
];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (names, lay_out) = rng.pick(&LAYOUTS);
        let count = rng.range(2, 3);
        let words: Vec<&str> = rng.sample(&WORDS, count).into_iter().copied().collect();
        (format!("{}: {}", rng.pick(names), words.join(", ")), lay_out(&words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_looks_as_it_is_called() {
        let looks: Vec<String> = LAYOUTS.iter().map(|(_, lay_out)| lay_out(&["stone", "river"])).collect();
        assert_eq!(looks, ["stone > river", "*stone* *river*", "1. stone 2. river", "stone / river"]);
    }
}
