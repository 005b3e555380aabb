//! Behaviour of the training loop on small random models.

use std::sync::Arc;

use tunesmith_lm::{
    config::Config,
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        params::{Method, Slots, random_weights},
        trained::Params,
    },
    lora::{Adapter, LoraConfig},
    model::Model,
    optim::Schedule,
    pretrain::ModelShape,
    rng::Rng,
    rows::Encoder,
    train::{
        Checkpoint, Control, Objective, Progress, Select, Setup, Spec, Stopped, Trained, Weighting, memory::Memory,
        train, train_from,
    },
    weights::Weights,
};

pub fn small() -> (Config, Weights) {
    let shape = ModelShape { vocab: 64, hidden: 32, inner: 48, layers: 2, heads: 4, kv_heads: 2, context: 64 };
    let config = shape.config().unwrap();
    let weights = random_weights(&config, 3);
    (config, weights)
}

pub fn lora() -> Method {
    Method::Lora(LoraConfig { r: 4, lora_alpha: 8.0, ..LoraConfig::default() })
}

/// Rows whose answer is a function of their first token, so that there is something to learn.
pub fn rows(n: usize, seed: u64) -> Vec<Sequence> {
    let mut rng = Rng::new(seed, "rows");
    let row = |_| {
        let first = 8 + rng.below(8) as u32;
        let mut tokens = vec![first];
        tokens.extend((0..2 + rng.below(5)).map(|_| 20 + rng.below(20) as u32));
        let trained_from = tokens.len();
        tokens.extend([first + 40, first + 30, 4]);
        Sequence::from(tokens, trained_from)
    };
    (0..n).map(row).collect()
}

pub fn spec() -> Spec {
    Spec { learning_rate: 1e-2, epochs: 3, batch_size: 8, seed: 5, ..Spec::default() }
}

pub fn run(method: &Method, spec: &Spec, train_rows: &[Sequence], valid: &[Sequence]) -> Trained {
    let (config, weights) = small();
    let mut on = |_: Progress| Ok(());
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    train((&config, &weights), (method, spec), (train_rows, valid), &mut control).unwrap()
}

pub fn bits(trained: &Trained) -> Vec<Vec<u32>> {
    trained.params.vectors().map(|v| v.iter().map(|x| x.to_bits()).collect()).collect()
}

fn in_threads<R: Send>(n: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(f)
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let adapter = |lora: LoraConfig| Method::Lora(LoraConfig { r: 4, lora_dropout: 0.1, ..lora });
    let methods = [
        lora(),
        adapter(LoraConfig { use_dora: true, use_rslora: true, ..LoraConfig::default() }),
        adapter(LoraConfig { modules_to_save: vec!["lm_head".into(), "norm".into()], ..LoraConfig::default() }),
        Method::Full,
    ];
    let short = Spec { max_steps: Some(4), loraplus_lr_ratio: 4.0, ..spec() };
    let objectives = [
        (rows(40, 1), rows(10, 2), short.clone()),
        (rows(40, 1), rows(10, 2), Spec { packing: Some(24), ..short.clone() }),
        (pairs(20, 1), pairs(5, 2), Spec { objective: Objective::Dpo { beta: 0.3 }, ..short }),
    ];
    for method in &methods {
        for (rows, valid, spec) in &objectives {
            let trained = [1, 2, 4].map(|n| in_threads(n, || run(method, spec, rows, valid)));
            for other in &trained[1..] {
                assert!(bits(&trained[0]) == bits(other), "{method:?} {spec:?}");
                assert_eq!(trained[0].report, other.report);
            }
            let other = run(method, &Spec { seed: 6, ..spec.clone() }, rows, valid);
            assert!(bits(&trained[0]) != bits(&other), "{method:?} {spec:?}");
        }
    }
}

#[test]
fn training_learns_what_there_is_to_learn() {
    let spec = Spec { epochs: 40, learning_rate: 5e-3, ..spec() };
    let report = run(&Method::Full, &spec, &rows(128, 1), &rows(16, 2)).report;
    assert!(report.exact_curve.iter().any(|(_, exact)| *exact == 1.0), "{:?}", report.exact_curve);
    assert!(report.curve.last().unwrap().1 < 0.05 * report.curve[0].1);
}

