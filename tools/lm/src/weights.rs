//! A model's tensors, as they are stored or in f32, read from and written to safetensors.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::SafeTensors;

use crate::{
    config::Config,
    engine::params::{LINEARS, norm_names, shapes},
    error::{Error, Result},
    matrix::Matrix,
    storage::{self, Files, Item, Mapped, printable},
};

/// All tensors of a model, row-major, with Hugging Face's shapes (`[out, in]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[vocab, hidden]`.
    pub embed: Matrix,
    /// One per decoder layer.
    pub layers: Vec<LayerWeights>,
    /// The last norm, `[hidden]`.
    pub norm: Arc<Vec<f32>>,
    /// The output layer, `[vocab, hidden]`; `None` where it is the embedding.
    pub head: Option<Matrix>,
}

/// The tensors of one decoder layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Norm before attention, `[hidden]`.
    pub attn_norm: Arc<Vec<f32>>,
    /// Query projection, `[heads * head_dim, hidden]`.
    pub q: Matrix,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    pub k: Matrix,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    pub v: Matrix,
    /// Output projection, `[hidden, heads * head_dim]`.
    pub o: Matrix,
    /// Norm before the feed-forward block, `[hidden]`.
    pub ffn_norm: Arc<Vec<f32>>,
    /// Gate projection, `[inner, hidden]`.
    pub gate: Matrix,
    /// Up projection, `[inner, hidden]`.
    pub up: Matrix,
    /// Down projection, `[hidden, inner]`.
    pub down: Matrix,
    /// What each of the seven projections adds, `[out]`, in the order of [`LINEARS`]; `None` where it adds nothing.
    pub biases: [Option<Arc<Vec<f32>>>; 7],
    /// Norms of each query head and of each key head, `[head_dim]`; `None` where heads are not normed.
    pub qk_norms: Option<[Arc<Vec<f32>>; 2]>,
    /// Norms of what attention and the feed-forward block give, `[hidden]`; `None` where it is not normed.
    pub post_norms: Option<[Arc<Vec<f32>>; 2]>,
}

