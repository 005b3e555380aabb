//! Texts seen so far, searched by MinHash and locality-sensitive hashing.
//!
//! The least of a set's members under a random order is the same for two sets as often as they are alike (Broder 1997). Of
//! `bands` groups of `rows` such minima, two sets of likeness `s` agree in at least one with probability
//! `1 - (1 - s^rows)^bands` (Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4).
//! Those that do are candidates, and are compared exactly. One band more holds the whole set, so that equal texts always meet.

use std::ops::Range;

use rayon::prelude::*;

use super::{Jaccard, mix, normalise, overlap, shingles};

/// Minima of a text at most. More of them tell likenesses apart more sharply, and cost time and memory.
const MINIMA: usize = 128;
/// Of the texts at the threshold, so many may be missed.
const MISSED: f64 = 0.02;
/// Texts that are kept for one value of a band. More of them are common phrases, and make every search long.
const CROWD: usize = 32;
/// Candidates that are compared member by member, the likeliest first.
const COMPARED: usize = 64;
/// Texts that are sketched at once, and searched for among those before them, on all cores.
const BLOCK: usize = 4096;
/// Bytes of text from which on a block has no more.
const BLOCK_BYTES: usize = 4 << 20;
/// A free slot.
const FREE: u32 = u32::MAX;

/// Texts of which none nearly repeats another: each new one is kept, unless it is like one that was kept before.
///
/// The same texts in the same order give the same answers, on any number of cores. For each text kept it holds the
/// normalised text, 48 bytes, and 10 to 21 bytes for each band: of 18 bands at a threshold of 0.8, some 300 bytes.
pub struct Near {
    likeness: Jaccard,
    /// Minima of one band.
    rows: usize,
    /// Bands of a text.
    width: usize,
    /// What makes an order of each minimum: a factor and a summand.
    orders: Vec<(u32, u32)>,
    /// Texts that were added.
    added: usize,
    kept: Vec<Kept>,
    /// Of those, the texts of whole blocks. They are searched first, so that blocks and single texts get the same answers.
    settled: usize,
    /// Texts, and their bytes, since then.
    block: (usize, usize),
    /// Normalised texts of those kept, end to end.
    texts: String,
    /// For each text kept its bands.
    bands: Vec<u32>,
    /// An open-addressed table of bands: places in `kept`.
    slots: Vec<u32>,
    used: usize,
}

/// What is known of a text without looking at it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Its number among all texts that were added.
    number: u32,
    /// Members of its set.
    members: u32,
    /// Where its text ends.
    end: usize,
    marks: Marks,
}

/// A bit for each member of a set, where several may share one.
type Marks = [u64; 4];

/// What of a text decides whether it is like another one.
struct Sketch {
    text: String,
    set: Vec<u64>,
    bands: Vec<u32>,
    marks: Marks,
}

impl Near {
    /// No texts yet. `seed` decides which of the texts just at the threshold are missed.
    pub fn new(likeness: Jaccard, seed: u64) -> Near {
        let (bands, rows) = shape(likeness.num as f64 / likeness.den as f64);
        let order = |n: usize| {
            let random = mix(mix(seed) ^ n as u64);
            // Odd, so that no two members get the same place.
            (random as u32 | 1, (random >> 32) as u32)
        };
        Near {
            likeness,
            rows,
            width: bands + 1,
            orders: (0..bands * rows).map(order).collect(),
            added: 0,
            kept: Vec::new(),
            settled: 0,
            block: (0, 0),
            texts: String::new(),
            bands: Vec::new(),
            slots: vec![FREE; 1024],
            used: 0,
        }
    }

    /// The text that this one is like: its number among all that were added, from 0.
    pub fn find(&self, text: &str) -> Option<usize> {
        let sketch = self.sketch(text);
        self.like(&sketch, 0..self.settled).or_else(|| self.like(&sketch, self.settled..self.kept.len()))
    }

    /// Keeps a text, unless it is like one that was kept: then that one's number among all that were added.
    pub fn add(&mut self, text: &str) -> Option<usize> {
        self.add_all(&[text])[0]
    }

    /// Adds texts one after another, with most of the work on all cores.
    pub fn add_all<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<Option<usize>> {
        let mut answers = Vec::with_capacity(texts.len());
        while answers.len() < texts.len() {
            let rest = &texts[answers.len()..];
            let block = &rest[..self.room(rest)];
            let settled = block.par_iter().map(|text| {
                let sketch = self.sketch(text.as_ref());
                let like = self.like(&sketch, 0..self.settled);
                (sketch, like)
            });
            let settled: Vec<(Sketch, Option<usize>)> = settled.collect();
            for (text, (sketch, like)) in block.iter().zip(settled) {
                let like = like.or_else(|| self.like(&sketch, self.settled..self.kept.len()));
                if like.is_none() {
                    self.keep(&sketch, self.added as u32);
                }
                answers.push(like);
                self.added += 1;
                self.block = (self.block.0 + 1, self.block.1 + text.as_ref().len());
            }
            if full(self.block) {
                self.block = (0, 0);
                self.settled = self.kept.len();
            }
        }
        answers
    }

    /// How many of these texts belong to the current block.
    fn room<T: AsRef<str>>(&self, texts: &[T]) -> usize {
        let (mut count, mut bytes) = self.block;
        let fit = texts.iter().position(|text| {
            (count, bytes) = (count + 1, bytes + text.as_ref().len());
            full((count, bytes))
        });
        fit.map_or(texts.len(), |last| last + 1)
    }

    /// Texts that were kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Bytes that are held.
    pub fn memory(&self) -> usize {
        self.kept.capacity() * size_of::<Kept>()
            + self.texts.capacity()
            + (self.bands.capacity() + self.slots.len()) * 4
    }

