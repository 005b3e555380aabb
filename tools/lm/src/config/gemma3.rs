//! Gemma 3, the models of text alone: norms on both sides of each block, most layers with a window and rotary
//! frequencies of their own.

use serde_json::{Map, Value, json};

use super::{
    Activation, Biases, Config, Defaults, Family, RopeScaling, Sliding,
    fields::Fields,
    qwen2::{FULL, SLIDING, layer_types},
    rope,
};
use crate::error::{Error, Result};

pub(super) static FAMILY: Family = Family {
    architecture: "Gemma3ForCausalLM",
    model_type: "gemma3_text",
    gguf: "gemma3",
    permuted: false,
    defaults: Defaults {
        max_position_embeddings: 131_072,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        rope_theta: 1_000_000.0,
    },
    gguf_lacks,
    gguf_implies,
    fields: &[
        "attention_bias",
        "hidden_act",
        "layer_types",
        "query_pre_attn_scalar",
        "rope_local_base_freq",
        "sliding_window",
    ],
    read,
    write,
};

/// llama.cpp knows one activation, one order of layers and one base for those with a window. Newer versions have keys
/// for the last two, which older ones pass over in silence.
const PATTERN: usize = 6;
const LOCAL_THETA: f64 = 10_000.0;
const GELU: &str = "gelu_pytorch_tanh";

/// What is the same in all models of the family.
fn set_constants(config: &mut Config) {
    config.qk_norm = true;
    config.post_norms = true;
    config.norm_offset = true;
    config.activation = Activation::GeluTanh;
    config.scale_embedding = true;
}

fn gguf_implies(config: &mut Config, window: Option<usize>) {
    set_constants(config);
    config.query_pre_attn_scalar = Some(config.head_dim);
    let layers = pattern(PATTERN, config.num_hidden_layers.min(1024));
    config.sliding = window.map(|window| Sliding { window, layers, rope_theta: Some(LOCAL_THETA) });
}

fn gguf_lacks(config: &Config) -> Option<&'static str> {
    // llama.cpp takes a model of 62 layers for the one of 27B, whose scores it scales otherwise.
    let scaled = config.query_pre_attn_scalar == Some(config.head_dim) && config.num_hidden_layers != 62;
    let sliding = config.sliding.as_ref();
    if config.biases.o {
        Some("a bias in attention")
    } else if !scaled {
        Some("this query_pre_attn_scalar")
    } else if sliding.is_some_and(|sliding| sliding.layers != pattern(PATTERN, config.num_hidden_layers)) {
        Some("windows in other than five of each six layers")
    } else if sliding.is_some_and(|sliding| sliding.rope_theta != Some(LOCAL_THETA)) {
        Some("a rope_local_base_freq other than 10000")
    } else {
        None
    }
}

fn read(fields: &Fields<'_>, config: &mut Config) -> Result<()> {
    // transformers reads the first name only.
    for name in ["hidden_activation", "hidden_act"] {
        if let Some(value) = fields.0.get(name).filter(|value| *value != GELU) {
            return fields.refuse(name, value);
        }
    }
    if let RopeScaling::Llama3(_) = config.rope_scaling {
        return Err(Error::Config("rope_scaling of the type llama3 is not supported in Gemma 3".into()));
    }
    let attention = fields.flag("attention_bias")?;
    config.biases = Biases { qkv: attention, o: attention, mlp: false };
    set_constants(config);
    config.query_pre_attn_scalar = Some(fields.size("query_pre_attn_scalar")?.unwrap_or(256));
    config.sliding = sliding(fields, config.num_hidden_layers)?;
    if !fields.0.contains_key("tie_word_embeddings") {
        config.tie_word_embeddings = true;
    }
    Ok(())
}

