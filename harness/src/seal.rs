//! Setting rows aside for the grader, before anything else sees them.
//!
//! Which rows are sealed follows from their content alone: rows are ordered by a keyed hash of their normalised text and
//! sealed from the front until there are enough. Neither the run's seed nor the order of the rows has a say, so that a
//! second run on the same file cannot train on what the first was graded on. Rows that nearly repeat each other stand
//! on the same side, because a sealed row whose twin was trained on would measure memory.
//!
//! That holds for the same rows only. When a file has grown, a sealed row stays sealed as far as the number of rows to
//! seal allows: new rows that come before it in the order can push it behind the last place, and a new near-copy can
//! move its group. Who compares runs on a growing file keeps a test file of their own ([`with_test`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    near::{
        Jaccard,
        join::{Links, Sets, UnionFind},
        normalise,
    },
    recipe::Row,
};

mod content;

pub(crate) use content::prose_columns;
use content::{Content, Contents};

/// Fewest different rows that can be split.
pub const FEWEST: usize = 20;
/// Share of the rows that is sealed without a wish of the user's.
pub const SHARE: f64 = 0.2;
/// Rows to seal at least, where that is no more than a third of all.
pub const AT_LEAST: usize = 100;
/// Rows to seal at most, without a wish of the user's.
pub const AT_MOST: usize = 2_000;

/// From this likeness on two rows count as nearly the same.
const NEAR: Jaccard = Jaccard::tenths(8);
/// The likeness that counts within groups that are too large (see [`Split::templated`]).
const VERY_NEAR: Jaccard = Jaccard::tenths(9);
/// Fewest words of a text for its standing in another one to mean a copy.
const HELD_WORDS: usize = 5;
/// Fewest words of a leading text for its repetition to mean that a row repeats.
const LEAD_WORDS: usize = 8;

/// Which rows are open and which are sealed; indices in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Rows that tools and planner may use.
    pub open: Vec<usize>,
    /// Rows for the grader alone.
    pub sealed: Vec<usize>,
    /// Rows on no side, because a sealed row stands in them whole.
    pub held: usize,
    /// Rows whose normalised text an earlier row already has.
    pub exact_duplicates: usize,
    /// Groups of different rows that nearly repeat each other, kept on one side.
    pub near_groups: usize,
    /// Rows so alike, by the hundred, that keeping them together would have left no split: a template fills them.
    /// Among these only rows of nine tenths likeness, or else exact repetitions, are kept on one side.
    pub templated: usize,
}

/// Rows left over beside a test file of the user's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Rows that tools and planner may use; indices in file order.
    pub open: Vec<usize>,
    /// Rows dropped because they equal, nearly equal or hold a row of the test file.
    pub dropped: usize,
    /// Rows kept although they nearly equal a test row, because more than half of all rows do: a template fills them.
    pub templated: usize,
}

/// Why rows cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SealError {
    /// Too little to learn from and to measure on.
    #[error(
        "{different} different rows among {rows} are too few: at least {FEWEST} are needed, and some hundreds to learn \
         from; add rows"
    )]
    TooFew {
        /// Rows in the file.
        rows: usize,
        /// Rows, or groups of near-duplicates, that differ from each other.
        different: usize,
    },
    /// A share outside of what makes sense.
    #[error("a test share of {0} is not between 0.01 and 0.9; leave it out for the default of {SHARE}")]
    Share(f64),
    /// Nothing is left to train on.
    #[error("every row repeats a row of the test file; give rows to train on that are not in it")]
    NothingLeft,
}

/// Sets rows aside: `share` of them, or by default a fifth, at least 100 where there are enough, at most 2,000.
///
/// The same rows give the same split. With more rows, of the old ones those with the smallest hashes stay sealed.
pub fn split(rows: &[Row], share: Option<f64>) -> Result<Split, SealError> {
    if let Some(share) = share.filter(|s| !(0.01..=0.9).contains(s)) {
        return Err(SealError::Share(share));
    }
    let contents = Contents::of(rows);
    let grouped = group(&contents, rows.len());
    // Documents stand in the order of their hashes, so that the first one of a group carries the group's key and the
    // groups come in the order of their keys.
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, &doc) in contents.doc_of.iter().enumerate() {
        groups.entry(grouped.root[doc]).or_default().push(row);
    }
    if groups.len() < FEWEST {
        return Err(SealError::TooFew { rows: rows.len(), different: groups.len() });
    }
    let smallest = groups.values().map(Vec::len).min().unwrap_or(0);
    let target = target(rows.len(), share).max(smallest);
    let mut sealed = Vec::with_capacity(target);
    for group in groups.values() {
        // A group that does not fit any more stays open; the smaller ones behind it fill the rest.
        if sealed.len() + group.len() <= target {
            sealed.extend(group);
        }
    }
    sealed.sort_unstable();
    let aside: BTreeSet<usize> = sealed.iter().map(|&row| contents.doc_of[row]).collect();
    let held = holding(&contents.docs, &aside.iter().map(|&doc| &contents.docs[doc]).collect::<Vec<_>>());
    let open = (0..rows.len()).filter(|row| sealed.binary_search(row).is_err());
    let (held, open): (Vec<usize>, Vec<usize>) = open.partition(|&row| held[contents.doc_of[row]]);
    Ok(Split {
        open,
        sealed,
        held: held.len(),
        exact_duplicates: rows.len() - contents.docs.len(),
        near_groups: grouped.near_groups,
        templated: grouped.templated,
    })
}

