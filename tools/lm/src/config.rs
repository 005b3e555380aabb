//! The shape of a decoder model, read from and written as Hugging Face's `config.json`.
//!
//! All families are one decoder with these facts. What is special to a family is in its own file below this one.

mod fields;
mod gemma3;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rope;
mod supported;

use std::{fmt, path::Path};

use serde_json::{Map, Value, json};

use fields::Fields;
pub(crate) use fields::token_ids;
pub use rope::{Llama3, RopeScaling};

use crate::{
    error::{Error, Result},
    storage::read_optional,
};

/// No dimension of a model may be larger: a hostile file must not ask for absurd amounts of memory.
const LARGEST: u64 = 1 << 24;

/// Every family that is known. A new one is a file with its [`Family`], and its name here.
pub static FAMILIES: [&Family; 5] = [&llama::FAMILY, &mistral::FAMILY, &qwen2::FAMILY, &qwen3::FAMILY, &gemma3::FAMILY];

/// A family of models: what its files call it, and which facts of [`Config`] they can state.
pub struct Family {
    /// Its name in `architectures` of config.json.
    pub architecture: &'static str,
    /// Its name in `model_type` of config.json.
    pub model_type: &'static str,
    /// Its architecture in llama.cpp, which may be another family's.
    pub gguf: &'static str,
    /// Whether llama.cpp wants the rows of q and k in the order in which it rotates them.
    pub permuted: bool,
    /// What transformers takes for sizes that config.json does not name.
    defaults: Defaults,
    /// What this model has that llama.cpp does not compute in `gguf`.
    pub gguf_lacks: fn(&Config) -> Option<&'static str>,
    /// Sets what llama.cpp takes for granted in `gguf`, which is no key of a file, in a model with this window.
    pub gguf_implies: fn(&mut Config, Option<usize>),
    /// Fields besides the common ones that `read` understands; in other families they must be off.
    fields: &'static [&'static str],
    /// Reads its own fields.
    read: fn(&Fields<'_>, &mut Config) -> Result<()>,
    /// Adds its own fields.
    write: fn(&Config, &mut Map<String, Value>),
}

/// Sizes that a family's class in transformers supplies where config.json is silent.
struct Defaults {
    max_position_embeddings: usize,
    /// `None`: as many as query heads.
    num_key_value_heads: Option<usize>,
    /// `None`: the hidden size divided among the query heads.
    head_dim: Option<usize>,
    rope_theta: f64,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.architecture == other.architecture
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.architecture)
    }
}

/// The Llama family: also what is pretrained here.
pub static LLAMA: &Family = &llama::FAMILY;

/// Which linear layers add a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// The projections to queries, keys and values.
    pub qkv: bool,
    /// The projection out of attention.
    pub o: bool,
    /// The three of the feed-forward block.
    pub mlp: bool,
}

impl Biases {
    /// For each linear layer, in the order of [`crate::engine::params::LINEARS`].
    pub fn each(self) -> [bool; 7] {
        let Biases { qkv, o, mlp } = self;
        [qkv, qkv, qkv, o, mlp, mlp, mlp]
    }
}

/// The function between the gate and the product with the up projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    #[default]
    Silu,
    /// GELU by its approximation with tanh.
    GeluTanh,
}

/// Layers that look back a limited number of positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliding {
    /// Position `i` sees the positions `j` with `i - window < j <= i`.
    pub window: usize,
    /// For each layer, whether it does.
    pub layers: Vec<bool>,
    /// Base of the rotary frequencies of these layers, which are not scaled; `None`: those of the other layers.
    pub rope_theta: Option<f64>,
}

/// A validated configuration: every size is positive and they divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family that its files belong to.
    pub family: &'static Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How those frequencies are changed for a longer context.
    pub rope_scaling: RopeScaling,
    /// Which linear layers have a bias.
    pub biases: Biases,
    /// Whether an RMSNorm is applied to each query and key head before it is rotated.
    pub qk_norm: bool,
    /// Whether what attention and the feed-forward block give is normed before it is added to the residual stream.
    pub post_norms: bool,
    /// Whether norms multiply by 1 + weight instead of the weight.
    pub norm_offset: bool,
    /// The function inside the feed-forward block.
    pub activation: Activation,
    /// Whether embeddings are multiplied by the root of the hidden size when they are looked up.
    pub scale_embedding: bool,
    /// Scores of attention are divided by the root of this; `None`: of `head_dim`.
    pub query_pre_attn_scalar: Option<usize>,
    /// Sliding windows, if any layer has one.
    pub sliding: Option<Sliding>,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// Token that starts a text, if the config names one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills, if the config names one.
    pub pad_token_id: Option<u32>,
}

