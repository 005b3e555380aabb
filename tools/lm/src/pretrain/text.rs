//! Text files as documents: paragraphs joined to a useful length, Wikipedia's word-by-word spacing undone.

use std::fs;

use super::Source;
use crate::{
    corpus::Doc,
    error::{Error, Result},
    model::sha256,
};

/// Characters up to which paragraphs are joined into one document (about 450 tokens).
const DOCUMENT: usize = 1700;

/// One text file in memory.
pub struct Text {
    /// File name without its directory.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    paragraphs: Vec<String>,
}

/// Reads a file of UTF-8 text.
pub fn read(source: &Source) -> Result<Text> {
    let bytes = fs::read(&source.path).map_err(|e| Error::io("cannot read", &source.path, e))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| Error::Data(format!("{} is not UTF-8 at byte {}", source.path.display(), e.valid_up_to())))?;
    Ok(Text {
        name: source.path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        bytes: bytes.len() as u64,
        sha256: sha256(&bytes),
        paragraphs: paragraphs(text).map(|p| clean(&p)).filter(|p| p.len() > 20).collect(),
    })
}

impl Text {
    /// The file's documents; dialogues (every line begins with `User: ` or `System: `) as chats when `chats`.
    pub fn documents(&self, chats: bool) -> Vec<Doc> {
        let (mut docs, mut plain) = (Vec::new(), String::new());
        for paragraph in &self.paragraphs {
            if let Some(turns) = dialogue(paragraph).filter(|_| chats) {
                docs.push(Doc::Chat(turns));
                continue;
            }
            if !plain.is_empty() && plain.len() + paragraph.len() > DOCUMENT {
                docs.push(Doc::Plain(std::mem::take(&mut plain)));
            }
            if !plain.is_empty() {
                plain.push_str("\n\n");
            }
            plain.push_str(paragraph);
        }
        if !plain.is_empty() {
            docs.push(Doc::Plain(plain));
        }
        docs
    }
}

/// Runs of lines between blank lines.
fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = String::new();
        for line in lines.by_ref() {
            match (line.trim().is_empty(), paragraph.is_empty()) {
                (true, true) => {}
                (true, false) => return Some(paragraph),
                (false, empty) => {
                    paragraph.push_str(if empty { "" } else { "\n" });
                    paragraph.push_str(line.trim());
                }
            }
        }
        (!paragraph.is_empty()).then_some(paragraph)
    })
}

/// The turns of a dialogue, the assistant's last; `None` for other text.
fn dialogue(paragraph: &str) -> Option<Vec<(&'static str, String)>> {
    let turn = |line: &str| match (line.strip_prefix("User: "), line.strip_prefix("System: ")) {
        (Some(text), _) => Some(("user", text.to_owned())),
        (_, Some(text)) => Some(("assistant", text.to_owned())),
        _ => None,
    };
    let mut turns = paragraph.lines().map(turn).collect::<Option<Vec<_>>>()?;
    while turns.last().is_some_and(|(role, _)| *role == "user") {
        turns.pop();
    }
    (turns.len() > 1).then_some(turns)
}

/// Undoes the spacing of text that was cut into words, and drops its headings and sentences with unknown words.
fn clean(paragraph: &str) -> String {
    if !paragraph.contains("<unk>") && !paragraph.contains(" @") && !paragraph.contains(" , ") {
        return paragraph.to_owned();
    }
    let sentences =
        paragraph.lines().filter(|line| !line.starts_with("= ")).flat_map(|line| line.split_inclusive(" . "));
    let mut text: String = sentences.filter(|sentence| !sentence.contains("<unk>")).collect();
    let pairs =
        [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" , ", ", "), (" . ", ". "), (" ; ", "; "), (" : ", ": ")];
    let more = [
        (" 's", "'s"),
        (" n't", "n't"),
        (" 're", "'re"),
        (" 've", "'ve"),
        (" 'll", "'ll"),
        ("( ", "("),
        (" )", ")"),
        (" ?", "?"),
        (" !", "!"),
    ];
    for (from, to) in pairs.into_iter().chain(more) {
        text = text.replace(from, to);
    }
    text.trim().trim_end_matches(" .").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_by_word_text_is_joined_again_and_unknown_words_go() {
        let text = "The well @-@ known cat ( a tabby ) , aged 4 @,@ 000 , sat . It saw <unk> . It did n't care . ";
        assert_eq!(clean(text), "The well-known cat (a tabby), aged 4,000, sat. It didn't care.");
    }

    #[test]
    fn dialogues_become_chats_that_end_with_the_assistant() {
        let text = "User: a\nSystem: b\nUser: c";
        assert_eq!(dialogue(text), Some(vec![("user", "a".to_owned()), ("assistant", "b".to_owned())]));
        assert_eq!(dialogue("User: a\nsomething else"), None);
    }

    #[test]
    fn paragraphs_split_at_blank_lines() {
        assert_eq!(paragraphs("a\nb\n\n \nc\n").collect::<Vec<_>>(), ["a\nb", "c"]);
    }
}
