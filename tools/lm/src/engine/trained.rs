//! The trained numbers of a model: what they are at the start, and what they become at the end.

use std::ops::Range;

use super::{
    math,
    params::{LINEARS, LayerSlots, LoraSlot, Slots, shapes},
};
use crate::{
    config::Config,
    lora::{Adapter, LoraConfig, LoraPair},
    rng::Rng,
    weights::{LayerWeights, Weights},
};

/// Every trained number, in flat vectors; a vector is empty where nothing of it is trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// One for each decoder layer, laid out by its slots.
    pub layers: Vec<Vec<f32>>,
    /// The last norm, `[hidden]`.
    pub norm: Vec<f32>,
    /// The embedding, `[vocab, hidden]`.
    pub embed: Vec<f32>,
    /// An output layer of its own, `[vocab, hidden]`.
    pub head: Vec<f32>,
}

impl Params {
    /// What training starts from: A as PEFT draws it (uniform in ±1/√in, which is Kaiming's with a = √5), B zero, DoRA's
    /// magnitudes the norms of the base's rows, and everything else as it is in the base.
    pub fn initial(slots: &Slots, config: &Config, weights: &Weights, rng: &mut Rng) -> Self {
        let layers = slots.layers.iter().zip(&weights.layers).map(|(slots, w)| layer(slots, config, w, rng)).collect();
        let head = weights.head.as_ref().unwrap_or(&weights.embed);
        let when = |trained: bool, values: &[f32]| if trained { values.to_vec() } else { Vec::new() };
        Params {
            layers,
            norm: when(slots.norm, &weights.norm),
            embed: if slots.embed { weights.embed.floats().into_owned() } else { Vec::new() },
            head: if slots.head { head.floats().into_owned() } else { Vec::new() },
        }
    }

    /// The numbers of `adapter`, which must have been checked against the base.
    pub fn of_adapter(slots: &Slots, config: &Config, weights: &Weights, adapter: &Adapter) -> Self {
        let mut params = Self::initial(slots, config, weights, &mut Rng::new(0, ""));
        for (index, (slots, theta)) in slots.layers.iter().zip(&mut params.layers).enumerate() {
            for (slot, name) in slots.linears.iter().zip(LINEARS) {
                let pair = adapter.tensors.get(&format!("layers.{index}.{name}"));
                if let (Some(slot), Some(pair)) = (&slot.lora, pair) {
                    theta[slot.a.clone()].copy_from_slice(&pair.a);
                    theta[slot.b.clone()].copy_from_slice(&pair.b);
                    if let (Some(range), Some(magnitude)) = (&slot.magnitude, &pair.magnitude) {
                        theta[range.clone()].copy_from_slice(magnitude);
                    }
                }
            }
        }
        for (name, index, range) in params.saved(slots) {
            if let (Some(values), Some(vector)) = (adapter.saved.get(&name), params.vectors_mut().nth(index)) {
                vector[range].copy_from_slice(values);
            }
        }
        params
    }

    /// The adapter that they amount to.
    pub fn adapter(&self, config: &LoraConfig, slots: &Slots) -> Adapter {
        let mut adapter = Adapter { config: config.clone(), tensors: Default::default(), saved: Default::default() };
        for (index, (slots, theta)) in slots.layers.iter().zip(&self.layers).enumerate() {
            for (slot, name) in slots.linears.iter().zip(LINEARS) {
                if let Some(LoraSlot { a, b, magnitude, .. }) = &slot.lora {
                    let part = |range: &Range<usize>| theta[range.clone()].to_vec();
                    let pair = LoraPair { a: part(a), b: part(b), magnitude: magnitude.as_ref().map(part) };
                    adapter.tensors.insert(format!("layers.{index}.{name}"), pair);
                }
            }
        }
        let vectors: Vec<_> = self.vectors().collect();
        let copy = |(name, index, range): (String, usize, Range<usize>)| (name, vectors[index][range].to_vec());
        adapter.saved = self.saved(slots).into_iter().map(copy).collect();
        adapter
    }

