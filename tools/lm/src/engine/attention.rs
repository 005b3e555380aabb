//! Causal attention of one segment: `len` new rows that follow `start` earlier ones. Scores are made per head and block of rows.

use std::ops::Range;

use crate::{
    config::Config,
    kernels::{
        Isa,
        attend::{Rows, Scores, Values},
        product::Operand,
    },
};

use super::math::{causal_softmax, product, softmax_backward};

/// Sizes of an attention block, and how far back it sees.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub q: usize,
    /// Key and value heads; each serves `q / kv` query heads.
    pub kv: usize,
    /// Width of one head.
    pub dim: usize,
    /// Positions that a row sees, its own and those right before it; `None`: all up to its own.
    pub window: Option<usize>,
    /// Scores are multiplied by it.
    pub scale: f32,
}

impl Heads {
    /// The attention block of `layer`.
    pub fn new(config: &Config, layer: usize) -> Self {
        Heads {
            q: config.num_attention_heads,
            kv: config.num_key_value_heads,
            dim: config.head_dim,
            window: config.window(layer),
            scale: config.attention_scale(),
        }
    }

    /// The query rows in blocks, each with the keys that some row of it sees.
    fn blocks(&self, len: usize, start: usize) -> impl Iterator<Item = Block> + use<> {
        let window = self.window;
        (0..len).step_by(BLOCK).map(move |first| {
            let rows = first..len.min(first + BLOCK);
            let unseen = window.map_or(0, |window| (start + first + 1).saturating_sub(window));
            Block { keys: unseen..start + rows.end, rows }
        })
    }

    /// Probabilities of query head `h` over the keys of `block`, `[rows, keys]`.
    fn probabilities(&self, h: usize, block: &Block, start: usize, q: &[f32], k: &[f32], p: &mut [f32]) {
        let (len, total) = (block.rows.len(), block.keys.len());
        let (sq, sk) = (self.q * self.dim, self.kv * self.dim);
        product(
            (len, total, self.dim),
            (p, total),
            Operand::rows(&q[block.rows.start * sq + h * self.dim..], sq),
            Operand::rows(&k[block.keys.start * sk + self.group(h) * self.dim..], sk),
            (false, self.scale),
        );
        causal_softmax(p, total, start + block.rows.start - block.keys.start, self.window);
    }

    /// The key head that serves query head `h`.
    fn group(&self, h: usize) -> usize {
        h / (self.q / self.kv)
    }
}

/// Query rows that are worked on together: what lies above the diagonal beyond a block is never computed.
const BLOCK: usize = 64;

/// Some query rows, and the keys that one of them sees at least.
struct Block {
    rows: Range<usize>,
    keys: Range<usize>,
}

/// Keys whose values are summed in one go. Sums begin at multiples of it, so that a row has the same bits whichever rows
/// are worked on together with it.
const KEYS: usize = 256;

/// `out[len, ·] = softmax(scale · q kᵀ) v`, causal and within the window. `q` has `len` rows; `k` and `v` have
/// `start + len`. A row has the same bits whatever rows come with it.
pub fn forward(
    heads: Heads,
    (len, start): (usize, usize),
    (q, k, v): (&[f32], &[f32], &[f32]),
    out: &mut [f32],
    p: &mut Vec<f32>,
) {
    let (sq, sk, dim) = (heads.q * heads.dim, heads.kv * heads.dim, heads.dim);
    for h in 0..heads.q {
        for mut block in heads.blocks(len, start) {
            block.keys.start -= block.keys.start % KEYS;
            let (n, total) = (block.rows.len(), block.keys.len());
            p.resize(n * total, 0.0);
            heads.probabilities(h, &block, start, q, k, p);
            for first in (0..total).step_by(KEYS) {
                product(
                    (n, dim, KEYS.min(total - first)),
                    (&mut out[block.rows.start * sq + h * dim..], sq),
                    Operand::rows(&p[first..], total),
                    Operand::columns(&v[(block.keys.start + first) * sk + heads.group(h) * dim..], sk),
                    (first > 0, 1.0),
                );
            }
        }
    }
}

/// The same for one new row after `start` earlier ones, as each step of a generation has it: faster, in another order of
/// sums.
pub fn step(heads: Heads, start: usize, (q, k, v): (&[f32], &[f32], &[f32]), out: &mut [f32], p: &mut Vec<f32>) {
    let (stride, dim, isa) = (heads.kv * heads.dim, heads.dim, Isa::best());
    let unseen = heads.window.map_or(0, |window| (start + 1).saturating_sub(window));
    let count = start + 1 - unseen;
    let shared = heads.q / heads.kv;
    p.resize(shared * count, 0.0);
    for (group, (q, out)) in q.chunks_exact(shared * dim).zip(out.chunks_exact_mut(shared * dim)).enumerate() {
        let rows = |numbers| Rows { numbers, stride, count };
        let first = unseen * stride + group * dim;
        isa.run(Scores { q, dim, keys: rows(&k[first..]), scale: heads.scale, scores: p });
        p.chunks_exact_mut(count).for_each(|p| causal_softmax(p, count, count - 1, None));
        isa.run(Values { p, values: rows(&v[first..]), dim, out });
    }
}

/// Gradients of a training segment (`start` 0): adds to `dk` and `dv`, writes `dq`.
pub fn backward(
    heads: Heads,
    len: usize,
    (q, k, v): (&[f32], &[f32], &[f32]),
    dout: &[f32],
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    (p, dp): (&mut Vec<f32>, &mut Vec<f32>),
) {
    let (sq, sk, dim, scale) = (heads.q * heads.dim, heads.kv * heads.dim, heads.dim, heads.scale);
    for h in 0..heads.q {
        for block in heads.blocks(len, 0) {
            let (n, total) = (block.rows.len(), block.keys.len());
            let (row, key) = (block.rows.start * sq + h * dim, block.keys.start * sk + heads.group(h) * dim);
            p.resize(n * total, 0.0);
            dp.resize(n * total, 0.0);
            heads.probabilities(h, &block, 0, q, k, p);
            let (q, dout) = (&q[row..], &dout[row..]);
            let (k, v) = (&k[key..], &v[key..]);
            // dv += pᵀ dout; dp = dout vᵀ
            let (by_key, by_row) = (Operand::columns(p, total), Operand::columns(dout, sq));
            product((total, dim, n), (&mut dv[key..], sk), by_key, by_row, (true, 1.0));
            product((n, total, dim), (dp, total), Operand::rows(dout, sq), Operand::rows(v, sk), (false, 1.0));
            softmax_backward(p, dp, total);
            // dq = dp k · scale; dk += dpᵀ q · scale
            let (by_key, by_row) = (Operand::columns(dp, total), Operand::columns(q, sq));
            product((total, dim, n), (&mut dk[key..], sk), by_key, by_row, (true, scale));
            let (dp, k) = (Operand::rows(dp, total), Operand::columns(k, sk));
            product((n, dim, total), (&mut dq[row..], sq), dp, k, (false, scale));
        }
    }
}
