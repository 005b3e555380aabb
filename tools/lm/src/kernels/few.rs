//! A few rows times a weight that stays as it is stored: each step of a generation. Every byte of the weight is read once, by
//! one thread.

use rayon::prelude::*;

use super::{
    Isa, Kernel,
    lanes::{LANES, Lanes, total},
    stored::{Read, Reader, decode_as, with},
};
use crate::matrix::Stored;

/// Numbers of the weight that a thread takes at least: fewer are multiplied sooner than they are handed over.
const LEAST: usize = 1 << 15;

/// Rows of the weight that are worked on together.
const W: usize = 4;

/// `y[row, o] (+)= scale · Σ x[row, i] w[o, i]` for every row of `x`. `w` holds one row after the other as `stored` says, each
/// as long as a row of `x`, of which there are `rows`.
pub fn multiply(
    isa: Isa,
    (stored, w): (Stored, &[u8]),
    (rows, x): (usize, &[f32]),
    y: &mut [f32],
    (add, scale): (bool, f32),
) {
    let (inp, out) = (x.len() / rows.max(1), y.len() / rows.max(1));
    let Some(bytes) = stored.bytes(inp).filter(|_| inp > 0 && out > 0) else { return };
    let (x, w) = (padded(x, inp), &w[..out * bytes]);
    let mut sums = vec![0.0; out * rows];
    let shares = (out * inp / LEAST).clamp(1, 2 * rayon::current_num_threads());
    let share = out.div_ceil(shares).next_multiple_of(W);
    let part = |(sums, w): (&mut [f32], &[u8])| isa.run(Part { stored, w, bytes, inp, rows, x: &x, sums });
    match shares {
        1 => part((&mut sums, w)),
        _ => sums.par_chunks_mut(share * rows).zip(w.par_chunks(share * bytes)).for_each(part),
    }
    for (row, y) in y.chunks_exact_mut(out).enumerate() {
        for (y, sums) in y.iter_mut().zip(sums.chunks_exact(rows)) {
            *y = if add { *y + scale * sums[row] } else { scale * sums[row] };
        }
    }
}

/// Rows of `inp` numbers, each with zeros up to a multiple of [`LANES`].
fn padded(x: &[f32], inp: usize) -> Vec<[f32; LANES]> {
    let rows = x.chunks_exact(inp.max(1));
    rows.flat_map(|row| {
        row.chunks(LANES).map(|part| {
            let mut lanes = [0.0; LANES];
            lanes[..part.len()].copy_from_slice(part);
            lanes
        })
    })
    .collect()
}

/// Some rows of the weight with all rows of the input; `sums` holds `rows` numbers for each.
struct Part<'a> {
    stored: Stored,
    w: &'a [u8],
    /// Bytes of a row of the weight, and its numbers.
    bytes: usize,
    inp: usize,
    rows: usize,
    x: &'a [[f32; LANES]],
    sums: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        with(self.stored, PartWith(self, set));
    }
}

struct PartWith<'a, S>(Part<'a>, S);

impl<S: Lanes> Reader for PartWith<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<R: Read<B>, const B: usize>(self) {
        let PartWith(Part { w, bytes, inp, rows, x, sums, .. }, set) = self;
        let mut scratch = if rows == 1 { Vec::new() } else { vec![[0.0; LANES]; W * inp.div_ceil(LANES)] };
        for (w, sums) in w.chunks(W * bytes).zip(sums.chunks_mut(W * rows)) {
            if rows > 1 {
                several::<S, R, B>(set, (w, bytes, inp), (rows, x), sums, &mut scratch);
            } else if sums.len() == W {
                one::<S, R, B, W>(set, (w, bytes, inp), x, sums);
            } else {
                for (w, sums) in w.chunks_exact(bytes).zip(sums.chunks_mut(1)) {
                    one::<S, R, B, 1>(set, (w, bytes, inp), x, sums);
                }
            }
        }
    }
}

