//! Plain text: little stories, dialogues, lists, how-to paragraphs, notices and letters.

use super::{Doc, Words, capital, rng::Rng, service::polish};

/// A plain document of one to three paragraphs.
pub(super) fn doc(words: &Words, rng: &mut Rng) -> Doc {
    Doc::Plain(match rng.below(7) {
        0 | 1 => story(words, rng),
        2 => dialogue(words, rng),
        3 => how_to(words, rng),
        4 => notice(words, rng),
        5 => letter(words, rng),
        _ => listing(words, rng),
    })
}

/// The same hero throughout: HERO, FRIEND, THING and TOWN are drawn once.
fn story(words: &Words, rng: &mut Rng) -> String {
    let starts = [
        "HERO was a [young|old|tall|quiet] {job} who lived in TOWN.",
        "One {weather} {day}, HERO went to the {place} in TOWN.",
        "In TOWN there lived a {job} called HERO.",
        "It was a {weather} morning in {month}, and HERO was {mood}.",
        "HERO and FRIEND had been friends since school.",
    ];
    let middles = [
        "Every [morning|evening|{day}] there was {food} and {drink} [on the table|for everybody].",
        "HERO looked for the THING in the {place}, but it was [not there|gone|nowhere].",
        "FRIEND came by and asked, \"[Have you seen my THING?|What are you doing?|Are you {mood}?]\"",
        "\"I [lost|found|sold|broke] the THING {when},\" said [HERO|FRIEND].",
        "The {colour} THING lay [under|behind|next to|on] the {item}.",
        "A {colour} {animal} [ran|walked|came] {adverb} [past|into the {place}|down the road].",
        "They [walked|ran|drove] {adverb} to the {place} [because it was {weather}|to look for the THING|].",
        "It began to [rain|snow], so they [went inside|waited in the {place}|drank some {drink}].",
        "FRIEND was {mood}, but HERO [smiled|laughed|said nothing].",
        "The {job} helped them and gave them {food}.",
        "Nobody knew [where|why] the THING [was|had gone].",
    ];
    let ends = [
        "In the end they found the THING and went home {mood}.",
        "[After that|From that day on], HERO [never lost|always kept] the THING.",
        "\"Thank you,\" said FRIEND, and they shared the {food}.",
        "That night HERO was too {mood} to sleep.",
        "The next day everything was {good} again.",
    ];
    let mut parts = vec![*rng.pick(&starts)];
    let n = rng.range(3, 8);
    parts.extend(rng.sample(&middles, n));
    parts.push(*rng.pick(&ends));
    let people = rng.sample(words.slot("name"), 2);
    let (thing, town) = (rng.pick(words.slot("small")), rng.pick(words.slot("city")));
    let text: Vec<String> = parts.iter().map(|p| words.expand(rng, p)).collect();
    let text = text.join(" ");
    text.replace("HERO", people[0]).replace("FRIEND", people[1]).replace("THING", thing).replace("TOWN", town)
}

/// Two people talk about a customer's problem.
fn dialogue(words: &Words, rng: &mut Rng) -> String {
    let people = rng.sample(words.slot("name"), 2);
    let intent = rng.pick(&words.intents);
    let mut lines = Vec::new();
    for _ in 0..rng.range(2, 3) {
        let pattern = rng.pick(&intent.messages);
        lines.push(format!("{}: {}", people[0], polish(&words.expand(rng, pattern))));
        let replies = [
            "[I see.|Oh dear.|I understand.] [Did you|Have you tried to] [call them|write to them|ask {name}]?",
            "That happened to me {when}. It was about {label}, too.",
            "[Call|Ask] the {job}, [they know|she knows|he knows] about {label}.",
            "[How annoying!|What a pity!] I hope they [help|fix it] {soon}.",
        ];
        let reply = (*rng.pick(&replies)).replace("{label}", &intent.label);
        lines.push(format!("{}: {}", people[1], words.expand(rng, &reply)));
    }
    lines.join("\n")
}

