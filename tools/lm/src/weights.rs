//! A model's tensors in f32, read from and written to safetensors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::SafeTensors;

use crate::{
    config::Config,
    engine::params::{LINEARS, norm_names, shapes},
    error::{Error, Result},
    storage::{self, Item, Mapped, printable},
};

/// All tensors of a model in f32, row-major, with Hugging Face's shapes (`[out, in]`).
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
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
    /// What each of the seven projections adds, `[out]`, in the order of [`LINEARS`]; `None` where it adds nothing.
    pub biases: [Option<Arc<Vec<f32>>>; 7],
    /// Norms of each query head and of each key head, `[head_dim]`; `None` where heads are not normed.
    pub qk_norms: Option<[Arc<Vec<f32>>; 2]>,
    /// Norms of what attention and the feed-forward block give, `[hidden]`; `None` where it is not normed.
    pub post_norms: Option<[Arc<Vec<f32>>; 2]>,
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
    pub fn load(dir: &Path, config: &Config) -> Result<Self> {
        let maps =
            files(dir)?.iter().map(|path| Ok((path.clone(), Mapped::open(path)?))).collect::<Result<Vec<_>>>()?;
        let mut tensors: BTreeMap<String, &SafeTensors<'_>> = BTreeMap::new();
        let opened = maps
            .iter()
            .map(|(path, map)| map.tensors().map_err(|e| Error::Weights(format!("{}: {e}", path.display()))))
            .collect::<Result<Vec<_>>>()?;
        for file in &opened {
            for name in file.names() {
                if tensors.insert(name.to_string(), file).is_some() {
                    return Err(Error::Weights(format!("{} is in two files", printable(name))));
                }
            }
        }
        check_names(&tensors, config)?;
        let read = |name: &str, shape: &[usize]| -> Result<Arc<Vec<f32>>> {
            let fail = |e: String| Error::Weights(format!("{name} {e}"));
            let file = tensors.get(name).ok_or_else(|| fail("is missing".into()))?;
            let view = file.tensor(name).map_err(|e| fail(e.to_string()))?;
            Ok(Arc::new(storage::to_f32(&view, shape).map_err(fail)?))
        };
        let mut weights = Self::collect(config, read)?;
        if config.tie_word_embeddings && tensors.contains_key(HEAD) {
            let head = read(HEAD, &[config.vocab_size, config.hidden_size])?;
            if head != weights.embed {
                return Err(Error::Weights(
                    "lm_head.weight differs from the embedding although tie_word_embeddings is true; set it to false"
                        .into(),
                ));
            }
            weights.head = None;
        }
        Ok(weights)
    }

    /// Writes `model.safetensors` into `dir`, whole or not at all.
    pub fn save(&self, dir: &Path, config: &Config, dtype: Dtype) -> Result<()> {
        self.check(config)?;
        let items = self
            .named(config)
            .into_iter()
            .map(|(name, shape, values)| (name, Item { values, shape, dtype }))
            .collect::<Vec<_>>();
        storage::save(&dir.join("model.safetensors"), items)
    }

    /// Builds the weights by asking for each tensor of the model by its Hugging Face name and shape, in order.
    pub fn collect(config: &Config, mut read: impl FnMut(&str, &[usize]) -> Result<Arc<Vec<f32>>>) -> Result<Self> {
        let ends = ends(config);
        let embed = read(EMBED, &ends)?;
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let parts = layer_parts(config);
            let mut parts = parts.iter().map(|part| read(&part.full_name(layer), &part.shape));
            let mut next = || parts.next().unwrap_or_else(|| Err(Error::Weights("a layer is incomplete".into())));
            let mut read = LayerWeights {
                attn_norm: next()?,
                q: next()?,
                k: next()?,
                v: next()?,
                o: next()?,
                ffn_norm: next()?,
                gate: next()?,
                up: next()?,
                down: next()?,
                biases: Default::default(),
                qk_norms: None,
                post_norms: None,
            };
            for (bias, _) in read.biases.iter_mut().zip(config.biases.each()).filter(|(_, biased)| *biased) {
                *bias = Some(next()?);
            }
            if config.qk_norm {
                read.qk_norms = Some([next()?, next()?]);
            }
            if config.post_norms {
                read.post_norms = Some([next()?, next()?]);
            }
            layers.push(read);
        }
        let norm = read(NORM, &[config.hidden_size])?;
        let head = if config.tie_word_embeddings { None } else { Some(read(HEAD, &ends)?) };
        Ok(Self { embed, layers, norm, head })
    }

    /// Every tensor with its Hugging Face name and shape, in the model's order.
    pub fn named(&self, config: &Config) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut all: Vec<(String, Vec<usize>, &[f32])> = vec![(EMBED.into(), ends(config), &self.embed)];
        for (i, layer) in self.layers.iter().enumerate() {
            for (part, values) in layer_parts(config).into_iter().zip(layer.tensors()) {
                all.push((part.full_name(i), part.shape, values));
            }
        }
        all.push((NORM.into(), vec![config.hidden_size], &self.norm));
        if let Some(head) = &self.head {
            all.push((HEAD.into(), ends(config), head));
        }
        all
    }

    /// Checks that every tensor is there and has the size that `config` asks for.
    pub fn check(&self, config: &Config) -> Result<()> {
        if self.layers.len() != config.num_hidden_layers || self.head.is_none() != config.tie_word_embeddings {
            return Err(Error::Weights("the number of layers or the output layer does not fit the config".into()));
        }
        let fits = |layer: &LayerWeights| {
            layer.biases.each_ref().map(Option::is_some) == config.biases.each()
                && layer.qk_norms.is_some() == config.qk_norm
                && layer.post_norms.is_some() == config.post_norms
        };
        if !self.layers.iter().all(fits) {
            return Err(Error::Weights("the biases or the norms of a layer do not fit the config".into()));
        }
        for (name, shape, values) in self.named(config) {
            if values.len() != shape.iter().product::<usize>() {
                return Err(Error::Weights(format!("{name} has {} numbers, expected {shape:?}", values.len())));
            }
        }
        Ok(())
    }
}

