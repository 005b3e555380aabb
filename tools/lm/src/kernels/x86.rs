//! AVX-512 in one register, AVX2 in two. `pulp` hands out an instruction only with the proof that the processor has it, so that
//! nothing here is unsafe.

use std::arch::x86_64::{__m128i, __m256, __m512, _MM_HINT_T0};

use pulp::{
    NullaryFnOnce, Simd, cast, f32x8, f32x16,
    x86::{V3, V4},
};

use super::{
    Kernel,
    lanes::{LANES, Lanes, half},
};

/// A kernel with its set, as `pulp` takes it.
struct Op<K, S>(K, S);

impl<K: Kernel, S: Lanes> NullaryFnOnce for Op<K, S> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.0.run(self.1)
    }
}

impl Lanes for V4 {
    type V = f32x16;
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> f32x16 {
        self.splat_f32x16(x)
    }

    #[inline(always)]
    fn splat_half(self, bits: u16) -> f32x16 {
        cast(self.avx512f._mm512_cvtph_ps(self.avx._mm256_set1_epi16(bits as i16)))
    }

    #[inline(always)]
    fn floats(self, x: &[f32; LANES]) -> f32x16 {
        cast(*x)
    }

    #[inline(always)]
    fn halves(self, x: &[u8; 2 * LANES]) -> f32x16 {
        cast(self.avx512f._mm512_cvtph_ps(cast(*x)))
    }

    #[inline(always)]
    fn bf16(self, x: &[u8; 2 * LANES]) -> f32x16 {
        cast(self.avx512f._mm512_slli_epi32::<16>(self.avx512f._mm512_cvtepu16_epi32(cast(*x))))
    }

    #[inline(always)]
    fn signed(self, x: &[u8; LANES]) -> f32x16 {
        cast(self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepi8_epi32(cast(*x))))
    }

    /// A nibble has sixteen values: what each becomes is looked up. The lookup itself ignores all but four bits.
    #[inline(always)]
    fn nibbles(self, x: &[u8; LANES], [low, high]: [(f32, f32); 2]) -> [f32x16; 2] {
        let all: f32x16 =
            cast([0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]);
        let low = self.sub_f32x16(self.mul(self.splat(low.0), all), self.splat(low.1));
        let high = self.sub_f32x16(self.mul(self.splat(high.0), all), self.splat(high.1));
        let wide = self.avx512f._mm512_cvtepu8_epi32(cast(*x));
        let up = self.avx512f._mm512_srli_epi32::<4>(wide);
        [
            cast(self.avx512f._mm512_permutexvar_ps(wide, cast(low))),
            cast(self.avx512f._mm512_permutexvar_ps(up, cast(high))),
        ]
    }

    #[inline(always)]
    fn mul(self, a: f32x16, b: f32x16) -> f32x16 {
        self.mul_f32x16(a, b)
    }

    #[inline(always)]
    fn fma(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        self.mul_add_f32x16(a, b, c)
    }

    #[inline(always)]
    fn array(self, v: f32x16) -> [f32; LANES] {
        cast(v)
    }

    #[inline(always)]
    fn total(self, v: f32x16) -> f32 {
        self.reduce_sum_f32s(v)
    }

    /// Pairs, fours, eights and sixteens change places in turn.
    #[inline(always)]
    fn transpose(self, mut rows: [f32x16; LANES]) -> [f32x16; LANES] {
        let f = self.avx512f;
        for four in rows.as_chunks_mut::<4>().0 {
            let [a, b, c, d]: [__m512; 4] = [cast(four[0]), cast(four[1]), cast(four[2]), cast(four[3])];
            let (ab, cd) = (cast(f._mm512_unpacklo_ps(a, b)), cast(f._mm512_unpacklo_ps(c, d)));
            let (ab2, cd2) = (cast(f._mm512_unpackhi_ps(a, b)), cast(f._mm512_unpackhi_ps(c, d)));
            four[0] = cast(f._mm512_unpacklo_pd(ab, cd));
            four[1] = cast(f._mm512_unpackhi_pd(ab, cd));
            four[2] = cast(f._mm512_unpacklo_pd(ab2, cd2));
            four[3] = cast(f._mm512_unpackhi_pd(ab2, cd2));
        }
        for i in 0..4 {
            let [a, b, c, d]: [__m512; 4] = [cast(rows[i]), cast(rows[4 + i]), cast(rows[8 + i]), cast(rows[12 + i])];
            let [ab, cd] = [f._mm512_shuffle_f32x4::<0x88>(a, b), f._mm512_shuffle_f32x4::<0x88>(c, d)];
            let [ab2, cd2] = [f._mm512_shuffle_f32x4::<0xdd>(a, b), f._mm512_shuffle_f32x4::<0xdd>(c, d)];
            rows[i] = cast(f._mm512_shuffle_f32x4::<0x88>(ab, cd));
            rows[8 + i] = cast(f._mm512_shuffle_f32x4::<0xdd>(ab, cd));
            rows[4 + i] = cast(f._mm512_shuffle_f32x4::<0x88>(ab2, cd2));
            rows[12 + i] = cast(f._mm512_shuffle_f32x4::<0xdd>(ab2, cd2));
        }
        rows
    }

    #[inline(always)]
    fn fetch<T>(self, soon: &T) {
        self.sse._mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(soon).cast());
    }

    #[inline(always)]
    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        Simd::vectorize(self, Op(kernel, self))
    }
}

