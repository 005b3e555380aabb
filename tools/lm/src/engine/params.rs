//! Which numbers are trained, and where each stands in the flat vector of its layer.

use std::ops::Range;

use crate::{
    config::Config,
    error::{Error, Result},
    lora::{Adapter, LoraConfig, LoraPair},
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
    /// A `[r, in]` and B `[out, r]`, when the layer has an adapter.
    pub lora: Option<(Range<usize>, Range<usize>)>,
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
    /// Rank of the adapters; 0 without.
    pub rank: usize,
    /// Their scaling factor.
    pub scaling: f32,
}

/// `(out, in)` of each linear layer, in the order of [`LINEARS`].
pub fn shapes(config: &Config) -> [(usize, usize); 7] {
    let (h, q, kv, inner) = (config.hidden_size, config.q_dim(), config.kv_dim(), config.intermediate_size);
    [(q, h), (kv, h), (kv, h), (h, q), (inner, h), (inner, h), (h, inner)]
}

impl LayerSlots {
    /// The layout that `method` gives each layer of a model of this shape.
    pub fn new(config: &Config, method: &Method) -> Result<Self> {
        let mut slots = LayerSlots { norm_names: norm_names(config), ..LayerSlots::default() };
        let mut take = |n: usize| {
            slots.len += n;
            slots.len - n..slots.len
        };
        match method {
            Method::Full => {
                let h = config.hidden_size;
                let head = || config.qk_norm.then_some(config.head_dim);
                let post = || config.post_norms.then_some(h);
                slots.norms = [Some(h), Some(h), head(), head(), post(), post()].map(|size| size.map(&mut take));
                let biased = config.biases.each();
                for ((linear, (out, inp)), biased) in slots.linears.iter_mut().zip(shapes(config)).zip(biased) {
                    linear.weight = Some(take(out * inp));
                    linear.bias = biased.then(|| take(out));
                }
            }
            Method::Lora(lora) => {
                for ((linear, (out, inp)), name) in slots.linears.iter_mut().zip(shapes(config)).zip(LINEARS) {
                    if lora.target_modules.iter().any(|t| name.ends_with(t.as_str())) {
                        linear.lora = Some((take(lora.r * inp), take(out * lora.r)));
                    }
                }
                (slots.rank, slots.scaling) = (lora.r, lora.scaling());
            }
        }
        if slots.len == 0 {
            return Err(Error::Train("no linear layer matches target_modules: name some of q_proj … down_proj".into()));
        }
        Ok(slots)
    }

    /// The flat vector at the start of training: A as PEFT draws it (uniform in ±1/√in, which is Kaiming's with
    /// a = √5), B zero; full weights as they are in the base.
    pub fn initial(&self, config: &Config, weights: &LayerWeights, rng: &mut Rng) -> Vec<f32> {
        let mut theta = vec![0.0; self.len];
        for ((slot, weight), (_, inp)) in self.linears.iter().zip(weights.linears()).zip(shapes(config)) {
            if let Some(range) = &slot.weight {
                theta[range.clone()].copy_from_slice(weight);
            }
            if let Some((a, _)) = &slot.lora {
                let bound = 1.0 / (inp as f32).sqrt();
                theta[a.clone()].iter_mut().for_each(|v| *v = (rng.uniform() * 2.0 - 1.0) * bound);
            }
        }
        let biases = self.linears.iter().map(|slot| &slot.bias).zip(&weights.biases);
        let [q, k] = weights.qk_norms.as_ref().map_or([None, None], |norms| norms.each_ref().map(Some));
        let [attn, ffn] = weights.post_norms.as_ref().map_or([None, None], |norms| norms.each_ref().map(Some));
        let norms = self.norms.iter().zip([Some(&weights.attn_norm), Some(&weights.ffn_norm), q, k, attn, ffn]);
        let norms = norms.filter_map(|(slot, norm)| Some((slot, norm?)));
        for (slot, values) in norms.chain(biases.filter_map(|(slot, bias)| Some((slot, bias.as_ref()?)))) {
            if let Some(range) = slot {
                theta[range.clone()].copy_from_slice(values);
            }
        }
        theta
    }

