//! Translation edit rate as sacreBLEU computes it: edits and shifts of phrases per word of the reference.
//!
//! The limits and the order in which shifts are tried are Tercom's, by way of sacreBLEU; other choices would find
//! other shifts, and so other numbers.

use std::collections::HashMap;

use crate::eval::{
    python::strings::{is_space, words},
    refusal::Refusal,
};

const LONGEST_SHIFT: usize = 10;
const FARTHEST_SHIFT: usize = 50;
const BEAM: usize = 25;
const MOST_CANDIDATES: usize = 1000;
/// More than any number of edits.
const UNKNOWN: u32 = u32::MAX / 2;

/// What one text adds to the corpus: its edits against the nearest reference, and the references' mean length.
pub(crate) fn statistics(references: &[String], prediction: &str) -> Result<[f64; 2], Refusal> {
    let lower = |text: &str| text.trim_end_matches(is_space).to_lowercase();
    let prediction = lower(prediction);
    let mut fewest = u32::MAX;
    let mut length = 0;
    for reference in references {
        let reference = lower(reference);
        let (written, wanted) = numbered(&prediction, &reference);
        fewest = fewest.min(edits(written, &wanted)?);
        length += wanted.len();
    }
    Ok([f64::from(fewest), length as f64 / references.len() as f64])
}

/// The score: 0 for no edits, 100 for as many as the references have words.
pub(crate) fn score(sums: &[f64]) -> f64 {
    let (edits, length) = (sums[0], sums[1]);
    let rate = match length > 0.0 {
        true => edits / length,
        false => f64::from(u8::from(edits > 0.0)),
    };
    100.0 * rate
}

/// The words of two texts as numbers that are equal for equal words, and are in the order of the words.
fn numbered(written: &str, wanted: &str) -> (Vec<usize>, Vec<usize>) {
    let mut all: Vec<&str> = words(written).chain(words(wanted)).collect();
    all.sort_unstable();
    all.dedup();
    let numbers: HashMap<&str, usize> = all.iter().enumerate().map(|(i, word)| (*word, i)).collect();
    let of = |text| words(text).map(|word| numbers[word]).collect();
    (of(written), of(wanted))
}

fn edits(mut written: Vec<usize>, wanted: &[usize]) -> Result<u32, Refusal> {
    if wanted.is_empty() {
        return Ok(written.len() as u32);
    }
    let mut shifts = 0;
    let mut tried = 0;
    loop {
        let best = best_shift(&written, wanted, &mut tried)?;
        match best.filter(|best| best.gain > 0 && tried < MOST_CANDIDATES) {
            Some(best) => written = best.words,
            None => return Ok(shifts + Distance::of(&written, wanted)?.edits),
        }
        shifts += 1;
    }
}

/// A phrase moved to another place; the fields are compared in this order, and the greatest is taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shift {
    gain: i64,
    length: usize,
    earliest_start: std::cmp::Reverse<usize>,
    earliest_target: std::cmp::Reverse<usize>,
    words: Vec<usize>,
}

fn best_shift(written: &[usize], wanted: &[usize], tried: &mut usize) -> Result<Option<Shift>, Refusal> {
    let before = Distance::of(written, wanted)?;
    let alignment = before.alignment();
    let mut best: Option<Shift> = None;
    for (start, target, length) in common_phrases(written, wanted) {
        let place = alignment.place[target];
        // A shift is for words that are wrong both where they are and where they would go to, outside themselves.
        if !alignment.written_wrong[start..start + length].contains(&true)
            || !alignment.wanted_wrong[target..target + length].contains(&true)
            || place.is_some_and(|place| (start..start + length).contains(&place))
        {
            continue;
        }
        let mut last = None;
        for next in target..=target + length {
            let to = match next.checked_sub(1) {
                None => 0,
                // Position -1, before the beginning, is where a reference's first words stand that were not written.
                Some(previous) if previous < wanted.len() => alignment.place[previous].map_or(0, |place| place + 1),
                Some(_) => break,
            };
            if last.replace(to) == Some(to) {
                continue;
            }
            let words = shifted(written, start, length, to);
            let after = Distance::of(&words, wanted)?.edits;
            let shift = Shift {
                gain: i64::from(before.edits) - i64::from(after),
                length,
                earliest_start: std::cmp::Reverse(start),
                earliest_target: std::cmp::Reverse(to),
                words,
            };
            *tried += 1;
            if best.as_ref().is_none_or(|best| shift > *best) {
                best = Some(shift);
            }
        }
        if *tried >= MOST_CANDIDATES {
            break;
        }
    }
    Ok(best)
}

/// Phrases that both sides have, `(start in a, start in b, length)`: every length up to the longest.
fn common_phrases<'a>(a: &'a [usize], b: &'a [usize]) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
    let near = move |i: usize| i.saturating_sub(FARTHEST_SHIFT)..b.len().min(i + FARTHEST_SHIFT + 1);
    let starts = (0..a.len()).flat_map(move |i| near(i).map(move |j| (i, j)));
    starts.flat_map(move |(i, j)| {
        let equal = a[i..].iter().zip(&b[j..]).take(LONGEST_SHIFT).take_while(|(a, b)| a == b).count();
        (1..=equal).map(move |length| (i, j, length))
    })
}

