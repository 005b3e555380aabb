//! The worker's part of `train`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::json;
use tunesmith_harness::recipe::{Example, Recipe};
use tunesmith_lm::{
    engine::{batch::Sequence, device::compute, params::Method},
    generate::{Sampling, Session},
    lora::{Adapter, LoraConfig, Targets},
    model::{Model, hash_file},
    train::{Control, Progress, Report, Stopped, train_on},
};

use super::{Job, Output, RECORD, Record};
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
    let on_device = compute(&job.device)?;
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
    std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {}", name(&job.out)))?;
    let mut log = Log::create(&job.out.join("log.jsonl"))?;
    let began = Instant::now();
    let deadline = live.deadline.map(|at| early(at, began));
    let mut speed = 0.0;
    let mut on = |progress: Progress| {
        speed = progress.tokens as f64 / progress.seconds.max(1e-9);
        log.write(&progress).map_err(|e| tunesmith_lm::error::Error::io("cannot write", Path::new("log.jsonl"), e))?;
        live.tick(tick(&progress));
        Ok(())
    };
    let mut control = Control { deadline, on: &mut on, checkpoint: None };
    let method = Method::Lora(lora.clone());
    let (base, rows) = ((&model.config, &model.weights), (&training[..], &valid[..]));
    let trained = train_on(on_device.as_ref(), base, (&method, &job.spec), rows, &mut control)?;
    let seconds = began.elapsed().as_secs_f64();

    let adapter = trained.params.adapter(&lora, &trained.slots);
    adapter.save(&job.out, &model.config)?;
    let record = Record {
        base_sha256: model.sha256.clone(),
        data_sha256: hash_file(&job.data.join("train.jsonl"))?,
        spec: job.spec.clone(),
        device: job.device.clone(),
    };
    write_json(&job.out.join(RECORD), &record)?;
    // What there is no time for is not tried; then nothing is claimed about it either.
    let ended = match trained.report.stopped {
        Stopped::Deadline => (0, 0),
        _ => probe(&model, &adapter, &encoder, &recipe, &valid_rows)?,
    };
    Ok(output(job, trained.report, (training.len(), valid.len()), (seconds, speed), ended))
}

/// When training stops for a deadline.
fn early(deadline: Instant, now: Instant) -> Instant {
    let (share, least, most) = MARGIN;
    let margin = (deadline.saturating_duration_since(now).as_secs_f64() * share).clamp(least, most);
    deadline.checked_sub(Duration::from_secs_f64(margin)).unwrap_or(deadline)
}

fn tick(progress: &Progress) -> Tick {
    Tick {
        what: "train".into(),
        done: progress.step,
        total: progress.total,
        loss: Some(progress.loss),
        valid_loss: progress.valid_loss,
        tokens: Some(progress.tokens),
    }
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
    (seconds, tokens_per_second): (f64, f64),
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
        tokens_per_second,
        ended,
        peak_memory: peak_memory(),
    }
}

/// Most memory that this process has held so far, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// At most [`POINTS`] points, the first and the last among them.
pub(super) fn thinned(curve: &[(usize, f64)]) -> Vec<(usize, f64)> {
    if curve.len() <= POINTS {
        return curve.to_vec();
    }
    (0..POINTS).map(|i| curve[i * (curve.len() - 1) / (POINTS - 1)]).collect()
}

/// The training log, one line per step, for whoever reads it while training goes on or after a crash.
struct Log {
    out: BufWriter<File>,
    valid_loss: Option<f64>,
}

impl Log {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", name(path)))?;
        Ok(Log { out: BufWriter::new(file), valid_loss: None })
    }

    fn write(&mut self, progress: &Progress) -> io::Result<()> {
        let mut line = json!({"step": progress.step, "loss": progress.loss, "tokens": progress.tokens});
        if progress.valid_loss != self.valid_loss {
            self.valid_loss = progress.valid_loss;
            line["valid_loss"] = json!(progress.valid_loss);
        }
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}
