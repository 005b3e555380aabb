//! The worker's part of `train`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use tunesmith_harness::recipe::{Example, Recipe};
use tunesmith_lm::{
    cost,
    engine::{batch::Sequence, params::Method},
    generate::{Sampling, Session},
    lora::{LoraConfig, Targets},
    model::{Model, hash_file},
    train::{
        Checkpoint, Control, Progress, Report, Stopped, Trained,
        faults::{self, Finding, General, Signal},
        train,
    },
};

use super::{
    Job, Output, RECORD, Record,
    telemetry::{Telemetry, peak_memory},
    warning,
};
use crate::{
    encode::Encoder,
    files::{name, read_examples, read_recipe, write_json},
    worker::{Live, Tick},
};

/// Points of the curve in the output; log.jsonl has all.
const POINTS: usize = 200;

/// Validation prompts on which it is tried whether generations end.
const PROBES: usize = 8;

/// Kept free before the deadline, to evaluate and write the adapter: a share of the time, within bounds in seconds.
const MARGIN: (f64, f64, f64) = (0.05, 2.0, 20.0);

pub(super) fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    let recipe = read_recipe(&job.data.join("recipe.json"))?;
    let model = Model::open(&job.base).context("the base cannot be used")?;
    let encoder = Encoder::of(&model)?;
    let valid_rows = read_examples(&job.data.join("valid.jsonl"))?;
    let training = encoded(&read_examples(&job.data.join("train.jsonl"))?, "train.jsonl", &recipe, &encoder)?;
    let valid = encoded(&valid_rows, "valid.jsonl", &recipe, &encoder)?;
    let mut findings = faults::rows(encoder.tokenizer(), &training)?;
    findings.extend(faults::export(&model.config, &model.tokenizer));
    let mut findings = faults::stopping(findings)?;
    let lora = LoraConfig {
        r: job.r,
        lora_alpha: job.lora_alpha,
        target_modules: Targets::Names(job.target_modules.clone()),
        base_model_name_or_path: Some(name(&job.base)),
        ..LoraConfig::default()
    };
    lora.check()?;
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {}", name(&job.out)))?;
    let method = Method::Lora(lora.clone());
    let flops = cost::train_flops_per_token(&model.config, &method, cost::Rows::of(&training))?;
    let mut telemetry = Telemetry::new(&job.out, job.started_at, Some((flops, cost::peak_flops())));
    let checkpoint = checkpoint(job, &model)?;
    let began = Instant::now();
    let deadline = live.deadline.map(|at| early(at, began));
    let (mut told, mut alarmed) = (0, false);
    let mut on = |progress: Progress| {
        told += progress.warnings.len();
        let mut tick = telemetry.step(&progress);
        let lines: Vec<String> = tick.warning.into_iter().chain(alarm(&progress.signals, &mut alarmed)).collect();
        tick.warning = (!lines.is_empty()).then(|| lines.join("; "));
        live.tick(tick);
        Ok(())
    };
    let mut control = Control { deadline, on: &mut on, checkpoint };
    let mut trained = train((&model.config, &model.weights), (&method, &job.spec), (&training, &valid), &mut control)?;
    let seconds = began.elapsed().as_secs_f64();
    // What went wrong with files after the last step was told.
    if let Some(late) = warning(trained.report.storage_warnings.get(told..).unwrap_or_default()) {
        let (done, total) = trained.report.steps;
        live.tick(Tick { what: "train".into(), done, total, warning: Some(late), ..Tick::default() });
    }
    trained.report.storage_warnings.append(&mut telemetry.warnings);

    let adapter = trained.params.adapter(&lora, &trained.slots);
    adapter.save(&job.out, &model.config)?;
    let record = Record {
        base_sha256: model.sha256.clone(),
        data_sha256: hash_file(&job.data.join("train.jsonl"))?,
        template_sha256: model.chat.as_ref().map(faults::template_sha256),
        spec: job.spec.clone(),
    };
    write_json(&job.out.join(RECORD), &record)?;
    let mut general_loss = None;
    // What there is no time for is not tried; then nothing is claimed about it either.
    let ended = match trained.report.stopped {
        Stopped::Deadline => (0, 0),
        _ => {
            let (config, weights) = adapter.merge(&model.weights, &model.config)?;
            let tuned = Model { config, weights, ..model.clone() };
            let row = valid.first().unwrap_or(&training[0]);
            findings.extend(faults::adapter(&job.out, &model.config, &adapter));
            let (seen, losses) = after(&model, &tuned, &trained, row)?;
            findings.extend(seen);
            general_loss = Some(losses);
            let ended = probe(&tuned, &encoder, &recipe, &valid_rows)?;
            findings.extend(faults::ends(ended));
            ended
        }
    };
    findings.append(&mut trained.report.findings);
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let ((done, total), warning) = (trained.report.steps, Some(lines.join("; ")));
        live.tick(Tick { what: "train".into(), done, total, warning, ..Tick::default() });
    }
    trained.report.findings = findings;
    let output = output(job, trained.report, (training.len(), valid.len()), (seconds, &telemetry), ended);
    Ok(Output { general_loss, ..output })
}

