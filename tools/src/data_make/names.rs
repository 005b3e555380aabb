//! Names of nobody: put together from syllables, so that no real person or firm stands in made rows but by chance.

use serde::{Deserialize, Serialize};
use tunesmith_lm::rng::Rng;

/// Kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Naming {
    /// Given name and surname.
    Person,
    /// Given name alone.
    Given,
    Place,
    Company,
}

const ONSETS: [&str; 20] =
    ["b", "br", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w", "z"];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ae", "ia", "oo"];
const CODAS: [&str; 10] = ["", "", "", "l", "m", "n", "r", "s", "th", "x"];
const PLACES: [&str; 8] = ["bury", "dale", "ford", "ham", "mouth", "stead", "ton", "wick"];
const FIRMS: [&str; 8] = ["& Sons", "Group", "Labs", "Logistics", "Partners", "Supplies", "Systems", "Works"];

/// A name.
pub fn make(kind: Naming, rng: &mut Rng) -> String {
    match kind {
        Naming::Given => word(2, rng),
        Naming::Person => {
            let given = word(2, rng);
            format!("{given} {}", word(3, rng))
        }
        Naming::Place => word(1, rng) + of(&PLACES, rng),
        Naming::Company => {
            let name = word(2, rng);
            format!("{name} {}", of(&FIRMS, rng))
        }
    }
}

fn word(syllables: usize, rng: &mut Rng) -> String {
    let mut word = String::new();
    for _ in 0..syllables {
        for part in [of(&ONSETS, rng), of(&VOWELS, rng), of(&CODAS, rng)] {
            word.push_str(part);
        }
    }
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn of<'a>(list: &[&'a str], rng: &mut Rng) -> &'a str {
    list[rng.below(list.len())]
}
