//! Every way of training an adapter, against PEFT.

use std::{collections::BTreeSet, fs, sync::Arc};

use tunesmith_lm::{
    config::Config,
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        infer::{Cache, Decoder},
        params::{Method, Slots},
        trained::Params,
    },
    generate::Session,
    gguf::{self, Quant},
    lora::{Adapter, LoraConfig},
    matrix::{Matrix, Stored},
    model::Model,
    rng::Rng,
    weights::{Dtype, LayerWeights, Weights},
};

use crate::engine::{Golden, floats, furthest, golden, relative, row};

pub const NAMES: [&str; 8] = [
    "dora",
    "patterns",
    "regex",
    "saved_embedding_of_tied",
    "saved_head_of_tied",
    "saved_tied",
    "saved_untied",
    "upper_layers",
];

pub struct Case {
    pub config: Config,
    pub weights: Weights,
    pub base: Golden,
    pub adapter: Adapter,
    pub expected: Golden,
}

pub fn case(name: &str) -> Case {
    let dir = crate::golden("methods").join(name);
    let (_, config, weights, base) = golden(&fs::read_to_string(dir.join("base.txt")).unwrap());
    let adapter = Adapter::load(&dir.join("adapter"), &config).unwrap();
    let expected = candle_core::safetensors::load(dir.join("expected.safetensors"), &candle_core::Device::Cpu).unwrap();
    Case { config, weights, base, adapter, expected }
}

/// The name that PEFT gives the gradient of variable `index`, by part.
pub fn names(slots: &Slots, index: usize) -> Vec<(String, std::ops::Range<usize>)> {
    let name = |(name, range): (String, std::ops::Range<usize>)| {
        let end = if name.ends_with("lora_magnitude_vector") { ".weight" } else { "" };
        (format!("grad.model.layers.{index}.{name}{end}"), range)
    };
    match index.checked_sub(slots.layers.len()) {
        None => slots.layers[index].tensors().into_iter().map(name).collect(),
        Some(i) => {
            let name = ["model.norm", "model.embed_tokens", "lm_head"][i];
            vec![(format!("grad.{name}.weight"), 0..usize::MAX)]
        }
    }
}

#[test]
fn loss_and_gradients_of_every_method_equal_peft() {
    for name in NAMES {
        let Case { config, weights, base, adapter, expected } = case(name);
        let slots = Slots::new(&config, &Method::Lora(adapter.config.clone())).unwrap();
        let params = Params::of_adapter(&slots, &config, &weights, &adapter);
        assert_eq!(params.adapter(&adapter.config, &slots), adapter, "{name}");
        let rows = [row(&base, 0), row(&base, 1)];
        let targets: usize = rows.iter().map(Sequence::targets).sum();
        let batch = Arc::new(Batch::new(&[&rows[0], &rows[1]], |_| 1.0 / targets as f32));
        let mut graph = Graph::new(&config, &weights, slots.clone(), &params).unwrap();
        let mut worst = 0f64;
        for recompute in [false, true] {
            graph.recompute = recompute;
            let (loss, figures) = graph.loss(&batch).unwrap();
            let want = f64::from(floats(&expected["loss"])[0]);
            assert!((figures.sum - want).abs() < 1e-5 * want, "{name}: loss {} instead of {want}", figures.sum);
            let store = loss.backward().unwrap();
            let mut compared = BTreeSet::new();
            for (i, var) in graph.variables() {
                let mut grad = floats(store.get(var).unwrap());
                for (key, range) in names(&slots, i) {
                    let want = floats(expected.get(&key).unwrap_or_else(|| panic!("{name}: PEFT has no {key}")));
                    let part = range.start..range.end.min(grad.len());
                    if key.contains("embed_tokens") {
                        // The padding token, see the test of full gradients.
                        grad[..config.hidden_size].copy_from_slice(&want[..config.hidden_size]);
                    }
                    let difference = relative(&grad[part], &want);
                    assert!(difference < 1e-4, "{name}: {key} differs by {difference}");
                    worst = worst.max(difference);
                    compared.insert(key);
                }
            }
            let all: BTreeSet<String> = expected.keys().filter(|key| key.starts_with("grad.")).cloned().collect();
            assert_eq!(compared, all, "{name}");
        }
        assert_eq!(graph.evaluate(&batch, &params).sum, graph.loss(&batch).unwrap().1.sum, "{name}");
        println!("{name}: gradients differ by at most {worst:.1e}");
    }
}

