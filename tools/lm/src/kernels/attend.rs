//! Attention of one row, as each step of a generation has it. Keys and values are read once for up to four query heads that
//! share them. Each sum is made in an order that depends on its length alone.

use super::{
    Kernel,
    lanes::{LANES, Lanes},
};

/// Query heads that are worked on together.
const HEADS: usize = 4;

/// Rows of keys or values of one head, one `stride` after the other.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Begins with the first row.
    pub numbers: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// How many there are.
    pub count: usize,
}

impl Rows<'_> {
    /// The sixteen numbers from `at` on of row `row`, which is `dim` wide; zeros behind its end.
    #[inline(always)]
    fn part<S: Lanes>(&self, set: S, row: usize, at: usize, dim: usize) -> S::V {
        part(set, &self.numbers[row * self.stride..][..dim], at)
    }
}

/// The sixteen numbers from `at` on; zeros behind the end.
#[inline(always)]
fn part<S: Lanes>(set: S, row: &[f32], at: usize) -> S::V {
    match row[at..].first_chunk() {
        Some(numbers) => set.floats(numbers),
        None => {
            let mut numbers = [0.0; LANES];
            numbers[..row.len() - at].copy_from_slice(&row[at..]);
            set.floats(&numbers)
        }
    }
}

/// `scores[h, row] = scale · q[h] · keys[row]`, with `q` `[heads, dim]`.
pub struct Scores<'a> {
    /// The queries.
    pub q: &'a [f32],
    /// Width of a head.
    pub dim: usize,
    /// The keys.
    pub keys: Rows<'a>,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// `[heads, rows]`.
    pub scores: &'a mut [f32],
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        let Scores { q, dim, keys, scale, scores } = self;
        for (q, scores) in q.chunks(HEADS * dim).zip(scores.chunks_mut(HEADS * keys.count)) {
            let heads = q.len() / dim;
            for row in 0..keys.count {
                let mut lanes = [set.splat(0.0); HEADS];
                for at in (0..dim).step_by(LANES) {
                    let key = keys.part(set, row, at, dim);
                    for h in 0..heads {
                        lanes[h] = set.fma(part(set, &q[h * dim..][..dim], at), key, lanes[h]);
                    }
                }
                for h in 0..heads {
                    scores[h * keys.count + row] = scale * set.total(lanes[h]);
                }
            }
        }
    }
}

/// `out[h] = Σ p[h, row] values[row]`, with `out` `[heads, dim]` and `p` `[heads, rows]`.
pub struct Values<'a> {
    /// The probabilities.
    pub p: &'a [f32],
    /// The values.
    pub values: Rows<'a>,
    /// Width of a head.
    pub dim: usize,
    /// What the heads give.
    pub out: &'a mut [f32],
}

impl Kernel for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        let Values { p, values, dim, out } = self;
        for (p, out) in p.chunks(HEADS * values.count).zip(out.chunks_mut(HEADS * dim)) {
            let heads = out.len() / dim;
            for at in (0..dim).step_by(LANES) {
                let mut lanes = [set.splat(0.0); HEADS];
                for row in 0..values.count {
                    let value = values.part(set, row, at, dim);
                    for h in 0..heads {
                        lanes[h] = set.fma(set.splat(p[h * values.count + row]), value, lanes[h]);
                    }
                }
                for h in 0..heads {
                    let to = &mut out[h * dim..][at..(at + LANES).min(dim)];
                    to.iter_mut().zip(set.array(lanes[h])).for_each(|(to, x)| *to = x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{kernels::Isa, rng::Rng};

    proptest! {
        /// Every set of instructions, heads of every width, any number of them, and rows that lie apart.
        #[test]
        fn every_set_gives_scores_and_values(
            (heads, dim, count, apart) in (1usize..10, 1usize..70, 1usize..40, 0usize..20)
        ) {
            let mut rng = Rng::new(1, "numbers");
            let mut random = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f32>>();
            let (stride, scale) = (dim + apart, 0.3);
            let (q, numbers, p) = (random(heads * dim), random(count * stride), random(heads * count));
            let rows = Rows { numbers: &numbers, stride, count };
            let number = |row: usize, i: usize| f64::from(numbers[row * stride + i]);
            for isa in Isa::all() {
                let (mut scores, mut out) = (vec![1.0; heads * count], vec![1.0; heads * dim]);
                isa.run(Scores { q: &q, dim, keys: rows, scale, scores: &mut scores });
                isa.run(Values { p: &p, values: rows, dim, out: &mut out });
                for (at, got) in scores.iter().enumerate() {
                    let (h, row) = (at / count, at % count);
                    let want: f64 = (0..dim).map(|i| f64::from(q[h * dim + i]) * number(row, i)).sum();
                    prop_assert!((f64::from(*got) - 0.3 * want).abs() < 1e-4, "{}: {got} for {want}", isa.name());
                }
                for (at, got) in out.iter().enumerate() {
                    let (h, i) = (at / dim, at % dim);
                    let want: f64 = (0..count).map(|row| f64::from(p[h * count + row]) * number(row, i)).sum();
                    prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{}: {got} for {want}", isa.name());
                }
            }
        }
    }
}
