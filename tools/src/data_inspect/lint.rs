//! Damage and private data in the texts of the sample, counted by column.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{damage, draw::Drawn, output::Lint, private, text::said};
use crate::files::cut;

/// Characters of a cell that are looked at.
const LOOKED_AT: usize = 20_000;
/// Examples of one kind in one column, and characters around a damaged place.
const SHOWN: (usize, usize) = (3, 20);

/// Rows of each kind and column, with examples.
type Counts = BTreeMap<(String, String), (usize, Vec<String>)>;

/// Damage, and what looks like secrets and personal data; the most frequent first.
pub(super) fn look(sample: &[Drawn]) -> (Vec<Lint>, Vec<Lint>) {
    let parts: Vec<(Counts, Counts)> = sample.par_chunks(500).map(part).collect();
    let (mut damage, mut private) = (Counts::new(), Counts::new());
    for (more_damage, more_private) in parts {
        merge(&mut damage, more_damage);
        merge(&mut private, more_private);
    }
    (lints(damage), lints(private))
}

fn part(rows: &[Drawn]) -> (Counts, Counts) {
    let (mut damaged, mut found) = (Counts::new(), Counts::new());
    for drawn in rows {
        for (column, value) in &drawn.row {
            let text = said(value);
            let text = text.char_indices().nth(LOOKED_AT).map_or(&*text, |(end, _)| &text[..end]);
            for (kind, at) in damage::find(text) {
                count(&mut damaged, kind, column, || around(text, at));
            }
            let mut kinds = Vec::new();
            for (kind, at) in private::find(text) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                    count(&mut found, kind, column, || private::masked(&text[at]));
                }
            }
        }
    }
    (damaged, found)
}

fn count(counts: &mut Counts, kind: &str, column: &str, example: impl FnOnce() -> String) {
    let (rows, examples) = counts.entry((column.to_owned(), kind.to_owned())).or_default();
    *rows += 1;
    if examples.len() < SHOWN.0 {
        let example = example();
        if !examples.contains(&example) {
            examples.push(example);
        }
    }
}

fn merge(counts: &mut Counts, more: Counts) {
    for (key, (rows, examples)) in more {
        let entry = counts.entry(key).or_default();
        entry.0 += rows;
        for example in examples {
            if entry.1.len() < SHOWN.0 && !entry.1.contains(&example) {
                entry.1.push(example);
            }
        }
    }
}

/// A place with some characters before and after it.
fn around(text: &str, at: std::ops::Range<usize>) -> String {
    let start = text[..at.start].char_indices().rev().nth(SHOWN.1 - 1).map_or(0, |(start, _)| start);
    let end = text[at.end..].char_indices().nth(SHOWN.1).map_or(text.len(), |(end, _)| at.end + end);
    text[start..end].trim().to_owned()
}

/// How many kinds are listed.
const LISTED: usize = 40;

fn lints(counts: Counts) -> Vec<Lint> {
    let lint = |((name, kind), (rows, examples)): ((String, String), (usize, Vec<String>))| Lint {
        kind: kind.replace(' ', "_"),
        name: cut(&name, 80),
        rows,
        examples,
    };
    let mut lints: Vec<Lint> = counts.into_iter().map(lint).collect();
    lints.sort_by_key(|lint| std::cmp::Reverse(lint.rows));
    lints.truncate(LISTED);
    lints
}
