//! One decoder layer made of candle's operations.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    attention::Packing,
    ops::{frozen, normalise, plus, rope, times},
};
use crate::{
    config::{Activation, Config},
    engine::{
        attention::Heads,
        dropout::Dropout,
        params::{LayerSlots, LinearSlot, LoraSlot, shapes},
    },
    weights::LayerWeights,
};

/// What of a batch every layer needs.
pub(super) struct Rows {
    pub packing: Packing,
    /// Cosines and sines of each row's position, `[rows, 1, head_dim / 2]`.
    pub rope: [Tensor; 2],
    /// Those of sliding layers, where they differ.
    pub sliding_rope: Option<[Tensor; 2]>,
    /// A key of each row for dropout; none in evaluations.
    pub keys: Vec<u64>,
}

/// A decoder layer with its frozen weights on the device.
pub(super) struct Layer {
    index: usize,
    heads: Heads,
    eps: f64,
    /// Added to the gains of norms.
    offset: f64,
    activation: Activation,
    slots: LayerSlots,
    linears: Vec<Frozen>,
    /// In f32, in the order of [`crate::engine::params::NORMS`].
    norms: Vec<Option<Tensor>>,
    dtype: DType,
}

/// A linear layer of the base.
struct Frozen {
    /// `[out, in]`.
    weight: Tensor,
    bias: Option<Tensor>,
    out: usize,
    inp: usize,
}

