//! Blocks of numbers, beside those that llama-quantize makes (see ../golden/make_quants.py).

use std::fs;

use proptest::prelude::*;
use tunesmith_lm::{
    error::Error,
    gguf::{self, Quant, Written},
    matrix::{Matrix, Stored},
    model::Model,
    rng::Rng,
    weights::Numbers,
};

use crate::golden;

/// Writes a model and reads it back as it is stored.
fn written(model: &Model, quant: Quant) -> (Written, Model) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let written = gguf::write(&path, model, quant).unwrap();
    (written, Model::open(&path).unwrap())
}

fn opened(name: &str) -> Model {
    Model::open(&golden("quants").join(name)).unwrap()
}

/// Every matrix with its name.
pub fn matrices(model: &Model) -> Vec<(String, &Matrix)> {
    let named = model.weights.named(&model.config);
    let matrix = |(name, _, numbers)| match numbers {
        Numbers::Matrix(matrix) => Some((name, matrix)),
        Numbers::Vector(_) => None,
    };
    named.into_iter().filter_map(matrix).collect()
}

/// Root of the mean squared difference.
pub fn difference(a: &Matrix, b: &Matrix) -> f64 {
    let (a, b) = (a.floats(), b.floats());
    let squares = a.iter().zip(b.iter()).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

#[test]
fn q8_0_is_what_llama_quantize_makes() {
    let source = Model::open_once(&golden("quants/f16.gguf")).unwrap();
    let (written, ours) = written(&source, Quant::Q8_0);
    assert_eq!(written.not_quantized, Vec::<String>::new());
    assert!(ours.weights == opened("q8_0.gguf").weights);
}

#[test]
fn q4_k_m_is_no_further_off_than_what_llama_quantize_makes() {
    let source = Model::open_once(&golden("quants/f16.gguf")).unwrap();
    let (written, ours) = written(&source, Quant::Q4KM);
    let theirs = opened("q4_k_m.gguf");
    let mut large = Vec::new();
    for ((name, source), ((_, ours), (_, theirs))) in
        matrices(&source).into_iter().zip(matrices(&ours).into_iter().zip(matrices(&theirs)))
    {
        let ratio = difference(ours, source) / difference(theirs, source);
        assert!(ratio <= 1.02, "{name}: {ratio}");
        if ours.dtype() != Some(Stored::Q8_0) {
            assert_eq!(ours.dtype(), theirs.dtype(), "{name}");
            large.push((name, ours.dtype()));
        }
    }
    let down = |layer: usize| format!("model.layers.{layer}.mlp.down_proj.weight");
    assert_eq!(large, [(down(0), Some(Stored::Q4K)), (down(1), Some(Stored::Q6K))]);
    let mut small = vec!["token_embd.weight".to_string()];
    for layer in 0..2 {
        let parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"];
        small.extend(parts.map(|part| format!("blk.{layer}.{part}.weight")));
    }
    assert_eq!(written.not_quantized, small);
}

#[test]
fn the_size_of_a_file_is_known_before() {
    for name in ["quants/f16.gguf", "llama/wide", "llama/tied", "families/qwen3"] {
        let family = name.strip_prefix("families/");
        let model = family.map_or_else(|| Model::open(&golden(name)).unwrap(), crate::gguf::expressible);
        for quant in [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4KM] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            let bytes = gguf::write(&path, &model, quant).unwrap().bytes as usize;
            let known = quant.bytes(&model.config);
            // The header, and what fills tensors up to 32 bytes.
            assert!(known < bytes && bytes < known + 16_384, "{name} {quant:?}: {known} and {bytes}");
        }
    }
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let source = Model::open_once(&golden("quants/f16.gguf")).unwrap();
    for quant in [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4KM] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [1, 2, 5].map(|threads| {
            let path = dir.path().join("model.gguf");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gguf::write(&path, &source, quant)).unwrap();
            fs::read(path).unwrap()
        });
        assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2], "{quant:?}");
    }
}

#[test]
fn numbers_that_cannot_be_stored_are_refused_and_leave_no_file() {
    let (nan, infinite, large) = (f32::NAN, f32::NEG_INFINITY, -65520.0);
    for quant in [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4KM] {
        for (number, line) in [
            (nan, "has a number that is not finite"),
            (infinite, "has a number that is not finite"),
            (large, "has numbers too large for f16 and for scales in f16; use f32"),
        ] {
            let mut model = opened("f16.gguf");
            let mut values = model.weights.layers[1].down.floats().into_owned();
            values[4000] = number;
            model.weights.layers[1].down = values.into();
            let dir = tempfile::tempdir().unwrap();
            let done = gguf::write(&dir.path().join("model.gguf"), &model, quant);
            if quant == Quant::F32 && number == large {
                assert!(done.is_ok());
                continue;
            }
            match done {
                Err(Error::Gguf(refused)) => assert_eq!(refused, format!("blk.1.ffn_down.weight {line}")),
                other => panic!("{quant:?} {number}: {other:?}"),
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}

/// A model opened to be read once is not checked when it is opened, and is when it is written.
#[test]
fn a_number_of_a_file_that_is_not_finite_is_found_when_it_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.gguf");
    let mut bytes = fs::read(golden("quants/f16.gguf")).unwrap();
    let end = bytes.len() - 1024;
    bytes[end..end + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(Model::open(&path).is_err());
    let model = Model::open_once(&path).unwrap();
    let refused = gguf::write(&dir.path().join("model.gguf"), &model, Quant::Q8_0);
    assert!(matches!(&refused, Err(Error::Gguf(line)) if line.contains("not finite")), "{refused:?}");
}

proptest! {
    /// Rows of 256 of every size and shape: each number comes back within a step of its own range, and of what six and eight
    /// bits of the largest scale cannot say.
    #[test]
    fn what_is_read_back_is_near(seed: u64, scale in -20i32..14, tail in 1..6, shift in -2i32..3) {
        let mut model = opened("f16.gguf");
        let mut rng = Rng::new(seed, "quants");
        let scale = 2f32.powi(scale);
        let number = |_| (rng.normal().powi(tail).clamp(-3.0, 3.0) + shift as f32) * scale;
        let values: Vec<f32> = (0..model.weights.layers[0].down.len()).map(number).collect();
        model.weights.layers.iter_mut().for_each(|layer| layer.down = values.clone().into());
        for (quant, layer, span) in [(Quant::Q8_0, 0, 32), (Quant::Q4KM, 0, 256), (Quant::Q4KM, 1, 256)] {
            let (_, back) = written(&model, quant);
            let down = &back.weights.layers[layer].down;
            let steps = match down.dtype().unwrap() {
                Stored::Q8_0 => 254.0,
                Stored::Q4K => 15.0,
                Stored::Q6K => 32.0,
                other => panic!("{other:?}"),
            };
            for (values, back) in values.chunks(span).zip(down.floats().chunks(span)) {
                let low = values.iter().fold(0f32, |m, x| m.min(*x));
                let high = values.iter().fold(0f32, |m, x| m.max(*x));
                // And the least that f16 can say of a scale, as many times as a number may hold it.
                let allowed = 1.2 * (high - low) / steps + 2f32.powi(-25) * 128.0 * 32.0;
                for (a, b) in values.iter().zip(back) {
                    prop_assert!((a - b).abs() <= allowed, "{quant:?} {layer}: {a} became {b}, {allowed} is allowed");
                }
            }
        }
    }
}
