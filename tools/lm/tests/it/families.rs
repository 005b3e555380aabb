//! What the configs of the families mean, and which of them are refused.

use std::fs;

use serde_json::{Value, json};
use tunesmith_lm::{
    config::{Activation, Biases, Config, FAMILIES, Llama3, RopeScaling, Sliding},
    engine::{
        params::{Method, Slots, random_weights},
        trained::Params,
    },
    model::Model,
    rng::Rng,
};

use crate::golden;

pub const NAMES: [&str; 5] = ["llama3", "mistral", "qwen2", "qwen3", "gemma3"];

fn value(name: &str) -> Value {
    let path = golden("families").join(name).join("config.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn read(value: &Value) -> Result<Config, String> {
    let config = Config::from_json(&value.to_string());
    config.map_err(|e| e.to_string()).inspect_err(|line| assert_eq!(line.lines().count(), 1, "{line}"))
}

fn config(name: &str) -> Config {
    read(&value(name)).unwrap()
}

/// The config of `name` with some fields set.
fn with(name: &str, fields: Value) -> Result<Config, String> {
    let mut value = value(name);
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read(&value)
}

#[test]
fn each_family_is_read_and_written() {
    for (name, biases, qk_norm, sliding) in [
        ("llama3", Biases { qkv: true, o: true, mlp: true }, false, None),
        ("mistral", Biases::default(), false, Some((6, vec![true, true]))),
        ("qwen2", Biases { qkv: true, ..Biases::default() }, false, Some((5, vec![false, true]))),
        ("qwen3", Biases { qkv: true, o: true, mlp: false }, true, Some((7, vec![true, false]))),
        ("gemma3", Biases::default(), true, Some((7, vec![true, false, true]))),
    ] {
        let config = config(name);
        let rope_theta = (name == "gemma3").then_some(1000.0);
        let sliding = sliding.map(|(window, layers)| Sliding { window, layers, rope_theta });
        assert_eq!((config.biases, config.qk_norm, &config.sliding), (biases, qk_norm, &sliding), "{name}");
        assert_eq!(Config::from_json(&config.to_json()).unwrap(), config, "{name}");
        let model = Model::open(&golden("families").join(name)).unwrap();
        let numbers: usize = model.weights.named(&config).iter().map(|(.., values)| values.len()).sum();
        assert_eq!(config.parameters(), numbers, "{name}");
        let random = random_weights(&config, 1);
        random.check(&config).unwrap();
        let slots = Slots::new(&config, &Method::Full).unwrap();
        let params = Params::initial(&slots, &config, &model.weights, &mut Rng::new(0, ""));
        assert!(params.weights(&slots, &random) == model.weights, "{name}");
        for (slots, theta) in slots.layers.iter().zip(&params.layers) {
            let trained: usize = slots.tensors().iter().map(|(_, range)| range.len()).sum();
            assert_eq!((trained, slots.len), (theta.len(), theta.len()), "{name}");
        }
    }
    assert_eq!(FAMILIES.map(|family| family.model_type), ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"]);
}

#[test]
fn old_and_new_spellings_of_rope_scaling_mean_the_same() {
    let llama3 = config("llama3");
    let numbers =
        Llama3 { factor: 4.0, low_freq_factor: 0.5, high_freq_factor: 2.0, original_max_position_embeddings: 20 };
    assert_eq!((llama3.rope_theta, llama3.rope_scaling), (100.0, RopeScaling::Llama3(numbers)));
    let scaling = json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 0.5, "high_freq_factor": 2.0,
        "original_max_position_embeddings": 20});
    let old = json!({"rope_parameters": null, "rope_theta": 100.0, "rope_scaling": scaling});
    assert_eq!(with("llama3", old).unwrap(), llama3);
    let written: Value = serde_json::from_str(&llama3.to_json()).unwrap();
    assert_eq!((&written["rope_scaling"], &written["rope_theta"]), (&scaling, &json!(100.0)));
    let linear = config("mistral");
    assert_eq!(linear.rope_scaling, RopeScaling::Linear(2.0));
    let old = json!({"rope_parameters": null, "rope_theta": 10000, "rope_scaling": {"type": "linear", "factor": 2}});
    assert_eq!(with("mistral", old).unwrap(), linear);
    // Without a context of its own llama3 scales from the model's.
    let mut short = scaling.clone();
    short.as_object_mut().unwrap().remove("original_max_position_embeddings");
    let own = with("llama3", json!({"rope_parameters": null, "rope_theta": 100.0, "rope_scaling": short})).unwrap();
    let numbers = Llama3 { original_max_position_embeddings: 64, ..numbers };
    assert_eq!(own.rope_scaling, RopeScaling::Llama3(numbers));
    // One frequency of each kind: kept, blended, divided.
    let plain = RopeScaling::None.inverse_frequencies(16, 100.0);
    let ratios: Vec<f32> = llama3.inverse_frequencies().iter().zip(&plain).map(|(a, b)| a / b).collect();
    assert!(ratios[0] == 1.0 && ratios[7] == 0.25 && ratios[2] > 0.25 && ratios[2] < 1.0, "{ratios:?}");
}

