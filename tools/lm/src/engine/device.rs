//! Where training computes.

use candle_core::{DType, Device};

use crate::{
    error::{Error, Result},
    storage::printable,
};

/// A device other than the CPU with its fused layers, and the numbers that are computed with there.
#[derive(Clone, Debug)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// The type of weights and activations. Trained numbers, norms, probabilities and losses stay f32.
    pub dtype: DType,
}

/// The device that `name` means: `cpu`, `cuda`, `cuda:N` or `metal`.
pub fn device(name: &str) -> Result<Device> {
    let failed = |error: candle_core::Error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Error::Device(format!("{name} cannot be used: {line}; `--device cpu` works everywhere"))
    };
    match kind(name)? {
        Kind::Cpu => Ok(Device::Cpu),
        Kind::Cuda(index) => Device::new_cuda(index).map_err(failed),
        Kind::Metal => Device::new_metal(0).map_err(failed),
    }
}

/// What a training run needs to compute on the device of this name: nothing for `cpu`, whose layers are fused; bf16 on
/// others.
pub fn compute(name: &str) -> Result<Option<Compute>> {
    match device(name)? {
        Device::Cpu => Ok(None),
        device => Ok(Some(Compute { device, dtype: DType::BF16 })),
    }
}

/// Checks that `name` is a device that this build can use, without touching it.
pub fn check(name: &str) -> Result<()> {
    kind(name).map(drop)
}

enum Kind {
    Cpu,
    Cuda(usize),
    Metal,
}

fn kind(name: &str) -> Result<Kind> {
    const CUDA: (&str, bool) = ("cuda", cfg!(feature = "cuda"));
    const METAL: (&str, bool) = ("metal", cfg!(feature = "metal"));
    let (kind, (feature, built)) = match (name, name.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => return Ok(Kind::Cpu),
        ("cuda", _) => (Kind::Cuda(0), CUDA),
        (_, Some(Ok(index))) => (Kind::Cuda(index), CUDA),
        ("metal", _) => (Kind::Metal, METAL),
        _ => return Err(Error::Device(format!("{} is none; use cpu, cuda, cuda:N or metal", printable(name)))),
    };
    match built {
        true => Ok(kind),
        false => Err(Error::Device(format!(
            "this build cannot use {name}; build it with `cargo build --release --features {feature}`, or use cpu"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, compute, device};

    #[test]
    fn devices_are_known_by_name_and_what_is_not_built_in_is_said() {
        assert!(device("cpu").unwrap().is_cpu() && compute("cpu").unwrap().is_none());
        let error = |name: &str| check(name).unwrap_err().to_string();
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert_eq!(error(name), format!("device: {name} is none; use cpu, cuda, cuda:N or metal"));
        }
        #[cfg(not(feature = "cuda"))]
        assert_eq!(
            error("cuda:1"),
            "device: this build cannot use cuda:1; build it with `cargo build --release --features cuda`, or use cpu"
        );
        #[cfg(not(feature = "metal"))]
        assert!(error("metal").contains("--features metal"));
    }
}
