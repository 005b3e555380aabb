//! Each of the fifteen silent failures is injected and caught; clean runs have no finding.

use std::fs;

use serde_json::json;
use sha2::{Digest, Sha256};
use tunesmith_lm::{
    config::Config,
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        params::{Method, Slots},
        preference::Preference,
        trained::Params,
    },
    error::Error,
    gguf::{self, Quant},
    lora::{Adapter, LoraConfig},
    model::Model,
    rng::Rng,
    rows::{Encoder, Tally},
    tokens::Tokenizer,
    train::{
        Checkpoint, Control, Objective, Progress, Spec, Trained, Weighting,
        faults::{self, Fault, Finding, General, Position, Severity, Signal, Stage},
        memory::Memory,
        train,
    },
    weights::Weights,
};

use crate::{
    chat, copy, golden,
    train::{lora, pairs, rows, run, small, spec},
};

/// Trains a model on rows, on eight of its own for an evaluation.
fn attempt(
    (config, weights): (&Config, &Weights),
    (method, spec): (&Method, &Spec),
    rows: (&[Sequence], &[Sequence]),
) -> Result<Trained, Error> {
    let mut control =
        Control { deadline: None, on: &mut |_: Progress| Ok(()), checkpoint: None, memory: Memory::default() };
    train((config, weights), (method, spec), rows, &mut control)
}

/// The fault that an error names.
fn named(error: &Error) -> Vec<Fault> {
    let text = error.to_string();
    assert!(matches!(error, Error::Train(_)) && text.lines().count() == 1, "{text}");
    let is = |fault: &Fault| text.contains(&format!("training: {fault}: ")) || text.contains(&format!("({fault}: "));
    Fault::ALL.into_iter().filter(is).collect()
}

fn found(findings: impl IntoIterator<Item = Finding>) -> Vec<Fault> {
    findings.into_iter().map(|finding| finding.fault).collect()
}

/// Layer 0's output projection is zero, so that no gradient reaches what comes before it.
fn gradient_cut() -> Vec<Fault> {
    let (config, mut weights) = small();
    weights.layers[0].o = vec![0.0; weights.layers[0].o.len()].into();
    let error = attempt((&config, &weights), (&lora(), &spec()), (&rows(16, 1), &[])).unwrap_err();
    assert!(error.to_string().contains("layers.0.self_attn.q_proj.lora_B.weight is 0 at step 1"), "{error}");
    named(&error)
}

/// All labels of a row are masked.
fn nothing_trained() -> Vec<Fault> {
    let (config, weights) = small();
    let mut masked = rows(16, 1);
    masked[2].trained.clear();
    let error = attempt((&config, &weights), (&lora(), &spec()), (&masked, &[])).unwrap_err();
    assert!(error.to_string().contains("row 3 has no token to train"), "{error}");
    let (_, clean) = stopping();
    let mut masked = clean.clone();
    masked[1].trained.clear();
    let all = found(faults::rows(&tied().tokenizer, &masked).unwrap());
    assert_eq!(all, named(&error));
    // Rows of which the template left nothing are told by those who made them.
    let mut tally = Tally { rows: 4, ..Tally::default() };
    tally.dropped.rows = 2;
    assert_eq!(faults::tally(&tally), []);
    tally.dropped.rows = 3;
    assert_eq!(found(faults::tally(&tally)), all);
    all
}

fn tied() -> Model {
    Model::open(&golden("llama/tied")).unwrap()
}

/// Rows of completions that end with the token that ends a text.
fn stopping() -> (Model, Vec<Sequence>) {
    let model = tied();
    let encoder = Encoder { tokenizer: &model.tokenizer, template: None, train: None, max_length: None };
    let data: Vec<_> = (0..12).map(|i| json!({"prompt": format!("{i}:"), "completion": format!("no {i}")})).collect();
    let (rows, tally) = encoder.sequences(&data).unwrap();
    assert_eq!(faults::tally(&tally), []);
    (model, rows)
}

