//! Counting in bounded memory: exactly up to a limit, and beyond it by an estimate that says that it is one.
//!
//! Both sketches give the same result in whatever order and parts things are added, because how coarse they are follows
//! from the set of all things alone.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use sha2::{Digest as _, Sha256};

/// Half of a SHA-256: what a cell or a row is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// The key of some bytes.
    pub fn of(bytes: &[u8]) -> Key {
        Key::end(Sha256::new_with_prefix(bytes))
    }

    /// The key of what was fed into a hasher.
    pub fn end(hasher: Sha256) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize()[..16]);
        Key(key)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Half of it as a number.
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().unwrap_or_default())
    }

    /// How many of its last bits are zero: half of all keys have one such bit, a quarter two.
    fn depth(&self) -> u32 {
        u64::from_le_bytes(self.0[8..].try_into().unwrap_or_default()).trailing_zeros()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}

/// A key is a hash already; other numbers are mixed once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // One round of splitmix64, so that neighbouring numbers lie apart.
        let x = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = x ^ x >> 31;
    }
}

/// A map by keys or numbers that are not chosen to collide.
pub(super) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mixed>>;

/// A figure and whether it is counted or estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub value: u64,
    pub exact: bool,
}

/// How many different things there are, and how often each of a part of them occurs.
///
/// Beyond `limit` different things only those are kept whose key ends in a zero bit, then in two, and so on: adaptive
/// sampling after M. Wegman (P. Flajolet, "On adaptive sampling", Computing 43, 1990), whose standard error is 1.2
/// over the root of the limit.
#[derive(Clone, Debug)]
pub(super) struct Distinct {
    seen: Table<Key, u32>,
    depth: u32,
    limit: usize,
}

impl Distinct {
    pub fn new(limit: usize) -> Distinct {
        Distinct { seen: Table::default(), depth: 0, limit }
    }

    /// Counts `times` of a thing; whether it is known to have been there before.
    pub fn add(&mut self, key: Key, times: u32) -> bool {
        if key.depth() < self.depth {
            return false;
        }
        let count = self.seen.entry(key).or_insert(0);
        let before = *count > 0;
        *count = count.saturating_add(times);
        if !before {
            self.thin();
        }
        before
    }

    pub fn merge(&mut self, other: &Distinct) {
        self.deepen(other.depth);
        for (key, times) in &other.seen {
            self.add(*key, *times);
        }
    }

    /// Makes the limit smaller.
    pub fn shrink(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
        self.thin();
    }

    fn thin(&mut self) {
        while self.seen.len() > self.limit {
            self.deepen(self.depth + 1);
        }
    }

    fn deepen(&mut self, depth: u32) {
        if depth > self.depth {
            self.depth = depth;
            self.seen.retain(|key, _| key.depth() >= depth);
        }
    }

    /// How many different things there are.
    pub fn different(&self) -> Figure {
        Figure { value: (self.seen.len() as u64) << self.depth.min(63), exact: self.depth == 0 }
    }

    /// How many of `all` things repeat another.
    pub fn repeats(&self, all: u64) -> Figure {
        let counted: u64 = self.seen.values().map(|times| u64::from(*times)).sum();
        let repeats = counted - self.seen.len() as u64;
        if self.depth == 0 {
            return Figure { value: repeats, exact: true };
        }
        let share = repeats as f64 / counted.max(1) as f64;
        Figure { value: (all as f64 * share).round() as u64, exact: false }
    }
}

/// Different numbers up to which a [`Digest`] is exact.
const BUCKETS: usize = 4096;

/// How numbers are distributed: each by itself up to [`BUCKETS`] different ones, beyond that in buckets of equal relative
/// width, as wide as it takes.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    /// By the upper bits of the number, in an order that is that of the numbers.
    counts: Table<u64, u64>,
    /// Bits left out.
    dropped: u32,
    pub count: u64,
    pub least: f64,
    pub most: f64,
    sum: f64,
}

impl Default for Digest {
    fn default() -> Self {
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        Digest { counts: Table::default(), dropped: 0, count: 0, least, most, sum: 0.0 }
    }
}

impl Digest {
    /// Adds a number; what is not finite is passed over.
    pub fn add(&mut self, number: f64) {
        if !number.is_finite() {
            return;
        }
        *self.counts.entry(ordered(number) >> self.dropped).or_insert(0) += 1;
        self.count += 1;
        self.sum += number;
        (self.least, self.most) = (self.least.min(number), self.most.max(number));
        self.thin();
    }

    pub fn merge(&mut self, other: &Digest) {
        if other.dropped > self.dropped {
            self.drop_bits(other.dropped);
        }
        for (bucket, count) in &other.counts {
            *self.counts.entry(bucket >> (self.dropped - other.dropped)).or_insert(0) += count;
        }
        self.count += other.count;
        self.sum += other.sum;
        (self.least, self.most) = (self.least.min(other.least), self.most.max(other.most));
        self.thin();
    }

    fn thin(&mut self) {
        while self.counts.len() > BUCKETS {
            self.drop_bits(self.dropped + 1);
        }
    }

    fn drop_bits(&mut self, dropped: u32) {
        let old = std::mem::take(&mut self.counts);
        for (bucket, count) in old {
            *self.counts.entry(bucket >> (dropped - self.dropped)).or_insert(0) += count;
        }
        self.dropped = dropped;
    }

