//! The decoder made of candle's operations against the fused one, and against PyTorch and PEFT.

use std::sync::Arc;

use candle_core::{DType, Device};
use proptest::{prelude::*, test_runner::RngSeed};
use tunesmith_lm::{
    config::{Config, Sliding},
    engine::{
        Engine,
        batch::{Batch, Sequence},
        composed::Composed,
        device::Compute,
        graph::Graph,
        params::{Method, Slots, random_weights},
        trained::Params,
    },
    lora::{Adapter, LoraConfig, Targets},
    rng::Rng,
    train::{Control, Objective, Setup, Spec, memory::Memory, train, train_from},
    weights::Weights,
};

use crate::{
    engine::{Golden, floats, golden, relative, row},
    methods,
};

const CPU: Compute = Compute { device: Device::Cpu, dtype: DType::F32 };

/// A model and what is trained of it.
struct Case<'a> {
    config: &'a Config,
    weights: &'a Weights,
    slots: Slots,
    params: Params,
}

impl Case<'_> {
    fn composed(&self) -> Composed {
        Composed::new(self.config, self.weights, self.slots.clone(), &self.params, &CPU).unwrap()
    }

    fn fused(&self) -> Graph {
        Graph::new(self.config, self.weights, self.slots.clone(), &self.params).unwrap()
    }

    /// The largest difference of a trained tensor's gradient between both engines.
    fn compare(&self, batch: Batch) -> f64 {
        self.within(1e-4, batch)
    }

    fn within(&self, most: f64, batch: Batch) -> f64 {
        let (batch, fused, mut composed) = (Arc::new(batch), self.fused(), self.composed());
        let (want, mut worst) = (gradients(&fused, &batch), 0f64);
        for recompute in [false, true] {
            composed.recompute = recompute;
            let got = gradients(&composed, &batch);
            assert!((got.0 - want.0).abs() <= 1e-4 * want.0.abs(), "loss {} instead of {}", got.0, want.0);
            for ((i, got), (_, want)) in got.1.iter().zip(&want.1) {
                for (name, range) in self.tensors(*i) {
                    let range = range.start..range.end.min(got.len());
                    let (part, wanted) = (&got[range.clone()], &want[range]);
                    // What nearly cancels is only as exact as the terms of its sum.
                    let (off, floor) = (distance(part, wanted), 1e-3 * length(want));
                    let difference = off / (length(wanted) + floor).max(1e-30);
                    assert!(difference < most, "{name} differs by {difference}");
                    worst = worst.max(difference);
                }
            }
        }
        let (mine, theirs) = (composed.evaluate(&batch, &self.params).unwrap(), fused.evaluate(&batch, &self.params));
        assert!((mine.sum - theirs.sum).abs() <= 1e-4 * theirs.sum.abs());
        assert_eq!(mine.log_p.len(), theirs.log_p.len());
        assert!(mine.log_p.iter().zip(&theirs.log_p).all(|(a, b)| (a - b).abs() < 1e-4));
        worst
    }

    fn tensors(&self, i: usize) -> Vec<(String, std::ops::Range<usize>)> {
        match self.slots.layers.get(i) {
            Some(layer) => layer.tensors(),
            None => vec![(format!("variable {i}"), 0..usize::MAX)],
        }
    }
}

/// Loss and the gradient of each variable.
fn gradients(engine: &dyn Engine, batch: &Arc<Batch>) -> (f64, Vec<(usize, Vec<f32>)>) {
    let (loss, figures) = engine.loss(batch).unwrap();
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - figures.sum).abs() <= 1e-5 * figures.sum.abs());
    let store = loss.backward().unwrap();
    let grads = engine.trained().iter().map(|(i, var)| (i, floats(store.get(var).unwrap())));
    (figures.sum, grads.collect())
}

