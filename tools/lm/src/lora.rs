//! LoRA adapters: what training changes, and how it is added to the base. Their files are PEFT's, see `peft.rs`.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor};

use crate::{
    config::Config,
    error::{Error, Result},
    weights::Weights,
};

/// The seven linear layers of a decoder layer that an adapter may change.
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
    /// Which of [`TARGETS`] are changed.
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

    /// Checks the numbers and names.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::Adapter(what));
        if self.r == 0 || self.r > 4096 {
            return bad(format!("r is {}, it must be between 1 and 4096", self.r));
        }
        if !self.lora_alpha.is_finite() || self.lora_alpha <= 0.0 {
            return bad(format!("lora_alpha is {}, it must be above 0", self.lora_alpha));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return bad(format!("lora_dropout is {}, it must be at least 0 and below 1", self.lora_dropout));
        }
        if self.target_modules.is_empty() {
            return bad(format!("target_modules is empty, name some of {}", TARGETS.join(", ")));
        }
        match self.target_modules.iter().find(|name| !TARGETS.contains(&name.as_str())) {
            Some(name) => {
                let name = crate::storage::printable(name);
                bad(format!("target module {name} is not supported, use some of {}", TARGETS.join(", ")))
            }
            None => Ok(()),
        }
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
    /// Checks that the adapter changes exactly the modules it says, with the shapes of the base's `config`.
    pub fn check(&self, config: &Config) -> Result<()> {
        self.config.check()?;
        let modules = modules(config, &self.config.target_modules);
        if let Some(name) = self.tensors.keys().find(|name| !modules.iter().any(|(module, ..)| module == *name)) {
            return Err(Error::Adapter(format!("{} is not a module of the base", crate::storage::printable(name))));
        }
        for (name, out, inner) in modules {
            let pair = self.tensors.get(&name).ok_or_else(|| Error::Adapter(format!("{name} is missing")))?;
            if pair.a.len() != self.config.r * inner || pair.b.len() != out * self.config.r {
                return Err(Error::Adapter(format!("{name} does not have the shape of the base")));
            }
        }
        Ok(())
    }

    /// The base with `scaling * B A` added to each changed layer, computed in f32. Other tensors are shared.
    pub fn merge(&self, base: &Weights, config: &Config) -> Result<Weights> {
        self.check(config)?;
        base.check(config)?;
        let mut merged = base.clone();
        for (name, out, inner) in modules(config, &self.config.target_modules) {
            let Some(pair) = self.tensors.get(&name) else { continue };
            let Some(weight) = target(&mut merged, &name) else {
                return Err(Error::Adapter(format!("{name} is not a module of the base")));
            };
            let sum = self.add(pair, weight, out, inner).map_err(|e| Error::Adapter(format!("{name}: {e}")))?;
            if sum.iter().any(|x| !x.is_finite()) {
                return Err(Error::Adapter(format!("{name} overflows when it is merged")));
            }
            *weight = Arc::new(sum);
        }
        Ok(merged)
    }

    fn add(&self, pair: &LoraPair, weight: &[f32], out: usize, inner: usize) -> candle_core::Result<Vec<f32>> {
        let cpu = &Device::Cpu;
        let a = Tensor::from_slice(&pair.a, (self.config.r, inner), cpu)?;
        let b = Tensor::from_slice(&pair.b, (out, self.config.r), cpu)?;
        let delta = (b.matmul(&a)? * f64::from(self.config.scaling()))?;
        (Tensor::from_slice(weight, (out, inner), cpu)? + delta)?.flatten_all()?.to_vec1()
    }
}

/// The weight that a module's name means.
fn target<'a>(weights: &'a mut Weights, module: &str) -> Option<&'a mut Arc<Vec<f32>>> {
    let (layer, name) = module.strip_prefix("layers.")?.split_once('.')?;
    let layer = weights.layers.get_mut(layer.parse::<usize>().ok()?)?;
    Some(match name {
        "self_attn.q_proj" => &mut layer.q,
        "self_attn.k_proj" => &mut layer.k,
        "self_attn.v_proj" => &mut layer.v,
        "self_attn.o_proj" => &mut layer.o,
        "mlp.gate_proj" => &mut layer.gate,
        "mlp.up_proj" => &mut layer.up,
        "mlp.down_proj" => &mut layer.down,
        _ => return None,
    })
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
