//! Numbers to the bytes of a tensor. A block depends on its own numbers alone and every sum is made in one order, so that
//! any machine and any number of threads gives the same bytes.
//!
//! What is minimised is the sum of squared differences. Each run of numbers that shares a scale is rounded under a row of
//! steps near the one that just spans it; for each, least squares say which scale (and minimum) fits those whole numbers
//! best and what difference is left. Sixteen runs are fitted side by side, one in each lane, so that the loops vectorise
//! and no sum goes across lanes. Everything is done in units of the run's own range: tiny numbers lose nothing.

use half::{f16, slice::HalfFloatSliceExt};

use crate::{
    kernels::dispatch,
    matrix::{Q4_K, Q6_K, Q8_0, Stored},
};

/// Writes `values`, which are whole blocks, into `out`, which has just the bytes that they take.
pub(super) fn encode(stored: Stored, values: &[f32], out: &mut [u8]) {
    let each = |out: &mut [u8], to: fn(f32) -> [u8; 2]| {
        out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(out, x)| *out = to(*x));
    };
    match stored {
        Stored::F32 => out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(out, x)| *out = x.to_le_bytes()),
        Stored::BF16 => each(out, |x| half::bf16::from_f32(x).to_le_bytes()),
        Stored::F16 => halves(values, out),
        Stored::Q8_0 => dispatch(
            #[inline(always)]
            || blocks(values, out, q8_0),
        ),
        Stored::Q4K => dispatch(
            #[inline(always)]
            || {
                let (pairs, rest) = values.as_chunks();
                let (outs, rest_out) = out.split_at_mut(pairs.len() * 2 * Q4_K);
                for (x, out) in pairs.iter().zip(outs.chunks_exact_mut(2 * Q4_K)) {
                    q4_k(x, out);
                }
                if !rest.is_empty() {
                    let mut padded = [0.0; 2 * BLOCK];
                    padded[..rest.len()].copy_from_slice(rest);
                    q4_k(&padded, rest_out);
                }
            },
        ),
        Stored::Q6K => dispatch(
            #[inline(always)]
            || blocks(values, out, q6_k),
        ),
    }
}

/// The largest magnitude; NaN and infinity are larger than any number.
pub(super) fn largest(values: &[f32]) -> f32 {
    let bits = dispatch(
        #[inline(always)]
        || values.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7fff_ffff)),
    );
    f32::from_bits(bits)
}

/// Numbers of a block of Q4_K and Q6_K.
const BLOCK: usize = 256;
/// Runs that are fitted side by side.
const LANES: usize = 16;
/// One number of each run.
type Lanes = [f32; LANES];
/// Steps that are tried, from a number less to one more in the run's range.
const STEPS: usize = 15;
/// Times that the best fit is rounded to and fitted again: other numbers may be nearest then.
const AGAIN: usize = 3;
/// What all numbers of a run are within is nothing in a block, whose f16 scales cannot say it.
const NOTHING: f32 = 1e-20;

#[inline(always)]
fn blocks<const N: usize, const B: usize>(values: &[f32], out: &mut [u8], block: impl Fn(&[f32; N], &mut [u8; B])) {
    values.as_chunks().0.iter().zip(out.as_chunks_mut().0).for_each(|(x, out)| block(x, out));
}

fn halves(values: &[f32], out: &mut [u8]) {
    let mut part = [f16::ZERO; BLOCK];
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(2 * BLOCK)) {
        part[..values.len()].convert_from_f32_slice(values);
        out.as_chunks_mut().0.iter_mut().zip(part).for_each(|(out, x)| *out = x.to_le_bytes());
    }
}

/// Adding it to a number below 2^22 leaves the number, rounded to even, in the lowest bits.
const MAGIC: f32 = 12_582_912.0;

#[inline(always)]
fn nearest(x: f32) -> f32 {
    (x + MAGIC) - MAGIC
}