impl Config {
    /// Reads the `config.json` of a model's directory.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let Some(text) = read_optional(&dir.join("config.json"))? else {
            return Err(Error::Config(format!(
                "{} has no config.json; give a model directory in Hugging Face's format or a GGUF file",
                dir.display()
            )));
        };
        Self::from_json(&text)
    }

    /// Reads and checks the text of a `config.json`.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Error::Config(format!("config.json is not JSON: {e}")))?;
        let Some(map) = value.as_object() else {
            return Err(Error::Config("config.json is not a JSON object".into()));
        };
        let family = supported::family(map)?;
        supported::check(map, family)?;
        let config = read_fields(&Fields(map), family)?;
        config.check()?;
        Ok(config)
    }

    /// Writes it with Hugging Face's field names.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", Value::Object(self.to_map()))
    }

    fn to_map(&self) -> Map<String, Value> {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let common = [
            ("architectures", json!([self.family.architecture])),
            ("attention_dropout", json!(0.0)),
            ("bos_token_id", json!(self.bos_token_id)),
            ("eos_token_id", eos),
            ("head_dim", json!(self.head_dim)),
            ("hidden_act", json!("silu")),
            ("hidden_size", json!(self.hidden_size)),
            ("initializer_range", json!(0.02)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("max_position_embeddings", json!(self.max_position_embeddings)),
            ("model_type", json!(self.family.model_type)),
            ("num_attention_heads", json!(self.num_attention_heads)),
            ("num_hidden_layers", json!(self.num_hidden_layers)),
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("pad_token_id", json!(self.pad_token_id)),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
            ("rope_scaling", self.rope_scaling.to_json()),
            ("rope_theta", json!(self.rope_theta)),
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("use_cache", json!(true)),
            ("vocab_size", json!(self.vocab_size)),
        ];
        let mut map: Map<String, Value> = common.map(|(name, value)| (name.to_string(), value)).into_iter().collect();
        (self.family.write)(self, &mut map);
        map.sort_keys();
        map
    }

    /// Checks that the sizes fit together. Configs made by hand should be checked before use.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value as u64 > LARGEST {
                return Err(Error::Config(format!("{name} is {value}, it must be between 1 and {LARGEST}")));
            }
        }
        if self.num_hidden_layers > 1024 || self.num_attention_heads > 4096 || self.head_dim > 4096 {
            return Err(Error::Config("more than 1024 layers, 4096 heads or 4096 numbers per head".into()));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(Error::Config(format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.num_attention_heads, self.num_key_value_heads
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::Config(format!("head_dim is {}, it must be even", self.head_dim)));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(Error::Config(format!("rms_norm_eps is {}, it must be in (0, 1)", self.rms_norm_eps)));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return Err(Error::Config(format!("rope_theta is {}, it must be above 1", self.rope_theta)));
        }
        for id in self.eos_token_ids.iter().chain(&self.bos_token_id).chain(&self.pad_token_id) {
            if *id as usize >= self.vocab_size {
                return Err(Error::Config(format!("token id {id} is outside the vocabulary of {}", self.vocab_size)));
            }
        }
        self.rope_scaling.check()?;
        if self.sliding.as_ref().is_some_and(|sliding| sliding.window == 0) {
            return Err(Error::Config("sliding_window is 0, it must be at least 1".into()));
        }
        if let Some(theta) = self.sliding.as_ref().and_then(|sliding| sliding.rope_theta)
            && !(theta.is_finite() && theta > 1.0)
        {
            return Err(Error::Config(format!("rope_local_base_freq is {theta}, it must be above 1")));
        }
        if self.query_pre_attn_scalar == Some(0) {
            return Err(Error::Config("query_pre_attn_scalar is 0, it must be at least 1".into()));
        }
        match read_fields(&Fields(&self.to_map()), self.family)? == *self {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "{} cannot have these biases, norms, sliding windows, scales or this RoPE scaling",
                self.family.architecture
            ))),
        }
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// How many positions `layer` looks back, its own among them; `None` where it sees all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let sliding = self.sliding.as_ref()?;
        sliding.layers.get(layer).copied().unwrap_or(false).then_some(sliding.window)
    }

    /// Rotary frequencies with their scaling, `[head_dim / 2]`, from the fastest to the slowest.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        self.rope_scaling.inverse_frequencies(self.head_dim, self.rope_theta)
    }

    /// Rotary frequencies of the sliding layers where these are not those of the others.
    pub fn sliding_frequencies(&self) -> Option<Vec<f32>> {
        let theta = self.sliding.as_ref()?.rope_theta?;
        Some(RopeScaling::None.inverse_frequencies(self.head_dim, theta))
    }

    /// What scores of attention are multiplied by.
    pub fn attention_scale(&self) -> f32 {
        match self.query_pre_attn_scalar {
            Some(scalar) => (1.0 / (scalar as f64).sqrt()) as f32,
            None => 1.0 / (self.head_dim as f32).sqrt(),
        }
    }

    /// What embeddings are multiplied by when they are looked up. Rounded to f32 as transformers does for weights of
    /// that type; it rounds it to bf16 only where it computes in bf16.
    pub fn embedding_scale(&self) -> f32 {
        if self.scale_embedding { (self.hidden_size as f64).sqrt() as f32 } else { 1.0 }
    }

    /// Number of weights, counting a tied output layer once.
    pub fn parameters(&self) -> usize {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let biases = crate::engine::params::shapes(self).into_iter().zip(self.biases.each());
        let biases: usize = biases.filter(|(_, biased)| *biased).map(|((out, _), _)| out).sum();
        let norms = if self.post_norms { 4 } else { 2 } * h + if self.qk_norm { 2 * self.head_dim } else { 0 };
        let layer = h * self.q_dim() * 2 + h * self.kv_dim() * 2 + 3 * h * i + norms + biases;
        let ends = self.vocab_size * h * if self.tie_word_embeddings { 1 } else { 2 };
        ends + self.num_hidden_layers * layer + h
    }
}

