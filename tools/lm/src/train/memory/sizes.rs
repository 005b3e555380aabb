//! The buffers that the engine takes, in bytes; see `engine::layer`, `engine::ops` and candle's backward pass.

use super::F32;
use crate::{
    config::Config,
    engine::{
        batch::SHARDS,
        head, math,
        params::{LayerSlots, Slots, shapes},
    },
};

/// What is worked on at a time.
pub(super) struct Part {
    pub(super) tokens: u64,
    pub(super) shards: u64,
    /// Tokens and targets of the largest shard.
    pub(super) shard: u64,
    pub(super) targets: u64,
    pub(super) longest: u64,
}

/// Sizes of a model's buffers, in bytes.
pub(super) struct Sizes {
    hidden: u64,
    /// Numbers of a head.
    head: u64,
    vocab: u64,
    layers: u64,
    /// Layers through which gradients go.
    backward: u64,
    /// For each token what all layers keep, without their inputs.
    kept: u64,
    /// For each token what the largest layer keeps.
    layer: u64,
    /// For each token what one layer takes in its backward pass besides.
    transient: u64,
    /// Trained numbers: all, those of the largest layer, and those of a trained output layer.
    pub(super) numbers: u64,
    largest: u64,
    output: u64,
    /// Rotary tables.
    pub(super) tables: u64,
    /// Copies of the layers that an adapter changes.
    pub(super) merged: u64,
    /// The weights of a layer, laid out for its products.
    pub(super) panels: u64,
    /// Numbers of a token that a linear layer takes or gives at most.
    widest: u64,
}

impl Sizes {
    pub(super) fn new(config: &Config, slots: &Slots) -> Self {
        let (hidden, vocab) = (config.hidden_size as u64, config.vocab_size as u64);
        let (q, kv, inner) = (config.q_dim() as u64, config.kv_dim() as u64, config.intermediate_size as u64);
        let shapes = shapes(config);
        let optional = |there: bool, size: u64| if there { size } else { 0 };
        let heads = (config.num_attention_heads + config.num_key_value_heads) as u64;
        let (qk, post) = (optional(config.qk_norm, q + kv + heads), optional(config.post_norms, 2 * hidden + 2));
        let adapters = |layer: &LayerSlots| -> u64 {
            let kept = layer.linears.iter().zip(shapes).map(|(slot, (out, _))| {
                slot.lora.as_ref().map_or(0, |lora| lora.r + if lora.magnitude.is_some() { out } else { 0 })
            });
            kept.sum::<usize>() as u64
        };
        // inverse, q, k, v, attended, middle, gate and up.
        let plain = 2 + 2 * q + 2 * kv + hidden + 2 * inner + qk + post;
        let embedded = slots.embed;
        let first = slots.layers.iter().position(|layer| embedded || layer.len > 0).unwrap_or(slots.layers.len());
        let behind = &slots.layers[first..];
        let dropped = behind.iter().any(|layer| layer.dropout > 0.0);
        let scaled = behind.iter().flat_map(|layer| &layer.linears).filter_map(|slot| slot.lora.as_ref());
        let scaled = scaled.filter(|lora| lora.magnitude.is_some()).count() > 0;
        let widest = inner.max(q).max(hidden);
        // act, normed and dnormed; dattended, dq, dk and dv.
        let transient = inner
            + 2 * hidden
            + 2 * q
            + 2 * kv
            + optional(config.qk_norm, q + kv)
            + optional(config.post_norms, 2 * hidden)
            + optional(dropped, 2 * widest)
            + optional(scaled, widest * if dropped { 2 } else { 1 });
        let ends = vocab * hidden;
        let outer = optional(slots.norm, hidden) + optional(slots.embed, ends) + optional(slots.head, ends);
        let changed = |layer: &LayerSlots| {
            let linears = layer.linears.iter().zip(shapes).filter(|(slot, _)| slot.lora.is_some());
            linears.map(|(_, (out, inp))| (out * inp) as u64).sum::<u64>()
        };
        let rope = (config.max_position_embeddings * config.head_dim) as u64;
        Sizes {
            hidden,
            head: config.head_dim as u64,
            vocab,
            layers: slots.layers.len() as u64,
            backward: behind.len() as u64,
            kept: behind.iter().map(|layer| plain + adapters(layer)).sum(),
            layer: behind.iter().map(|layer| plain + adapters(layer)).max().unwrap_or(0),
            transient,
            numbers: slots.layers.iter().map(|layer| layer.len as u64).sum::<u64>() + outer,
            largest: slots.layers.iter().map(|layer| layer.len as u64).max().unwrap_or(0),
            output: optional(slots.head || slots.tied, ends),
            tables: rope * F32 * if config.sliding_frequencies().is_some() { 2 } else { 1 },
            merged: slots.layers.iter().map(changed).sum::<u64>() * F32,
            panels: shapes.map(|(out, inp)| (out * inp) as u64).iter().sum::<u64>() * F32,
            widest,
        }
    }

    /// What stands from the forward to the backward pass: inputs of layers, and what they keep.
    pub(super) fn kept(&self, tokens: u64, recompute: bool) -> u64 {
        // The last layer's output and its gradient.
        let hidden = (self.layers + 2) * self.hidden;
        (hidden + if recompute { 0 } else { self.kept }) * tokens * F32
    }

    /// What the layer takes whose backward pass runs, on all threads.
    pub(super) fn transient(&self, part: &Part, threads: u64, recompute: bool) -> u64 {
        let own = self.transient + if recompute { self.layer } else { 0 };
        let at_once = threads.min(part.shards);
        // Probabilities of 64 rows and their gradients, and keys and values that are laid out.
        let scores = (2 * 64 + 3 * self.head) * part.longest;
        let own = if self.backward > 0 { own } else { 0 };
        // dx, and candle's sums of it.
        (at_once * (part.shard * own + scores) + 2 * part.tokens * self.hidden) * F32
    }

    /// What the loss takes on all threads.
    pub(super) fn loss(&self, part: &Part, threads: u64) -> u64 {
        let rows = part.targets.min(head::CHUNK as u64);
        let chunks = threads.min(part.shards) * rows * (self.vocab + 4 * self.hidden);
        (chunks + part.shards * self.output) * F32
    }

    /// Room in which all threads lay out rows.
    pub(super) fn rooms(&self, part: &Part, threads: u64) -> u64 {
        let rows = part.targets.min(head::CHUNK as u64) * self.vocab.min(math::LARGEST as u64);
        threads.min(part.shards) * rows.max(part.shard * self.widest) * F32
    }

    /// Partial sums of a layer's gradients and of the output layer's, beside the sums.
    pub(super) fn gradients(&self) -> u64 {
        (SHARDS as u64 * self.largest + 2 * self.output) * F32
    }
}