/// The whole number at or below.
#[inline(always)]
fn below(x: f32) -> f32 {
    let n = nearest(x);
    if n > x { n - 1.0 } else { n }
}

/// The low byte of a small whole number.
#[inline(always)]
fn byte(x: f32) -> u8 {
    (x + MAGIC).to_bits() as u8
}

#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// 1/x, and 0 for what has none.
#[inline(always)]
fn inverse(x: f32) -> f32 {
    if x.abs() > NOTHING { 1.0 / x } else { 0.0 }
}

/// A number as f16 in `out`, and what it says there.
#[inline(always)]
fn half(x: f32, out: &mut [u8]) -> f32 {
    let half = f16::from_f32(x);
    out.copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// One scale for 32 signed bytes: the largest is 127. Halves are rounded away from 0, as llama.cpp does.
#[inline(always)]
fn q8_0(x: &[f32; 32], out: &mut [u8; Q8_0]) {
    let largest = x.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7fff_ffff));
    let step = f32::from_bits(largest) / 127.0;
    let to = if step < f32::MIN_POSITIVE { 0.0 } else { 1.0 / step };
    half(step, &mut out[..2]);
    for (q, x) in out[2..].iter_mut().zip(x) {
        *q = byte((x * to).round());
    }
}

/// Two blocks of eight runs: each run of 32 has a scale and a minimum, of 6 bits each in units of the block's.
#[inline(always)]
fn q4_k(x: &[f32; 2 * BLOCK], out: &mut [u8]) {
    let rows = lanes::<32>(x);
    let (scales, minima) = span(&rows);
    let mut units = [[0f32; LANES]; 2];
    for (half, out) in out.as_chunks_mut::<Q4_K>().0.iter_mut().enumerate() {
        let of = 8 * half..8 * half + 8;
        let most = |all: &Lanes| all[of.clone()].iter().fold(0f32, |most, x| if *x > most { *x } else { most });
        let (d, dmin) = (most(&scales) / 63.0, most(&minima) / 63.0);
        units[0][of.clone()].fill(self::half(d, &mut out[..2]));
        units[1][of].fill(self::half(dmin, &mut out[2..4]));
    }
    let [scales, minima] = six_bits(&rows, [scales, minima], units);
    for (half, (x, out)) in x.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<Q4_K>().0).enumerate() {
        let (mut q, mut packed) = ([0u8; BLOCK], [0u8; 12]);
        for (j, (x, q)) in x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0).enumerate() {
            let lane = 8 * half + j;
            let (to, minimum) = (inverse(scales[lane] * units[0][lane]), minima[lane] * units[1][lane]);
            for (q, x) in q.iter_mut().zip(x) {
                *q = byte(clamp(nearest((x + minimum) * to), 0.0, 15.0));
            }
            let (scale, minimum) = (byte(scales[lane]), byte(minima[lane]));
            // The first four have six bits to themselves; the others' high bits are in the first bytes' two that are left.
            match j {
                0..4 => (packed[j], packed[j + 4]) = (scale, minimum),
                _ => {
                    packed[j + 4] = (scale & 15) | (minimum & 15) << 4;
                    packed[j - 4] |= scale >> 4 << 6;
                    packed[j] |= minimum >> 4 << 6;
                }
            }
        }
        out[4..16].copy_from_slice(&packed);
        for (q, out) in q.as_chunks::<64>().0.iter().zip(out[16..].as_chunks_mut::<32>().0) {
            let (low, high) = q.split_at(32);
            out.iter_mut().zip(low.iter().zip(high)).for_each(|(out, (low, high))| *out = low | high << 4);
        }
    }
}

