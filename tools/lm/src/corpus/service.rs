//! Customer messages: what they are about, how they sound, the same in other words, and short service chats.

use super::{Doc, Turn, Words, rng::Rng};

/// One intent: its label in words, the trade it belongs to and the patterns of its messages.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub label: String,
    pub domain: String,
    pub messages: Vec<String>,
}

const SOURCES: [&str; 2] = [include_str!("service_a.txt"), include_str!("service_b.txt")];

/// Cues whose answer is the intent in words.
const CUES: [&str; 16] = [
    "Intent:",
    "Topic:",
    "Category:",
    "What is this about?",
    "Label:",
    "Class:",
    "Intent of the customer:",
    "Reason:",
    "intent:",
    "category:",
    "Subject:",
    "Give the intent.",
    "Request type:",
    "Sort this message.",
    "topic?",
    "Issue:",
];

const OPENERS: [&str; 22] = [
    "hi,",
    "hello,",
    "hey,",
    "good morning,",
    "excuse me,",
    "hi there,",
    "sorry,",
    "quick question:",
    "hello again,",
    "please,",
    "dear team,",
    "i have a question:",
    "so,",
    "listen,",
    "hi {name} here,",
    "one more thing:",
    "help!",
    "hm,",
    "ok,",
    "i was told to write here:",
    "my name is {name}.",
    "urgent:",
];

const CLOSERS: [&str; 22] = [
    ", please help",
    ", thanks",
    ", thank you",
    ", please",
    ". what can i do?",
    ". what now?",
    ". any ideas?",
    ". can you help?",
    ". please let me know",
    ". please answer soon",
    ". thanks in advance",
    ". i am really upset",
    ". this is the second time",
    ". what should i do?",
    ". it is urgent",
    ". sorry to bother you",
    ". let me know",
    ". kind regards, {name}",
    "!",
    "?",
    ".",
    ". how do i fix this?",
];

/// Reads the intents that the repository carries.
pub(super) fn intents() -> Vec<Intent> {
    let mut all: Vec<Intent> = Vec::new();
    let mut domain = String::new();
    for line in SOURCES.iter().flat_map(|s| s.lines()).map(str::trim).filter(|l| !l.is_empty()) {
        if let Some(name) = line.strip_prefix("== ") {
            domain = name.to_owned();
        } else if let Some(label) = line.strip_prefix("# ") {
            all.push(Intent { label: label.to_owned(), domain: domain.clone(), messages: Vec::new() });
        } else if let Some(intent) = all.last_mut() {
            intent.messages.push(line.to_owned());
        }
    }
    all
}

/// A document about customer messages.
pub(super) fn doc(words: &Words, rng: &mut Rng) -> Doc {
    match rng.below(100) {
        0..52 => label(words, rng),
        52..60 => domain(words, rng),
        60..68 => rephrase(words, rng),
        68..76 => same(words, rng),
        76..84 => tone(words, rng),
        _ => conversation(words, rng),
    }
}

/// One message of an intent, with its greeting, its ending and its small mistakes.
fn message(words: &Words, rng: &mut Rng, intent: &Intent) -> String {
    let pattern = rng.pick(&intent.messages);
    let mut text = words.expand(rng, pattern);
    if rng.chance(30) {
        let opener = *rng.pick(&OPENERS);
        text = format!("{} {text}", words.expand(rng, opener));
    }
    if rng.chance(45) {
        let closer = *rng.pick(&CLOSERS);
        text.push_str(&words.expand(rng, closer));
    }
    match rng.below(100) {
        0..50 => polish(&text),
        50..60 => mistype(rng, &text),
        _ => text,
    }
}

/// As a careful writer would put it: a capital letter first, a capital I, an end mark.
pub(super) fn polish(text: &str) -> String {
    let asks =
        ["can ", "could ", "may ", "how ", "where ", "when ", "what ", "why ", "is ", "are ", "do ", "does ", "who "];
    let question = asks.iter().any(|a| text.starts_with(a) || text.contains(&format!(", {a}"))) && !text.contains(". ");
    let mut out = super::capital(text);
    for (from, to) in
        [(" i ", " I "), (" i'", " I'"), (". w", ". W"), (". p", ". P"), (". a", ". A"), (". i", ". I"), (". t", ". T")]
    {
        out = out.replace(from, to);
    }
    if !out.ends_with(['.', '!', '?']) {
        out.push(if question { '?' } else { '.' });
    }
    out
}