fn shifted(words: &[usize], start: usize, length: usize, target: usize) -> Vec<usize> {
    let end = start + length;
    let (a, b, c, d) = if target < start {
        (&words[..target], &words[start..end], &words[target..start], &words[end..])
    } else if target > end {
        (&words[..start], &words[end..target], &words[start..end], &words[target..])
    } else {
        let within = words.len().min(length + target);
        (&words[..start], &words[end..within], &words[start..end], &words[within..])
    };
    [a, b, c, d].concat()
}

#[derive(Clone, Copy, PartialEq)]
enum Edit {
    Keep,
    Substitute,
    /// A word of the reference is put in.
    Insert,
    /// A written word is taken out.
    Delete,
    Unknown,
}

/// The fewest edits that turn what was written into the reference, sought near the diagonal only.
struct Distance {
    edits: u32,
    /// From the first word to the last.
    trace: Vec<Edit>,
}

/// Cells of a row of the matrix that lie in the beam; all others are unknown.
struct Row {
    first: usize,
    cells: Vec<(u32, Edit)>,
}

impl Row {
    fn at(&self, column: usize) -> (u32, Edit) {
        let cell = column.checked_sub(self.first).and_then(|at| self.cells.get(at));
        cell.copied().unwrap_or((UNKNOWN, Edit::Unknown))
    }
}

impl Distance {
    fn of(written: &[usize], wanted: &[usize]) -> Result<Self, Refusal> {
        let columns = wanted.len() + 1;
        let ratio = if written.is_empty() { 1.0 } else { wanted.len() as f64 / written.len() as f64 };
        let beam = if (BEAM as f64) < ratio / 2.0 { (ratio / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
        let first = (0..columns).map(|column| (column as u32, Edit::Insert)).collect();
        let mut rows = vec![Row { first: 0, cells: first }];
        for (i, word) in written.iter().enumerate() {
            let diagonal = ((i + 1) as f64 * ratio).floor() as usize;
            let last = if i + 1 == written.len() { columns } else { columns.min(diagonal + beam) };
            let row = Self::row(&rows[i], *word, wanted, diagonal.saturating_sub(beam)..last);
            rows.push(row);
        }
        let edits = rows[written.len()].at(wanted.len()).0;
        Ok(Self { edits, trace: trace(&rows, wanted.len())? })
    }

    fn row(above: &Row, word: usize, wanted: &[usize], columns: std::ops::Range<usize>) -> Row {
        let mut row = Row { first: columns.start, cells: Vec::with_capacity(columns.len()) };
        for column in columns {
            let delete = (above.at(column).0 + 1, Edit::Delete);
            let cell = match column.checked_sub(1) {
                None => delete,
                Some(before) => {
                    let keep = wanted[before] == word;
                    let (cost, edit) = if keep { (0, Edit::Keep) } else { (1, Edit::Substitute) };
                    let options = [(above.at(before).0 + cost, edit), delete, (row.at(before).0 + 1, Edit::Insert)];
                    let none = (UNKNOWN, Edit::Unknown);
                    options.into_iter().fold(none, |best, option| if best.0 > option.0 { option } else { best })
                }
            };
            row.cells.push(cell);
        }
        row
    }

    /// Which written word stands where each word of the reference should, and which words are wrong.
    fn alignment(&self) -> Alignment {
        let mut out = Alignment { place: Vec::new(), written_wrong: Vec::new(), wanted_wrong: Vec::new() };
        for edit in &self.trace {
            let wrong = *edit != Edit::Keep;
            if *edit != Edit::Insert {
                out.written_wrong.push(wrong);
            }
            if *edit != Edit::Delete {
                out.wanted_wrong.push(wrong);
                out.place.push(out.written_wrong.len().checked_sub(1));
            }
        }
        out
    }
}

struct Alignment {
    /// By word of the reference; `None` is before the first written word.
    place: Vec<Option<usize>>,
    written_wrong: Vec<bool>,
    wanted_wrong: Vec<bool>,
}

fn trace(rows: &[Row], columns: usize) -> Result<Vec<Edit>, Refusal> {
    let (mut i, mut j) = (rows.len() - 1, columns);
    let mut trace = Vec::new();
    while i > 0 || j > 0 {
        let edit = rows[i].at(j).1;
        let (up, left) = match edit {
            Edit::Keep | Edit::Substitute => (1, 1),
            Edit::Insert => (0, 1),
            Edit::Delete => (1, 0),
            Edit::Unknown => return Err(Refusal::values("metric `ter`: the texts are too different in length")),
        };
        (i, j) = (i - up, j - left);
        trace.push(edit);
    }
    trace.reverse();
    Ok(trace)
}