fn how_to(words: &Words, rng: &mut Rng) -> String {
    let goals: [(&str, &[&str]); 6] = [
        (
            "make {food}",
            &[
                "wash your hands",
                "cut the vegetables",
                "heat the pan",
                "add salt and pepper",
                "stir {adverb}",
                "let it cook for {5..40} minutes",
                "serve it hot with {drink}",
            ],
        ),
        (
            "send a {item} by post",
            &[
                "find a strong box",
                "wrap the {item} in paper",
                "put it in the box",
                "close the box with tape",
                "write the address on it",
                "take it to the post office",
            ],
        ),
        (
            "clean a {item}",
            &[
                "[unplug|empty] it first",
                "fill a bowl with warm water",
                "add a little soap",
                "wipe it {adverb}",
                "rinse it",
                "dry it with a {colour} cloth",
            ],
        ),
        (
            "repair a flat tyre",
            &[
                "stop in a safe place",
                "take off the wheel",
                "find the hole",
                "glue a patch on it",
                "wait {3..9} minutes",
                "pump it up again",
            ],
        ),
        (
            "set up a new {item}",
            &[
                "open the box",
                "take out all parts",
                "read the first page",
                "connect the {colour} cable",
                "press the button",
                "wait for the {colour} light",
            ],
        ),
        (
            "grow {plant}",
            &[
                "choose a sunny place",
                "dig a small hole",
                "put the plant in the ground",
                "water it {adverb}",
                "wait until {month}",
                "cut off dry leaves",
            ],
        ),
    ];
    let (goal, steps) = *rng.pick(&goals);
    let goal = words.expand(rng, goal);
    let steps: Vec<String> = steps.iter().filter(|_| rng.chance(88)).map(|s| s.to_string()).collect();
    let steps: Vec<String> = steps.iter().map(|s| words.expand(rng, s)).collect();
    if rng.chance(50) {
        let lines: Vec<String> = steps.iter().enumerate().map(|(i, s)| format!("{}. {}.", i + 1, capital(s))).collect();
        return format!("How to {goal}\n{}", lines.join("\n"));
    }
    let links = ["Then", "After that", "Next", "Now", "Finally"];
    let mut text = format!("[To|If you want to] {goal}, you need some time.");
    text = words.expand(rng, &text);
    for (i, step) in steps.iter().enumerate() {
        let link = if i == 0 { "First" } else { *rng.pick(&links) };
        text.push_str(&format!(" {link}, {step}."));
    }
    text
}

fn notice(words: &Words, rng: &mut Rng) -> String {
    let patterns = [
        "The {place} in {city} will be closed on {day} [because of|due to] [repairs|the holiday|a storm|a party]. It opens again {soon}. [Please use the back door.|We are sorry.|]",
        "LOST: a {colour} {item}, near the {place}. If you have found it, please call {name}. [There is a reward.|Thank you!]",
        "FOR SALE: {colour} {item}, {good} condition, {5..300} euros. [Ask for {name}|Call {name} in the evening|Come to the {place}].",
        "The {event} starts at {5..9} o'clock on {day}. Doors open an hour before. [Children may come free.|Bring warm clothes.|Food and {drink} will be sold.]",
        "Weather for {city}: {weather} in the morning, {weather} in the afternoon, {3..30} degrees. Tomorrow it will be {weather}.",
        "News from {city}: {name} {surname}, a {job}, has won the {event}. \"I am so {mood},\" said the {job} {when}.",
    ];
    let n = rng.range(1, 3);
    let chosen: Vec<&&str> = rng.sample(&patterns, n);
    let texts: Vec<String> = chosen.into_iter().map(|p| words.expand(rng, p)).collect();
    texts.join("\n\n")
}

fn letter(words: &Words, rng: &mut Rng) -> String {
    let intent = rng.pick(&words.intents);
    let mut text = words.expand(rng, "Dear [team|{name}|sir or madam],");
    text.push('\n');
    let two: Vec<String> = rng.sample(&intent.messages, 2).into_iter().cloned().collect();
    for pattern in &two {
        text.push_str(&polish(&words.expand(rng, pattern)));
        text.push(' ');
    }
    text.push_str(&format!("I am writing to you about this: {}. ", intent.label));
    let end = "[I hope to hear from you {soon}.|Please answer {soon}.|Thank you for your help.]\n[Kind regards|Yours|Best wishes],\n{name} {surname}";
    text.push_str(&words.expand(rng, end));
    text
}

fn listing(words: &Words, rng: &mut Rng) -> String {
    let (title, slot) = *rng.pick(&[
        ("Animals", "animal"),
        ("Colours", "colour"),
        ("Cities", "city"),
        ("Things to buy", "items"),
        ("Jobs", "job"),
        ("What we eat", "food"),
        ("Words of the week", "word"),
        ("Who is coming", "name"),
        ("Places", "place"),
    ]);
    let n = rng.range(4, 12);
    let list = rng.sample(words.slot(slot), n);
    let list: Vec<&str> = list.into_iter().map(String::as_str).collect();
    match rng.below(3) {
        0 => format!("{title}: {}.", list.join(", ")),
        1 => format!("{title}\n{}", list.iter().map(|w| format!("- {w}")).collect::<Vec<_>>().join("\n")),
        _ => {
            let lines: Vec<String> = list.iter().enumerate().map(|(i, w)| format!("{}. {w}", i + 1)).collect();
            format!("{title}\n{}", lines.join("\n"))
        }
    }
}
