//! The worker's part of `train`.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value};
use tunesmith_harness::{hash::sha256, run::write_json};
use tunesmith_lm::{
    cost,
    engine::{batch::Sequence, device::compute, params::Method},
    generate::{Sampling, Session},
    model::{Model, hash_file},
    train::{
        Checkpoint, Control, Progress, Report, Setup, Stopped, Trained,
        faults::{self, Finding, General, Signal},
        forecast,
        memory::Memory,
        train_from,
    },
    weights::Dtype,
};

use super::{
    FILES, Goal, Job, Outlook, Output, Provenance, RECORD, Record,
    data::Data,
    outlook::{self, Held},
    telemetry::{Telemetry, peak_memory},
    warning,
};
use crate::{
    files::name,
    hub::download::Source,
    model_files,
    worker::{Live, Tick},
};

/// Points of the curve in the output; log.jsonl has all.
const POINTS: usize = 200;

/// Validation prompts on which it is tried whether generations end.
const PROBES: usize = 8;

/// Kept free before the deadline, to evaluate and write the adapter: a share of the time, within bounds in seconds.
const MARGIN: (f64, f64, f64) = (0.05, 2.0, 20.0);

pub(super) fn run(job: &Job, live: &mut Live<'_>) -> anyhow::Result<Output> {
    let on_device = compute(&job.device)?;
    job.settings.check().map_err(anyhow::Error::msg)?;
    let model = Model::open(&job.base).context("the base cannot be used")?;
    let data = Data::load(job, &model)?;
    let mut findings = match &data.tally {
        None => faults::rows(&model.tokenizer, &data.train)?,
        Some(tally) => faults::tally(tally),
    };
    findings.extend(faults::export(&model.config, &model.tokenizer));
    let mut findings = faults::stopping(findings)?;
    let spec = job.settings.spec(job.seed, model.config.max_position_embeddings);
    let (base, revision) = match Source::origin(&job.base) {
        Some(repo) => (repo.id(), repo.revision),
        None => (name(&job.base), None),
    };
    let method = job.settings.trained(base, revision)?;
    let limit = outlook::limit(job.memory);
    let (held, short) = (Held::now(), || outlook::short(limit));
    let memory = Memory { limit, held: held.own, peak: held.peak, pressure: Some(&short) };
    let (base, how, rows) = ((&model.config, &model.weights), (&method, &spec), (&data.train[..], &data.valid[..]));
    let estimate = Outlook::new(forecast(base, how, rows, &memory)?, limit);
    if job.dry_run {
        let rows = counts(job, &data);
        return Ok(Output { rows, steps: (0, estimate.steps), estimate: Some(estimate), ..Output::default() });
    }
    for note in estimate.lines(spec.micro_tokens) {
        live.tick(Tick { what: "train".into(), total: estimate.steps, note: Some(note), ..Tick::default() });
    }
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {}", name(&job.out)))?;
    let flops = cost::train_flops_per_token(&model.config, &method, cost::Rows::of(&data.train))?;
    let mut telemetry = Telemetry::new(&job.out, job.started_at, Some((flops, cost::peak_flops())));
    let checkpoint = checkpoint(job, &model, &data)?;
    let began = Instant::now();
    let deadline = live.deadline.map(|at| early(at, began));
    let (mut told, mut alarmed, mut plan) = (0, false, None);
    let mut on = |progress: Progress| {
        told += progress.warnings.len();
        let before = plan.replace(progress.plan).filter(|before| *before != progress.plan);
        let change = before.and_then(|before| outlook::changed(Some(before.micro_tokens), progress.plan));
        let note = change.map(|change| format!("{change} from step {} on: memory is short", progress.step));
        let mut tick = Tick { note, ..telemetry.step(&progress) };
        let lines: Vec<String> = tick.warning.into_iter().chain(alarm(&progress.signals, &mut alarmed)).collect();
        tick.warning = (!lines.is_empty()).then(|| lines.join("; "));
        live.tick(tick);
        Ok(())
    };
    let mut control = Control { deadline, on: &mut on, checkpoint, memory };
    let setup = Setup { start: None, on: on_device.as_ref() };
    let mut trained = train_from(&setup, base, how, rows, &mut control)?;
    let seconds = began.elapsed().as_secs_f64();
    // What went wrong with files after the last step was told.
    if let Some(late) = warning(trained.report.storage_warnings.get(told..).unwrap_or_default()) {
        let (done, total) = trained.report.steps;
        live.tick(Tick { what: "train".into(), done, total, warning: Some(late), ..Tick::default() });
    }
    trained.report.storage_warnings.append(&mut telemetry.warnings);

    let (tuned, seen) = save(job, &model, &method, &trained)?;
    findings.extend(seen);
    let record = Record {
        base_sha256: model.sha256.clone(),
        data_sha256: data_sha256(&data),
        template_sha256: model.chat.as_ref().map(faults::template_sha256),
        spec,
        device: job.device.clone(),
    };
    write_json(&job.out.join(RECORD), &record)?;
    let provenance = Some(provenance(job, record, &data)?);
    // What there is no time for is not tried; then nothing is claimed about it either.
    let (mut ended, mut general_loss) = ((0, 0), None);
    if trained.report.stopped != Stopped::Deadline {
        let row = data.valid.first().or(data.train.first()).context("there are no rows")?;
        let (seen, losses) = after(&model, &tuned, &trained, row)?;
        findings.extend(seen);
        general_loss = Some(losses);
        ended = probe(&tuned, &data)?;
        findings.extend(faults::ends(ended));
    }
    findings.append(&mut trained.report.findings);
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let ((done, total), warning) = (trained.report.steps, Some(lines.join("; ")));
        live.tick(Tick { what: "train".into(), done, total, warning, ..Tick::default() });
    }
    trained.report.findings = findings;
    let output = output(job, trained.report, counts(job, &data), (seconds, &telemetry), ended);
    Ok(Output { tally: data.tally, general_loss, estimate: Some(estimate), provenance, ..output })
}

