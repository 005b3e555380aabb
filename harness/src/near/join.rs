//! Every pair of texts that are alike enough.
//!
//! Of a set that must share four fifths of its members, the rarest fifth and a few must hold a few shared ones, so that only
//! texts that meet there are compared at all (a prefix filter). No pair is missed by chance. All sets must be there before
//! the first comparison, because only together they tell what is rare, and the work grows with the square of the texts.

use std::collections::HashMap;

use super::{Jaccard, overlap, shingles};

/// Shingles that are held in memory; larger inputs are compared on a sample of them, chosen by content.
const MOST_SHINGLES: usize = 8 << 20;
/// Smallest sample that can tell likeness; texts with fewer sampled shingles count as like nothing.
const FEWEST_SAMPLED: usize = 16;
/// Shared members among the rarest that two sets need for a full comparison. One would do; asking for a few more spares
/// most comparisons where all texts use the same few words.
const MEETINGS: usize = 4;
/// Counters of how often a shingle occurs; a power of two.
const COUNTERS: usize = 1 << 21;

/// Is told which texts are alike.
pub(crate) trait Links {
    /// Whether it matters if these two are alike.
    fn wants(&mut self, a: usize, b: usize) -> bool;
    /// These two are alike.
    fn link(&mut self, a: usize, b: usize);
}

/// Texts as sets of shingles, rarest first.
pub(crate) struct Sets(Vec<Vec<u64>>);

impl Sets {
    /// Of texts that are normalised, each in one or several cells.
    pub fn of(docs: &[&[String]]) -> Sets {
        let total: usize = docs.iter().copied().flatten().map(|cell| cell.len()).sum();
        let every = total.div_ceil(MOST_SHINGLES).max(1) as u64;
        Sets::sampled(docs, every)
    }

    /// Keeps about one in `every` shingles.
    fn sampled(docs: &[&[String]], every: u64) -> Sets {
        let mut counts = vec![0u32; COUNTERS];
        let mut sets: Vec<Vec<u64>> = Vec::with_capacity(docs.len());
        for doc in docs {
            let mut set = Vec::new();
            doc.iter().for_each(|cell| shingles(cell, &mut set));
            set.retain(|hash| hash % every == 0);
            if every > 1 && set.len() < FEWEST_SAMPLED {
                set.clear();
            }
            set.iter().for_each(|&hash| counts[counter(hash)] = counts[counter(hash)].saturating_add(1));
            sets.push(set);
        }
        // Any order of all shingles gives the same pairs; the rarest first gives the fewest comparisons. The count
        // stands in the upper bits, so that sorting the numbers sorts by it.
        for set in &mut sets {
            for hash in set.iter_mut() {
                *hash = u64::from(counts[counter(*hash)].min((1 << 20) - 1)) << 44 | *hash >> 20;
            }
            set.sort_unstable();
            set.dedup();
        }
        Sets(sets)
    }

    /// Finds all pairs among `members` that are alike enough.
    pub fn join(&self, members: &[usize], likeness: Jaccard, links: &mut impl Links) {
        let mut order: Vec<usize> = members.iter().copied().filter(|&doc| !self.0[doc].is_empty()).collect();
        order.sort_by_key(|&doc| (self.0[doc].len(), doc));
        let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut meetings = vec![0; self.0.len()];
        let mut met = Vec::new();
        for &doc in &order {
            let set = &self.0[doc];
            let shortest = likeness.shortest(set.len());
            for shingle in prefix(set, shortest) {
                let Some(others) = index.get(shingle) else { continue };
                let long_enough = others.partition_point(|&other| self.0[other].len() < shortest);
                for &other in &others[long_enough..] {
                    if meetings[other] == 0 {
                        met.push(other);
                    }
                    meetings[other] += 1;
                }
            }
            for other in met.drain(..) {
                let needed = likeness.shared(set.len() + self.0[other].len());
                let often_enough = std::mem::take(&mut meetings[other]) >= needed.min(MEETINGS);
                if often_enough && links.wants(other, doc) && overlap(set, &self.0[other], needed) {
                    links.link(other, doc);
                }
            }
            // Every later set is at least as long, so that it must share more of this one than the other way round.
            for shingle in prefix(set, likeness.shared(2 * set.len())) {
                // One that occurs once can meet nothing.
                if shingle >> 44 > 1 {
                    index.entry(*shingle).or_default().push(doc);
                }
            }
        }
    }
}

