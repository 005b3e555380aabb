//! Steps of one run matched with those of another.

use super::facts::Step;

/// Cells of the table, at most; beyond it steps are matched by their places.
const CELLS: usize = 4_000_000;

/// A place in the first list, in the second, or in both.
type Pair = (Option<usize>, Option<usize>);

/// Matches steps of the same tool, in order, so that as many as possible have the same arguments and results: the
/// heaviest common subsequence, by dynamic programming.
pub(super) fn align(a: &[Step], b: &[Step]) -> Vec<Pair> {
    let start = a.iter().zip(b).take_while(|(a, b)| a.key == b.key).count();
    let rest = a.len().min(b.len()) - start;
    let end = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a.key == b.key).count();
    let (middle_a, middle_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let both = |(a, b): (usize, usize)| (Some(a), Some(b));
    let mut pairs: Vec<Pair> = (0..start).zip(0..start).map(both).collect();
    let middle = if middle_a.len().saturating_mul(middle_b.len()) > CELLS {
        by_place(middle_a, middle_b)
    } else {
        heaviest(middle_a, middle_b)
    };
    let shift = |at: Option<usize>| at.map(|at| at + start);
    pairs.extend(middle.into_iter().map(|(a, b)| (shift(a), shift(b))));
    pairs.extend((a.len() - end..a.len()).zip(b.len() - end..b.len()).map(both));
    pairs
}

fn weight(a: &Step, b: &Step) -> Option<u32> {
    (a.tool == b.tool).then(|| 2 + u32::from(a.args == b.args) * 2 + u32::from(a.key == b.key))
}

fn heaviest(a: &[Step], b: &[Step]) -> Vec<Pair> {
    let width = b.len() + 1;
    // best[i * width + j]: of what follows places i and j.
    let mut best = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let skip = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let both = weight(&a[i], &b[j]).map_or(0, |weight| weight + best[(i + 1) * width + j + 1]);
            best[i * width + j] = skip.max(both);
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < a.len() || j < b.len() {
        let here = best[i * width + j];
        let both = (i < a.len() && j < b.len()).then(|| weight(&a[i], &b[j])).flatten();
        if both.is_some_and(|weight| here == weight + best[(i + 1) * width + j + 1]) {
            pairs.push((Some(i), Some(j)));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && here == best[(i + 1) * width + j] {
            pairs.push((Some(i), None));
            i += 1;
        } else {
            pairs.push((None, Some(j)));
            j += 1;
        }
    }
    pairs
}

fn by_place(a: &[Step], b: &[Step]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for at in 0..a.len().max(b.len()) {
        match (a.get(at), b.get(at)) {
            (Some(of_a), Some(of_b)) if of_a.tool == of_b.tool => pairs.push((Some(at), Some(at))),
            (of_a, of_b) => {
                pairs.extend(of_a.map(|_| (Some(at), None)));
                pairs.extend(of_b.map(|_| (None, Some(at))));
            }
        }
    }
    pairs
}
