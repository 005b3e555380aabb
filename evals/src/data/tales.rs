//! Short tales, cut at a word of their second sentence: what follows is told in the part that stands before the cut.

use super::Draw;

const HEROES: [&str; 8] =
    ["the miller", "a hermit", "the ferryman", "little Finn", "the smith", "a pedlar", "old Jorun", "the tinker"];

/// What was done once, and how it was undone.
const DEEDS: [(&str, &str); 6] = [
    ("hid", "found"),
    ("lost", "sought"),
    ("sank", "raised"),
    ("buried", "dug up"),
    ("pawned", "bought back"),
    ("locked away", "fetched"),
];

const TREASURES: [&str; 8] = [
    "the copper bowl",
    "a bag of amber",
    "the bell rope",
    "nine nails",
    "a jar of honey",
    "the iron crown",
    "the painted drum",
    "seven scrolls",
];

const SPOTS: [&str; 8] = [
    "under the oak",
    "in the well",
    "behind the altar",
    "below the mill",
    "by the ford",
    "in the hollow hill",
    "near the gallows",
    "at the crossroads",
];

const LATER: [&str; 6] =
    ["Next spring", "Years later", "After the war", "One moonless night", "At harvest time", "In the thaw"];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (hero, treasure, spot) = (*rng.pick(&HEROES), *rng.pick(&TREASURES), *rng.pick(&SPOTS));
        let (deed, undone) = *rng.pick(&DEEDS);
        let first = format!("In the year of the comet {hero} {deed} {treasure} {spot}.");
        // The cut comes after the verb, within the treasure, or within the spot; at least two words are left to tell.
        let told = format!("{} {hero} {undone}", rng.pick(&LATER));
        let rest: Vec<&str> = treasure.split(' ').chain(spot.split(' ')).collect();
        let cut = rng.below(rest.len() - 1);
        let text = [first, told, rest[..cut].join(" ")].join(" ");
        (text.trim_end().to_owned(), format!("{}.", rest[cut..].join(" ")))
    })
}
