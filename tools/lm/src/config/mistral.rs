//! Mistral: one sliding window in every layer, or none.

use serde_json::json;

use super::{Defaults, Family, Sliding};

pub(super) static FAMILY: Family = Family {
    architecture: "MistralForCausalLM",
    model_type: "mistral",
    gguf: "llama",
    permuted: true,
    defaults: Defaults {
        max_position_embeddings: 131_072,
        num_key_value_heads: Some(8),
        head_dim: None,
        rope_theta: 10_000.0,
    },
    gguf_lacks: |_| None,
    gguf_implies: |_, _| {},
    fields: &["sliding_window"],
    read: |fields, config| {
        let window = fields.size_or("sliding_window", Some(4096))?;
        config.sliding =
            window.map(|window| Sliding { window, layers: vec![true; config.num_hidden_layers], rope_theta: None });
        Ok(())
    },
    write: |config, map| {
        map.insert("sliding_window".into(), json!(config.sliding.as_ref().map(|sliding| sliding.window)));
    },
};
