//! Small exact skills: copying, changing words, sorting, questions about a sentence, words that belong together.

use super::{Doc, Words, capital, rng::Rng, service::user};

/// Makes one question and its answer; `kind` chooses the variant, the same for all turns of a chat.
type Maker = fn(&Words, &mut Rng, usize) -> (String, &'static str, String);

const MAKERS: [Maker; 11] =
    [copy, change_word, reorder, join, inflect, relation, category, request, count, where_is, who_did];

/// A few questions of one kind in one chat.
pub(super) fn doc(words: &Words, rng: &mut Rng) -> Doc {
    let make = *rng.pick(&MAKERS);
    let kind = rng.below(60);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 5) {
        let (text, cue, answer) = make(words, rng, kind);
        turns.push(user(&text, cue));
        turns.push(("assistant", answer));
    }
    Doc::Chat(turns)
}

/// Different random words.
fn some_words(words: &Words, rng: &mut Rng, low: usize, high: usize) -> Vec<String> {
    let n = rng.range(low, high);
    rng.sample(words.slot("word"), n).into_iter().cloned().collect()
}

fn sentence(words: &Words, rng: &mut Rng) -> String {
    let patterns = [
        "the {colour} {animal} sleeps in the {place}",
        "{name} puts the {small} on the {item}",
        "{name} and {name} walk to the {place} on {day}",
        "the {job} from {city} likes {food} and {drink}",
        "it is {weather} in {city} {when}",
        "my {item} is {colour} and {good}",
        "{name} {adverb} opens the {colour} box",
    ];
    let pattern = *rng.pick(&patterns);
    words.expand(rng, pattern)
}

fn copy(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let text = if kind.is_multiple_of(2) { sentence(words, rng) } else { some_words(words, rng, 3, 7).join(" ") };
    let cues = ["Repeat:", "Repeat the text.", "Copy:", "Say it again.", "Quote it:", "Echo:"];
    let quote = kind % 6 == 4;
    let answer = if quote { format!("\"{text}\"") } else { text.clone() };
    (text, cues[kind % 6], answer)
}

fn change_word(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let list = some_words(words, rng, 1, 4);
    let text = list.join(" ");
    match kind % 6 {
        0 => (text.clone(), "In capital letters:", text.to_uppercase()),
        1 => (text.to_uppercase(), "In small letters:", text.to_lowercase()),
        2 => (text, "Capital first letters:", list.iter().map(|w| capital(w)).collect::<Vec<_>>().join(" ")),
        3 => (text, "First letters:", list.iter().filter_map(|w| w.get(..1)).collect::<Vec<_>>().join(" ")),
        4 => {
            let spelled: Vec<String> = list[0].chars().map(String::from).collect();
            (list[0].clone(), "Spell it:", spelled.join(" "))
        }
        _ => (text, "With underscores:", list.join("_")),
    }
}

fn reorder(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let list = some_words(words, rng, 2, 6);
    let mut sorted = list.clone();
    let text = list.join(" ");
    let first = list[0].clone();
    let last = list[list.len() - 1].clone();
    match kind % 6 {
        0 | 1 => {
            sorted.reverse();
            (text, if kind.is_multiple_of(2) { "Reverse the words." } else { "Backwards:" }, sorted.join(" "))
        }
        2 => {
            sorted.sort();
            (text, "Sort the words from a to z.", sorted.join(" "))
        }
        3 => (text, "First word?", first),
        4 => (text, "Last word?", last),
        _ => {
            let end = sorted.len() - 1;
            sorted.swap(0, end);
            (text, "Swap the first and the last word.", sorted.join(" "))
        }
    }
}

fn join(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let list = some_words(words, rng, 2, 6);
    match kind % 4 {
        0 => (list.join(" "), "Join with commas.", list.join(", ")),
        1 => (list.join(", "), "Without commas:", list.join(" ")),
        2 => (list.join(" "), "As a list:", list.iter().map(|w| format!("- {w}")).collect::<Vec<_>>().join("\n")),
        _ => {
            let (last, rest) =
                list.split_last().map_or((String::new(), String::new()), |(l, r)| (l.clone(), r.join(", ")));
            (list.join(" "), "Join with commas and \"and\".", format!("{rest} and {last}"))
        }
    }
}

