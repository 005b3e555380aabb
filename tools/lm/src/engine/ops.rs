//! The custom operations of the graph: a decoder layer and the loss, each with its own gradient.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Shape as Dims, Storage, Tensor};
use rayon::prelude::*;

use super::{
    attention,
    batch::Batch,
    head::{Head, HeadGrads, Loss},
    layer::{Grads, Layer, Saved, Segment, Shape},
    params::LayerSlots,
};
use crate::{error::Error, weights::LayerWeights};

/// Decoder layer `index`: inputs are the hidden rows and the layer's flat trained vector.
pub(super) struct LayerOp {
    pub index: usize,
    pub shape: Arc<Shape>,
    pub slots: Arc<LayerSlots>,
    pub weights: LayerWeights,
    pub batch: Arc<Batch>,
    pub saved: Mutex<Vec<Saved>>,
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
        let layer = Layer::new(&self.shape, self.index, &self.weights, &self.slots, theta);
        let mut y = vec![0.0; x.len()];
        let saved = split(&self.batch, x.len(), &mut y)
            .into_par_iter()
            .enumerate()
            .map(|(i, (range, y))| {
                let (segments, mut saved) = (segments(&self.batch, i), Saved::default());
                layer.forward(&x[range], &segments, y, &mut saved, &mut attend(layer.heads(), &segments));
                saved.shrink();
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
            let layer = Layer::new(&self.shape, self.index, &self.weights, &self.slots, theta_data);
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

/// The last norm, the output layer and the cross-entropy. The gradient is made together with the value. Norm and output
/// layer are inputs where they are trained, and live inside the operation where they are frozen.
pub(super) struct LossOp {
    pub eps: f32,
    pub batch: Arc<Batch>,
    pub out: Arc<Mutex<Loss>>,
    pub grads: Mutex<Option<LossGrads>>,
    /// Norm and output layer when they are frozen.
    pub frozen: Option<Frozen>,
}

/// Gain of the last norm and weight of the output layer.
type Frozen = (Arc<Vec<f32>>, Arc<Vec<f32>>);

pub(super) struct LossGrads {
    dx: Vec<f32>,
    dnorm: Vec<f32>,
    dweight: Vec<f32>,
}

impl LossOp {
    fn forward(&self, x: &[f32], norm: &[f32], weight: &[f32]) -> candle_core::Result<(CpuStorage, Dims)> {
        let trained = self.frozen.is_none();
        let head = Head { norm, weight, eps: self.eps };
        let mut dx = vec![0.0; x.len()];
        let parts: Vec<(Loss, Vec<f32>, Vec<f32>)> = split(&self.batch, x.len(), &mut dx)
            .into_par_iter()
            .enumerate()
            .map(|(i, (range, dx))| {
                let zeros = |n: usize| if trained { vec![0.0; n] } else { Vec::new() };
                let (mut dnorm, mut dweight) = (zeros(norm.len()), zeros(weight.len()));
                let grads = HeadGrads {
                    dx,
                    dnorm: trained.then_some(&mut dnorm[..]),
                    dweight: trained.then_some(&mut dweight[..]),
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

    /// The gradients that the forward pass made, times `upstream`, as tensors like the inputs.
    fn backward<const N: usize>(&self, inputs: [&Tensor; N], upstream: &Tensor) -> candle_core::Result<[Tensor; N]> {
        let upstream = f64::from(upstream.to_scalar::<f32>()?);
        let Some(LossGrads { dx, dnorm, dweight }) = lock(&self.grads)?.take() else {
            candle_core::bail!("the loss's gradient was taken twice")
        };
        let tensor = |(data, like): (Vec<f32>, &Tensor)| -> candle_core::Result<Tensor> {
            let tensor = Tensor::from_vec(data, like.shape(), &Device::Cpu)?;
            if upstream == 1.0 { Ok(tensor) } else { tensor * upstream }
        };
        let grads: Vec<Tensor> =
            [dx, dnorm, dweight].into_iter().zip(inputs).map(tensor).collect::<candle_core::Result<_>>()?;
        grads.try_into().map_err(|_| candle_core::Error::Msg("the loss has at most three inputs".into()))
    }
}

impl CustomOp1 for LossOp {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout) -> candle_core::Result<(CpuStorage, Dims)> {
        let Some((norm, weight)) = &self.frozen else { candle_core::bail!("a trained output layer must be an input") };
        self.forward(floats(s1, l1)?, norm, weight)
    }

    fn bwd(&self, x: &Tensor, _loss: &Tensor, upstream: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [dx] = self.backward([x], upstream)?;
        Ok(Some(dx))
    }
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
        self.forward(floats(s1, l1)?, floats(s2, l2)?, floats(s3, l3)?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        norm: &Tensor,
        weight: &Tensor,
        _loss: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dnorm, dweight] = self.backward([x, norm, weight], upstream)?;
        Ok((Some(dx), Some(dnorm), Some(dweight)))
    }
}

/// The segments of shard `i`, as rows of the shard.
pub(super) fn segments(batch: &Batch, i: usize) -> Vec<Segment> {
    let first = batch.rows(i).start;
    let shift = |s: &std::ops::Range<usize>| Segment { rows: s.start - first..s.end - first, start: 0 };
    batch.sequences[batch.shards[i].clone()].iter().map(shift).collect()
}

/// The targets of shard `i`, as rows of the shard.
pub(super) fn shard_targets(batch: &Batch, i: usize) -> Vec<(usize, u32, f32)> {
    let rows = batch.rows(i);
    let start = batch.targets.partition_point(|t| t.0 < rows.start);
    let end = batch.targets.partition_point(|t| t.0 < rows.end);
    batch.targets[start..end].iter().map(|&(row, token, w)| (row - rows.start, token, w)).collect()
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
