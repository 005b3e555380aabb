//! GGUF files written here, read back.

use std::fs;

use tunesmith_lm::{
    chat::Message,
    config::{Biases, Config, LLAMA, Llama3, RopeScaling, Sliding},
    error::Error,
    gguf::{self, Quant},
    model::Model,
    tokens::Tokenizer,
};

use crate::{copy, golden};

#[test]
fn a_written_file_reads_back_as_the_same_model() {
    for name in ["tied", "wide", "shards"] {
        let model = Model::open(&golden("llama").join(name)).unwrap();
        for quant in [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4KM] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            let written = gguf::write(&path, &model, quant).unwrap();
            let back = Model::open(&path).unwrap();
            assert_eq!(back.config, model.config, "{name}");
            assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
            let rows_fit = match quant {
                Quant::F32 | Quant::F16 => true,
                Quant::Q8_0 => name == "wide",
                Quant::Q4KM => false,
            };
            assert_eq!(written.not_quantized.is_empty(), rows_fit, "{name}");
            let pairs = model.weights.named(&model.config).into_iter().zip(back.weights.named(&model.config));
            for ((tensor, shape, ours), (.., theirs)) in pairs {
                let exact = quant == Quant::F32 || shape.len() == 1;
                for (block, other) in ours.floats().chunks(32).zip(theirs.floats().chunks(32)) {
                    let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                    // Half a step of 1/127 of the block's largest number, and the rounding of its scale to f16.
                    let allowed = if exact { 0.0 } else { largest * (0.5 / 127.0 + 1e-3) };
                    for (a, b) in block.iter().zip(other) {
                        assert!((a - b).abs() <= allowed, "{name} {tensor} {quant:?}: {a} became {b}");
                    }
                }
            }
            let first = fs::read(&path).unwrap();
            gguf::write(&path, &model, quant).unwrap();
            assert!(fs::read(&path).unwrap() == first, "{name}: other bytes");
        }
    }
}

/// The model of a family without what llama.cpp does not compute.
pub fn expressible(name: &str) -> Model {
    let mut model = Model::open(&golden("families").join(name)).unwrap();
    model.config.sliding = None;
    if name == "gemma3" {
        // The sixth layer is the one without a window.
        let layers = model.weights.layers.iter().cycle().take(7).cloned().collect();
        let slides = (0..7).map(|layer| layer != 5).collect();
        model.weights.layers = layers;
        model.config.num_hidden_layers = 7;
        model.config.query_pre_attn_scalar = Some(model.config.head_dim);
        model.config.sliding = Some(Sliding { window: 7, layers: slides, rope_theta: Some(1e4) });
    }
    if name == "qwen3" {
        model.config.biases = Biases::default();
        model.weights.layers.iter_mut().for_each(|layer| layer.biases = Default::default());
    }
    model.config.check().unwrap();
    model
}

#[test]
fn each_family_reads_back_as_the_same_model() {
    for name in crate::families::NAMES {
        let model = expressible(name);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        gguf::write(&path, &model, Quant::F32).unwrap();
        let back = Model::open(&path).unwrap();
        // In llama.cpp Mistral is a Llama.
        let family = if name == "mistral" { LLAMA } else { model.config.family };
        assert_eq!(back.config, Config { family, ..model.config.clone() }, "{name}");
        assert!(back.weights == model.weights, "{name}");
        for text in ["I'm sure 1234 birds; Où est la gare ?", "\n\n x\t\r\n  y"] {
            assert_eq!(back.tokenizer.encode(text).unwrap(), model.tokenizer.encode(text).unwrap(), "{name}");
        }
    }
}