    fn sketch(&self, text: &str) -> Sketch {
        let text = normalise(text);
        let set = set(&text);
        let mut minima = vec![u32::MAX; self.orders.len()];
        for hash in &set {
            let member = (hash >> 32) as u32;
            for (least, (factor, summand)) in minima.iter_mut().zip(&self.orders) {
                *least = (*least).min(member.wrapping_mul(*factor).wrapping_add(*summand));
            }
        }
        let band = |minima: &[u32]| mix(minima.iter().fold(0, |hash, &least| mix(hash ^ u64::from(least)))) as u32;
        let whole = set.iter().fold(0, |hash, member| mix(hash ^ member)) as u32;
        let bands = minima.chunks(self.rows).map(band).chain([whole]).collect();
        let mut marks = Marks::default();
        set.iter().for_each(|hash| marks[(hash >> 6 & 3) as usize] |= 1 << (hash & 63));
        Sketch { text, set, bands, marks }
    }

    /// A text like this one, among those kept at `places`.
    fn like(&self, sketch: &Sketch, places: Range<usize>) -> Option<usize> {
        let may_be = |place: &u32| {
            let kept = &self.kept[*place as usize];
            let (ours, theirs) = (sketch.set.len(), kept.members as usize);
            let needed = self.likeness.shared(ours + theirs);
            // A mark that only one of two sets has stands for a member that only this one has.
            let alone =
                |a: &Marks, b: &Marks| a.iter().zip(b).map(|(a, b)| (a & !b).count_ones() as usize).sum::<usize>();
            let most = (ours - alone(&sketch.marks, &kept.marks)).min(theirs - alone(&kept.marks, &sketch.marks));
            most >= needed
        };
        let is = |place: &u32| {
            let kept = &self.kept[*place as usize];
            let needed = self.likeness.shared(sketch.set.len() + kept.members as usize);
            let text = self.text(*place as usize);
            text == sketch.text || overlap(&sketch.set, &set(text), needed)
        };
        let place = self.candidates(&sketch.bands, places).into_iter().filter(may_be).take(COMPARED).find(is)?;
        Some(self.kept[place as usize].number as usize)
    }

    /// Texts with a band in common, those with the most first.
    fn candidates(&self, bands: &[u32], places: Range<usize>) -> Vec<u32> {
        let mut found = Vec::new();
        if places.is_empty() {
            return found;
        }
        for (number, &band) in bands.iter().enumerate() {
            let met = self.probe(number, band).map(|slot| self.slots[slot]).take_while(|&place| place != FREE);
            let here = met.filter(|&place| places.contains(&(place as usize)));
            found.extend(here.filter(|&place| self.bands[place as usize * self.width + number] == band));
        }
        found.sort_unstable();
        let mut counted: Vec<(usize, u32)> = found.chunk_by(|a, b| a == b).map(|same| (same.len(), same[0])).collect();
        counted.sort_unstable_by_key(|&(common, place)| (std::cmp::Reverse(common), place));
        counted.into_iter().map(|(_, place)| place).collect()
    }

    /// The slots in which a band may stand, in order.
    fn probe(&self, number: usize, band: u32) -> impl Iterator<Item = usize> + use<> {
        let (slots, first) = (self.slots.len(), mix(u64::from(band) << 8 | number as u64) as usize);
        (0..slots).map(move |step| first.wrapping_add(step) & (slots - 1))
    }

    fn keep(&mut self, sketch: &Sketch, number: u32) {
        self.texts.push_str(&sketch.text);
        let members = sketch.set.len() as u32;
        self.kept.push(Kept { number, members, end: self.texts.len(), marks: sketch.marks });
        self.bands.extend(&sketch.bands);
        if (self.used + sketch.bands.len()) * 8 > self.slots.len() * 5 {
            self.slots = vec![FREE; self.slots.len() * 2];
            self.used = 0;
            (0..self.kept.len()).for_each(|place| self.index(place));
        } else {
            self.index(self.kept.len() - 1);
        }
    }

    /// Enters a text's bands in the table.
    fn index(&mut self, place: usize) {
        for number in 0..self.width {
            let band = self.bands[place * self.width + number];
            let mut crowd = 0;
            for slot in self.probe(number, band) {
                match self.slots[slot] {
                    FREE => {
                        self.slots[slot] = place as u32;
                        self.used += 1;
                        break;
                    }
                    other => crowd += usize::from(self.bands[other as usize * self.width + number] == band),
                }
                if crowd == CROWD {
                    break;
                }
            }
        }
    }

    fn text(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.kept[before].end);
        &self.texts[start..self.kept[place].end]
    }
}

/// Bands, and minima of each: as many as [`MINIMA`] allow where all but [`MISSED`] of the texts at the threshold agree.
fn shape(likeness: f64) -> (usize, usize) {
    let bands = |rows: usize| {
        let agree = likeness.powi(rows as i32);
        if agree >= 1.0 - MISSED { 1 } else { (MISSED.ln() / (1.0 - agree).ln()).ceil() as usize }
    };
    let rows = (1..=MINIMA).take_while(|&rows| rows * bands(rows) <= MINIMA).last().unwrap_or(1);
    (bands(rows), rows)
}

/// Whether so many texts of so many bytes are a block.
fn full((count, bytes): (usize, usize)) -> bool {
    count >= BLOCK || bytes >= BLOCK_BYTES
}

/// The set of a normalised text, sorted.
fn set(text: &str) -> Vec<u64> {
    let mut set = Vec::with_capacity(text.len() + 2);
    shingles(text, &mut set);
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests;