    /// The model that they make of `base` when whole tensors are trained.
    pub fn weights(&self, slots: &Slots, base: &Weights) -> Weights {
        let mut weights = base.clone();
        for ((slots, theta), layer) in slots.layers.iter().zip(&self.layers).zip(&mut weights.layers) {
            replace(slots, theta, layer);
        }
        if slots.norm {
            weights.norm = self.norm.clone().into();
        }
        if slots.embed {
            weights.embed = self.embed.clone().into();
        }
        if slots.head {
            weights.head = Some(self.head.clone().into());
        }
        weights
    }

    /// All vectors: those of the layers, last norm, embedding, output layer.
    pub fn vectors(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.layers.iter().chain([&self.norm, &self.embed, &self.head])
    }

    /// The same, to be changed.
    pub fn vectors_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.layers.iter_mut().chain([&mut self.norm, &mut self.embed, &mut self.head])
    }

    /// Whole trained tensors: their names in the model, and where they stand in which of [`Params::vectors`].
    fn saved(&self, slots: &Slots) -> Vec<(String, usize, Range<usize>)> {
        let mut saved = Vec::new();
        for (index, slots) in slots.layers.iter().enumerate() {
            let whole = slots.tensors().into_iter().filter(|(name, _)| !name.contains(".lora_"));
            saved.extend(whole.map(|(name, range)| (format!("model.layers.{index}.{name}"), index, range)));
        }
        let ends = ["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"];
        for ((index, values), name) in self.vectors().enumerate().skip(self.layers.len()).zip(ends) {
            saved.extend((!values.is_empty()).then(|| (name.to_owned(), index, 0..values.len())));
        }
        saved
    }
}

fn layer(slots: &LayerSlots, config: &Config, weights: &LayerWeights, rng: &mut Rng) -> Vec<f32> {
    let mut theta = vec![0.0; slots.len];
    for ((slot, weight), (_, inp)) in slots.linears.iter().zip(weights.linears()).zip(shapes(config)) {
        if let Some(range) = &slot.weight {
            theta[range.clone()].copy_from_slice(&weight.floats());
        }
        if let Some(LoraSlot { a, magnitude, .. }) = &slot.lora {
            let bound = 1.0 / (inp as f32).sqrt();
            theta[a.clone()].iter_mut().for_each(|v| *v = (rng.uniform() * 2.0 - 1.0) * bound);
            if let Some(range) = magnitude {
                let norms = theta[range.clone()].iter_mut();
                norms.zip(weight.floats().chunks_exact(inp)).for_each(|(norm, row)| *norm = math::norm(row));
            }
        }
    }
    for (slot, bias) in slots.linears.iter().zip(&weights.biases) {
        if let (Some(range), Some(bias)) = (&slot.bias, bias) {
            theta[range.clone()].copy_from_slice(bias);
        }
    }
    for (i, slot) in slots.norms.iter().enumerate() {
        if let (Some(range), Some(norm)) = (slot, weights.norm(i)) {
            theta[range.clone()].copy_from_slice(norm);
        }
    }
    theta
}

/// Puts the whole tensors of `theta` into `layer`.
fn replace(slots: &LayerSlots, theta: &[f32], layer: &mut LayerWeights) {
    let part = |range: &Range<usize>| theta[range.clone()].to_vec();
    for (slot, weight) in slots.linears.iter().zip(layer.linears_mut()) {
        if let Some(range) = &slot.weight {
            *weight = part(range).into();
        }
    }
    for (slot, bias) in slots.linears.iter().zip(&mut layer.biases) {
        if let (Some(range), Some(bias)) = (&slot.bias, bias) {
            *bias = part(range).into();
        }
    }
    for (i, slot) in slots.norms.iter().enumerate() {
        if let (Some(range), Some(norm)) = (slot, layer.norm_mut(i)) {
            *norm = part(range).into();
        }
    }
}
