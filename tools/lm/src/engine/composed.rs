//! The whole model made of candle's tensor operations: the decoder of [`super::graph`] on any device of candle, in f32 or
//! bf16, and what the hand-written layers are held against in tests. Optimizer, order of rows and dropout are made on the
//! CPU either way; trained numbers are f32 variables.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{
    Engine,
    batch::Batch,
    device::Compute,
    head::Loss,
    params::Slots,
    trained::Params,
    variables::{Variables, tensors},
};
use crate::{
    config::Config,
    error::{Error, Result},
    matrix::Matrix,
    weights::Weights,
};

mod attention;
mod head;
mod layer;
mod ops;

use attention::Packing;
use head::Head;
use layer::{Layer, Rows};
use ops::replay;

/// A model being trained on a device.
pub struct Composed {
    config: Config,
    slots: Slots,
    layers: Vec<Arc<Layer>>,
    /// In f32.
    norm: Tensor,
    embed: Tensor,
    head: Option<Tensor>,
    variables: Variables,
    on: Compute,
    /// Whether layers keep what they computed for the backward pass, or compute it again.
    pub recompute: bool,
}

impl Composed {
    /// A model over `weights`, put on the device, that trains `params`, which are laid out by `slots`.
    pub fn new(config: &Config, weights: &Weights, slots: Slots, params: &Params, on: &Compute) -> Result<Self> {
        let Compute { device, dtype } = on;
        let table = |matrix: &Matrix| -> Result<Tensor> {
            let tensor = Tensor::from_slice(&matrix.floats(), (config.vocab_size, config.hidden_size), &Device::Cpu)?;
            Ok(tensor.to_dtype(*dtype)?.to_device(device)?)
        };
        let layers = weights.layers.iter().zip(&slots.layers).enumerate();
        let layers =
            layers.map(|(i, (weights, slots))| Ok(Layer::new(config, i, weights, slots, (device, *dtype))?.into()));
        Ok(Composed {
            layers: layers.collect::<Result<_>>()?,
            norm: Tensor::from_slice(&weights.norm, weights.norm.len(), device)?,
            embed: table(&weights.embed)?,
            head: weights.head.as_ref().map(table).transpose()?,
            variables: Variables::new(config, params, device)?,
            config: config.clone(),
            slots,
            on: on.clone(),
            recompute: false,
        })
    }

    /// The loss with trained numbers in the order of [`Params::vectors`].
    fn run(&self, trained: &[Option<Tensor>], batch: &Batch, keys: &[u64]) -> Result<(Tensor, Loss)> {
        let (layers, outer) = trained.split_at(self.layers.len());
        let outer = |i: usize| outer.get(i).and_then(Option::as_ref);
        let (norm, embed, head) = (outer(0), outer(1), outer(2));
        let device = &self.on.device;
        let tokens = Tensor::from_slice(&batch.tokens, batch.tokens.len(), device)?;
        let table = embed.unwrap_or(&self.embed);
        let mut x = table.index_select(&tokens, 0)?.to_dtype(self.on.dtype)?;
        if self.config.scale_embedding {
            x = (x * f64::from(self.config.embedding_scale()))?;
        }
        let rows = Arc::new(self.rows(batch, keys)?);
        for (layer, theta) in self.layers.iter().zip(layers) {
            let theta = theta.as_ref();
            x = if self.recompute {
                let (layer, rows) = (layer.clone(), rows.clone());
                replay([Some(&x), theta, None], move |inputs| match inputs {
                    [Some(x), theta, _] => layer.forward(x, theta, &rows),
                    _ => candle_core::bail!("a layer has hidden rows"),
                })?
            } else {
                layer.forward(&x, theta, &rows)?
            };
        }
        let tied = if self.slots.tied { embed } else { None };
        let head = Head {
            norm: &self.norm,
            trained_norm: norm,
            weight: self.head.as_ref().unwrap_or(&self.embed),
            trained_weight: head.or(tied),
            eps: self.config.rms_norm_eps,
            offset: if self.config.norm_offset { 1.0 } else { 0.0 },
        };
        Ok(head.loss(&x, batch)?)
    }

    /// What of `batch` every layer needs.
    fn rows(&self, batch: &Batch, keys: &[u64]) -> Result<Rows> {
        let Compute { device, dtype } = &self.on;
        let windows: Vec<_> = (0..self.layers.len()).map(|layer| self.config.window(layer)).collect();
        let positions: Vec<usize> = batch.sequences.iter().flat_map(|sequence| 0..sequence.len()).collect();
        let table = |inverse: &[f32], f: fn(f32) -> f32| -> Result<Tensor> {
            let angles = positions.iter().flat_map(|p| inverse.iter().map(move |inverse| f(*p as f32 * inverse)));
            let table = Tensor::from_vec(angles.collect(), (positions.len(), 1, inverse.len()), &Device::Cpu)?;
            Ok(table.to_dtype(*dtype)?.to_device(device)?)
        };
        let tables = |inverse: &[f32]| Ok::<_, Error>([table(inverse, f32::cos)?, table(inverse, f32::sin)?]);
        Ok(Rows {
            packing: Packing::new(batch, &windows, (device, *dtype))?,
            rope: tables(&self.config.inverse_frequencies())?,
            sliding_rope: self.config.sliding_frequencies().map(|inverse| tables(&inverse)).transpose()?,
            keys: keys.to_vec(),
        })
    }
}

impl Engine for Composed {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn trained(&self) -> &Variables {
        &self.variables
    }

    fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    fn loss(&self, batch: &Arc<Batch>) -> Result<(Tensor, Loss)> {
        let trained = self.variables.tensors();
        let Some(preference) = &batch.preference else { return self.run(&trained, batch, &batch.keys) };
        // The weight of a token depends on both answers, so that all is computed twice.
        let plain = self.run(&trained, batch, &batch.keys)?.1;
        let (loss, _) = self.run(&trained, &preference.weighed(batch, &plain.log_p), &batch.keys)?;
        Ok((loss, Loss { sum: preference.figures(batch, &plain.log_p).0, ..plain }))
    }

    fn evaluate(&self, batch: &Batch, params: &Params) -> Result<Loss> {
        let params = tensors(&self.config, params, &self.on.device)?;
        Ok(self.run(&params, batch, &[])?.1)
    }
}
