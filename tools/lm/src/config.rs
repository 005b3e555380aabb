//! The shape of a Llama model, read from and written as Hugging Face's `config.json`.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// No dimension of a model may be larger: a hostile file must not ask for absurd amounts of memory.
const LARGEST: u64 = 1 << 24;

/// A validated Llama configuration: every size is positive and they divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
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
    /// Reads and checks the text of a `config.json`.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Error::Config(format!("config.json is not JSON: {e}")))?;
        let Some(map) = value.as_object() else {
            return Err(Error::Config("config.json is not a JSON object".into()));
        };
        check_architecture(map)?;
        check_unsupported(map)?;
        let config = read_fields(map)?;
        config.check()?;
        Ok(config)
    }

    /// Writes it with Hugging Face's field names.
    pub fn to_json(&self) -> String {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let value = json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": self.pad_token_id,
            "pretraining_tp": 1,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": null,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        format!("{value:#}\n")
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
        Ok(())
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Number of weights, counting a tied output layer once.
    pub fn parameters(&self) -> usize {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let layer = h * self.q_dim() * 2 + h * self.kv_dim() * 2 + 3 * h * i + 2 * h;
        let ends = self.vocab_size * h * if self.tie_word_embeddings { 1 } else { 2 };
        ends + self.num_hidden_layers * layer + h
    }
}

fn check_architecture(map: &Map<String, Value>) -> Result<()> {
    let architectures: Vec<&str> =
        map.get("architectures").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let model_type = map.get("model_type").and_then(Value::as_str);
    if matches!(
        (architectures.as_slice(), model_type),
        (["LlamaForCausalLM"], None | Some("llama")) | ([], Some("llama"))
    ) {
        return Ok(());
    }
    let name = match (architectures.first(), model_type) {
        (Some(a), Some(t)) => format!("{} (model_type {})", short(a), short(t)),
        (Some(a), None) => short(a),
        (None, Some(t)) => format!("model_type {}", short(t)),
        (None, None) => "none named".into(),
    };
    Err(Error::Config(format!("unsupported architecture: {name}; only LlamaForCausalLM is supported")))
}

/// Names in messages come from files that nobody has checked, so they are cut and escaped.
fn short(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

/// Fields that change the maths must have the one value that this decoder computes.
fn check_unsupported(map: &Map<String, Value>) -> Result<()> {
    let refuse = |name: &str, value: &Value| {
        Err(Error::Config(format!("{name} = {} is not supported, use a base without it", short(&value.to_string()))))
    };
    for name in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        match map.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(value) => return refuse(name, value),
        }
    }
    for name in ["sliding_window", "quantization_config", "layer_types", "partial_rotary_factor"] {
        match map.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => return refuse(name, value),
        }
    }
    for name in ["rope_scaling", "rope_parameters"] {
        match map.get(name) {
            None | Some(Value::Null) => {}
            Some(value) if default_rope(value) => {}
            Some(value) => return refuse(name, value),
        }
    }
    match map.get("hidden_act").and_then(Value::as_str) {
        Some("silu") => {}
        None if !map.contains_key("hidden_act") => {}
        _ => return refuse("hidden_act", &map["hidden_act"]),
    }
    match map.get("pretraining_tp") {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_u64() == Some(1) => Ok(()),
        Some(value) => refuse("pretraining_tp", value),
    }
}

/// True for `{"rope_type": "default"}`, with or without a `rope_theta`, and nothing that scales.
fn default_rope(value: &Value) -> bool {
    value.as_object().is_some_and(|rope| {
        rope.iter().all(|(key, value)| match key.as_str() {
            "rope_type" | "type" => value == "default",
            "rope_theta" => value.is_number(),
            _ => value.is_null(),
        })
    })
}

fn read_fields(map: &Map<String, Value>) -> Result<Config> {
    let hidden_size = required(map, "hidden_size")?;
    let num_attention_heads = required(map, "num_attention_heads")?;
    let head_dim = match size(map, "head_dim")? {
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
    let nested_theta = |key: &str| map.get(key).and_then(|rope| rope.get("rope_theta")).and_then(Value::as_f64);
    let theta = number(map, "rope_theta")?.or_else(|| nested_theta("rope_parameters"));
    Ok(Config {
        vocab_size: required(map, "vocab_size")?,
        hidden_size,
        intermediate_size: required(map, "intermediate_size")?,
        num_hidden_layers: required(map, "num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: size(map, "num_key_value_heads")?.unwrap_or(num_attention_heads),
        head_dim,
        max_position_embeddings: size(map, "max_position_embeddings")?.unwrap_or(2048),
        rms_norm_eps: number(map, "rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: theta.or_else(|| nested_theta("rope_scaling")).unwrap_or(10_000.0),
        tie_word_embeddings: flag(map, "tie_word_embeddings")?,
        bos_token_id: token_ids(map, "bos_token_id")?.first().copied(),
        eos_token_ids: token_ids(map, "eos_token_id")?,
        pad_token_id: token_ids(map, "pad_token_id")?.first().copied(),
    })
}

fn required(map: &Map<String, Value>, name: &str) -> Result<usize> {
    size(map, name)?.ok_or_else(|| Error::Config(format!("{name} is missing from config.json")))
}

fn size(map: &Map<String, Value>, name: &str) -> Result<Option<usize>> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(n) if n <= LARGEST => Ok(Some(n as usize)),
            _ => Err(Error::Config(format!(
                "{name} is {}, it must be a whole number up to {LARGEST}",
                short(&value.to_string())
            ))),
        },
    }
}

fn number(map: &Map<String, Value>, name: &str) -> Result<Option<f64>> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| Error::Config(format!("{name} is {}, it must be a number", short(&value.to_string())))),
    }
}

fn flag(map: &Map<String, Value>, name: &str) -> Result<bool> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(value) => Err(Error::Config(format!("{name} is {}, it must be true or false", short(&value.to_string())))),
    }
}

/// Token ids may be one number, a list of them, or null. Negative ids mean none, as in older configs.
pub(crate) fn token_ids(map: &Map<String, Value>, name: &str) -> Result<Vec<u32>> {
    let one = |value: &Value| match value.as_i64() {
        Some(id) if id < 0 => Ok(None),
        Some(id) => u32::try_from(id).map(Some).map_err(|_| ()),
        None => Err(()),
    };
    let ids: Result<Vec<Option<u32>>, ()> = match map.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => one(value).map(|id| vec![id]),
    };
    match ids {
        Ok(ids) => Ok(ids.into_iter().flatten().collect()),
        Err(()) => Err(Error::Config(format!("{name} must be a token id or a list of them"))),
    }
}
