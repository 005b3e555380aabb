//! Behaviour of the training loop on small random models.

use std::sync::Arc;

use tunesmith_lm::{
    config::Config,
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        params::{LayerSlots, Method, random_weights},
    },
    error::{Error, Result},
    lora::{Adapter, LoraConfig},
    model::Model,
    pretrain::ModelShape,
    rng::Rng,
    train::{Checkpoint, Control, Progress, Select, Spec, Stopped, Trained, Weighting, train, train_from},
    weights::Weights,
};

fn small() -> (Config, Weights) {
    let shape = ModelShape { vocab: 64, hidden: 32, inner: 48, layers: 2, heads: 4, kv_heads: 2, context: 64 };
    let config = shape.config().unwrap();
    let weights = random_weights(&config, 3);
    (config, weights)
}

fn lora() -> Method {
    Method::Lora(LoraConfig { r: 4, lora_alpha: 8.0, ..LoraConfig::default() })
}

/// Rows whose answer is a function of their first token, so that there is something to learn.
fn rows(n: usize, seed: u64) -> Vec<Sequence> {
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

fn spec() -> Spec {
    Spec { learning_rate: 1e-2, epochs: 3, batch_size: 8, seed: 5, ..Spec::default() }
}

fn run(method: &Method, spec: &Spec, train_rows: &[Sequence], valid: &[Sequence]) -> Trained {
    let (config, weights) = small();
    let mut on = |_: Progress| Ok(());
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None };
    train((&config, &weights), (method, spec), (train_rows, valid), &mut control).unwrap()
}

fn bits(trained: &Trained) -> Vec<Vec<u32>> {
    trained.layers.iter().chain(&trained.outer).map(|v| v.iter().map(|x| x.to_bits()).collect()).collect()
}

