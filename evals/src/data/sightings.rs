//! What a bird watcher tells, and the sighting in it as JSON.

use tunesmith_lm::corpus::grammar::Grammar;

use super::Draw;

const BIRDS: [&str; 12] = [
    "heron",
    "stork",
    "swift",
    "lapwing",
    "kestrel",
    "plover",
    "curlew",
    "wren",
    "robin",
    "jay",
    "magpie",
    "cormorant",
];

const PLACES: [&str; 9] =
    ["reed bed", "weir", "gravel pit", "salt marsh", "quarry", "orchard", "dyke", "heath", "mud flat"];

const SENTENCES: [&str; 12] = [
    "[saw|spotted|counted] {n} {bird} [at|near|by] the {place} [{when}|]",
    "{when} {n} {bird} [landed|rested|fed] [at|near] the {place}",
    "[there were|we had] {n} {bird} [over|behind] the {place} [{when}|, {sky}]",
    "{n} {bird} flying [over|past] the {place}, {sky}",
    "{watcher} [reports|noted|told me of] {n} {bird} [by|from] the {place}",
    "[at|near] the {place} {watcher} [found|heard|watched] {n} {bird}",
    "the {place} {when}: {n} {bird} [and nothing else|, {sky}|]",
    "{watcher} came back from the {place} with a list: {n} {bird}",
    "[not one but|as many as|exactly] {n} {bird} [at|by] the {place} {when}",
    "[through the telescope|from the hide] {n} {bird}, [far side of|all over] the {place}",
    "my notes say {n} {bird}, {place}, {when}",
    "{sky}, yet {n} {bird} [sat|stayed|waited] [by|near] the {place}",
];

const SLOTS: &str = "\
when: at dawn | at dusk | after the rain | around midday | in the first light | late in the day | during the count | before the frost
sky: clear sky | low cloud | strong gusts | drizzle | good light | hazy light | calm air
watcher: Ilse | old Bertil | our warden | Nuno | the ringing group | Saskia | a rambler | Dr Obi | the twins
";

pub(super) fn draw() -> Draw {
    let grammar = Grammar::parse(SLOTS);
    Box::new(move |rng| {
        let pattern = *rng.pick(&SENTENCES);
        let (bird, place, count) = (*rng.pick(&BIRDS), *rng.pick(&PLACES), rng.range(2, 15));
        let text = grammar.expand(rng, pattern);
        let text = text.replace("{n}", &count.to_string()).replace("{bird}", bird).replace("{place}", place);
        (text, format!("{{\"bird\": \"{bird}\", \"count\": {count}, \"place\": \"{place}\"}}"))
    })
}