    /// The flat vector of layer `index` with the values of `adapter`.
    pub fn from_adapter(&self, index: usize, adapter: &Adapter) -> Vec<f32> {
        let mut theta = vec![0.0; self.len];
        for (slot, name) in self.linears.iter().zip(LINEARS) {
            let pair = adapter.tensors.get(&format!("layers.{index}.{name}"));
            if let (Some((a, b)), Some(pair)) = (&slot.lora, pair) {
                theta[a.clone()].copy_from_slice(&pair.a);
                theta[b.clone()].copy_from_slice(&pair.b);
            }
        }
        theta
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
            if let Some((a, b)) = &slot.lora {
                named.push((format!("{name}.lora_A.weight"), a.clone()));
                named.push((format!("{name}.lora_B.weight"), b.clone()));
            }
        }
        named
    }
}

/// The adapter that flat vectors `thetas` (one per layer) amount to.
pub fn adapter(config: &LoraConfig, slots: &LayerSlots, thetas: &[Vec<f32>]) -> Adapter {
    let mut adapter = Adapter { config: config.clone(), tensors: Default::default() };
    for (index, theta) in thetas.iter().enumerate() {
        for (slot, name) in slots.linears.iter().zip(LINEARS) {
            if let Some((a, b)) = &slot.lora {
                let pair = LoraPair { a: theta[a.clone()].to_vec(), b: theta[b.clone()].to_vec() };
                adapter.tensors.insert(format!("layers.{index}.{name}"), pair);
            }
        }
    }
    adapter
}

/// The layer that a fully trained flat vector amounts to.
pub fn layer_weights(slots: &LayerSlots, theta: &[f32], frozen: &LayerWeights) -> LayerWeights {
    let mut layer = frozen.clone();
    for (slot, weight) in slots.linears.iter().zip(layer.linears_mut()) {
        if let Some(range) = &slot.weight {
            *weight = theta[range.clone()].to_vec().into();
        }
    }
    let biases = slots.linears.iter().map(|slot| &slot.bias).zip(layer.biases.iter_mut().map(Option::as_mut));
    let [q, k] = layer.qk_norms.as_mut().map_or([None, None], |norms| norms.each_mut().map(Some));
    let [attn, ffn] = layer.post_norms.as_mut().map_or([None, None], |norms| norms.each_mut().map(Some));
    let norms = slots.norms.iter().zip([Some(&mut layer.attn_norm), Some(&mut layer.ffn_norm), q, k, attn, ffn]);
    let norms = norms.filter_map(|(slot, norm)| Some((slot, norm?)));
    for (slot, values) in norms.chain(biases.filter_map(|(slot, bias)| Some((slot, bias?)))) {
        if let Some(range) = slot {
            *values = theta[range.clone()].to_vec().into();
        }
    }
    layer
}

/// Random weights of a shape, as transformers initialises them: normal with deviation 0.02, gains 1, biases 0; the
/// projections into the residual stream are scaled down by √(2·layers), as GPT-2 does.
pub fn random_weights(config: &Config, seed: u64) -> Weights {
    let mut rng = Rng::new(seed, "weights");
    let mut normal = |n: usize, deviation: f32| -> std::sync::Arc<Vec<f32>> {
        (0..n).map(|_| rng.normal() * deviation).collect::<Vec<_>>().into()
    };
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

impl LayerWeights {
    /// The seven linear weights, in the order of [`LINEARS`].
    pub fn linears(&self) -> [&[f32]; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down].map(|w| w.as_slice())
    }

    fn linears_mut(&mut self) -> [&mut std::sync::Arc<Vec<f32>>; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }
}
