//! Matrix products and element-wise kernels on plain f32 slices. Each runs on the calling thread only: threads are used
//! one level up, over shards of a batch, so that the order of every sum is the same for any number of threads.

use std::sync::OnceLock;

use crate::{
    config::{Activation, Config},
    kernels::{
        Isa, dispatch, dispatch_fused,
        product::{Columns, DEPTH, Operand, Rows, To, multiply},
    },
};

/// Rows and terms of which a left operand is laid out at a time: of an output layer one of both is the number of tokens.
pub(crate) const LARGEST: usize = 16 * DEPTH;

/// `to (+)= scale · a b`: `dims` are rows, columns and terms, and `to` has this stride between its rows. A row has the same bits
/// however many rows there are.
pub fn product(
    (m, n, k): (usize, usize, usize),
    (to, stride): (&mut [f32], usize),
    a: Operand<'_>,
    b: Operand<'_>,
    (add, scale): (bool, f32),
) {
    for row in (0..m).step_by(LARGEST) {
        for term in (0..k.max(1)).step_by(LARGEST) {
            let part = (LARGEST.min(m - row), LARGEST.min(k - term));
            let rows = Rows::new(Isa::best(), part, a.from(row, term));
            let numbers = &mut to[row * stride..];
            let to = To { numbers, stride, columns: n, add: add || term > 0, scale };
            multiply(&[(&rows, Columns::InPlace(b.from(0, term)))], to);
        }
    }
}

/// `dst[m,n] (+)= scale · a[m,k] · b[n,k]ᵀ`: a linear layer with its weight stored `[out, in]`.
pub fn nt((m, n, k): (usize, usize, usize), dst: &mut [f32], a: &[f32], b: &[f32], add: bool, scale: f32) {
    product((m, n, k), (dst, n), Operand::rows(a, k), Operand::rows(b, k), (add, scale));
}

/// `dst[m,n] (+)= scale · a[m,k] · b[k,n]`: the input gradient of a linear layer.
pub fn nn((m, n, k): (usize, usize, usize), dst: &mut [f32], a: &[f32], b: &[f32], add: bool, scale: f32) {
    product((m, n, k), (dst, n), Operand::rows(a, k), Operand::columns(b, n), (add, scale));
}

/// `dst[m,n] (+)= scale · a[k,m]ᵀ · b[k,n]`: the weight gradient of a linear layer.
pub fn tn((m, n, k): (usize, usize, usize), dst: &mut [f32], a: &[f32], b: &[f32], add: bool, scale: f32) {
    product((m, n, k), (dst, n), Operand::columns(a, m), Operand::columns(b, n), (add, scale));
}

/// `a · b + c`; rounded once where that is one instruction.
#[inline(always)]
fn fma(a: f32, b: f32, c: f32, fused: bool) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// e^x to about 2 units in the last place, without branches so that loops over it vectorise (range reduction by ln 2
/// and a polynomial of degree 6, after Cephes). Below −87 it gives 0.
#[inline(always)]
fn exp(x: f32, fused: bool) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5·2^23: adding it rounds to the nearest integer, which the lowest bits hold then
    const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];
    let clamped = x.clamp(-87.0, 88.0);
    let rounded = fma(clamped, std::f32::consts::LOG2_E, MAGIC, fused);
    let n = rounded - MAGIC;
    let r = fma(n, 2.121_944_4e-4, fma(n, -0.693_359_4, clamped, fused), fused);
    let mut p = TERMS[0];
    for term in &TERMS[1..] {
        p = fma(p, r, *term, fused);
    }
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { fma(p, r * r, r + 1.0, fused) * scale }
}

/// Sum in sixteen lanes, so that it vectorises in a fixed order.
#[inline(always)]
fn sum16(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let whole = len / 16 * 16;
    let mut i = 0;
    while i < whole {
        for (lane, slot) in lanes.iter_mut().enumerate() {
            *slot += term(i + lane);
        }
        i += 16;
    }
    for (lane, i) in (whole..len).enumerate() {
        lanes[lane] += term(i);
    }
    lanes.iter().sum()
}

