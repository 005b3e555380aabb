//! The worker's part of `train`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use tunesmith_harness::recipe::{Example, Recipe};
use tunesmith_lm::{
    cost,
    engine::{batch::Sequence, params::Method},
    generate::{Sampling, Session},
    lora::{Adapter, LoraConfig, Targets},
    model::{Model, hash_file},
    train::{Checkpoint, Control, Progress, Report, Stopped, forecast, memory::Memory, train},
};

use super::{
    Job, Outlook, Output, RECORD, Record,
    outlook::{self, Held},
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
    let lora = LoraConfig {
        r: job.r,
        lora_alpha: job.lora_alpha,
        target_modules: Targets::Names(job.target_modules.clone()),
        base_model_name_or_path: Some(name(&job.base)),
        ..LoraConfig::default()
    };
    lora.check()?;
    let method = Method::Lora(lora.clone());
    let limit = outlook::limit(job.memory);
    let (held, short) = (Held::now(), || outlook::short(limit));
    let memory = Memory { limit, held: held.own, peak: held.peak, pressure: Some(&short) };
    let (base, how) = ((&model.config, &model.weights), (&method, &job.spec));
    let estimate = Outlook::new(forecast(base, how, (&training, &valid), &memory)?, limit);
    if job.dry_run {
        let rows = (training.len(), valid.len());
        return Ok(Output { rows, steps: (0, estimate.steps), estimate: Some(estimate), ..Output::default() });
    }
    for note in estimate.lines(&job.spec) {
        live.tick(Tick { what: "train".into(), total: estimate.steps, note: Some(note), ..Tick::default() });
    }
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {}", name(&job.out)))?;
    let flops = cost::train_flops_per_token(&model.config, &method, cost::Rows::of(&training))?;
    let mut telemetry = Telemetry::new(&job.out, job.started_at, Some((flops, cost::peak_flops())));
    let checkpoint = checkpoint(job, &model)?;
    let began = Instant::now();
    let deadline = live.deadline.map(|at| early(at, began));
    let (mut told, mut plan) = (0, None);
    let mut on = |progress: Progress| {
        told += progress.warnings.len();
        let before = plan.replace(progress.plan).filter(|before| *before != progress.plan);
        let change = before.and_then(|before| outlook::changed(Some(before.micro_tokens), progress.plan));
        let note = change.map(|change| format!("{change} from step {} on: memory is short", progress.step));
        live.tick(Tick { note, ..telemetry.step(&progress) });
        Ok(())
    };
    let mut control = Control { deadline, on: &mut on, checkpoint, memory };
    let mut trained = train(base, how, (&training, &valid), &mut control)?;
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
        spec: job.spec.clone(),
    };
    write_json(&job.out.join(RECORD), &record)?;
    // What there is no time for is not tried; then nothing is claimed about it either.
    let ended = match trained.report.stopped {
        Stopped::Deadline => (0, 0),
        _ => probe(&model, &adapter, &encoder, &recipe, &valid_rows)?,
    };
    let output = output(job, trained.report, (training.len(), valid.len()), (seconds, &telemetry), ended);
    Ok(Output { estimate: Some(estimate), ..output })
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
    ["base", "data", "out", "spec", "checkpoints", "memory", "dry_run", "started_at"]
        .iter()
        .for_each(|name| drop(key.remove(*name)));
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

/// Generates on a few validation prompts and counts how many end by themselves.
fn probe(
    model: &Model,
    adapter: &Adapter,
    encoder: &Encoder,
    recipe: &Recipe,
    valid: &[Example],
) -> anyhow::Result<(usize, usize)> {
    let prompts: Vec<Vec<u32>> =
        valid.iter().take(PROBES).map(|example| encoder.prompt(&example.prompt)).collect::<Result<_, _>>()?;
    let sampling = Sampling::greedy(recipe.max_new_tokens, encoder.stops());
    let texts = Session::new(model, Some(adapter))?.generate(&prompts, &sampling, &mut |_, _| {})?;
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
        estimate: None,
        plans: report.plans,
        peak_memory: peak_memory(),
        utilisation: telemetry.utilisation(),
        // Without a step in this process, all of them were there already.
        resumed_from: Some(telemetry.resumed_from.unwrap_or(report.steps.0)).filter(|step| *step > 0),
        storage_warnings: report.storage_warnings,
    }
}

/// At most [`POINTS`] points, the first and the last among them.
pub(super) fn thinned(curve: &[(usize, f64)]) -> Vec<(usize, f64)> {
    if curve.len() <= POINTS {
        return curve.to_vec();
    }
    (0..POINTS).map(|i| curve[i * (curve.len() - 1) / (POINTS - 1)]).collect()
}
