//! Qwen 2 and 2.5: a bias on queries, keys and values, always, and sliding windows in some layers.

use serde_json::{Map, Value, json};

use super::{Biases, Config, Defaults, Family, RopeScaling, Sliding, fields::Fields};
use crate::error::{Error, Result};

pub(super) static FAMILY: Family = Family {
    architecture: "Qwen2ForCausalLM",
    model_type: "qwen2",
    gguf: "qwen2",
    permuted: false,
    defaults: Defaults {
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        head_dim: None,
        rope_theta: 10_000.0,
    },
    gguf_lacks: |config| match config.rope_scaling {
        RopeScaling::Llama3(_) => Some("llama3's RoPE scaling"),
        _ => (config.q_dim() != config.hidden_size).then_some("heads that together are not as wide as the model"),
    },
    gguf_implies: |_, _| {},
    fields: &["layer_types", "sliding_window", "use_sliding_window"],
    read: |fields, config| {
        config.biases = Biases { qkv: true, o: false, mlp: false };
        config.sliding = sliding(fields, config.num_hidden_layers)?;
        Ok(())
    },
    write: write_sliding,
};

pub(super) const FULL: &str = "full_attention";
pub(super) const SLIDING: &str = "sliding_attention";

/// The windows as Qwen's configs name them: `layer_types`, else every layer from `max_window_layers` on.
pub(super) fn sliding(fields: &Fields<'_>, layers: usize) -> Result<Option<Sliding>> {
    let window = match fields.flag("use_sliding_window")? {
        true => fields.size_or("sliding_window", Some(4096))?,
        false => None,
    };
    let slides: Vec<bool> = match (fields.0.get("layer_types"), window) {
        (Some(types), _) if !types.is_null() => layer_types(types, layers)?,
        (_, None) => return Ok(None),
        (_, Some(_)) => {
            let full = fields.size_or("max_window_layers", Some(28))?.unwrap_or(layers);
            if full > layers {
                return Err(Error::Config(format!("max_window_layers is {full}, there are {layers} layers")));
            }
            (0..layers).map(|layer| layer >= full).collect()
        }
    };
    match (slides.contains(&true), window) {
        (false, _) => Ok(None),
        (true, Some(window)) => Ok(Some(Sliding { window, layers: slides, rope_theta: None })),
        (true, None) => Err(Error::Config(format!("layer_types names {SLIDING}, but no sliding_window is used"))),
    }
}

pub(super) fn layer_types(types: &Value, layers: usize) -> Result<Vec<bool>> {
    let slides = |kind: &Value| match kind.as_str() {
        Some(FULL) => Some(false),
        Some(SLIDING) => Some(true),
        _ => None,
    };
    let slides: Option<Vec<bool>> = types.as_array().and_then(|types| types.iter().map(slides).collect());
    slides.filter(|slides| slides.len() == layers).ok_or_else(|| {
        Error::Config(format!("layer_types must name {FULL} or {SLIDING} for each of the {layers} layers"))
    })
}

/// Writes them so that older versions of transformers, which do not know `layer_types`, read the same where they can.
pub(super) fn write_sliding(config: &Config, map: &mut Map<String, Value>) {
    let slides = |layer: usize| config.window(layer).is_some();
    let full = (0..config.num_hidden_layers).find(|layer| slides(*layer)).unwrap_or(config.num_hidden_layers);
    let types = (0..config.num_hidden_layers).map(|layer| if slides(layer) { SLIDING } else { FULL });
    map.insert("layer_types".into(), types.collect());
    map.insert("max_window_layers".into(), json!(full));
    map.insert("sliding_window".into(), json!(config.sliding.as_ref().map(|sliding| sliding.window)));
    map.insert("use_sliding_window".into(), json!(config.sliding.is_some()));
}
