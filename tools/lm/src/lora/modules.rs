//! Which modules of a base a `LoraConfig` means, by PEFT's rules.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{LoraConfig, TARGETS};
use crate::{
    config::Config,
    engine::params::{LINEARS, norm_names, norm_sizes, shapes},
    error::{Error, Result},
    matrix::Matrix,
    storage::printable,
    weights::Weights,
};

/// Names of modules, as PEFT's `target_modules` gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// A regular expression for whole paths such as `model.layers.0.self_attn.q_proj`, or `all-linear`.
    Pattern(String),
    /// The ends of paths: `q_proj`, or `layers.0.self_attn.q_proj` for one of them.
    Names(Vec<String>),
}

/// One linear layer that an adapter changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// For example `layers.0.self_attn.q_proj`.
    pub name: String,
    /// Index of its decoder layer.
    pub layer: usize,
    /// Its index in [`LINEARS`].
    pub linear: usize,
    /// Rows of its weight.
    pub out: usize,
    /// Columns of its weight.
    pub inner: usize,
    /// Rank of its update.
    pub r: usize,
    /// The factor of `B A x`.
    pub scaling: f32,
}

/// One tensor that `modules_to_save` trains whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// For example `lm_head.weight` or `model.layers.0.input_layernorm.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    part: Part,
}

/// Where a saved tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Embed,
    Head,
    Norm,
    /// A norm of a layer, by its index in [`norm_names`].
    LayerNorm(usize, usize),
    /// The weight of a linear layer.
    Weight(usize, usize),
    /// The bias of a linear layer.
    Bias(usize, usize),
}

/// A tensor of the base that can be replaced.
pub(crate) enum Place<'a> {
    Vector(&'a mut Arc<Vec<f32>>),
    Matrix(&'a mut Matrix),
}

impl Place<'_> {
    pub(crate) fn set(self, values: Vec<f32>) {
        match self {
            Place::Vector(place) => *place = values.into(),
            Place::Matrix(place) => *place = values.into(),
        }
    }
}

impl Targets {
    /// Every linear layer of the decoder.
    pub fn all_linear() -> Self {
        Targets::Names(TARGETS.map(String::from).to_vec())
    }

    /// As a line for people.
    pub fn describe(&self) -> String {
        match self {
            Targets::Pattern(pattern) => pattern.clone(),
            Targets::Names(names) => names.join(", "),
        }
    }

    fn matcher(&self) -> Result<impl Fn(&str) -> bool + '_> {
        let pattern = match self {
            Targets::Pattern(pattern) => Some(whole(pattern)?),
            Targets::Names(_) => None,
        };
        Ok(move |path: &str| match (self, &pattern) {
            (Targets::Names(names), _) => names.iter().any(|name| ends_with(path, name)),
            (_, Some(pattern)) => pattern.is_match(path),
            _ => false,
        })
    }
}

impl Saved {
    /// How many numbers it has.
    pub fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// Its place in `weights`.
    pub(crate) fn place<'a>(&self, weights: &'a mut Weights) -> Option<Place<'a>> {
        Some(match self.part {
            Part::Embed => Place::Matrix(&mut weights.embed),
            Part::Head => Place::Matrix(weights.head.as_mut()?),
            Part::Norm => Place::Vector(&mut weights.norm),
            Part::LayerNorm(layer, i) => Place::Vector(weights.layers.get_mut(layer)?.norm_mut(i)?),
            Part::Weight(layer, i) => Place::Matrix(weights.layers.get_mut(layer)?.linears_mut().into_iter().nth(i)?),
            Part::Bias(layer, i) => Place::Vector(weights.layers.get_mut(layer)?.biases[i].as_mut()?),
        })
    }
}

impl LoraConfig {
    /// The linear layers that this means in a base of shape `config`, in the base's order. A name that means none is an
    /// error, because the adapter would then do less than it says.
    pub fn modules(&self, config: &Config) -> Result<Vec<Module>> {
        let fail = |what: String| Err(Error::Adapter(what));
        let target = self.target_modules.matcher()?;
        let excluded = self.exclude_modules.as_ref().map(Targets::matcher).transpose()?;
        let (ranks, alphas) = (patterns(self.rank_pattern.keys())?, patterns(self.alpha_pattern.keys())?);
        let (mut modules, mut paths) = (Vec::new(), Vec::new());
        for layer in 0..config.num_hidden_layers {
            for (linear, (out, inner)) in shapes(config).into_iter().enumerate() {
                let name = format!("layers.{layer}.{}", LINEARS[linear]);
                let path = format!("model.{name}");
                let inside = self.layers_to_transform.as_ref().is_none_or(|layers| layers.contains(&layer));
                let matches = target(&path)
                    && excluded.as_ref().is_none_or(|excluded| !excluded(&path))
                    // PEFT keeps adapters off saved modules.
                    && !self.modules_to_save.iter().any(|name| ends_with(&path, name));
                if matches && inside {
                    let r = first(&ranks, &path).map_or(self.r, |key| self.rank_pattern[key]);
                    let alpha = first(&alphas, &path).map_or(self.lora_alpha, |key| self.alpha_pattern[key]);
                    let scaling = self.scaling(r, alpha);
                    modules.push(Module { name, layer, linear, out, inner, r, scaling });
                }
                paths.push(path);
            }
        }
        let layers = self.layers_to_transform.iter().flatten();
        if let Some(layer) = layers.clone().find(|layer| **layer >= config.num_hidden_layers) {
            return fail(format!("layers_to_transform names layer {layer}, the base has {}", config.num_hidden_layers));
        }
        if layers.count() > 0 && matches!(self.target_modules, Targets::Pattern(_)) {
            return fail("layers_to_transform works with a list of target_modules only, as in PEFT".into());
        }
        if let Targets::Names(names) = &self.target_modules
            && let Some(name) = names.iter().find(|name| !paths.iter().any(|path| ends_with(path, name)))
        {
            let name = printable(name);
            return fail(format!("target module {name} is not supported, use some of {}", TARGETS.join(", ")));
        }
        for (field, keys) in [("rank_pattern", &ranks), ("alpha_pattern", &alphas)] {
            if let Some(key) = keys.iter().find(|key| !paths.iter().any(|path| key.matches(path))) {
                return fail(format!("{field} names {}, which matches no linear layer", printable(key.text)));
            }
        }
        match modules.is_empty() {
            true => fail("no linear layer matches target_modules: name some of q_proj … down_proj".into()),
            false => Ok(modules),
        }
    }

