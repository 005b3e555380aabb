//! Best-fit decreasing packing: which sequences share a bin.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

/// Packs items of these lengths into bins of `max`, as TRL's strategy `bfd` does: longest first, each into the fullest
/// bin that has room; the bin that has had so much room for longest first.
///
/// Gives the indices of each bin. Items without length are in none; longer ones than a bin count as one that fills it.
pub fn pack(lengths: &[usize], max: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
    order.sort_by_key(|&i| Reverse(lengths[i].min(max)));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Bins by the room that is left in them.
    let mut rooms: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for item in order {
        let length = lengths[item].min(max);
        let fit = rooms.range(length.max(1)..).next().map(|(room, _)| *room);
        let (room, bin) = match fit.and_then(|room| Some((room, rooms.get_mut(&room)?.pop_front()?))) {
            Some(found) => found,
            None => {
                bins.push(Vec::new());
                (max, bins.len() - 1)
            }
        };
        if rooms.get(&room).is_some_and(VecDeque::is_empty) {
            rooms.remove(&room);
        }
        bins[bin].push(item);
        if room > length {
            rooms.entry(room - length).or_default().push_back(bin);
        }
    }
    bins
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by looking at every bin for every item.
    fn naive(lengths: &[usize], max: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
        order.sort_by(|&a, &b| lengths[b].min(max).cmp(&lengths[a].min(max)).then(a.cmp(&b)));
        // Items, room, and when that room came to be.
        let mut bins: Vec<(Vec<usize>, usize, usize)> = Vec::new();
        for (now, item) in order.into_iter().enumerate() {
            let length = lengths[item].min(max);
            let best = bins.iter_mut().filter(|bin| bin.1 >= length).min_by_key(|bin| (bin.1, bin.2));
            match best {
                Some(bin) => {
                    bin.0.push(item);
                    (bin.1, bin.2) = (bin.1 - length, now);
                }
                None => bins.push((vec![item], max - length, now)),
            }
        }
        bins.into_iter().map(|bin| bin.0).collect()
    }

    proptest! {
        #[test]
        fn every_item_is_packed_once_and_no_bin_is_too_full(
            (max, lengths) in (1usize..40).prop_flat_map(|max| (Just(max), prop::collection::vec(0..max + 3, 0..80)))
        ) {
            let bins = pack(&lengths, max);
            let mut items: Vec<usize> = bins.iter().flatten().copied().collect();
            items.sort_unstable();
            prop_assert_eq!(items, (0..lengths.len()).filter(|&i| lengths[i] > 0).collect::<Vec<_>>());
            for bin in &bins {
                prop_assert!(bin.iter().map(|&i| lengths[i].min(max)).sum::<usize>() <= max);
            }
            prop_assert_eq!(bins, naive(&lengths, max));
        }
    }

    #[test]
    fn bins_of_no_size_and_no_items_are_no_trouble() {
        assert_eq!(pack(&[], 8), Vec::<Vec<usize>>::new());
        assert_eq!(pack(&[3, 2], 0), [vec![0], vec![1]]);
        assert_eq!(pack(&[usize::MAX, 1, usize::MAX], usize::MAX), [vec![0], vec![2], vec![1]]);
    }
}