impl Layer {
    pub(super) fn new(
        config: &Config,
        index: usize,
        weights: &LayerWeights,
        slots: &LayerSlots,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let put = |values: &[f32], dtype| {
            Tensor::from_slice(values, values.len(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        let linears = weights.linears().into_iter().zip(&weights.biases).zip(shapes(config));
        let linears = linears.map(|((weight, bias), (out, inp))| {
            let weight = put(&weight.floats(), dtype)?.reshape((out, inp))?;
            let bias = bias.as_ref().map(|bias| put(bias, dtype)).transpose()?;
            Ok(Frozen { weight, bias, out, inp })
        });
        let offset = if config.norm_offset { 1.0 } else { 0.0 };
        let gain = |gain: &[f32]| put(gain, DType::F32)? + offset;
        let norms = (0..slots.norms.len()).map(|i| weights.norm(i).map(|values| gain(values)).transpose());
        Ok(Layer {
            index,
            heads: Heads::new(config, index),
            eps: config.rms_norm_eps,
            offset,
            activation: config.activation,
            slots: slots.clone(),
            linears: linears.collect::<Result<_>>()?,
            norms: norms.collect::<Result<_>>()?,
            dtype,
        })
    }

    /// `layer(x)`, with `theta` the trained numbers of the layer, if there are any.
    pub(super) fn forward(&self, x: &Tensor, theta: Option<&Tensor>, rows: &Arc<Rows>) -> Result<Tensor> {
        let (Heads { q, kv, dim, .. }, n) = (self.heads, x.dim(0)?);
        let linear = |i: usize, x: &Tensor| self.linear(i, x, theta, rows);
        let normed = self.norm(0, x, theta)?;
        let [cos, sin] = rows.sliding_rope.as_ref().filter(|_| self.heads.window.is_some()).unwrap_or(&rows.rope);
        let turned = |i: usize, heads: usize| {
            let x = self.norm(2 + i, &linear(i, &normed)?.reshape((n, heads, dim))?, theta)?;
            rope(&x, cos, sin)?.reshape((n, heads * dim))
        };
        let attended = rows.packing.attend(self.heads, &turned(0, q)?, &turned(1, kv)?, &linear(2, &normed)?)?;
        let middle = (x + self.norm(4, &linear(3, &attended)?, theta)?)?;
        let normed = self.norm(1, &middle, theta)?;
        let gate = match self.activation {
            Activation::Silu => linear(4, &normed)?.silu()?,
            Activation::GeluTanh => linear(4, &normed)?.gelu()?,
        };
        let act = (gate * linear(5, &normed)?)?;
        middle + self.norm(5, &linear(6, &act)?, theta)?
    }

    /// Norm `i` over the last dimension of `x`; `x` where the layer has no such norm.
    fn norm(&self, i: usize, x: &Tensor, theta: Option<&Tensor>) -> Result<Tensor> {
        let Some(gain) = &self.norms[i] else { return Ok(x.clone()) };
        let normed = normalise(x, self.eps)?;
        match (theta, &self.slots.norms[i]) {
            (Some(theta), Some(range)) => {
                normed.broadcast_mul(&(theta.narrow(0, range.start, range.len())? + self.offset)?)
            }
            _ => times(&normed, gain),
        }?
        .to_dtype(self.dtype)
    }

    /// Linear layer `i` with its adapter.
    fn linear(&self, i: usize, x: &Tensor, theta: Option<&Tensor>, rows: &Rows) -> Result<Tensor> {
        let Frozen { weight, bias, out, inp } = &self.linears[i];
        let slot = &self.slots.linears[i];
        let part = |range: &std::ops::Range<usize>| match theta {
            Some(theta) => theta.narrow(0, range.start, range.len())?.to_dtype(self.dtype),
            None => candle_core::bail!("layer {} is trained, but has no trained numbers", self.index),
        };
        let y = match (&slot.weight, &slot.lora) {
            (Some(range), _) => x.matmul(&part(range)?.reshape((*out, *inp))?.t()?)?,
            (None, None) => frozen(x, weight)?,
            (None, Some(lora)) => {
                let (a, b) = (part(&lora.a)?.reshape((lora.r, *inp))?, part(&lora.b)?.reshape((*out, lora.r))?);
                let dropped = self.mask(i, x, rows)?.map(|mask| times(x, &mask)).transpose()?;
                let inner = dropped.as_ref().unwrap_or(x);
                let added = (inner.matmul(&a.t()?)?.matmul(&b.t()?)? * f64::from(lora.scaling))?;
                let y = frozen(x, weight)?;
                match (self.gain(weight, slot, theta)?, dropped) {
                    (None, _) => (y + added)?,
                    (Some(gain), None) => (y + added)?.broadcast_mul(&gain)?,
                    // As in PEFT: the magnitude scales what becomes of the dropped-out x.
                    (Some(gain), Some(dropped)) => {
                        let u = frozen(&dropped, weight)?;
                        ((y - &u)? + (u + added)?.broadcast_mul(&gain)?)?
                    }
                }
            }
        };
        match (&slot.bias, bias) {
            (Some(range), _) => y.broadcast_add(&part(range)?),
            (None, Some(bias)) => plus(&y, bias),
            (None, None) => Ok(y),
        }
    }

    /// DoRA's magnitude over the norm of each row of `W + s B A`, which is not differentiated.
    fn gain(&self, weight: &Tensor, slot: &LinearSlot, theta: Option<&Tensor>) -> Result<Option<Tensor>> {
        let (Some(theta), Some(LoraSlot { a, b, magnitude: Some(magnitude), r, scaling })) = (theta, &slot.lora) else {
            return Ok(None);
        };
        let (out, inp) = weight.dims2()?;
        let part = |range: &std::ops::Range<usize>| theta.detach().narrow(0, range.start, range.len());
        let (a, b) = (part(a)?.reshape((*r, inp))?, part(b)?.reshape((out, *r))?);
        let changed = (weight.to_dtype(DType::F32)? + (b.matmul(&a)? * f64::from(*scaling))?)?;
        let inverse = changed.sqr()?.sum(1)?.sqrt()?.recip()?;
        let magnitude = theta.narrow(0, magnitude.start, magnitude.len())?;
        Ok(Some(times(&magnitude, &inverse)?.to_dtype(self.dtype)?))
    }

    /// What the input of adapter `i` is multiplied by: the mask of the fused layer, made on the CPU.
    fn mask(&self, i: usize, x: &Tensor, rows: &Rows) -> Result<Option<Tensor>> {
        if rows.keys.is_empty() || self.slots.dropout == 0.0 {
            return Ok(None);
        }
        let (n, inp) = x.dims2()?;
        let dropout = Dropout::new(&rows.keys, self.slots.dropout, (self.index, i));
        let mask = dropout.apply(&vec![1.0; n * inp], inp);
        mask.map(|mask| Tensor::from_vec(mask, (n, inp), &Device::Cpu)?.to_dtype(self.dtype)?.to_device(x.device()))
            .transpose()
    }
}
