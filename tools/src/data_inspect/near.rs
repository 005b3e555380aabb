//! Texts that nearly repeat each other.

use std::collections::BTreeSet;

use tunesmith_harness::seal::near_groups;

use super::{
    draw::Drawn,
    output::Near,
    text::{example, plain, said_in},
};

/// Texts are compared by so many of their characters, and so many characters of all of them: the comparison takes time that
/// grows faster than they do.
const CHARACTERS: (usize, usize) = (2_000, 6 << 20);
/// Groups that are shown, and texts of each.
const SHOWN: (usize, usize) = (5, 3);

/// The groups of rows whose texts in `columns` nearly repeat each other, as places in the sample, and how many rows were
/// compared: the first of the sample, which are a smaller one.
pub(super) fn groups(sample: &[Drawn], columns: &[String]) -> (Vec<Vec<usize>>, usize) {
    let mut left = CHARACTERS.1;
    let fits = |text: &String| {
        let fits = text.len() <= left;
        left -= text.len().min(left);
        fits
    };
    let text = |drawn: &Drawn| said_in(&drawn.row, columns).chars().take(CHARACTERS.0).collect();
    let texts: Vec<String> = sample.iter().map(text).take_while(fits).collect();
    let of = texts.len();
    // An empty text is like nothing.
    let filled: Vec<usize> = (0..texts.len()).filter(|&at| !texts[at].trim().is_empty()).collect();
    let texts: Vec<&str> = filled.iter().map(|&at| texts[at].as_str()).collect();
    let mut groups = near_groups(&texts);
    groups.iter_mut().flatten().for_each(|at| *at = filled[*at]);
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group.first().copied()));
    (groups, of)
}

/// What is said of the groups that were found among the first `of` rows.
pub(super) fn summary(
    (groups, of): (&[Vec<usize>], usize),
    sample: &[Drawn],
    columns: &[String],
    names: &[String],
) -> Near {
    let shown = |at: &usize| example(&sample[*at], &said_in(&sample[*at].row, columns), names);
    let examples = groups.iter().take(SHOWN.0).map(|group| group.iter().take(SHOWN.1).map(shown).collect());
    // All of one text's words are in one group.
    let different = |group: &Vec<usize>| {
        group.iter().map(|at| plain(&said_in(&sample[*at].row, columns))).collect::<BTreeSet<_>>().len()
    };
    Near {
        same_words: groups.iter().map(|group| group.len() - different(group)).sum(),
        columns: columns.to_vec(),
        of,
        groups: groups.len(),
        rows: groups.iter().map(|group| group.len() - 1).sum(),
        largest: groups.first().map_or(0, Vec::len),
        examples: examples.collect(),
    }
}
