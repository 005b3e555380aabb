//! One decoder layer: forward, and a backward written by hand.

use std::ops::Range;

use super::{
    attention::{self, Heads},
    dropout::Dropout,
    linear::{Grads, Kept, Laid, Linear, Lora, Low, Way, Weight, add, row_norms},
    math::{self, RmsNorm, Rope},
    params::{LayerSlots, shapes},
};
use crate::{
    config::{Activation, Config},
    kernels::room::Room,
    weights::LayerWeights,
};

/// What of the model's shape a layer needs, made once per model.
#[derive(Debug)]
pub struct Shape {
    /// Sizes of the attention block of each layer.
    heads: Vec<Heads>,
    hidden: usize,
    inner: usize,
    rms: RmsNorm,
    activation: Activation,
    rope: Rope,
    /// Of layers with a window, where it is another.
    sliding_rope: Option<Rope>,
    linears: [(usize, usize); 7],
}

impl Shape {
    /// The shape of `config`, with rotary tables for its whole context.
    pub fn new(config: &Config) -> Self {
        let positions = config.max_position_embeddings;
        Shape {
            heads: (0..config.num_hidden_layers).map(|layer| Heads::new(config, layer)).collect(),
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            rms: RmsNorm::new(config),
            activation: config.activation,
            rope: Rope::new(positions, config.inverse_frequencies()),
            sliding_rope: config.sliding_frequencies().map(|inverse| Rope::new(positions, inverse)),
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
    index: usize,
    rope: &'a Rope,
    linears: [Linear<'a>; 7],
    dropout: f32,
    norms: [&'a [f32]; 2],
    /// Of each query head and of each key head.
    qk_norms: Option<[&'a [f32]; 2]>,
    /// Of what attention and the feed-forward block give.
    post_norms: Option<[&'a [f32]; 2]>,
}

/// What the backward pass needs of the forward pass; also the scratch space of inference. Row-major, one row per token.
#[derive(Debug, Default)]
pub struct Saved {
    inverse: [Vec<f32>; 2],
    /// Queries and keys before the norms of their heads, and `1/rms` of each head; empty without such norms.
    raw: [Vec<f32>; 2],
    head_inverse: [Vec<f32>; 2],
    /// What attention and the feed-forward block gave before it was normed; empty without such norms.
    given: [Vec<f32>; 2],
    given_inverse: [Vec<f32>; 2],
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What each linear layer keeps.
    kept: [Kept; 7],
}

/// For each linear layer the norms of the rows of its changed weight, which DoRA divides by.
pub type RowNorms = [Vec<f32>; 7];

/// The weights of a layer, ready for one pass.
pub type AllLaid = [Laid; 7];

/// The row norms of a layer: made once for all rows of a pass.
pub fn all_row_norms(shape: &Shape, weights: &LayerWeights, slots: &LayerSlots, theta: &[f32]) -> RowNorms {
    let frozen = weights.linears();
    std::array::from_fn(|i| row_norms(&slots.linears[i], frozen[i].into(), shape.linears[i], theta))
}

impl Saved {
    /// Rotated queries, rotated keys and values of all rows.
    pub fn projected(&self) -> (&[f32], &[f32], &[f32]) {
        (&self.q, &self.k, &self.v)
    }

    /// Where the result of attention goes.
    pub fn attended(&mut self) -> &mut Vec<f32> {
        &mut self.attended
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
    /// Layer `index` with frozen `weights`, and the trained tensors that `slots` finds in `theta`. `norms` are those of
    /// [`all_row_norms`].
    pub fn new(
        shape: &'a Shape,
        index: usize,
        weights: &'a LayerWeights,
        slots: &LayerSlots,
        theta: &'a [f32],
        norms: &'a RowNorms,
    ) -> Self {
        let frozen = weights.linears();
        let linears = std::array::from_fn(|i| {
            let slot = &slots.linears[i];
            let (out, inp) = shape.linears[i];
            let bias = weights.biases[i].as_ref().map(|bias| bias.as_slice());
            Linear {
                weight: slot.weight.clone().map_or(frozen[i].into(), |range| Weight::Plain(&theta[range])),
                bias: slot.bias.clone().map(|range| &theta[range]).or(bias),
                out,
                inp,
                lora: slot.lora.as_ref().map(|slot| Lora::new(slot, theta, &norms[i])),
                steps: false,
                panels: None,
            }
        });
        let norm = |i: usize, frozen: &'a [f32]| slots.norms[i].clone().map_or(frozen, |range| &theta[range]);
        let heads = shape.heads(index);
        let rope = shape.sliding_rope.as_ref().filter(|_| heads.window.is_some());
        Layer {
            shape,
            heads,
            index,
            rope: rope.unwrap_or(&shape.rope),
            linears,
            dropout: slots.dropout,
            norms: [norm(0, &weights.attn_norm), norm(1, &weights.ffn_norm)],
            qk_norms: weights.qk_norms.as_ref().map(|[q, k]| [norm(2, q), norm(3, k)]),
            post_norms: weights.post_norms.as_ref().map(|[attn, ffn]| [norm(4, attn), norm(5, ffn)]),
        }
    }

    /// The same for rows that are each a step of a generation.
    pub fn for_steps(mut self) -> Self {
        self.linears.iter_mut().for_each(|linear| linear.steps = true);
        self
    }

    /// Its weights made ready for one pass of all shards, see [`Linear::lay_out`].
    pub fn lay_out(&self, way: Way, decode: bool) -> AllLaid {
        self.linears.each_ref().map(|linear| linear.lay_out(way, decode))
    }

    /// The same layer with weights that are ready for the pass that is done.
    pub fn with(mut self, laid: &'a AllLaid) -> Self {
        self.linears.iter_mut().zip(laid).for_each(|(linear, laid)| linear.with(laid));
        self
    }

    /// Sizes of its attention block.
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// `y = layer(x)`. `attend(q, k, v, out)` is called once with the rotated queries and keys of all rows. `keys` are
    /// those of the rows for dropout, or none.
    pub fn forward(
        &self,
        (x, keys): (&[f32], &[u64]),
        segments: &[Segment],
        y: &mut [f32],
        s: &mut Saved,
        attend: &mut Attend<'_>,
    ) {
        self.project((x, keys), segments, s);
        attend(&s.q, &s.k, &s.v, &mut s.attended);
        self.finish((x, keys), y, s);
    }

    /// The part of [`Layer::forward`] before attention: rotated queries and keys, and values.
    pub fn project(&self, (x, keys): (&[f32], &[u64]), segments: &[Segment], s: &mut Saved) {
        let rows = x.len() / self.shape.hidden;
        let drop = |i: usize| Dropout::new(keys, self.dropout, (self.index, i));
        let [kept_q, kept_k, kept_v, ..] = &mut s.kept;
        let normed = self.norm(0, x, &mut s.inverse[0]);
        let [q, k, v, ..] = &self.linears;
        let to = [(&mut s.q, kept_q, drop(Q)), (&mut s.k, kept_k, drop(K)), (&mut s.v, kept_v, drop(V))];
        Linear::together([q, k, v], (rows, &normed), to);
        if let Some([q_norm, k_norm]) = self.qk_norms {
            self.norm_rows(q_norm, &mut s.q, &mut s.raw[0], &mut s.head_inverse[0]);
            self.norm_rows(k_norm, &mut s.k, &mut s.raw[1], &mut s.head_inverse[1]);
        }
        for segment in segments {
            let part = |width: usize| segment.rows.start * width..segment.rows.end * width;
            let (q, k) = (part(self.linears[Q].out), part(self.linears[K].out));
            self.rope.rotate(&mut s.q[q], self.heads.q, segment.start, 1.0);
            self.rope.rotate(&mut s.k[k], self.heads.kv, segment.start, 1.0);
        }
        s.attended.resize(rows * self.linears[O].inp, 0.0);
    }

    /// The part of [`Layer::forward`] after attention.
    pub fn finish(&self, (x, keys): (&[f32], &[u64]), y: &mut [f32], s: &mut Saved) {
        let (shape, rows) = (self.shape, x.len() / self.shape.hidden);
        let drop = |i: usize| Dropout::new(keys, self.dropout, (self.index, i));
        let [_, _, _, kept_o, kept_gate, kept_up, kept_down] = &mut s.kept;
        self.linears[O].forward(rows, &s.attended, &mut s.middle, kept_o, drop(O));
        if let Some([norm, _]) = self.post_norms {
            self.norm_rows(norm, &mut s.middle, &mut s.given[0], &mut s.given_inverse[0]);
        }
        add(&mut s.middle, x);

        let normed = self.norm(1, &s.middle, &mut s.inverse[1]);
        let [.., gate, up, _] = &self.linears;
        let to = [(&mut s.gate, kept_gate, drop(GATE)), (&mut s.up, kept_up, drop(UP))];
        Linear::together([gate, up], (rows, &normed), to);
        let mut act = Room::new(rows * shape.inner);
        math::glu(shape.activation, &s.gate, &s.up, &mut act);
        match self.post_norms {
            None => {
                y.copy_from_slice(&s.middle);
                self.linears[DOWN].accumulate(rows, &act, y, kept_down, drop(DOWN));
            }
            Some([_, norm]) => {
                self.linears[DOWN].forward(rows, &act, &mut s.given[1], kept_down, drop(DOWN));
                s.given_inverse[1].resize(rows, 0.0);
                shape.rms.forward(&s.given[1], norm, y, &mut s.given_inverse[1]);
                add(y, &s.middle);
            }
        }
    }

    /// Gradients of [`Layer::forward`] over whole sequences: writes `dx` and adds to `grads`. What the forward pass saved is of
    /// no use after it.
    pub fn backward(
        &self,
        (x, keys): (&[f32], &[u64]),
        segments: &[Segment],
        s: &mut Saved,
        dy: &[f32],
        dx: &mut [f32],
        grads: &mut Grads,
    ) {
        let (shape, rows) = (self.shape, x.len() / self.shape.hidden);
        let drop = |i: usize| Dropout::new(keys, self.dropout, (self.index, i));
        let back = |i: usize, kept: &[Kept; 7], dy: &[f32], dx: (&mut [f32], bool), grads: &mut Grads| {
            self.linears[i].backward((rows, i), (&kept[i], dy), dx, grads, &drop(i))
        };
        let learn = |i: usize, x: &[f32], dy: &[f32], low: &Low, grads: &mut Grads| {
            self.linears[i].learn((rows, i), (x, dy, low), grads, &drop(i));
        };
        // The feed-forward block. What it multiplied is made again together with its gradient.
        let dgiven = self
            .post_norms
            .map(|[_, norm]| self.norm_rows_backward(norm, &s.given[1], &s.given_inverse[1], dy, grads.norm(5)));
        let ddown = dgiven.as_deref().unwrap_or(dy);
        let mut act = Room::new(rows * shape.inner);
        let low = back(DOWN, &s.kept, ddown, (&mut act, false), grads);
        math::glu_backward(shape.activation, &mut s.gate, &mut s.up, &mut act);
        learn(DOWN, &act, ddown, &low, grads);
        let mut normed = self.norm(1, &s.middle, &mut s.inverse[1]);
        let mut dnormed = Room::new(x.len());
        for (i, dy, add) in [(GATE, &s.gate, false), (UP, &s.up, true)] {
            let low = back(i, &s.kept, dy, (&mut dnormed, add), grads);
            learn(i, &normed, dy, &low, grads);
        }
        dx.copy_from_slice(dy);
        shape.rms.backward(&s.middle, self.norms[1], &s.inverse[1], &dnormed, dx, grads.norm(1));

        let dgiven = self
            .post_norms
            .map(|[norm, _]| self.norm_rows_backward(norm, &s.given[0], &s.given_inverse[0], dx, grads.norm(4)));
        let dout = dgiven.as_deref().unwrap_or(dx);
        let mut dattended = Room::new(s.attended.len());
        let low = back(O, &s.kept, dout, (&mut dattended, false), grads);
        learn(O, &s.attended, dout, &low, grads);
        let [mut dq, mut dk, dv] = self.attention_backward(segments, s, &dattended);
        if let Some([q_norm, k_norm]) = self.qk_norms {
            dq = self.norm_rows_backward(q_norm, &s.raw[0], &s.head_inverse[0], &dq, grads.norm(2));
            dk = self.norm_rows_backward(k_norm, &s.raw[1], &s.head_inverse[1], &dk, grads.norm(3));
        }
        shape.rms.forward(x, self.norms[0], &mut normed, &mut s.inverse[0]);
        for (i, dy, add) in [(Q, &dq, false), (K, &dk, true), (V, &dv, true)] {
            let low = back(i, &s.kept, dy, (&mut dnormed, add), grads);
            learn(i, &normed, dy, &low, grads);
        }
        shape.rms.backward(x, self.norms[0], &s.inverse[0], &dnormed, dx, grads.norm(0));
    }

    /// Gradients of queries, keys and values.
    fn attention_backward(&self, segments: &[Segment], s: &Saved, dattended: &[f32]) -> [Room; 3] {
        let heads = self.heads;
        let (mut dq, mut dk, mut dv) = (Room::new(s.q.len()), Room::zeros(s.k.len()), Room::zeros(s.v.len()));
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
            self.rope.rotate(dq, heads.q, 0, -1.0);
            self.rope.rotate(dk, heads.kv, 0, -1.0);
        }
        [dq, dk, dv]
    }

    /// Norm `i` of `x`.
    fn norm(&self, i: usize, x: &[f32], inverse: &mut Vec<f32>) -> Room {
        let mut y = Room::new(x.len());
        inverse.resize(x.len() / self.shape.hidden, 0.0);
        self.shape.rms.forward(x, self.norms[i], &mut y, inverse);
        y
    }

    /// Norms `x` in place, in rows as long as `gain`; keeps what it was in `raw`.
    fn norm_rows(&self, gain: &[f32], x: &mut Vec<f32>, raw: &mut Vec<f32>, inverse: &mut Vec<f32>) {
        std::mem::swap(x, raw);
        x.resize(raw.len(), 0.0);
        inverse.resize(raw.len() / gain.len(), 0.0);
        self.shape.rms.forward(raw, gain, x, inverse);
    }

    /// The gradient of what [`Layer::norm_rows`] kept; adds to the gradient of the gain where it is trained.
    fn norm_rows_backward(
        &self,
        gain: &[f32],
        raw: &[f32],
        inverse: &[f32],
        dy: &[f32],
        dgain: Option<&mut [f32]>,
    ) -> Room {
        let mut dx = Room::zeros(raw.len());
        self.shape.rms.backward(raw, gain, inverse, dy, &mut dx, dgain);
        dx
    }
}
