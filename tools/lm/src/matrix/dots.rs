//! Products of rows with one vector, straight from how the rows are stored: every byte of them is read once, and nothing is
//! decoded into memory.

use half::bf16;

use super::{Stored, blocks};
use crate::engine::math::dispatch;

/// Numbers that are added up side by side, in a fixed order whatever the processor.
const LANES: usize = 32;

/// `y[o] (+)= Σ x[i] w[o, i]` for the rows `w` in `bytes`, as many as `y` has numbers, each as long as `x`.
pub(super) fn dots(stored: Stored, bytes: &[u8], x: &[f32], y: &mut [f32], add: bool) {
    match stored {
        Stored::F32 => each(bytes, x, y, add, |b: [u8; 4]| f32::from_le_bytes(b)),
        Stored::F16 => each(bytes, x, y, add, |b: [u8; 2]| half(u16::from_le_bytes(b))),
        Stored::BF16 => each(bytes, x, y, add, |b: [u8; 2]| bf16::from_le_bytes(b).to_f32()),
        Stored::Q8_0 => whole(
            bytes,
            x,
            y,
            add,
            #[inline(always)]
            |b, out| blocks::q8_0(b, out),
        ),
        Stored::Q4K => whole(
            bytes,
            x,
            y,
            add,
            #[inline(always)]
            |b, out| blocks::q4_k(b, out),
        ),
        Stored::Q6K => whole(
            bytes,
            x,
            y,
            add,
            #[inline(always)]
            |b, out| blocks::q6_k(b, out),
        ),
    }
}

/// The same for rows of plain numbers.
pub fn plain(w: &[f32], x: &[f32], y: &mut [f32], add: bool) {
    dispatch(
        #[inline(always)]
        || {
            for (w, y) in w.chunks_exact(x.len().max(1)).zip(y) {
                let mut lanes = [0.0; LANES];
                let (blocks, rest) = w.as_chunks::<LANES>();
                let (xs, x_rest) = x.as_chunks::<LANES>();
                blocks.iter().zip(xs).for_each(|(w, x)| gather(&mut lanes, w, x));
                rest.iter().zip(x_rest).zip(&mut lanes).for_each(|((w, x), lane)| *lane += w * x);
                put(y, &lanes, add);
            }
        },
    );
}

/// Rows of numbers that stand alone, of `N` bytes each.
fn each<const N: usize>(bytes: &[u8], x: &[f32], y: &mut [f32], add: bool, to: impl Fn([u8; N]) -> f32) {
    dispatch(
        #[inline(always)]
        || {
            let (xs, x_rest) = x.as_chunks::<LANES>();
            for (row, y) in bytes.chunks_exact((x.len() * N).max(1)).zip(y) {
                let (numbers, _) = row.as_chunks::<N>();
                let (blocks, rest) = numbers.as_chunks::<LANES>();
                let mut lanes = [0.0; LANES];
                for (block, x) in blocks.iter().zip(xs) {
                    gather(&mut lanes, &block.map(&to), x);
                }
                rest.iter().zip(x_rest).zip(&mut lanes).for_each(|((w, x), lane)| *lane += to(*w) * x);
                put(y, &lanes, add);
            }
        },
    );
}

/// Rows of whole blocks of `N` numbers in `B` bytes.
fn whole<const B: usize, const N: usize>(
    bytes: &[u8],
    x: &[f32],
    y: &mut [f32],
    add: bool,
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    dispatch(
        #[inline(always)]
        || {
            let (xs, _) = x.as_chunks::<N>();
            for (row, y) in bytes.chunks_exact((xs.len() * B).max(1)).zip(y) {
                let (mut lanes, mut w) = ([0.0; LANES], [0.0; N]);
                for (block, x) in row.as_chunks::<B>().0.iter().zip(xs) {
                    decode(block, &mut w);
                    let parts = w.as_chunks::<LANES>().0.iter().zip(x.as_chunks::<LANES>().0);
                    parts.for_each(|(w, x)| gather(&mut lanes, w, x));
                }
                put(y, &lanes, add);
            }
        },
    );
}

#[inline(always)]
fn gather(lanes: &mut [f32; LANES], w: &[f32; LANES], x: &[f32; LANES]) {
    for i in 0..LANES {
        lanes[i] += w[i] * x[i];
    }
}

#[inline(always)]
fn put(y: &mut f32, lanes: &[f32; LANES], add: bool) {
    let sum: f32 = lanes.iter().sum();
    *y = if add { *y + sum } else { sum };
}

/// An IEEE half as f32, exactly, in steps that loops can take side by side: its bits in the places of an f32's are that number
/// times 2^-112, also where it is subnormal.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    let finite = (f32::from_bits(magnitude) * SCALE).to_bits();
    let special = magnitude | 0x7f80_0000;
    f32::from_bits(sign | if bits & 0x7c00 == 0x7c00 { special } else { finite })
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_half_is_what_it_is() {
        for bits in 0..=u16::MAX {
            let (got, want) = (half(bits), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:#x}: {got} for {want}");
        }
    }
}
