//! Numbers in a request, and the words around them.

use crate::playbook::words::Words;

/// Words up to which a figure's meaning is looked for, before and behind it.
const NEAR: usize = 6;

/// A figure in the text.
pub(super) struct Figure {
    /// Its value.
    pub value: f64,
    /// The words that it takes.
    pub from: usize,
    pub to: usize,
}

/// Shares of a whole: `90 %`, `0.9`, `nine out of ten`, `5 points better`.
pub(super) fn shares(words: &Words) -> Vec<Figure> {
    let mut found = Vec::new();
    for (at, word) in words.list.iter().enumerate() {
        let Some(value) = number(&word.text) else { continue };
        let next = |n: usize| words.word(at + n);
        let percent = |n: usize| match (next(n), next(n + 1)) {
            ("%" | "percent" | "percents" | "pct", _) => Some(n + 1),
            ("per", "cent") => Some(n + 2),
            // Of what, the words behind say.
            ("points" | "point", "better" | "higher" | "more") => Some(n),
            ("percentage", "points" | "point") => Some(n + 1),
            _ => None,
        };
        // "9 out of 10", "nine in ten", "9 times out of 10".
        let of = [1, 2].into_iter().find_map(|n| match (next(n), next(n + 1), next(n + 2)) {
            ("out", "of", whole) => Some((number(whole)?, n + 3)),
            ("in", whole, _) if n == 1 => Some((number(whole)?, n + 2)),
            _ => None,
        });
        let figure = if let Some(taken) = percent(1) {
            // Rounded once: 99.9 / 100 is not 0.999.
            let share = format!("{}e-2", word.text).parse().unwrap_or(value / 100.0);
            Some((share, taken))
        } else if let Some((whole, taken)) = of.filter(|(whole, _)| *whole >= 2.0 && value < *whole) {
            Some((rounded(value / whole), taken))
        } else {
            let plain = word.text.contains('.') && word.text.matches('.').count() == 1;
            let unit = next(1).chars().next().is_some_and(|c| c.is_ascii_digit());
            (plain && !unit && value < 1.0).then_some((value, 1))
        };
        if let Some((value, taken)) = figure.filter(|(value, _)| *value > 0.0 && *value <= 1.0) {
            found.push(Figure { value, from: at, to: at + taken });
        }
    }
    found
}

/// Figures with a unit, attached to the number or behind it.
pub(super) fn measured(words: &Words, units: &[(&str, f64)]) -> Vec<Figure> {
    let unit = |word: &str| {
        let fits = |(names, _): &&(&str, f64)| names.split('|').any(|name| name == word);
        units.iter().find(fits).map(|(_, factor)| *factor)
    };
    let mut found: Vec<Figure> = Vec::new();
    for (at, word) in words.list.iter().enumerate() {
        if found.last().is_some_and(|last| last.to > at) {
            continue;
        }
        let digits = word.text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.text.len());
        let attached = number(&word.text[..digits]).zip(unit(&word.text[digits..])).map(|(n, unit)| (n * unit, 1));
        let figure = attached.or_else(|| {
            let (value, taken) = amount(words, at)?;
            unit(words.word(at + taken)).map(|unit| (value * unit, taken + 1))
        });
        if let Some((value, taken)) = figure.filter(|(value, _)| *value > 0.0) {
            let half = words.word(at + taken) == "and"
                && words.word(at + taken + 1) == "a"
                && words.word(at + taken + 2) == "half";
            let whole = unit(words.word(at + taken - 1)).filter(|_| half);
            let value = value + whole.unwrap_or(0.0) / 2.0;
            found.push(Figure { value, from: at, to: at + taken });
        }
    }
    found
}

/// A number from a word on, and the words it takes: `ten`, `half an`, `a couple of`.
fn amount(words: &Words, at: usize) -> Option<(f64, usize)> {
    let phrase = |n: usize| words.word(at + n);
    match (phrase(0), phrase(1), phrase(2)) {
        ("half", "a" | "an", _) => Some((0.5, 2)),
        ("half", _, _) => Some((0.5, 1)),
        ("quarter", "of", "a" | "an") => Some((0.25, 3)),
        ("couple", "of", _) => Some((2.0, 2)),
        ("a" | "an", _, _) => Some((1.0, 1)),
        (word, _, _) => Some((number(word)?, 1)),
    }
}

/// A number in digits, or a small one in words.
pub(super) fn number(word: &str) -> Option<f64> {
    const NAMES: [(&str, f64); 24] = [
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("twelve", 12.0),
        ("fifteen", 15.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("forty", 40.0),
        ("fifty", 50.0),
        ("sixty", 60.0),
        ("seventy", 70.0),
        ("eighty", 80.0),
        ("ninety", 90.0),
        ("nineteen", 19.0),
        ("hundred", 100.0),
        ("eleven", 11.0),
        ("eighteen", 18.0),
    ];
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return word.parse().ok();
    }
    NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Whether a figure is a part of a sentence of its own, as in terse lists: `f1>=.9, 10min, under 20 MB`.
pub(super) fn alone(words: &Words, figure: &Figure) -> bool {
    let begins = figure.from.checked_sub(1).is_none_or(|at| words.list[at].pauses);
    let ends = words.list.get(figure.to - 1).is_none_or(|word| word.pauses) || figure.to == words.list.len();
    begins && ends
}

/// Words on one side of a figure, in its sentence.
pub(super) struct Side(pub Words);

fn side(words: &Words, range: std::ops::Range<usize>) -> Side {
    Side(Words { text: String::new(), list: words.list[range].to_vec() })
}

pub(super) fn before(words: &Words, at: usize) -> Side {
    let from = (at.saturating_sub(NEAR)..at).rev().take_while(|place| !words.list[*place].ends).last().unwrap_or(at);
    side(words, from..at)
}

pub(super) fn behind(words: &Words, at: usize) -> Side {
    let end = (at + NEAR).min(words.list.len());
    let over = at.checked_sub(1).is_some_and(|last| words.list[last].ends);
    let stop = (at..end).find(|place| words.list[*place].ends).map_or(end, |place| place + 1);
    side(words, at..if over { at } else { stop })
}

impl Side {
    pub fn has(&self, pattern: &str) -> bool {
        self.0.has(pattern)
    }

    pub fn starts(&self, pattern: &str) -> bool {
        self.0.all(pattern).iter().any(|found| found.start == 0)
    }

    pub fn ends(&self, pattern: &str) -> bool {
        self.0.all(pattern).iter().any(|found| found.end == self.0.list.len())
    }

    pub fn first(&self, most: usize) -> Side {
        side(&self.0, 0..most.min(self.0.list.len()))
    }

    pub fn last(&self, most: usize) -> Side {
        let len = self.0.list.len();
        side(&self.0, len.saturating_sub(most)..len)
    }
}
