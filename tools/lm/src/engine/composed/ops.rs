//! Operations with a gradient on any device, made of candle's own. They exist because candle's products compute and keep
//! a gradient for every operand, frozen ones and constants too, and because some of its fused operations have none.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, D, DType, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var,
    backend::BackendStorage, bail,
};

/// Up to three inputs of an operation; what is not there is `None`.
pub(super) type Inputs<'a> = [Option<&'a Tensor>; 3];

/// The gradients of the inputs from the gradient of the value.
type Backward = dyn Fn(&Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync;

/// `value` as a function of `inputs` with this gradient. `value` must not be tracked.
pub(super) fn known(
    inputs: Inputs<'_>,
    value: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !inputs.iter().flatten().any(|input| input.track_op()) {
        return Ok(value);
    }
    let empty = Tensor::zeros(1, DType::F32, value.device())?;
    let [a, b, c] = inputs.map(|input| input.unwrap_or(&empty));
    a.apply_op3(b, c, Known { value: Mutex::new(Some(value)), backward: Box::new(backward) })
}

/// `f(inputs)`, of which nothing is kept but the inputs: the backward pass runs `f` again and differentiates it.
pub(super) fn replay(
    inputs: Inputs<'_>,
    f: impl Fn([Option<&Tensor>; 3]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let detached = inputs.map(|input| input.map(Tensor::detach));
    let tracked = inputs.map(|input| input.is_some_and(Tensor::track_op));
    let value = f(detached.each_ref().map(Option::as_ref))?;
    known(inputs, value, move |dy| {
        let mut again = detached.clone();
        for (input, _) in again.iter_mut().zip(tracked).filter(|(_, tracked)| *tracked) {
            *input = input
                .as_ref()
                .map(|input| Ok::<_, candle_core::Error>(Var::from_tensor(input)?.into_inner()))
                .transpose()?;
        }
        let store = (f(again.each_ref().map(Option::as_ref))? * dy)?.sum_all()?.backward()?;
        Ok(again.map(|input| input.as_ref().and_then(|input| store.get(input)).cloned()))
    })
}

/// `x Wᵀ` with a frozen W `[out, in]`: the gradient of x alone is computed.
pub(super) fn frozen(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let value = x.detach().matmul(&weight.t()?)?;
    let weight = weight.clone();
    known([Some(x), None, None], value, move |dy| Ok([Some(dy.contiguous()?.matmul(&weight)?), None, None]))
}

/// `x` times a constant that is broadcast.
pub(super) fn times(x: &Tensor, constant: &Tensor) -> Result<Tensor> {
    let (value, constant) = (x.detach().broadcast_mul(constant)?, constant.clone());
    known([Some(x), None, None], value, move |dy| Ok([Some(dy.broadcast_mul(&constant)?), None, None]))
}

/// `x` plus a constant that is broadcast.
pub(super) fn plus(x: &Tensor, constant: &Tensor) -> Result<Tensor> {
    let value = x.detach().broadcast_add(constant)?;
    known([Some(x), None, None], value, |dy| Ok([Some(dy.clone()), None, None]))
}

/// `x / rms(x)` over the last dimension, in f32.
pub(super) fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    x.broadcast_mul(&inverse)
}

/// Rotates the halves of each head of `x` `[rows, heads, dim]` against each other; cosines and sines are
/// `[rows, 1, dim / 2]`.
pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (value, cos, back) = (rotate(&x.detach(), cos, sin)?, cos.clone(), sin.neg()?);
    known([Some(x), None, None], value, move |dy| Ok([Some(rotate(dy, &cos, &back)?), None, None]))
}

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

struct Known {
    /// Taken by the forward pass.
    value: Mutex<Option<Tensor>>,
    backward: Box<Backward>,
}

impl Known {
    /// A copy of the value's numbers in the storage of the device that it is on. The copy is what an operation costs that
    /// needs no kernel of its own on any device.
    fn copy<S: BackendStorage>(&self, pick: impl Fn(&Storage) -> Option<&S>) -> Result<(S, Shape)> {
        let Some(value) = self.value.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("the value of an operation was taken twice")
        };
        // A clone of storage takes no account of views.
        let plain = |value: &Tensor| value.is_contiguous() && value.layout().start_offset() == 0;
        let value = if plain(&value) { value } else { value.force_contiguous()? };
        let (storage, layout) = value.storage_and_layout();
        match pick(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            None => bail!("the inputs and the value of an operation are on two devices"),
        }
    }
}

impl CustomOp3 for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.copy(|storage| match storage {
            Storage::Cpu(storage) => Some(storage),
            _ => None,
        })
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.copy(|storage| match storage {
            Storage::Cuda(storage) => Some(storage),
            _ => None,
        })
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.copy(|storage| match storage {
            Storage::Metal(storage) => Some(storage),
            _ => None,
        })
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.backward)(dy)?;
        Ok((a, b, c))
    }
}
