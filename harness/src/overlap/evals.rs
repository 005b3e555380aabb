//! Eval rows, to be looked for in training rows by word n-grams.
//!
//! The field calls a row contaminated where it shares 13 words in a row with the training text (Brown et al., "Language
//! Models are Few-Shot Learners", 2020, appendix C). Here the n-grams that were found count by the share of the row's words
//! that they cover, because a long row shares 13 words with much that is no copy of it, and short rows have fewer words
//! than that; they get shorter n-grams. What several eval rows have in common belongs to none of them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    runs::{BASE, cells, hashes, texts},
    words::Words,
};
use crate::{recipe::Row, seal::prose_columns};

/// Words of an n-gram, for texts of at least so many words.
const LENGTHS: [(usize, usize); 3] = [(39, 13), (20, 8), (10, 5)];
/// Fewest words of a text that is looked for inside of others; shorter ones must be a whole cell or line.
const INSIDE: usize = 8;
/// Fewest words of a text that is looked for at all. Shorter ones are labels as well.
const FEWEST: usize = 3;
/// Longest name of what follows it on a line, in bytes, as in `Question: ...`.
const NAME: usize = 40;
/// From this share of its words on a text is nearly there.
const NEAR: f64 = 0.8;
/// From this share of its words on a text is there by half.
const HALF: f64 = 0.4;
/// Fewest words that must be found where not nearly all are.
const FOUND: usize = 10;
/// Texts that may have an n-gram in common. What more of them have belongs to the form of the rows.
const COMMON: usize = 3;
/// Eval rows that are found by one text; of more that say the same, the first ones are.
const SAME: usize = 100;
/// Of the words of an n-gram, one in so many may be a number: calculations have those in common.
const NUMBERS: usize = 3;

/// Eval rows, ready to be looked for.
///
/// It holds the texts and some 60 bytes for each of their words.
#[derive(Debug)]
pub struct Evals {
    texts: Vec<Text>,
    /// Texts by the hash of all their words, and by that of all their characters.
    whole: HashMap<u64, u32>,
    /// Lengths of n-grams.
    lengths: Vec<usize>,
    seen: Filter,
    /// For each n-gram its part of `places`.
    grams: HashMap<u64, (u32, u32)>,
    /// Text and first word of an n-gram.
    places: Vec<(u32, u32)>,
}

/// An eval row that stands in a training row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The eval row: its number among all, from 0.
    pub row: usize,
    /// How it stands there.
    pub kind: Kind,
    /// The share of its words that was found.
    pub share: f64,
}

/// How an eval row stands in a training row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// At least two fifths of its words, in long runs.
    Half,
    /// At least four fifths of its words, or all of them in another form: case, spacing, punctuation, numbers.
    Near,
    /// Character by character.
    Verbatim,
}

/// Different text of an eval row or several.
#[derive(Debug)]
struct Text {
    rows: Vec<usize>,
    raw: Box<str>,
    /// Words of an n-gram.
    length: usize,
    /// Words in n-grams that are its own.
    own: usize,
}

/// Texts that are gathered, with their words.
#[derive(Default)]
struct Texts {
    all: Vec<(Text, Vec<u64>)>,
    whole: HashMap<u64, u32>,
    /// Rows before the one whose texts are added.
    rows: usize,
}

impl Texts {
    fn add(&mut self, value: &Value) {
        let mut raw = String::new();
        texts(value, false, &mut |text| line(text, &mut raw));
        let mut words = Words::default();
        words.read(&raw);
        if words.hashes.len() < FEWEST {
            return;
        }
        let place = *self.whole.entry(all(&words.hashes)).or_insert_with(|| {
            let length = length(words.hashes.len());
            self.all.push((Text { rows: vec![], raw: raw.trim().into(), length, own: 0 }, words.hashes));
            self.all.len() as u32 - 1
        });
        self.whole.entry(words.stream).or_insert(place);
        let rows = &mut self.all[place as usize].0.rows;
        if rows.last() != Some(&self.rows) && rows.len() < SAME {
            rows.push(self.rows);
        }
    }
}

