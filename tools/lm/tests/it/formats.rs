//! Directories in Hugging Face's format and PEFT's adapters: read, written, and refused where they are wrong.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tunesmith_lm::{
    config::Config,
    error::Error,
    lora::{Adapter, LoraConfig, LoraPair, Targets},
    model::Model,
    weights::{Dtype, Weights},
};

use crate::{copy, golden};

fn config(name: &str) -> Config {
    Config::from_json(&fs::read_to_string(golden("llama").join(name).join("config.json")).unwrap()).unwrap()
}

fn message<T>(result: Result<T, Error>) -> String {
    let line = result.err().expect("an error").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn a_config_is_read_as_transformers_means_it() {
    let wide = config("wide");
    assert_eq!((wide.hidden_size, wide.q_dim(), wide.kv_dim(), wide.rope_theta), (32, 64, 64, 500_000.0));
    assert!(!wide.tie_word_embeddings && config("tied").tie_word_embeddings);
    assert_eq!(Config::from_json(&wide.to_json()).unwrap(), wide);
    let model = Model::open(&golden("llama/tied")).unwrap();
    let sizes: usize = model.weights.named(&model.config).iter().map(|(.., values)| values.len()).sum();
    assert_eq!(model.config.parameters(), sizes);
}

#[test]
fn fields_that_change_the_maths_are_refused_by_name() {
    let text = fs::read_to_string(golden("llama/tied/config.json")).unwrap();
    let base: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("architectures", json!(["Qwen3MoeForCausalLM"])),
        ("model_type", json!("mistral")),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
        ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4})),
        ("attention_bias", json!("yes")),
        ("mlp_bias", json!(1)),
        ("sliding_window", json!(128)),
        ("layer_types", json!(["full_attention", "full_attention"])),
        ("hidden_act", json!("gelu")),
        ("pretraining_tp", json!(2)),
        ("quantization_config", json!({"bits": 4})),
        ("num_key_value_heads", json!(4)),
        ("hidden_size", json!(-1)),
        ("vocab_size", json!(1e18)),
        ("vocab_size", json!(2)),
        ("head_dim", json!(7)),
        ("num_hidden_layers", json!(null)),
        ("rms_norm_eps", json!("x")),
    ] {
        let mut changed = base.clone();
        changed[field] = value;
        let line = message(Config::from_json(&changed.to_string()));
        let named = match field {
            "architectures" => "Qwen3MoeForCausalLM",
            "model_type" => "mistral",
            "vocab_size" if changed[field] == json!(2) => "token id",
            field => field,
        };
        assert!(line.contains(named), "{field}: {line}");
    }
    for text in ["", "[]", "{", "{}", "\u{0}"] {
        message(Config::from_json(text));
    }
}

#[test]
fn weights_survive_being_written_in_each_width() {
    for (name, dtype) in [("tied", Dtype::BF16), ("wide", Dtype::F32), ("shards", Dtype::F16)] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(name);
        let weights = Weights::load(&golden("llama").join(name), &config).unwrap();
        weights.save(dir.path(), &config, dtype).unwrap();
        assert!(Weights::load(dir.path(), &config).unwrap() == weights, "{name} changed");
        let first = fs::read(dir.path().join("model.safetensors")).unwrap();
        weights.save(dir.path(), &config, dtype).unwrap();
        assert!(fs::read(dir.path().join("model.safetensors")).unwrap() == first, "{name}: other bytes");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
    }
}