/// Singular, plural, present, past.
const FORMS: [(&str, &str); 36] = [
    ("lamp", "lamps"),
    ("box", "boxes"),
    ("child", "children"),
    ("city", "cities"),
    ("foot", "feet"),
    ("leaf", "leaves"),
    ("mouse", "mice"),
    ("tooth", "teeth"),
    ("baby", "babies"),
    ("bus", "buses"),
    ("man", "men"),
    ("woman", "women"),
    ("knife", "knives"),
    ("story", "stories"),
    ("glass", "glasses"),
    ("horse", "horses"),
    ("key", "keys"),
    ("wish", "wishes"),
    ("go", "went"),
    ("see", "saw"),
    ("buy", "bought"),
    ("take", "took"),
    ("walk", "walked"),
    ("write", "wrote"),
    ("bring", "brought"),
    ("come", "came"),
    ("find", "found"),
    ("give", "gave"),
    ("lose", "lost"),
    ("send", "sent"),
    ("break", "broke"),
    ("think", "thought"),
    ("drink", "drank"),
    ("run", "ran"),
    ("stop", "stopped"),
    ("play", "played"),
];

fn inflect(_: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let nouns = kind.is_multiple_of(2);
    let (one, many) = *rng.pick(if nouns { &FORMS[..18] } else { &FORMS[18..] });
    match (nouns, kind % 4 < 2) {
        (true, true) => (one.to_owned(), "Plural:", many.to_owned()),
        (true, false) => (many.to_owned(), "Singular:", one.to_owned()),
        (false, true) => (format!("I {one}"), "Past tense:", format!("I {many}")),
        (false, false) => (format!("they {many}"), "Present tense:", format!("they {one}")),
    }
}

/// Groups of words: within a group all mean nearly the same; each group stands beside its opposite.
const MEANINGS: [(&[&str], &[&str]); 22] = [
    (&["big", "large", "huge", "great"], &["small", "little", "tiny"]),
    (&["fast", "quick", "rapid", "swift"], &["slow", "sluggish"]),
    (&["happy", "glad", "cheerful", "pleased"], &["sad", "unhappy", "gloomy"]),
    (&["begin", "start", "open"], &["end", "finish", "stop"]),
    (&["buy", "purchase", "get"], &["sell", "give away"]),
    (&["broken", "damaged", "faulty"], &["whole", "intact", "working"]),
    (&["late", "delayed", "overdue"], &["early", "on time"]),
    (&["missing", "lost", "gone"], &["found", "there"]),
    (&["cancel", "end", "call off"], &["keep", "continue"]),
    (&["wrong", "incorrect", "false"], &["right", "correct", "true"]),
    (&["polite", "kind", "friendly"], &["rude", "unkind", "unfriendly"]),
    (&["loud", "noisy"], &["quiet", "silent", "still"]),
    (&["hot", "boiling", "burning"], &["cold", "freezing", "icy"]),
    (&["clean", "spotless"], &["dirty", "filthy", "dusty"]),
    (&["full", "packed", "crowded"], &["empty", "vacant"]),
    (&["easy", "simple"], &["hard", "difficult", "tricky"]),
    (&["rich", "wealthy"], &["poor", "needy"]),
    (&["accept", "agree", "allow"], &["refuse", "reject", "forbid"]),
    (&["cheap", "low priced"], &["expensive", "costly", "dear"]),
    (&["send", "ship", "post"], &["receive", "get"]),
    (&["old", "ancient"], &["new", "modern", "fresh"]),
    (&["ask", "enquire", "question"], &["answer", "reply", "respond"]),
];

fn relation(_: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let (left, right) = *rng.pick(&MEANINGS);
    let (here, there) = if rng.chance(50) { (left, right) } else { (right, left) };
    let word = *rng.pick(here);
    match kind % 3 {
        0 => (
            word.to_owned(),
            if kind.is_multiple_of(2) { "Opposite:" } else { "Antonym:" },
            (*rng.pick(there)).to_owned(),
        ),
        1 => {
            let others: Vec<&str> = here.iter().copied().filter(|w| *w != word).collect();
            let answer = others.join(", ");
            (word.to_owned(), if kind.is_multiple_of(2) { "Words that mean the same:" } else { "Synonyms:" }, answer)
        }
        _ => {
            let same = rng.chance(50);
            let other = *rng.pick(if same { here } else { there });
            let answer = if same { "same" } else { "opposite" };
            (format!("{word} / {other}"), "Same or opposite?", answer.to_owned())
        }
    }
}

