//! The whole model as a candle graph: one custom operation per decoder layer and one for the loss. Candle keeps the
//! graph, the variables and the order of the backward pass; each operation brings its own gradient, and frozen weights
//! live inside the operation, so that candle neither computes nor keeps a gradient for them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use candle_core::{CustomOp2, Device, Tensor, Var};
use rayon::prelude::*;

pub use super::ops::Keep;
use super::{
    Engine,
    batch::Batch,
    head::{Head, Loss},
    layer::{Layer, Saved, Shape, all_row_norms},
    linear::{Way, Weight},
    math::RmsNorm,
    ops::{LayerOp, LossOp, attend, lock, merge, segments},
    params::Slots,
    trained::Params,
    variables::Variables,
};
use crate::{config::Config, error::Result, matrix::Matrix, weights::Weights};

/// A model being trained.
pub struct Graph {
    shape: Arc<Shape>,
    slots: Arc<Slots>,
    weights: Weights,
    config: Config,
    /// Whether layers keep what they computed for the backward pass, or compute it again.
    pub recompute: bool,
    variables: Variables,
}

impl Graph {
    /// A graph over `weights` that trains `params`, which are laid out by `slots`.
    pub fn new(config: &Config, weights: &Weights, slots: Slots, params: &Params) -> Result<Self> {
        Ok(Graph {
            variables: Variables::new(config, params, &Device::Cpu)?,
            shape: Arc::new(Shape::new(config)),
            slots: Arc::new(slots),
            weights: weights.clone(),
            config: config.clone(),
            recompute: false,
        })
    }

    /// The layout of the trained numbers.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The variables with their places in [`Params::vectors`].
    pub fn variables(&self) -> impl Iterator<Item = (usize, &Var)> {
        self.variables.iter()
    }

    /// The output layer: trained on its own, tied to a trained embedding, or frozen.
    fn head(&self) -> Result<&Var, &Matrix> {
        let tied = if self.slots.tied { self.variables.outer(1) } else { None };
        self.variables.outer(2).or(tied).ok_or(self.weights.head.as_ref().unwrap_or(&self.weights.embed))
    }

    /// The scalar loss of `batch` with its graph, and the figures behind it. Call `backward` on the tensor.
    pub fn loss(&self, batch: &Arc<Batch>) -> Result<(Tensor, Loss)> {
        let x = self.hidden(batch)?;
        let out = Arc::new(Mutex::new(Loss::default()));
        let head = self.head();
        let op = LossOp {
            rms: RmsNorm::new(&self.config),
            frozen: head.err().cloned(),
            batch: batch.clone(),
            out: out.clone(),
            grads: Mutex::new(None),
            norm: self.variables.outer(0).is_some(),
        };
        let norm = match self.variables.outer(0) {
            Some(var) => var.as_tensor().clone(),
            None => Tensor::from_slice(&self.weights.norm, self.weights.norm.len(), &Device::Cpu)?,
        };
        let head = head.map_or_else(|_| nothing(), |var| Ok(var.as_tensor().clone()))?;
        let loss = x.apply_op3(&norm, &head, op)?;
        let figures = std::mem::take(&mut *lock(&out)?);
        Ok((loss, figures))
    }

    /// The hidden rows after the last layer, `[rows, hidden]`.
    fn hidden(&self, batch: &Arc<Batch>) -> Result<Tensor> {
        let (rows, scale) = (batch.tokens.len(), self.config.embedding_scale());
        let mut x = match self.variables.outer(1) {
            Some(embed) => {
                let rows = embed.index_select(&Tensor::from_slice(&batch.tokens, rows, &Device::Cpu)?, 0)?;
                if self.config.scale_embedding { (rows * f64::from(scale))? } else { rows }
            }
            None => {
                let mut x = Vec::with_capacity(rows * self.config.hidden_size);
                self.weights.embed.gather(&batch.tokens, self.config.hidden_size, scale, &mut x);
                Tensor::from_vec(x, (rows, self.config.hidden_size), &Device::Cpu)?
            }
        };
        // Below the first layer that is trained there is no backward pass.
        let mut trained = self.variables.outer(1).is_some();
        for (index, weights) in self.weights.layers.iter().enumerate() {
            let theta = self.variables.layer(index);
            trained |= theta.is_some();
            let op = LayerOp {
                index,
                shape: self.shape.clone(),
                slots: self.slots.clone(),
                weights: weights.clone(),
                batch: batch.clone(),
                keep: match (trained, self.recompute) {
                    (false, _) => Keep::Nothing,
                    (true, false) => Keep::All,
                    (true, true) => Keep::Recompute,
                },
                decode: !self.recompute,
                saved: Mutex::default(),
            };
            let theta = theta.map_or_else(nothing, |var| Ok(var.as_tensor().clone()))?;
            x = x.apply_op2_arc(&theta, Arc::new(Box::new(op) as Box<dyn CustomOp2 + Send + Sync>))?;
        }
        Ok(x)
    }