#[test]
fn a_model_that_is_not_whole_is_refused_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || message(Model::open(dir.path()));
    assert!(message(Model::open(&dir.path().join("nothing"))).contains("nothing"));
    assert!(open().contains("no config.json"));
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        if name == "tokenizer.json" {
            assert!(open().contains("no tokenizer.json"));
        }
        fs::copy(golden("llama/tied").join(name), dir.path().join(name)).unwrap();
    }
    assert!(open().contains("no model.safetensors"));
    fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(open().contains("convert it to safetensors"));
    fs::write(dir.path().join("model.safetensors"), "").unwrap();
    open();
    fs::copy(golden("llama/wide/model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    assert!(open().contains("shape"), "another model's tensors must not load");
    fs::copy(golden("llama/tied/model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let model = Model::open(dir.path()).unwrap();
    assert!(model.chat.is_some());
    assert_eq!(model.sha256.len(), 64);
    fs::copy(golden("split_tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    assert_ne!(Model::open(dir.path()).unwrap().sha256, model.sha256);
    let smaller = fs::read_to_string(dir.path().join("config.json"))
        .unwrap()
        .replace("\"vocab_size\": 320", "\"vocab_size\": 200");
    fs::write(dir.path().join("config.json"), smaller).unwrap();
    assert!(open().contains("vocab_size"));
}

#[test]
fn tensors_too_many_too_few_or_not_finite_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = config("shards");
    let mut weights = Weights::load(&golden("llama/shards"), &base).unwrap();
    weights.save(dir.path(), &base, Dtype::F32).unwrap();
    let more = Config { num_hidden_layers: 3, ..base.clone() };
    assert!(message(Weights::load(dir.path(), &more)).contains("missing tensors: model.layers.2."));
    let fewer = Config { num_hidden_layers: 1, ..base.clone() };
    assert!(message(Weights::load(dir.path(), &fewer)).contains("unexpected tensors: model.layers.1."));
    let untied = Config { tie_word_embeddings: false, ..base.clone() };
    assert!(message(Weights::load(dir.path(), &untied)).contains("lm_head.weight"));
    let mut up = weights.layers[1].up.floats().into_owned();
    up[3] = f32::NAN;
    weights.layers[1].up = up.into();
    weights.save(dir.path(), &base, Dtype::F32).unwrap();
    assert!(message(Weights::load(dir.path(), &base)).contains("model.layers.1.mlp.up_proj.weight"));
}

#[test]
fn a_head_that_a_tied_config_would_lose_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let untied = config("wide");
    let tied = Config { tie_word_embeddings: true, ..untied.clone() };
    let mut weights = Weights::load(&golden("llama/wide"), &untied).unwrap();
    weights.save(dir.path(), &untied, Dtype::F32).unwrap();
    assert!(message(Weights::load(dir.path(), &tied)).contains("tie_word_embeddings"));
    weights.head = Some(weights.embed.clone());
    weights.save(dir.path(), &untied, Dtype::F32).unwrap();
    assert!(Weights::load(dir.path(), &tied).unwrap().head.is_none());
}

#[test]
fn an_index_cannot_reach_outside_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::copy(golden("llama/tied/model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    for name in ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "none.safetensors", "config.json"] {
        let index = json!({"weight_map": {"model.norm.weight": name}}).to_string();
        fs::write(model.join("model.safetensors.index.json"), index).unwrap();
        message(Weights::load(&model, &config("tied")));
    }
    for index in ["", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
        fs::write(model.join("model.safetensors.index.json"), index).unwrap();
        message(Weights::load(&model, &config("tied")));
    }
}

#[test]
fn peft_adapters_are_read_and_written_without_a_change() {
    for (name, r, alpha, rslora, targets, scaling) in [
        ("tied", 4, 8.0, false, 7, 2.0),
        ("wide", 3, 16.0, true, 3, 16.0 / 3f32.sqrt()),
        ("shards", 2, 2.0, false, 2, 1.0),
    ] {
        let config = config(name);
        let from = golden("llama").join(name).join("adapter");
        let adapter = Adapter::load(&from, &config).unwrap();
        assert_eq!((adapter.config.r, adapter.config.lora_alpha), (r, alpha));
        let modules = adapter.config.modules(&config).unwrap();
        assert_eq!((adapter.config.use_rslora, modules.len()), (rslora, config.num_hidden_layers * targets));
        assert!(modules.iter().all(|module| (module.scaling - scaling).abs() < 1e-6));
        assert_eq!(adapter.tensors.len(), config.num_hidden_layers * targets);
        let dir = tempfile::tempdir().unwrap();
        adapter.save(dir.path(), &config).unwrap();
        assert_eq!(Adapter::load(dir.path(), &config).unwrap(), adapter);
        // The tensors' file is PEFT's, byte for byte.
        let file = "adapter_model.safetensors";
        assert!(fs::read(dir.path().join(file)).unwrap() == fs::read(from.join(file)).unwrap(), "{name}");
        let ours: Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join("adapter_config.json")).unwrap()).unwrap();
        let theirs: Value =
            serde_json::from_str(&fs::read_to_string(from.join("adapter_config.json")).unwrap()).unwrap();
        for (key, value) in ours.as_object().unwrap().iter().filter(|(key, _)| *key != "target_modules") {
            assert_eq!(theirs.get(key), Some(value), "{key}");
        }
    }
}

#[test]
fn numbers_that_are_none_are_found_in_an_adapter() {
    let of = |b: f32, saved: f32| Adapter {
        config: LoraConfig::default(),
        tensors: [("x".to_owned(), LoraPair { a: vec![1.0, 2.0], b: vec![0.0, b], magnitude: None })].into(),
        saved: [("y".to_owned(), vec![saved])].into(),
    };
    let found = |b, saved| of(b, saved).not_finite().map(str::to_owned);
    assert_eq!([found(1.0, 1.0), found(f32::NAN, 1.0)], [None, Some("x".to_owned())]);
    assert_eq!(found(1.0, f32::INFINITY).as_deref(), Some("y"));
}

#[test]
fn merging_adds_the_scaled_product() {
    let config = config("shards");
    let base = Weights::load(&golden("llama/shards"), &config).unwrap();
    let lora = LoraConfig {
        r: 2,
        lora_alpha: 6.0,
        target_modules: Targets::Names(vec!["down_proj".into()]),
        ..LoraConfig::default()
    };
    let tensors = lora.modules(&config).unwrap().into_iter().map(|module| {
        let a = (0..2 * module.inner).map(|i| i as f32 / 10.0).collect();
        let b = (0..module.out * 2).map(|i| i as f32 - 3.0).collect();
        (module.name, LoraPair { a, b, magnitude: None })
    });
    let adapter = Adapter { tensors: tensors.collect(), config: lora, saved: Default::default() };
    let (after, merged) = adapter.merge(&base, &config).unwrap();
    assert_eq!(after, config);
    let (row, column, inner) = (5, 7, config.intermediate_size);
    let delta = 3.0 * ((2 * row) as f32 - 3.0) * (column as f32 / 10.0)
        + 3.0 * ((2 * row + 1) as f32 - 3.0) * ((inner + column) as f32 / 10.0);
    let at = row * inner + column;
    let difference = merged.layers[1].down.floats()[at] - base.layers[1].down.floats()[at];
    assert!((difference - delta).abs() < 1e-4, "{difference} instead of {delta}");
    assert!(merged.layers[0].q == base.layers[0].q && merged.embed == base.embed);
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let base = config("tied");
    let from = golden("llama/tied/adapter");
    assert!(message(Adapter::load(&from, &config("wide"))).contains("shape"));
    let deeper = Config { num_hidden_layers: 3, ..base.clone() };
    assert!(message(Adapter::load(&from, &deeper)).contains("layers.2."));
    let shallower = Config { num_hidden_layers: 1, ..base.clone() };
    message(Adapter::load(&from, &shallower));
    let dir = tempfile::tempdir().unwrap();
    copy(&from, dir.path());
    let text = fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let original: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 8})),
        ("init_lora_weights", json!("pissa")),
        ("layers_to_transform", json!([1])),
        ("fan_in_fan_out", json!(true)),
        ("r", json!(0)),
        ("r", json!(100_000)),
        ("r", json!(8)),
        ("r", json!("4")),
        ("lora_alpha", json!("x")),
        ("lora_alpha", json!(-1)),
        ("target_modules", json!(["q_proj"])),
        ("target_modules", json!(["lm_head"])),
        ("target_modules", json!([])),
        ("target_modules", json!(".*[qk]_proj")),
        ("target_modules", json!("(")),
        ("target_modules", json!("x{1000}{1000}{1000}")),
        ("alpha_pattern", json!({"no_such_module": 3})),
        ("exclude_modules", json!(["o_proj"])),
        ("layers_pattern", json!("h")),
        ("use_rslora", json!("yes")),
        ("use_dora", json!(0)),
        ("ensure_weight_tying", json!(true)),
    ] {
        let mut changed = original.clone();
        changed[field] = value;
        fs::write(dir.path().join("adapter_config.json"), changed.to_string()).unwrap();
        message(Adapter::load(dir.path(), &base));
    }
    message(Adapter::load(Path::new("/nonexistent"), &base));
}

