//! The custom operations of the graph: a decoder layer and the loss, each with its own gradient.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Shape as Dims, Storage, Tensor};
use rayon::prelude::*;

use super::{
    attention,
    batch::Batch,
    head::{Head, HeadGrads, Loss},
    layer::{Layer, RowNorms, Saved, Segment, Shape, all_row_norms},
    linear::{Grads, Way, Weight},
    math::RmsNorm,
    params::Slots,
};
use crate::{error::Error, matrix::Matrix, weights::LayerWeights};

/// Decoder layer `index`: inputs are the hidden rows and the layer's flat trained vector, which is one number that means
/// nothing where nothing of the layer is trained.
pub(super) struct LayerOp {
    pub index: usize,
    pub shape: Arc<Shape>,
    pub slots: Arc<Slots>,
    pub weights: LayerWeights,
    pub batch: Arc<Batch>,
    pub keep: Keep,
    /// Whether all its weights may be decoded at once.
    pub decode: bool,
    /// What the forward pass kept, by shard, and the row norms.
    pub saved: Mutex<(Vec<Saved>, RowNorms)>,
}

/// What of the forward pass is kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    All,
    /// Nothing: the backward pass does the layer's forward pass again.
    Recompute,
    /// Nothing: there will be no backward pass.
    Nothing,
}

impl LayerOp {
    fn layer<'a>(&'a self, theta: &'a [f32], norms: &'a RowNorms) -> Layer<'a> {
        Layer::new(&self.shape, self.index, &self.weights, &self.slots.layers[self.index], theta, norms)
    }

    fn shard(&self, layer: &Layer<'_>, i: usize, x: &[f32], y: &mut [f32]) -> Saved {
        let (segments, mut saved) = (segments(&self.batch, i), Saved::default());
        let mut attend = attend(layer.heads(), &segments);
        layer.forward((x, self.batch.keys(i)), &segments, y, &mut saved, &mut attend);
        saved
    }
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
        let norms = all_row_norms(&self.shape, &self.weights, &self.slots.layers[self.index], theta);
        let layer = self.layer(theta, &norms);
        let laid = layer.lay_out(Way::Forward, self.decode);
        let layer = layer.with(&laid);
        let mut y = vec![0.0; x.len()];
        let shards = split(&self.batch, x.len(), &mut y).into_par_iter().enumerate();
        let saved = shards.map(|(i, (range, y))| {
            let saved = self.shard(&layer, i, &x[range], y);
            Some(saved).filter(|_| self.keep == Keep::All)
        });
        let saved: Vec<Option<Saved>> = saved.collect();
        *lock(&self.saved)? = (saved.into_iter().flatten().collect(), norms);
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        theta: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (saved, norms) = std::mem::take(&mut *lock(&self.saved)?);
        let saved = saved.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        with_floats(&[x, theta, dy], |data| {
            let &[x_data, theta_data, dy] = data else { candle_core::bail!("decoder-layer: three inputs expected") };
            let (layer, slots) = (self.layer(theta_data, &norms), &self.slots.layers[self.index]);
            // What is computed twice lays out its weights anew for each shard: it is there to take less memory.
            let laid = layer.lay_out(Way::Backward, self.decode);
            let back = self.layer(theta_data, &norms).with(&laid);
            let mut dx = vec![0.0; x_data.len()];
            let shards: Vec<_> = split(&self.batch, x_data.len(), &mut dx).into_iter().zip(saved).collect();
            let parts: Vec<Vec<f32>> = shards
                .into_par_iter()
                .enumerate()
                .map(|(i, ((range, dx), saved))| {
                    let x = &x_data[range.clone()];
                    let mut saved = saved.unwrap_or_else(|| self.shard(&layer, i, x, dx));
                    let mut dtheta = vec![0.0; slots.len];
                    let mut grads = Grads { dtheta: &mut dtheta, slots };
                    let segments = segments(&self.batch, i);
                    back.backward((x, self.batch.keys(i)), &segments, &mut saved, &dy[range], dx, &mut grads);
                    dtheta
                })
                .collect();
            let dtheta = match slots.len {
                0 => None,
                _ => Some(Tensor::from_vec(sum(parts), theta.shape(), &Device::Cpu)?),
            };
            Ok((Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?), dtheta))
        })
    }
}

/// The last norm, the output layer and the cross-entropy. The gradient is made together with the value. Inputs are the
/// hidden rows, the norm's gain, and the output layer, which is one number that means nothing where `frozen` has it.
pub(super) struct LossOp {
    pub rms: RmsNorm,
    /// The output layer when it is not trained.
    pub frozen: Option<Matrix>,
    pub batch: Arc<Batch>,
    pub out: Arc<Mutex<Loss>>,
    pub grads: Mutex<Option<LossGrads>>,
    /// Whether the norm is trained.
    pub norm: bool,
}

pub(super) struct LossGrads {
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
        let (x, norm, trained) = (floats(s1, l1)?, floats(s2, l2)?, floats(s3, l3)?);
        let weight = self.frozen.as_ref().map_or(Weight::Plain(trained), Weight::from);
        let vocab = self.frozen.as_ref().map_or(trained.len(), Matrix::len) / norm.len();
        let head = Head { norm, weight, vocab, rms: self.rms };
        let trained = if self.frozen.is_none() { trained.len() } else { 0 };
        let mut dx = vec![0.0; x.len()];
        let parts: Vec<(Loss, Vec<f32>, Vec<f32>)> = split(&self.batch, x.len(), &mut dx)
            .into_par_iter()
            .enumerate()
            .map(|(i, (range, dx))| {
                let mut dnorm = vec![0.0; if self.norm { norm.len() } else { 0 }];
                let mut dweight = vec![0.0; trained];
                let grads = HeadGrads {
                    dx,
                    dnorm: self.norm.then_some(&mut dnorm[..]),
                    dweight: self.frozen.is_none().then_some(&mut dweight[..]),
                };
                let x = &x[range];
                let loss = match &self.batch.preference {
                    None => head.cross_entropy(x, &self.batch.shard_targets(i), Some(grads)),
                    Some(preference) => preference.cross_entropy(&head, x, (&self.batch, i), grads),
                };
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
        let dnorm = self.norm.then(|| tensor(dnorm, norm)).transpose()?;
        let dweight = self.frozen.is_none().then(|| tensor(dweight, weight)).transpose()?;
        Ok((Some(tensor(dx, x)?), dnorm, dweight))
    }
}

/// The segments of shard `i`, as rows of the shard.
pub(super) fn segments(batch: &Batch, i: usize) -> Vec<Segment> {
    let first = batch.rows(i).start;
    let shift = |s: &std::ops::Range<usize>| Segment { rows: s.start - first..s.end - first, start: 0 };
    batch.sequences[batch.shards[i].clone()].iter().map(shift).collect()
}

/// Attention of whole sequences.
pub(super) fn attend<'a>(
    heads: attention::Heads,
    segments: &'a [Segment],
) -> impl FnMut(&[f32], &[f32], &[f32], &mut [f32]) + 'a {
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

pub(super) fn merge(losses: Vec<Loss>) -> Loss {
    losses.into_iter().fold(Loss::default(), |mut all, loss| {
        all.sum += loss.sum;
        all.greedy.extend(loss.greedy);
        all.log_p.extend(loss.log_p);
        all
    })
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>, LockError> {
    mutex.lock().map_err(|_| LockError)
}

#[derive(Debug)]
pub(super) struct LockError;

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
