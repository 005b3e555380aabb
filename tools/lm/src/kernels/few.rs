//! A few rows times a weight that stays as it is stored: each step of a generation. Every byte of the weight is read once, by
//! one thread.

use rayon::prelude::*;

use super::{
    Isa, Kernel,
    lanes::{LANES, Lanes},
    stored::{Read, Reader, decode_as, with},
};
use crate::matrix::Stored;

/// Numbers of the weights that are worth a thread: fewer are multiplied sooner than they are handed over.
const LEAST: usize = 1 << 15;

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

/// Rows of the weight that are worked on together for one row of the input: as many as there are chains of sums.
const ALONE: usize = 4;

/// The same for several rows of the input. They fit the nearest cache, decoded, with the rows of the input that a tile takes.
const TOGETHER: usize = 8;

/// A weight and where its products go.
pub struct Product<'a> {
    /// How its numbers are stored.
    pub stored: Stored,
    /// One row after the other, each as long as a row of the input.
    pub w: &'a [u8],
    /// `[rows, out]`.
    pub y: &'a mut [f32],
}

/// `y[row, o] (+)= scale · Σ x[row, i] w[o, i]` for every row of `x`, of which there are `rows`, and every product. Threads are
/// handed the parts of all products at once.
pub fn multiply(isa: Isa, (rows, x): (usize, &[f32]), products: &mut [Product<'_>], adding: (bool, f32)) {
    let inp = x.len() / rows.max(1);
    if inp == 0 || rows == 0 {
        return;
    }
    let numbers = products.iter().map(|product| product.y.len() / rows * inp).sum::<usize>();
    let share = (numbers / (2 * rayon::current_num_threads())).max(LEAST).div_ceil(inp).next_multiple_of(TOGETHER);
    let x = padded(x, inp);
    let mut parts = Vec::new();
    for Product { stored, w, y } in products {
        let Some(bytes) = stored.bytes(inp).filter(|_| !y.is_empty()) else { continue };
        let out = y.len() / rows;
        let mut rest: Vec<&mut [f32]> = y.chunks_exact_mut(out).collect();
        for w in w[..out * bytes].chunks(share * bytes) {
            let y = rest.iter_mut().filter_map(|row| row.split_off_mut(..w.len() / bytes)).collect();
            parts.push(Part { stored: *stored, w, bytes, inp, x: &x, y, adding });
        }
    }
    match numbers < 2 * LEAST {
        true => parts.into_iter().for_each(|part| isa.run(part)),
        false => parts.into_par_iter().for_each(|part| isa.run(part)),
    }
}

/// Rows of `inp` numbers, each with zeros up to a multiple of [`LANES`].
fn padded(x: &[f32], inp: usize) -> Vec<[f32; LANES]> {
    let mut all = vec![[0.0; LANES]; x.len() / inp * inp.div_ceil(LANES)];
    for (to, row) in all.chunks_exact_mut(inp.div_ceil(LANES)).zip(x.chunks_exact(inp)) {
        to.as_flattened_mut()[..inp].copy_from_slice(row);
    }
    all
}

/// Some rows of a weight with all rows of the input.
struct Part<'a> {
    stored: Stored,
    w: &'a [u8],
    /// Bytes of a row of the weight, and its numbers.
    bytes: usize,
    inp: usize,
    x: &'a [[f32; LANES]],
    /// For each row of the input where the products with these rows of the weight go.
    y: Vec<&'a mut [f32]>,
    adding: (bool, f32),
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
        let PartWith(Part { w, bytes, inp, x, mut y, adding, .. }, set) = self;
        let group = if y.len() > 1 { TOGETHER } else { ALONE };
        let mut scratch = if y.len() > 1 { vec![[0.0; LANES]; TOGETHER * inp.div_ceil(LANES)] } else { Vec::new() };
        let (mut rest, mut first) = (w, 0);
        while !rest.is_empty() {
            let (w, next) = rest.split_at(rest.len().min(group * bytes));
            let count = w.len() / bytes;
            let mut to = To { y: &mut y, first, count, adding };
            (rest, first) = (next, first + group);
            if group == TOGETHER {
                several::<S, R, B>(set, (w, bytes, inp), x, &mut to, &mut scratch);
            } else if count == ALONE {
                one::<S, R, B, ALONE>(set, (w, next, bytes, inp), x, &mut to);
            } else {
                for w in w.chunks_exact(bytes) {
                    one::<S, R, B, 1>(set, (w, next, bytes, inp), x, &mut to);
                    to.first += 1;
                }
            }
        }
    }
}

/// Where sums go: those of `count` rows of the weight from `first` on.
struct To<'a, 'b> {
    y: &'a mut [&'b mut [f32]],
    first: usize,
    count: usize,
    adding: (bool, f32),
}

impl To<'_, '_> {
    /// The sum for row `o` of these and row `row` of the input.
    #[inline(always)]
    fn put(&mut self, o: usize, row: usize, sum: f32) {
        let (add, scale) = self.adding;
        let y = &mut self.y[row][self.first + o];
        let product = scale * sum;
        *y = if add { *y + product } else { product };
    }
}

