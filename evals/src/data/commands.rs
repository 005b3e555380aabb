//! What is said to a house, and the tool call that it means, as JSON with a name and arguments.

use tunesmith_lm::corpus::grammar::Grammar;

use super::Draw;

const ROOMS: [&str; 6] = ["attic", "pantry", "porch", "studio", "nursery", "sauna"];

const STYLES: [&str; 5] = ["jazz", "swing", "folk", "opera", "blues"];

/// The calls: patterns, and the call that they mean.
const CALLS: [(&[&str], &str); 4] = [
    (
        &[
            "[dim|set|turn] the [light|lamp] in the {room} to {n} [percent|%] [{please}|]",
            "{room} [light|lamp] [at|to] {n} percent [{please}|{soon}]",
            "[i want|make it] {n} percent light in the {room} [{soon}|]",
            "[it is too dark|i read] in the {room}, [light|lamp] to {n} percent",
        ],
        "{\"name\": \"set_light\", \"arguments\": {\"room\": \"{room}\", \"percent\": {n}}}",
    ),
    (
        &[
            "[heat|warm] the {room} to {n} degrees [{please}|{soon}|]",
            "{n} degrees in the {room} [{soon}|{please}|would be nice]",
            "[it is cold|i freeze] in the {room}, [make it|set] {n} degrees",
            "[heating|radiator] of the {room} [to|at] {n} [degrees|] [{soon}|]",
        ],
        "{\"name\": \"set_heating\", \"arguments\": {\"room\": \"{room}\", \"degrees\": {n}}}",
    ),
    (
        &[
            "play [some|] {style} in the {room} [{please}|{soon}|]",
            "[put on|i want|let us hear] {style} [in|for] the {room} [{please}|]",
            "{room}: {style} [{soon}|, not too loud|]",
            "[how about|time for] {style} in the {room} [{soon}|]",
        ],
        "{\"name\": \"play_music\", \"arguments\": {\"room\": \"{room}\", \"style\": \"{style}\"}}",
    ),
    (
        &[
            "[wake me|ring|beep] in {n} minutes [{please}|, i am in the {room}|]",
            "[set|start] a timer [for|of|on] {n} minutes [{please}|, the cake is in|{soon}]",
            "{n} minutes from now [tell|remind|call] [me|us] [{please}|, we are in the {room}|]",
            "[count down|timer] {n} minutes [for the {food}|{please}]",
        ],
        "{\"name\": \"start_timer\", \"arguments\": {\"minutes\": {n}}}",
    ),
];

const SLOTS: &str = "\
please: please | thanks | would you | if you can | there is a dear
soon: now | at once | for tonight | until ten | when i am back | for the guests
food: dough | kettle | roast | eggs | laundry | tea
";

pub(super) fn draw() -> Draw {
    let grammar = Grammar::parse(SLOTS);
    Box::new(move |rng| {
        let (patterns, call) = rng.pick(&CALLS);
        let number = (rng.range(2, 9) * 10).to_string();
        let (room, style) = (*rng.pick(&ROOMS), *rng.pick(&STYLES));
        let pattern = *rng.pick(patterns);
        let fill = |text: &str| text.replace("{n}", &number).replace("{room}", room).replace("{style}", style);
        (fill(&grammar.expand(rng, pattern)), fill(call))
    })
}