impl LayerWeights {
    /// Its tensors in the order of the fields.
    pub fn tensors(&self) -> Vec<&Arc<Vec<f32>>> {
        let Self { attn_norm, q, k, v, o, ffn_norm, gate, up, down, biases, qk_norms, post_norms } = self;
        let mut all = vec![attn_norm, q, k, v, o, ffn_norm, gate, up, down];
        all.extend(biases.iter().flatten());
        all.extend(qk_norms.iter().flatten());
        all.extend(post_norms.iter().flatten());
        all
    }
}

const EMBED: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// A tensor of a layer: its name after `model.layers.N.` and its shape.
struct Part {
    name: String,
    shape: Vec<usize>,
}

impl Part {
    fn full_name(&self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name)
    }
}

/// The tensors of each layer of a model of this shape, in the order of [`LayerWeights::tensors`].
fn layer_parts(config: &Config) -> Vec<Part> {
    let part = |name: &str, shape: &[usize]| Part { name: name.into(), shape: shape.into() };
    let norm = |name: &str| part(&format!("{name}.weight"), &[config.hidden_size]);
    let [attn_norm, ffn_norm, _, _, post_norms @ ..] = norm_names(config);
    let shapes = shapes(config);
    let linear = |i: usize| part(&format!("{}.weight", LINEARS[i]), &[shapes[i].0, shapes[i].1]);
    let mut parts = vec![norm(attn_norm)];
    parts.extend((0..4).map(linear));
    parts.push(norm(ffn_norm));
    parts.extend((4..7).map(linear));
    let biased = config.biases.each();
    parts.extend((0..7).filter(|i| biased[*i]).map(|i| part(&format!("{}.bias", LINEARS[i]), &[shapes[i].0])));
    if config.qk_norm {
        parts.extend(["self_attn.q_norm.weight", "self_attn.k_norm.weight"].map(|name| part(name, &[config.head_dim])));
    }
    if config.post_norms {
        parts.extend(post_norms.map(norm));
    }
    parts
}

fn ends(config: &Config) -> Vec<usize> {
    vec![config.vocab_size, config.hidden_size]
}

/// The safetensors files of a model: the ones that its index names, else the single one.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join("model.safetensors.index.json");
    if index.is_file() {
        let text = std::fs::read_to_string(&index).map_err(|e| Error::io("cannot read", &index, e))?;
        return indexed(&text)?.into_iter().map(|name| existing(dir, &name)).collect();
    }
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| dir.join(name).is_file());
    Err(Error::Weights(if pickled {
        format!("{} has only pytorch_model.bin; convert it to safetensors first", dir.display())
    } else {
        format!("{} has no model.safetensors; is it a model directory?", dir.display())
    }))
}

fn existing(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::Weights(format!("{} is missing, the index names it", path.display()))),
    }
}

/// The file names in an index. They must be plain names: a hostile index must not reach outside the directory.
fn indexed(text: &str) -> Result<BTreeSet<String>> {
    let bad = |what: &str| Error::Weights(format!("model.safetensors.index.json {what}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| bad(&format!("is not JSON: {e}")))?;
    let map = value.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| bad("has no weight_map"))?;
    let names = map.values().map(|v| v.as_str().map(String::from)).collect::<Option<BTreeSet<_>>>();
    let names = names.ok_or_else(|| bad("names a file that is not a text"))?;
    match names.iter().find(|name| !name.ends_with(".safetensors") || name.contains(['/', '\\', '\0'])) {
        Some(name) => Err(bad(&format!("names {}, which is not a safetensors file beside it", printable(name)))),
        None if names.is_empty() => Err(bad("names no files")),
        None => Ok(names),
    }
}

/// A tensor too many or too few means another model than the config says; rotary tables of old files are harmless.
fn check_names(tensors: &BTreeMap<String, &SafeTensors<'_>>, config: &Config) -> Result<()> {
    let mut expected: BTreeSet<String> = [EMBED, NORM, HEAD].map(String::from).into();
    for layer in 0..config.num_hidden_layers {
        expected.extend(layer_parts(config).iter().map(|part| part.full_name(layer)));
    }
    let unexpected: Vec<String> = tensors
        .keys()
        .filter(|name| !expected.contains(*name) && !name.ends_with(".rotary_emb.inv_freq"))
        .map(|name| printable(name))
        .collect();
    let missing: Vec<String> = expected
        .into_iter()
        .filter(|name| !(tensors.contains_key(name) || name == HEAD && config.tie_word_embeddings))
        .collect();
    let list = |names: &[String]| {
        let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
        names.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + &more
    };
    match (missing.as_slice(), unexpected.as_slice()) {
        ([], []) => Ok(()),
        ([], extra) => Err(Error::Weights(format!("unexpected tensors: {}", list(extra)))),
        (missing, []) => Err(Error::Weights(format!("missing tensors: {}", list(missing)))),
        (missing, extra) => {
            Err(Error::Weights(format!("missing tensors: {}; unexpected: {}", list(missing), list(extra))))
        }
    }
}
