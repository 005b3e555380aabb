//! Qwen 3: each query and key head is normed.

use serde_json::json;

use super::{Biases, Defaults, Family, RopeScaling, qwen2};

pub(super) static FAMILY: Family = Family {
    architecture: "Qwen3ForCausalLM",
    model_type: "qwen3",
    gguf: "qwen3",
    permuted: false,
    defaults: Defaults {
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        rope_theta: 10_000.0,
    },
    gguf_lacks: |config| match config.rope_scaling {
        RopeScaling::Llama3(_) => Some("llama3's RoPE scaling"),
        _ => config.biases.o.then_some("a bias in attention"),
    },
    gguf_implies: |_, _| {},
    fields: &["attention_bias", "layer_types", "sliding_window", "use_sliding_window"],
    read: |fields, config| {
        let attention = fields.flag("attention_bias")?;
        config.biases = Biases { qkv: attention, o: attention, mlp: false };
        config.qk_norm = true;
        config.sliding = qwen2::sliding(fields, config.num_hidden_layers)?;
        Ok(())
    },
    write: |config, map| {
        map.insert("attention_bias".into(), json!(config.biases.o));
        qwen2::write_sliding(config, map);
    },
};