    /// The numbers below which these shares lie, in the order of the shares; nothing without numbers.
    pub fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        let buckets = self.buckets();
        let at = |share: f64| {
            let rank = ((self.count - 1) as f64 * share).round() as u64;
            let mut before = 0;
            let holds = |(_, count): &&(f64, u64)| {
                before += count;
                before > rank
            };
            buckets.iter().find(holds).map_or(self.most, |(number, _)| *number)
        };
        if self.count == 0 { Vec::new() } else { shares.iter().map(|share| at(*share)).collect() }
    }

    /// How many numbers lie in each of `bins` equal parts from `low` to `high`; larger ones in the last.
    pub fn histogram(&self, low: f64, high: f64, bins: usize) -> Vec<u64> {
        let mut counts = vec![0; bins];
        let width = (high - low) / bins as f64;
        for (number, count) in self.buckets() {
            let bin = if width > 0.0 { ((number - low) / width) as usize } else { 0 };
            counts[bin.min(bins - 1)] += count;
        }
        counts
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Half the relative width of a bucket: how far a quantile may be off. `None`: not at all.
    pub fn error(&self) -> Option<f64> {
        // Of the 52 bits behind the point `dropped` are missing.
        (self.dropped > 0).then(|| 2f64.powi(self.dropped as i32 - 53))
    }

    /// The middle of each bucket with its count, from the smallest on.
    fn buckets(&self) -> Vec<(f64, u64)> {
        let mut buckets: Vec<(u64, u64)> = self.counts.iter().map(|(bucket, count)| (*bucket, *count)).collect();
        buckets.sort_unstable();
        let half = (1u64 << self.dropped) / 2;
        let middle = |bucket: u64| unordered((bucket << self.dropped) + half).clamp(self.least, self.most);
        buckets.into_iter().map(|(bucket, count)| (middle(bucket), count)).collect()
    }
}

/// A number's bits, turned so that they are ordered as the numbers are.
fn ordered(number: f64) -> u64 {
    // Negative zero is zero.
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> ProptestConfig {
        ProptestConfig {
            cases: 50,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    fn distinct(things: &[u64], limit: usize) -> Distinct {
        let mut all = Distinct::new(limit);
        for thing in things {
            all.add(Key::of(&thing.to_le_bytes()), 1);
        }
        all
    }

    fn digest(numbers: &[f64]) -> Digest {
        let mut all = Digest::default();
        numbers.iter().for_each(|number| all.add(*number));
        all
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn parts_and_their_order_do_not_matter(
            things in prop::collection::vec(0u64..500, 0..800), cut in 0usize..800, limit in 1usize..200,
        ) {
            let whole = distinct(&things, limit);
            let (a, b) = things.split_at(cut.min(things.len()));
            let mut parts = distinct(b, limit);
            parts.merge(&distinct(a, limit * 2));
            prop_assert_eq!(&parts.seen, &whole.seen);
            prop_assert_eq!(parts.depth, whole.depth);
        }

        #[test]
        fn quantiles_are_within_the_error_that_is_said(
            mut numbers in prop::collection::vec(prop_oneof![-1e9f64..1e9, 0.0f64..1.0, (0i32..9).prop_map(f64::from)], 1..9000),
            cut in 0usize..9000,
        ) {
            let (a, b) = numbers.split_at(cut.min(numbers.len()));
            let mut all = digest(b);
            all.merge(&digest(a));
            let shares = [0.0, 0.05, 0.5, 0.95, 1.0];
            let found = all.quantiles(&shares);
            numbers.sort_by(f64::total_cmp);
            for (share, found) in shares.iter().zip(found) {
                let want = numbers[((numbers.len() - 1) as f64 * share).round() as usize];
                let error = all.error().unwrap_or(0.0) * 1.01 * want.abs();
                prop_assert!((found - want).abs() <= error, "{share}: {found} for {want}, {:?}", all.error());
            }
            let (low, high) = (numbers[0], numbers[numbers.len() - 1]);
            prop_assert_eq!(all.histogram(low, high, 7).iter().sum::<u64>(), numbers.len() as u64);
        }
    }

    #[test]
    fn up_to_the_limit_everything_is_counted_and_beyond_it_estimated() {
        let things: Vec<u64> = (0..10_000).chain(0..1_000).collect();
        let exact = distinct(&things, 10_000);
        assert_eq!(exact.different(), Figure { value: 10_000, exact: true });
        assert_eq!(exact.repeats(11_000), Figure { value: 1_000, exact: true });
        let guess = distinct(&things, 1_000);
        let (different, repeats) = (guess.different(), guess.repeats(11_000));
        assert!(!different.exact && (9_000..11_000).contains(&different.value), "{different:?}");
        assert!(!repeats.exact && (700..1_300).contains(&repeats.value), "{repeats:?}");
    }

    #[test]
    fn few_different_numbers_are_exact_and_nothing_has_no_quantile() {
        let all = digest(&[3.0, -1.5, 3.0, f64::NAN, 0.0, -0.0]);
        assert_eq!((all.quantiles(&[0.0, 0.5, 1.0]), all.error(), all.mean()), (vec![-1.5, 0.0, 3.0], None, Some(0.9)));
        assert_eq!((digest(&[]).quantiles(&[0.5]), digest(&[]).mean()), (vec![], None));
        assert_eq!(digest(&[5.0]).histogram(5.0, 5.0, 3), [1, 0, 0]);
    }
}