/// `N` rows of the weight with one row. The rows that come next are fetched meanwhile: the processor foresees one stream of
/// reading, but not several that are close to each other.
#[inline(always)]
fn one<S: Lanes, R: Read<B>, const B: usize, const N: usize>(
    set: S,
    (w, next, bytes, inp): (&[u8], &[u8], usize, usize),
    x: &[[f32; LANES]],
    to: &mut To<'_, '_>,
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
            for line in (0..B).step_by(LINE) {
                if let Some(soon) = next.get(row * bytes + i * B + line) {
                    set.fetch(soon);
                }
            }
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
    for (row, lanes) in lanes.into_iter().enumerate() {
        to.put(row, 0, set.total(lanes));
    }
}

/// Up to [`TOGETHER`] rows of the weight with all rows of the input: decoded once, in the cache.
#[inline(always)]
fn several<S: Lanes, R: Read<B>, const B: usize>(
    set: S,
    (w, bytes, inp): (&[u8], usize, usize),
    x: &[[f32; LANES]],
    to: &mut To<'_, '_>,
    scratch: &mut [[f32; LANES]],
) {
    let count = inp.div_ceil(LANES);
    for (w, scratch) in w.chunks_exact(bytes).zip(scratch.chunks_exact_mut(count)) {
        decode_as::<S, R, B>(set, w, &mut scratch.as_flattened_mut()[..inp]);
    }
    // Where there are fewer rows than a tile has, the others are an earlier weight's, and their sums are dropped.
    if S::WIDE {
        columns::<S, 4, 4>(set, (scratch, count), x, to);
    } else {
        columns::<S, 2, 3>(set, (scratch, count), x, to);
    }
}

/// Rows of numbers with all rows of the input, in tiles of `N` and up to `X` of them.
#[inline(always)]
fn columns<S: Lanes, const N: usize, const X: usize>(
    set: S,
    (w, count): (&[[f32; LANES]], usize),
    x: &[[f32; LANES]],
    to: &mut To<'_, '_>,
) {
    let rows = to.y.len();
    for first in (0..rows).step_by(X) {
        for above in (0..to.count).step_by(N) {
            let (w, x, at) = ((&w[above * count..], count), &x[first * count..], (above, first));
            match X.min(rows - first) {
                1 => tile::<S, N, 1>(set, w, x, to, at),
                2 => tile::<S, N, 2>(set, w, x, to, at),
                3 => tile::<S, N, 3>(set, w, x, to, at),
                _ => tile::<S, N, X>(set, w, x, to, at),
            }
        }
    }
}

/// `N` rows of numbers with `X` rows of the input, from row `first` on.
#[inline(always)]
fn tile<S: Lanes, const N: usize, const X: usize>(
    set: S,
    (w, count): (&[[f32; LANES]], usize),
    x: &[[f32; LANES]],
    to: &mut To<'_, '_>,
    (above, first): (usize, usize),
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
    for (row, lanes) in lanes.iter().enumerate().take(to.count - above) {
        for (column, lanes) in lanes.iter().enumerate() {
            to.put(above + row, first + column, set.total(*lanes));
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
                    // The second weight is a part of the first.
                    let (mut y, mut z) = (vec![1.0; out * rows], vec![1.0; out.div_ceil(2) * rows]);
                    let part = &w[..stored.bytes(out.div_ceil(2) * inp).unwrap()];
                    let mut products = [Product { stored, w: &w, y: &mut y }, Product { stored, w: part, y: &mut z }];
                    multiply(isa, (rows, x), &mut products, (true, 0.5));
                    let halves = y.chunks_exact(out).flat_map(|row| &row[..out.div_ceil(2)]);
                    assert!(halves.eq(&z), "{} {stored:?}: the second product differs", isa.name());
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
        let v = bytes(Stored::Q8_0, &random(333 * inp, 3));
        let run = |isa: Isa, threads: usize| {
            let (mut y, mut z) = (vec![0.0; 3 * out], vec![0.0; 3 * 333]);
            let mut both =
                [Product { stored: Stored::F16, w: &w, y: &mut y }, Product { stored: Stored::Q8_0, w: &v, y: &mut z }];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| multiply(isa, (3, &x), &mut both, (false, 1.0)));
            let mut alone = vec![0.0; 3 * 333];
            multiply(isa, (3, &x), &mut [Product { stored: Stored::Q8_0, w: &v, y: &mut alone }], (false, 1.0));
            assert!(z == alone, "{}: a product differs with another beside it", isa.name());
            [y, z].concat()
        };
        let wide: Vec<Isa> = Isa::all().into_iter().filter(|isa| isa.name() != "portable").collect();
        for isa in &wide {
            assert!(run(*isa, 1) == run(*isa, 2) && run(*isa, 2) == run(wide[0], 3), "{}", isa.name());
        }
    }
}