#[test]
fn every_adapter_is_reached() {
    for warmup in [0.0, 0.1, 1.0] {
        let report = run(&lora(), &Spec { warmup, ..spec() }, &rows(64, 1), &rows(16, 2)).report;
        // Two layers of seven adapters with A and B each.
        assert_eq!((report.audit.reached, report.audit.tensors), (28, 28), "warm-up {warmup}");
    }
    let trained = run(&lora(), &spec(), &rows(64, 1), &rows(16, 2));
    let report = &trained.report;
    assert_eq!(report.parameters, trained.params.vectors().map(Vec::len).sum::<usize>());
}

#[test]
fn accumulated_gradients_equal_those_of_the_whole_batch() {
    let (config, weights) = small();
    let rows = rows(8, 4);
    let slots = Slots::new(&config, &Method::Full).unwrap();
    let params = Params::initial(&slots, &config, &weights, &mut Rng::new(0, ""));
    let graph = Graph::new(&config, &weights, slots, &params).unwrap();
    let targets: usize = rows.iter().map(Sequence::targets).sum();
    let grads = |parts: usize| {
        let mut sum: Vec<Vec<f32>> = graph.variables().map(|(_, v)| vec![0.0; v.elem_count()]).collect();
        for part in rows.chunks(rows.len() / parts) {
            let batch = Arc::new(Batch::new(&part.iter().collect::<Vec<_>>(), |_| 1.0 / targets as f32));
            let store = graph.loss(&batch).unwrap().0.backward().unwrap();
            for (sum, (_, var)) in sum.iter_mut().zip(graph.variables()) {
                let grad: Vec<f32> = store.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g);
            }
        }
        sum.concat()
    };
    let (whole, parts) = (grads(1), grads(8));
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let difference = norm(&mut whole.iter().zip(&parts).map(|(a, b)| a - b)) / norm(&mut whole.iter().copied());
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn small_parts_take_the_same_steps_as_one_large_one() {
    let (rows, valid) = (rows(32, 1), rows(8, 2));
    for weighting in [Weighting::Token, Weighting::Row] {
        let spec = Spec { weighting, batch_size: 16, ..spec() };
        let whole = run(&lora(), &spec, &rows, &valid);
        let parts = run(&lora(), &Spec { micro_tokens: 20, ..spec }, &rows, &valid);
        for (a, b) in whole.report.curve.iter().zip(&parts.report.curve) {
            assert!((a.1 - b.1).abs() < 1e-4, "{weighting:?}: {a:?} {b:?}");
        }
    }
}

