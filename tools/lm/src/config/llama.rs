//! Llama 2 and 3, SmolLM2, TinyLlama and others that call themselves `LlamaForCausalLM`.

use serde_json::json;

use super::{Biases, Defaults, Family};

pub(super) static FAMILY: Family = Family {
    architecture: "LlamaForCausalLM",
    model_type: "llama",
    gguf: "llama",
    permuted: true,
    defaults: Defaults {
        max_position_embeddings: 2048,
        num_key_value_heads: None,
        head_dim: None,
        rope_theta: 10_000.0,
    },
    gguf_lacks: |_| None,
    gguf_implies: |_, _| {},
    fields: &["attention_bias", "mlp_bias"],
    read: |fields, config| {
        let attention = fields.flag("attention_bias")?;
        config.biases = Biases { qkv: attention, o: attention, mlp: fields.flag("mlp_bias")? };
        Ok(())
    },
    write: |config, map| {
        map.insert("attention_bias".into(), json!(config.biases.o));
        map.insert("mlp_bias".into(), json!(config.biases.mlp));
        map.insert("pretraining_tp".into(), json!(1));
    },
};