/// Slots whose values are examples of a category.
const CATEGORIES: [(&str, &str); 10] = [
    ("animal", "animal"),
    ("colour", "colour"),
    ("food", "food"),
    ("drink", "drink"),
    ("city", "city"),
    ("day", "weekday"),
    ("month", "month"),
    ("job", "job"),
    ("name", "first name"),
    ("place", "place"),
];

fn category(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let (slot, label) = *rng.pick(&CATEGORIES);
    let value = rng.pick(words.slot(slot)).clone();
    match kind % 3 {
        0 => (value, "What kind of thing is it?", label.to_owned()),
        1 => (value, "Kind:", label.to_owned()),
        _ => {
            let (other, _) = *rng.pick(&CATEGORIES);
            let mut list: Vec<String> = rng.sample(words.slot(slot), 3).into_iter().cloned().collect();
            let odd = rng.pick(words.slot(other)).clone();
            if other == slot || list.contains(&odd) {
                return (list.join(", "), "Which one does not belong?", "none".to_owned());
            }
            list.push(odd.clone());
            rng.shuffle(&mut list);
            (list.join(", "), "Which one does not belong?", odd)
        }
    }
}

fn request(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let verb = "[open|close|bring|clean|paint|repair|move|sell|show|find|carry|check] the {colour} {item}";
    let command = words.expand(rng, verb);
    match kind % 5 {
        0 => (command.clone(), "Make it a polite request:", format!("Could you please {command}?")),
        1 => (command.clone(), "Say no:", format!("do not {command}")),
        2 => (command.clone(), "As a question:", format!("shall I {command}?")),
        3 => (command.clone(), "As a promise:", format!("I will {command}.")),
        _ => (format!("Could you please {command}?"), "As a short command:", command),
    }
}

fn count(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let list = some_words(words, rng, 1, 9);
    match kind % 3 {
        0 => (list.join(" "), "How many words?", list.len().to_string()),
        1 => (list[0].clone(), "How many letters?", list[0].chars().count().to_string()),
        _ => {
            let longest = list.iter().rev().max_by_key(|w| w.len()).cloned().unwrap_or_default();
            (list.join(" "), "Longest word?", longest)
        }
    }
}

/// Things, where they lie, and a question about one of them.
fn where_is(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let things: Vec<String> = rng.sample(words.slot("small"), 2).into_iter().cloned().collect();
    let places: Vec<String> = rng.sample(words.slot("place"), 2).into_iter().cloned().collect();
    let ask = rng.below(2);
    let facts = format!("The {} is in the {}. The {} is in the {}.", things[0], places[0], things[1], places[1]);
    if kind.is_multiple_of(2) {
        (format!("{facts} Where is the {}?", things[ask]), "", format!("in the {}", places[ask]))
    } else {
        (format!("{facts} What is in the {}?", places[ask]), "", format!("the {}", things[ask]))
    }
}

/// Two people, what each has, and a question.
fn who_did(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let names: Vec<String> = rng.sample(words.slot("name"), 2).into_iter().cloned().collect();
    let things: Vec<String> = rng.sample(words.slot("item"), 2).into_iter().cloned().collect();
    let verb = *rng.pick(&["bought", "sold", "found", "painted", "carried", "lost"]);
    let colour = rng.pick(words.slot("colour")).clone();
    let ask = rng.below(2);
    let facts = format!("{} {verb} a {colour} {} and {} {verb} a {}.", names[0], things[0], names[1], things[1]);
    match kind % 3 {
        0 => (format!("{facts} Who {verb} the {}?", things[ask]), "", names[ask].clone()),
        1 => (format!("{facts} What is {colour}?"), "", format!("the {}", things[0])),
        _ => (facts, "Names:", names.join(", ")),
    }
}