#[test]
fn merged_models_of_every_method_equal_peft_and_files_keep_their_meaning() {
    for name in NAMES {
        let Case { config, weights, base, adapter, expected } = case(name);
        let dir = tempfile::tempdir().unwrap();
        adapter.save(dir.path(), &config).unwrap();
        assert_eq!(Adapter::load(dir.path(), &config).unwrap(), adapter, "{name}");
        let file = "adapter_model.safetensors";
        let theirs = crate::golden("methods").join(name).join("adapter").join(file);
        assert!(fs::read(dir.path().join(file)).unwrap() == fs::read(theirs).unwrap(), "{name}");
        let beside = Decoder::with_adapter(&config, &weights, &adapter).unwrap();
        let (config, merged) = adapter.merge(&weights, &config).unwrap();
        assert_eq!(config.tie_word_embeddings, name == "dora" || name == "regex" || name == "upper_layers", "{name}");
        // As another program finds it: in files.
        merged.save(dir.path(), &config, Dtype::F32).unwrap();
        let config = Config::from_json(&config.to_json()).unwrap();
        let reread = Weights::load(dir.path(), &config).unwrap();
        assert!(reread == merged, "{name}");
        let decoder = Decoder::new(&config, &reread);
        let mut worst = 0f32;
        for i in 0..2 {
            let tokens = row(&base, i).tokens;
            let hidden = decoder.forward(&mut [(&tokens, &mut Cache::default())]).unwrap();
            let mut logits = Vec::new();
            decoder.head().logits(&hidden[0], &mut logits);
            let want = floats(&expected[&format!("logits.{i}")]);
            let hidden = beside.forward(&mut [(&tokens, &mut Cache::default())]).unwrap();
            let mut unmerged = Vec::new();
            beside.head().logits(&hidden[0], &mut unmerged);
            for logits in [&logits, &unmerged] {
                let difference = furthest(logits, &want);
                assert!(difference < 1e-4, "{name}: logits differ by {difference}");
                worst = worst.max(difference);
            }
        }
        println!(
            "{name}: logits of the merged model, and of the adapter beside its base, differ by at most {worst:.1e}"
        );
    }
}

