//! Sixteen f32 side by side: what kernels are written in.

use half::{bf16, f16};

use super::Kernel;

/// Numbers that are worked on side by side.
pub const LANES: usize = 16;

/// An instruction set. Every value holds [`LANES`] numbers.
pub trait Lanes: Copy + Send + Sync {
    /// The numbers, in registers.
    type V: Copy;
    /// Whether registers hold the sums of twelve products, else of six.
    const WIDE: bool;
    /// Whether a product and a sum are one instruction, which rounds once.
    const FUSED: bool = true;

    /// The same number in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// An IEEE half, little-endian bits, in every lane.
    fn splat_half(self, bits: u16) -> Self::V;
    /// Numbers in memory.
    fn floats(self, x: &[f32; LANES]) -> Self::V;
    /// IEEE halves, little-endian.
    fn halves(self, x: &[u8; 2 * LANES]) -> Self::V;
    /// Upper halves of f32, little-endian.
    fn bf16(self, x: &[u8; 2 * LANES]) -> Self::V;
    /// Signed bytes.
    fn signed(self, x: &[u8; LANES]) -> Self::V;
    /// `scale · q − minimum` of the low nibbles `q` with the first scale and minimum, and of the high ones with the second.
    fn nibbles(self, x: &[u8; LANES], with: [(f32, f32); 2]) -> [Self::V; 2];
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Back to memory.
    fn array(self, v: Self::V) -> [f32; LANES];
    /// The sum of all lanes, halves onto halves: the first eight with the last eight, and so on.
    fn total(self, v: Self::V) -> f32;
    /// Rows become columns.
    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let rows = rows.map(|row| self.array(row));
        std::array::from_fn(|column| self.floats(&std::array::from_fn(|row| rows[row][column])))
    }
    /// Has the processor fetch what will be read soon. It changes nothing.
    #[inline(always)]
    fn fetch<T>(self, _soon: &T) {}
    /// Runs `kernel` compiled for this set.
    fn with<K: Kernel>(self, kernel: K) -> K::Output;
}

/// An IEEE half as f32: its bits at the places of an f32's, with another bias of the exponent.
#[inline(always)]
pub fn half(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    match bits & 0x7c00 {
        0 | 0x7c00 => special(bits),
        _ => f32::from_bits(sign | (magnitude + (112 << 23))),
    }
}

/// Zeros, subnormals, infinities and NaN.
#[cold]
fn special(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32_const()
}

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Lanes for Portable {
    type V = [f32; LANES];
    const WIDE: bool = false;
    const FUSED: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn splat_half(self, bits: u16) -> Self::V {
        [half(bits); LANES]
    }

    #[inline(always)]
    fn floats(self, x: &[f32; LANES]) -> Self::V {
        *x
    }

    #[inline(always)]
    fn halves(self, x: &[u8; 2 * LANES]) -> Self::V {
        std::array::from_fn(|i| half(u16::from_le_bytes([x[2 * i], x[2 * i + 1]])))
    }

    #[inline(always)]
    fn bf16(self, x: &[u8; 2 * LANES]) -> Self::V {
        std::array::from_fn(|i| bf16::from_le_bytes([x[2 * i], x[2 * i + 1]]).to_f32())
    }

    #[inline(always)]
    fn signed(self, x: &[u8; LANES]) -> Self::V {
        x.map(|x| f32::from(x as i8))
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; LANES], [low, high]: [(f32, f32); 2]) -> [Self::V; 2] {
        [x.map(|x| low.0 * f32::from(x & 15) - low.1), x.map(|x| high.0 * f32::from(x >> 4) - high.1)]
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn array(self, v: Self::V) -> [f32; LANES] {
        v
    }

    #[inline(always)]
    fn total(self, mut v: Self::V) -> f32 {
        let mut n = LANES / 2;
        while n > 0 {
            for i in 0..n {
                v[i] += v[i + n];
            }
            n /= 2;
        }
        v[0]
    }

    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_what_it_is() {
        for bits in 0..=u16::MAX {
            let (got, want) = (half(bits), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:#x}: {got} for {want}");
        }
    }
}
