//! LoRA adapters: what training changes, and how it is added to the base. Their files are PEFT's, see `peft.rs`.

use std::collections::BTreeMap;

use crate::{
    config::Config,
    engine::math,
    error::{Error, Result},
    storage::printable,
    weights::Weights,
};

mod modules;

pub(crate) use modules::Part;
pub use modules::{Module, Saved, Targets};

/// The seven linear layers of a decoder layer that an adapter may change.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What PEFT calls `LoraConfig`, as far as it changes the maths.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the update, where `rank_pattern` does not say otherwise.
    pub r: usize,
    /// Numerator of the scale, where `alpha_pattern` does not say otherwise.
    pub lora_alpha: f64,
    /// Dropout before A while training.
    pub lora_dropout: f64,
    /// Which linear layers are changed.
    pub target_modules: Targets,
    /// Linear layers that are not, although they match.
    pub exclude_modules: Option<Targets>,
    /// Decoder layers that are changed; `None`: all.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Ranks of modules, by regular expressions that match the end of a module's path.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of modules, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Modules that are trained whole, by the ends of their paths.
    pub modules_to_save: Vec<String>,
    /// The base that the adapter was trained on: its id on the Hub, or a name for people.
    pub base_model_name_or_path: Option<String>,
    /// The commit of that id.
    pub revision: Option<String>,
    /// Whether the scale divides by the square root of the rank.
    pub use_rslora: bool,
    /// Whether the norm of each row of the changed weight is trained on its own (Liu et al., 2024).
    pub use_dora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: Targets::all_linear(),
            exclude_modules: None,
            layers_to_transform: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: Vec::new(),
            base_model_name_or_path: None,
            revision: None,
            use_rslora: false,
            use_dora: false,
        }
    }
}