impl Evals {
    /// Of sets of rows. Of each, the texts of one column are looked for, or of all columns of prose.
    pub fn new<'a>(sets: impl IntoIterator<Item = &'a [Row]>, column: Option<&str>) -> Evals {
        let mut texts = Texts::default();
        for rows in sets {
            let prose = if column.is_none() { prose_columns(rows) } else { None };
            let counts = |name: &str| match (column, &prose) {
                (Some(column), _) => name == column,
                (None, Some(prose)) => prose.contains(name),
                (None, None) => true,
            };
            for row in rows {
                row.iter().filter(|(name, _)| counts(name)).for_each(|(_, value)| texts.add(value));
                texts.rows += 1;
            }
        }
        Evals::index(texts)
    }

    /// Whether no row has a text that can be looked for.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn index(texts: Texts) -> Evals {
        let Texts { all: texts, whole, .. } = texts;
        let mut all: Vec<(u64, u32, u32)> = Vec::new();
        for (place, (text, words)) in texts.iter().enumerate().filter(|(_, (text, _))| text.length > 0) {
            let few = |at: usize| words[at..at + text.length].iter().filter(|&word| word & 1 == 1).count() * NUMBERS;
            let grams = grams(words, text.length).enumerate().filter(|&(at, _)| few(at) <= text.length);
            all.extend(grams.map(|(at, gram)| (gram, place as u32, at as u32)));
        }
        all.sort_unstable();
        let mut evals = Evals {
            seen: Filter::new(all.len()),
            texts: texts.into_iter().map(|(text, _)| text).collect(),
            whole,
            lengths: Vec::new(),
            grams: HashMap::new(),
            places: Vec::new(),
        };
        for same in all.chunk_by(|a, b| a.0 == b.0) {
            if same.chunk_by(|a, b| a.1 == b.1).count() > COMMON {
                continue;
            }
            let first = evals.places.len() as u32;
            // Once for each text: one that repeats itself a million times would be found as often in each of its copies' words.
            evals.places.extend(same.chunk_by(|a, b| a.1 == b.1).map(|text| (text[0].1, text[0].2)));
            evals.grams.insert(same[0].0, (first, evals.places.len() as u32));
            evals.seen.add(same[0].0);
        }
        let mut own = evals.places.clone();
        own.sort_unstable();
        for places in own.chunk_by(|a, b| a.0 == b.0) {
            let text = &mut evals.texts[places[0].0 as usize];
            text.own = covered(places, text.length);
        }
        evals.lengths = evals.texts.iter().filter(|text| text.own > 0).map(|text| text.length).collect();
        evals.lengths.sort_unstable();
        evals.lengths.dedup();
        evals
    }

    /// The eval rows that stand in a training row, in their order. All its texts count, whatever their columns.
    pub fn find(&self, row: &Row) -> Vec<Match> {
        let mut words = Words::default();
        let mut found: HashMap<u32, f64> = HashMap::new();
        cells(row.iter(), false, &mut |text| {
            let cell = words.hashes.len();
            words.stream = 0;
            let mut is = |hash: u64| {
                if let Some(&text) = self.whole.get(&hash) {
                    found.insert(text, 1.0);
                }
            };
            for line in text.split('\n') {
                let start = words.hashes.len();
                let named = line.split_once(": ").filter(|(name, _)| name.len() <= NAME);
                words.read(named.map_or("", |(name, _)| name));
                let said = words.hashes.len();
                words.read(named.map_or(line, |(_, said)| said));
                is(all(&words.hashes[start..]));
                is(all(&words.hashes[said..]));
            }
            is(all(&words.hashes[cell..]));
            is(words.stream);
        });
        let mut places: Vec<(u32, u32)> = Vec::new();
        for &length in &self.lengths {
            for gram in grams(&words.hashes, length).filter(|gram| self.seen.may_have(*gram)) {
                if let Some(&(first, end)) = self.grams.get(&gram) {
                    places.extend(&self.places[first as usize..end as usize]);
                }
            }
        }
        places.sort_unstable();
        for places in places.chunk_by(|a, b| a.0 == b.0) {
            let text = &self.texts[places[0].0 as usize];
            let words = covered(places, text.length);
            let share = words as f64 / text.own as f64;
            if words >= FOUND && share >= HALF || words >= INSIDE && share >= NEAR {
                let most = found.entry(places[0].0).or_default();
                *most = most.max(share);
            }
        }
        self.matches(row, found)
    }

    fn matches(&self, row: &Row, found: HashMap<u32, f64>) -> Vec<Match> {
        let (mut matches, mut said): (Vec<Match>, Option<String>) = (Vec::new(), None);
        for (text, share) in found {
            let text = &self.texts[text as usize];
            let verbatim = share >= NEAR && said.get_or_insert_with(|| joined(row)).contains(&*text.raw);
            let kind = match share {
                _ if verbatim => Kind::Verbatim,
                NEAR.. => Kind::Near,
                _ => Kind::Half,
            };
            let share = if verbatim { 1.0 } else { share };
            matches.extend(text.rows.iter().map(|&row| Match { row, kind, share }));
        }
        // Of several texts of one row the one that is most there counts.
        matches.sort_by(|a, b| a.row.cmp(&b.row).then(b.kind.cmp(&a.kind)).then(b.share.total_cmp(&a.share)));
        matches.dedup_by_key(|found| found.row);
        matches
    }
}

