//! Damaged and hostile files: an error or a model, never a panic and never a wild allocation.

use std::{fs, path::Path};

use proptest::prelude::*;
use tunesmith_lm::{
    config::Config,
    engine::{
        infer::{Cache, Decoder},
        params::random_weights,
    },
    gguf::{self, Quant},
    lora::Adapter,
    model::Model,
    pretrain::ModelShape,
    tokens::Tokenizer,
    weights::Weights,
};

use crate::{copy, golden};

/// What happens to a file on its way.
#[derive(Clone, Debug)]
enum Damage {
    Flip { at: prop::sample::Index, bits: u8 },
    Number { at: prop::sample::Index, value: u64 },
    Cut { at: prop::sample::Index },
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let value = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        any::<u64>(),
        0u64..70_000,
    ];
    let one = prop_oneof![
        4 => (any::<prop::sample::Index>(), 1u8..).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        4 => (any::<prop::sample::Index>(), value).prop_map(|(at, value)| Damage::Number { at, value }),
        1 => any::<prop::sample::Index>().prop_map(|at| Damage::Cut { at }),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
    ];
    prop::collection::vec(one, 1..4)
}

/// Damages the first `reach` bytes: that is where the structure is.
fn apply(bytes: &mut Vec<u8>, reach: usize, damages: &[Damage]) {
    for damage in damages {
        let reach = reach.min(bytes.len()).max(1);
        if bytes.is_empty() {
            return;
        }
        match damage {
            Damage::Flip { at, bits } => bytes[at.index(reach)] ^= bits,
            Damage::Number { at, value } => {
                let at = at.index(reach);
                for (byte, new) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
                    *byte = new;
                }
            }
            Damage::Cut { at } => {
                let length = bytes.len();
                bytes.truncate(at.index(length));
            }
            Damage::Insert { at, bytes: more } => {
                let at = at.index(reach);
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
}

/// Models whose files are damaged: each family, and one in several files.
const DAMAGED: [&str; 6] =
    ["llama/shards", "families/llama3", "families/mistral", "families/qwen2", "families/qwen3", "families/gemma3"];

fn gguf_bytes(name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let model = match name.strip_prefix("families/") {
        Some(family) => crate::gguf::expressible(family),
        None => Model::open(&golden(name)).unwrap(),
    };
    gguf::write(&path, &model, Quant::Q8_0).unwrap();
    fs::read(path).unwrap()
}

/// Lines of errors only, and few of them.
fn check_error<T>(result: Result<T, tunesmith_lm::error::Error>) -> Result<(), TestCaseError> {
    if let Err(error) = result {
        let line = error.to_string();
        prop_assert!(line.len() < 2000 && !line.contains('\n'), "{line:?}");
    }
    Ok(())
}

fn damaged_gguf(name: &str, cases: u32) {
    let original = gguf_bytes(name);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    // The descriptions of the tensors come last before their numbers.
    let described = b"output_norm.weight";
    let header = original.windows(described.len()).position(|part| part == described).unwrap() + 64;
    let mut runner = runner(cases);
    let outcome = runner.run(&(damage(), any::<bool>()), |(damages, structure)| {
        let mut bytes = original.clone();
        let reach = if structure { header } else { bytes.len() };
        apply(&mut bytes, reach, &damages);
        fs::write(&path, bytes).unwrap();
        check_error(gguf::read(&path))
    });
    outcome.unwrap();
}

fn damaged_safetensors(name: &str, cases: u32) {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(name), dir.path());
    let adapter = dir.path().join("adapter");
    copy(&golden(name).join("adapter"), &adapter);
    let config = Config::from_json(&fs::read_to_string(dir.path().join("config.json")).unwrap()).unwrap();
    let shard = if name == "llama/shards" { "model-00001-of-00002.safetensors" } else { "model.safetensors" };
    let files =
        [dir.path().join(shard), adapter.join("adapter_model.safetensors"), adapter.join("adapter_config.json")];
    let originals: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut runner = runner(cases);
    let outcome = runner.run(&(damage(), 0..files.len()), |(damages, which)| {
        let mut bytes = originals[which].clone();
        apply(&mut bytes, 2048, &damages);
        fs::write(&files[which], bytes).unwrap();
        let result = match which {
            0 => check_error(Weights::load(dir.path(), &config)),
            _ => check_error(Adapter::load(&adapter, &config)),
        };
        fs::write(&files[which], &originals[which]).unwrap();
        result
    });
    outcome.unwrap();
}

fn damaged_texts(name: &str, cases: u32) {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(name), dir.path());
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
    let files: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
    let originals: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut runner = runner(cases);
    let outcome = runner.run(&(damage(), 0..files.len()), |(damages, which)| {
        let mut bytes = originals[which].clone();
        let reach = bytes.len();
        apply(&mut bytes, reach, &damages);
        fs::write(&files[which], bytes).unwrap();
        let result = check_error(Model::open(dir.path()));
        fs::write(&files[which], &originals[which]).unwrap();
        result
    });
    outcome.unwrap();
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    proptest::test_runner::TestRunner::new_with_rng(config, rng)
}

