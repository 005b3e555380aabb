//! The whole model as a candle graph: one custom operation per decoder layer and one for the loss. Candle keeps the
//! graph, the variables and the order of the backward pass; each operation brings its own gradient, and frozen weights
//! live inside the operation, so that candle neither computes nor keeps a gradient for them.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Shape as Dims, Storage, Tensor, Var};
use rayon::prelude::*;

use super::{
    attention,
    batch::Batch,
    head::{Head, HeadGrads, Loss},
    layer::{Grads, Layer, Saved, Segment, Shape},
    params::LayerSlots,
};
use crate::{
    config::Config,
    error::{Error, Result},
    weights::{LayerWeights, Weights},
};

/// A model being trained.
pub struct Graph {
    shape: Arc<Shape>,
    slots: Arc<LayerSlots>,
    weights: Weights,
    config: Config,
    /// Last norm and output layer when they are frozen.
    frozen: Option<(Tensor, Tensor)>,
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
        let head = weights.head.as_ref().unwrap_or(&weights.embed);
        let frozen = match outer {
            None => Some((
                Tensor::from_slice(&weights.norm, h, &Device::Cpu)?,
                Tensor::from_slice(head, (v, h), &Device::Cpu)?,
            )),
            Some(_) => None,
        };
        Ok(Graph {
            frozen,
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
        for (weights, theta) in self.weights.layers.iter().zip(&self.layers) {
            let op = LayerOp {
                shape: self.shape.clone(),
                slots: self.slots.clone(),
                weights: weights.clone(),
                batch: batch.clone(),
                saved: Mutex::new(Vec::new()),
            };
            x = x.apply_op2_arc(theta, Arc::new(Box::new(op) as Box<dyn CustomOp2 + Send + Sync>))?;
        }
        let out = Arc::new(Mutex::new(Loss::default()));
        let op = LossOp {
            eps: self.config.rms_norm_eps as f32,
            batch: batch.clone(),
            out: out.clone(),
            grads: Mutex::new(None),
            trained: self.outer.is_some(),
        };
        let (norm, head) = match (&self.outer, &self.frozen) {
            (Some(outer), _) => {
                (outer.norm.as_tensor().clone(), outer.head.as_ref().unwrap_or(&outer.embed).as_tensor().clone())
            }
            (None, Some(frozen)) => frozen.clone(),
            (None, None) => return Err(Error::Train("the graph has no output layer".into())),
        };
        let loss = x.apply_op3(&norm, &head, op)?;
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
                for (weights, theta) in self.weights.layers.iter().zip(&thetas) {
                    let layer = Layer::new(&self.shape, weights, &self.slots, theta);
                    layer.forward(&x, &segments, &mut y, &mut saved, &mut attend(&self.shape, &segments));
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

/// The segments of shard `i`, as rows of the shard.
fn segments(batch: &Batch, i: usize) -> Vec<Segment> {
    let first = batch.rows(i).start;
    let shift = |s: &std::ops::Range<usize>| Segment { rows: s.start - first..s.end - first, start: 0 };
    batch.sequences[batch.shards[i].clone()].iter().map(shift).collect()
}

/// The targets of shard `i`, as rows of the shard.
fn shard_targets(batch: &Batch, i: usize) -> Vec<(usize, u32, f32)> {
    let rows = batch.rows(i);
    let start = batch.targets.partition_point(|t| t.0 < rows.start);
    let end = batch.targets.partition_point(|t| t.0 < rows.end);
    batch.targets[start..end].iter().map(|&(row, token, w)| (row - rows.start, token, w)).collect()
}

/// Attention of whole sequences.
fn attend<'a>(shape: &'a Shape, segments: &'a [Segment]) -> impl FnMut(&[f32], &[f32], &[f32], &mut [f32]) + 'a {
    let heads = shape.heads();
    let mut p = Vec::new();
    move |q, k, v, out| {
        for Segment { rows, .. } in segments {
            let part = |width: usize| rows.start * width..rows.end * width;
            let (wide, narrow) = (part(heads.q * heads.dim), part(heads.kv * heads.dim));
            let inputs = (&q[wide.clone()], &k[narrow.clone()], &v[narrow]);
            attention::forward(heads, (rows.len(), 0), inputs, &mut out[wide], &mut p);
        }
    }
}

fn merge(losses: Vec<Loss>) -> Loss {
    losses.into_iter().fold(Loss::default(), |mut all, loss| {
        all.sum += loss.sum;
        all.greedy.extend(loss.greedy);
        all.log_p.extend(loss.log_p);
        all
    })
}

/// One decoder layer: inputs are the hidden rows and the layer's flat trained vector.
struct LayerOp {
    shape: Arc<Shape>,
    slots: Arc<LayerSlots>,
    weights: LayerWeights,
    batch: Arc<Batch>,
    saved: Mutex<Vec<Saved>>,
}

impl CustomOp2 for LayerOp {
    fn name(&self) -> &'static str {
        "decoder-layer"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Dims)> {
        let (x, theta) = (floats(s1, l1)?, floats(s2, l2)?);
        let layer = Layer::new(&self.shape, &self.weights, &self.slots, theta);
        let mut y = vec![0.0; x.len()];
        let saved = split(&self.batch, x.len(), &mut y)
            .into_par_iter()
            .enumerate()
            .map(|(i, (range, y))| {
                let (segments, mut saved) = (segments(&self.batch, i), Saved::default());
                layer.forward(&x[range], &segments, y, &mut saved, &mut attend(&self.shape, &segments));
                saved
            })
            .collect();
        *lock(&self.saved)? = saved;
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        theta: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let saved = std::mem::take(&mut *lock(&self.saved)?);
        with_floats(&[x, theta, dy], |data| {
            let &[x_data, theta_data, dy] = data else { candle_core::bail!("decoder-layer: three inputs expected") };
            let layer = Layer::new(&self.shape, &self.weights, &self.slots, theta_data);
            let mut dx = vec![0.0; x_data.len()];
            let parts: Vec<Vec<f32>> = split(&self.batch, x_data.len(), &mut dx)
                .into_par_iter()
                .enumerate()
                .zip(saved)
                .map(|((i, (range, dx)), saved)| {
                    let mut dtheta = vec![0.0; theta_data.len()];
                    let mut grads = Grads { dtheta: &mut dtheta, slots: &self.slots };
                    layer.backward(
                        &x_data[range.clone()],
                        &segments(&self.batch, i),
                        saved,
                        &dy[range],
                        dx,
                        &mut grads,
                    );
                    dtheta
                })
                .collect();
            let dtheta = Tensor::from_vec(sum(parts), theta.shape(), &Device::Cpu)?;
            Ok((Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?), Some(dtheta)))
        })
    }
}

/// The last norm, the output layer and the cross-entropy. The gradient is made together with the value.
struct LossOp {
    eps: f32,
    batch: Arc<Batch>,
    out: Arc<Mutex<Loss>>,
    grads: Mutex<Option<LossGrads>>,
    /// Whether norm and output layer are trained.
    trained: bool,
}

struct LossGrads {
    dx: Vec<f32>,
    dnorm: Vec<f32>,
    dweight: Vec<f32>,
}

impl CustomOp3 for LossOp {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Dims)> {
        let (x, norm, weight) = (floats(s1, l1)?, floats(s2, l2)?, floats(s3, l3)?);
        let head = Head { norm, weight, eps: self.eps };
        let mut dx = vec![0.0; x.len()];
        let parts: Vec<(Loss, Vec<f32>, Vec<f32>)> = split(&self.batch, x.len(), &mut dx)
            .into_par_iter()
            .enumerate()
            .map(|(i, (range, dx))| {
                let zeros = |n: usize| if self.trained { vec![0.0; n] } else { Vec::new() };
                let (mut dnorm, mut dweight) = (zeros(norm.len()), zeros(weight.len()));
                let grads = HeadGrads {
                    dx,
                    dnorm: self.trained.then_some(&mut dnorm[..]),
                    dweight: self.trained.then_some(&mut dweight[..]),
                };
                let loss = head.cross_entropy(&x[range], &shard_targets(&self.batch, i), Some(grads));
                (loss, dnorm, dweight)
            })
            .collect();
        let (mut losses, mut dnorms, mut dweights) = (Vec::new(), Vec::new(), Vec::new());
        for (loss, dnorm, dweight) in parts {
            losses.push(loss);
            dnorms.push(dnorm);
            dweights.push(dweight);
        }
        let loss = merge(losses);
        let value = loss.sum as f32;
        *lock(&self.out)? = loss;
        *lock(&self.grads)? = Some(LossGrads { dx, dnorm: sum(dnorms), dweight: sum(dweights) });
        Ok((CpuStorage::F32(vec![value]), Dims::from(())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        norm: &Tensor,
        weight: &Tensor,
        _loss: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let upstream = f64::from(upstream.to_scalar::<f32>()?);
        let Some(LossGrads { dx, dnorm, dweight }) = lock(&self.grads)?.take() else {
            candle_core::bail!("the loss's gradient was taken twice")
        };
        let tensor = |data: Vec<f32>, like: &Tensor| -> candle_core::Result<Tensor> {
            let tensor = Tensor::from_vec(data, like.shape(), &Device::Cpu)?;
            if upstream == 1.0 { Ok(tensor) } else { tensor * upstream }
        };
        let dx = Some(tensor(dx, x)?);
        if !self.trained {
            return Ok((dx, None, None));
        }
        Ok((dx, Some(tensor(dnorm, norm)?), Some(tensor(dweight, weight)?)))
    }
}

/// Splits rows among the shards of `batch`: for each, its range of `len` numbers and its part of `out`.
fn split<'a>(batch: &Batch, len: usize, out: &'a mut [f32]) -> Vec<(std::ops::Range<usize>, &'a mut [f32])> {
    let width = if batch.tokens.is_empty() { 0 } else { len / batch.tokens.len() };
    let mut rest = out;
    let mut parts = Vec::new();
    for i in 0..batch.shards.len() {
        let rows = batch.rows(i);
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(rows.len() * width);
        parts.push((rows.start * width..rows.end * width, part));
        rest = tail;
    }
    parts
}

/// Sum of equally long vectors, in order.
fn sum(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        for (to, from) in total.iter_mut().zip(part) {
            *to += from;
        }
    }
    total
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        _ => candle_core::bail!("contiguous f32 expected"),
    }
}

/// Calls `f` with the numbers of `tensors`.
fn with_floats<R>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> candle_core::Result<R>) -> candle_core::Result<R> {
    let guards: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let slices = guards
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => floats(storage, layout),
            _ => candle_core::bail!("the fused layer runs on the CPU"),
        })
        .collect::<candle_core::Result<Vec<_>>>()?;
    f(&slices)
}

fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>, LockError> {
    mutex.lock().map_err(|_| LockError)
}

#[derive(Debug)]
struct LockError;

impl From<LockError> for candle_core::Error {
    fn from(_: LockError) -> Self {
        candle_core::Error::Msg("a thread panicked in the layer".into())
    }
}

impl From<LockError> for Error {
    fn from(_: LockError) -> Self {
        Error::Train("a thread panicked in the layer".into())
    }
}