/// Both registers of a value.
type Two = [f32x8; 2];

/// The first and the second half.
#[inline(always)]
fn halved<const N: usize, const H: usize>(x: &[u8; N]) -> [[u8; H]; 2] {
    let part = |at: usize| x[at..].first_chunk().copied().unwrap_or([0; H]);
    [part(0), part(H)]
}

/// Eight IEEE halves. AVX2 does not promise the instruction for it, so it is done by their bits: at the places of an f32's they
/// are that number times 2^-112, also where it is subnormal.
#[inline(always)]
fn halves8(set: V3, x: __m128i) -> f32x8 {
    let bits = set.avx2._mm256_cvtepu16_epi32(x);
    let magnitude = set.avx2._mm256_and_si256(bits, set.avx._mm256_set1_epi32(0x7fff));
    let magnitude = set.avx2._mm256_slli_epi32::<13>(magnitude);
    let sign = set.avx2._mm256_and_si256(bits, set.avx._mm256_set1_epi32(0x8000));
    let sign = set.avx2._mm256_slli_epi32::<16>(sign);
    let scale = set.avx._mm256_set1_ps(f32::from_bits((112 + 127) << 23));
    let finite = set.avx._mm256_mul_ps(cast(magnitude), scale);
    let special = set.avx2._mm256_cmpgt_epi32(magnitude, set.avx._mm256_set1_epi32(0x0f7f_ffff));
    let special = set.avx2._mm256_and_si256(special, set.avx._mm256_set1_epi32(0x7f80_0000));
    cast(set.avx._mm256_or_ps(set.avx._mm256_or_ps(finite, cast(special)), cast(sign)))
}

#[inline(always)]
fn bf16x8(set: V3, x: __m128i) -> f32x8 {
    cast(set.avx2._mm256_slli_epi32::<16>(set.avx2._mm256_cvtepu16_epi32(x)))
}

#[inline(always)]
fn signed16(set: V3, x: __m128i) -> Two {
    let upper = set.sse2._mm_srli_si128::<8>(x);
    [
        cast(set.avx._mm256_cvtepi32_ps(set.avx2._mm256_cvtepi8_epi32(x))),
        cast(set.avx._mm256_cvtepi32_ps(set.avx2._mm256_cvtepi8_epi32(upper))),
    ]
}

