//! One decoder layer: forward, and a backward written by hand.

use std::ops::Range;

use super::{
    attention::{self, Heads},
    math::{self, Rope, nn, nt, tn},
    params::{LayerSlots, LinearSlot, shapes},
};
use crate::{config::Config, weights::LayerWeights};

/// A linear layer `y = x Wᵀ (+ b) (+ s · (x Aᵀ) Bᵀ)`.
struct Linear<'a> {
    weight: &'a [f32],
    /// `[out]`.
    bias: Option<&'a [f32]>,
    out: usize,
    inp: usize,
    /// A `[r, in]` and B `[out, r]`.
    lora: Option<(&'a [f32], &'a [f32])>,
    rank: usize,
    scaling: f32,
}

/// What of the model's shape a layer needs, made once per model.
#[derive(Debug)]
pub struct Shape {
    /// Sizes of the attention block of each layer.
    heads: Vec<Heads>,
    hidden: usize,
    inner: usize,
    eps: f32,
    rope: Rope,
    linears: [(usize, usize); 7],
}

impl Shape {
    /// The shape of `config`, with rotary tables for its whole context.
    pub fn new(config: &Config) -> Self {
        Shape {
            heads: (0..config.num_hidden_layers).map(|layer| Heads::new(config, layer)).collect(),
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            eps: config.rms_norm_eps as f32,
            rope: Rope::new(config.max_position_embeddings, &config.inverse_frequencies()),
            linears: shapes(config),
        }
    }

    /// Sizes of the attention block of `layer`.
    pub fn heads(&self, layer: usize) -> Heads {
        self.heads[layer]
    }
}