fn length(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

fn batch(rows: &[Sequence]) -> Batch {
    let targets: usize = rows.iter().map(Sequence::targets).sum();
    Batch::new(&rows.iter().collect::<Vec<_>>(), |_| 1.0 / targets as f32)
}

fn adapter<'a>(config: &'a Config, weights: &'a Weights, adapter: &Adapter) -> Case<'a> {
    let slots = Slots::new(config, &Method::Lora(adapter.config.clone())).unwrap();
    let params = Params::of_adapter(&slots, config, weights, adapter);
    Case { config, weights, slots, params }
}

fn golden_rows(expected: &Golden) -> [Sequence; 2] {
    [row(expected, 0), row(expected, 1)]
}

#[test]
fn every_family_has_the_gradients_of_the_fused_layers_and_of_pytorch() {
    for name in crate::MODELS {
        let (dir, config, weights, expected) = golden(name);
        let loaded = Adapter::load(&dir.join("adapter"), &config).unwrap();
        let mut case = adapter(&config, &weights, &loaded);
        let rows = golden_rows(&expected);
        let worst = case.compare(batch(&rows));
        let (loss, grads) = gradients(&case.composed(), &Arc::new(batch(&rows)));
        let want = f64::from(floats(&expected["loss"])[0]);
        assert!((loss - want).abs() < 1e-5 * want, "{name}: loss {loss} instead of {want}");
        let mut against = 0f64;
        for (i, grad) in grads {
            for (tensor, range) in case.slots.layers[i].tensors() {
                let key = format!("grad.layers.{i}.{}", tensor.trim_end_matches(".weight"));
                against = against.max(relative(&grad[range], &floats(&expected[&key])));
            }
        }
        assert!(against < 1e-4, "{name}: {against}");
        let dropped = case.with_dropout(0.3).compare(batch(&rows).with_dropout(3, 5, 0));
        let slots = Slots::new(&config, &Method::Full).unwrap();
        let params = Params::initial(&slots, &config, &weights, &mut Rng::new(0, ""));
        let full = Case { config: &config, weights: &weights, slots, params }.compare(batch(&rows));
        println!("{name}: adapters {worst:.1e}, PyTorch {against:.1e}, dropout {dropped:.1e}, full {full:.1e}");
    }
}

impl Case<'_> {
    fn with_dropout(&mut self, p: f32) -> &Self {
        self.slots.layers.iter_mut().for_each(|layer| layer.dropout = p);
        self
    }
}

#[test]
fn every_method_has_the_gradients_of_the_fused_layers_and_of_peft() {
    for name in methods::NAMES {
        let methods::Case { config, weights, base, adapter: loaded, expected } = methods::case(name);
        let mut case = adapter(&config, &weights, &loaded);
        let rows = golden_rows(&base);
        let worst = case.compare(batch(&rows));
        let (loss, grads) = gradients(&case.composed(), &Arc::new(batch(&rows)));
        let want = f64::from(floats(&expected["loss"])[0]);
        assert!((loss - want).abs() < 1e-5 * want, "{name}: loss {loss} instead of {want}");
        let mut against = 0f64;
        for (i, mut grad) in grads {
            for (key, range) in methods::names(&case.slots, i) {
                let want = floats(&expected[&key]);
                if key.contains("embed_tokens") {
                    // The padding token, see the test of full gradients.
                    grad[..config.hidden_size].copy_from_slice(&want[..config.hidden_size]);
                }
                against = against.max(relative(&grad[range.start..range.end.min(grad.len())], &want));
            }
        }
        assert!(against < 1e-4, "{name}: {against}");
        let dropped = case.with_dropout(0.25).compare(batch(&rows).with_dropout(1, 2, 3));
        println!("{name}: fused {worst:.1e}, PEFT {against:.1e}, dropout {dropped:.1e}");
    }
}

