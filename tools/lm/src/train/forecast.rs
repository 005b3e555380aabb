//! How long training will take and what it will hold, found before it starts.

use std::{sync::Arc, time::Instant};

use super::{
    Run, Setup, Spec,
    batches::{Data, check, groups_of_step},
    memory::{Demand, Estimate, Memory, Plan},
};
use crate::{
    config::Config,
    cost::{Rows, train_flops_per_token},
    engine::{batch::Sequence, params::Method},
    error::Result,
    optim::Rate,
    weights::Weights,
};

/// What a training run is expected to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// How its steps are cut.
    pub plan: Plan,
    /// Bytes that it holds.
    pub memory: Estimate,
    /// Optimizer steps from the start, when nothing stops it early.
    pub steps: usize,
    /// Tokens of these steps.
    pub tokens: usize,
    /// Seconds that they take with their evaluations; a measure of this machine now, never part of a result.
    pub seconds: f64,
}

/// Tokens of the part that is timed, as far as rows allow.
const TIMED: usize = 1024;
/// Seconds of timing after which it is not timed again. The first pass of a process also pages memory in.
const ENOUGH: f64 = 3.0;
/// Most passes that are timed.
const PASSES: usize = 3;

/// Plans a run and times a part of its first step, of which nothing is kept.
pub fn forecast(
    (config, weights): (&Config, &Weights),
    (method, spec): (&Method, &Spec),
    (train, valid): (&[Sequence], &[Sequence]),
    memory: &Memory<'_>,
) -> Result<Forecast> {
    check(config, spec, train, valid)?;
    let demand = Demand::new((config, weights), (method, spec), (train, valid), rayon::current_num_threads());
    let (plan, estimate) = demand.plan(memory)?;
    let amount = demand.amount();
    let mut run = Run::new((config, weights), (method, spec), &Setup::default())?;
    run.graph.set_recompute(plan.recompute);
    let data = Data::without_references(spec, train);
    run.plan(spec, data.len());
    let groups = groups_of_step(spec, data.len(), 0);
    let part = data.parts(&groups, &Spec { micro_tokens: plan.micro_tokens.min(TIMED), ..spec.clone() });
    let Some((taken, batch)) = part.into_iter().next() else {
        return Ok(Forecast { plan, memory: estimate, steps: 0, tokens: 0, seconds: 0.0 });
    };
    let tokens = batch.tokens.len();
    let rows = Rows::of(&data.rows_of(taken));
    let batch = Arc::new(if run.dropout { batch.with_dropout(spec.seed, 1, 0) } else { batch });

    let mut grads = Vec::new();
    let pass = timed(|| run.accumulate(&batch, &mut grads, 1).map(drop))?;
    let rate = Rate { lr: 0.0, decay: 0.0 };
    let update = timed(|| {
        let (_, factor) = crate::optim::clip(&grads, spec.max_grad_norm);
        run.update(&grads, factor, rate, spec.loraplus_lr_ratio)
    })?;
    let look = timed(|| run.graph.evaluate(&batch, &run.params).map(drop))?;

    let flops = |rows| train_flops_per_token(config, method, rows);
    let work = flops(amount.rows)? * amount.tokens as f64 / (flops(rows)? * tokens as f64);
    let all = |rows: &[Sequence]| rows.iter().map(|row| row.tokens.len()).sum::<usize>();
    // Pairs are compared with the model as it was, once.
    let references = if data.has_references() { all(train) + all(valid) } else { 0 };
    let looked = (amount.evaluations * all(valid) + references) as f64 / tokens as f64;
    let seconds = pass * work + update * amount.steps as f64 + look * looked;
    Ok(Forecast { plan, memory: estimate, steps: amount.steps, tokens: amount.tokens, seconds })
}

/// Seconds of the fastest of a few calls.
fn timed(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut best, mut spent) = (f64::INFINITY, 0.0);
    for _ in 0..PASSES {
        let began = Instant::now();
        f()?;
        let seconds = began.elapsed().as_secs_f64();
        (best, spent) = (best.min(seconds), spent + seconds);
        if spent > ENOUGH {
            break;
        }
    }
    Ok(best)
}
