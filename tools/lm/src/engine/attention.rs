//! Causal attention of one segment: `len` new rows that follow `start` earlier ones. Scores are made per head and block of rows.

use std::ops::Range;

use crate::{
    config::Config,
    kernels::{
        Isa,
        attend::{Rows, Scores, Values},
        product::{self, Columns, Operand, Panels, To, multiply},
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

    /// The query rows in blocks, each with the keys that some row of it sees, from a whole chunk on.
    fn blocks(&self, len: usize, start: usize) -> impl Iterator<Item = Block> + use<> {
        let window = self.window;
        (0..len).step_by(BLOCK).map(move |first| {
            let rows = first..len.min(first + BLOCK);
            let unseen = window.map_or(0, |window| (start + first + 1).saturating_sub(window));
            Block { keys: unseen / KEYS * KEYS..start + rows.end, rows }
        })
    }

    /// Probabilities of query head `h` over the keys of `block`, `[rows, keys]`.
    fn probabilities(&self, h: usize, block: &Block, start: usize, q: &[f32], k: &Laid<'_>, p: &mut Vec<f32>) {
        let (total, sq) = (block.keys.len(), self.q * self.dim);
        p.resize(block.rows.len() * total, 0.0);
        let q = Operand::rows(&q[block.rows.start * sq + h * self.dim..], sq);
        k.times(&product::Rows::new(Isa::best(), (block.rows.len(), self.dim), q), block, self.scale, p);
        causal_softmax(p, total, start + block.rows.start - block.keys.start, self.window);
    }

    /// The query heads that key head `group` serves.
    fn served(&self, group: usize) -> Range<usize> {
        let shared = self.q / self.kv;
        group * shared..(group + 1) * shared
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

/// The keys or the values of one head in chunks of [`KEYS`], laid out once for all query rows and heads that they serve.
struct Laid<'a> {
    /// The first that is laid out: a multiple of [`KEYS`].
    first: usize,
    chunks: Vec<(Operand<'a>, Option<Panels>)>,
}

impl<'a> Laid<'a> {
    /// Of the `keys`, `dim` numbers each, for sums over those numbers.
    fn by_key(numbers: &'a [f32], keys: &Range<usize>, (stride, dim): (usize, usize)) -> Self {
        Self::new(keys, |at, count| {
            let operand = Operand::rows(&numbers[at * stride..], stride);
            (operand, Panels::new(Isa::best(), (count, dim), operand))
        })
    }

    /// The same for sums over keys.
    fn by_number(numbers: &'a [f32], keys: &Range<usize>, (stride, dim): (usize, usize)) -> Self {
        Self::new(keys, |at, count| {
            let operand = Operand::columns(&numbers[at * stride..], stride);
            (operand, Panels::new(Isa::best(), (dim, count), operand))
        })
    }

    fn new(keys: &Range<usize>, chunk: impl Fn(usize, usize) -> (Operand<'a>, Option<Panels>)) -> Self {
        let chunks = keys.clone().step_by(KEYS).map(|at| chunk(at, KEYS.min(keys.end - at))).collect();
        Laid { first: keys.start, chunks }
    }

    /// The chunks of the keys of `block`: where they begin in it, how many keys they have, and the keys themselves.
    fn of(&self, block: &Block) -> impl Iterator<Item = (usize, usize, Columns<'_>)> {
        let (chunks, total) = (&self.chunks[(block.keys.start - self.first) / KEYS..], block.keys.len());
        (0..total).step_by(KEYS).zip(chunks).map(move |(at, (operand, panels))| {
            let columns = panels.as_ref().map_or(Columns::InPlace(*operand), Columns::Laid);
            (at, KEYS.min(total - at), columns)
        })
    }

    /// `to = scale · rows · keysᵀ` for the keys of `block`, of keys laid out by key: `[rows, keys]`.
    fn times(&self, rows: &product::Rows<'_>, block: &Block, scale: f32, to: &mut [f32]) {
        for (at, columns, keys) in self.of(block) {
            let to = To { numbers: &mut to[at..], stride: block.keys.len(), columns, add: false, scale };
            multiply(&[(rows, keys)], to);
        }
    }

    /// `to = scale · p · keys` with `p` `[rows, keys]`, of keys laid out by number: `dim` numbers a row, so far apart.
    fn sum(&self, p: &[f32], block: &Block, scale: f32, to: &mut [f32], (stride, dim): (usize, usize)) {
        for (at, terms, keys) in self.of(block) {
            let p = Operand::rows(&p[at..], block.keys.len());
            let rows = product::Rows::new(Isa::best(), (block.rows.len(), terms), p);
            multiply(&[(&rows, keys)], To { numbers: &mut *to, stride, columns: dim, add: at > 0, scale });
        }
    }
}

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
    let Some(seen) = heads.blocks(len, start).next().map(|block| block.keys.start..start + len) else { return };
    for group in 0..heads.kv {
        let k = Laid::by_key(&k[group * dim..], &seen, (sk, dim));
        let v = Laid::by_number(&v[group * dim..], &seen, (sk, dim));
        for h in heads.served(group) {
            for block in heads.blocks(len, start) {
                heads.probabilities(h, &block, start, q, &k, p);
                v.sum(p, &block, 1.0, &mut out[block.rows.start * sq + h * dim..], (sq, dim));
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
    for group in 0..heads.kv {
        let [k, v] = [&k[group * dim..], &v[group * dim..]];
        let [by_key, values] = [k, v].map(|numbers| Laid::by_key(numbers, &(0..len), (sk, dim)));
        let by_number = Laid::by_number(k, &(0..len), (sk, dim));
        for h in heads.served(group) {
            for block in heads.blocks(len, 0) {
                let (n, total) = (block.rows.len(), block.keys.len());
                let (row, key) = (block.rows.start * sq + h * dim, block.keys.start * sk + group * dim);
                heads.probabilities(h, &block, 0, q, &by_key, p);
                let (q, dout) = (Operand::columns(&q[row..], sq), &dout[row..]);
                // dv += pᵀ dout; dp = dout vᵀ
                let by_row = Operand::columns(dout, sq);
                product((total, dim, n), (&mut dv[key..], sk), Operand::columns(p, total), by_row, (true, 1.0));
                dp.resize(n * total, 0.0);
                let dout = product::Rows::new(Isa::best(), (n, dim), Operand::rows(dout, sq));
                values.times(&dout, &block, 1.0, dp);
                softmax_backward(p, dp, total);
                // dq = dp k · scale; dk += dpᵀ q · scale
                product((total, dim, n), (&mut dk[key..], sk), Operand::columns(dp, total), q, (true, scale));
                by_number.sum(dp, &block, scale, &mut dq[row..], (sq, dim));
            }
        }
    }
}