    /// The tensors that `modules_to_save` means, sorted by name.
    pub fn saved(&self, config: &Config) -> Result<Vec<Saved>> {
        let all = savable(config);
        let path = |tensor: &Saved| tensor.name.rsplit_once('.').map_or(String::new(), |(path, _)| path.to_owned());
        if let Some(name) =
            self.modules_to_save.iter().find(|name| !all.iter().any(|tensor| path(tensor).ends_with(name.as_str())))
        {
            let name = printable(name);
            return Err(Error::Adapter(format!(
                "modules_to_save names {name}, the base has no such module; lm_head, embed_tokens, a norm or a linear layer can be saved"
            )));
        }
        let mut saved: Vec<Saved> = all
            .into_iter()
            .filter(|tensor| self.modules_to_save.iter().any(|name| path(tensor).ends_with(name.as_str())))
            .collect();
        saved.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(saved)
    }
}

/// Every tensor that can be trained whole.
fn savable(config: &Config) -> Vec<Saved> {
    let saved = |name: String, shape: Vec<usize>, part: Part| Saved { name, shape, part };
    let (h, ends) = (config.hidden_size, vec![config.vocab_size, config.hidden_size]);
    let mut all = vec![
        saved("model.embed_tokens.weight".into(), ends.clone(), Part::Embed),
        saved("lm_head.weight".into(), ends, Part::Head),
        saved("model.norm.weight".into(), vec![h], Part::Norm),
    ];
    let norms = norm_names(config);
    for layer in 0..config.num_hidden_layers {
        for (i, size) in norm_sizes(config).into_iter().enumerate() {
            let name = format!("model.layers.{layer}.{}.weight", norms[i]);
            all.extend(size.map(|size| saved(name, vec![size], Part::LayerNorm(layer, i))));
        }
        for (i, ((out, inner), biased)) in shapes(config).into_iter().zip(config.biases.each()).enumerate() {
            let name = format!("model.layers.{layer}.{}", LINEARS[i]);
            all.push(saved(format!("{name}.weight"), vec![out, inner], Part::Weight(layer, i)));
            all.extend(biased.then(|| saved(format!("{name}.bias"), vec![out], Part::Bias(layer, i))));
        }
    }
    all
}

fn ends_with(path: &str, name: &str) -> bool {
    path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// A regular expression that must match a whole path.
fn whole(pattern: &str) -> Result<Regex> {
    compile(&format!("^(?:{pattern})$"), pattern)
}

/// A key of a pattern dictionary: it matches the end of a path from a dot on.
struct Key<'a> {
    text: &'a String,
    /// `None` where the text has nothing of a regular expression in it but dots.
    regex: Option<Regex>,
}

impl Key<'_> {
    fn matches(&self, path: &str) -> bool {
        let Some(regex) = &self.regex else {
            let Some(start) = path.len().checked_sub(self.text.len()) else { return false };
            let (before, end) = path.as_bytes().split_at(start);
            let same = end.iter().zip(self.text.as_bytes()).all(|(path, key)| path == key || *key == b'.');
            return same && before.last().is_none_or(|last| *last == b'.');
        };
        regex.is_match(path)
    }
}

/// Compiled expressions take up to some megabytes each, and an adapter's file may come from a stranger. PEFT writes
/// plain names, of which there may be one for every module.
const MOST_EXPRESSIONS: usize = 64;

fn patterns<'a>(keys: impl Iterator<Item = &'a String>) -> Result<Vec<Key<'a>>> {
    let plain = |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
    let (mut patterns, mut left) = (Vec::new(), MOST_EXPRESSIONS);
    for text in keys {
        let regex = match plain(text) {
            true => None,
            false if left == 0 => {
                let why = "a pattern dictionary holds more than 64 regular expressions; name modules by plain paths";
                return Err(Error::Adapter(why.into()));
            }
            false => Some(compile(&format!(r"^(.*\.)?(?:{text})$"), text)?),
        };
        left -= usize::from(regex.is_some());
        patterns.push(Key { text, regex });
    }
    Ok(patterns)
}

/// The first key that matches.
fn first<'a>(keys: &[Key<'a>], path: &str) -> Option<&'a String> {
    keys.iter().find(|key| key.matches(path)).map(|key| key.text)
}

/// Linear-time matching with bounded memory.
fn compile(expression: &str, given: &str) -> Result<Regex> {
    let bad = |why: String| Error::Adapter(format!("{} is not a usable regular expression: {why}", printable(given)));
    if given.len() > 1000 {
        return Err(bad("it is too long".into()));
    }
    let built = regex::RegexBuilder::new(expression).size_limit(1 << 20).build();
    built.map_err(|e| bad(printable(e.to_string().lines().last().unwrap_or_default())))
}