/// All texts of a row, each on a line.
fn joined(row: &Row) -> String {
    let mut out = String::new();
    cells(row.iter(), false, &mut |text| line(text, &mut out));
    out
}

fn line(text: &str, out: &mut String) {
    out.push_str(if out.is_empty() { "" } else { "\n" });
    out.push_str(text);
}

/// Words of an n-gram of a text with so many words; none where it must be a whole cell.
fn length(words: usize) -> usize {
    match LENGTHS.iter().find(|(least, _)| words >= *least) {
        Some((_, length)) => *length,
        None if words >= INSIDE => words,
        None => 0,
    }
}

/// A hash of all words of a text.
fn all(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, &word| mixed(hash).wrapping_mul(BASE) ^ word)
}

/// Without it words of one length would differ by little more than their letters do.
fn mixed(word: u64) -> u64 {
    word ^ word >> 29
}

/// Hashes of the n-grams of some words. N-grams of different lengths have different ones.
fn grams(words: &[u64], length: usize) -> impl Iterator<Item = u64> {
    hashes(words, length, |&word| mixed(word))
}

/// Words in n-grams at these places of one text, in order.
fn covered(places: &[(u32, u32)], length: usize) -> usize {
    let mut end = 0;
    places
        .iter()
        .map(|&(_, at)| {
            let new = (at as usize + length).saturating_sub(end.max(at as usize));
            end = end.max(at as usize + length);
            new
        })
        .sum()
}

/// Bits that tell most hashes that are not there from those that are.
#[derive(Debug)]
struct Filter {
    bits: Vec<u64>,
    shift: u32,
}

impl Filter {
    /// For so many hashes: 16 to 32 bits for each.
    fn new(hashes: usize) -> Filter {
        let bits = (hashes * 16).max(1 << 16).next_power_of_two();
        Filter { bits: vec![0; bits / 64], shift: 64 - bits.trailing_zeros() }
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let bit = (hash.wrapping_mul(BASE) >> self.shift) as usize;
        (bit / 64, 1 << (bit % 64))
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = self.place(hash);
        self.bits[word] |= bit;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits[word] & bit != 0
    }
}

#[cfg(test)]
mod tests;
