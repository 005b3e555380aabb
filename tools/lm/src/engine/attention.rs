//! Causal attention of one segment: `len` new rows that follow `start` earlier ones. Scores are made per head.

use crate::config::Config;

use super::math::{Strides, causal_softmax, product, softmax_backward};

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
}

impl Heads {
    /// The attention block of `layer`.
    pub fn new(config: &Config, layer: usize) -> Self {
        Heads {
            q: config.num_attention_heads,
            kv: config.num_key_value_heads,
            dim: config.head_dim,
            window: config.window(layer),
        }
    }

    /// Earlier rows that none of the rows after `start` sees.
    fn unseen(&self, start: usize) -> usize {
        self.window.map_or(0, |window| (start + 1).saturating_sub(window))
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Probabilities of query head `h`: `p[len, total]` from `q[len, ·]` and `k[total, ·]`.
    fn probabilities(&self, h: usize, len: usize, start: usize, q: &[f32], k: &[f32], p: &mut [f32]) {
        let (total, g) = (start + len, h / (self.q / self.kv));
        let (sq, sk) = (self.q * self.dim, self.kv * self.dim);
        let keys = &k[g * self.dim..];
        product(
            (len, total, self.dim),
            p,
            Strides(total, 1),
            &q[h * self.dim..],
            Strides(sq, 1),
            keys,
            Strides(1, sk),
            false,
            self.scale(),
        );
        causal_softmax(p, total, start, self.window);
    }
}

/// `out[len, ·] = softmax(q kᵀ / √dim) v`, causal and within the window. `q` has `len` rows; `k` and `v` have
/// `start + len`.
pub fn forward(
    heads: Heads,
    (len, start): (usize, usize),
    (q, k, v): (&[f32], &[f32], &[f32]),
    out: &mut [f32],
    p: &mut Vec<f32>,
) {
    let (sq, sk, dim) = (heads.q * heads.dim, heads.kv * heads.dim, heads.dim);
    let unseen = heads.unseen(start);
    let (start, k, v) = (start - unseen, &k[unseen * sk..], &v[unseen * sk..]);
    let total = start + len;
    p.resize(len * total, 0.0);
    for h in 0..heads.q {
        let g = h / (heads.q / heads.kv);
        heads.probabilities(h, len, start, q, k, p);
        product(
            (len, dim, total),
            &mut out[h * dim..],
            Strides(sq, 1),
            p,
            Strides(total, 1),
            &v[g * dim..],
            Strides(sk, 1),
            false,
            1.0,
        );
    }
}

/// Gradients of a training segment (`start` 0): adds to `dk` and `dv`, writes `dq`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    heads: Heads,
    len: usize,
    (q, k, v): (&[f32], &[f32], &[f32]),
    dout: &[f32],
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    (p, dp): (&mut Vec<f32>, &mut Vec<f32>),
) {
    let (sq, sk, dim) = (heads.q * heads.dim, heads.kv * heads.dim, heads.dim);
    let rows = Strides(len, 1);
    p.resize(len * len, 0.0);
    dp.resize(len * len, 0.0);
    for h in 0..heads.q {
        let (at, g) = (h * dim, h / (heads.q / heads.kv) * dim);
        heads.probabilities(h, len, 0, q, k, p);
        // dv += pᵀ dout; dp = dout vᵀ
        product(
            (len, dim, len),
            &mut dv[g..],
            Strides(sk, 1),
            p,
            Strides(1, len),
            &dout[at..],
            Strides(sq, 1),
            true,
            1.0,
        );
        product((len, len, dim), dp, rows, &dout[at..], Strides(sq, 1), &v[g..], Strides(1, sk), false, 1.0);
        softmax_backward(p, dp, len);
        // dq = dp k · scale; dk += dpᵀ q · scale
        product(
            (len, dim, len),
            &mut dq[at..],
            Strides(sq, 1),
            dp,
            rows,
            &k[g..],
            Strides(sk, 1),
            false,
            heads.scale(),
        );
        product(
            (len, dim, len),
            &mut dk[g..],
            Strides(sk, 1),
            dp,
            Strides(1, len),
            &q[at..],
            Strides(sq, 1),
            true,
            heads.scale(),
        );
    }
}