#[test]
fn what_llama_cpp_does_not_compute_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let refused = |model: &Model| match gguf::write(&path, model, Quant::F32) {
        Err(Error::Gguf(line)) => line,
        other => panic!("{other:?}"),
    };
    let open = |name: &str| Model::open(&golden("families").join(name)).unwrap();
    assert_eq!(
        refused(&open("mistral")),
        "llama.cpp's llama does not know sliding windows, and this one of 6 is shorter than the context of 64; \
         export safetensors"
    );
    assert!(refused(&open("qwen2")).contains("qwen2 does not know sliding windows"));
    assert!(refused(&open("qwen3")).contains("qwen3 does not know a bias in attention"));
    let llama3 = open("llama3").config.rope_scaling;
    for name in ["qwen2", "qwen3"] {
        let mut model = expressible(name);
        model.config.rope_scaling = llama3;
        assert!(refused(&model).contains("llama3's RoPE scaling"), "{name}");
    }
    let gemma = expressible("gemma3");
    let sliding = gemma.config.sliding.clone().unwrap();
    let biases = Biases { qkv: true, o: true, mlp: false };
    for (config, what) in [
        (Config { biases, ..gemma.config.clone() }, "a bias in attention"),
        (Config { query_pre_attn_scalar: Some(24), ..gemma.config.clone() }, "this query_pre_attn_scalar"),
        (
            Config { sliding: Some(Sliding { layers: vec![true; 7], ..sliding.clone() }), ..gemma.config.clone() },
            "windows in other than five of each six layers",
        ),
        (
            Config { sliding: Some(Sliding { rope_theta: Some(1e3), ..sliding }), ..gemma.config.clone() },
            "a rope_local_base_freq other than 10000",
        ),
    ] {
        let mut model = Model { config, ..expressible("gemma3") };
        let [q, kv, h] = [model.config.q_dim(), model.config.kv_dim(), model.config.hidden_size];
        for layer in model.weights.layers.iter_mut().filter(|_| model.config.biases == biases) {
            let bias = |n: usize| Some(vec![0.0; n].into());
            layer.biases = [bias(q), bias(kv), bias(kv), bias(h), None, None, None];
        }
        let line = format!("llama.cpp's gemma3 does not know {what}; export safetensors");
        assert_eq!(refused(&model), line);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // A window as long as the context hides nothing.
    let mut model = open("mistral");
    model.config.max_position_embeddings = 6;
    gguf::write(&path, &model, Quant::F32).unwrap();
}

#[test]
fn divisors_of_frequencies_that_no_known_scaling_gives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    gguf::write(&path, &expressible("llama3"), Quant::F32).unwrap();
    let bytes = fs::read(&path).unwrap();
    let attempt = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        fs::write(&path, changed).unwrap();
        Model::open(&path).map(|model| model.config.rope_scaling).map_err(|e| e.to_string())
    };
    // Without our own keys the numbers are those of published Llamas, which this tensor is not.
    let renamed = attempt(b"tunesmith.llama3.low", b"tunesmith.llama3.wol");
    assert!(renamed.clone().is_err_and(|line| line.contains("rope_freqs.weight is not")), "{renamed:?}");
    let key = b"tunesmith.llama3.factor\x06\0\0\0";
    for factor in [0.0f32, -1.0, f32::NAN, f32::INFINITY, 8.0] {
        let changed = attempt(key, &[&key[..], &factor.to_le_bytes()].concat());
        assert!(changed.is_err(), "{factor}: {changed:?}");
    }
    let Ok(RopeScaling::Llama3(scaling)) = attempt(key, key) else { panic!("the file as it was") };
    assert_eq!(scaling.factor, 4.0);
    let mut published = expressible("llama3");
    published.config.rope_theta = 500_000.0;
    let numbers =
        Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 };
    published.config.rope_scaling = RopeScaling::Llama3(numbers);
    gguf::write(&path, &published, Quant::F32).unwrap();
    // As llama.cpp's converter leaves it: without keys of ours.
    let mut bytes = fs::read(&path).unwrap();
    while let Some(at) = bytes.windows(9).position(|part| part == b"tunesmith") {
        bytes[at] = b'T';
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(Model::open(&path).unwrap().config, published.config);
}

/// Keys that change what llama.cpp computes and that are not read, and a window where none is known.
#[test]
fn keys_of_gguf_files_that_change_the_maths_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    for (name, key) in [
        ("gemma3", "gemma3.attention.sliding_window_pattern"),
        ("gemma3", "gemma3.rope.freq_base_swa"),
        ("gemma3", "gemma3.final_logit_softcapping"),
        ("qwen3", "qwen3.attention.sliding_window"),
        ("qwen3", "qwen3.expert_count"),
    ] {
        gguf::write(&path, &expressible(name), Quant::F32).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[16] += 1;
        let number =
            [&(key.len() as u64).to_le_bytes()[..], key.as_bytes(), &[4, 0, 0, 0], &3u32.to_le_bytes()].concat();
        bytes.splice(24..24, number);
        fs::write(&path, bytes).unwrap();
        let line = Model::open(&path).err().unwrap().to_string();
        assert!(line.contains(&format!("{key} is not supported")) && line.lines().count() == 1, "{line}");
    }
}