#[test]
fn windows_are_those_that_transformers_would_use() {
    let windows = |fields: Value| with("qwen2", fields).map(|config| [0, 1].map(|layer| config.window(layer)));
    assert_eq!(windows(json!({})), Ok([None, Some(5)]));
    assert_eq!(windows(json!({"use_sliding_window": false, "layer_types": null})), Ok([None, None]));
    assert_eq!(windows(json!({"layer_types": null, "max_window_layers": 0})), Ok([Some(5), Some(5)]));
    assert_eq!(windows(json!({"layer_types": null, "max_window_layers": 2})), Ok([None, None]));
    assert_eq!(windows(json!({"layer_types": null, "sliding_window": null})), Ok([None, None]));
    // Where no window is used the other fields are without effect, as in most published models.
    let unused =
        json!({"use_sliding_window": false, "layer_types": null, "max_window_layers": 28, "sliding_window": 32768});
    assert_eq!(windows(unused), Ok([None, None]));
    let mistral = |fields: Value| with("mistral", fields).unwrap().window(1);
    assert_eq!((mistral(json!({})), mistral(json!({"sliding_window": null}))), (Some(6), None));
}

/// What the published models of Gemma 3 say; their sizes are those that transformers gives.
#[test]
fn published_gemmas_are_read_with_their_defaults() {
    let published = |fields: Value| {
        let mut all = json!({
            "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "attn_logit_softcapping": null, "bos_token_id": 2, "final_logit_softcapping": null, "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02, "max_position_embeddings": 32768,
            "model_type": "gemma3_text", "num_attention_heads": 4, "num_key_value_heads": 1, "pad_token_id": 0,
            "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000, "rope_scaling": null,
            "rope_theta": 1_000_000, "sliding_window": 512, "torch_dtype": "bfloat16", "use_cache": true,
            "vocab_size": 262_144
        });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        read(&all).unwrap()
    };
    let types = |layers: usize| -> Vec<&str> {
        (1..=layers).map(|i| if i % 6 == 0 { "full_attention" } else { "sliding_attention" }).collect()
    };
    let small = published(json!({"_sliding_window_pattern": 6, "eos_token_id": 1, "hidden_size": 640,
        "intermediate_size": 2048, "layer_types": types(18), "num_hidden_layers": 18,
        "use_bidirectional_attention": false}));
    let large = published(json!({"cache_implementation": "hybrid", "eos_token_id": [1, 106], "hidden_size": 1152,
        "intermediate_size": 6912, "num_hidden_layers": 26, "sliding_window_pattern": 6}));
    assert_eq!((small.parameters(), large.parameters()), (268_098_176, 999_885_952));
    for config in [&small, &large] {
        let windows: Vec<Option<usize>> = (0..config.num_hidden_layers).map(|layer| config.window(layer)).collect();
        let full: Vec<usize> = (0..windows.len()).filter(|layer| windows[*layer].is_none()).collect();
        assert_eq!(full, (5..windows.len()).step_by(6).collect::<Vec<_>>());
        assert!(windows.iter().flatten().all(|window| *window == 512));
        assert!(config.tie_word_embeddings && config.norm_offset && config.post_norms && config.qk_norm);
        assert_eq!((config.attention_scale(), config.rope_theta), (1.0 / 16.0, 1e6));
        assert_eq!(config.sliding.as_ref().and_then(|sliding| sliding.rope_theta), Some(1e4));
        assert_eq!(&read(&serde_json::from_str(&config.to_json()).unwrap()).unwrap(), config);
    }
    assert_eq!(small.embedding_scale(), 640f32.sqrt());
    // The larger ones scale the frequencies of the layers without a window.
    let scaled = published(json!({"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 6,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}));
    assert_eq!(scaled.rope_scaling, RopeScaling::Linear(8.0));
    assert_eq!(scaled.sliding_frequencies().unwrap()[0], 1.0);
    assert_eq!(scaled.inverse_frequencies()[0], 0.125);
}

#[test]
fn old_and_new_spellings_of_gemma_mean_the_same() {
    let new = config("gemma3");
    assert_eq!((new.rope_theta, new.rope_scaling), (1e6, RopeScaling::Linear(8.0)));
    assert_eq!(new.query_pre_attn_scalar, Some(24));
    let old = json!({"rope_parameters": null, "rope_theta": 1_000_000, "rope_local_base_freq": 1000,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "layer_types": null, "sliding_window_pattern": 2,
        "_sliding_window_pattern": null});
    assert_eq!(with("gemma3", old).unwrap(), new);
    let written: Value = serde_json::from_str(&new.to_json()).unwrap();
    assert_eq!((&written["sliding_window_pattern"], &written["rope_local_base_freq"]), (&json!(2), &json!(1000.0)));
    assert_eq!((&written["hidden_activation"], written.get("hidden_act")), (&json!("gelu_pytorch_tanh"), None));
    // What config.json leaves out is what transformers takes for it.
    let mut bare = value("gemma3");
    for name in ["head_dim", "rope_parameters", "query_pre_attn_scalar", "tie_word_embeddings", "sliding_window"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    let bare = read(&bare).unwrap();
    let local = Sliding { window: 4096, layers: vec![true, false, true], rope_theta: Some(1e4) };
    assert_eq!((bare.head_dim, bare.query_pre_attn_scalar, bare.sliding), (256, Some(256), Some(local)));
    assert_eq!((bare.rope_theta, bare.rope_scaling), (1e6, RopeScaling::None));
    assert!(bare.tie_word_embeddings);
}

#[test]
fn hostile_values_are_refused_by_name() {
    let rope = |fields: Value| {
        let mut all = value("llama3")["rope_parameters"].clone();
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rope_parameters": all})
    };
    let llama3 = &value("llama3")["rope_parameters"];
    for (name, fields, named) in [
        ("mistral", json!({"sliding_window": 0}), "sliding_window is 0"),
        ("mistral", json!({"sliding_window": -1}), "sliding_window"),
        ("mistral", json!({"sliding_window": 1e18}), "sliding_window"),
        ("mistral", json!({"attention_bias": true}), "attention_bias"),
        ("mistral", json!({"layer_types": ["full_attention", "full_attention"]}), "layer_types"),
        ("qwen2", json!({"sliding_window": 0}), "sliding_window is 0"),
        ("qwen2", json!({"layer_types": null, "max_window_layers": 3}), "max_window_layers is 3"),
        ("qwen2", json!({"layer_types": null, "max_window_layers": u64::MAX}), "max_window_layers"),
        ("qwen2", json!({"layer_types": ["full_attention"]}), "layer_types"),
        ("qwen2", json!({"layer_types": ["full_attention", "chunked_attention"]}), "layer_types"),
        ("qwen2", json!({"layer_types": "full_attention"}), "layer_types"),
        ("qwen2", json!({"use_sliding_window": false}), "no sliding_window is used"),
        ("qwen2", json!({"mlp_bias": true}), "mlp_bias"),
        ("qwen3", json!({"attention_bias": 7}), "attention_bias"),
        ("qwen3", json!({"num_hidden_layers": 16_000_000, "layer_types": null}), "1024 layers"),
        ("qwen3", json!({"num_hidden_layers": u64::MAX}), "num_hidden_layers"),
        ("qwen3", json!({"hidden_act": "gelu_pytorch_tanh"}), "hidden_act"),
        ("qwen3", json!({"query_pre_attn_scalar": 256}), "query_pre_attn_scalar"),
        ("mistral", json!({"rope_local_base_freq": 1e4}), "rope_local_base_freq"),
        ("llama3", json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping"),
        ("gemma3", json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping"),
        ("gemma3", json!({"attn_logit_softcapping": 50}), "attn_logit_softcapping"),
        ("gemma3", json!({"hidden_activation": "gelu"}), "hidden_activation"),
        ("gemma3", json!({"hidden_activation": null}), "hidden_activation"),
        ("gemma3", json!({"hidden_act": "silu"}), "hidden_act"),
        ("gemma3", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        ("gemma3", json!({"query_pre_attn_scalar": 0}), "query_pre_attn_scalar"),
        ("gemma3", json!({"query_pre_attn_scalar": 1.5}), "query_pre_attn_scalar"),
        ("gemma3", json!({"sliding_window": 0}), "sliding_window is 0"),
        ("gemma3", json!({"sliding_window": null}), "sliding_window is null"),
        ("gemma3", json!({"layer_types": ["full_attention"]}), "layer_types"),
        ("gemma3", json!({"layer_types": null, "sliding_window_pattern": 0}), "sliding_window_pattern"),
        ("gemma3", json!({"layer_types": null, "sliding_window_pattern": null}), "sliding_window_pattern"),
        ("gemma3", json!({"layer_types": null, "sliding_window_pattern": -6}), "sliding_window_pattern"),
        ("gemma3", json!({"layer_types": null, "_sliding_window_pattern": 3}), "_sliding_window_pattern"),
        ("gemma3", json!({"layer_types": null, "num_hidden_layers": 16_000_000}), "1024 layers"),
        ("gemma3", json!({"rope_local_base_freq": 7.0}), "rope_local_base_freq"),
        ("gemma3", json!({"rope_parameters": null, "rope_local_base_freq": 0.5}), "rope_local_base_freq is 0.5"),
        ("gemma3", json!({"rope_parameters": null, "rope_local_base_freq": "x"}), "rope_local_base_freq"),
        ("gemma3", json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}), "rope_parameters"),
        (
            "gemma3",
            json!({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}}),
            "rope_parameters",
        ),
        (
            "gemma3",
            json!({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}}),
            "rope_parameters",
        ),
        ("gemma3", json!({"rope_parameters": {"full_attention": 3}}), "rope_parameters"),
        ("gemma3", json!({"rope_parameters": null, "rope_scaling": {"full_attention": {}}}), "rope_scaling"),
        ("gemma3", json!({"rope_parameters": {"full_attention": llama3}}), "rope_scaling of the type llama3"),
        ("gemma3", json!({"rope_parameters": {"sliding_attention": [3]}}), "rope_parameters"),
        ("gemma3", json!({"architectures": ["Gemma3ForConditionalGeneration"]}), "Gemma3ForConditionalGeneration"),
        ("qwen3", json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}), "rope_parameters"),
        ("llama3", rope(json!({"factor": 0})), "factor"),
        ("llama3", rope(json!({"factor": -8.0})), "factor"),
        ("llama3", rope(json!({"factor": 1e300})), "factor"),
        ("llama3", rope(json!({"factor": "8"})), "factor"),
        ("llama3", rope(json!({"factor": null})), "factor is missing"),
        ("llama3", rope(json!({"low_freq_factor": 2.0})), "low_freq_factor 2"),
        ("llama3", rope(json!({"low_freq_factor": 4.0})), "low_freq_factor 4"),
        ("llama3", rope(json!({"low_freq_factor": 0.0})), "low_freq_factor 0"),
        ("llama3", rope(json!({"high_freq_factor": 1e300})), "high_freq_factor"),
        ("llama3", rope(json!({"original_max_position_embeddings": 0})), "original_max_position_embeddings"),
        ("llama3", rope(json!({"original_max_position_embeddings": 1e30})), "original_max_position_embeddings"),
        ("llama3", rope(json!({"rope_type": "yarn"})), "rope_parameters"),
        ("llama3", rope(json!({"rope_type": 3})), "rope_parameters"),
        ("llama3", rope(json!({"type": "linear"})), "rope_parameters"),
        ("llama3", rope(json!({"attention_factor": 2.0})), "rope_parameters"),
        ("llama3", rope(json!({"rope_theta": 0.5})), "rope_theta"),
        ("llama3", json!({"rope_theta": 7.0}), "rope_parameters"),
        ("llama3", json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), "rope_parameters"),
        ("llama3", json!({"rope_parameters": [1]}), "rope_parameters"),
        ("llama3", json!({"original_max_position_embeddings": 7}), "original_max_position_embeddings"),
        ("llama3", json!({"model_type": "qwen2"}), "LlamaForCausalLM"),
    ] {
        match with(name, fields.clone()) {
            Ok(config) => panic!("{name} {fields}: {config:?}"),
            Err(line) => assert!(line.contains(named), "{name} {fields}: {line}"),
        }
    }
    let nan = value("llama3").to_string().replace("\"factor\":4.0", "\"factor\":NaN");
    assert!(Config::from_json(&nan).unwrap_err().to_string().contains("not JSON"));
}