fn read_fields(fields: &Fields<'_>, family: &'static Family) -> Result<Config> {
    let defaults = &family.defaults;
    let hidden_size = fields.required("hidden_size")?;
    let num_attention_heads = fields.required("num_attention_heads")?;
    let head_dim = match fields.size_or("head_dim", defaults.head_dim)? {
        Some(width) => width,
        None if num_attention_heads > 0 && hidden_size.is_multiple_of(num_attention_heads) => {
            hidden_size / num_attention_heads
        }
        None => {
            return Err(Error::Config(format!(
                "hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"
            )));
        }
    };
    let max_position_embeddings = fields.size("max_position_embeddings")?.unwrap_or(defaults.max_position_embeddings);
    let (rope_theta, rope_scaling) = rope::read(fields, max_position_embeddings, family)?;
    let kv_heads = fields.size_or("num_key_value_heads", defaults.num_key_value_heads)?;
    let mut config = Config {
        family,
        vocab_size: fields.required("vocab_size")?,
        hidden_size,
        intermediate_size: fields.required("intermediate_size")?,
        num_hidden_layers: fields.required("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: kv_heads.unwrap_or(num_attention_heads),
        head_dim,
        max_position_embeddings,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        biases: Biases::default(),
        qk_norm: false,
        post_norms: false,
        norm_offset: false,
        activation: Activation::Silu,
        scale_embedding: false,
        query_pre_attn_scalar: None,
        sliding: None,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?,
        bos_token_id: token_ids(fields.0, "bos_token_id")?.first().copied(),
        eos_token_ids: token_ids(fields.0, "eos_token_id")?,
        pad_token_id: token_ids(fields.0, "pad_token_id")?.first().copied(),
    };
    (family.read)(fields, &mut config)?;
    Ok(config)
}