/// The token that ends a text is missing in the completions.
fn never_stops() -> Vec<Fault> {
    let (model, clean) = stopping();
    assert_eq!(faults::rows(&model.tokenizer, &clean).unwrap(), []);
    let cut = |row: &Sequence| {
        let tokens = row.tokens[..row.tokens.len() - 1].to_vec();
        Sequence::from(tokens, row.trained[0].start)
    };
    let mut endless = clean.clone();
    endless[4] = cut(&clean[4]);
    let findings = faults::rows(&model.tokenizer, &endless).unwrap();
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warning));
    assert!(findings[0].what.starts_with("1 of 12 rows, first row 5"), "{}", findings[0]);
    let all = faults::rows(&model.tokenizer, &clean.iter().map(cut).collect::<Vec<_>>()).unwrap();
    assert_eq!((all.len(), all[0].severity), (1, Severity::Error));
    // After training, generations show it.
    assert_eq!((faults::ends((4, 8)), faults::ends((0, 0))), (None, None));
    let (before, after) = (found(all), found(faults::ends((3, 8))));
    assert_eq!(before, after);
    after
}

/// The exported template writes a turn in another way.
fn template_differs() -> Vec<Fault> {
    let model = tied();
    let plain =
        chat::template("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}").unwrap();
    let spaced =
        chat::template("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}{% endfor %}").unwrap();
    // Another text with the same tokens is the same template.
    let same =
        chat::template("{%- for m in messages -%}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{%- endfor -%}")
            .unwrap();
    let compare = |other| faults::template((&model.tokenizer, &plain), (&model.tokenizer, other));
    assert_eq!((compare(&plain), compare(&same)), (None, None));
    assert_ne!(faults::template_sha256(&plain), faults::template_sha256(&spaced));
    found(compare(&spaced))
}

/// A rendered chat that begins a text is tokenised with special tokens once more.
fn double_bos() -> Vec<Fault> {
    let (model, clean) = stopping();
    let begin = model.tokenizer.bos.unwrap();
    let twice = |row: &Sequence| Sequence::from([&[begin, begin], &row.tokens[..]].concat(), row.trained[0].start + 2);
    let once = |row: &Sequence| Sequence::from([&[begin], &row.tokens[..]].concat(), row.trained[0].start + 1);
    assert_eq!(faults::rows(&model.tokenizer, &clean.iter().map(once).collect::<Vec<_>>()).unwrap(), []);
    let findings = faults::rows(&model.tokenizer, &clean.iter().map(twice).collect::<Vec<_>>()).unwrap();
    assert_eq!(findings[0].severity, Severity::Error);
    found(findings)
}

/// Each part of a step is divided by its own tokens and not by those of the step.
fn accumulation_differs() -> Vec<Fault> {
    let rows = rows(24, 4);
    let total: usize = rows.iter().map(Sequence::targets).sum();
    for parts in [1, 2, 5, 24] {
        let by_step = |part: &[Sequence]| Batch::new(&part.iter().collect::<Vec<_>>(), |_| 1.0 / total as f32);
        let right: Vec<Batch> = rows.chunks(rows.len().div_ceil(parts)).map(by_step).collect();
        assert_eq!(faults::accumulation(&right), None);
    }
    let by_part = |part: &[Sequence]| {
        let own: usize = part.iter().map(Sequence::targets).sum();
        Batch::new(&part.iter().collect::<Vec<_>>(), |_| 1.0 / own as f32)
    };
    let pairs = |weight| Preference { beta: 0.1, references: vec![0.0; 12], weight };
    let batch = |weight| Batch::pairs(&rows.iter().collect::<Vec<_>>(), pairs(weight));
    assert_eq!(faults::accumulation([&batch(1.0 / 12.0)]), None);
    assert!(faults::accumulation([&batch(1.0 / 24.0)]).is_some());
    found(faults::accumulation(&rows.chunks(8).map(by_part).collect::<Vec<_>>()))
}

/// Documents laid end to end are taken as one sequence, so that the later attend to the earlier.
fn packing_leaks() -> Vec<Fault> {
    let (config, weights) = small();
    let slots = Slots::new(&config, &lora()).unwrap();
    let params = Params::initial(&slots, &config, &weights, &mut Rng::new(1, ""));
    let graph = Graph::new(&config, &weights, slots, &params).unwrap();
    let documents = rows(3, 1);
    let documents: Vec<&Sequence> = documents.iter().collect();
    let right = Batch::new(&documents, |_| 1.0);
    let one = std::iter::once(0..right.tokens.len()).collect();
    let wrong = Batch { sequences: one, shards: std::iter::once(0..1).collect(), ..right.clone() };
    let check = |batch: &Batch| {
        let log_p = |batch: Batch| Ok(graph.evaluate(&batch, &params).log_p);
        faults::packing(batch, &documents, config.vocab_size, log_p).unwrap()
    };
    assert_eq!(check(&right), None);
    found(check(&wrong))
}

