//! What was found of each eval row, over all training rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Match};

/// Training rows that are listed for one eval row; more are counted.
const LISTED: usize = 100;

/// What was found so far. It holds at most a hundred places for each eval row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Training rows in which some eval row stands.
    pub matched: usize,
    /// What was found of each eval row, by its number.
    pub found: BTreeMap<usize, Found>,
}

/// Where an eval row stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it stands most of all.
    pub best: Place,
    /// Training rows in which it stands.
    pub count: usize,
    /// The first of them.
    pub places: Vec<Place>,
}

/// A training row in which an eval row stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the file.
    pub file: usize,
    /// The line on which it begins, from 1; the number of the row in a Parquet file.
    pub line: u64,
    /// How it stands there.
    pub kind: Kind,
    /// The share of its words that stands there.
    pub share: f64,
}

impl Tally {
    /// Takes what was found in one training row.
    pub fn add(&mut self, file: usize, line: u64, matches: &[Match]) {
        self.matched += usize::from(!matches.is_empty());
        for found in matches {
            let place = Place { file, line, kind: found.kind, share: found.share };
            let known = self.found.entry(found.row).or_insert_with(|| Found {
                best: place.clone(),
                count: 0,
                places: Vec::new(),
            });
            known.count += 1;
            if (place.kind, place.share) > (known.best.kind, known.best.share) {
                known.best = place.clone();
            }
            if known.places.len() < LISTED {
                known.places.push(place);
            }
        }
    }

    /// Eval rows of which this is the most that was found.
    pub fn count(&self, kind: Kind) -> usize {
        self.found.values().filter(|found| found.best.kind == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_place_counts_and_the_first_hundred_are_listed() {
        let mut tally = Tally::default();
        let half = Match { row: 7, kind: Kind::Half, share: 0.5 };
        let near = Match { row: 7, kind: Kind::Near, share: 0.9 };
        tally.add(0, 1, &[]);
        (1..=150).for_each(|line| tally.add(0, line, std::slice::from_ref(&half)));
        tally.add(1, 3, &[Match { row: 2, ..half.clone() }, near]);
        let found = &tally.found[&7];
        assert_eq!((tally.matched, found.count, found.places.len()), (151, 151, LISTED));
        assert_eq!(found.best, Place { file: 1, line: 3, kind: Kind::Near, share: 0.9 });
        assert_eq!(found.places[1], Place { file: 0, line: 2, kind: Kind::Half, share: 0.5 });
        assert_eq!([Kind::Half, Kind::Near, Kind::Verbatim].map(|kind| tally.count(kind)), [1, 1, 0]);
    }
}