/// With a test file of the user's own: leaves out the rows that equal or nearly equal one of its rows.
pub fn with_test(rows: &[Row], test: &[Row]) -> Result<Cleaned, SealError> {
    let (ours, theirs) = (Contents::of(rows), Contents::of(test));
    let docs: Vec<&Content> = ours.docs.iter().chain(&theirs.docs).collect();
    let border = ours.docs.len();
    let mut level = vec![0; rows.len()];
    let mut mark = |near: &[bool], at: u8| {
        for (row, _) in ours.doc_of.iter().enumerate().filter(|(_, doc)| near[**doc]) {
            level[row] = level[row].max(at);
        }
    };
    let everyone: Vec<usize> = (0..docs.len()).collect();
    let sets = Sets::of(&cells(&docs));
    for (likeness, at) in [(NEAR, 1), (VERY_NEAR, 2)] {
        let mut crossing = Crossing { border, near: vec![false; docs.len()], behind: false };
        sets.join(&everyone, likeness, &mut crossing);
        mark(&crossing.near, at);
    }
    let same = |doc: &Content| theirs.docs.binary_search_by(|d| d.key.cmp(&doc.key)).is_ok();
    mark(&ours.docs.iter().map(same).collect::<Vec<_>>(), 3);
    mark(&holding(&ours.docs, &theirs.docs.iter().collect::<Vec<_>>()), 3);
    for (_, sharing) in leads(&docs, docs.len()) {
        if sharing.iter().any(|&doc| doc >= border) {
            let mut near = vec![false; border];
            sharing.iter().filter(|&&doc| doc < border).for_each(|&doc| near[doc] = true);
            mark(&near, 3);
        }
    }
    // A template makes nearly every row like some test row. Then only the closest are dropped, and the rest is counted.
    let at_least = |at: u8| level.iter().filter(|&&l| l >= at).count();
    let drop = (1..=2).find(|&at| at_least(at) * 2 <= rows.len()).unwrap_or(3);
    let open: Vec<usize> = (0..rows.len()).filter(|&row| level[row] < drop).collect();
    if open.is_empty() {
        return Err(SealError::NothingLeft);
    }
    Ok(Cleaned { dropped: rows.len() - open.len(), templated: at_least(1) - at_least(drop), open })
}

/// How many texts from `border` on nearly repeat one before it, and how many of all nearly repeat an earlier one.
pub fn near_repeats(texts: &[&str], border: usize) -> (usize, usize) {
    let texts: Vec<String> = texts.iter().map(|text| normalise(text)).collect();
    let docs: Vec<&[String]> = texts.iter().map(std::slice::from_ref).collect();
    let everyone: Vec<usize> = (0..docs.len()).collect();
    let sets = Sets::of(&docs);
    let mut crossing = Crossing { border, near: vec![false; docs.len()], behind: true };
    sets.join(&everyone, NEAR, &mut crossing);
    let mut union = UnionFind::new(docs.len());
    sets.join(&everyone, NEAR, &mut union);
    let crossed = crossing.near.iter().filter(|near| **near).count();
    (crossed, docs.len() - union.groups().len())
}

fn cells<'a>(docs: &[&'a Content]) -> Vec<&'a [String]> {
    docs.iter().map(|doc| &doc.cells[..]).collect()
}

/// How many rows to seal.
fn target(rows: usize, share: Option<f64>) -> usize {
    let of = |share: f64| (rows as f64 * share).round() as usize;
    match share {
        Some(share) => of(share).max(1),
        None => of(SHARE).max(AT_LEAST.min(rows / 3)).min(AT_MOST),
    }
}