/// `N` rows of the weight with one row.
#[inline(always)]
fn one<S: Lanes, R: Read<B>, const B: usize, const N: usize>(
    set: S,
    (w, bytes, inp): (&[u8], usize, usize),
    x: &[[f32; LANES]],
    sums: &mut [f32],
) {
    let mut lanes = [set.splat(0.0); N];
    let count = inp / R::NUMBERS;
    let mut blocks: [&[[u8; B]]; N] = [&[]; N];
    for (row, blocks) in blocks.iter_mut().enumerate() {
        *blocks = &w[row * bytes..][..bytes].as_chunks().0[..count];
    }
    let (whole, last) = x.split_at(count * (R::NUMBERS / LANES));
    for (i, x) in whole.chunks_exact(R::NUMBERS / LANES).enumerate() {
        for row in 0..N {
            let mut sum = lanes[row];
            R::block(
                set,
                &blocks[row][i],
                #[inline(always)]
                |part, v| sum = set.fma(v, set.floats(&x[part]), sum),
            );
            lanes[row] = sum;
        }
    }
    if let [x] = last {
        for row in 0..N {
            let (mut numbers, rest) = ([0.0; LANES], &w[row * bytes..][..bytes].as_chunks::<B>().1);
            decode_as::<S, R, B>(set, rest, &mut numbers[..inp % LANES]);
            lanes[row] = set.fma(set.floats(&numbers), set.floats(x), lanes[row]);
        }
    }
    for row in 0..N {
        sums[row] = total(set.array(lanes[row]));
    }
}

/// Up to [`W`] rows of the weight with `rows` rows: decoded once, in the cache.
#[inline(always)]
fn several<S: Lanes, R: Read<B>, const B: usize>(
    set: S,
    (w, bytes, inp): (&[u8], usize, usize),
    (rows, x): (usize, &[[f32; LANES]]),
    sums: &mut [f32],
    scratch: &mut [[f32; LANES]],
) {
    let count = inp.div_ceil(LANES);
    for (w, scratch) in w.chunks_exact(bytes).zip(scratch.chunks_exact_mut(count)) {
        decode_as::<S, R, B>(set, w, &mut scratch.as_flattened_mut()[..inp]);
    }
    // Where there are fewer rows than `W`, the others are an earlier weight's, and their sums are dropped.
    if S::WIDE {
        columns::<S, W>(set, (scratch, count), (rows, x), sums);
    } else {
        let (upper, lower) = scratch.split_at(W / 2 * count);
        let (above, below) = sums.split_at_mut((W / 2 * rows).min(sums.len()));
        columns::<S, { W / 2 }>(set, (upper, count), (rows, x), above);
        columns::<S, { W / 2 }>(set, (lower, count), (rows, x), below);
    }
}

/// `N` rows of numbers with all rows, three at a time.
#[inline(always)]
fn columns<S: Lanes, const N: usize>(
    set: S,
    w: (&[[f32; LANES]], usize),
    (rows, x): (usize, &[[f32; LANES]]),
    sums: &mut [f32],
) {
    let mut first = 0;
    while first < rows {
        let x = &x[first * w.1..];
        match rows - first {
            1 => tile::<S, N, 1>(set, w, x, sums, (first, rows)),
            2 => tile::<S, N, 2>(set, w, x, sums, (first, rows)),
            _ => tile::<S, N, 3>(set, w, x, sums, (first, rows)),
        }
        first += 3;
    }
}

