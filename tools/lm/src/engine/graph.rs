//! The whole model as a candle graph: one custom operation per decoder layer and one for the loss. Candle keeps the
//! graph, the variables and the order of the backward pass; each operation brings its own gradient, and frozen weights
//! live inside the operation, so that candle neither computes nor keeps a gradient for them.

use std::sync::{Arc, Mutex};

use candle_core::{CustomOp2, Device, Tensor, Var};
use rayon::prelude::*;

use super::{
    batch::Batch,
    head::{Head, Loss},
    layer::{Layer, Saved, Shape},
    ops::{LayerOp, LossOp, attend, lock, merge, segments, shard_targets},
    params::LayerSlots,
};
use crate::{config::Config, error::Result, weights::Weights};

/// A model being trained.
pub struct Graph {
    shape: Arc<Shape>,
    slots: Arc<LayerSlots>,
    weights: Weights,
    config: Config,
    /// The trained numbers of each layer, flat, laid out by the slots.
    pub layers: Vec<Var>,
    /// Last norm, embedding and (untied) output layer when everything is trained.
    pub outer: Option<Outer>,
}

/// The trained tensors outside the decoder layers.
pub struct Outer {
    /// Last norm, `[hidden]`.
    pub norm: Var,
    /// Embedding, `[vocab, hidden]`; also the output layer when that is tied.
    pub embed: Var,
    /// Output layer, `[vocab, hidden]`, when untied.
    pub head: Option<Var>,
}

impl Graph {
    /// A graph over `weights`, with one flat vector of trained numbers per layer; `outer` trains the rest as well.
    pub fn new(
        config: &Config,
        weights: &Weights,
        slots: LayerSlots,
        thetas: Vec<Vec<f32>>,
        outer: bool,
    ) -> Result<Self> {
        let var = |data: &[f32], dims: &[usize]| Ok(Var::from_slice(data, dims, &Device::Cpu)?);
        let (v, h) = (config.vocab_size, config.hidden_size);
        let outer = match outer {
            false => None,
            true => Some(Outer {
                norm: var(&weights.norm, &[h])?,
                embed: var(&weights.embed, &[v, h])?,
                head: weights.head.as_ref().map(|head| var(head, &[v, h])).transpose()?,
            }),
        };
        let layers = thetas.iter().map(|theta| var(theta, &[theta.len()])).collect::<Result<_>>()?;
        Ok(Graph {
            shape: Arc::new(Shape::new(config)),
            slots: Arc::new(slots),
            weights: weights.clone(),
            config: config.clone(),
            layers,
            outer,
        })
    }

    /// The layout of each layer's flat vector.
    pub fn slots(&self) -> &LayerSlots {
        &self.slots
    }

    /// Every trained variable with its name, layers first.
    pub fn variables(&self) -> Vec<(String, &Var)> {
        let layers = self.layers.iter().enumerate().map(|(i, var)| (format!("layers.{i}"), var));
        let outer = self.outer.iter().flat_map(|outer| {
            let head = outer.head.iter().map(|head| ("lm_head.weight".to_owned(), head));
            [("norm.weight".to_owned(), &outer.norm), ("embed_tokens.weight".to_owned(), &outer.embed)]
                .into_iter()
                .chain(head)
        });
        layers.chain(outer).collect()
    }

    /// The scalar loss of `batch` with its graph, and the figures behind it. Call `backward` on the tensor.
    pub fn loss(&self, batch: &Arc<Batch>) -> Result<(Tensor, Loss)> {
        let rows = batch.tokens.len();
        let ids = Tensor::from_slice(&batch.tokens, rows, &Device::Cpu)?;
        let mut x = match &self.outer {
            Some(outer) => outer.embed.index_select(&ids, 0)?,
            None => Tensor::from_vec(self.embed(batch), (rows, self.config.hidden_size), &Device::Cpu)?,
        };
        for (index, (weights, theta)) in self.weights.layers.iter().zip(&self.layers).enumerate() {
            let op = LayerOp {
                index,
                shape: self.shape.clone(),
                slots: self.slots.clone(),
                weights: weights.clone(),
                batch: batch.clone(),
                saved: Mutex::new(Vec::new()),
            };
            x = x.apply_op2_arc(theta, Arc::new(Box::new(op) as Box<dyn CustomOp2 + Send + Sync>))?;
        }
        let out = Arc::new(Mutex::new(Loss::default()));
        let frozen = || {
            let head = self.weights.head.as_ref().unwrap_or(&self.weights.embed);
            (self.weights.norm.clone(), head.clone())
        };
        let op = LossOp {
            eps: self.config.rms_norm_eps as f32,
            batch: batch.clone(),
            out: out.clone(),
            grads: Mutex::new(None),
            frozen: self.outer.is_none().then(frozen),
        };
        let loss = match &self.outer {
            None => x.apply_op1(op)?,
            Some(outer) => x.apply_op3(&outer.norm, outer.head.as_ref().unwrap_or(&outer.embed), op)?,
        };
        let figures = std::mem::take(&mut *lock(&out)?);
        Ok((loss, figures))
    }

    /// The loss figures of `batch` without a graph.
    pub fn evaluate(&self, batch: &Batch) -> Result<Loss> {
        let thetas: Vec<Vec<f32>> = self.layers.iter().map(|v| Ok(v.to_vec1()?)).collect::<Result<_>>()?;
        let (norm, embed, head) = match &self.outer {
            None => (self.weights.norm.to_vec(), None, None),
            Some(outer) => {
                let flat = |var: &Var| -> Result<Vec<f32>> { Ok(var.flatten_all()?.to_vec1()?) };
                (flat(&outer.norm)?, Some(flat(&outer.embed)?), outer.head.as_ref().map(flat).transpose()?)
            }
        };
        let embed = embed.as_deref().unwrap_or(&self.weights.embed);
        let head = head.as_deref().or(self.weights.head.as_ref().map(|h| h.as_slice())).unwrap_or(embed);
        let head = Head { norm: &norm, weight: head, eps: self.config.rms_norm_eps as f32 };
        let hidden = self.config.hidden_size;
        let losses: Vec<Loss> = (0..batch.shards.len())
            .into_par_iter()
            .map(|i| {
                let rows = batch.rows(i);
                let mut x: Vec<f32> = Vec::with_capacity(rows.len() * hidden);
                batch.tokens[rows.clone()]
                    .iter()
                    .for_each(|&t| x.extend_from_slice(&embed[t as usize * hidden..][..hidden]));
                let (segments, mut y, mut saved) = (segments(batch, i), vec![0.0; x.len()], Saved::default());
                for (index, (weights, theta)) in self.weights.layers.iter().zip(&thetas).enumerate() {
                    let layer = Layer::new(&self.shape, index, weights, &self.slots, theta);
                    layer.forward(&x, &segments, &mut y, &mut saved, &mut attend(layer.heads(), &segments));
                    std::mem::swap(&mut x, &mut y);
                }
                head.cross_entropy(&x, &shard_targets(batch, i), None)
            })
            .collect();
        Ok(merge(losses))
    }

    fn embed(&self, batch: &Batch) -> Vec<f32> {
        let h = self.config.hidden_size;
        batch.tokens.iter().flat_map(|&t| &self.weights.embed[t as usize * h..][..h]).copied().collect()
    }
}
