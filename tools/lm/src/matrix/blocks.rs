//! GGUF's blocks of quantised numbers, by the layout of ggml's `block_q8_0`, `block_q4_K` and `block_q6_K`.

use half::f16;

/// Bytes of a block of Q8_0: an f16 scale and 32 signed bytes.
pub(crate) const Q8_0: usize = 34;
/// Bytes of a block of Q4_K: two f16, eight pairs of 6-bit scale and minimum in 12 bytes, 128 bytes of nibbles.
pub(crate) const Q4_K: usize = 144;
/// Bytes of a block of Q6_K: low nibbles, high pairs of bits, 16 signed scales, and an f16.
pub(crate) const Q6_K: usize = 210;

/// Decodes one block after the other.
pub(super) fn decode<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (outs, _) = out.as_chunks_mut::<N>();
    blocks.iter().zip(outs).for_each(|(bytes, out)| block(bytes, out));
}

#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// `x = d q`.
#[inline(always)]
pub(super) fn q8_0(bytes: &[u8; Q8_0], out: &mut [f32; 32]) {
    let d = half(bytes, 0);
    for (x, q) in out.iter_mut().zip(&bytes[2..]) {
        *x = d * f32::from(*q as i8);
    }
}

/// `x = (d s) q - (dmin m)` with a 6-bit `s` and `m` for each 32 numbers. 64 numbers share 32 bytes: the first half are
/// their low nibbles, the second half their high ones.
#[inline(always)]
pub(super) fn q4_k(bytes: &[u8; Q4_K], out: &mut [f32; 256]) {
    let (d, dmin) = (half(bytes, 0), half(bytes, 2));
    let scales = &bytes[4..16];
    let pair = |j: usize| match j {
        0..4 => (scales[j] & 63, scales[j + 4] & 63),
        _ => ((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4, (scales[j + 4] >> 4) | (scales[j] >> 6) << 4),
    };
    for (j, (out, nibbles)) in out.chunks_exact_mut(64).zip(bytes[16..].chunks_exact(32)).enumerate() {
        let (low, high) = out.split_at_mut(32);
        for (part, shift, i) in [(low, 0, 2 * j), (high, 4, 2 * j + 1)] {
            let (scale, minimum) = pair(i);
            let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
            for (x, q) in part.iter_mut().zip(nibbles) {
                *x = scale * f32::from(q >> shift & 15) - minimum;
            }
        }
    }
}

/// `x = d s (q - 32)` with a signed `s` for each 16 numbers. 128 numbers share 64 bytes of nibbles and 32 bytes of high
/// bits: number `l` of quarter `k` has its nibble in byte `l + 32 (k mod 2)`, low for the first two quarters.
#[inline(always)]
pub(super) fn q6_k(bytes: &[u8; Q6_K], out: &mut [f32; 256]) {
    let d = half(bytes, 208);
    for (h, out) in out.chunks_exact_mut(128).enumerate() {
        let (low, high, scales) = (&bytes[64 * h..][..64], &bytes[128 + 32 * h..][..32], &bytes[192 + 8 * h..][..8]);
        for (k, out) in out.chunks_exact_mut(32).enumerate() {
            let nibbles = &low[32 * (k % 2)..][..32];
            for (l, (x, (q, h))) in out.iter_mut().zip(nibbles.iter().zip(high)).enumerate() {
                let q = (q >> (4 * (k / 2)) & 15) | (h >> (2 * k) & 3) << 4;
                *x = d * f32::from(scales[2 * k + l / 16] as i8) * (f32::from(q) - 32.0);
            }
        }
    }
}
