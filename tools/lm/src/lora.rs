//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::{collections::BTreeMap, path::Path};

use crate::{
    config::Config,
    error::{Error, Result},
    weights::Weights,
};

/// The seven linear layers of a Llama block that an adapter may change.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What PEFT calls `LoraConfig`, as far as it changes the maths.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the update.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Dropout before A while training.
    pub lora_dropout: f64,
    /// Which of [`TARGETS`] are changed, in that order.
    pub target_modules: Vec<String>,
    /// The base that the adapter was trained on, as a name for people.
    pub base_model_name_or_path: Option<String>,
    /// Whether the scale divides by the square root of the rank.
    pub use_rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TARGETS.map(String::from).to_vec(),
            base_model_name_or_path: None,
            use_rslora: false,
        }
    }
}

impl LoraConfig {
    /// The factor of `B A x`: alpha / r, or alpha / sqrt(r) with rsLoRA.
    pub fn scaling(&self) -> f32 {
        let rank = self.r as f64;
        (self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }
}

/// One module's update: `A` is `[r, in]`, `B` is `[out, r]`, both row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair {
    /// Projects down.
    pub a: Vec<f32>,
    /// Projects up.
    pub b: Vec<f32>,
}

/// A whole adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Rank, scale and targets.
    pub config: LoraConfig,
    /// By module, for example `layers.0.self_attn.q_proj`.
    pub tensors: BTreeMap<String, LoraPair>,
}

impl Adapter {
    /// Reads an adapter and checks every key, shape and number against the base's `config`.
    pub fn load(dir: &Path, _config: &Config) -> Result<Self> {
        Err(Error::Adapter(format!("{} cannot be read yet", dir.display())))
    }

    /// Writes `adapter_config.json`, `adapter_model.safetensors` and `README.md` into `dir`.
    pub fn save(&self, dir: &Path) -> Result<()> {
        Err(Error::Adapter(format!("{} cannot be written yet", dir.display())))
    }

    /// The base with `scaling * B A` added to each changed layer, computed in f32.
    pub fn merge(&self, _base: &Weights, _config: &Config) -> Result<Weights> {
        Err(Error::Adapter("merging is not there yet".into()))
    }
}

/// The names of all modules that `targets` select, with their `(out, in)` sizes, in layer order.
pub fn modules(config: &Config, targets: &[String]) -> Vec<(String, usize, usize)> {
    let (h, i) = (config.hidden_size, config.intermediate_size);
    let all = [
        ("self_attn", "q_proj", config.q_dim(), h),
        ("self_attn", "k_proj", config.kv_dim(), h),
        ("self_attn", "v_proj", config.kv_dim(), h),
        ("self_attn", "o_proj", h, config.q_dim()),
        ("mlp", "gate_proj", i, h),
        ("mlp", "up_proj", i, h),
        ("mlp", "down_proj", h, i),
    ];
    (0..config.num_hidden_layers)
        .flat_map(|layer| {
            all.iter()
                .filter(|(_, name, ..)| targets.iter().any(|t| t == name))
                .map(move |(block, name, out, inner)| (format!("layers.{layer}.{block}.{name}"), *out, *inner))
        })
        .collect()
}