#[test]
fn an_adapter_far_larger_than_its_rank_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied/adapter"), dir.path());
    let file = fs::File::options().write(true).open(dir.path().join("adapter_model.safetensors")).unwrap();
    // A sparse file: terabytes that take no room.
    file.set_len(1 << 40).unwrap();
    assert!(message(Adapter::load(dir.path(), &config("tied"))).contains("larger"));
}

/// Each of these expressions takes most of a megabyte, and a file has room for tens of thousands.
#[test]
fn an_adapter_with_absurd_patterns_is_refused_uncompiled() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied/adapter"), dir.path());
    let text = fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
    let original: Value = serde_json::from_str(&text).unwrap();
    let absurd = (0..30_000).map(|i| format!(r"q_proj|\w{{20}}{i}"));
    let dictionary = |keys: Vec<String>| Value::Object(keys.into_iter().map(|key| (key, json!(4))).collect());
    for (field, value, why) in [
        ("rank_pattern", dictionary(absurd.clone().collect()), "64 regular expressions"),
        ("alpha_pattern", dictionary(absurd.clone().collect()), "64 regular expressions"),
        ("modules_to_save", json!(absurd.collect::<Vec<_>>()), "no such module"),
    ] {
        let mut changed = original.clone();
        changed[field] = value;
        fs::write(dir.path().join("adapter_config.json"), changed.to_string()).unwrap();
        let began = std::time::Instant::now();
        let error = message(Adapter::load(dir.path(), &config("tied")));
        assert!(error.contains(why), "{field}: {error}");
        assert!(began.elapsed().as_secs() < 20, "{field} took {:?}", began.elapsed());
    }
}