/// One tensor of a model.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// A norm's gain or a bias.
    Vector(&'a [f32]),
    /// A weight.
    Matrix(&'a Matrix),
}

impl<'a> Numbers<'a> {
    /// All its numbers.
    pub fn floats(self) -> Cow<'a, [f32]> {
        match self {
            Numbers::Vector(values) => Cow::Borrowed(values),
            Numbers::Matrix(matrix) => matrix.floats(),
        }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Numbers::Vector(values) => values.len(),
            Numbers::Matrix(matrix) => matrix.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Whether the numbers of matrices are looked at when a model is opened. They stay as they are stored, most of them in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Each is: one that is not finite is an error.
    Finite,
    /// It is left to who reads each of them once, as [`crate::gguf::write`] does.
    Later,
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
        Ok(Self::open(dir, config, Check::Finite)?.0)
    }

    /// The same, with the files that they are in.
    pub(crate) fn open(dir: &Path, config: &Config, check: Check) -> Result<(Self, Files)> {
        let files = files(dir)?;
        let maps =
            files.iter().map(|path| Ok((path.clone(), Arc::new(Mapped::open(path)?)))).collect::<Result<Vec<_>>>()?;
        let mut tensors: BTreeMap<String, (&SafeTensors<'_>, &Arc<Mapped>)> = BTreeMap::new();
        let opened = maps
            .iter()
            .map(|(path, map)| map.tensors().map_err(|e| Error::Weights(format!("{}: {e}", path.display()))))
            .collect::<Result<Vec<_>>>()?;
        for (file, (_, map)) in opened.iter().zip(&maps) {
            for name in file.names() {
                if tensors.insert(name.to_string(), (file, map)).is_some() {
                    return Err(Error::Weights(format!("{} is in two files", printable(name))));
                }
            }
        }
        check_names(&tensors, config)?;
        let read = |name: &str, shape: &[usize]| -> Result<Matrix> {
            let fail = |e: String| Error::Weights(format!("{name} {e}"));
            let (file, map) = tensors.get(name).ok_or_else(|| fail("is missing".into()))?;
            let view = file.tensor(name).map_err(|e| fail(e.to_string()))?;
            match shape.len() {
                2 => storage::mapped(&view, map, shape, check).map_err(fail),
                _ => Ok(storage::to_f32(&view, shape).map_err(fail)?.into()),
            }
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
        drop(opened);
        Ok((weights, Files(maps.into_iter().map(|(_, map)| map).collect())))
    }

    /// Writes `model.safetensors` into `dir`, whole or not at all.
    pub fn save(&self, dir: &Path, config: &Config, dtype: Dtype) -> Result<()> {
        self.check(config)?;
        let items = self
            .named(config)
            .into_iter()
            .map(|(name, shape, numbers)| (name, Item { numbers, shape, dtype }))
            .collect::<Vec<_>>();
        storage::save(&dir.join("model.safetensors"), items)
    }

    /// Builds the weights by asking for each tensor of the model by its Hugging Face name and shape, in order.
    pub fn collect(config: &Config, mut read: impl FnMut(&str, &[usize]) -> Result<Matrix>) -> Result<Self> {
        let ends = ends(config);
        let embed = read(EMBED, &ends)?;
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let parts = layer_parts(config);
            let mut parts = parts.iter().map(|part| read(&part.full_name(layer), &part.shape));
            let mut next = || parts.next().unwrap_or_else(|| Err(Error::Weights("a layer is incomplete".into())));
            let mut read = LayerWeights {
                attn_norm: next()?.into_vector(),
                q: next()?,
                k: next()?,
                v: next()?,
                o: next()?,
                ffn_norm: next()?.into_vector(),
                gate: next()?,
                up: next()?,
                down: next()?,
                biases: Default::default(),
                qk_norms: None,
                post_norms: None,
            };
            for (bias, _) in read.biases.iter_mut().zip(config.biases.each()).filter(|(_, biased)| *biased) {
                *bias = Some(next()?.into_vector());
            }
            if config.qk_norm {
                read.qk_norms = Some([next()?.into_vector(), next()?.into_vector()]);
            }
            if config.post_norms {
                read.post_norms = Some([next()?.into_vector(), next()?.into_vector()]);
            }
            layers.push(read);
        }
        let norm = read(NORM, &[config.hidden_size])?.into_vector();
        let head = if config.tie_word_embeddings { None } else { Some(read(HEAD, &ends)?) };
        Ok(Self { embed, layers, norm, head })
    }

    /// Every tensor with its Hugging Face name and shape, in the model's order.
    pub fn named(&self, config: &Config) -> Vec<(String, Vec<usize>, Numbers<'_>)> {
        let mut all = vec![(EMBED.to_owned(), ends(config), Numbers::Matrix(&self.embed))];
        for (i, layer) in self.layers.iter().enumerate() {
            for (part, numbers) in layer_parts(config).into_iter().zip(layer.tensors()) {
                all.push((part.full_name(i), part.shape, numbers));
            }
        }
        all.push((NORM.into(), vec![config.hidden_size], Numbers::Vector(&self.norm)));
        if let Some(head) = &self.head {
            all.push((HEAD.into(), ends(config), Numbers::Matrix(head)));
        }
        all
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self, config: &Config) -> usize {
        let bytes = |numbers: Numbers<'_>| match numbers {
            Numbers::Vector(values) => values.len() * 4,
            Numbers::Matrix(matrix) => matrix.bytes(),
        };
        self.named(config).into_iter().map(|(.., numbers)| bytes(numbers)).sum()
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
    pub fn tensors(&self) -> Vec<Numbers<'_>> {
        use Numbers::{Matrix as M, Vector as V};
        let Self { attn_norm, q, k, v, o, ffn_norm, gate, up, down, biases, qk_norms, post_norms } = self;
        let mut all = vec![V(attn_norm), M(q), M(k), M(v), M(o), V(ffn_norm), M(gate), M(up), M(down)];
        all.extend(biases.iter().flatten().map(|bias| V(bias)));
        all.extend(qk_norms.iter().chain(post_norms).flatten().map(|norm| V(norm)));
        all
    }

    /// The seven linear weights, in the order of [`LINEARS`].
    pub fn linears(&self) -> [&Matrix; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    /// The same, to be replaced.
    pub fn linears_mut(&mut self) -> [&mut Matrix; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    /// The gain of norm `i`, in the order of [`norm_names`], where there is one.
    pub fn norm(&self, i: usize) -> Option<&Arc<Vec<f32>>> {
        match i {
            0 => Some(&self.attn_norm),
            1 => Some(&self.ffn_norm),
            2 | 3 => self.qk_norms.as_ref()?.get(i - 2),
            _ => self.post_norms.as_ref()?.get(i - 4),
        }
    }

    /// The same, to be replaced.
    pub fn norm_mut(&mut self, i: usize) -> Option<&mut Arc<Vec<f32>>> {
        match i {
            0 => Some(&mut self.attn_norm),
            1 => Some(&mut self.ffn_norm),
            2 | 3 => self.qk_norms.as_mut()?.get_mut(i - 2),
            _ => self.post_norms.as_mut()?.get_mut(i - 4),
        }
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
    if let Some(text) = storage::read_optional(&index)? {
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
fn check_names<T>(tensors: &BTreeMap<String, T>, config: &Config) -> Result<()> {
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