/// The rarest members of a set, among which stand the first `MEETINGS` of any `shared` members.
fn prefix(set: &[u64], shared: usize) -> &[u64] {
    &set[..set.len().min(set.len() - shared + MEETINGS)]
}

fn counter(hash: u64) -> usize {
    (hash >> 20) as usize % COUNTERS
}

/// Disjoint groups of documents. A group's root is its smallest member.
pub(crate) struct UnionFind(Vec<usize>);

impl UnionFind {
    pub fn new(len: usize) -> Self {
        UnionFind((0..len).collect())
    }

    pub fn find(&mut self, mut doc: usize) -> usize {
        while self.0[doc] != doc {
            self.0[doc] = self.0[self.0[doc]];
            doc = self.0[doc];
        }
        doc
    }

    /// All groups, each sorted.
    pub fn groups(&mut self) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.0.len()];
        (0..self.0.len()).for_each(|doc| groups[self.find(doc)].push(doc));
        groups.retain(|group| !group.is_empty());
        groups
    }

    /// Makes each member of a whole group a group of its own.
    pub fn dissolve(&mut self, members: &[usize]) {
        members.iter().for_each(|&doc| self.0[doc] = doc);
    }
}

impl Links for UnionFind {
    fn wants(&mut self, a: usize, b: usize) -> bool {
        self.find(a) != self.find(b)
    }

    fn link(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::mix, *};

    struct All(Vec<(usize, usize)>);

    impl Links for All {
        fn wants(&mut self, _: usize, _: usize) -> bool {
            true
        }

        fn link(&mut self, a: usize, b: usize) {
            self.0.push((a.min(b), a.max(b)));
        }
    }

    /// The pairs by the definition of likeness, comparing everything with everything.
    fn by_hand(texts: &[String], likeness: Jaccard) -> Vec<(usize, usize)> {
        let set = |text: &str| {
            let mut out = Vec::new();
            shingles(text, &mut out);
            out.into_iter().collect::<std::collections::BTreeSet<u64>>()
        };
        let sets: Vec<_> = texts.iter().map(|text| set(text)).collect();
        let mut pairs = Vec::new();
        for b in 0..sets.len() {
            for a in 0..b {
                let shared = sets[a].intersection(&sets[b]).count();
                if shared * likeness.den >= likeness.num * (sets[a].len() + sets[b].len() - shared) {
                    pairs.push((a, b));
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 100, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn the_join_finds_exactly_the_pairs_of_the_definition(
            texts in proptest::collection::vec("[ab]{0,3}(card|lost|my){1,9}[abc]{0,2}", 2..30),
            num in 1usize..=10,
        ) {
            let likeness = Jaccard::tenths(num);
            let mut all = All(Vec::new());
            let members: Vec<usize> = (0..texts.len()).collect();
            let docs: Vec<&[String]> = texts.iter().map(std::slice::from_ref).collect();
            Sets::of(&docs).join(&members, likeness, &mut all);
            all.0.sort_unstable();
            proptest::prop_assert_eq!(all.0, by_hand(&texts, likeness));
        }
    }

    #[test]
    fn a_sample_of_the_shingles_still_finds_long_near_duplicates() {
        let words = |from: u64| -> String { (from..from + 400).map(|n| format!("{:x} ", mix(n) & 0xffff)).collect() };
        let docs = [words(0), words(1000), words(10), "short".into(), "short".into()];
        let docs: Vec<&[String]> = docs.iter().map(std::slice::from_ref).collect();
        let mut all = All(Vec::new());
        Sets::sampled(&docs, 8).join(&[0, 1, 2, 3, 4], Jaccard::tenths(8), &mut all);
        assert_eq!(all.0, [(0, 2)]);
    }

    #[test]
    fn a_group_is_known_by_its_smallest_member() {
        let mut union = UnionFind::new(5);
        union.link(4, 2);
        union.link(3, 4);
        assert_eq!(union.groups(), [vec![0], vec![1], vec![2, 3, 4]]);
        union.dissolve(&[2, 3, 4]);
        assert_eq!(union.groups().len(), 5);
    }
}