/// PEFT's tools write one key for each module, and a dot in a key means any character.
#[test]
fn a_pattern_for_every_module_is_no_regular_expression() {
    let config = Config { num_hidden_layers: 30, ..config("tied") };
    let keys = (0..30).flat_map(|layer| [format!("layers.{layer}.self_attn.q_proj"), format!("{layer}.mlp.up.proj")]);
    let lora = LoraConfig {
        r: 4,
        rank_pattern: keys.zip(5..).collect(),
        alpha_pattern: [("proj".to_owned(), 1.0), ("v_proj|k_proj".to_owned(), 16.0)].into(),
        ..LoraConfig::default()
    };
    // `proj` is no whole name, so that it means no layer.
    assert!(message(lora.modules(&config)).contains("alpha_pattern names proj"));
    let lora = LoraConfig { alpha_pattern: [("v_proj|k_proj".to_owned(), 16.0)].into(), ..lora };
    for module in lora.modules(&config).unwrap() {
        let r = match module.linear {
            0 => 5 + 2 * module.layer,
            5 => 6 + 2 * module.layer,
            _ => 4,
        };
        let alpha = if [1, 2].contains(&module.linear) { 16.0 } else { 32.0 };
        assert_eq!((module.r, module.scaling), (r, alpha / r as f32), "{}", module.name);
    }
}
