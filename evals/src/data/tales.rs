//! Short tales, cut at a word of their second sentence: what follows is told in the part that stands before the cut.

use super::Draw;

const HEROES: [&str; 12] = [
    "the miller", "a hermit", "Dame Orla", "the ferryman", "little Finn", "the smith", "a pedlar", "the abbess",
    "old Jorun", "the falconer", "a weaver", "the tinker",
];

/// What was done once, and how it was undone.
const DEEDS: [(&str, &str); 6] = [
    ("hid", "found"),
    ("lost", "sought"),
    ("sank", "raised"),
    ("buried", "dug up"),
    ("pawned", "bought back"),
    ("locked away", "fetched"),
];

const TREASURES: [&str; 12] = [
    "the copper bowl", "a bag of amber", "the bell rope", "nine silver nails", "the blue banner", "a jar of honey",
    "the bone flute", "the iron crown", "a cask of cider", "the painted drum", "the king's glove", "seven scrolls",
];

const SPOTS: [&str; 10] = [
    "under the oak", "in the well", "behind the altar", "below the mill wheel", "by the ford", "in the hollow hill",
    "near the gallows", "under the threshing floor", "in the fox's den", "at the crossroads",
];

const LATER: [&str; 6] = ["Next spring", "Years later", "After the war", "One moonless night", "At harvest time", "In the thaw"];

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
