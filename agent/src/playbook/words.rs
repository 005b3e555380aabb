//! A request as words, and patterns of words.

use std::ops::Range;

/// Most words that `..` stands for.
const GAP: usize = 6;
/// Words before a phrase in which a negation counts, and the negations.
const BEFORE: usize = 4;
const NEGATIONS: [&str; 11] =
    ["no", "not", "without", "never", "dont", "doesnt", "neither", "nor", "neednt", "isnt", "nothing"];

/// A request in lower case, cut into words.
#[derive(Clone, Debug)]
pub struct Words {
    /// The whole text.
    pub text: String,
    /// Its words.
    pub list: Vec<Word>,
}

/// One word: letters, digits and underscores, without apostrophes; `0.9` is one, and `%` too. Signs are words:
/// `->` is `→`, `<` is `under`, `>` is `over`, `>=` is `least`, `+` is `plus`.
#[derive(Clone, Debug)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Where it stands in the text.
    pub at: Range<usize>,
    /// Whether it stands in quotation marks or backticks.
    pub quoted: bool,
    /// Whether a sentence ends with it.
    pub ends: bool,
    /// Whether a part of a sentence ends with it.
    pub pauses: bool,
}

impl Words {
    /// Cuts a request.
    pub fn new(request: &str) -> Self {
        let text = request.to_lowercase();
        let mut list: Vec<Word> = Vec::new();
        let (mut quoted, mut open) = (false, false);
        let chars: Vec<(usize, char)> = text.char_indices().collect();
        for (place, &(at, c)) in chars.iter().enumerate() {
            let after = chars.get(place + 1).map_or(' ', |next| next.1);
            let before = place.checked_sub(1).map_or(' ', |place| chars[place].1);
            let end = at + c.len_utf8();
            let inner = c == '.' && after.is_ascii_digit() && (before.is_ascii_digit() || !before.is_alphanumeric());
            let apostrophe = matches!(c, '\'' | '’') && before.is_alphanumeric() && after.is_alphanumeric();
            if c.is_alphanumeric() || c == '_' || inner {
                match list.last_mut().filter(|_| open) {
                    Some(word) => {
                        word.text.push(c);
                        word.at.end = end;
                    }
                    None => list.push(Word::new(c.to_string(), at..end, quoted)),
                }
                open = true;
                continue;
            }
            if apostrophe {
                continue;
            }
            open = false;
            match c {
                '%' => list.push(Word::new("%".into(), at..end, quoted)),
                '→' => list.push(Word::new("→".into(), at..end, quoted)),
                '>' if matches!(before, '-' | '=') => list.push(Word::new("→".into(), at..end, quoted)),
                '<' | '≤' => list.push(Word::new("under".into(), at..end, quoted)),
                '>' if after == '=' => list.push(Word::new("least".into(), at..end, quoted)),
                '>' => list.push(Word::new("over".into(), at..end, quoted)),
                '≥' => list.push(Word::new("least".into(), at..end, quoted)),
                '+' => list.push(Word::new("plus".into(), at..end, quoted)),
                ',' | ':' | '(' | ')' => pause(&mut list),
                '`' | '"' | '“' | '”' => quoted = !quoted,
                // One behind a word ends a quotation only where one has begun: else it is the customers' own.
                '\'' | '‘' | '’' => quoted = !quoted && !before.is_alphanumeric(),
                '.' | '!' | '?' | ';' if !after.is_alphanumeric() => end_sentence(&mut list),
                '\n' => end_sentence(&mut list),
                _ => {}
            }
        }
        Words { text, list }
    }

    /// The words that fit a pattern, from each word on.
    ///
    /// A pattern is words with spaces between: `a|b` is either, `tun*` a beginning, `..` up to six words of the same
    /// sentence.
    pub fn all(&self, pattern: &str) -> Vec<Range<usize>> {
        let parts: Vec<&str> = pattern.split(' ').collect();
        (0..self.list.len()).filter_map(|at| Some(at..self.fits(at, &parts)?)).collect()
    }

    /// Whether words fit a pattern.
    pub fn has(&self, pattern: &str) -> bool {
        !self.all(pattern).is_empty()
    }

    /// Whether words fit a pattern that are not denied.
    pub fn wants(&self, pattern: &str) -> bool {
        self.all(pattern).iter().any(|found| !self.is_denied(found.start))
    }