/// Each number becomes `e^(x − max)`; gives their sum, in the order of [`sum16`].
#[inline(always)]
fn exponentials(x: &mut [f32], max: f32, fused: bool) -> f32 {
    let mut lanes = [0.0f32; 16];
    for chunk in x.chunks_mut(16) {
        for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
            *x = exp(*x - max, fused);
            *lane += *x;
        }
    }
    lanes.iter().sum()
}

/// Euclidean norm.
pub fn norm(x: &[f32]) -> f32 {
    dispatch(|| sum16(x.len(), |i| x[i] * x[i])).sqrt()
}

/// The largest number, in sixteen lanes; −∞ where there is none. NaN counts as nothing.
#[inline(always)]
fn max16(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, v);
        }
    }
    lanes.into_iter().fold(rest, larger)
}

/// Index of the first number that equals `wanted`; 0 where none does. Whole pieces are compared at a time.
#[inline(always)]
fn first_equal(values: &[f32], wanted: f32) -> usize {
    const PIECE: usize = 256;
    let has = |piece: &&[f32]| piece.iter().fold(false, |found, &v| found | (v == wanted));
    let (at, piece) = match values.chunks(PIECE).enumerate().find(|(_, piece)| has(piece)) {
        Some((i, piece)) => (i * PIECE, piece),
        None => return 0,
    };
    at + piece.iter().position(|&v| v == wanted).unwrap_or(0)
}

/// What a model's norms have in common.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// Added to each weight: 0, or 1 where the gain is 1 + weight.
    pub offset: f32,
}

impl RmsNorm {
    /// The norms of a model of this shape.
    pub fn new(config: &Config) -> Self {
        RmsNorm { eps: config.rms_norm_eps as f32, offset: f32::from(u8::from(config.norm_offset)) }
    }

    /// Root-mean-square norm of each row: `y = x / rms(x) · (g + offset)`; keeps `1/rms` of each row in `inv`.
    pub fn forward(&self, x: &[f32], g: &[f32], y: &mut [f32], inv: &mut [f32]) {
        let RmsNorm { eps, offset } = *self;
        dispatch(
            #[inline(always)]
            || {
                let h = g.len();
                for ((x, y), inv) in x.chunks_exact(h).zip(y.chunks_exact_mut(h)).zip(inv) {
                    let scale = 1.0 / (sum16(h, |i| x[i] * x[i]) / h as f32 + eps).sqrt();
                    *inv = scale;
                    for i in 0..h {
                        y[i] = x[i] * scale * (g[i] + offset);
                    }
                }
            },
        );
    }

    /// Gradient of [`RmsNorm::forward`]: adds to `dx`, and to `dg` where the gain is trained.
    pub fn backward(&self, x: &[f32], g: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], mut dg: Option<&mut [f32]>) {
        let offset = self.offset;
        dispatch(
            #[inline(always)]
            || {
                let h = g.len();
                let rows = x.chunks_exact(h).zip(dy.chunks_exact(h)).zip(dx.chunks_exact_mut(h)).zip(inv);
                for (((x, dy), dx), &inv) in rows {
                    let dot = sum16(h, |i| x[i] * (g[i] + offset) * dy[i]) * inv * inv * inv / h as f32;
                    for i in 0..h {
                        dx[i] += inv * (g[i] + offset) * dy[i] - x[i] * dot;
                    }
                    if let Some(dg) = dg.as_deref_mut() {
                        for i in 0..h {
                            dg[i] += dy[i] * x[i] * inv;
                        }
                    }
                }
            },
        );
    }
}

/// `a = activation(gate) · up`.
pub fn glu(activation: Activation, gate: &[f32], up: &[f32], a: &mut [f32]) {
    match activation {
        Activation::Silu => swiglu(gate, up, a),
        Activation::GeluTanh => geglu(gate, up, a),
    }
}

/// Gradient of [`glu`], in place: `gate` becomes dgate, `up` becomes dup, and `da` becomes `a`.
pub fn glu_backward(activation: Activation, gate: &mut [f32], up: &mut [f32], da: &mut [f32]) {
    match activation {
        Activation::Silu => swiglu_backward(gate, up, da),
        Activation::GeluTanh => geglu_backward(gate, up, da),
    }
}

