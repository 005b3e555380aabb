//! Which numbers are trained, and where each stands in the flat vector of its layer.

use std::ops::Range;

use crate::{
    config::Config,
    error::Result,
    lora::{LoraConfig, Module, Part},
    matrix::Matrix,
    rng::Rng,
    weights::{LayerWeights, Weights},
};

/// The seven linear layers of a decoder layer, in the order in which they run.
pub const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// The norms of a decoder layer: before attention, before the feed-forward block, of query and key heads, and of what
/// the two blocks give. The later ones are not in every model, and where the last are, the second has another name.
pub fn norm_names(config: &Config) -> [&'static str; 6] {
    let ffn = if config.post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
    let after = ["post_attention_layernorm", "post_feedforward_layernorm"];
    ["input_layernorm", ffn, "self_attn.q_norm", "self_attn.k_norm", after[0], after[1]]
}

/// What of the model is trained.
#[derive(Clone, Debug)]
// There is one of it in a run.
#[allow(clippy::large_enum_variant)]
pub enum Method {
    /// Low-rank adapters on some linear layers; everything else is frozen.
    Lora(LoraConfig),
    /// Every weight.
    Full,
}

/// Where the trained parts of one linear layer stand in the layer's flat vector.
#[derive(Clone, Debug, Default)]
pub struct LinearSlot {
    /// The weight `[out, in]`, when it is trained.
    pub weight: Option<Range<usize>>,
    /// The bias `[out]`, when there is one and it is trained.
    pub bias: Option<Range<usize>>,
    /// The adapter, when the layer has one.
    pub lora: Option<LoraSlot>,
}

/// Where one adapter stands, and its numbers.
#[derive(Clone, Debug)]
pub struct LoraSlot {
    /// A `[r, in]`.
    pub a: Range<usize>,
    /// B `[out, r]`.
    pub b: Range<usize>,
    /// DoRA's magnitude `[out]`.
    pub magnitude: Option<Range<usize>>,
    /// Its rank.
    pub r: usize,
    /// The factor of `B A x`.
    pub scaling: f32,
}

/// Where the trained parts of one decoder layer stand in its flat vector.
#[derive(Clone, Debug, Default)]
pub struct LayerSlots {
    /// The linear layers, in the order of [`LINEARS`].
    pub linears: [LinearSlot; 7],
    /// The norms' gains, in the order of [`norm_names`], when they are there and trained.
    pub norms: [Option<Range<usize>>; 6],
    /// The names of those norms.
    pub norm_names: [&'static str; 6],
    /// Length of the flat vector.
    pub len: usize,
    /// Dropout before each A.
    pub dropout: f32,
}

/// Where every trained number of a model stands.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Of each decoder layer; a layer that nothing trains has a flat vector of length 0.
    pub layers: Vec<LayerSlots>,
    /// Whether the last norm is trained.
    pub norm: bool,
    /// Whether the embedding is trained; with `tied`, it is the output layer as well.
    pub embed: bool,
    /// Whether an output layer of its own is trained.
    pub head: bool,
    /// Whether the trained embedding is the output layer.
    pub tied: bool,
}

/// `(out, in)` of each linear layer, in the order of [`LINEARS`].
pub fn shapes(config: &Config) -> [(usize, usize); 7] {
    let (h, q, kv, inner) = (config.hidden_size, config.q_dim(), config.kv_dim(), config.intermediate_size);
    [(q, h), (kv, h), (kv, h), (h, q), (inner, h), (inner, h), (h, inner)]
}

/// Sizes of the norms' gains, in the order of [`norm_names`]; `None` where the model has no such norm.
pub fn norm_sizes(config: &Config) -> [Option<usize>; 6] {
    let (h, head) = (config.hidden_size, config.qk_norm.then_some(config.head_dim));
    let post = config.post_norms.then_some(h);
    [Some(h), Some(h), head, head, post, post]
}

impl Slots {
    /// The layout that `method` gives a model of this shape.
    pub fn new(config: &Config, method: &Method) -> Result<Self> {
        match method {
            Method::Full => {
                let tied = config.tie_word_embeddings;
                let layers = vec![LayerSlots::full(config); config.num_hidden_layers];
                Ok(Slots { layers, norm: true, embed: true, head: !tied, tied })
            }
            Method::Lora(lora) => Self::lora(config, lora),
        }
    }