/// Gemma's own tokenizer falls back to bytes, which the vocabulary of llama.cpp's gpt2 has no place for.
#[test]
fn a_tokenizer_that_falls_back_to_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = expressible("gemma3");
    let mut json: serde_json::Value = serde_json::from_str(model.tokenizer.json()).unwrap();
    json["model"]["byte_fallback"] = true.into();
    let mut tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
    tokenizer.eos = Some(4);
    match gguf::write(&dir.path().join("model.gguf"), &Model { tokenizer, ..model }, Quant::F16) {
        Err(Error::Gguf(line)) => assert_eq!(line, "the tokenizer's byte_fallback cannot be expressed in GGUF"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_normalizer_is_written_only_as_part_of_qwens_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let model = expressible("qwen2");
    assert!(model.tokenizer.json().contains("\"NFC\""));
    let json = model.tokenizer.json().replace("\"NFC\"", "\"NFKC\"");
    let mut tokenizer = Tokenizer::from_json(&json).unwrap();
    tokenizer.eos = Some(4);
    let refused = gguf::write(&dir.path().join("model.gguf"), &Model { tokenizer, ..model }, Quant::F16);
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("normalizer")), "{refused:?}");
}

#[test]
fn the_tokenizer_and_template_survive() {
    let model = Model::open(&golden("llama/tied")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    gguf::write(&path, &model, Quant::F16).unwrap();
    let back = Model::open(&path).unwrap();
    let ids = |t: &Tokenizer| (t.bos, t.eos, t.pad, t.stops.clone(), t.add_bos);
    assert_eq!(ids(&back.tokenizer), ids(&model.tokenizer));
    assert_eq!(back.chat, model.chat);
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(golden("text.json")).unwrap()).unwrap();
    for case in file["tokens"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(back.tokenizer.encode(text).unwrap(), model.tokenizer.encode(text).unwrap(), "{text:?}");
        assert_eq!(back.tokenizer.encode_plain(text).unwrap(), model.tokenizer.encode_plain(text).unwrap(), "{text:?}");
    }
    let chat = [Message::new("user", "hi")];
    assert_eq!(back.chat.unwrap().render(&chat, true).unwrap(), "<|endoftext|><|user|>hi<|end|><|assistant|>");
}

#[test]
fn a_tokenizer_that_llama_cpp_would_split_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied"), dir.path());
    let path = dir.path().join("tokenizer.json");
    let original = fs::read_to_string(&path).unwrap();
    let attempt = |text: String| {
        fs::write(&path, text).unwrap();
        gguf::write(&dir.path().join("model.gguf"), &Model::open(dir.path()).unwrap(), Quant::F16)
    };
    assert!(attempt(original.clone()).is_ok());
    for (from, to) in [
        (
            "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"post",
            "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\"post",
        ),
        ("\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}"),
        ("\"ignore_merges\":false", "\"ignore_merges\":true"),
        ("\"lstrip\":false", "\"lstrip\":true"),
    ] {
        assert!(original.contains(from), "{from}");
        let refused = attempt(original.replacen(from, to, 1));
        assert!(matches!(refused, Err(Error::Gguf(_))), "{to}: {refused:?}");
    }
    // Llama 3's way of splitting is known, but llama.cpp then takes whole words first, which this tokenizer does not.
    let refused = attempt(fs::read_to_string(golden("split_tokenizer.json")).unwrap());
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("ignore_merges")), "{refused:?}");
}

#[test]
fn a_model_without_an_end_token_is_not_exported() {
    let mut model = Model::open(&golden("llama/tied")).unwrap();
    model.tokenizer.eos = None;
    model.tokenizer.stops.clear();
    let dir = tempfile::tempdir().unwrap();
    let refused = gguf::write(&dir.path().join("model.gguf"), &model, Quant::F16);
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("eos_token")), "{refused:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn numbers_too_large_for_half_precision_are_refused() {
    let mut model = Model::open(&golden("llama/shards")).unwrap();
    let mut values = model.weights.layers[0].v.floats().into_owned();
    values[0] = 1e6;
    model.weights.layers[0].v = values.into();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let refused = gguf::write(&path, &model, Quant::F16);
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("attn_v")), "{refused:?}");
    gguf::write(&path, &model, Quant::F32).unwrap();
}