/// `N` rows of numbers with `X` rows, whose sums stand in `sums` from `first` on in each row of `rows`.
#[inline(always)]
fn tile<S: Lanes, const N: usize, const X: usize>(
    set: S,
    (w, count): (&[[f32; LANES]], usize),
    x: &[[f32; LANES]],
    sums: &mut [f32],
    (first, rows): (usize, usize),
) {
    let mut ws: [&[[f32; LANES]]; N] = [&[]; N];
    let mut xs: [&[[f32; LANES]]; X] = [&[]; X];
    ws.iter_mut().zip(w.chunks_exact(count)).for_each(|(to, row)| *to = &row[..count]);
    xs.iter_mut().zip(x.chunks_exact(count)).for_each(|(to, row)| *to = &row[..count]);
    let mut lanes = [[set.splat(0.0); X]; N];
    for i in 0..count {
        let mut numbers = [set.splat(0.0); N];
        for row in 0..N {
            numbers[row] = set.floats(&ws[row][i]);
        }
        for column in 0..X {
            let x = set.floats(&xs[column][i]);
            for row in 0..N {
                lanes[row][column] = set.fma(numbers[row], x, lanes[row][column]);
            }
        }
    }
    for (sums, lanes) in sums.chunks_exact_mut(rows).zip(lanes) {
        for column in 0..X {
            sums[first + column] = total(set.array(lanes[column]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{rng::Rng, storage::to_bytes, weights::Dtype};

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, "numbers");
        (0..n).map(|_| rng.normal()).collect()
    }

    fn bytes(stored: Stored, values: &[f32]) -> Vec<u8> {
        match stored {
            Stored::F32 => to_bytes(values, Dtype::F32),
            Stored::F16 => to_bytes(values, Dtype::F16),
            Stored::BF16 => to_bytes(values, Dtype::BF16),
            // Any bytes are numbers, but for the halves that scale a block: those are made small and finite.
            _ => {
                let (numbers, size) = stored.block();
                let mut rng = Rng::new(values.len() as u64, "bytes");
                let mut bytes: Vec<u8> = (0..values.len() / numbers * size).map(|_| rng.below(256) as u8).collect();
                let scales: &[usize] = match stored {
                    Stored::Q4K => &[1, 3],
                    Stored::Q6K => &[209],
                    _ => &[1],
                };
                for block in bytes.chunks_exact_mut(size) {
                    scales.iter().for_each(|at| block[*at] = 0x1c);
                }
                bytes
            }
        }
    }

    /// In f64, from the numbers as they are decoded.
    fn expected(decoded: &[f32], x: &[f32], inp: usize) -> Vec<f64> {
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        x.chunks(inp).flat_map(|x| decoded.chunks(inp).map(move |w| dot(x, w))).collect()
    }

    proptest! {
        /// Every set of instructions, every way to store numbers, tails of all lengths, and any number of rows and threads.
        #[test]
        fn every_set_gives_the_product_and_a_row_has_the_same_bits_among_others(
            (kind, out, inp, rows) in (0usize..6, 1usize..40, 1usize..70, 1usize..8)
        ) {
            let stored =
                [Stored::F32, Stored::F16, Stored::BF16, Stored::Q8_0, Stored::Q4K, Stored::Q6K][kind];
            let inp = match stored.block().0 { 1 => inp, block => block * inp.div_ceil(24) };
            let w = bytes(stored, &random(out * inp, 1));
            let x = random(rows * inp, 2);
            let mut decoded = vec![0.0; out * inp];
            super::super::stored::decode(stored, &w, &mut decoded);
            let want = expected(&decoded, &x, inp);
            for isa in Isa::all() {
                let run = |x: &[f32], rows: usize| {
                    let mut y = vec![1.0; out * rows];
                    multiply(isa, (stored, &w), (rows, x), &mut y, (true, 0.5));
                    y
                };
                let got = run(&x, rows);
                for (got, want) in got.iter().zip(&want) {
                    let want = 1.0 + 0.5 * want;
                    prop_assert!((f64::from(*got) - want).abs() < 2e-4 * want.abs().max(10.0), "{} {stored:?}", isa.name());
                }
                let alone: Vec<f32> = x.chunks(inp).flat_map(|row| run(row, 1)).collect();
                prop_assert_eq!(got, alone);
            }
        }
    }

    #[test]
    fn wide_sets_have_the_same_bits_on_any_number_of_threads() {
        let (out, inp) = (700, 512);
        let (w, x) = (to_bytes(&random(out * inp, 1), Dtype::F16), random(3 * inp, 2));
        let run = |isa: Isa, threads: usize| {
            let mut y = vec![0.0; 3 * out];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| multiply(isa, (Stored::F16, &w), (3, &x), &mut y, (false, 1.0)));
            y
        };
        let wide: Vec<Isa> = Isa::all().into_iter().filter(|isa| isa.name() != "portable").collect();
        for isa in &wide {
            assert!(run(*isa, 1) == run(*isa, 2) && run(*isa, 2) == run(wide[0], 3), "{}", isa.name());
        }
    }
}
