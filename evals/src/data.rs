//! Makers of rows: seeded, so that a suite can draw rows that no planner has seen before.

mod choices;
mod commands;
mod diaries;
mod layouts;
mod museum;
mod orders;
mod radio;
mod reports;
mod sightings;
mod sums;
mod tales;
pub mod tasks;
pub mod tickets;

use std::collections::BTreeSet;

use serde_json::Value;
use tunesmith_harness::recipe::Row;
use tunesmith_lm::corpus::{grammar::Grammar, rng::Rng};

/// Every maker. A new one is its file and a line here.
const GENERATORS: &[Generator] = &[
    Generator { name: "tickets", columns: ["text", "category"], most: 5_000, draw: tickets::draw },
    Generator { name: "museum", columns: ["message", "team"], most: 5_000, draw: museum::draw },
    Generator { name: "orders", columns: ["text", "json"], most: 2_000, draw: orders::draw },
    Generator { name: "reports", columns: ["command", "report"], most: 2_000, draw: reports::draw },
    Generator { name: "radio", columns: ["message", "desk"], most: 5_000, draw: radio::draw },
    Generator { name: "sightings", columns: ["note", "json"], most: 5_000, draw: sightings::draw },
    Generator { name: "diaries", columns: ["line", "told"], most: 5_000, draw: diaries::draw },
    Generator { name: "sums", columns: ["question", "answer"], most: 5_000, draw: sums::draw },
    Generator { name: "choices", columns: ["question", "answer"], most: 5_000, draw: choices::draw },
    Generator { name: "commands", columns: ["spoken", "json"], most: 5_000, draw: commands::draw },
    Generator { name: "layouts", columns: ["line", "laid_out"], most: 5_000, draw: layouts::draw },
    Generator { name: "tales", columns: ["text", "rest"], most: 5_000, draw: tales::draw },
];

/// Draws one row after the other: an input and its answer.
type Draw = Box<dyn FnMut(&mut Rng) -> (String, String)>;

/// A maker of rows of two columns: an input and its answer.
#[derive(Debug)]
pub struct Generator {
    /// The name that task files use.
    pub name: &'static str,
    /// The columns: input and answer.
    pub columns: [&'static str; 2],
    /// The most rows it is sure to have.
    pub most: usize,
    draw: fn() -> Draw,
}

impl Generator {
    /// `count` rows, at most [`Generator::most`], with distinct inputs.
    pub fn rows(&self, seed: u64, count: usize) -> Vec<Row> {
        let mut rng = Rng::new(seed);
        let mut draw = (self.draw)();
        let (mut rows, mut seen) = (Vec::new(), BTreeSet::new());
        // `most` is far below what a maker can say; a test holds every maker to it.
        let tries = 100 * count.min(self.most);
        for _ in 0..tries {
            if rows.len() == count.min(self.most) {
                break;
            }
            let (input, answer) = draw(&mut rng);
            if seen.insert(input.to_lowercase()) {
                let [first, second] = self.columns.map(str::to_owned);
                rows.push(Row::from_iter([(first, Value::String(input)), (second, Value::String(answer))]));
            }
        }
        rows
    }
}

/// The maker of that name.
pub fn generator(name: &str) -> Option<&'static Generator> {
    GENERATORS.iter().find(|g| g.name == name)
}

/// The names of all makers.
pub fn names() -> Vec<&'static str> {
    GENERATORS.iter().map(|g| g.name).collect()
}

/// A seed of its own for `name` (FNV-1a over the name, started from the seed).
pub(crate) fn mix(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed ^ 0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// Messages by category: slots first, then `# category` lines, each followed by its patterns.
struct Messages {
    grammar: Grammar,
    categories: Vec<(String, Vec<String>)>,
}

impl Messages {
    fn parse(text: &str) -> Self {
        let (slots, rest) = text.split_once("\n\n# ").unwrap_or((text, ""));
        let categories = rest.split("\n# ").map(|block| {
            let mut lines = block.lines().map(str::trim).filter(|l| !l.is_empty());
            let name = lines.next().unwrap_or_default().to_owned();
            (name, lines.map(str::to_owned).collect())
        });
        Self { grammar: Grammar::parse(slots), categories: categories.collect() }
    }

    /// A category and a message of it, as a customer in a hurry or at leisure would type it.
    fn draw(&self, rng: &mut Rng, typos: usize) -> (String, String) {
        let (category, patterns) = rng.pick(&self.categories);
        let pattern = rng.pick(patterns);
        let mut text = self.grammar.expand(rng, pattern);
        if rng.chance(30) {
            text = format!("{}, {text}", self.grammar.expand(rng, "{hello}"));
        }
        if rng.chance(45) {
            text = format!("{text}{} {}", rng.pick(&[",", ".", " -", "!"]), self.grammar.expand(rng, "{plea}"));
        }
        if rng.chance(55) {
            text = tidy(&text);
        }
        if rng.chance(typos) {
            text = mistype(rng, &text);
        }
        (text, category.replace(' ', "_"))
    }
}

/// A capital letter first and after each stop, a capital I, an end mark.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut start = true;
    for c in text.chars() {
        if start && c.is_alphanumeric() {
            out.extend(c.to_uppercase());
            start = false;
        } else {
            out.push(c);
            start |= matches!(c, '!' | '?') || (c == '.' && !out.ends_with(|d: char| d.is_ascii_digit()));
        }
    }
    let mut out = out.replace(" i ", " I ").replace(" i'", " I'");
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

/// One to two slips of the fingers: a letter dropped, doubled or swapped with the next.
fn mistype(rng: &mut Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..rng.range(1, 2) {
        let places: Vec<usize> = (1..letters.len().saturating_sub(1))
            .filter(|&i| letters[i - 1..=i + 1].iter().all(char::is_ascii_lowercase))
            .collect();
        if places.is_empty() {
            break;
        }
        let at = *rng.pick(&places);
        match rng.below(3) {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            _ => letters.swap(at, at + 1),
        }
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_maker_can_say_as_much_as_it_promises_and_fills_every_slot() {
        for generator in GENERATORS {
            let rows = generator.rows(5, generator.most);
            assert_eq!(rows.len(), generator.most, "{}", generator.name);
            for row in &rows {
                let columns: Vec<&String> = row.keys().collect();
                assert_eq!(columns, generator.columns, "{}", generator.name);
                let text = row[generator.columns[0]].as_str().unwrap();
                assert!(!text.is_empty() && !text.contains(['{', '}', '[', ']', '|']), "{text:?}");
                assert!(!row[generator.columns[1]].as_str().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_rows_with_distinct_inputs_and_another_seed_gives_others() {
        for generator in GENERATORS {
            let rows = generator.rows(5, 200);
            let input = |row: &Row| row[generator.columns[0]].as_str().unwrap().to_lowercase();
            let inputs: BTreeSet<String> = rows.iter().map(input).collect();
            assert_eq!(inputs.len(), 200, "{}", generator.name);
            assert_eq!(rows, generator.rows(5, 200), "{}", generator.name);
            let others = generator.rows(6, 200);
            let shared = others.iter().filter(|row| inputs.contains(&input(row))).count();
            assert!(shared < 40, "{}: {shared} of 200 rows come back under another seed", generator.name);
        }
    }

    #[test]
    fn seeds_of_different_names_differ() {
        assert_ne!(mix(1, "a"), mix(1, "b"));
        assert_ne!(mix(1, "a"), mix(2, "a"));
    }
}