/// Documents in groups that must stand on one side.
struct Grouped {
    /// For each document the first one of its group.
    root: Vec<usize>,
    near_groups: usize,
    templated: usize,
}

/// Groups near-duplicates, and rows that begin with the same long text (one question with several answers).
fn group(contents: &Contents, rows: usize) -> Grouped {
    let docs: Vec<&Content> = contents.docs.iter().collect();
    let most = (rows / 20).max(20);
    let sets = Sets::of(&cells(&docs));
    let mut union = UnionFind::new(docs.len());
    let everyone: Vec<usize> = (0..docs.len()).collect();
    sets.join(&everyone, NEAR, &mut union);

    // Text from a template chains into groups of hundreds. They are taken apart and put together again by a stricter
    // measure, and where even that chains, only exact repetitions, which are one document each, stay together.
    let mut templated = vec![false; docs.len()];
    for stricter in [Some(VERY_NEAR), None] {
        for members in union.groups().into_iter().filter(|members| members.len() > most) {
            members.iter().for_each(|&doc| templated[doc] = true);
            union.dissolve(&members);
            if let Some(likeness) = stricter {
                sets.join(&members, likeness, &mut union);
            }
        }
    }
    for (_, sharing) in leads(&docs, rows) {
        sharing.windows(2).for_each(|pair| union.link(pair[0], pair[1]));
    }
    let near_groups = union.groups().iter().filter(|members| members.len() > 1).count();
    let templated = contents.doc_of.iter().filter(|&&doc| templated[doc]).count();
    Grouped { root: (0..docs.len()).map(|doc| union.find(doc)).collect(), near_groups, templated }
}

/// For each of `ours`, whether all texts of one of `theirs` stand in it, word by word.
///
/// Likeness does not tell: the rest of the row may be long.
fn holding(ours: &[Content], theirs: &[&Content]) -> Vec<bool> {
    let mut starts: HashMap<&str, Vec<(&str, &Content)>> = HashMap::new();
    for doc in theirs {
        let longest = doc.cells.iter().max_by_key(|cell| cell.len());
        if let Some((start, cell)) = longest.and_then(|cell| Some((first_words(cell)?, cell))) {
            starts.entry(start).or_default().push((cell, doc));
        }
    }
    let whole =
        |text: &str, cell: &str| text.strip_prefix(cell).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let begins =
        |text: &'_ str| std::iter::once(0).chain(text.match_indices(' ').map(|(at, _)| at + 1)).collect::<Vec<_>>();
    let has = |doc: &Content, cell: &str| {
        doc.cells.iter().any(|text| begins(text).into_iter().any(|at| whole(&text[at..], cell)))
    };
    let holds = |doc: &Content| {
        doc.cells.iter().any(|text| {
            begins(text).into_iter().any(|at| {
                let known = first_words(&text[at..]).and_then(|start| starts.get(start));
                known
                    .into_iter()
                    .flatten()
                    .any(|(cell, theirs)| whole(&text[at..], cell) && theirs.cells.iter().all(|cell| has(doc, cell)))
            })
        })
    };
    ours.iter().map(holds).collect()
}

/// The first words of a normalised text that has that many.
fn first_words(text: &str) -> Option<&str> {
    let end = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]).nth(HELD_WORDS - 1)?;
    Some(&text[..end])
}

/// Documents that share their leading text, where it is long and shared by so few that it is no standing instruction.
fn leads<'a>(docs: &[&'a Content], rows: usize) -> Vec<(&'a str, Vec<usize>)> {
    let mut sharing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (doc, content) in docs.iter().enumerate() {
        if content.lead.split(' ').count() >= LEAD_WORDS {
            sharing.entry(&content.lead).or_default().push(doc);
        }
    }
    let most = (rows / 20).max(10);
    sharing.into_iter().filter(|(_, docs)| docs.len() > 1 && docs.len() <= most).collect()
}

/// Finds documents on one side of the border that are near one on the other.
struct Crossing {
    border: usize,
    near: Vec<bool>,
    /// Whether those behind the border are found, instead of those before it.
    behind: bool,
}

impl Links for Crossing {
    fn wants(&mut self, a: usize, b: usize) -> bool {
        let (before, behind) = (a.min(b), a.max(b));
        before < self.border && behind >= self.border && !self.near[if self.behind { behind } else { before }]
    }

    fn link(&mut self, a: usize, b: usize) {
        self.near[if self.behind { a.max(b) } else { a.min(b) }] = true;
    }
}

#[cfg(test)]
mod tests;
