//! Orders to a bakery's stall, and what is ordered as JSON.

use tunesmith_lm::corpus::grammar::Grammar;

use super::Draw;

const ITEMS: [&str; 12] = [
    "rolls", "pretzels", "muffins", "bagels", "waffles", "scones", "cookies", "donuts", "tarts", "buns", "wraps",
    "pies",
];

/// Number words stand for themselves in digits.
const WORDS: [&str; 13] =
    ["", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

const SENTENCES: [&str; 16] = [
    "[please|kindly|] [pack|put aside|keep|bake] {n} {item} for {who} [{when}|]",
    "{who} [needs|wants|would like|ordered|asked for] {n} {item} {when}",
    "[can|could|may] {who} [have|get|take] {n} {item} [{when}|to go]?",
    "{n} {item} for {who}, {when} [if possible|please|]",
    "[i need|we need|i would like|we want] {n} {item} [{when}|for {event}]",
    "[this is|here is] {who} speaking, {n} {item} [{when}|for {event}] please",
    "for {event} we [need|want|will take] {n} {item}",
    "[do you have|are there] {n} {item} [left|] {when}? they are for {who}",
    "[change|correct] the order of {who} to {n} {item}",
    "[send|bring|deliver] {n} {item} to {place} {when}",
    "{when} {who} [picks up|collects|comes for] {n} {item}",
    "put {n} {item} [in a box|in a bag|on a plate] for {event}",
    "at {place} they are waiting for {n} {item}",
    "[nothing but|just|only] {n} {item} [today|this time|for {who}], [thanks|thank you]",
    "{who} [paid for|left a note for|rang about] {n} {item}",
    "[my order|our order|the order] {when} is {n} {item}, [bring it to {place}|i pick it up|for {event}]",
];

const SLOTS: &str = "\
who: Anna | Ben | Mrs Hall | Mr Stone | the school | my neighbour | the teacher | Carla | Dan | my sister | the office | Erik | the choir | Fay | uncle Joe
when: tomorrow | on Monday | on Tuesday | on Friday | on Sunday | this evening | at noon | before lunch | next week | after work | early in the morning
event: the party | a picnic | the wedding | a birthday | our meeting | the street fair | breakfast | the match | a long trip
place: the station | Mill Street | the town hall | the harbour | the clinic | the library | Park Lane | the gym | the old bridge
";

pub(super) fn draw() -> Draw {
    let grammar = Grammar::parse(SLOTS);
    Box::new(move |rng| {
        let pattern = *rng.pick(&SENTENCES);
        let item = *rng.pick(&ITEMS);
        let quantity = rng.range(2, 12);
        let number = if rng.chance(25) { WORDS[quantity].to_owned() } else { quantity.to_string() };
        // The grammar leaves slots that it does not know as they stand.
        let text = grammar.expand(rng, pattern).replace("{n}", &number).replace("{item}", item);
        (text, format!("{{\"item\": \"{item}\", \"quantity\": {quantity}}}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tunesmith_lm::corpus::rng::Rng;

    use super::*;

    #[test]
    fn the_answer_is_json_of_what_the_sentence_says() {
        let (mut draw, mut rng) = (draw(), Rng::new(4));
        for _ in 0..500 {
            let (text, json) = draw(&mut rng);
            let order: Value = serde_json::from_str(&json).unwrap();
            let quantity = order["quantity"].as_u64().unwrap() as usize;
            let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
            assert!(words.contains(&order["item"].as_str().unwrap()), "{text:?}");
            assert!(words.contains(&WORDS[quantity]) || words.contains(&quantity.to_string().as_str()), "{text:?}");
        }
    }
}