#[test]
fn a_stored_base_is_decoded_on_the_device() {
    use tunesmith_lm::{gguf, model::Model};
    let model = Model::open(&crate::golden("llama/wide")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    gguf::write(&path, &model, gguf::Quant::Q8_0).unwrap();
    let model = Model::open(&path).unwrap();
    let lora = LoraConfig { r: 3, use_dora: true, ..LoraConfig::default() };
    let case = random_case(&model.config, &model.weights, &Method::Lora(lora), 4);
    let rows = Sequence::from((0..12).map(|i| i * 19 % 300).collect(), 4);
    case.compare(batch(&[rows]));
}

/// Trained numbers that are all different from those of the base, so that every gradient has something to say.
fn random_case<'a>(config: &'a Config, weights: &'a Weights, method: &Method, seed: u64) -> Case<'a> {
    let slots = Slots::new(config, method).unwrap();
    let mut rng = Rng::new(seed, "");
    let mut params = Params::initial(&slots, config, weights, &mut rng);
    params.vectors_mut().flatten().for_each(|x| *x += 0.1 * rng.normal());
    Case { config, weights, slots, params }
}

fn configs() -> impl Strategy<Value = Config> {
    // A norm of two numbers is often one of nearly zero, which would multiply the rounding of both engines.
    let sizes = (1usize..4, 1usize..3, 1usize..3, 4usize..7, 2usize..5);
    (sizes, any::<[bool; 5]>(), 1usize..9, proptest::sample::select(vec!["llama", "mistral", "qwen2", "qwen3"]))
        .prop_map(|((layers, kv, each, half, width), [bias, tied, scaled, slides, mixed], window, family)| {
            let (_, mut config, ..) = golden(match family {
                "llama" if scaled => "families/llama3",
                "llama" => "llama/tied",
                "mistral" => "families/mistral",
                "qwen2" => "families/qwen2",
                _ => "families/qwen3",
            });
            config.num_hidden_layers = layers;
            config.num_key_value_heads = kv;
            config.num_attention_heads = kv * each;
            config.head_dim = half * 2;
            config.hidden_size = 8 * width;
            config.intermediate_size = 4 + 3 * width;
            config.vocab_size = 40;
            config.max_position_embeddings = 64;
            config.tie_word_embeddings = tied;
            config.biases.o |= bias;
            config.biases.mlp |= bias;
            let each_layer = (0..layers).map(|layer| !mixed || layer % 2 == 0).collect();
            config.sliding = slides.then_some(Sliding { window, layers: each_layer, rope_theta: None });
            config
        })
}

fn lora_methods() -> impl Strategy<Value = Method> {
    let targets = prop_oneof![
        Just(Targets::all_linear()),
        Just(Targets::Names(vec!["q_proj".into(), "down_proj".into()])),
        Just(Targets::Pattern(r".*layers\.0\..*".into())),
    ];
    let saved = prop_oneof![
        Just(vec![]),
        Just(vec!["lm_head".to_owned()]),
        Just(vec!["embed_tokens".to_owned(), "norm".to_owned()]),
        Just(vec!["mlp.up_proj".to_owned(), "input_layernorm".to_owned()]),
    ];
    (1usize..5, any::<[bool; 2]>(), targets, saved, prop_oneof![Just(0.0), Just(0.3)]).prop_map(
        |(r, [use_dora, use_rslora], target_modules, modules_to_save, lora_dropout)| {
            let lora_alpha = 5.0;
            let lora = LoraConfig { r, lora_alpha, use_dora, use_rslora, target_modules, ..LoraConfig::default() };
            Method::Lora(LoraConfig { modules_to_save, lora_dropout, ..lora })
        },
    )
}

fn sequences() -> impl Strategy<Value = Vec<Sequence>> {
    let sequence = (proptest::collection::vec(0u32..40, 2..30), any::<[u8; 3]>()).prop_map(|(tokens, cuts)| {
        let [a, b, c] = cuts.map(|cut| usize::from(cut) % tokens.len());
        let last = tokens.len() - 1;
        Sequence::new(tokens, vec![a.min(b)..a.max(b), c..c + 1, last..last + 1])
    });
    proptest::collection::vec(sequence, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn random_models_methods_and_batches_have_the_same_gradients(
        config in configs(),
        method in prop_oneof![1 => Just(Method::Full), 4 => lora_methods()],
        rows in sequences(),
        seed in any::<u64>(),
    ) {
        let weights = random_weights(&config, seed);
        let case = random_case(&config, &weights, &method, seed);
        case.within(1e-3, batch(&rows).with_dropout(seed, 1, 0));
    }
}

#[test]
fn nothing_but_what_is_trained_has_a_gradient() {
    let (_, config, weights, expected) = golden("families/qwen2");
    let modules_to_save = vec!["embed_tokens".to_owned()];
    let lora = LoraConfig { r: 2, use_dora: true, lora_dropout: 0.1, modules_to_save, ..LoraConfig::default() };
    let case = random_case(&config, &weights, &Method::Lora(lora), 1);
    let batch = Arc::new(batch(&golden_rows(&expected)).with_dropout(1, 1, 0));
    let composed = case.composed();
    let store = composed.loss(&batch).unwrap().0.backward().unwrap();
    assert_eq!(store.get_ids().count(), composed.trained().iter().count());
}

#[test]
fn more_targets_than_a_chunk_holds_and_sequences_of_all_lengths_are_the_same() {
    let (_, mut config, weights, _) = golden("families/qwen3");
    config.max_position_embeddings = 256;
    let mut rng = Rng::new(9, "");
    let mut tokens = |n: usize| (0..n).map(|_| rng.next_u64() as u32 % config.vocab_size as u32).collect::<Vec<_>>();
    let rows: Vec<_> = [200, 2, 3, 100, 40, 90, 41, 7].into_iter().map(|n| Sequence::from(tokens(n), 1)).collect();
    assert!(rows.iter().map(Sequence::targets).sum::<usize>() > 256);
    let case = random_case(&config, &weights, &Method::Full, 1);
    println!("differ by at most {:.1e}", case.compare(batch(&rows)));
}

/// Checks all that is trained in every method on `on`, within `most` of the fused layers.
fn close(on: &Compute, most: f64) {
    let lora = |use_dora, modules_to_save| {
        let lora = LoraConfig { r: 4, use_dora, modules_to_save, lora_dropout: 0.2, ..LoraConfig::default() };
        Method::Lora(lora)
    };
    let saved = vec!["lm_head".to_owned(), "embed_tokens".to_owned(), "norm".to_owned()];
    for method in [lora(false, vec![]), lora(true, saved), Method::Full] {
        for name in ["families/llama3", "families/mistral", "families/qwen2", "families/qwen3"] {
            let (_, config, weights, expected) = golden(name);
            let case = random_case(&config, &weights, &method, 3);
            let batch = Arc::new(batch(&golden_rows(&expected)).with_dropout(1, 1, 0));
            let composed = Composed::new(&config, &weights, case.slots.clone(), &case.params, on).unwrap();
            let (got, want) = (gradients(&composed, &batch), gradients(&case.fused(), &batch));
            let mut worst = (got.0 - want.0).abs() / want.0;
            for ((_, got), (_, want)) in got.1.iter().zip(&want.1) {
                worst = worst.max(relative(got, want));
            }
            assert!(worst < most, "{name}, {on:?}: {worst}");
            println!("{name}, {on:?}: {worst:.1e}");
        }
    }
}

#[test]
fn sixteen_bits_differ_by_their_rounding_alone() {
    // The CPU has no product of bf16.
    close(&Compute { device: Device::Cpu, dtype: DType::F16 }, 2e-2);
}

#[cfg(any(feature = "cuda", feature = "metal"))]
#[test]
fn other_devices_compute_the_same() {
    let name = if cfg!(feature = "cuda") { "cuda" } else { "metal" };
    let device = tunesmith_lm::engine::device::device(name).unwrap();
    close(&Compute { device: device.clone(), dtype: DType::F32 }, 1e-3);
    close(&Compute { device, dtype: DType::BF16 }, 1e-1);
}

#[test]
fn a_training_run_has_the_losses_of_the_fused_layers() {
    let (_, config, weights, _) = golden("llama/tied");
    let mut rng = Rng::new(2, "");
    let vocab = config.vocab_size as u32;
    let mut rows = |n: usize| -> Vec<Sequence> {
        let mut tokens = |len: usize| (0..len).map(|_| rng.next_u64() as u32 % vocab).collect();
        (0..n).map(|i| Sequence::from(tokens(5 + i % 7), 2)).collect()
    };
    let (rows, valid) = (rows(24), rows(6));
    let spec = Spec { epochs: 4, batch_size: 8, micro_tokens: 40, learning_rate: 5e-3, ..Spec::default() };
    let lora = LoraConfig { r: 4, lora_dropout: 0.1, use_dora: true, ..LoraConfig::default() };
    let dpo = Spec { objective: Objective::Dpo { beta: 0.5 }, ..spec.clone() };
    for (method, spec) in [(Method::Lora(lora.clone()), spec.clone()), (Method::Full, spec), (Method::Lora(lora), dpo)]
    {
        let mut on = |_| Ok(());
        let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
        let (model, data) = ((&config, &weights), (&rows[..], &valid[..]));
        let fused = train(model, (&method, &spec), data, &mut control).unwrap().report;
        let composed = train_from(&Setup { start: None, on: Some(&CPU) }, model, (&method, &spec), data, &mut control)
            .unwrap()
            .report;
        assert_eq!((composed.steps, composed.audit), (fused.steps, fused.audit));
        let curves = [(&composed.curve, &fused.curve), (&composed.valid_curve, &fused.valid_curve)];
        for (got, want) in curves.into_iter().flat_map(|(got, want)| got.iter().zip(want)) {
            assert!((got.1 - want.1).abs() < 1e-4 * want.1, "{got:?} instead of {want:?}");
        }
    }
}