/// Swaps or drops one letter inside a word, as a hurried writer does.
fn mistype(rng: &mut Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let inside = |w: &[char]| w.iter().all(|c| c.is_ascii_lowercase());
    let places: Vec<usize> = (1..letters.len().saturating_sub(2)).filter(|&i| inside(&letters[i - 1..i + 3])).collect();
    if !places.is_empty() {
        let at = *rng.pick(&places);
        if rng.chance(50) {
            letters.swap(at, at + 1);
        } else {
            letters.remove(at);
        }
    }
    letters.into_iter().collect()
}

/// Up to four messages in one chat, each followed by the same cue and answered with its intent.
fn label(words: &Words, rng: &mut Rng) -> Doc {
    let cue = if rng.chance(88) { *rng.pick(&CUES) } else { "" };
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 4) {
        let intent = rng.pick(&words.intents);
        turns.push(user(&message(words, rng, intent), cue));
        turns.push(("assistant", intent.label.clone()));
    }
    Doc::Chat(turns)
}

/// The same with the trade as the answer, or with the label in the form of a tag.
fn domain(words: &Words, rng: &mut Rng) -> Doc {
    let tag = rng.chance(50);
    let cues = if tag {
        ["Tag:", "tag:", "Code:", "Hashtag:"]
    } else {
        ["Domain:", "Which service?", "Department:", "Trade:"]
    };
    let cue = *rng.pick(&cues);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 4) {
        let intent = rng.pick(&words.intents);
        turns.push(user(&message(words, rng, intent), cue));
        turns.push(("assistant", if tag { intent.label.replace(' ', "_") } else { intent.domain.clone() }));
    }
    Doc::Chat(turns)
}

/// A message and another one that asks for the same.
fn rephrase(words: &Words, rng: &mut Rng) -> Doc {
    let cue =
        *rng.pick(&["Say it in other words:", "Rephrase:", "Another customer with the same problem:", "Paraphrase:"]);
    let intent = rng.pick(&words.intents);
    let (first, second) = (message(words, rng, intent), message(words, rng, intent));
    Doc::Chat(vec![user(&first, cue), ("assistant", second)])
}

/// Two messages: do they ask for the same?
fn same(words: &Words, rng: &mut Rng) -> Doc {
    let cue = *rng.pick(&["Do they ask for the same?", "Same intent?", "Are these two messages about the same thing?"]);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 2) {
        let first = rng.pick(&words.intents);
        let second = if rng.chance(50) { first } else { rng.pick(&words.intents) };
        let text = format!("A: {}\nB: {}", message(words, rng, first), message(words, rng, second));
        turns.push(user(&text, cue));
        let answer = if first.label == second.label {
            format!("yes: {}", first.label)
        } else {
            format!("no: {} and {}", first.label, second.label)
        };
        turns.push(("assistant", answer));
    }
    Doc::Chat(turns)
}

/// How a text sounds: its sentiment, its urgency, its politeness.
fn tone(words: &Words, rng: &mut Rng) -> Doc {
    let (cues, examples) = *rng.pick(&TONES);
    let cue = *rng.pick(cues);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 4) {
        let (answer, pattern) = *rng.pick(examples);
        let text = words.expand(rng, pattern);
        let text = if rng.chance(50) { polish(&text) } else { text };
        turns.push(user(&text, cue));
        turns.push(("assistant", answer.to_owned()));
    }
    Doc::Chat(turns)
}

/// Cues for a tone, and its examples: the answer and a pattern of the text.
type Tone = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const TONES: [Tone; 3] = [
    (&["Sentiment:", "How does the writer feel?", "Mood:"], &SENTIMENT),
    (&["Urgency:", "How urgent is it?", "Priority:"], &URGENCY),
    (&["Politeness:", "Is this polite?", "Tone:"], &POLITENESS),
];

const SENTIMENT: [(&str, &str); 12] = [
    ("positive", "the {item} is {good}, i [love|like|enjoy] it [so much|every day|]"),
    ("positive", "{good} service, [i will come back|five stars|thank you {name}]"),
    ("positive", "what a {good} {event}, we [had fun|laughed a lot|stayed until the end]"),
    ("positive", "my {kid} is so happy with the {colour} {item}"),
    ("positive", "[the staff|{name}] was {good} and [kind|helpful|quick]"),
    ("negative", "the {item} is {bad}, i [hate|dislike|regret] it"),
    ("negative", "{bad} service, [never again|one star|i am so angry]"),
    ("negative", "the {event} was {bad}, we [left early|fell asleep|were bored]"),
    ("negative", "my new {item} {notwork} and [nobody cares|no one answers]"),
    ("neutral", "the {item} is {colour} and [weighs {2..9} kilos|stands in the hall]"),
    ("neutral", "i [bought|ordered] a {item} on {day}"),
    ("neutral", "the shop in {city} [opens|closes] at {6..11}"),
];

