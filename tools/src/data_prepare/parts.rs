//! Which part each row falls into: a seeded share of each label, whole groups, or the latest rows; and how often a row is
//! trained on.

use std::collections::BTreeMap;

use anyhow::bail;
use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_lm::rng::Rng;

/// The parts, in the order in which they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is trained on.
    #[default]
    Train,
    /// What validates while training.
    Valid,
    /// What is kept apart for a last look.
    Test,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Train, Part::Valid, Part::Test];

    /// Its name, which is that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Valid => "valid",
            Part::Test => "test",
        }
    }
}

/// How many of all rows go to the parts that are not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    pub valid: f64,
    pub test: f64,
}

/// Cuts off a seeded share of each label, whole groups at a time. The last group of a label always stays for training.
pub(super) fn by_group<K: Ord>(rows: impl Iterator<Item = (Option<usize>, K)>, shares: Shares, seed: u64) -> Vec<Part> {
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    let mut labels = Vec::new();
    for (at, (label, group)) in rows.enumerate() {
        groups.entry(group).or_default().push(at);
        labels.push(label);
    }
    let mut strata: BTreeMap<Option<usize>, Vec<Vec<usize>>> = BTreeMap::new();
    for group in groups.into_values() {
        strata.entry(labels[group[0]]).or_default().push(group);
    }
    let mut parts = vec![Part::Train; labels.len()];
    for (label, mut groups) in strata {
        // In the order of the file before they are shuffled, so that only the rows and the seed decide.
        groups.sort_unstable();
        Rng::new(seed, &format!("validation {label:?}")).shuffle(&mut groups);
        let rows: usize = groups.iter().map(Vec::len).sum();
        let mut groups = groups[..groups.len() - 1].iter();
        for (part, share) in [(Part::Test, shares.test), (Part::Valid, shares.valid)] {
            let wanted = if share > 0.0 { (rows as f64 * share).round().max(1.0) as usize } else { 0 };
            let mut taken = 0;
            while taken < wanted
                && let Some(group) = groups.next()
            {
                taken += group.len();
                group.iter().for_each(|at| parts[*at] = part);
            }
        }
    }
    parts
}

/// A time, or a number that stands for one.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum When {
    Number(f64),
    Time(Timestamp),
}

impl When {
    /// Reads a cell: a number, a date, or a date with a time, which is UTC where it names no offset.
    pub fn of(cell: Option<&Value>) -> Option<When> {
        let number = |number: f64| Some(When::Number(number)).filter(|_| number.is_finite());
        match cell? {
            Value::Number(value) => number(value.as_f64()?),
            Value::String(text) => {
                let text = text.trim();
                if let Ok(value) = text.parse() {
                    return number(value);
                }
                if let Ok(time) = text.parse() {
                    return Some(When::Time(time));
                }
                let civil: civil::DateTime = text.parse().ok()?;
                Some(When::Time(civil.to_zoned(TimeZone::UTC).ok()?.timestamp()))
            }
            _ => None,
        }
    }
}