/// Scales and minima as whole numbers of their units, 0 to 63. Both neighbours of each are tried: where the runs of a
/// block differ much, the nearest is not always the best.
#[inline(always)]
fn six_bits(rows: &[Lanes; 32], [scales, minima]: [Lanes; 2], [d, dmin]: [Lanes; 2]) -> [Lanes; 2] {
    let (mut best, mut chosen) = ([f32::INFINITY; LANES], [[0f32; LANES]; 2]);
    for (up, up_min) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
        let (mut scale, mut minimum) = ([0f32; LANES], [0f32; LANES]);
        let (mut step, mut to, mut shift) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        for l in 0..LANES {
            scale[l] = clamp(below(scales[l] * inverse(d[l])) + up, 0.0, 63.0);
            minimum[l] = clamp(below(minima[l] * inverse(dmin[l])) + up_min, 0.0, 63.0);
            (step[l], shift[l]) = (scale[l] * d[l], minimum[l] * dmin[l]);
            to[l] = inverse(step[l]);
        }
        let mut error = [0f32; LANES];
        for row in rows {
            for l in 0..LANES {
                let x = row[l] + shift[l];
                let left = x - step[l] * clamp(nearest(x * to[l]), 0.0, 15.0);
                error[l] += left * left;
            }
        }
        for l in 0..LANES {
            let better = error[l] < best[l];
            best[l] = if better { error[l] } else { best[l] };
            chosen[0][l] = if better { scale[l] } else { chosen[0][l] };
            chosen[1][l] = if better { minimum[l] } else { chosen[1][l] };
        }
    }
    chosen
}

