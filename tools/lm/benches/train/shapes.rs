//! The published shapes that are measured; weights are random.

use tunesmith_lm::config::Config;

/// A model's shape.
pub struct Shape {
    /// How it is called here.
    pub name: &'static str,
    /// Its `config.json`, which both sides read.
    pub json: &'static str,
}

/// Every shape.
pub const ALL: [Shape; 2] = [
    Shape {
        name: "SmolLM2-135M",
        json: r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
            "vocab_size": 49152, "tie_word_embeddings": true}"#,
    },
    Shape {
        name: "Qwen2.5-0.5B",
        json: r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
            "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
            "vocab_size": 151936, "tie_word_embeddings": true}"#,
    },
];

/// The shape of that name.
pub fn find(name: &str) -> Result<&'static Shape, String> {
    let names: Vec<&str> = ALL.iter().map(|shape| shape.name).collect();
    let found = ALL.iter().find(|shape| shape.name == name);
    found.ok_or_else(|| format!("unknown shape {name}; there are {}", names.join(" and ")))
}

impl Shape {
    /// Its configuration.
    pub fn config(&self) -> Result<Config, String> {
        Config::from_json(self.json).map_err(|e| e.to_string())
    }
}