/// Where the state is saved, and what it belongs to: every setting of the job by its name, and the contents of what it
/// reads instead of the paths.
fn checkpoint(job: &Job, model: &Model) -> anyhow::Result<Option<Checkpoint>> {
    let Some(settings) = &job.checkpoints else { return Ok(None) };
    let mut key = match serde_json::to_value(job)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    // The trainer itself compares the spec.
    ["base", "data", "out", "spec", "checkpoints", "started_at"].iter().for_each(|name| drop(key.remove(*name)));
    key.insert("base_sha256".to_owned(), model.sha256.clone().into());
    for file in ["recipe.json", "train.jsonl", "valid.jsonl"] {
        key.insert(file.to_owned(), hash_file(&job.data.join(file))?.into());
    }
    Ok(Some(Checkpoint {
        dir: settings.dir.clone(),
        save_steps: settings.save_steps,
        save_total_limit: settings.save_total_limit,
        key,
    }))
}

/// When training stops for a deadline.
fn early(deadline: Instant, now: Instant) -> Instant {
    let (share, least, most) = MARGIN;
    let margin = (deadline.saturating_duration_since(now).as_secs_f64() * share).clamp(least, most);
    deadline.checked_sub(Duration::from_secs_f64(margin)).unwrap_or(deadline)
}

/// Examples as ids, of which the answer is trained. Rows that are too long are an error: cutting them would teach answers
/// that end nowhere.
fn encoded(examples: &[Example], file: &str, recipe: &Recipe, encoder: &Encoder) -> anyhow::Result<Vec<Sequence>> {
    let limit = recipe.max_length.min(encoder.max_length());
    let mut sequences = Vec::with_capacity(examples.len());
    let mut too_long = 0;
    for example in examples {
        let mut tokens = encoder.prompt(&example.prompt)?;
        let trained_from = tokens.len();
        tokens.extend(encoder.answer(&example.completion)?);
        too_long += usize::from(tokens.len() > limit);
        sequences.push(Sequence::from(tokens, trained_from));
    }
    if too_long > 0 {
        bail!("{too_long} rows of {file} have more than {limit} tokens with this base; prepare the data again");
    }
    Ok(sequences)
}

/// That training diverges, told once while it goes on. Evaluations wobble too much to be told of before the end.
fn alarm(signals: &[Signal], told: &mut bool) -> Option<String> {
    let signal = signals.iter().find(|signal| matches!(signal, Signal::Diverging { .. })).filter(|_| !*told)?;
    *told = true;
    Some(signal.to_string())
}

/// Compares the merged model with the trained numbers on `row`, and with the base on general text.
fn after(
    model: &Model,
    tuned: &Model,
    trained: &Trained,
    row: &Sequence,
) -> anyhow::Result<(Vec<Finding>, (f64, f64))> {
    let (base, merged) = ((&model.config, &model.weights), (&tuned.config, &tuned.weights));
    let mut findings = faults::merged(base, (&trained.slots, &trained.params), merged, row)?;
    let general = General::new(&model.tokenizer, &model.config)?;
    let losses = (general.loss(base)?, general.loss(merged)?);
    findings.extend(general.forgetting(losses.0, losses.1));
    Ok((findings, losses))
}

/// Generates on a few validation prompts and counts how many end by themselves.
fn probe(tuned: &Model, encoder: &Encoder, recipe: &Recipe, valid: &[Example]) -> anyhow::Result<(usize, usize)> {
    let prompts: Vec<Vec<u32>> =
        valid.iter().take(PROBES).map(|example| encoder.prompt(&example.prompt)).collect::<Result<_, _>>()?;
    let sampling = Sampling::greedy(recipe.max_new_tokens, encoder.stops());
    let texts = Session::new(tuned, None)?.generate(&prompts, &sampling, &mut |_, _| {})?;
    Ok((texts.iter().filter(|text| text.stopped).count(), texts.len()))
}

fn output(
    job: &Job,
    report: Report,
    rows: (usize, usize),
    (seconds, telemetry): (f64, &Telemetry),
    ended: (usize, usize),
) -> Output {
    let at_best = |curve: &[(usize, f64)]| {
        curve.iter().find(|(step, _)| Some(*step) == report.best_step).map(|(_, value)| *value)
    };
    let (valid_loss, valid_exact) = (at_best(&report.valid_curve), at_best(&report.exact_curve));
    Output {
        adapter: name(&job.out),
        rows,
        steps: report.steps,
        stopped: report.stopped,
        curve: thinned(&report.curve),
        valid_curve: report.valid_curve,
        exact_curve: report.exact_curve,
        best_step: report.best_step,
        valid_loss,
        valid_exact,
        audit: report.audit,
        max_grad_norm: report.max_grad_norm,
        parameters: report.parameters,
        seconds,
        tokens_per_second: telemetry.tokens_per_second(),
        ended,
        peak_memory: peak_memory(),
        utilisation: telemetry.utilisation(),
        // Without a step in this process, all of them were there already.
        resumed_from: Some(telemetry.resumed_from.unwrap_or(report.steps.0)).filter(|step| *step > 0),
        storage_warnings: report.storage_warnings,
        findings: report.findings,
        general_loss: None,
        signals: report.signals,
    }
}

/// At most [`POINTS`] points, the first and the last among them.
pub(super) fn thinned(curve: &[(usize, f64)]) -> Vec<(usize, f64)> {
    if curve.len() <= POINTS {
        return curve.to_vec();
    }
    (0..POINTS).map(|i| curve[i * (curve.len() - 1) / (POINTS - 1)]).collect()
}