    fn lora(config: &Config, lora: &LoraConfig) -> Result<Self> {
        lora.check()?;
        let (norm_names, dropout) = (norm_names(config), lora.lora_dropout as f32);
        let slots = LayerSlots { norm_names, dropout, ..LayerSlots::default() };
        let mut layers = vec![slots; config.num_hidden_layers];
        for Module { layer, linear, out, inner, r, scaling, .. } in lora.modules(config)? {
            let layer = &mut layers[layer];
            let (a, b) = (layer.take(r * inner), layer.take(out * r));
            let magnitude = lora.use_dora.then(|| layer.take(out));
            layer.linears[linear].lora = Some(LoraSlot { a, b, magnitude, r, scaling });
        }
        let mut slots = Slots { layers, ..Slots::default() };
        for tensor in lora.saved(config)? {
            let n = tensor.numbers();
            match tensor.part() {
                Part::Embed => slots.embed = true,
                Part::Head => slots.head = true,
                Part::Norm => slots.norm = true,
                Part::LayerNorm(layer, i) => slots.layers[layer].norms[i] = Some(slots.layers[layer].take(n)),
                Part::Weight(layer, i) => slots.layers[layer].linears[i].weight = Some(slots.layers[layer].take(n)),
                Part::Bias(layer, i) => slots.layers[layer].linears[i].bias = Some(slots.layers[layer].take(n)),
            }
        }
        Ok(slots)
    }
}

impl LayerSlots {
    fn take(&mut self, n: usize) -> Range<usize> {
        self.len += n;
        self.len - n..self.len
    }

    /// Everything is trained.
    fn full(config: &Config) -> Self {
        let mut slots = LayerSlots { norm_names: norm_names(config), ..LayerSlots::default() };
        slots.norms = norm_sizes(config).map(|size| size.map(|n| slots.take(n)));
        for (i, ((out, inp), biased)) in shapes(config).into_iter().zip(config.biases.each()).enumerate() {
            slots.linears[i].weight = Some(slots.take(out * inp));
            slots.linears[i].bias = biased.then(|| slots.take(out));
        }
        slots
    }

    /// Each trained tensor by its name within the layer, for audits and reports.
    pub fn tensors(&self) -> Vec<(String, Range<usize>)> {
        let mut named = Vec::new();
        for (slot, name) in self.norms.iter().zip(self.norm_names) {
            named.extend(slot.iter().map(|range| (format!("{name}.weight"), range.clone())));
        }
        for (slot, name) in self.linears.iter().zip(LINEARS) {
            named.extend(slot.weight.iter().map(|range| (format!("{name}.weight"), range.clone())));
            named.extend(slot.bias.iter().map(|range| (format!("{name}.bias"), range.clone())));
            if let Some(LoraSlot { a, b, magnitude, .. }) = &slot.lora {
                named.push((format!("{name}.lora_A.weight"), a.clone()));
                named.push((format!("{name}.lora_B.weight"), b.clone()));
                named.extend(magnitude.iter().map(|m| (format!("{name}.lora_magnitude_vector"), m.clone())));
            }
        }
        named
    }
}

/// Random weights of a shape, as transformers initialises them: normal with deviation 0.02, gains 1, biases 0; the
/// projections into the residual stream are scaled down by √(2·layers), as GPT-2 does.
pub fn random_weights(config: &Config, seed: u64) -> Weights {
    let mut rng = Rng::new(seed, "weights");
    let mut normal =
        |n: usize, deviation: f32| -> Matrix { (0..n).map(|_| rng.normal() * deviation).collect::<Vec<_>>().into() };
    let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
    let gain = if config.norm_offset { 0.0 } else { 1.0 };
    let gains = |n: usize| std::sync::Arc::new(vec![gain; n]);
    let ones = || gains(config.hidden_size);
    let shape = shapes(config).map(|(out, inp)| out * inp);
    let (outs, biased) = (shapes(config).map(|(out, _)| out), config.biases.each());
    let embed = normal(config.vocab_size * config.hidden_size, 0.02);
    let layers = (0..config.num_hidden_layers)
        .map(|_| LayerWeights {
            attn_norm: ones(),
            q: normal(shape[0], 0.02),
            k: normal(shape[1], 0.02),
            v: normal(shape[2], 0.02),
            o: normal(shape[3], residual),
            ffn_norm: ones(),
            gate: normal(shape[4], 0.02),
            up: normal(shape[5], 0.02),
            down: normal(shape[6], residual),
            biases: std::array::from_fn(|i| biased[i].then(|| std::sync::Arc::new(vec![0.0; outs[i]]))),
            qk_norms: config.qk_norm.then(|| [gains(config.head_dim), gains(config.head_dim)]),
            post_norms: config.post_norms.then(|| [ones(), ones()]),
        })
        .collect();
    let head = (!config.tie_word_embeddings).then(|| normal(config.vocab_size * config.hidden_size, 0.02));
    Weights { embed, layers, norm: ones(), head }
}
