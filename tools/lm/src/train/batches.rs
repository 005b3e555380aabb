//! Which rows a step takes, which rows can be trained on, and how rows count in an evaluation.

use std::time::Instant;

use super::{Spec, Weighting};
use crate::{
    config::Config,
    engine::{
        Engine,
        batch::{Batch, Sequence, runs},
        head::Loss,
        trained::Params,
    },
    error::{Error, Result},
    rng::Rng,
};

/// Loss and share of exact rows of `rows`, weighted as in training; `None` when the deadline comes first.
pub(super) fn evaluate(
    (engine, params): (&dyn Engine, &Params),
    rows: &[Sequence],
    spec: &Spec,
    deadline: Option<Instant>,
) -> Result<Option<(f64, f64)>> {
    let all: Vec<&Sequence> = rows.iter().collect();
    let targets: usize = rows.iter().map(Sequence::targets).sum();
    let (mut sum, mut exact) = (0.0, 0);
    for micro in micro_batches(&all, spec.micro_tokens) {
        if passed(deadline) {
            return Ok(None);
        }
        let weight = |s: &Sequence| match spec.weighting {
            Weighting::Token => 1.0 / targets as f32,
            Weighting::Row => 1.0 / (rows.len() * s.targets().max(1)) as f32,
        };
        let Loss { sum: part, greedy, .. } = engine.evaluate(&Batch::new(micro, weight), params)?;
        sum += part;
        let mut greedy = greedy.as_slice();
        for row in micro {
            let (own, rest) = greedy.split_at(row.targets());
            exact += usize::from(own.iter().all(|g| *g));
            greedy = rest;
        }
    }
    Ok(Some((sum, exact as f64 / rows.len().max(1) as f64)))
}

/// Whether the time is up.
pub(super) fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Rows that are worked on together.
pub(super) fn micro_batches<'a, 'b>(rows: &'a [&'b Sequence], tokens: usize) -> Vec<&'a [&'b Sequence]> {
    runs(rows, |row| row.tokens.len(), tokens)
}

/// The rows of optimizer step `step` (from 0): a new seeded order for each epoch, which depends on nothing else, so that
/// a resumed run goes on exactly where it was.
pub(super) fn rows_of_step(spec: &Spec, rows: usize, step: usize) -> Vec<usize> {
    let per_epoch = rows.div_ceil(spec.batch_size);
    let (epoch, at) = (step / per_epoch, step % per_epoch);
    let mut order: Vec<usize> = (0..rows).collect();
    Rng::new(spec.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
    order.into_iter().skip(at * spec.batch_size).take(spec.batch_size).collect()
}

/// Whether this can be trained at all.
pub(super) fn check(config: &Config, spec: &Spec, train: &[Sequence], valid: &[Sequence]) -> Result<()> {
    let fail = |why: String| Err(Error::Train(why));
    if train.is_empty() {
        return fail("there are no rows to train on".into());
    }
    if spec.batch_size == 0 || spec.epochs == 0 || spec.micro_tokens == 0 || spec.eval_steps == Some(0) {
        return fail("batch_size, epochs, micro_tokens and eval_steps must be at least 1".into());
    }
    if !(spec.learning_rate > 0.0 && spec.learning_rate.is_finite() && (0.0..).contains(&spec.warmup)) {
        return fail("learning_rate must be above 0 and warmup not negative".into());
    }
    if !(1.0..=1e4).contains(&spec.loraplus_lr_ratio) {
        return fail(format!("loraplus_lr_ratio is {}, it must be at least 1", spec.loraplus_lr_ratio));
    }
    for (name, rows) in [("training", train), ("evaluation", valid)] {
        for (i, row) in rows.iter().enumerate() {
            if row.targets() == 0 {
                return fail(format!("{name} row {} has no token to train: its answer is empty or was cut off", i + 1));
            }
            if row.tokens.len() > config.max_position_embeddings {
                return fail(format!(
                    "{name} row {} has {} tokens, the model takes {}",
                    i + 1,
                    row.tokens.len(),
                    config.max_position_embeddings
                ));
            }
            if let Some(token) = row.tokens.iter().find(|t| **t as usize >= config.vocab_size) {
                return fail(format!("{name} row {} has token {token}, outside the vocabulary", i + 1));
            }
        }
    }
    Ok(())
}