#[test]
fn damaged_gguf_files_give_errors() {
    DAMAGED.into_iter().for_each(|name| damaged_gguf(name, 100));
}

#[test]
fn damaged_safetensors_give_errors() {
    DAMAGED.into_iter().for_each(|name| damaged_safetensors(name, 100));
}

#[test]
fn damaged_configs_and_tokenizers_give_errors() {
    DAMAGED.into_iter().for_each(|name| damaged_texts(name, 50));
}

#[test]
#[ignore = "the full counts take minutes"]
fn soak_damaged_files_give_errors() {
    for name in DAMAGED {
        damaged_gguf(name, 5_000);
        damaged_safetensors(name, 5_000);
        damaged_texts(name, 1_500);
    }
}

/// Both once made the tokenizers library panic.
#[test]
fn tokenizers_with_damaged_parts_are_refused() {
    let text = fs::read_to_string(golden("llama/shards/tokenizer.json")).unwrap();
    let decoder = "\"decoder\":{";
    let normalizer = "\"normalizer\":null";
    assert!(text.contains(decoder) && text.contains(normalizer));
    for damaged in [
        text.replacen(decoder, "\"decoder\":\u{0}{", 1),
        text.replacen(normalizer, r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#, 1),
    ] {
        let error = Tokenizer::from_json(&damaged).err().expect("an error").to_string();
        assert!(error.starts_with("tokenizer: tokenizer.json: ") && error.lines().count() == 1, "{error}");
    }
}

/// A file of a header that lies about what follows.
fn lying(counts: [u64; 2], more: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\x00\x00\x00".to_vec();
    bytes.extend(counts.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(more);
    bytes
}

#[test]
fn gguf_headers_that_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let text = |s: &str| [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat();
    let huge_array =
        [text("a"), 9u32.to_le_bytes().to_vec(), 8u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()];
    let nested = [text("a"), 9u32.to_le_bytes().to_vec(), 9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()];
    let alignment = [text("general.alignment"), 4u32.to_le_bytes().to_vec(), 0u32.to_le_bytes().to_vec()];
    let dims = |dims: [u64; 2]| {
        let dims: Vec<u8> = dims.iter().flat_map(|n| n.to_le_bytes()).collect();
        [text("token_embd.weight"), 2u32.to_le_bytes().to_vec(), dims, vec![0; 4], vec![0; 8]].concat()
    };
    for bytes in [
        Vec::new(),
        b"GGUF".to_vec(),
        b"GGML\x03\0\0\0".to_vec(),
        b"GGUF\x01\0\0\0".to_vec(),
        lying([u64::MAX, 0], &[]),
        lying([0, u64::MAX], &[0; 64]),
        lying([0, 1], &u64::MAX.to_le_bytes()),
        lying([0, 1], &[huge_array.concat(), vec![0; 64]].concat()),
        lying([0, 1], &[nested.concat(), vec![0; 64]].concat()),
        lying([0, 1], &alignment.concat()),
        lying([1, 0], &dims([u64::MAX, u64::MAX])),
        lying([1, 0], &dims([1 << 40, 1 << 40])),
        lying([1, 0], &dims([0, 0])),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Model::open(&path).err().expect("an error").to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let whole = gguf_bytes("llama/shards");
    for part in 0..40 {
        fs::write(&path, &whole[..whole.len() * part / 40]).unwrap();
        assert!(gguf::read(&path).is_err(), "{part} fortieths of a file");
    }
    assert!(gguf::read(Path::new("/nonexistent.gguf")).is_err());
}

/// Tables for all of it would take 275 GB.
#[test]
fn a_model_that_claims_an_absurd_context_needs_no_memory_for_it() {
    let shape = ModelShape { vocab: 8, hidden: 2, inner: 2, layers: 1, heads: 1, kv_heads: 1, context: 1 << 24 };
    let config = Config { head_dim: 4096, ..shape.config().unwrap() };
    let decoder = Decoder::new(&config, &random_weights(&config, 1));
    let hidden = decoder.forward(&mut [(&[1, 2, 3], &mut Cache::default())]).unwrap();
    assert!(hidden[0].len() == 6 && hidden[0].iter().all(|x| x.is_finite()));
}

/// Links to devices and pipes, which never end.
#[cfg(unix)]
#[test]
fn files_that_are_no_files_are_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let from = golden("llama/shards");
    let names =
        ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
    for name in names.into_iter().chain(["model.safetensors.index.json", "model-00001-of-00002.safetensors"]) {
        copy(&from, dir.path());
        let path = dir.path().join(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = Model::open(dir.path()).err().expect("an error").to_string();
        assert!(error.contains(name), "{name}: {error}");
        fs::remove_file(&path).unwrap();
    }
    let config = Config::from_json(&fs::read_to_string(from.join("config.json")).unwrap()).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        copy(&from.join("adapter"), dir.path());
        fs::remove_file(dir.path().join(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(name)).unwrap();
        let error = Adapter::load(dir.path(), &config).expect_err("an error").to_string();
        assert!(error.contains("not a regular file"), "{name}: {error}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
}