/// Sixteen runs of 16, each with a signed scale of 8 bits in units of the block's.
#[inline(always)]
fn q6_k(x: &[f32; BLOCK], out: &mut [u8; Q6_K]) {
    let scales = swing(&lanes::<16>(x));
    let most = scales.iter().fold(0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    let d = half(most / -128.0, &mut out[208..]);
    let (unit, mut q) = (inverse(d), [0u8; BLOCK]);
    for (j, (x, q)) in x.as_chunks::<16>().0.iter().zip(q.as_chunks_mut::<16>().0).enumerate() {
        let scale = clamp(nearest(scales[j] * unit), -128.0, 127.0);
        let to = inverse(scale * d);
        for (q, x) in q.iter_mut().zip(x) {
            *q = byte(clamp(nearest(x * to), -32.0, 31.0) + 32.0);
        }
        out[192 + j] = byte(scale);
    }
    for (h, q) in q.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..32 {
            let [a, b, c, d] = [q[i], q[i + 32], q[i + 64], q[i + 96]];
            out[64 * h + i] = (a & 15) | (c & 15) << 4;
            out[64 * h + 32 + i] = (b & 15) | (d & 15) << 4;
            out[128 + 32 * h + i] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
}

/// Runs of `N` numbers that follow each other, each in a lane of its own.
#[inline(always)]
fn lanes<const N: usize>(x: &[f32]) -> [Lanes; N] {
    let mut rows = [[0.0; LANES]; N];
    for (lane, run) in x.as_chunks::<N>().0.iter().enumerate() {
        for (row, x) in rows.iter_mut().zip(run) {
            row[lane] = *x;
        }
    }
    rows
}

/// `x ≈ scale q - minimum` with whole `q` from 0 to 15 and no minimum below 0, for each lane.
#[inline(always)]
fn span(rows: &[Lanes; 32]) -> (Lanes, Lanes) {
    const N: f32 = 32.0;
    let (mut low, mut high) = ([0f32; LANES], rows[0]);
    for row in rows {
        for l in 0..LANES {
            low[l] = if row[l] < low[l] { row[l] } else { low[l] };
            high[l] = if row[l] > high[l] { row[l] } else { high[l] };
        }
    }
    // In units in which the lowest number is 0 and the highest 15; `zero` is where 0 is.
    let (mut unit, mut zero) = ([0f32; LANES], [0f32; LANES]);
    for l in 0..LANES {
        unit[l] = 15.0 * inverse(high[l] - low[l]);
        zero[l] = -low[l] * unit[l];
    }
    let mut scaled = *rows;
    let (mut sum, mut squares) = ([0f32; LANES], [0f32; LANES]);
    for row in &mut scaled {
        for l in 0..LANES {
            row[l] = (row[l] - low[l]) * unit[l];
            sum[l] += row[l];
            squares[l] += row[l] * row[l];
        }
    }
    let (mut best, mut slope, mut start) = ([f32::INFINITY; LANES], [0f32; LANES], [0f32; LANES]);
    for step in 0..STEPS + AGAIN {
        let (mut first, mut to) = ([0f32; LANES], [(14.0 + 2.0 * step as f32 / (STEPS - 1) as f32) / 15.0; LANES]);
        if step >= STEPS {
            for l in 0..LANES {
                (first[l], to[l]) = (start[l], inverse(slope[l]));
            }
        }
        let (mut q_sum, mut q_squares, mut products) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        for row in &scaled {
            for l in 0..LANES {
                let q = clamp(nearest((row[l] - first[l]) * to[l]), 0.0, 15.0);
                q_sum[l] += q;
                q_squares[l] += q * q;
                products[l] += q * row[l];
            }
        }
        for l in 0..LANES {
            // Sums of whole numbers are exact: 0 where all are the same one, which says nothing of where 0 is.
            let spread = N * q_squares[l] - q_sum[l] * q_sum[l];
            let b = (sum[l] - (N * products[l] - sum[l] * q_sum[l]) / spread * q_sum[l]) / N;
            let b = if spread > 0.0 && b < zero[l] { b } else { zero[l] };
            let rest = products[l] - b * q_sum[l];
            let a = rest / q_squares[l];
            let error = squares[l] - 2.0 * b * sum[l] + N * b * b - a * rest;
            let better = error < best[l];
            best[l] = if better { error } else { best[l] };
            slope[l] = if better { a } else { slope[l] };
            start[l] = if better { b } else { start[l] };
        }
    }
    let mut minima = [0f32; LANES];
    for l in 0..LANES {
        let back = (high[l] - low[l]) / 15.0;
        slope[l] *= back;
        let minimum = -(low[l] + start[l] * back);
        minima[l] = if minimum > 0.0 { minimum } else { 0.0 };
    }
    (slope, minima)
}

/// `x ≈ scale q` with whole `q` from -32 to 31, for each lane.
#[inline(always)]
fn swing(rows: &[Lanes; 16]) -> Lanes {
    let mut most = [0f32; LANES];
    for row in rows {
        for l in 0..LANES {
            most[l] = if row[l].abs() > most[l].abs() { row[l] } else { most[l] };
        }
    }
    // In units in which the number farthest from 0 is -32, where there is one whole number more.
    let mut unit = [0f32; LANES];
    for l in 0..LANES {
        unit[l] = -32.0 * inverse(most[l]);
    }
    let mut scaled = *rows;
    for row in &mut scaled {
        for l in 0..LANES {
            row[l] *= unit[l];
        }
    }
    let (mut best, mut slope) = ([0f32; LANES], [0f32; LANES]);
    for step in 0..STEPS + AGAIN {
        let mut to = [(31.0 + 2.0 * step as f32 / (STEPS - 1) as f32) / 32.0; LANES];
        if step >= STEPS {
            for l in 0..LANES {
                to[l] = inverse(slope[l]);
            }
        }
        let (mut q_squares, mut products) = ([0f32; LANES], [0f32; LANES]);
        for row in &scaled {
            for l in 0..LANES {
                let q = clamp(nearest(row[l] * to[l]), -32.0, 31.0);
                q_squares[l] += q * q;
                products[l] += q * row[l];
            }
        }
        for l in 0..LANES {
            let a = products[l] / q_squares[l];
            let explained = a * products[l];
            let better = explained > best[l];
            best[l] = if better { explained } else { best[l] };
            slope[l] = if better { a } else { slope[l] };
        }
    }
    for l in 0..LANES {
        slope[l] *= most[l] / -32.0;
    }
    slope
}
