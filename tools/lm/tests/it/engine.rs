//! Loss and gradients of the engine against PyTorch, PEFT and transformers.

use std::{path::PathBuf, sync::Arc};

use candle_core::{Device, Tensor};
use tunesmith_lm::{
    config::Config,
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        params::{Method, Slots},
        trained::Params,
    },
    lora::Adapter,
    weights::Weights,
};

pub type Golden = std::collections::HashMap<String, Tensor>;

pub fn golden(name: &str) -> (PathBuf, Config, Weights, Golden) {
    let dir = crate::golden(name);
    let config = Config::from_json(&std::fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    let weights = Weights::load(&dir, &config).unwrap();
    let expected = candle_core::safetensors::load(dir.join("expected.safetensors"), &Device::Cpu).unwrap();
    (dir, config, weights, expected)
}

pub fn row(expected: &Golden, i: usize) -> Sequence {
    let ids: Vec<i64> = expected[&format!("ids.{i}")].flatten_all().unwrap().to_vec1().unwrap();
    let labels: Vec<i64> = expected[&format!("labels.{i}")].flatten_all().unwrap().to_vec1().unwrap();
    let trained_from = labels.iter().position(|l| *l != -100).unwrap();
    Sequence::from(ids.iter().map(|id| *id as u32).collect(), trained_from)
}

/// |a − b| / |b| over a whole tensor.
pub fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |f: &mut dyn Iterator<Item = f64>| f.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-30)
}

/// The largest difference of two numbers; NaN, which is below no bound, where there is one.
pub fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, difference| if most.is_nan() || difference <= most { most } else { difference })
}

pub fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn lora_loss_and_gradients_equal_pytorch_and_peft() {
    for name in crate::MODELS {
        let (dir, config, weights, expected) = golden(name);
        let adapter = Adapter::load(&dir.join("adapter"), &config).unwrap();
        let slots = Slots::new(&config, &Method::Lora(adapter.config.clone())).unwrap();
        let params = Params::of_adapter(&slots, &config, &weights, &adapter);
        let graph = Graph::new(&config, &weights, slots.clone(), &params).unwrap();
        let rows = [row(&expected, 0), row(&expected, 1)];
        let targets: usize = rows.iter().map(Sequence::targets).sum();
        let batch = Arc::new(Batch::new(&[&rows[0], &rows[1]], |_| 1.0 / targets as f32));
        let (loss, figures) = graph.loss(&batch).unwrap();
        let want = f64::from(floats(&expected["loss"])[0]);
        assert!((figures.sum - want).abs() < 1e-5 * want, "{name}: loss {} instead of {want}", figures.sum);
        let store = loss.backward().unwrap();
        let mut worst = 0f64;
        for (i, var) in graph.variables() {
            let grad = floats(store.get(var).unwrap());
            for (tensor, range) in slots.layers[i].tensors() {
                let key = format!("grad.layers.{i}.{}", tensor.trim_end_matches(".weight"));
                let difference = relative(&grad[range], &floats(&expected[&key]));
                assert!(difference < 1e-4, "{name}: {key} differs by {difference}");
                worst = worst.max(difference);
            }
        }
        assert_eq!(graph.evaluate(&batch, &params).sum, figures.sum);
        println!("{name}: gradients of adapters differ by at most {worst:.1e}");
    }
}

#[test]
fn full_gradients_equal_pytorch() {
    full_gradients("llama/shards");
    crate::MODELS.into_iter().filter(|name| name.starts_with("families/")).for_each(full_gradients);
}

fn full_gradients(name: &str) {
    let (dir, config, weights, expected) = golden(name);
    let want = candle_core::safetensors::load(dir.join("full_grads.safetensors"), &Device::Cpu).unwrap();
    let slots = Slots::new(&config, &Method::Full).unwrap();
    let params = Params::initial(&slots, &config, &weights, &mut tunesmith_lm::rng::Rng::new(0, ""));
    let graph = Graph::new(&config, &weights, slots.clone(), &params).unwrap();
    let rows = [0, 1].map(|i| Sequence::from(row(&expected, i).tokens, 1));
    let targets: usize = rows.iter().map(Sequence::targets).sum();
    let batch = Arc::new(Batch::new(&[&rows[0], &rows[1]], |_| 1.0 / targets as f32));
    let (loss, figures) = graph.loss(&batch).unwrap();
    let loss_wanted = f64::from(floats(&want["loss"])[0]);
    assert!((figures.sum - loss_wanted).abs() < 1e-5 * loss_wanted.max(1.0), "{name}: loss {}", figures.sum);
    assert_eq!(graph.evaluate(&batch, &params).sum, figures.sum, "{name}");
    let store = loss.backward().unwrap();
    let (mut compared, mut worst) = (0, 0f64);
    let mut compare = |key: String, got: &[f32]| {
        let tensor = want.get(&key).unwrap_or_else(|| panic!("no {key} among {:?}", want.keys()));
        let difference = relative(got, &floats(tensor));
        assert!(difference < 1e-4, "{name}: {key} differs by {difference}");
        worst = worst.max(difference);
        compared += 1;
    };
    let layers = slots.layers.len();
    // The families' files hold only the gradients of the layers.
    let outer = want.contains_key("model.norm.weight");
    for (i, var) in graph.variables().filter(|(i, _)| *i < layers || outer) {
        let mut grad = floats(store.get(var).unwrap());
        match i.checked_sub(layers) {
            None => {
                for (name, range) in slots.layers[i].tensors() {
                    compare(format!("model.layers.{i}.{name}"), &grad[range]);
                }
            }
            Some(0) => compare("model.norm.weight".into(), &grad),
            Some(1) => {
                // Transformers gives the padding token's embedding (row 0) no gradient from its use as an input; here it
                // is a token.
                let row = ..config.hidden_size;
                grad[row].copy_from_slice(&floats(&want["model.embed_tokens.weight"])[row]);
                compare("model.embed_tokens.weight".into(), &grad);
            }
            _ => compare("lm_head.weight".into(), &grad),
        }
    }
    println!("{name}: {compared} full gradients differ by at most {worst:.1e}");
    assert_eq!(compared, want.len() - 1, "{name}");
}