/// A trained adapter on a small model, with everything that is compared afterwards.
fn tuned(method: &Method) -> (Config, Weights, Trained) {
    let (config, weights) = small();
    let trained = run(method, &spec(), &rows(32, 1), &rows(8, 2));
    (config, weights, trained)
}

/// The output layer was trained on its own, and the merged model is written as a tied one.
fn head_lost() -> Vec<Fault> {
    let lora = LoraConfig { r: 4, modules_to_save: vec!["lm_head".into()], ..LoraConfig::default() };
    let (config, weights, trained) = tuned(&Method::Lora(lora.clone()));
    let live = (&trained.slots, &trained.params);
    let (after, merged) = trained.params.adapter(&lora, &trained.slots).merge(&weights, &config).unwrap();
    let row = &rows(1, 2)[0];
    let check = |config_of: &Config, merged: &Weights| {
        faults::merged((&config, &weights), live, (config_of, merged), row).unwrap()
    };
    assert_eq!(check(&after, &merged), []);
    found(check(&config, &Weights { head: None, ..merged }))
}

/// The adapter is merged with another scale, into other weights, or into other numbers of a quantised base.
fn merge_differs() -> Vec<Fault> {
    let method = LoraConfig { r: 4, lora_alpha: 8.0, ..LoraConfig::default() };
    let (config, weights, trained) = tuned(&Method::Lora(method.clone()));
    let adapter = trained.params.adapter(&method, &trained.slots);
    let row = &rows(1, 2)[0];
    let check = |base: &Weights, merged: &Weights| {
        faults::merged((&config, base), (&trained.slots, &trained.params), (&config, merged), row).unwrap()
    };
    let merged = |adapter: &Adapter, base: &Weights| adapter.merge(base, &config).unwrap().1;
    assert_eq!(check(&weights, &merged(&adapter, &weights)), []);
    let rank_stabilised = LoraConfig { use_rslora: true, ..method };
    let wrong_scale =
        found(check(&weights, &merged(&Adapter { config: rank_stabilised, ..adapter.clone() }, &weights)));
    let mut rounded = weights.clone();
    for matrix in rounded.layers.iter_mut().flat_map(|layer| layer.linears_mut()) {
        let coarse: Vec<f32> = matrix.floats().iter().map(|x| (x * 64.0).round() / 64.0).collect();
        *matrix = coarse.into();
    }
    assert_eq!(found(check(&weights, &merged(&adapter, &rounded))), wrong_scale);
    wrong_scale
}

/// The adapter's keys are those of a bare decoder, so that a lenient reader would load none of them.
fn adapter_ignored() -> Vec<Fault> {
    let method = LoraConfig { r: 4, lora_alpha: 8.0, ..LoraConfig::default() };
    let (config, weights, trained) = tuned(&Method::Lora(method.clone()));
    let adapter = trained.params.adapter(&method, &trained.slots);
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path(), &config).unwrap();
    assert_eq!(faults::adapter(dir.path(), &config, &adapter), None);
    let path = dir.path().join("adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let at = |name: &[u8]| bytes.windows(name.len()).position(|part| part == name).unwrap();
    let mut renamed = bytes.clone();
    let prefix = at(b"base_model.model.model.layers.0");
    renamed[prefix..prefix + 17].copy_from_slice(b"base_model.modex.");
    fs::write(&path, &renamed).unwrap();
    let lost = found(faults::adapter(dir.path(), &config, &adapter));
    // The files have other numbers than training.
    let mut other = bytes.clone();
    let last = other.len() - 2;
    other[last] ^= 1;
    fs::write(&path, &other).unwrap();
    assert_eq!(found(faults::adapter(dir.path(), &config, &adapter)), lost);
    // What was never loaded changes nothing.
    let untrained = Params::initial(&trained.slots, &config, &weights, &mut Rng::new(1, ""));
    let row = &rows(1, 2)[0];
    let base = (&config, &weights);
    let findings = faults::merged(base, (&trained.slots, &untrained), base, row).unwrap();
    assert_eq!(found(findings), lost);
    lost
}