/// One layer with its weights in place: each trained tensor comes from the flat vector, the rest from the base.
pub struct Layer<'a> {
    shape: &'a Shape,
    heads: Heads,
    linears: [Linear<'a>; 7],
    norms: [&'a [f32]; 2],
    /// Of each query head and of each key head.
    qk_norms: Option<[&'a [f32]; 2]>,
}

/// What the backward pass needs of the forward pass; also the scratch space of inference. Row-major, one row per token.
#[derive(Debug, Default)]
pub struct Saved {
    inverse: [Vec<f32>; 2],
    normed: [Vec<f32>; 2],
    /// Queries and keys before the norms of their heads, and `1/rms` of each head; empty without such norms.
    raw: [Vec<f32>; 2],
    head_inverse: [Vec<f32>; 2],
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    act: Vec<f32>,
    /// `x Aᵀ` of each linear layer.
    low: [Vec<f32>; 7],
}

impl Saved {
    /// Drops what is cheap to make again: a third of what the layer keeps until its backward pass.
    pub fn shrink(&mut self) {
        self.normed = Default::default();
        self.act = Vec::new();
    }
}

/// Consecutive rows of one sequence, the first of them at position `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The rows.
    pub rows: Range<usize>,
    /// Position of the first.
    pub start: usize,
}

/// Attention of all rows: called with rotated queries, rotated keys, values, and where the result goes.
pub type Attend<'a> = dyn FnMut(&[f32], &[f32], &[f32], &mut [f32]) + 'a;

const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const O: usize = 3;
const GATE: usize = 4;
const UP: usize = 5;
const DOWN: usize = 6;

impl<'a> Layer<'a> {
    /// Layer `index` with frozen `weights`, and the trained tensors that `slots` finds in `theta`.
    pub fn new(
        shape: &'a Shape,
        index: usize,
        weights: &'a LayerWeights,
        slots: &LayerSlots,
        theta: &'a [f32],
    ) -> Self {
        let frozen = weights.linears();
        let linears = std::array::from_fn(|i| {
            let slot = &slots.linears[i];
            let (out, inp) = shape.linears[i];
            let bias = weights.biases[i].as_ref().map(|bias| bias.as_slice());
            Linear {
                weight: slot.weight.clone().map_or(frozen[i], |range| &theta[range]),
                bias: slot.bias.clone().map(|range| &theta[range]).or(bias),
                out,
                inp,
                lora: slot.lora.clone().map(|(a, b)| (&theta[a], &theta[b])),
                rank: slots.rank,
                scaling: slots.scaling,
            }
        });
        let norm = |i: usize, frozen: &'a [f32]| slots.norms[i].clone().map_or(frozen, |range| &theta[range]);
        Layer {
            shape,
            heads: shape.heads(index),
            linears,
            norms: [norm(0, &weights.attn_norm), norm(1, &weights.ffn_norm)],
            qk_norms: weights.qk_norms.as_ref().map(|[q, k]| [norm(2, q), norm(3, k)]),
        }
    }

    /// Sizes of its attention block.
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// `y = layer(x)`. `attend(q, k, v, out)` is called once with the rotated queries and keys of all rows.
    pub fn forward(&self, x: &[f32], segments: &[Segment], y: &mut [f32], s: &mut Saved, attend: &mut Attend<'_>) {
        let (shape, rows) = (self.shape, x.len() / self.shape.hidden);
        let [low_q, low_k, low_v, low_o, low_gate, low_up, low_down] = &mut s.low;
        self.norm(0, x, &mut s.normed[0], &mut s.inverse[0]);
        self.linears[Q].forward(rows, &s.normed[0], &mut s.q, low_q);
        self.linears[K].forward(rows, &s.normed[0], &mut s.k, low_k);
        self.linears[V].forward(rows, &s.normed[0], &mut s.v, low_v);
        if let Some([q_norm, k_norm]) = self.qk_norms {
            self.norm_heads(q_norm, &mut s.q, &mut s.raw[0], &mut s.head_inverse[0]);
            self.norm_heads(k_norm, &mut s.k, &mut s.raw[1], &mut s.head_inverse[1]);
        }
        for segment in segments {
            let part = |width: usize| segment.rows.start * width..segment.rows.end * width;
            let (q, k) = (part(self.linears[Q].out), part(self.linears[K].out));
            shape.rope.rotate(&mut s.q[q], self.heads.q, segment.start, 1.0);
            shape.rope.rotate(&mut s.k[k], self.heads.kv, segment.start, 1.0);
        }
        s.attended.resize(rows * self.linears[O].inp, 0.0);
        attend(&s.q, &s.k, &s.v, &mut s.attended);
        self.linears[O].forward(rows, &s.attended, &mut s.middle, low_o);
        add(&mut s.middle, x);

        self.norm(1, &s.middle, &mut s.normed[1], &mut s.inverse[1]);
        self.linears[GATE].forward(rows, &s.normed[1], &mut s.gate, low_gate);
        self.linears[UP].forward(rows, &s.normed[1], &mut s.up, low_up);
        s.act.resize(rows * shape.inner, 0.0);
        math::swiglu(&s.gate, &s.up, &mut s.act);
        y.copy_from_slice(&s.middle);
        self.linears[DOWN].accumulate(rows, &s.act, y, low_down);
    }

    /// Makes again what [`Saved::shrink`] dropped.
    fn refill(&self, x: &[f32], s: &mut Saved) {
        for (i, x) in [x, &s.middle].into_iter().enumerate() {
            s.normed[i].resize(x.len(), 0.0);
            math::rms_norm(x, self.norms[i], self.shape.eps, &mut s.normed[i], &mut s.inverse[i]);
        }
        s.act.resize(s.gate.len(), 0.0);
        math::swiglu(&s.gate, &s.up, &mut s.act);
    }

    /// Gradients of [`Layer::forward`] over whole sequences: writes `dx` and adds to `grads`. Consumes what the forward
    /// pass saved.
    pub fn backward(
        &self,
        x: &[f32],
        segments: &[Segment],
        mut s: Saved,
        dy: &[f32],
        dx: &mut [f32],
        grads: &mut Grads,
    ) {
        let (shape, rows) = (self.shape, x.len() / self.shape.hidden);
        self.refill(x, &mut s);
        let mut dact = vec![0.0; rows * shape.inner];
        self.linears[DOWN].backward(rows, DOWN, (&s.act, &s.low[DOWN], dy), &mut dact, grads);
        math::swiglu_backward(&mut s.gate, &mut s.up, &dact);
        let mut dnormed = vec![0.0; rows * shape.hidden];
        self.linears[GATE].backward(rows, GATE, (&s.normed[1], &s.low[GATE], &s.gate), &mut dnormed, grads);
        self.linears[UP].backward(rows, UP, (&s.normed[1], &s.low[UP], &s.up), &mut dnormed, grads);
        let mut dmiddle = dy.to_vec();
        let gain = grads.norm(1);
        math::rms_norm_backward(&s.middle, self.norms[1], &s.inverse[1], &dnormed, &mut dmiddle, gain);

        let mut dattended = vec![0.0; s.attended.len()];
        self.linears[O].backward(rows, O, (&s.attended, &s.low[O], &dmiddle), &mut dattended, grads);
        let (mut dq, mut dk, dv) = self.attention_backward(segments, &s, &dattended);
        if let Some([q_norm, k_norm]) = self.qk_norms {
            dq = norm_heads_backward(q_norm, &s.raw[0], &s.head_inverse[0], &dq, grads.norm(2));
            dk = norm_heads_backward(k_norm, &s.raw[1], &s.head_inverse[1], &dk, grads.norm(3));
        }
        dnormed.fill(0.0);
        self.linears[Q].backward(rows, Q, (&s.normed[0], &s.low[Q], &dq), &mut dnormed, grads);
        self.linears[K].backward(rows, K, (&s.normed[0], &s.low[K], &dk), &mut dnormed, grads);
        self.linears[V].backward(rows, V, (&s.normed[0], &s.low[V], &dv), &mut dnormed, grads);
        dx.copy_from_slice(&dmiddle);
        math::rms_norm_backward(x, self.norms[0], &s.inverse[0], &dnormed, dx, grads.norm(0));
    }

    fn attention_backward(&self, segments: &[Segment], s: &Saved, dattended: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let heads = self.heads;
        let (mut dq, mut dk, mut dv) = (vec![0.0; s.q.len()], vec![0.0; s.k.len()], vec![0.0; s.v.len()]);
        let (mut p, mut dp) = (Vec::new(), Vec::new());
        for Segment { rows, .. } in segments {
            let part = |width: usize| rows.start * width..rows.end * width;
            let (wide, narrow) = (part(heads.q * heads.dim), part(heads.kv * heads.dim));
            let inputs = (&s.q[wide.clone()], &s.k[narrow.clone()], &s.v[narrow.clone()]);
            let (dq, dk, dv) = (&mut dq[wide.clone()], &mut dk[narrow.clone()], &mut dv[narrow]);
            attention::backward(
                heads,
                rows.len(),
                inputs,
                &dattended[wide],
                (&mut *dq, &mut *dk, dv),
                (&mut p, &mut dp),
            );
            self.shape.rope.rotate(dq, heads.q, 0, -1.0);
            self.shape.rope.rotate(dk, heads.kv, 0, -1.0);
        }
        (dq, dk, dv)
    }

    fn norm(&self, i: usize, x: &[f32], y: &mut Vec<f32>, inverse: &mut Vec<f32>) {
        y.resize(x.len(), 0.0);
        inverse.resize(x.len() / self.shape.hidden, 0.0);
        math::rms_norm(x, self.norms[i], self.shape.eps, y, inverse);
    }

    /// Norms each head of `x` in place; keeps what it was in `raw`.
    fn norm_heads(&self, gain: &[f32], x: &mut Vec<f32>, raw: &mut Vec<f32>, inverse: &mut Vec<f32>) {
        std::mem::swap(x, raw);
        x.resize(raw.len(), 0.0);
        inverse.resize(raw.len() / gain.len(), 0.0);
        math::rms_norm(raw, gain, self.shape.eps, x, inverse);
    }
}

/// The gradient of the heads before their norm; adds to the gradient of the gain where it is trained.
fn norm_heads_backward(gain: &[f32], raw: &[f32], inverse: &[f32], dy: &[f32], dgain: Option<&mut [f32]>) -> Vec<f32> {
    let mut dx = vec![0.0; raw.len()];
    math::rms_norm_backward(raw, gain, inverse, dy, &mut dx, dgain);
    dx
}

/// Where gradients of a layer's trained tensors go.
pub struct Grads<'a> {
    /// The flat gradient, laid out by `slots`.
    pub dtheta: &'a mut [f32],
    /// Its layout.
    pub slots: &'a LayerSlots,
}