impl LoraConfig {
    /// The factor of `B A x`: alpha / r, or alpha / sqrt(r) with rsLoRA.
    fn scaling(&self, r: usize, alpha: f64) -> f32 {
        let rank = r as f64;
        (alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Checks the numbers. Names are checked against a base, by [`LoraConfig::modules`].
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::Adapter(what));
        if let Some(r) = self.rank_pattern.values().chain([&self.r]).find(|r| !(1..=4096).contains(*r)) {
            return bad(format!("r is {r}, it must be between 1 and 4096"));
        }
        let scales = |alpha: &&f64| alpha.is_finite() && **alpha > 0.0;
        if let Some(alpha) = self.alpha_pattern.values().chain([&self.lora_alpha]).find(|alpha| !scales(alpha)) {
            return bad(format!("lora_alpha is {alpha}, it must be above 0"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return bad(format!("lora_dropout is {}, it must be at least 0 and below 1", self.lora_dropout));
        }
        match &self.target_modules {
            Targets::Names(names) if names.is_empty() => {
                bad(format!("target_modules is empty, name some of {}", TARGETS.join(", ")))
            }
            _ => Ok(()),
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
    /// DoRA's norm of each row of the changed weight, `[out]`.
    pub magnitude: Option<Vec<f32>>,
}

/// A whole adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Rank, scale and targets.
    pub config: LoraConfig,
    /// By module, for example `layers.0.self_attn.q_proj`.
    pub tensors: BTreeMap<String, LoraPair>,
    /// Tensors of `modules_to_save` that take the place of the base's, for example `lm_head.weight`.
    pub saved: BTreeMap<String, Vec<f32>>,
}

impl Adapter {
    /// A module or tensor with a number that is infinite or none.
    pub fn not_finite(&self) -> Option<&str> {
        let broken = |values: &[f32]| values.iter().any(|value| !value.is_finite());
        let pairs = self.tensors.iter().map(|(name, LoraPair { a, b, magnitude })| {
            (name, broken(a) || broken(b) || magnitude.as_deref().is_some_and(broken))
        });
        let saved = self.saved.iter().map(|(name, values)| (name, broken(values)));
        pairs.chain(saved).find(|(_, broken)| *broken).map(|(name, _)| name.as_str())
    }

    /// A module whose change of its weight, `scaling · B A`, could be more than f32 holds: a bound, no weight is made.
    pub fn overflowing(&self, config: &Config) -> Result<Option<String>> {
        let most = |values: &[f32]| values.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
        let too_large = |module: &Module| {
            let pair = self.tensors.get(&module.name);
            let bound =
                pair.map(|pair| module.r as f64 * most(&pair.a) * most(&pair.b) * f64::from(module.scaling.abs()));
            bound.is_some_and(|bound| bound > f64::from(f32::MAX))
        };
        Ok(self.config.modules(config)?.into_iter().find(too_large).map(|module| module.name))
    }

    /// Checks that the adapter changes exactly the modules it says, with the shapes of the base's `config`.
    pub fn check(&self, config: &Config) -> Result<()> {
        self.config.check()?;
        let (modules, saved) = (self.config.modules(config)?, self.config.saved(config)?);
        let fail = |name: &str, what: &str| Err(Error::Adapter(format!("{} {what}", printable(name))));
        let known = |name: &&String| modules.iter().any(|module| module.name == **name);
        if let Some(name) = self.tensors.keys().find(|name| !known(name)) {
            return fail(name, "is not a module of the base");
        }
        for module in &modules {
            let Some(pair) = self.tensors.get(&module.name) else { return fail(&module.name, "is missing") };
            let magnitude = pair.magnitude.as_ref().map(Vec::len);
            let fits = (pair.a.len(), pair.b.len()) == (module.r * module.inner, module.out * module.r)
                && magnitude == self.config.use_dora.then_some(module.out);
            if !fits {
                return fail(&module.name, "does not have the shape of the base");
            }
        }
        let sizes = saved.iter().map(|tensor| (&tensor.name, tensor.numbers()));
        match sizes.eq(self.saved.iter().map(|(name, values)| (name, values.len()))) {
            true => Ok(()),
            false => Err(Error::Adapter("the tensors of modules_to_save do not fit the base".into())),
        }
    }

    /// The base with the adapter in it, computed in f32: `W + s B A` for each changed layer, with DoRA each row scaled
    /// to its magnitude, and the tensors of `modules_to_save` in their places. Other tensors are shared. A tied output
    /// layer is untied where it or the embedding was trained, because one of both has changed.
    pub fn merge(&self, base: &Weights, config: &Config) -> Result<(Config, Weights)> {
        self.check(config)?;
        base.check(config)?;
        let (mut config, mut merged) = (config.clone(), base.clone());
        for module in self.config.modules(&config)? {
            let Some(pair) = self.tensors.get(&module.name) else { continue };
            let weight = &mut merged.layers[module.layer].linears_mut()[module.linear];
            let sum = pair.applied(&module, weight.floats().into_owned());
            if sum.iter().any(|x| !x.is_finite()) {
                return Err(Error::Adapter(format!("{} overflows when it is merged", module.name)));
            }
            **weight = sum.into();
        }
        self.untie(&mut config, &mut merged);
        for tensor in self.config.saved(&config)? {
            if let (Some(values), Some(place)) = (self.saved.get(&tensor.name), tensor.place(&mut merged)) {
                place.set(values.clone());
            }
        }
        merged.check(&config)?;
        Ok((config, merged))
    }

    /// Gives a base whose output layer is its embedding one of its own, where one of both was trained.
    pub(crate) fn untie(&self, config: &mut Config, base: &mut Weights) {
        let unties = self.saved.keys().any(|name| name.starts_with("lm_head") || name.contains("embed_tokens"));
        if config.tie_word_embeddings && unties {
            base.head = Some(base.embed.clone());
            config.tie_word_embeddings = false;
        }
    }
}

impl LoraPair {
    /// The changed weight `[out, in]`, for `weight` of the base.
    fn applied(&self, module: &Module, weight: Vec<f32>) -> Vec<f32> {
        let (out, inner, r) = (module.out, module.inner, module.r);
        let mut sum = weight;
        math::nn((out, inner, r), &mut sum, &self.b, &self.a, true, module.scaling);
        for (row, magnitude) in sum.chunks_exact_mut(inner).zip(self.magnitude.iter().flatten()) {
            let norm = math::norm(row);
            row.iter_mut().for_each(|x| *x *= magnitude / norm);
        }
        sum
    }
}