#[test]
fn what_another_sequence_says_changes_nothing() {
    let (config, weights) = small();
    let slots = Slots::new(&config, &lora()).unwrap();
    let params = Params::initial(&slots, &config, &weights, &mut Rng::new(1, ""));
    let graph = Graph::new(&config, &weights, slots, &params).unwrap();
    let (rows, other) = (rows(2, 1), rows(5, 9));
    let log_p = |pair: [&Sequence; 2]| graph.evaluate(&Batch::new(&pair, |_| 1.0), &params).log_p;
    let alone = graph.evaluate(&Batch::new(&[&rows[0]], |_| 1.0), &params).log_p;
    for other in &other {
        assert_eq!(log_p([&rows[0], other])[..alone.len()], alone[..]);
        let after = log_p([other, &rows[0]]);
        let worst = crate::engine::furthest(&after[other.targets()..], &alone);
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn training_stops_early_at_the_best_evaluation_and_at_the_deadline() {
    let spec = Spec { epochs: 200, patience: Some(2), select: Select::Loss, ..spec() };
    let trained = run(&lora(), &spec, &rows(16, 1), &rows(16, 2));
    let report = &trained.report;
    assert_eq!(report.stopped, Stopped::Early);
    let best = report.valid_curve.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(report.best_step, Some(best.0));
    assert_eq!(report.steps.0, best.0 + 2 * 2);

    let (config, weights) = small();
    let mut on = |_: Progress| Ok(());
    let mut control =
        Control { deadline: Some(std::time::Instant::now()), on: &mut on, checkpoint: None, memory: Memory::default() };
    let rows = rows(16, 1);
    let late = train((&config, &weights), (&lora(), &spec), (&rows, &rows), &mut control).unwrap().report;
    assert_eq!((late.stopped, late.steps.0, late.best_step), (Stopped::Deadline, 1, None));
    assert!(late.valid_curve.is_empty());
}

#[test]
fn at_the_deadline_an_evaluation_that_is_due_is_left_out_and_what_was_trained_is_kept() {
    let (config, weights) = small();
    let (rows, dir) = (rows(16, 1), tempfile::tempdir().unwrap());
    // Every step ends an epoch, so that an evaluation is due after the first one.
    let spec = Spec { batch_size: 16, ..spec() };
    let mut told = Vec::new();
    let mut on = |p: Progress| {
        told.push((p.step, p.valid_loss, p.seconds > 0.0));
        Ok(())
    };
    let checkpoint =
        Checkpoint { dir: dir.path().join("state"), save_steps: 1, save_total_limit: 2, key: serde_json::Map::new() };
    let deadline = Some(std::time::Instant::now());
    let mut control =
        Control { deadline, on: &mut on, checkpoint: Some(checkpoint.clone()), memory: Memory::default() };
    let late = train((&config, &weights), (&lora(), &spec), (&rows, &rows), &mut control).unwrap();
    assert_eq!(told, [(1, None, true)]);
    assert_eq!((late.report.stopped, late.report.best_step), (Stopped::Deadline, None));
    let whole = run(&lora(), &Spec { max_steps: Some(1), ..spec.clone() }, &rows, &[]);
    assert_eq!(late.report.curve, whole.report.curve);
    assert_ne!(bits(&late), bits(&run(&lora(), &Spec { learning_rate: 1e-30, ..spec }, &rows, &[])));
    // The state would lack the evaluation.
    assert!(!Checkpoint::is_in(&checkpoint.dir));
}

#[test]
fn evaluations_do_not_count_as_time_of_steps() {
    let (config, weights) = small();
    let spec = Spec { batch_size: 1, epochs: 1, ..spec() };
    let (mut last, began) = (0.0, std::time::Instant::now());
    let mut on = |p: Progress| {
        assert!(p.seconds > last);
        last = p.seconds;
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    // One row is trained on per step, and two thousand are evaluated after the last.
    train((&config, &weights), (&lora(), &spec), (&rows(2, 1), &rows(2_000, 2)), &mut control).unwrap();
    let all = began.elapsed().as_secs_f64();
    assert!(last < all / 2.0, "{last} of {all} seconds");
}

#[test]
fn dropout_changes_training_but_not_with_threads_or_parts() {
    let dropout = |p| Method::Lora(LoraConfig { r: 4, lora_dropout: p, ..LoraConfig::default() });
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    let one = in_threads(1, || run(&dropout(0.2), &spec(), &rows, &valid));
    assert_eq!(bits(&one), bits(&in_threads(2, || run(&dropout(0.2), &spec(), &rows, &valid))));
    assert_ne!(bits(&one), bits(&run(&dropout(0.0), &spec(), &rows, &valid)));
    let parts = run(&dropout(0.2), &Spec { micro_tokens: 20, ..spec() }, &rows, &valid);
    for (a, b) in one.report.curve.iter().zip(&parts.report.curve) {
        assert!((a.1 - b.1).abs() < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn the_audit_claims_no_tensor_that_was_not_due() {
    let audit = |steps| run(&lora(), &Spec { max_steps: Some(steps), ..spec() }, &rows(64, 1), &[]).report.audit;
    // In one step only B is due.
    assert_eq!((audit(1).reached, audit(1).tensors), (14, 28));
    assert_eq!((audit(2).reached, audit(2).tensors), (28, 28));
}

#[test]
fn rows_that_teach_nothing_or_do_not_fit_are_errors_that_say_which() {
    let (config, weights) = small();
    let mut on = |_: Progress| Ok(());
    let mut attempt = |bad: Sequence, spec: Spec| {
        let mut all = rows(3, 1);
        all.push(bad);
        let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
        train((&config, &weights), (&lora(), &spec), (&all, &[]), &mut control).map(drop).unwrap_err().to_string()
    };
    let row = Sequence::from;
    assert!(attempt(row(vec![5, 6], 2), spec()).contains("row 4 has no token to train"));
    assert!(attempt(row(vec![5; 65], 1), spec()).contains("row 4 has 65 tokens, the model takes 64"));
    assert!(attempt(row(vec![5, 64], 1), spec()).contains("token 64, outside the vocabulary"));
    assert!(attempt(row(vec![5, 6], 1), Spec { batch_size: 0, ..spec() }).contains("batch_size"));
    // Settings with which nothing would be learned, in silence.
    for (bad, name) in [
        (Spec { max_steps: Some(0), ..spec() }, "max_steps"),
        (Spec { max_grad_norm: Some(0.0), ..spec() }, "max_grad_norm"),
        (Spec { max_grad_norm: Some(f64::NAN), ..spec() }, "max_grad_norm"),
        (Spec { warmup: f64::INFINITY, ..spec() }, "warmup"),
        (Spec { weight_decay: -0.1, ..spec() }, "weight_decay"),
    ] {
        assert!(attempt(row(vec![5, 6], 1), bad).contains(name), "{name}");
    }
    let forever = Spec { epochs: usize::MAX, max_steps: Some(1), ..spec() };
    assert_eq!(run(&lora(), &forever, &rows(9, 1), &[]).report.steps, (1, 1));
    let diverged = attempt(row(vec![5, 6], 1), Spec { learning_rate: 1e30, max_grad_norm: None, epochs: 9, ..spec() });
    assert!(diverged.contains("not finite at step"), "{diverged}");
}

/// Pairs that prefer one of two answers by their first token.
pub fn pairs(n: usize, seed: u64) -> Vec<Sequence> {
    rows(n, seed)
        .into_iter()
        .flat_map(|chosen| {
            let mut rejected = chosen.clone();
            let at = rejected.trained[0].start;
            rejected.tokens[at] = 20 + rejected.tokens[at] % 16;
            rejected.tokens.insert(at + 1, 9);
            [chosen, Sequence::from(rejected.tokens, at)]
        })
        .collect()
}

#[test]
fn preferences_are_learned_from_even_odds_and_parts_of_a_step_change_nothing() {
    let objective = Objective::Dpo { beta: 0.5 };
    let spec = Spec { objective, epochs: 4, select: Select::Exact, ..spec() };
    let (train_pairs, valid) = (pairs(24, 1), pairs(8, 2));
    let report = run(&lora(), &spec, &train_pairs, &valid).report;
    // Before the first step the model is its own reference: the loss is that of a coin.
    assert!((report.curve[0].1 - std::f64::consts::LN_2).abs() < 1e-6, "{:?}", report.curve);
    assert_eq!((report.steps.1, report.exact_curve.last().unwrap().1), (12, 1.0), "{:?}", report.exact_curve);
    assert!(report.valid_curve.last().unwrap().1 < 0.5, "{:?}", report.valid_curve);
    let parts = run(&lora(), &Spec { micro_tokens: 30, ..spec.clone() }, &train_pairs, &valid).report;
    for (a, b) in report.curve.iter().zip(&parts.curve) {
        assert!((a.1 - b.1).abs() < 1e-4, "{a:?} {b:?}");
    }
    let (config, weights) = small();
    let mut control = Control { deadline: None, on: &mut |_| Ok(()), checkpoint: None, memory: Memory::default() };
    let rows = &train_pairs[..3];
    let odd = train((&config, &weights), (&lora(), &spec), (rows, &[]), &mut control).unwrap_err().to_string();
    assert_eq!(odd, "training: pairs of answers are expected, chosen and rejected in turn");
}

/// The rows, the adapter before training and the losses of a run of TRL, and the spec that its settings amount to.
struct Trl {
    model: Model,
    adapter: Adapter,
    rows: Vec<serde_json::Value>,
    losses: Vec<f64>,
    spec: Spec,
}

fn trl(name: &str) -> Trl {
    let dir = crate::golden("trl").join(name);
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let model = Model::open(&crate::golden("llama/tied")).unwrap();
    let adapter = Adapter::load(&dir.join("adapter"), &model.config).unwrap();
    let rows = read("rows.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<serde_json::Value> = serde_json::from_str(&read("losses.json")).unwrap();
    let losses = losses.iter().map(|step| step["loss"].as_f64().unwrap()).collect();
    let spec = Spec {
        epochs: 9,
        max_steps: Some(50),
        schedule: Schedule::Cosine,
        warmup: 5.0,
        weight_decay: 0.1,
        shuffle: false,
        ..Spec::default()
    };
    Trl { model, adapter, rows, losses, spec }
}

fn compared_with_trl(trl: &Trl, rows: &[Sequence]) {
    let mut losses = Vec::new();
    let mut on = |progress: Progress| {
        losses.push(progress.loss);
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    let (model, method) = ((&trl.model.config, &trl.model.weights), Method::Lora(trl.adapter.config.clone()));
    let setup = Setup { start: Some(&trl.adapter), on: None };
    train_from(&setup, model, (&method, &trl.spec), (rows, &[]), &mut control).unwrap();
    assert_eq!((losses.len(), trl.losses.len()), (50, 50));
    let worst = losses.iter().zip(&trl.losses).map(|(ours, theirs)| (ours / theirs - 1.0).abs()).fold(0.0, f64::max);
    println!("largest difference of the loss to TRL's: {worst:.1e}");
    assert!(worst < 1e-2, "{worst}: {losses:?} {:?}", trl.losses);
}

#[test]
fn fifty_steps_of_packed_sft_have_the_losses_of_trl() {
    let mut trl = trl("sft");
    let encoder = Encoder {
        tokenizer: &trl.model.tokenizer,
        template: trl.model.chat.as_ref(),
        train: None,
        max_length: Some(100),
    };
    let (rows, _) = encoder.sequences(&trl.rows).unwrap();
    // Two packs at a time, three of these per step.
    trl.spec = Spec { learning_rate: 5e-3, packing: Some(100), batch_size: 6, micro_tokens: 200, ..trl.spec };
    compared_with_trl(&trl, &rows);
}

#[test]
fn fifty_steps_of_dpo_have_the_losses_of_trl() {
    let mut trl = trl("dpo");
    let encoder = Encoder {
        tokenizer: &trl.model.tokenizer,
        template: trl.model.chat.as_ref(),
        train: None,
        max_length: Some(100),
    };
    let (pairs, _) = encoder.pairs(&trl.rows).unwrap();
    let rows: Vec<Sequence> = pairs.into_iter().flat_map(|pair| [pair.chosen, pair.rejected]).collect();
    let objective = Objective::Dpo { beta: 0.1 };
    trl.spec = Spec { learning_rate: 5e-4, objective, batch_size: 4, micro_tokens: 200, ..trl.spec };
    compared_with_trl(&trl, &rows);
}

#[test]
fn packed_rows_take_the_steps_of_the_same_rows_unpacked() {
    let (rows, valid) = (rows(32, 1), rows(8, 2));
    // One step takes everything, so that both see the same rows.
    let spec = Spec { batch_size: 64, epochs: 6, ..spec() };
    let alone = run(&lora(), &spec, &rows, &valid).report;
    let packed = run(&lora(), &Spec { packing: Some(40), ..spec }, &rows, &valid).report;
    assert_eq!((alone.tokens, alone.trained_tokens), (packed.tokens, packed.trained_tokens));
    for (a, b) in alone.curve.iter().zip(&packed.curve) {
        assert!((a.1 - b.1).abs() < 1e-5, "{a:?} {b:?}");
    }
}

#[test]
fn rows_of_two_tokens_and_pairs_beyond_doubt_are_no_cut_graph() {
    let rows: Vec<Sequence> = (0..8).map(|i| Sequence::from(vec![8 + i, 30], 1)).collect();
    let report = run(&lora(), &spec(), &rows, &[]).report;
    // Of the queries and keys of two layers, B is not due in the first step and A not in the second.
    assert_eq!((report.audit.reached, report.audit.tensors), (20, 28));
    let spec = Spec { objective: Objective::Dpo { beta: 1e3 }, learning_rate: 0.5, ..spec() };
    run(&lora(), &spec, &pairs(16, 1), &[]);
}