impl Grads<'_> {
    fn norm(&mut self, i: usize) -> Option<&mut [f32]> {
        self.slots.norms[i].clone().map(|range| &mut self.dtheta[range])
    }
}

impl Linear<'_> {
    fn forward(&self, rows: usize, x: &[f32], y: &mut Vec<f32>, low: &mut Vec<f32>) {
        y.resize(rows * self.out, 0.0);
        nt((rows, self.out, self.inp), y, x, self.weight, false, 1.0);
        self.add_rest(rows, x, y, low);
    }

    /// `y += forward(x)`.
    fn accumulate(&self, rows: usize, x: &[f32], y: &mut [f32], low: &mut Vec<f32>) {
        nt((rows, self.out, self.inp), y, x, self.weight, true, 1.0);
        self.add_rest(rows, x, y, low);
    }

    /// Adds the bias and the adapter.
    fn add_rest(&self, rows: usize, x: &[f32], y: &mut [f32], low: &mut Vec<f32>) {
        if let Some(bias) = self.bias {
            y.chunks_exact_mut(self.out).for_each(|row| add(row, bias));
        }
        if let Some((a, b)) = self.lora {
            low.resize(rows * self.rank, 0.0);
            nt((rows, self.rank, self.inp), low, x, a, false, 1.0);
            nt((rows, self.out, self.rank), y, low, b, true, self.scaling);
        }
    }

    /// `dx += dy · d(forward)/dx`, and the gradients of whatever of linear layer `index` is trained. A frozen weight
    /// costs no gradient. `low` is what the forward pass kept of `x Aᵀ`.
    fn backward(
        &self,
        rows: usize,
        index: usize,
        (x, low, dy): (&[f32], &[f32], &[f32]),
        dx: &mut [f32],
        grads: &mut Grads,
    ) {
        nn((rows, self.inp, self.out), dx, dy, self.weight, true, 1.0);
        let LinearSlot { weight, bias, lora } = &grads.slots.linears[index];
        if let Some(range) = bias {
            let dbias = &mut grads.dtheta[range.clone()];
            dy.chunks_exact(self.out).for_each(|row| add(dbias, row));
        }
        if let Some(range) = weight {
            tn((self.out, self.inp, rows), &mut grads.dtheta[range.clone()], dy, x, true, 1.0);
        }
        if let (Some((a, b)), Some((da, db))) = (self.lora, lora) {
            let (s, r) = (self.scaling, self.rank);
            tn((self.out, r, rows), &mut grads.dtheta[db.clone()], dy, low, true, s);
            let mut dlow = vec![0.0; rows * r];
            nn((rows, r, self.out), &mut dlow, dy, b, false, s);
            tn((r, self.inp, rows), &mut grads.dtheta[da.clone()], &dlow, x, true, 1.0);
            nn((rows, self.inp, r), dx, &dlow, a, true, 1.0);
        }
    }
}

fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}
