//! A Llama model's tensors in f32, read from and written to safetensors.

use std::{path::Path, sync::Arc};

use crate::{
    config::Config,
    error::{Error, Result},
};

/// All tensors of a Llama model in f32, row-major, with Hugging Face's shapes (`[out, in]`).
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, hidden]`.
    pub embed: Arc<Vec<f32>>,
    /// One per decoder layer.
    pub layers: Vec<LayerWeights>,
    /// The last norm, `[hidden]`.
    pub norm: Arc<Vec<f32>>,
    /// The output layer, `[vocab, hidden]`; `None` where it is the embedding.
    pub head: Option<Arc<Vec<f32>>>,
}

/// The tensors of one decoder layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Norm before attention, `[hidden]`.
    pub attn_norm: Arc<Vec<f32>>,
    /// Query projection, `[heads * head_dim, hidden]`.
    pub q: Arc<Vec<f32>>,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    pub k: Arc<Vec<f32>>,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    pub v: Arc<Vec<f32>>,
    /// Output projection, `[hidden, heads * head_dim]`.
    pub o: Arc<Vec<f32>>,
    /// Norm before the feed-forward block, `[hidden]`.
    pub ffn_norm: Arc<Vec<f32>>,
    /// Gate projection, `[inner, hidden]`.
    pub gate: Arc<Vec<f32>>,
    /// Up projection, `[inner, hidden]`.
    pub up: Arc<Vec<f32>>,
    /// Down projection, `[hidden, inner]`.
    pub down: Arc<Vec<f32>>,
}

/// How numbers are stored in a safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats with 8 bits of exponent.
    BF16,
    /// IEEE half precision.
    F16,
}

impl Weights {
    /// Reads every tensor of the model in `dir`, which may be split over several files.
    pub fn load(dir: &Path, _config: &Config) -> Result<Self> {
        Err(Error::Weights(format!("{} cannot be read yet", dir.display())))
    }

    /// Writes `model.safetensors` into `dir`, whole or not at all.
    pub fn save(&self, dir: &Path, _config: &Config, _dtype: Dtype) -> Result<()> {
        Err(Error::Weights(format!("{} cannot be written yet", dir.display())))
    }
}