fn other(activation: Activation) -> Activation {
    match activation {
        Activation::Silu => Activation::GeluTanh,
        Activation::GeluTanh => Activation::Silu,
    }
}

#[test]
fn a_config_made_by_hand_must_be_one_that_its_family_can_state() {
    for name in NAMES {
        let base = config(name);
        base.check().unwrap();
        for wrong in [
            Config { qk_norm: !base.qk_norm, ..base.clone() },
            Config { post_norms: !base.post_norms, ..base.clone() },
            Config { norm_offset: !base.norm_offset, ..base.clone() },
            Config { scale_embedding: !base.scale_embedding, ..base.clone() },
            Config { activation: other(base.activation), ..base.clone() },
            Config { query_pre_attn_scalar: Some(0), ..base.clone() },
            Config { biases: Biases { qkv: !base.biases.qkv, ..base.biases }, ..base.clone() },
            Config { sliding: Some(Sliding { window: 5, layers: vec![true; 4], rope_theta: None }), ..base.clone() },
            Config { sliding: Some(Sliding { window: 0, layers: vec![true; 2], rope_theta: None }), ..base.clone() },
            Config { rope_scaling: RopeScaling::Linear(f64::NAN), ..base.clone() },
            Config { rope_scaling: RopeScaling::Linear(0.0), ..base.clone() },
        ] {
            assert!(wrong.check().is_err(), "{name}: {wrong:?}");
        }
    }
}
