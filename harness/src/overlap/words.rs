//! Words as numbers, the same however a text is cased, spaced, punctuated, and its numbers are written.

use std::sync::LazyLock;

use super::runs::BASE;

/// Of the words of some texts, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// A hash of each word; that of a number is odd, that of any other word even.
    pub hashes: Vec<u64>,
    /// A hash of the letters and digits of all texts since it was last set to zero, wherever words are parted.
    pub stream: u64,
    /// The tens of the last word, where it is one such as `twenty`.
    tens: u64,
}

/// Whole numbers that are written as words.
static SPELLED: LazyLock<Vec<(u64, u64)>> = LazyLock::new(|| {
    const UNITS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
                         seventeen eighteen nineteen";
    const TENS: &str = "twenty thirty forty fifty sixty seventy eighty ninety";
    let units = UNITS.split(' ').zip(0..);
    let tens = TENS.split(' ').zip((20..).step_by(10));
    let mut all: Vec<(u64, u64)> = units.chain(tens).map(|(word, value)| (hash(word), value)).collect();
    all.sort_unstable();
    all
});

impl Words {
    /// Words of letters and words of digits. Scripts that write no blanks have a word in each character.
    pub fn read(&mut self, text: &str) {
        let mut rest = text;
        let mut word = 0;
        self.tens = 0;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = if starts_number(c, after) {
                self.end(&mut word);
                self.number(rest)
            } else {
                match c {
                    'a'..='z' => self.push(c, &mut word),
                    'A'..='Z' => self.push(c.to_ascii_lowercase(), &mut word),
                    // A word goes on behind it: don't, l'eau.
                    '\'' | '’' => {}
                    _ if c.is_ascii() || !c.is_alphanumeric() => self.end(&mut word),
                    _ if stands_alone(c) => {
                        self.end(&mut word);
                        self.push(c, &mut word);
                        self.end(&mut word);
                    }
                    _ => c.to_lowercase().for_each(|c| self.push(c, &mut word)),
                }
                after
            };
        }
        self.end(&mut word);
    }

    fn push(&mut self, c: char, word: &mut u64) {
        *word = with(*word, c);
        self.stream = with(self.stream, c);
    }

    /// Takes a word that has ended, if there is one.
    fn end(&mut self, word: &mut u64) {
        let hash = std::mem::take(word);
        if hash == 0 {
            return;
        }
        let value = SPELLED.binary_search_by_key(&hash, |(hash, _)| *hash).map(|at| SPELLED[at].1);
        match value {
            Ok(unit @ 1..=9) if self.tens > 0 => {
                self.hashes.pop();
                self.value(self.tens + unit);
            }
            Ok(value) => {
                self.value(value);
                self.tens = if value >= 20 { value } else { 0 };
            }
            Err(_) => {
                self.hashes.push(hash & !1);
                self.tens = 0;
            }
        }
    }

    fn value(&mut self, value: u64) {
        self.hashes.push(hash(&value.to_string()) | 1);
        self.tens = 0;
    }

    /// Reads a number, without what groups its digits and without zeros that change nothing; gives what follows it.
    fn number<'a>(&mut self, text: &'a str) -> &'a str {
        let (mut number, mut rest) = (0, text);
        while let Some(c) = rest.chars().next() {
            if c.is_ascii_digit() {
                self.stream = with(self.stream, c);
                number = if c == '0' && number == 0 { 0 } else { with(number, c) };
            } else if !(groups(c) && three_digits(&rest[c.len_utf8()..])) {
                break;
            }
            rest = &rest[c.len_utf8()..];
        }
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(after) = rest.strip_prefix('.').filter(|after| digits(after) > 0) {
            let (fraction, after) = after.split_at(digits(after));
            self.stream = fraction.chars().fold(self.stream, with);
            let fraction = fraction.trim_end_matches('0');
            if !fraction.is_empty() {
                number = fraction.chars().fold(with(number, '.'), with);
            }
            rest = after;
        }
        self.hashes.push(if number == 0 { hash("0") } else { number } | 1);
        self.tens = 0;
        rest
    }
}

/// The hash of a text with one more character.
fn with(hash: u64, c: char) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(u64::from(u32::from(c)))
}

fn hash(text: &str) -> u64 {
    text.chars().fold(0, with)
}

/// Whether a number begins with `c`: a digit, or a point before one.
fn starts_number(c: char, after: &str) -> bool {
    c.is_ascii_digit() || c == '.' && after.starts_with(|c: char| c.is_ascii_digit())
}

/// What groups digits by three.
fn groups(c: char) -> bool {
    matches!(c, ',' | '_' | '\'' | '’' | '\u{a0}' | '\u{2009}' | '\u{202f}')
}

fn three_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit) && !bytes.get(3).is_some_and(u8::is_ascii_digit)
}

/// Characters of scripts that write no blanks between words: Thai to Burmese, Khmer, Chinese, Japanese.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{a4cf}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::near::normalise;

    fn words(text: &str) -> Words {
        let mut words = Words::default();
        words.read(text);
        words
    }

    #[test]
    fn case_spacing_punctuation_and_the_form_of_numbers_do_not_count() {
        for (a, b) in [
            ("Don't PANIC!", "dont   panic"),
            ("it cost $1,234,567.50.", "it cost 1234567.5"),
            ("1\u{202f}000 or 1_000 or 1'000", "1000, or 1000 OR 1,000"),
            ("5.0 and 05 and .5", "5 and 5 and 0.50"),
            ("twenty-five or Thirty six, nine", "25 or 36 9"),
            ("0 zero 0.0", "zero, 0, 0"),
            ("5km, mp3", "5 km MP 3"),
            ("ÄRGER", "ärger"),
        ] {
            assert_eq!(words(a).hashes, words(b).hashes, "{a} | {b}");
        }
    }

    #[test]
    fn what_says_something_else_is_something_else() {
        for (a, b) in [
            ("1,00", "100"),
            ("1.5", "15"),
            ("twenty five", "205"),
            ("twenty, thirty", "50"),
            ("one two", "12 "),
            ("1234,567,8", "12345678"),
            ("top up", "topup"),
        ] {
            assert_ne!(words(a).hashes, words(b).hashes, "{a} | {b}");
        }
        assert_eq!(words("Top up, 1,000 twice").stream, words("topup1000 twice").stream);
        assert_eq!(words("大きい犬").hashes.len(), 4);
        assert_eq!(words(" ...!").hashes, [0u64; 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(2), failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn without_numbers_words_are_those_of_near_duplicates(text in "[ a-cA-CàÉ'’.,!\u{1F600}-]{0,30}") {
            let want: Vec<u64> = normalise(&text).split(' ').map(|word| hash(word) & !1).collect();
            if text.chars().any(char::is_alphanumeric) {
                prop_assert_eq!(words(&text).hashes, want);
            }
        }

        #[test]
        fn any_text_has_words_that_stay_when_it_is_written_again(text in "(\\PC|[0-9.,]|one |twenty |\u{0e01}){0,20}") {
            let once = words(&text);
            let mut twice = words(&text);
            twice.read(&text);
            prop_assert_eq!(twice.hashes, [once.hashes.clone(), once.hashes].concat());
        }
    }
}
