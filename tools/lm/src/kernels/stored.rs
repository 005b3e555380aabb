//! How numbers that are stored in fewer bits become f32: sixteen at a time. Blocks are GGUF's, by the layout of ggml's
//! `block_q8_0`, `block_q4_K` and `block_q6_K`.

use super::{
    Isa, Kernel,
    lanes::{LANES, Lanes, half},
};
use crate::matrix::Stored;

/// Bytes of a block of Q8_0: an f16 scale and 32 signed bytes.
pub const Q8_0: usize = 34;
/// Bytes of a block of Q4_K: two f16, eight pairs of 6-bit scale and minimum in 12 bytes, 128 bytes of nibbles.
pub const Q4_K: usize = 144;
/// Bytes of a block of Q6_K: low nibbles, high pairs of bits, 16 signed scales, and an f16.
pub const Q6_K: usize = 210;

/// A way to store numbers, in blocks of `B` bytes.
pub trait Read<const B: usize> {
    /// Numbers of a block: a multiple of [`LANES`].
    const NUMBERS: usize;
    /// Calls `each` with the numbers of a block, sixteen at a time and in order, and which sixteen they are.
    fn block<S: Lanes>(set: S, block: &[u8; B], each: impl FnMut(usize, S::V));
}

/// What can be done with every way to store numbers.
pub trait Reader {
    /// What it gives.
    type Output;
    /// Does it.
    fn run<R: Read<B>, const B: usize>(self) -> Self::Output;
}

/// Calls `reader` with the way that `stored` names.
#[inline(always)]
pub fn with<R: Reader>(stored: Stored, reader: R) -> R::Output {
    match stored {
        Stored::F32 => reader.run::<Floats, 64>(),
        Stored::F16 => reader.run::<Halves, 32>(),
        Stored::BF16 => reader.run::<BFloats, 32>(),
        Stored::Q8_0 => reader.run::<Eight, Q8_0>(),
        Stored::Q4K => reader.run::<Four, Q4_K>(),
        Stored::Q6K => reader.run::<Six, Q6_K>(),
    }
}

/// Decodes `bytes`, which hold as many numbers as `out` has.
pub fn decode(stored: Stored, bytes: &[u8], out: &mut [f32]) {
    struct Decode<'a>(Stored, &'a [u8], &'a mut [f32]);
    impl Kernel for Decode<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Lanes>(self, set: S) {
            with(self.0, DecodeWith(set, self.1, self.2));
        }
    }
    struct DecodeWith<'a, S>(S, &'a [u8], &'a mut [f32]);
    impl<S: Lanes> Reader for DecodeWith<'_, S> {
        type Output = ();
        #[inline(always)]
        fn run<R: Read<B>, const B: usize>(self) {
            decode_as::<S, R, B>(self.0, self.1, self.2);
        }
    }
    Isa::best().run(Decode(stored, bytes, out));
}

/// Decodes `bytes`; the last block may be a part of one.
#[inline(always)]
pub fn decode_as<S: Lanes, R: Read<B>, const B: usize>(set: S, bytes: &[u8], out: &mut [f32]) {
    let (blocks, rest) = bytes.as_chunks::<B>();
    let whole = (blocks.len() * R::NUMBERS).min(out.len());
    let (outs, last) = out.split_at_mut(whole);
    for (block, out) in blocks.iter().zip(outs.chunks_exact_mut(R::NUMBERS)) {
        let (parts, _) = out.as_chunks_mut::<LANES>();
        R::block(
            set,
            block,
            #[inline(always)]
            |part, v| parts[part] = set.array(v),
        );
    }
    if !last.is_empty() {
        let mut block = [0; B];
        block[..rest.len()].copy_from_slice(rest);
        R::block(
            set,
            &block,
            #[inline(always)]
            |part, v| {
                let from = last.len().min(part * LANES);
                last[from..].iter_mut().zip(set.array(v)).for_each(|(to, x)| *to = x);
            },
        );
    }
}

struct Floats;
struct Halves;
struct BFloats;
struct Eight;
struct Four;
struct Six;

impl Read<64> for Floats {
    const NUMBERS: usize = LANES;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; 64], mut each: impl FnMut(usize, S::V)) {
        let mut numbers = [0.0; LANES];
        for (number, bytes) in numbers.iter_mut().zip(block.as_chunks().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        each(0, set.floats(&numbers));
    }
}