/// The tokenizer lowers its text first, which GGUF cannot say.
fn not_exportable() -> Vec<Fault> {
    let model = tied();
    assert_eq!(faults::export(&model.config, &model.tokenizer), None);
    let mut settings: serde_json::Value = serde_json::from_str(model.tokenizer.json()).unwrap();
    settings["normalizer"] = json!({"type": "Lowercase"});
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied"), dir.path());
    fs::write(dir.path().join("tokenizer.json"), settings.to_string()).unwrap();
    let finding = faults::export(&model.config, &Tokenizer::from_dir(dir.path()).unwrap()).unwrap();
    assert!(finding.severity == Severity::Warning && finding.what.contains("normalizer"), "{finding}");
    vec![finding.fault]
}

/// Activations of one layer overflow.
fn not_finite() -> Vec<Fault> {
    let (config, mut weights) = small();
    // The projections up and down of the feed-forward block.
    for linear in [5, 6] {
        let matrix = &mut *weights.layers[1].linears_mut()[linear];
        *matrix = matrix.floats().iter().map(|x| x * 1e30).collect::<Vec<_>>().into();
    }
    let spec = Spec { shuffle: false, batch_size: 4, ..spec() };
    let error = attempt((&config, &weights), (&lora(), &spec), (&rows(16, 1), &[])).unwrap_err();
    let expected =
        "at step 1 (loss NaN, gradient norm NaN) with rows 1, 2, 3, 4, first in the output of layers.1; lower";
    assert!(error.to_string().contains(expected), "{error}");
    named(&error)
}