fn in_threads<R: Send>(n: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(f)
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_one_and_two_threads() {
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    for method in [lora(), Method::Full] {
        let one = in_threads(1, || run(&method, &spec(), &rows, &valid));
        let two = in_threads(2, || run(&method, &spec(), &rows, &valid));
        let other = run(&method, &Spec { seed: 6, ..spec() }, &rows, &valid);
        assert_eq!((bits(&one), &one.report), (bits(&two), &two.report));
        assert_ne!(bits(&one), bits(&other));
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
    assert_eq!(report.parameters, trained.layers.iter().map(Vec::len).sum::<usize>());
}

#[test]
fn accumulated_gradients_equal_those_of_the_whole_batch() {
    let (config, weights) = small();
    let rows = rows(8, 4);
    let slots = LayerSlots::new(&config, &Method::Full).unwrap();
    let thetas = weights.layers.iter().map(|w| slots.initial(&config, w, &mut Rng::new(0, ""))).collect();
    let graph = Graph::new(&config, &weights, slots, thetas, true).unwrap();
    let targets: usize = rows.iter().map(Sequence::targets).sum();
    let grads = |parts: usize| {
        let mut sum: Vec<Vec<f32>> = graph.variables().iter().map(|(_, v)| vec![0.0; v.elem_count()]).collect();
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
    let slots = LayerSlots::new(&config, &lora()).unwrap();
    let thetas = weights.layers.iter().map(|w| slots.initial(&config, w, &mut Rng::new(1, ""))).collect();
    let graph = Graph::new(&config, &weights, slots, thetas, false).unwrap();
    let (rows, other) = (rows(2, 1), rows(5, 9));
    let log_p = |pair: [&Sequence; 2]| graph.evaluate(&Batch::new(&pair, |_| 1.0)).unwrap().log_p;
    let alone = graph.evaluate(&Batch::new(&[&rows[0]], |_| 1.0)).unwrap().log_p;
    for other in &other {
        assert_eq!(log_p([&rows[0], other])[..alone.len()], alone[..]);
        let after = log_p([other, &rows[0]]);
        let worst = after[other.targets()..].iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let (config, weights) = small();
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec { select: Select::Exact, ..spec() };
    let whole = run(&lora(), &spec, &rows, &valid);
    for stop_at in [1, 4, 7, 14] {
        let path = dir.path().join(format!("state-{stop_at}"));
        let attempt = |stop: usize| -> Result<Trained> {
            let mut on = |p: Progress| if p.step == stop { Err(Error::Cancelled) } else { Ok(()) };
            let checkpoint = Checkpoint { path: path.clone(), every: 3, key: "rows 1".into() };
            let mut control = Control { deadline: None, on: &mut on, checkpoint: Some(checkpoint) };
            train((&config, &weights), (&lora(), &spec), (&rows, &valid), &mut control)
        };
        assert!(matches!(attempt(stop_at), Err(Error::Cancelled)));
        let resumed = attempt(usize::MAX).unwrap();
        assert_eq!((bits(&resumed), &resumed.report), (bits(&whole), &whole.report), "stopped at {stop_at}");
    }
}

#[test]
fn a_state_of_another_run_or_a_damaged_one_is_refused() {
    let (config, weights) = small();
    let rows = rows(40, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let attempt = |key: &str, spec: &Spec| {
        let mut on = |_: Progress| Ok(());
        let checkpoint = Checkpoint { path: path.clone(), every: 2, key: key.into() };
        let mut control = Control { deadline: None, on: &mut on, checkpoint: Some(checkpoint) };
        train((&config, &weights), (&lora(), spec), (&rows, &[]), &mut control).map(drop).map_err(|e| e.to_string())
    };
    attempt("a", &spec()).unwrap();
    assert!(attempt("b", &spec()).unwrap_err().contains("another training run"));
    assert!(attempt("a", &Spec { learning_rate: 0.5, ..spec() }).unwrap_err().contains("another training run"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(attempt("a", &spec()).unwrap_err().contains("is damaged"));
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
    let mut control = Control { deadline: Some(std::time::Instant::now()), on: &mut on, checkpoint: None };
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
    let checkpoint = Checkpoint { path: dir.path().join("state"), every: 1, key: "a".into() };
    let deadline = Some(std::time::Instant::now());
    let mut control = Control { deadline, on: &mut on, checkpoint: Some(checkpoint.clone()) };
    let late = train((&config, &weights), (&lora(), &spec), (&rows, &rows), &mut control).unwrap();
    assert_eq!(told, [(1, None, true)]);
    assert_eq!((late.report.stopped, late.report.best_step), (Stopped::Deadline, None));
    let whole = run(&lora(), &Spec { max_steps: Some(1), ..spec.clone() }, &rows, &[]);
    assert_eq!(late.report.curve, whole.report.curve);
    assert_ne!(bits(&late), bits(&run(&lora(), &Spec { learning_rate: 1e-30, ..spec }, &rows, &[])));
    // The state would lack the evaluation.
    assert!(!checkpoint.path.exists());
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
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None };
    // One row is trained on per step, and two thousand are evaluated after the last.
    train((&config, &weights), (&lora(), &spec), (&rows(2, 1), &rows(2_000, 2)), &mut control).unwrap();
    let all = began.elapsed().as_secs_f64();
    assert!(last < all / 2.0, "{last} of {all} seconds");
}

#[test]
fn dropout_is_refused_rather_than_ignored() {
    let (config, weights) = small();
    let mut control = Control { deadline: None, on: &mut |_| Ok(()), checkpoint: None };
    let method = Method::Lora(LoraConfig { lora_dropout: 0.1, ..LoraConfig::default() });
    let error = train((&config, &weights), (&method, &spec()), (&rows(4, 1), &[]), &mut control).unwrap_err();
    assert_eq!(error.to_string(), "training: lora_dropout is 0.1, but dropout is not supported: set it to 0");
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
        let mut control = Control { deadline: None, on: &mut on, checkpoint: None };
        train((&config, &weights), (&lora(), &spec), (&all, &[]), &mut control).map(drop).unwrap_err().to_string()
    };
    let row = Sequence::from;
    assert!(attempt(row(vec![5, 6], 2), spec()).contains("row 4 has no token to train"));
    assert!(attempt(row(vec![5; 65], 1), spec()).contains("row 4 has 65 tokens, the model takes 64"));
    assert!(attempt(row(vec![5, 64], 1), spec()).contains("token 64, outside the vocabulary"));
    assert!(attempt(row(vec![5, 6], 1), Spec { batch_size: 0, ..spec() }).contains("batch_size"));
    let diverged = attempt(row(vec![5, 6], 1), Spec { learning_rate: 1e30, max_grad_norm: None, epochs: 9, ..spec() });
    assert!(diverged.contains("not finite at step"), "{diverged}");
}

/// Packs of two documents, two packs at a time, two of these per step: what TRL's `SFTTrainer` does with the same rows.
#[test]
fn fifty_steps_of_sft_have_the_losses_of_trl() {
    #[derive(serde::Deserialize)]
    struct Golden {
        spec: Spec,
        losses: Vec<f64>,
        documents: Vec<Vec<u32>>,
    }
    let golden: Golden =
        serde_json::from_str(&std::fs::read_to_string(crate::golden("trl/sft.json")).unwrap()).unwrap();
    let model = Model::open(&crate::golden("llama/tied")).unwrap();
    let adapter = Adapter::load(&crate::golden("trl"), &model.config).unwrap();
    let rows: Vec<Sequence> = golden.documents.into_iter().map(|tokens| Sequence::from(tokens, 0)).collect();
    let spec = Spec { shuffle: false, ..golden.spec };
    let mut losses = Vec::new();
    let mut on = |progress: Progress| {
        losses.push(progress.loss);
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None };
    let method = Method::Lora(adapter.config.clone());
    train_from(Some(&adapter), (&model.config, &model.weights), (&method, &spec), (&rows, &[]), &mut control).unwrap();
    assert_eq!(losses.len(), golden.losses.len());
    let worst = losses.iter().zip(&golden.losses).map(|(ours, theirs)| (ours / theirs - 1.0).abs()).fold(0.0, f64::max);
    println!("largest difference to TRL: {worst:.1e}");
    assert!(worst < 1e-2, "{worst}: {losses:?}");
}
