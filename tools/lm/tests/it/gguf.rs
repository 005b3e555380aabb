//! GGUF files written here, read back.

use std::fs;

use tunesmith_lm::{
    chat::Message,
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
        for quant in [Quant::F32, Quant::F16, Quant::Q8_0] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            let written = gguf::write(&path, &model, quant).unwrap();
            let back = Model::open(&path).unwrap();
            assert_eq!(back.config, model.config, "{name}");
            assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
            let rows_fit = name == "wide";
            assert_eq!(written.not_quantized.is_empty(), quant != Quant::Q8_0 || rows_fit, "{name}");
            let pairs = model.weights.named(&model.config).into_iter().zip(back.weights.named(&model.config));
            for ((tensor, shape, ours), (.., theirs)) in pairs {
                let exact = quant == Quant::F32 || shape.len() == 1;
                for (block, other) in ours.chunks(32).zip(theirs.chunks(32)) {
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
    let mut values = model.weights.layers[0].v.to_vec();
    values[0] = 1e6;
    model.weights.layers[0].v = values.into();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let refused = gguf::write(&path, &model, Quant::F16);
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("attn_v")), "{refused:?}");
    gguf::write(&path, &model, Quant::F32).unwrap();
}