/// Rows of eight numbers become columns: pairs, fours and eights change places in turn.
#[inline(always)]
fn transpose8(set: V3, rows: [f32x8; 8]) -> [f32x8; 8] {
    let (f, mut fours) = (set.avx, rows);
    for four in fours.as_chunks_mut::<4>().0 {
        let [a, b, c, d]: [__m256; 4] = [cast(four[0]), cast(four[1]), cast(four[2]), cast(four[3])];
        let (ab, cd) = (f._mm256_unpacklo_ps(a, b), f._mm256_unpacklo_ps(c, d));
        let (ab2, cd2) = (f._mm256_unpackhi_ps(a, b), f._mm256_unpackhi_ps(c, d));
        four[0] = cast(f._mm256_shuffle_ps::<0x44>(ab, cd));
        four[1] = cast(f._mm256_shuffle_ps::<0xee>(ab, cd));
        four[2] = cast(f._mm256_shuffle_ps::<0x44>(ab2, cd2));
        four[3] = cast(f._mm256_shuffle_ps::<0xee>(ab2, cd2));
    }
    let mut columns = fours;
    for i in 0..4 {
        let (first, last) = (cast(fours[i]), cast(fours[4 + i]));
        columns[i] = cast(f._mm256_permute2f128_ps::<0x20>(first, last));
        columns[4 + i] = cast(f._mm256_permute2f128_ps::<0x31>(first, last));
    }
    columns
}

impl Lanes for V3 {
    type V = Two;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Two {
        [self.splat_f32x8(x); 2]
    }

    #[inline(always)]
    fn splat_half(self, bits: u16) -> Two {
        self.splat(half(bits))
    }

    #[inline(always)]
    fn floats(self, x: &[f32; LANES]) -> Two {
        cast(*x)
    }

    #[inline(always)]
    fn halves(self, x: &[u8; 2 * LANES]) -> Two {
        let [a, b] = halved::<32, 16>(x);
        [halves8(self, cast(a)), halves8(self, cast(b))]
    }

    #[inline(always)]
    fn bf16(self, x: &[u8; 2 * LANES]) -> Two {
        let [a, b] = halved::<32, 16>(x);
        [bf16x8(self, cast(a)), bf16x8(self, cast(b))]
    }

    #[inline(always)]
    fn signed(self, x: &[u8; LANES]) -> Two {
        signed16(self, cast(*x))
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; LANES], [low, high]: [(f32, f32); 2]) -> [Two; 2] {
        let (all, mask): (__m128i, _) = (cast(*x), self.sse2._mm_set1_epi8(15));
        let a = signed16(self, self.sse2._mm_and_si128(all, mask));
        let b = signed16(self, self.sse2._mm_and_si128(self.sse2._mm_srli_epi16::<4>(all), mask));
        let (m, n) = (self.splat_f32x8(low.1), self.splat_f32x8(high.1));
        let (a, b) = (self.mul(a, self.splat(low.0)), self.mul(b, self.splat(high.0)));
        [[self.sub_f32x8(a[0], m), self.sub_f32x8(a[1], m)], [self.sub_f32x8(b[0], n), self.sub_f32x8(b[1], n)]]
    }

    #[inline(always)]
    fn mul(self, a: Two, b: Two) -> Two {
        [self.mul_f32x8(a[0], b[0]), self.mul_f32x8(a[1], b[1])]
    }

    #[inline(always)]
    fn fma(self, a: Two, b: Two, c: Two) -> Two {
        [self.mul_add_f32x8(a[0], b[0], c[0]), self.mul_add_f32x8(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn array(self, v: Two) -> [f32; LANES] {
        cast(v)
    }

    #[inline(always)]
    fn total(self, [low, high]: Two) -> f32 {
        self.reduce_sum_f32s(self.add_f32x8(low, high))
    }

    #[inline(always)]
    fn transpose(self, rows: [Two; LANES]) -> [Two; LANES] {
        let mut columns = rows;
        for row in [0, 8] {
            for half in 0..2 {
                let mut square = [rows[0][0]; 8];
                for i in 0..8 {
                    square[i] = rows[row + i][half];
                }
                let square = transpose8(self, square);
                for i in 0..8 {
                    columns[8 * half + i][row / 8] = square[i];
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn fetch<T>(self, soon: &T) {
        self.sse._mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(soon).cast());
    }

    #[inline(always)]
    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        Simd::vectorize(self, Op(kernel, self))
    }
}