const URGENCY: [(&str, &str); 6] = [
    ("high", "{canyou} [fix|send] my {item} [right now|at once|immediately], i [fly|leave] [tonight|in an hour]"),
    ("high", "urgent: water is [running|leaking] into the {car}, call me [now|straight away]"),
    ("high", "the {net} at the clinic is down and [patients are|everybody is] waiting, hurry"),
    ("low", "when you have time, {canyou} look at my {item}? no [hurry|rush]"),
    ("low", "[just wondering|only a small question]: is the {item} also made in {colour}"),
    ("low", "[some day|next year] i would like a {colour} {item}, it can wait"),
];

const POLITENESS: [(&str, &str); 6] = [
    ("polite", "could you please [send|bring|show] me the {item}? [many thanks|thank you so much]"),
    ("polite", "would you be so kind as to [repair|replace|check] my {item}?"),
    ("polite", "i am sorry to [bother|trouble] you, but my {item} {notwork}, thank you for your time"),
    ("rude", "[send|bring|give] me my {item} now, [you fools|idiots|are you asleep]"),
    ("rude", "your {item} is rubbish and so are you"),
    ("rude", "[fix|repair] my {item} and stop wasting my time"),
];

/// A chat with a service desk: the problem, a question back, the answer, a promise, thanks.
fn conversation(words: &Words, rng: &mut Rng) -> Doc {
    let intent = rng.pick(&words.intents);
    let mut turns = Vec::new();
    if rng.chance(25) {
        let system = format!(
            "You [help|serve|answer] customers of a {} service[ in {{city}}|]. Be [brief|kind|polite].",
            intent.domain
        );
        turns.push(("system", words.expand(rng, &system)));
    }
    let open = message(words, rng, intent);
    turns.push(("user", if rng.chance(60) { polish(&open) } else { open }));
    let ask = *rng.pick(&ASKS);
    let reply = words.expand(rng, ask).replace("LABEL", &intent.label);
    turns.push(("assistant", reply));
    let (question, answer) = *rng.pick(&DETAILS);
    if let Some((_, text)) = turns.last_mut() {
        text.push(' ');
        text.push_str(question);
    }
    let detail = words.expand(rng, answer);
    turns.push(("user", detail.clone()));
    let promise = *rng.pick(&PROMISES);
    let promise = words.expand(rng, promise).replace("DETAIL", &detail).replace("LABEL", &intent.label);
    turns.push(("assistant", promise));
    if rng.chance(60) {
        turns.push(("user", words.expand(rng, "[thanks|thank you|great, thanks|perfect|ok, thank you|that is all]")));
        let bye = "[You are welcome.|My pleasure.|Glad to help.|Have a nice {day}!|Any time. Goodbye!]";
        turns.push(("assistant", words.expand(rng, bye)));
    }
    Doc::Chat(turns)
}

const ASKS: [&str; 6] = [
    "[Thank you for writing.|Thanks for your message.] I see that it is about: LABEL.",
    "I am [sorry|very sorry] to hear that. I have noted: LABEL.",
    "Of course, I [can|will] help you with that (LABEL).",
    "[Let me look into it.|Let me check.] Your topic is LABEL.",
    "[Hello!|Good day!] You are asking about LABEL, right?",
    "No problem. We have a page about LABEL.",
];

const DETAILS: [(&str, &str); 6] = [
    ("What is your name?", "[my name is|i am|it is] {name} {surname}"),
    ("What is your order number?", "[it is|the number is|] {1000..99999}"),
    ("Which city are you in?", "[i am in|i live in|] {city}"),
    ("Which day suits you?", "{day} [morning|afternoon|evening|] [please|would be good|]"),
    ("Since when?", "{when}"),
    ("How can we reach you?", "[by email|by phone|call me] [in the morning|after {2..8}|]"),
];

const PROMISES: [&str; 5] = [
    "Thank you, I have written down \"DETAIL\". A colleague will answer {soon}.",
    "Noted: DETAIL. We will [fix|solve|sort] it [by {day}|{soon}].",
    "[Perfect.|Great.|Fine.] Your request about LABEL is [on its way|with our team|in good hands].",
    "Thanks. You said: DETAIL. I will [call|write to] you {soon}.",
    "[All done.|Done.] Is there anything else?",
];

/// A user's turn: the text and, on its own line, what is wanted.
pub(super) fn user(text: &str, cue: &str) -> Turn {
    ("user", if cue.is_empty() { text.to_owned() } else { format!("{text}\n{cue}") })
}