    /// Whether a negation stands shortly before a word, in its sentence.
    pub fn is_denied(&self, at: usize) -> bool {
        let before = self.list[..at].iter().rev().take(BEFORE).take_while(|word| !word.ends);
        before.into_iter().any(|word| NEGATIONS.contains(&word.text.as_str()))
    }

    /// The word at a place.
    pub fn word(&self, at: usize) -> &str {
        self.list.get(at).map_or("", |word| word.text.as_str())
    }

    /// Where a word begins or ends that contains this place of the text; the number of words where none is behind it.
    pub fn at(&self, place: usize) -> usize {
        self.list.iter().position(|word| word.at.end > place).unwrap_or(self.list.len())
    }

    fn fits(&self, at: usize, parts: &[&str]) -> Option<usize> {
        let Some((first, rest)) = parts.split_first() else { return Some(at) };
        if *first == ".." {
            let inside = |skip: &usize| !self.list[at.min(self.list.len())..].iter().take(*skip).any(|word| word.ends);
            return (0..=GAP).take_while(inside).find_map(|skip| self.fits(at + skip, rest));
        }
        let word = &self.list.get(at)?.text;
        let fits = first.split('|').any(|part| is(word, part));
        // A pattern does not go on behind the end of a sentence.
        let over = self.list[at].ends && !rest.is_empty();
        (fits && !over).then(|| self.fits(at + 1, rest)).flatten()
    }
}

/// Whether a word is the one of a pattern.
fn is(word: &str, part: &str) -> bool {
    part.strip_suffix('*').map_or(word == part, |stem| word.starts_with(stem))
}

impl Word {
    fn new(text: String, at: Range<usize>, quoted: bool) -> Self {
        Word { text, at, quoted, ends: false, pauses: false }
    }
}

/// A word without the ending of a plural.
pub fn singular(word: &str) -> String {
    match word {
        _ if word.len() > 4 && word.ends_with("ies") => format!("{}y", &word[..word.len() - 3]),
        _ if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") => word[..word.len() - 1].to_owned(),
        _ => word.to_owned(),
    }
}

fn end_sentence(list: &mut [Word]) {
    if let Some(last) = list.last_mut() {
        (last.ends, last.pauses) = (true, true);
    }
}

fn pause(list: &mut [Word]) {
    if let Some(last) = list.last_mut() {
        last.pauses = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(request: &str) -> Vec<String> {
        Words::new(request).list.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn a_request_is_cut_into_words() {
        assert_eq!(
            texts("Fine-tune it, don't stop: 99.5% of `is_spam`."),
            ["fine", "tune", "it", "dont", "stop", "99.5", "%", "of", "is_spam"]
        );
        let words = Words::new("the `dept` column. Next 'one two' three");
        let quoted: Vec<&str> = words.list.iter().filter(|word| word.quoted).map(|word| word.text.as_str()).collect();
        assert_eq!(quoted, ["dept", "one", "two"]);
        assert_eq!(words.list.iter().position(|word| word.ends), Some(2));
    }

    #[test]
    fn patterns_have_choices_beginnings_and_gaps_within_a_sentence() {
        let words = Words::new("Sort the incoming mail into boxes. Please classify.");
        for (pattern, fits) in [
            ("sort .. into|to", true),
            ("sort into", false),
            ("classif*", true),
            ("boxes please", false),
            ("mail .. classif*", false),
            ("sort .. please", false),
        ] {
            assert_eq!(words.has(pattern), fits, "{pattern}");
        }
    }

    #[test]
    fn what_is_denied_is_not_wanted() {
        assert!(Words::new("give me onnx").wants("onnx"));
        assert!(!Words::new("I do not need onnx").wants("onnx"));
        assert!(!Words::new("without any onnx").wants("onnx"));
        assert!(Words::new("No. Onnx please").wants("onnx"));
    }

    #[test]
    fn signs_are_words() {
        let want = ["msg", "→", "team", "f1", "least", ".9", "under", "20mb", "a", "plus", "b"];
        assert_eq!(texts("msg->team, f1>=.9, <20MB; a + b"), want);
    }

    #[test]
    fn plurals_are_undone() {
        let of = |word| singular(word);
        assert_eq!([of("teams"), of("categories"), of("class"), of("bus")], ["team", "category", "class", "bus"]);
    }
}