impl Read<32> for Halves {
    const NUMBERS: usize = LANES;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; 32], mut each: impl FnMut(usize, S::V)) {
        each(0, set.halves(block));
    }
}

impl Read<32> for BFloats {
    const NUMBERS: usize = LANES;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; 32], mut each: impl FnMut(usize, S::V)) {
        each(0, set.bf16(block));
    }
}

/// `x = d q`.
impl Read<Q8_0> for Eight {
    const NUMBERS: usize = 32;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; Q8_0], mut each: impl FnMut(usize, S::V)) {
        let scale = set.splat_half(u16::from_le_bytes([block[0], block[1]]));
        each(0, set.mul(scale, set.signed(part(block, 2))));
        each(1, set.mul(scale, set.signed(part(block, 18))));
    }
}

/// `x = (d s) q − (dmin m)` with a 6-bit `s` and `m` for each 32 numbers. 64 numbers share 32 bytes: the first half are
/// their low nibbles, the second half their high ones.
impl Read<Q4_K> for Four {
    const NUMBERS: usize = 256;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; Q4_K], mut each: impl FnMut(usize, S::V)) {
        let scales = scales(set, block);
        for pair in 0..4 {
            let with = [(scales[2 * pair], scales[2 * pair + 8]), (scales[2 * pair + 1], scales[2 * pair + 9])];
            let [a, c] = set.nibbles(part(block, 16 + 32 * pair), with);
            let [b, d] = set.nibbles(part(block, 32 + 32 * pair), with);
            each(4 * pair, a);
            each(4 * pair + 1, b);
            each(4 * pair + 2, c);
            each(4 * pair + 3, d);
        }
    }
}

/// The eight scales of a block of Q4_K times `d`, and its eight minima times `dmin`. Four scales and four minima have a byte
/// each, whose upper two bits belong to the other eight.
#[inline(always)]
fn scales<S: Lanes>(set: S, block: &[u8; Q4_K]) -> [f32; LANES] {
    let word = |at: usize| u32::from_le_bytes(*part(block, at));
    let (first, second, third) = (word(4), word(8), word(12));
    let six = |word: u32| word & 0x3f3f_3f3f;
    let four = |low: u32, upper: u32| low & 0x0f0f_0f0f | (upper >> 6 & 0x0303_0303) << 4;
    let words = [six(first), four(third, first), six(second), four(third >> 4, second)];
    let mut bytes = [0; LANES];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    let mut factors = [half(u16::from_le_bytes([block[0], block[1]])); LANES];
    factors[8..].fill(half(u16::from_le_bytes([block[2], block[3]])));
    set.array(set.mul(set.floats(&factors), set.signed(&bytes)))
}

/// `x = d s (q − 32)` with a signed `s` for each 16 numbers. 128 numbers share 64 bytes of nibbles and 32 bytes of high
/// bits: number `l` of quarter `k` has its nibble in byte `l + 32 (k mod 2)`, low for the first two quarters.
impl Read<Q6_K> for Six {
    const NUMBERS: usize = 256;

    #[inline(always)]
    fn block<S: Lanes>(set: S, block: &[u8; Q6_K], mut each: impl FnMut(usize, S::V)) {
        let scales = set
            .array(set.mul(set.splat_half(u16::from_le_bytes([block[208], block[209]])), set.signed(part(block, 192))));
        for side in 0..2 {
            for quarter in 0..4 {
                for half in 0..2 {
                    let low: &[u8; LANES] = part(block, 64 * side + 32 * (quarter % 2) + 16 * half);
                    let high: &[u8; LANES] = part(block, 128 + 32 * side + 16 * half);
                    let mut numbers = [0; LANES];
                    for ((number, low), high) in numbers.iter_mut().zip(low).zip(high) {
                        let bits = (low >> (4 * (quarter / 2)) & 15) | (high >> (2 * quarter) & 3) << 4;
                        *number = bits.wrapping_sub(32);
                    }
                    let which = 8 * side + 2 * quarter + half;
                    each(which, set.mul(set.splat(scales[which]), set.signed(&numbers)));
                }
            }
        }
    }
}

/// The `N` bytes from `at` on; zeros where there are none.
#[inline(always)]
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().unwrap_or(&[0; N])
}