/// The latest rows test, those before them validate. Rows of one time stay together.
pub(super) fn by_time(times: &[When], shares: Shares) -> anyhow::Result<Vec<Part>> {
    let numbers = times.iter().filter(|time| matches!(time, When::Number(_))).count();
    if numbers > 0 && numbers < times.len() {
        bail!("time: {numbers} of {} cells are numbers and the others dates; write all alike", times.len());
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    // All are of one kind, and no number is NaN.
    order.sort_by(|a, b| times[*b].partial_cmp(&times[*a]).unwrap_or(std::cmp::Ordering::Equal));
    let ends = [(Part::Test, shares.test), (Part::Valid, shares.test + shares.valid)];
    let mut parts = vec![Part::Train; times.len()];
    let mut before = 0;
    for same in order.chunk_by(|a, b| times[*a] == times[*b]) {
        // By the middle of rows of one time, so that their share is nearest to what was asked for.
        let middle = before as f64 + same.len() as f64 / 2.0;
        let part = ends.iter().find(|(_, end)| middle < end * times.len() as f64).map(|(part, _)| *part);
        same.iter().for_each(|at| parts[*at] = part.unwrap_or_default());
        before += same.len();
    }
    Ok(parts)
}

/// How often each row is written: rows of frequent labels are drawn, those of rare ones repeated. Only training rows.
pub(super) fn copies(
    labels: &[Option<usize>],
    parts: &[Part],
    (most, least): (Option<usize>, Option<usize>),
    seed: u64,
) -> Vec<usize> {
    let mut copies = vec![1; labels.len()];
    let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (label, part)) in labels.iter().zip(parts).enumerate() {
        if let (Some(label), Part::Train) = (label, part) {
            strata.entry(*label).or_default().push(at);
        }
    }
    for (label, mut rows) in strata {
        Rng::new(seed, &format!("balance {label}")).shuffle(&mut rows);
        let fewer = most.map_or(rows.len(), |most| most.min(rows.len()));
        rows.drain(fewer..).for_each(|at| copies[at] = 0);
        for again in 0..least.unwrap_or(0).saturating_sub(rows.len()) {
            copies[rows[again % rows.len()]] += 1;
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TENTHS: Shares = Shares { valid: 0.1, test: 0.2 };

    fn count(parts: &[Part]) -> [usize; 3] {
        Part::ALL.map(|part| parts.iter().filter(|p| **p == part).count())
    }

    #[test]
    fn every_label_has_its_share_in_each_part() {
        let rows = || (0..100).map(|i| (Some(i % 5), i));
        let parts = by_group(rows(), TENTHS, 7);
        for label in 0..5 {
            let of: Vec<Part> = (label..100).step_by(5).map(|at| parts[at]).collect();
            assert_eq!(count(&of), [14, 2, 4]);
        }
        assert_eq!(by_group(rows(), TENTHS, 7), parts);
        assert_ne!(by_group(rows(), TENTHS, 8), parts);
    }

    #[test]
    fn one_row_of_a_label_is_trained_on() {
        let labels = [0, 1, 1].into_iter().map(Some);
        let parts = by_group(labels.zip(0..), Shares { valid: 0.1, test: 0.0 }, 0);
        assert_eq!((parts[0], count(&parts)), (Part::Train, [2, 1, 0]));
    }

    proptest! {
        #[test]
        fn no_group_is_divided(groups in prop::collection::vec(0u8..20, 1..60), seed: u64) {
            let parts = by_group(groups.iter().map(|group| (None, *group)), TENTHS, seed);
            let mut seen = BTreeMap::new();
            for (group, part) in groups.iter().zip(&parts) {
                prop_assert_eq!(seen.entry(group).or_insert(part), &part);
            }
            prop_assert!(parts.contains(&Part::Train));
        }

        #[test]
        fn later_rows_never_stand_in_an_earlier_part(times in prop::collection::vec(0u8..30, 1..60)) {
            let times: Vec<When> = times.into_iter().map(|time| When::Number(time.into())).collect();
            let parts = by_time(&times, TENTHS).unwrap();
            for (a, first) in times.iter().zip(&parts) {
                for (b, second) in times.iter().zip(&parts) {
                    prop_assert!(a >= b || first <= second);
                }
            }
        }
    }

    #[test]
    fn the_latest_rows_test_and_those_before_them_validate() {
        let dates = (1..=10).map(|day| When::of(Some(&json!(format!("2024-03-{day:02}")))).unwrap());
        let parts = by_time(&dates.rev().collect::<Vec<_>>(), TENTHS).unwrap();
        assert_eq!(parts[..4], [Part::Test, Part::Test, Part::Valid, Part::Train]);
        assert_eq!(count(&parts), [7, 1, 2]);
        let mixed = [When::Number(1.0), When::of(Some(&json!("2024-03-01"))).unwrap()];
        assert_eq!(
            by_time(&mixed, TENTHS).unwrap_err().to_string(),
            "time: 1 of 2 cells are numbers and the others dates; write all alike"
        );
    }

    #[test]
    fn times_are_read_in_their_usual_forms() {
        let of = |value: Value| When::of(Some(&value));
        let time = |text: &str| Some(When::Time(text.parse().unwrap()));
        assert_eq!(of(json!("2024-03-01T10:00:00+02:00")), time("2024-03-01T08:00:00Z"));
        assert_eq!(of(json!(" 2024-03-01 10:00:00 ")), time("2024-03-01T10:00:00Z"));
        assert_eq!(of(json!("2024-03-01")), time("2024-03-01T00:00:00Z"));
        assert_eq!((of(json!("17")), of(json!(1.5))), (Some(When::Number(17.0)), Some(When::Number(1.5))));
        assert_eq!([of(json!("soon")), of(json!(null)), of(json!("NaN")), of(json!(["x"]))], [None; 4]);
    }

    #[test]
    fn frequent_labels_are_drawn_and_rare_ones_repeated() {
        let labels: Vec<Option<usize>> = [0; 6].into_iter().chain([1; 2]).map(Some).chain([None]).collect();
        let mut parts = vec![Part::Train; 9];
        parts[0] = Part::Valid;
        let copies = copies(&labels, &parts, (Some(3), Some(3)), 1);
        assert_eq!((copies[0], copies[8]), (1, 1));
        assert_eq!(copies[1..6].iter().sum::<usize>(), 3);
        assert!(copies[1..6].iter().all(|copies| *copies <= 1));
        assert_eq!(copies[6..8].iter().sum::<usize>(), 3);
    }
}