/// The windows: `layer_types`, else every layer but each sixth, or as `sliding_window_pattern` says.
fn sliding(fields: &Fields<'_>, count: usize) -> Result<Option<Sliding>> {
    let layers = match fields.0.get("layer_types") {
        Some(types) if !types.is_null() => layer_types(types, count)?,
        _ if count > 1024 => return Err(Error::Config("more than 1024 layers".into())),
        _ => {
            let period = match fields.size_or("sliding_window_pattern", Some(PATTERN))? {
                Some(period) if period > 0 => period,
                _ => return Err(Error::Config("sliding_window_pattern must be at least 1".into())),
            };
            // Only with layer_types beside it do newer files carry the period under this name.
            match fields.size("_sliding_window_pattern")? {
                Some(other) if other != period => {
                    return Err(Error::Config("_sliding_window_pattern needs layer_types beside it".into()));
                }
                _ => pattern(period, count),
            }
        }
    };
    let theta = local_theta(fields)?;
    if !layers.contains(&true) {
        return Ok(None);
    }
    match fields.size_or("sliding_window", Some(4096))? {
        Some(window) => Ok(Some(Sliding { window, layers, rope_theta: Some(theta) })),
        None => Err(Error::Config(format!("sliding_window is null, but there are layers of {SLIDING}"))),
    }
}

/// Windows in all layers but the last of each `period`.
fn pattern(period: usize, layers: usize) -> Vec<bool> {
    (1..=layers).map(|layer| !layer.is_multiple_of(period)).collect()
}

/// The base of the frequencies of layers with a window, from its old name or its new one.
fn local_theta(fields: &Fields<'_>) -> Result<f64> {
    let old = fields.number("rope_local_base_freq")?;
    let name = "rope_parameters";
    let Some(by_layer) = fields.0.get(name).filter(|value| !value.is_null()) else {
        return Ok(old.unwrap_or(LOCAL_THETA));
    };
    let known = |map: &Map<String, Value>| map.keys().all(|key| key == FULL || key == SLIDING);
    let Some(by_layer) = by_layer.as_object().filter(|map| known(map)) else { return fields.refuse(name, by_layer) };
    let new = match by_layer.get(SLIDING) {
        None | Some(Value::Null) => None,
        Some(Value::Object(local)) => match rope::parse(fields, name, local, 1)? {
            (theta, RopeScaling::None) => theta,
            _ => return fields.refuse(name, &by_layer[SLIDING]),
        },
        Some(other) => return fields.refuse(name, other),
    };
    match (old, new) {
        (Some(old), Some(new)) if old != new => {
            Err(Error::Config("rope_local_base_freq and rope_parameters name different RoPE settings".into()))
        }
        _ => Ok(old.or(new).unwrap_or(LOCAL_THETA)),
    }
}

fn write(config: &Config, map: &mut Map<String, Value>) {
    let count = config.num_hidden_layers;
    let slides: Vec<bool> = (0..count).map(|layer| config.window(layer).is_some()).collect();
    let sliding = config.sliding.as_ref();
    map.remove("hidden_act");
    map.insert("attention_bias".into(), json!(config.biases.o));
    map.insert("attn_logit_softcapping".into(), Value::Null);
    map.insert("final_logit_softcapping".into(), Value::Null);
    map.insert("hidden_activation".into(), json!(GELU));
    map.insert("layer_types".into(), slides.iter().map(|slides| if *slides { SLIDING } else { FULL }).collect());
    map.insert("query_pre_attn_scalar".into(), json!(config.query_pre_attn_scalar));
    let theta = sliding.and_then(|sliding| sliding.rope_theta).unwrap_or(LOCAL_THETA);
    map.insert("rope_local_base_freq".into(), json!(theta));
    map.insert("sliding_window".into(), json!(sliding.map(|sliding| sliding.window)));
    // Older versions of transformers know only a period.
    let period = slides.iter().position(|slides| !slides).unwrap_or(count) + 1;
    if pattern(period, count) == slides {
        map.insert("sliding_window_pattern".into(), json!(period));
    }
    map.insert("use_bidirectional_attention".into(), json!(false));
}
