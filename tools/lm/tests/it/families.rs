//! What the configs of the families mean, and which of them are refused.

use std::fs;

use serde_json::{Value, json};
use tunesmith_lm::{
    config::{Biases, Config, FAMILIES, Llama3, RopeScaling, Sliding},
    engine::{
        params::{Method, Slots, random_weights},
        trained::Params,
    },
    model::Model,
    rng::Rng,
};

use crate::golden;

const NAMES: [&str; 4] = ["llama3", "mistral", "qwen2", "qwen3"];

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
    ] {
        let config = config(name);
        let sliding = sliding.map(|(window, layers)| Sliding { window, layers });
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
    assert_eq!(FAMILIES.map(|family| family.model_type), ["llama", "mistral", "qwen2", "qwen3"]);
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

#[test]
fn hostile_values_are_refused_by_name() {
    let rope = |fields: Value| {
        let mut all = value("llama3")["rope_parameters"].clone();
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rope_parameters": all})
    };
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

#[test]
fn a_config_made_by_hand_must_be_one_that_its_family_can_state() {
    for name in NAMES {
        let base = config(name);
        base.check().unwrap();
        for wrong in [
            Config { qk_norm: !base.qk_norm, ..base.clone() },
            Config { biases: Biases { qkv: !base.biases.qkv, ..base.biases }, ..base.clone() },
            Config { sliding: Some(Sliding { window: 5, layers: vec![true; 3] }), ..base.clone() },
            Config { sliding: Some(Sliding { window: 0, layers: vec![true; 2] }), ..base.clone() },
            Config { rope_scaling: RopeScaling::Linear(f64::NAN), ..base.clone() },
            Config { rope_scaling: RopeScaling::Linear(0.0), ..base.clone() },
        ] {
            assert!(wrong.check().is_err(), "{name}: {wrong:?}");
        }
    }
}
