//! Names of columns: words of them, and which are names of the same thing.

use tunesmith_tools::data_inspect::{Cells, Column};

use crate::playbook::words::singular;

/// Names of the same thing, by which people call a column otherwise than the file does.
const SAME: [&[&str]; 35] = [
    &["dept", "department", "team", "queue", "unit", "desk", "assignee", "owner", "group"],
    &["priority", "urgency", "urgent", "severity", "importance", "prio"],
    &["sentiment", "mood", "feeling", "positive", "negative", "happy", "unhappy", "angry", "polarity"],
    &["category", "categorie", "cat", "kind", "type", "class", "topic", "theme", "bucket"],
    &["spam", "junk", "phishing", "ham"],
    &["intent", "intention", "purpose"],
    &[
        "answer",
        "reply",
        "response",
        "replie",
        "respond",
        "solution",
        "resolution",
        "antwort",
        "respuesta",
        "réponse",
        "risposta",
    ],
    &["question", "query", "ask", "frage", "pregunta", "domanda"],
    &[
        "message",
        "msg",
        "txt",
        "mesage",
        "email",
        "mail",
        "text",
        "body",
        "ticket",
        "complaint",
        "note",
        "comment",
        "review",
        "feedback",
        "post",
        "tweet",
        "content",
        "description",
        "letter",
        "request",
        "transcript",
    ],
    &["summary", "summarise", "summarize", "short", "shorten", "abstract", "tldr", "gist"],
    &["headline", "title"],
    &["rating", "star", "stars", "score", "grade"],
    &["english", "en", "eng"],
    &["german", "de", "deutsch", "ger"],
    &["french", "fr", "francais"],
    &["spanish", "es", "espanol"],
    &["italian", "ita", "italiano"],
    &["portuguese", "pt", "por", "portugues"],
    &["dutch", "nl", "nederlands"],
    &["polish", "pl", "polski"],
    &["swedish", "sv", "svenska"],
    &["danish", "da", "dansk"],
    &["turkish", "tr"],
    &["russian", "ru"],
    &["chinese", "zh"],
    &["japanese", "ja", "jp"],
    &["czech", "cs"],
    &["greek", "el"],
    &["polite", "friendly", "nice", "formal", "professional", "kind_version"],
    &["plain", "simple", "easy", "simplified", "simplify"],
    &["corrected", "correct", "fixed", "clean", "cleaned", "correction"],
    &["rewritten", "rewrite", "reworded", "rephrased", "after", "new_version"],
    &["original", "before", "draft", "rough", "raw", "old_version"],
    &["language", "lang"],
    &["churned", "churn", "leave", "left", "cancel", "cancelled", "quit"],
];

pub(super) fn fits(word: &str, pattern: &str) -> bool {
    pattern.split('|').any(|part| part.strip_suffix('*').map_or(word == part, |stem| word.starts_with(stem)))
}

/// A name's words: `customerMessage_en` is three.
pub(in crate::playbook) fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut last = ' ';
    for c in name.chars() {
        let new = !last.is_alphanumeric() || c.is_uppercase() && last.is_lowercase();
        if c.is_alphanumeric() {
            if new || parts.is_empty() {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut() {
                part.extend(c.to_lowercase());
            }
        }
        last = c;
    }
    parts
}

/// How many words a name takes at the beginning of `words`, if it stands there.
pub(in crate::playbook) fn named(words: &[&str], own: &[String]) -> Option<usize> {
    let whole = own.join("_");
    if words.first().is_some_and(|word| **word == whole || **word == own.concat()) {
        return Some(1);
    }
    let same = own.iter().zip(words).filter(|(own, word)| is_form(own, word)).count();
    (!own.is_empty() && same == own.len()).then_some(own.len())
}

/// Whether two words are forms of one: `call` and `calling`, `line` and `liner`.
pub(in crate::playbook) fn is_form(one: &str, two: &str) -> bool {
    let ending = |long: &str, short: &str| {
        short.len() >= 4 && long.strip_prefix(short).is_some_and(|rest| fits(rest, "ing|ed|d|r|er|ers|es"))
    };
    singular(one) == singular(two) || ending(one, two) || ending(two, one)
}

/// Whether a word of the request means the same as one of a column's name.
pub(super) fn alike(own: &str, word: &str) -> bool {
    let (own, word) = (singular(own), singular(word));
    let in_group = |group: &&[&str]| group.contains(&own.as_str()) && group.contains(&word.as_str());
    own.len() > 3 && own == word || SAME.iter().any(in_group)
}

/// A name that only answers have.
pub(super) fn is_answer(name: &str) -> bool {
    const NAMES: &str = "label|labels|completion|answer|output|response|target|expected|class|reply|polite|formal|friendly|rewritten|\
        corrected|fixed|clean|cleaned|tidy|improved|better|simplified|simple|plain|summary|short|translation|translated|after|final|headline|\
        result|solution|sql|antwort|respuesta|réponse|risposta";
    parts(name).iter().any(|part| fits(part, NAMES))
}

/// A name that people give to labels.
pub(super) fn is_label(name: &str) -> bool {
    const NAMES: &str = "label|labels|intent|category|class|sentiment|topic|tag|tags|type|department|dept|team|queue|language|kind|spam|\
        priority|urgency|genre|status";
    parts(name).iter().any(|part| fits(part, NAMES))
}

/// A name that only what is read has.
pub(super) fn is_input(name: &str) -> bool {
    const NAMES: &str = "prompt|question|instruction|input|text|message|sentence|query|utterance|source|original|before|draft|rough|raw|\
        informal|messy|frage|pregunta|domanda";
    parts(name).iter().any(|part| fits(part, NAMES)) && !is_answer(name)
}

/// Whether a column tells rows apart or says when and where they are from, which nobody asks a model for.
pub(super) fn is_id(column: &Column) -> bool {
    const NAMES: &str = "id|ids|idx|index|uuid|guid|key|date|datetime|time|timestamp|day|month|year|created|updated|modified|received|\
        datum|eingang|zuletzt|geändert|lfd|fecha|numéro|numero|at|url|uri|link|email_address|phone|ip|hash|row|no|nr|number|ref|reference|unnamed";
    let own = parts(&column.name);
    let number = column.cells == Cells::Number && column.labels.is_empty();
    let name = own.first().is_none_or(|first| fits(first, NAMES)) || own.last().is_some_and(|last| fits(last, NAMES));
    name || number && own.is_empty()
}
