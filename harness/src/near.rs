//! Near-duplicates: which texts nearly repeat each other. Rows that equal an earlier one are told by [`crate::rows::key`].
//!
//! Two texts are alike by the Jaccard index of their sets of character five-grams: shared members over all members
//! (Broder, "On the resemblance and containment of documents", 1997). Case, punctuation and spacing do not count. There is
//! one measure and two ways to search by it:
//!
//! | | [`Near`] | [`join`] |
//! |---|---|---|
//! | used | to leave out rows, one after another, of any number | to seal rows, once |
//! | finds | an earlier text that was kept, by MinHash and LSH | all pairs, by a prefix filter |
//! | misses | about one in fifty of those at the threshold | none |
//! | holds | some 600 bytes for a short text, and less beside the text for a long one | all five-grams, so that more than 8 million are sampled |
//!
//! Neither calls two texts alike before their sets were compared member by member.

mod index;
pub(crate) mod join;

pub use index::Near;

/// Characters of one shingle.
const SHINGLE: usize = 5;

/// A likeness of at least `num / den`: shared shingles over all shingles of two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jaccard {
    num: usize,
    den: usize,
}

impl Jaccard {
    /// A likeness, exact to a thousandth; `None` outside of 0.5 to 1, where texts that differ would count as alike.
    pub fn new(likeness: f64) -> Option<Jaccard> {
        (0.5..=1.0).contains(&likeness).then(|| Jaccard { num: (likeness * 1000.0).round() as usize, den: 1000 })
    }

    /// Of tenths, for likenesses that are fixed.
    pub(crate) const fn tenths(num: usize) -> Jaccard {
        Jaccard { num, den: 10 }
    }

    /// Fewest shared members of two sets of `both` members together.
    fn shared(self, both: usize) -> usize {
        (both * self.num).div_ceil(self.num + self.den)
    }

    /// Fewest members of a set that can be like one of `len`.
    fn shortest(self, len: usize) -> usize {
        (len * self.num).div_ceil(self.den)
    }
}

/// Lower-case words of letters and digits with one blank between them. Text of neither is kept as it is.
pub(crate) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !matches!(c, '\'' | '’')) {
        if c.is_ascii() && c.is_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    if out.is_empty() { text.trim().to_owned() } else { out }
}

/// Hashes of the five-grams of ` text `; a shorter text is one shingle.
fn shingles(text: &str, out: &mut Vec<u64>) {
    let chars: Vec<u64> = [' '].into_iter().chain(text.chars()).chain([' ']).map(|c| u64::from(u32::from(c))).collect();
    let hash = |chars: &[u64]| chars.iter().fold(chars.len() as u64, |hash, &c| mix(hash ^ c));
    if chars.len() < SHINGLE {
        out.push(hash(&chars));
    } else {
        out.extend(chars.windows(SHINGLE).map(hash));
    }
}

/// One round of splitmix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Whether two sorted sets share at least `needed` members.
fn overlap(a: &[u64], b: &[u64], needed: usize) -> bool {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while shared + (a.len() - i).min(b.len() - j) >= needed {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => {
                shared += usize::from(x == y);
                i += usize::from(x <= y);
                j += usize::from(y <= x);
            }
            _ => return true,
        }
    }
    false
}