    /// The loss figures of `batch` with `params`, without a graph and without dropout.
    pub fn evaluate(&self, batch: &Batch, params: &Params) -> Loss {
        self.forward(batch, params, &|_, _| ())
    }

    /// Where the numbers of `batch` first are not finite: in the embedding, after a layer, or in the likelihoods.
    pub fn first_not_finite(&self, batch: &Batch, params: &Params) -> Option<String> {
        let first = AtomicUsize::new(usize::MAX);
        let loss = self.forward(batch, params, &|layers, x| {
            if x.iter().any(|x| !x.is_finite()) {
                first.fetch_min(layers, Ordering::Relaxed);
            }
        });
        match first.into_inner() {
            0 => Some("embed_tokens".to_owned()),
            usize::MAX => loss.log_p.iter().any(|p| !p.is_finite()).then(|| "lm_head".to_owned()),
            layers => Some(format!("layers.{}", layers - 1)),
        }
    }

    /// The loss figures of `batch`. `watch` is shown the hidden rows of each shard after so many layers.
    fn forward(&self, batch: &Batch, params: &Params, watch: &(dyn Fn(usize, &[f32]) + Sync)) -> Loss {
        let trained = |values| Some(values).filter(|values: &&[f32]| !values.is_empty());
        let (embed, hidden) = (trained(&params.embed[..]), self.config.hidden_size);
        let frozen = || Weight::from(self.weights.head.as_ref().unwrap_or(&self.weights.embed));
        let head = trained(&params.head[..]).or(embed.filter(|_| self.slots.tied));
        let head = Head {
            norm: trained(&params.norm[..]).unwrap_or(&self.weights.norm),
            weight: head.map_or_else(frozen, Weight::Plain),
            vocab: self.config.vocab_size,
            rms: RmsNorm::new(&self.config),
        };
        let scale = self.config.embedding_scale();
        let layers = || self.weights.layers.iter().zip(&self.slots.layers).zip(&params.layers);
        let mut shards: Vec<_> = (0..batch.shards.len())
            .into_par_iter()
            .map(|i| {
                let (tokens, mut x) = (&batch.tokens[batch.rows(i)], Vec::new());
                match embed {
                    None => self.weights.embed.gather(tokens, hidden, scale, &mut x),
                    Some(table) => {
                        let row = |token: &u32| &table[*token as usize * hidden..][..hidden];
                        x.extend(tokens.iter().flat_map(row).map(|value| value * scale));
                    }
                }
                watch(0, &x);
                (segments(batch, i), vec![0.0; x.len()], x, Saved::default())
            })
            .collect();
        for (index, ((weights, slots), theta)) in layers().enumerate() {
            let norms = all_row_norms(&self.shape, weights, slots, theta);
            let layer = Layer::new(&self.shape, index, weights, slots, theta, &norms);
            let laid = layer.lay_out(Way::Forward, !self.recompute);
            let layer = layer.with(&laid);
            shards.par_iter_mut().for_each(|(segments, y, x, saved)| {
                let mut attend = attend(layer.heads(), segments);
                layer.forward((x, &[]), segments, y, saved, &mut attend);
                std::mem::swap(x, y);
                watch(index + 1, x);
            });
        }
        let rows: Vec<_> = shards.into_iter().map(|(_, _, x, _)| x).collect();
        let losses = rows.par_iter().enumerate();
        let losses = losses.map(|(i, x)| head.cross_entropy(x, &batch.shard_targets(i), None)).collect();
        merge(losses)
    }
}

impl Engine for Graph {
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
        Graph::loss(self, batch)
    }

    fn evaluate(&self, batch: &Batch, params: &Params) -> Result<Loss> {
        Ok(Graph::evaluate(self, batch, params))
    }
}

/// Takes the place of a trained tensor where there is none.
fn nothing() -> Result<Tensor> {
    Ok(Tensor::from_slice(&[0f32], 1, &Device::Cpu)?)
}
