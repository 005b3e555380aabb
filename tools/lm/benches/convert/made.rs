//! The models that are converted: random weights, and a tokenizer of as many tokens as the shape has.

use std::path::Path;

use serde_json::{Map, Value, json};
use tunesmith_lm::{engine::params::random_weights, weights::Dtype};

use crate::shapes::Shape;

/// Writes a model directory.
pub fn make(shape: &Shape, dir: &Path) -> Result<(), String> {
    let config = shape.config()?;
    let fail = |e: std::io::Error| format!("{}: {e}", dir.display());
    std::fs::create_dir_all(dir).map_err(fail)?;
    std::fs::write(dir.join("config.json"), shape.json).map_err(fail)?;
    std::fs::write(dir.join("tokenizer.json"), tokenizer(config.vocab_size).to_string()).map_err(fail)?;
    let names = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END});
    std::fs::write(dir.join("tokenizer_config.json"), names.to_string()).map_err(fail)?;
    random_weights(&config, 1).save(dir, &config, Dtype::BF16).map_err(|e| e.to_string())
}

const END: &str = "<|endoftext|>";

/// A byte-level BPE of `size` tokens: the end, every byte, every pair of bytes, and bytes behind a pair as far as they fit.
fn tokenizer(size: usize) -> Value {
    let bytes = alphabet();
    let (mut vocab, mut merges) = (Map::new(), Vec::new());
    vocab.insert(END.into(), 0.into());
    let pairs = bytes.iter().flat_map(|a| bytes.iter().map(move |b| (a.clone(), b.clone())));
    let triples = pairs.clone().flat_map(|(a, b)| bytes.iter().map(move |c| (format!("{a}{b}"), c.clone())));
    for byte in &bytes {
        vocab.insert(byte.clone(), vocab.len().into());
    }
    for (a, b) in pairs.chain(triples).take(size - vocab.len()) {
        vocab.insert(format!("{a}{b}"), vocab.len().into());
        merges.push(json!([a, b]));
    }
    let flags = json!({"id": 0, "content": END, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [flags], "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges}})
}

/// The characters that stand for bytes in such tokenizers: what can be printed for itself, the rest from U+0100 on.
fn alphabet() -> Vec<String> {
    let mut other = 256..;
    let code = |byte: u32| match byte {
        33..=126 | 161..=172 | 174..=255 => Some(byte),
        _ => other.next(),
    };
    (0..256).filter_map(code).filter_map(char::from_u32).map(String::from).collect()
}