/// What is opened stays as it is stored, also f32 that does not begin where the processor can use it.
#[test]
fn a_base_stays_as_it_is_stored() {
    let model = Model::open(&crate::golden("llama/tied")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    model.weights.save(dir.path(), &model.config, Dtype::F32).unwrap();
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    // One byte more of header moves every number off its place.
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    bytes.splice(..8, (length + 1).to_le_bytes());
    bytes.insert(8 + length as usize, b' ');
    std::fs::write(&path, bytes).unwrap();
    let moved = Weights::load(dir.path(), &model.config).unwrap();
    for (weights, stored) in [(model.weights.clone(), Stored::BF16), (moved, Stored::F32)] {
        assert_eq!(weights.layers[0].q.dtype(), Some(stored));
        let kinds = weights.layers.iter().flat_map(|layer| layer.linears().map(|matrix| matrix.dtype()));
        assert!(kinds.chain([weights.embed.dtype()]).all(|kind| kind == Some(stored)));
        assert!(weights == model.weights);
    }
}

#[test]
fn a_quantised_or_mapped_base_trains_as_its_decoded_numbers_do() {
    let model = Model::open(&crate::golden("llama/wide")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (quant, stored) in [(Quant::Q8_0, Stored::Q8_0), (Quant::F16, Stored::F16), (Quant::F32, Stored::F32)] {
        let path = dir.path().join("model.gguf");
        gguf::write(&path, &model, quant).unwrap();
        let kept = Model::open(&path).unwrap();
        same_gradients(&decoded(&kept), &kept, stored);
    }
    same_gradients(&decoded(&model), &model, Stored::BF16);
}

/// The same model with its numbers in f32.
pub fn decoded(model: &Model) -> Model {
    let (mut model, decoded) = (model.clone(), |matrix: &Matrix| matrix.floats().into_owned().into());
    let Weights { embed, layers, head, .. } = &mut model.weights;
    for LayerWeights { q, k, v, o, gate, up, down, .. } in layers {
        [q, k, v, o, gate, up, down].into_iter().for_each(|matrix| *matrix = decoded(matrix));
    }
    [embed].into_iter().chain(head).for_each(|matrix| *matrix = decoded(matrix));
    model
}

/// Loss and gradients of DoRA are the same whether matrices are decoded at once or stay as they are stored.
pub fn same_gradients(decoded: &Model, stored: &Model, dtype: Stored) {
    // A file's f32 is used where it is.
    let decoding = Some(dtype).filter(|dtype| *dtype != Stored::F32);
    assert_eq!((stored.weights.layers[0].q.dtype(), decoded.weights.layers[0].q.dtype()), (decoding, None));
    assert!(stored.weights.bytes(&stored.config) <= decoded.weights.bytes(&decoded.config));
    let lora = LoraConfig { r: 3, use_dora: true, ..LoraConfig::default() };
    let slots = Slots::new(&decoded.config, &Method::Lora(lora)).unwrap();
    let mut params = Params::initial(&slots, &decoded.config, &decoded.weights, &mut Rng::new(1, ""));
    let mut rng = Rng::new(2, "");
    params.layers.iter_mut().flatten().for_each(|x| *x += 0.1 * rng.normal());
    let rows = Sequence::from((0..12).map(|i| i * 19 % 300).collect(), 4);
    let batch = Arc::new(Batch::new(&[&rows], |_| 0.1));
    let gradients = |model: &Model| {
        let graph = Graph::new(&model.config, &model.weights, slots.clone(), &params).unwrap();
        let (loss, figures) = graph.loss(&batch).unwrap();
        let store = loss.backward().unwrap();
        let grads = graph.variables().flat_map(|(_, var)| floats(store.get(var).unwrap())).collect::<Vec<_>>();
        (figures.sum, grads)
    };
    let (want, got) = (gradients(decoded), gradients(stored));
    assert!((want.0 - got.0).abs() < 1e-5 * want.0, "{dtype:?}: loss {} and {}", want.0, got.0);
    let difference = relative(&got.1, &want.1);
    assert!(difference < 1e-5, "{dtype:?}: {difference}");
    println!("{dtype:?}: loss {} and {}, gradients differ by {difference:.1e}", want.0, got.0);
}

#[test]
fn a_stored_base_gives_the_same_gradients_in_many_shards_with_dropout_and_where_layers_are_done_again() {
    let stored = Model::open(&crate::golden("llama/tied")).unwrap();
    let decoded = decoded(&stored);
    let rows: Vec<_> =
        (0..6).map(|i| Sequence::from((0..9 + i).map(|j| (i * 31 + j * 19) % 300).collect(), 2)).collect();
    let rows: Vec<&Sequence> = rows.iter().collect();
    for (lora_dropout, use_dora) in [(0.0, false), (0.0, true), (0.3, false), (0.3, true)] {
        let lora = LoraConfig { r: 3, lora_dropout, use_dora, ..LoraConfig::default() };
        let slots = Slots::new(&decoded.config, &Method::Lora(lora)).unwrap();
        let mut params = Params::initial(&slots, &decoded.config, &decoded.weights, &mut Rng::new(1, ""));
        let mut rng = Rng::new(2, "");
        params.layers.iter_mut().flatten().for_each(|x| *x += 0.1 * rng.normal());
        let batch = Arc::new(Batch::new(&rows, |_| 0.1).with_dropout(3, 1, 0));
        let gradients = |model: &Model, recompute: bool| {
            let mut graph = Graph::new(&model.config, &model.weights, slots.clone(), &params).unwrap();
            graph.recompute = recompute;
            let (loss, figures) = graph.loss(&batch).unwrap();
            let store = loss.backward().unwrap();
            let grads = graph.variables().flat_map(|(_, var)| floats(store.get(var).unwrap())).collect::<Vec<_>>();
            let evaluated = graph.evaluate(&batch, &params).sum;
            assert!(lora_dropout > 0.0 || evaluated == figures.sum, "evaluated {evaluated}, trained {}", figures.sum);
            (figures.sum, grads)
        };
        let want = gradients(&decoded, false);
        for (model, recompute) in [(&decoded, true), (&stored, false), (&stored, true)] {
            let got = gradients(model, recompute);
            assert!((want.0 - got.0).abs() < 1e-5 * want.0, "loss {} and {}", want.0, got.0);
            let difference = relative(&got.1, &want.1);
            assert!(difference < 1e-5, "dropout {lora_dropout}, DoRA {use_dora}, again {recompute}: {difference}");
        }
    }
}

#[test]
fn an_adapter_on_a_stored_base_generates_what_the_merged_model_does() {
    for name in ["llama/tied", "families/gemma3"] {
        let model = Model::open(&crate::golden(name)).unwrap();
        let adapter = Adapter::load(&model.path.join("adapter"), &model.config).unwrap();
        let logits = |model: &Model| Session::new(model, Some(&adapter)).unwrap().logits(&[5, 6, 7, 8]).unwrap();
        let difference = furthest(&logits(&model), &logits(&decoded(&model)));
        assert!(difference > 0.0 && difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn an_adapter_that_overflows_is_refused_beside_a_base_as_it_is_in_one() {
    let model = Model::open(&crate::golden("llama/tied")).unwrap();
    let mut adapter = Adapter::load(&model.path.join("adapter"), &model.config).unwrap();
    assert_eq!(adapter.overflowing(&model.config).unwrap(), None);
    let (name, pair) = adapter.tensors.iter_mut().next().unwrap();
    let name = name.clone();
    pair.a.fill(1e20);
    pair.b.fill(1e20);
    for (model, said) in [(decoded(&model), "overflows when it is merged"), (model, "overflows")] {
        let refused = Session::new(&model, Some(&adapter)).err().unwrap().to_string();
        assert!(refused.ends_with(&format!("{name} {said}")), "{refused}");
    }
}

#[test]
fn gradients_with_dropout_and_dora_are_those_of_small_differences() {
    let (_, config, weights, base) = golden("families/qwen2");
    let rows = row(&base, 1);
    let targets = rows.targets();
    let batch = Arc::new(Batch::new(&[&rows], |_| 1.0 / targets as f32).with_dropout(3, 1, 0));
    for use_dora in [false, true] {
        let lora = LoraConfig { r: 2, lora_dropout: 0.3, use_dora, ..LoraConfig::default() };
        let slots = Slots::new(&config, &Method::Lora(lora)).unwrap();
        let mut params = Params::initial(&slots, &config, &weights, &mut Rng::new(1, ""));
        let mut rng = Rng::new(2, "");
        params.layers.iter_mut().flatten().for_each(|x| *x += 0.1 * rng.normal());
        let loss = |params: &Params| {
            let graph = Graph::new(&config, &weights, slots.clone(), params).unwrap();
            graph.loss(&batch).unwrap().1.sum
        };
        let graph = Graph::new(&config, &weights, slots.clone(), &params).unwrap();
        let store = graph.loss(&batch).unwrap().0.backward().unwrap();
        for (i, var) in graph.variables() {
            let grad = floats(store.get(var).unwrap());
            for (name, range) in slots.layers[i].tensors() {
                // DoRA's norm is not differentiated, so that only its magnitude has the slope of the loss.
                if use_dora && !name.ends_with("magnitude_vector") {
                    continue;
                }
                let part = &grad[range.clone()];
                let norm = part.iter().map(|x| x * x).sum::<f32>().sqrt();
                let moved = |by: f32| {
                    let mut params = params.clone();
                    params.layers[i][range.clone()].iter_mut().zip(part).for_each(|(x, g)| *x += by * g / norm);
                    loss(&params)
                };
                let slope = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((slope / f64::from(norm) - 1.0).abs() < 2e-2, "{name}: {slope} instead of {norm}");
            }
        }
    }
}