/// The state of a checkpoint was pieced together from two moments; its checksum is right.
fn state_lost() -> Vec<Fault> {
    let (config, weights) = small();
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    let resumed = |tamper: Option<(&str, &str)>| {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint =
            || Checkpoint { dir: dir.path().into(), save_steps: 4, save_total_limit: 1, key: Default::default() };
        let attempt = |stop: usize| {
            let mut on = |p: Progress| if p.step >= stop { Err(Error::Cancelled) } else { Ok(()) };
            let mut control =
                Control { deadline: None, on: &mut on, checkpoint: Some(checkpoint()), memory: Memory::default() };
            train((&config, &weights), (&lora(), &spec()), (&rows, &valid), &mut control)
        };
        attempt(9).unwrap_err();
        if let Some((from, to)) = tamper {
            let path = dir.path().join("checkpoint-8.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect(from);
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            let end = bytes.len() - 32;
            let hash = Sha256::digest(&bytes[..end]);
            bytes[end..].copy_from_slice(&hash);
            fs::write(path, bytes).unwrap();
        }
        attempt(usize::MAX)
    };
    resumed(None).unwrap();
    let lost = named(&resumed(Some((r#"adam_steps\":8"#, r#"adam_steps\":0"#))).unwrap_err());
    for tamper in [(r#"steps\":[8,15]"#, r#"steps\":[7,15]"#), (r#"trained_tokens\":1"#, r#"trained_tokens\":2"#)] {
        assert_eq!(named(&resumed(Some(tamper)).unwrap_err()), lost, "{tamper:?}");
    }
    let whole = Position { file: 8, report: 8, curve: (8, 8), optimizer: 8, trained: 9, expected: 9 };
    assert_eq!(faults::position(&whole), None);
    lost
}

/// The template takes thoughts out of earlier turns.
fn thinking_changed() -> Vec<Fault> {
    let model = tied();
    let source = fs::read_to_string(golden("chat/templates/qwen3.jinja")).unwrap();
    let template = chat::template(&source).unwrap();
    let encoder = Encoder { tokenizer: &model.tokenizer, template: Some(&template), train: None, max_length: None };
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let thought = turn("assistant", "<think>\nx\n</think>\n\none");
    let one = json!({"messages": [turn("user", "a"), thought]});
    let two = json!({"messages": [turn("user", "a"), thought, turn("user", "b"), turn("assistant", "two")]});
    assert_eq!(faults::tally(&encoder.sequences(&[one]).unwrap().1), []);
    found(faults::tally(&encoder.sequences(&[two]).unwrap().1))
}

/// A few rows are trained two hundred times.
fn collapse() -> Vec<Fault> {
    let (config, weights) = small();
    let spec = Spec { epochs: 200, learning_rate: 5e-3, ..spec() };
    let (few, other) = (rows(8, 1), rows(16, 2));
    let trained = attempt((&config, &weights), (&Method::Full, &spec), (&few, &other)).unwrap();
    assert!(matches!(trained.report.signals[..], [.., Signal::Overfitting { .. }]), "{:?}", trained.report.signals);
    let all = found(trained.report.findings);
    // Rows on both sides, rows that come often, and general text that was forgotten.
    assert_eq!(faults::leakage(&few, &other, 1), []);
    assert_eq!(found(faults::leakage(&few, &[&other[..], &few[2..3]].concat(), 1)), all);
    assert_eq!(found(faults::leakage(&[&few[..], &few[..2]].concat(), &other, 1)), all);
    let forgetting = |after| faults::forgetting((3.0, after), 10.0);
    assert_eq!(
        (forgetting(9.6), found(forgetting(9.7)), found(forgetting(f64::NAN))),
        (None, all.clone(), all.clone())
    );
    // A base that knew nothing has nothing to forget.
    assert_eq!(faults::forgetting((10.0, 10.0), 10.0), None);
    all
}

/// A fault, and what is found when it is injected.
type Injected = (Fault, fn() -> Vec<Fault>);

#[test]
fn every_injected_fault_is_caught() {
    let injected: [Injected; 15] = [
        (Fault::GradientCut, gradient_cut),
        (Fault::NothingTrained, nothing_trained),
        (Fault::NeverStops, never_stops),
        (Fault::TemplateDiffers, template_differs),
        (Fault::DoubleBos, double_bos),
        (Fault::AccumulationDiffers, accumulation_differs),
        (Fault::PackingLeaks, packing_leaks),
        (Fault::HeadLost, head_lost),
        (Fault::MergeDiffers, merge_differs),
        (Fault::AdapterIgnored, adapter_ignored),
        (Fault::NotExportable, not_exportable),
        (Fault::NotFinite, not_finite),
        (Fault::StateLost, state_lost),
        (Fault::ThinkingChanged, thinking_changed),
        (Fault::Collapse, collapse),
    ];
    assert_eq!(injected.map(|(fault, _)| fault), Fault::ALL);
    let caught = injected.iter().filter(|(fault, inject)| {
        let found = inject();
        println!("{fault}: {found:?}");
        found == [*fault]
    });
    let caught = caught.count();
    println!("{caught} of {} injected faults caught", injected.len());
    assert_eq!(caught, 15);
}

/// What is trained in a clean run: how, on which weights, and on which rows.
struct Clean {
    name: &'static str,
    method: Method,
    spec: Spec,
    weights: Weights,
    rows: (Vec<Sequence>, Vec<Sequence>),
}

fn clean_runs(model: &Model, quantised: &Weights) -> Vec<Clean> {
    let lora = LoraConfig { r: 4, lora_alpha: 8.0, ..LoraConfig::default() };
    let saved = vec!["lm_head".into(), "embed_tokens".into()];
    let methods = [
        ("LoRA", lora.clone(), false),
        ("rsLoRA", LoraConfig { use_rslora: true, ..lora.clone() }, false),
        ("DoRA", LoraConfig { use_dora: true, ..lora.clone() }, false),
        ("dropout", LoraConfig { lora_dropout: 0.1, ..lora.clone() }, false),
        ("modules_to_save", LoraConfig { modules_to_save: saved, ..lora.clone() }, false),
        ("QLoRA", lora, true),
    ];
    let mut methods: Vec<_> =
        methods.into_iter().map(|(name, lora, quantised)| (name, Method::Lora(lora), quantised)).collect();
    methods.push(("LoRA+", methods[0].1.clone(), false));
    methods.push(("full", Method::Full, false));
    let base = Spec { learning_rate: 1e-2, epochs: 4, batch_size: 8, micro_tokens: 64, seed: 5, ..Spec::default() };
    let objectives = [
        ("SFT", base.clone(), (rows(48, 1), rows(16, 2))),
        ("SFT by rows", Spec { weighting: Weighting::Row, ..base.clone() }, (rows(48, 1), rows(16, 2))),
        ("packed SFT", Spec { packing: Some(40), batch_size: 3, ..base.clone() }, (rows(48, 1), rows(16, 2))),
        ("raw text", base.clone(), (whole(rows(48, 1)), whole(rows(16, 2)))),
        ("DPO", Spec { objective: Objective::Dpo { beta: 0.5 }, ..base }, (pairs(24, 1), pairs(8, 2))),
    ];
    let mut runs = Vec::new();
    for (name, method, stored) in methods {
        for (objective, spec, rows) in &objectives {
            println!("{name}, {objective}");
            let full = matches!(method, Method::Full) || name == "LoRA+";
            let spec = Spec {
                loraplus_lr_ratio: if name == "LoRA+" { 4.0 } else { 1.0 },
                learning_rate: if full { 2e-3 } else { spec.learning_rate },
                ..spec.clone()
            };
            let weights = if stored { quantised } else { &model.weights }.clone();
            runs.push(Clean { name, method: method.clone(), spec, weights, rows: rows.clone() });
        }
    }
    runs
}

/// All tokens of rows are trained.
fn whole(rows: Vec<Sequence>) -> Vec<Sequence> {
    rows.into_iter().map(|row| Sequence::from(row.tokens, 0)).collect()
}

#[test]
fn clean_runs_of_every_method_and_objective_have_no_finding() {
    let model = tied();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.gguf");
    gguf::write(&path, &model, Quant::Q8_0).unwrap();
    let quantised = Model::open(&path).unwrap().weights;
    let mut count = 0;
    for Clean { name, method, spec, weights, rows } in clean_runs(&model, &quantised) {
        let base = (&model.config, &weights);
        let trained = attempt(base, (&method, &spec), (&rows.0, &rows.1)).unwrap();
        let mut findings = trained.report.findings.clone();
        let merged = match &method {
            Method::Full => (model.config.clone(), trained.params.weights(&trained.slots, &weights)),
            Method::Lora(lora) => {
                let adapter = trained.params.adapter(lora, &trained.slots);
                adapter.save(dir.path(), &model.config).unwrap();
                findings.extend(faults::adapter(dir.path(), &model.config, &adapter));
                adapter.merge(&weights, &model.config).unwrap()
            }
        };
        let live = (&trained.slots, &trained.params);
        findings.extend(faults::merged(base, live, (&merged.0, &merged.1), &rows.1[0]).unwrap());
        assert_eq!(findings, [], "{name} {spec:?} {:?} {:?}", trained.report.curve, trained.report.valid_curve);
        let diverged = trained.report.signals.iter().any(|signal| matches!(signal, Signal::Diverging { .. }));
        assert!(!diverged, "{name} {spec:?} {:?}", trained.report.curve);
        count += 1;
    }
    println!("{count} clean runs without a finding");
}

#[test]
fn findings_and_signals_are_told_and_kept() {
    let (config, weights) = small();
    let spec = Spec { epochs: 200, learning_rate: 5e-3, ..spec() };
    let mut told = Vec::new();
    let mut on = |progress: Progress| {
        told.push(progress.signals);
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    let rows = (rows(8, 1), rows(16, 2));
    let report = train((&config, &weights), (&Method::Full, &spec), (&rows.0, &rows.1), &mut control).unwrap().report;
    assert_eq!((&told[0], told.last().unwrap()), (&Vec::new(), &report.signals));
    let text = serde_json::to_value(&report.findings).unwrap();
    assert_eq!((text[0]["fault"].as_str(), text[0]["stage"].as_str()), (Some("collapse"), Some("after")));
    assert_eq!(serde_json::from_value::<Vec<Finding>>(text).unwrap(), report.findings);
    assert_eq!(report.findings[0].stage, Stage::After);
}

#[test]
fn general_text_is_likely_for_the_bundled_base_and_not_for_a_random_one() {
    let nano = Model::open(&golden("../../../nano")).unwrap();
    let general = General::new(&nano.tokenizer, &nano.config).unwrap();
    let loss = general.loss((&nano.config, &nano.weights)).unwrap();
    let random = tunesmith_lm::engine::params::random_weights(&nano.config, 1);
    let lost = general.loss((&nano.config, &random)).unwrap();
    println!("general text: {loss:.2} nats per token, of a random model {lost:.2}");
    assert!(loss < 3.0 && general.forgetting(loss, lost).is_some(), "{loss} {lost}");
}
