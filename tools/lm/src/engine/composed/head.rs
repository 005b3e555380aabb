//! The output layer and the cross-entropy of the trained positions, a chunk at a time: each chunk is differentiated right
//! away, so that the logits of one chunk are all that exist.

use candle_core::{D, DType, Device, Result, Tensor, Var};

use super::ops::{frozen, known, normalise, plus, times};
use crate::engine::{batch::Batch, head::Loss};

/// Rows whose logits are made at a time.
const CHUNK: usize = 256;

/// The last norm and the output layer, each frozen or trained.
pub(super) struct Head<'a> {
    /// In f32.
    pub norm: &'a Tensor,
    pub trained_norm: Option<&'a Tensor>,
    /// `[vocab, hidden]`.
    pub weight: &'a Tensor,
    pub trained_weight: Option<&'a Tensor>,
    pub eps: f64,
    /// Added to the gain of the norm.
    pub offset: f64,
}

/// What the chunks give.
#[derive(Default)]
struct Parts {
    losses: Vec<Tensor>,
    log_p: Vec<Tensor>,
    best: Vec<Tensor>,
    dx: Vec<Tensor>,
    /// Sums over the chunks.
    dnorm: Option<Tensor>,
    dweight: Option<Tensor>,
}

impl Head<'_> {
    /// The weighted cross-entropy of `batch` with the figures behind it, from the hidden rows `x` after the last layer.
    pub(super) fn loss(&self, x: &Tensor, batch: &Batch) -> Result<(Tensor, Loss)> {
        let device = x.device();
        let wanted = [Some(x), self.trained_norm, self.trained_weight].iter().flatten().any(|input| input.track_op());
        let variable = |tensor: Option<&Tensor>| tensor.map(|tensor| copy(tensor, wanted)).transpose();
        let (norm, weight) = (variable(self.trained_norm)?, variable(self.trained_weight)?);
        let mut parts = Parts::default();
        for targets in batch.targets.chunks(CHUNK) {
            let rows: Vec<u32> = targets.iter().map(|(row, ..)| *row as u32).collect();
            let rows = copy(&x.detach().index_select(&Tensor::from_vec(rows, targets.len(), device)?, 0)?, wanted)?;
            self.chunk(&rows, targets, (norm.as_ref(), weight.as_ref()), wanted, &mut parts)?;
        }
        let zero = Tensor::zeros((), DType::F32, device)?;
        let value = parts.losses.iter().try_fold(zero, |sum, loss| sum + loss)?;
        let figures = figures(&parts, batch)?;
        if !wanted {
            return Ok((value, figures));
        }
        parts.dx.push(Tensor::zeros((1, x.dim(1)?), x.dtype(), device)?);
        let dx = Tensor::cat(&parts.dx, 0)?.index_select(&sources(batch, device)?, 0)?;
        let grads = [Some(dx), parts.dnorm, parts.dweight];
        let loss = known([Some(x), self.trained_norm, self.trained_weight], value, move |upstream| {
            let scaled = |grad: &Tensor| grad.broadcast_mul(&upstream.to_dtype(grad.dtype())?);
            let [dx, dnorm, dweight] = grads.each_ref().map(|grad| grad.as_ref().map(scaled).transpose());
            Ok([dx?, dnorm?, dweight?])
        })?;
        Ok((loss, figures))
    }

    /// The loss of the targets of `rows`, and its gradient where that is wanted.
    fn chunk(
        &self,
        rows: &Tensor,
        targets: &[(usize, u32, f32)],
        (norm, weight): (Option<&Tensor>, Option<&Tensor>),
        wanted: bool,
        parts: &mut Parts,
    ) -> Result<()> {
        let (device, n) = (rows.device(), targets.len());
        let tokens =
            Tensor::from_vec(targets.iter().map(|(_, token, _)| *token).collect::<Vec<u32>>(), (n, 1), device)?;
        let weights = Tensor::from_vec(targets.iter().map(|(.., weight)| -weight).collect::<Vec<f32>>(), n, device)?;
        let normed = normalise(rows, self.eps)?;
        let normed = match norm {
            Some(gain) => normed.broadcast_mul(&(gain + self.offset)?)?,
            None => times(&normed, &(self.norm + self.offset)?)?,
        };
        let normed = normed.to_dtype(self.weight.dtype())?;
        let logits = match weight {
            Some(weight) => normed.matmul(&weight.to_dtype(normed.dtype())?.t()?)?,
            None => frozen(&normed, self.weight)?,
        };
        let logits = logits.to_dtype(DType::F32)?;
        let shifted = plus(&logits, &logits.detach().max_keepdim(D::Minus1)?.neg()?)?;
        let log_p = (shifted.gather(&tokens, 1)? - shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?.squeeze(1)?;
        let loss = times(&log_p, &weights)?.sum_all()?;
        if wanted {
            let store = loss.backward()?;
            parts.dx.extend(store.get(rows).cloned());
            let add = |sum: &mut Option<Tensor>, tensor: Option<&Tensor>| -> Result<()> {
                if let Some(grad) = tensor.and_then(|tensor| store.get(tensor)) {
                    *sum = Some(sum.take().map_or(Ok(grad.clone()), |sum| sum + grad)?);
                }
                Ok(())
            };
            add(&mut parts.dnorm, norm)?;
            add(&mut parts.dweight, weight)?;
        }
        parts.losses.push(loss.detach());
        parts.log_p.push(log_p.detach());
        parts.best.push(logits.detach().argmax(D::Minus1)?);
        Ok(())
    }
}

/// The numbers of `tensor` apart from its graph, as a variable where a gradient is wanted.
fn copy(tensor: &Tensor, wanted: bool) -> Result<Tensor> {
    if wanted { Ok(Var::from_tensor(&tensor.detach())?.into_inner()) } else { Ok(tensor.detach()) }
}

/// For each row of the batch which gradient is its own: one of those of the targets, or the zero behind them.
fn sources(batch: &Batch, device: &Device) -> Result<Tensor> {
    let mut sources = vec![batch.targets.len() as u32; batch.tokens.len()];
    for (i, (row, ..)) in batch.targets.iter().enumerate() {
        sources[*row] = i as u32;
    }
    let n = sources.len();
    Tensor::from_vec(sources, n, device)
}

fn figures(parts: &Parts, batch: &Batch) -> Result<Loss> {
    if batch.targets.is_empty() {
        return Ok(Loss::default());
    }
    let log_p = Tensor::cat(&parts.log_p, 0)?.to_vec1::<f32>()?;
    let best = Tensor::cat(&parts.best, 0)?.to_vec1::<u32>()?;
    let sum =
        batch.targets.iter().zip(&log_p).map(|((.., weight), log_p)| -f64::from(*weight) * f64::from(*log_p)).sum();
    let greedy = batch.targets.iter().zip(best).map(|((_, token, _), best)| *token == best).collect();
    Ok(Loss { sum, greedy, log_p })
}