/// What was made of what: hashes of the rows as they were read, and of the files as they were written.
fn provenance(job: &Job, record: Record, data: &Data) -> anyhow::Result<Provenance> {
    let there = FILES.iter().map(|file| (file, job.out.join(file))).filter(|(_, path)| path.is_file());
    let hashed = there.map(|(file, path)| {
        let bytes = std::fs::metadata(&path).with_context(|| format!("cannot read {file}"))?.len();
        Ok(((*file).to_owned(), (bytes, hash_file(&path)?)))
    });
    let text = |hash: &Value| hash.as_str().unwrap_or_default().to_owned();
    Ok(Provenance {
        base_sha256: record.base_sha256,
        seed: job.seed,
        data: name(&job.data),
        data_sha256: data.hashes.iter().map(|(file, hash)| (file.clone(), text(hash))).collect(),
        files: hashed.collect::<anyhow::Result<_>>()?,
    })
}

/// Rows that are trained on and validated on; a pair of answers is one.
fn counts(job: &Job, data: &Data) -> (usize, usize) {
    let together = if job.settings.objective == Some(Goal::Dpo) { 2 } else { 1 };
    (data.train.len() / together, data.valid.len() / together)
}

/// Writes what was trained, an adapter or a whole model; returns the model as it will be used, and what is wrong with it.
fn save(job: &Job, model: &Model, method: &Method, trained: &Trained) -> anyhow::Result<(Model, Option<Finding>)> {
    match method {
        Method::Lora(lora) => {
            let adapter = trained.params.adapter(lora, &trained.slots);
            adapter.save(&job.out, &model.config)?;
            let (config, weights) = adapter.merge(&model.weights, &model.config)?;
            Ok((Model { config, weights, ..model.clone() }, faults::adapter(&job.out, &model.config, &adapter)))
        }
        Method::Full => {
            let weights = trained.params.weights(&trained.slots, &model.weights);
            let tuned = Model { weights, ..model.clone() };
            model_files::write(&job.base, &tuned, &job.out, Dtype::F32)?;
            Ok((tuned, None))
        }
    }
}

/// The hash of what was trained on: of the training rows of a prepared directory, of the file of rows, or of the names and
/// hashes of several.
fn data_sha256(data: &Data) -> String {
    let hashes = &data.hashes;
    let prepared = hashes.contains_key("recipe.json");
    let part = ["train.jsonl", "train.parquet"].iter().find_map(|name| hashes.get(*name)).filter(|_| prepared);
    match part.or(hashes.values().next().filter(|_| hashes.len() == 1)) {
        Some(hash) => hash.as_str().unwrap_or_default().to_owned(),
        None => sha256(Value::from(hashes.clone()).to_string().as_bytes()),
    }
}

/// Where the state is saved, and what it belongs to: every setting of the job by its name, and the contents of what it
/// reads instead of the paths.
fn checkpoint(job: &Job, model: &Model, data: &Data) -> anyhow::Result<Option<Checkpoint>> {
    let Some(settings) = &job.checkpoints else { return Ok(None) };
    let mut key = match serde_json::to_value(job)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    // Settings are compared one by one, so that the one that differs is named; the trainer compares its own.
    if let Some(Value::Object(settings)) = key.remove("settings") {
        key.extend(settings);
    }
    ["base", "data", "out", "checkpoints", "memory", "dry_run", "started_at"]
        .iter()
        .for_each(|name| drop(key.remove(*name)));
    key.insert("base_sha256".to_owned(), model.sha256.clone().into());
    key.extend(data.hashes.clone());
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
fn probe(tuned: &Model, data: &Data) -> anyhow::Result<(usize, usize)> {
    let sampling = Sampling::greedy(data.max_new_tokens, data.stops.clone());
    let texts = Session::new(tuned, None)?.generate(&data.prompts(PROBES), &sampling, &mut |_, _| {})?;
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
        provenance: None,
        rows,
        tally: None,
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