const GELU_SLOPE: f32 = 1.595_769; // 2·√(2/π)
const GELU_CUBIC: f32 = 0.044_715;

/// `½(1 + tanh(√(2/π)(g + 0.044715 g³)))`, which is a sigmoid of twice that argument.
#[inline(always)]
fn gelu_gate(g: f32, fused: bool) -> f32 {
    1.0 / (1.0 + exp(-GELU_SLOPE * g * (1.0 + GELU_CUBIC * g * g), fused))
}

/// `a = gelu(gate) · up`, with GELU's tanh approximation.
pub fn geglu(gate: &[f32], up: &[f32], a: &mut [f32]) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            for ((a, &g), &u) in a.iter_mut().zip(gate).zip(up) {
                *a = g * gelu_gate(g, fused) * u;
            }
        },
    );
}

/// Gradient of [`geglu`], in place as that of [`glu`].
pub fn geglu_backward(gate: &mut [f32], up: &mut [f32], da: &mut [f32]) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            for ((g, u), d) in gate.iter_mut().zip(up.iter_mut()).zip(da) {
                let s = gelu_gate(*g, fused);
                let slope = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * *g * *g);
                let dg = *d * *u * s * (1.0 + *g * (1.0 - s) * slope);
                let (du, a) = (*d * *g * s, *g * s * *u);
                (*g, *u, *d) = (dg, du, a);
            }
        },
    );
}

/// `a = silu(gate) · up`.
pub fn swiglu(gate: &[f32], up: &[f32], a: &mut [f32]) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            for ((a, &g), &u) in a.iter_mut().zip(gate).zip(up) {
                *a = g / (1.0 + exp(-g, fused)) * u;
            }
        },
    );
}

/// Gradient of [`swiglu`], in place as that of [`glu`].
pub fn swiglu_backward(gate: &mut [f32], up: &mut [f32], da: &mut [f32]) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            for ((g, u), d) in gate.iter_mut().zip(up.iter_mut()).zip(da) {
                let s = 1.0 / (1.0 + exp(-*g, fused));
                let silu = *g * s;
                let dg = *d * *u * s * (1.0 + *g * (1.0 - s));
                let (du, a) = (*d * silu, silu * *u);
                (*g, *u, *d) = (dg, du, a);
            }
        },
    );
}

/// Causal softmax in place: row `i` of `p` (row length `total`) keeps columns `0..=start+i`, or the last `window` of
/// them; the rest become 0.
pub fn causal_softmax(p: &mut [f32], total: usize, start: usize, window: Option<usize>) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            for (i, row) in p.chunks_exact_mut(total).enumerate() {
                let end = start + i + 1;
                let (kept, masked) = row.split_at_mut(end);
                let (before, kept) = kept.split_at_mut(window.map_or(0, |window| end.saturating_sub(window)));
                before.fill(0.0);
                let max = max16(kept);
                let scale = 1.0 / exponentials(kept, max, fused);
                for v in kept.iter_mut() {
                    *v *= scale;
                }
                masked.fill(0.0);
            }
        },
    );
}

/// Gradient of a row-wise softmax: `dp` becomes `p · (dp − Σ p·dp)`.
pub fn softmax_backward(p: &[f32], dp: &mut [f32], total: usize) {
    dispatch(
        #[inline(always)]
        || {
            for (p, dp) in p.chunks_exact(total).zip(dp.chunks_exact_mut(total)) {
                let dot = sum16(total, |j| p[j] * dp[j]);
                for j in 0..total {
                    dp[j] = p[j] * (dp[j] - dot);
                }
            }
        },
    );
}

/// One row of logits: returns (log of the sum of exponentials, index of the first maximum), and turns the row into
/// probabilities times `softmax` where that is given.
pub fn log_sum_exp(row: &mut [f32], softmax: Option<f32>) -> (f32, usize) {
    dispatch_fused(
        #[inline(always)]
        |fused| {
            let max = max16(row);
            let best = first_equal(row, max);
            let sum = if let Some(factor) = softmax {
                let sum = exponentials(row, max, fused);
                let scale = factor / sum;
                for v in row.iter_mut() {
                    *v *= scale;
                }
                sum
            } else {
                sum16(row.len(), |j| exp(row[j] - max, fused))
            };
            (max + sum.ln(), best)
        },
    )
}

