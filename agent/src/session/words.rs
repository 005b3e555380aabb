//! What a person types as a task: its words, and the files that it names.

use std::path::{Path, PathBuf};

/// A task with its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The task, with the names of files as they were typed but for the mark before them.
    pub text: String,
    /// The files that it names.
    pub files: Vec<PathBuf>,
}

/// Endings of files of rows.
const ENDINGS: [&str; 10] = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".md", ".gz", ".zst"];

impl Words {
    /// Files are words behind an `@`, which may stand in quotes, and words that look like a file which is there.
    pub fn of(line: &str) -> Self {
        let (mut text, mut files, mut rest) = (String::new(), Vec::new(), line);
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_end(rest));
            rest = after;
            match word.strip_prefix('@') {
                Some(name) if !name.is_empty() => {
                    let (name, end) = bare(name);
                    files.push(PathBuf::from(name));
                    text.push_str(name);
                    text.push_str(end);
                }
                _ => {
                    let (name, _) = bare(word);
                    if ENDINGS.iter().any(|ending| name.to_lowercase().ends_with(ending)) && Path::new(name).is_file() {
                        files.push(PathBuf::from(name));
                    }
                    text.push_str(word);
                }
            }
        }
        files.dedup();
        Words { text: text.trim().to_owned(), files }
    }
}

/// Bytes up to the next change between spaces and a word; what is quoted behind an `@` is one word.
fn word_end(text: &str) -> usize {
    let quoted = ["@\"", "@'"].iter().find(|start| text.starts_with(**start));
    if let Some(end) = quoted.and_then(|start| text[2..].find(&start[1..])) {
        return end + 3;
    }
    let spaces = text.starts_with(char::is_whitespace);
    text.find(|c: char| c.is_whitespace() != spaces).unwrap_or(text.len())
}

/// A name without quotes around it and without the marks of a sentence behind it, and these marks.
fn bare(word: &str) -> (&str, &str) {
    let quote = |name: &str| name.chars().next().filter(|first| matches!(first, '"' | '\''));
    if let Some(inner) = quote(word).and_then(|quote| word[1..].strip_suffix(quote)) {
        return (inner, "");
    }
    let name = word.trim_end_matches([',', ';', '.', '!', '?', ':', ')', '"', '\'']);
    (name.trim_start_matches(['(', '"', '\'']), &word[name.len()..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_named_with_a_mark_or_by_being_there() {
        let words = |line: &str| {
            let words = Words::of(line);
            (words.text, words.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>())
        };
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            words("route @tickets.csv, and @'my rows/b.csv' too."),
            ("route tickets.csv, and my rows/b.csv too.".to_owned(), files(&["tickets.csv", "my rows/b.csv"]))
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("there.csv").display().to_string();
        std::fs::write(&path, "a").unwrap();
        assert_eq!(words(&format!("sort ({path}).")), (format!("sort ({path})."), files(&[&path])));
        for none in ["mail me @ home", "sort missing.csv", "a@b.csv"] {
            assert_eq!(words(none), (none.to_owned(), files(&[])), "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in ".{0,60}") {
            let words = Words::of(&line);
            prop_assert!(words.text.len() <= line.len());
        }
    }
}
