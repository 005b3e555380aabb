//! Figures in a request: scores to reach, the size of what is shipped, the time there is.

use figures::{Figure, alone, before, behind, measured, number};

use super::words::Words;

mod figures;
mod scores;

pub use scores::goals;

/// The most bytes of what is shipped; each that is named.
pub fn bytes(words: &Words) -> Vec<u64> {
    const UNITS: [(&str, f64); 6] = [
        ("kb|kilobyte|kilobytes", 1e3),
        ("kib", 1024.0),
        ("mb|megabyte|megabytes|meg|megs", 1e6),
        ("mib", 1048576.0),
        ("gb|gigabyte|gigabytes|gig|gigs", 1e9),
        ("gib", 1073741824.0),
    ];
    const BOUNDS: [&str; 9] = [
        "under|below|within|max|maximum",
        "at most",
        "smaller|less|lighter than",
        "bigger|larger|more|over|heavier than",
        "no|not over",
        "up to",
        "fit|fits in|into|on|within",
        "exceed*",
        "limit of|is",
    ];
    let found = measured(words, &UNITS).into_iter().filter(|figure| {
        let (before, behind) = (before(words, figure.from), behind(words, figure.to));
        let bound = alone(words, figure)
            || BOUNDS.iter().any(|bound| before.last(4).has(bound))
            || behind.first(3).has("max|maximum|limit|tops")
            || behind.first(3).has("or less|smaller|under")
            || behind.first(3).has("at most");
        // Memory of a machine is no size of a file.
        let memory = behind.first(3).has("ram|memory|vram") || before.last(3).has("ram|memory|vram");
        bound && !memory
    });
    let mut found: Vec<u64> = found.map(|figure| figure.value as u64).collect();
    found.dedup();
    found
}

/// The minutes that there are; each that is named.
pub fn minutes(words: &Words) -> Vec<f64> {
    const UNITS: [(&str, f64); 2] = [("minute|minutes|min|mins", 1.0), ("hour|hours|hr|hrs|h", 60.0)];
    const CUES: [&str; 8] = [
        "in|within|under|below|max|maximum|only|budget|limit",
        "at most",
        "less|more|longer|over than",
        "have|got|spend|take|takes|give",
        "up to",
        "budget|limit of|is",
        "done|finish*|ready",
        "pass|exceed|exceeds|surpass",
    ];
    let mut found: Vec<f64> = Vec::new();
    for figure in measured(words, &UNITS) {
        let (before, behind) = (before(words, figure.from).last(4), behind(words, figure.to).first(3));
        let cue = alone(words, &figure)
            || CUES.iter().any(|cue| before.has(cue))
            || behind.has("max|maximum|tops|limit|budget|wall|enough|alright")
            || behind.has("at most")
            || behind.has("or less|so")
            || self::behind(words, figure.to).has("alright|fine|okay|ok|enough");
        // Times of what the rows tell about.
        let told = before.has("last|past|previous|every|each|old|per|after|ago")
            || behind.has("ago|old|late|delay*|earlier")
            || behind.has("before") && !before.has("only|got|have");
        if cue && !told && !found.contains(&figure.value) {
            found.push(figure.value);
        }
    }
    found
}

/// The first whole number in a range that measures nothing else: a count of rows.
pub fn count(words: &Words, range: std::ops::RangeInclusive<usize>) -> Option<usize> {
    const UNITS: &str =
        "%|percent|per|minute|minutes|min|mins|hour|hours|mb|gb|kb|m|b|million|billion|parameters|labels|categories";
    let counts = (0..words.list.len()).filter_map(|at| {
        let value = number(words.word(at)).filter(|value| value.fract() == 0.0)? as usize;
        let unit = UNITS.split('|').any(|unit| unit == words.word(at + 1));
        (range.contains(&value) && !unit).then_some(value)
    });
    counts.into_iter().next()
}

/// Numbers of parameters, as models are named by: `0.5B`, `135M parameters`, `half a billion parameters`; each with whether
/// it is the most.
pub fn parameters(words: &Words) -> Vec<(u64, bool)> {
    const UNITS: [(&str, f64); 2] = [("b|bn|billion", 1e9), ("m|million", 1e6)];
    const MOST: &str = "under|below|most|max|maximum|smaller|less";
    let of_model = |figure: &Figure| {
        let attached = figure.to - figure.from == 1 && words.word(figure.from).ends_with('b');
        attached || behind(words, figure.to).first(3).has("parameter|parameters|param|params|model|models|base|weights")
    };
    let found = measured(words, &UNITS).into_iter().filter(of_model);
    let mut found: Vec<(u64, bool)> =
        found.map(|figure| (figure.value as u64, before(words, figure.from).last(3).has(MOST))).collect();
    found.dedup();
    found
}

/// Parameters as a base's name states them: `Llama-2-13b-hf`.
pub fn of_name(name: &str) -> Option<u64> {
    let parts = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let sizes = parts.filter_map(|part| {
        let part = part.to_ascii_lowercase();
        let (number, unit) = part.split_at_checked(part.len().checked_sub(1)?)?;
        let factor = match unit {
            "b" => 1e9,
            "m" => 1e6,
            _ => return None,
        };
        Some((number.parse::<f64>().ok()? * factor) as u64)
    });
    sizes.max()
}

#[cfg(test)]
mod tests;