/// Cosines and sines of the rotary embedding, made when they are first used: few rows are as long as a model's context.
#[derive(Debug)]
pub struct Rope {
    /// Of [`POSITIONS`] positions each: for every position `[head_dim / 2]` cosines, then as many sines.
    blocks: Vec<OnceLock<Vec<f32>>>,
    inverse: Vec<f32>,
}

/// Positions whose cosines and sines are made together.
const POSITIONS: usize = 256;

impl Rope {
    /// Tables for `positions` positions and these frequencies, `[head_dim / 2]`. Angles in f32 as transformers computes
    /// them.
    pub fn new(positions: usize, inverse: Vec<f32>) -> Self {
        Rope { blocks: (0..positions.div_ceil(POSITIONS)).map(|_| OnceLock::new()).collect(), inverse }
    }

    /// The cosines and sines of a position.
    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let half = self.inverse.len();
        let block = self.blocks[position / POSITIONS].get_or_init(|| {
            let first = position / POSITIONS * POSITIONS;
            let row = |p: usize| {
                let angles = move |f: fn(f32) -> f32| self.inverse.iter().map(move |inverse| f(p as f32 * inverse));
                angles(f32::cos).chain(angles(f32::sin))
            };
            (first..first + POSITIONS).flat_map(row).collect()
        });
        block[position % POSITIONS * 2 * half..][..2 * half].split_at(half)
    }

    /// Rotates the heads of each row in place (`sign` 1), or back (`sign` −1, which is the gradient). Row `i` stands at
    /// position `start + i`; the halves of a head are rotated against each other, as in transformers.
    pub fn rotate(&self, x: &mut [f32], heads: usize, start: usize, sign: f32) {
        let half = self.inverse.len();
        let dim = half * 2;
        dispatch(
            #[inline(always)]
            || {
                for (i, row) in x.chunks_exact_mut(heads * dim).enumerate() {
                    let (cos, sin) = self.at(start + i);
                    for head in row.chunks_exact_mut(dim) {
                        let (a, b) = head.split_at_mut(half);
                        for j in 0..half {
                            let (p, q) = (a[j], b[j]);
                            a[j] = p * cos[j] - q * sin[j] * sign;
                            b[j] = q * cos[j] + p * sin[j] * sign;
                        }
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_agrees_with_the_standard_library() {
        for fused in [false, true] {
            for x in (-8_600..8_800).map(|i| i as f32 / 100.0) {
                assert!(((super::exp(x, fused) - x.exp()) / x.exp()).abs() < 3e-7, "{x}");
            }
            assert_eq!(super::exp(f32::NEG_INFINITY, fused), 0.0);
            assert!(super::exp(f32::NAN, fused).is_nan());
        }
    }

    /// Against the definition in f64, far out too, where squares and exponentials overflow.
    #[test]
    fn gelu_and_its_gradient_are_those_of_the_definition() {
        let definition = |x: f64| {
            let (c, t) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044_715);
            let tanh = (c * (x + t * x * x * x)).tanh();
            let slope = 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * c * (1.0 + 3.0 * t * x * x);
            (0.5 * x * (1.0 + tanh), slope)
        };
        let near = |got: f32, want: f64, x: f32| {
            assert!((f64::from(got) - want).abs() <= 2e-6 * want.abs().max(1.0), "{got} instead of {want} at {x}");
        };
        for x in (-800..=800).map(|i| i as f32 / 100.0).chain([-3e4, -1e3, -20.0, 20.0, 1e3, 3e4]) {
            let (value, slope) = definition(f64::from(x));
            let (mut gate, mut up, mut act) = ([x], [2.0], [0.0]);
            super::geglu(&gate, &up, &mut act);
            near(act[0] / 2.0, value, x);
            let mut act = [0.5];
            super::geglu_backward(&mut gate, &mut up, &mut act);
            near(act[0] / 2.0, value, x);
            near(gate[0], slope, x);
            near(up[0] * 2.0, value, x);
        }
    }
}
