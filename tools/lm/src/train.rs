//! The training loop: batches, accumulation, optimizer, evaluation, best checkpoint, early stopping, and the checks that
//! make silent failure impossible.

use std::time::{Duration, Instant};

use crate::{
    config::Config,
    engine::{batch::Sequence, device::Compute, params::Method},
    error::Result,
    lora::Adapter,
    weights::Weights,
};

mod audit;
mod batches;
mod checkpoint;
pub mod faults;
mod forecast;
pub mod memory;
mod report;
mod run;
mod spec;
mod state;

use batches::{Data, check, groups_of_step, passed};
use checkpoint::Store;
use memory::{Demand, Memory};
use run::Run;

pub use audit::Audit;
pub use checkpoint::{Checkpoint, StorageWarning};
pub use forecast::{Forecast, forecast};
pub use report::{Progress, Report, Stopped, Trained};
pub use spec::{Objective, Select, Spec, Weighting};

/// What may end training early, and who is told.
pub struct Control<'a> {
    /// Training stops at this time.
    pub deadline: Option<Instant>,
    /// Called after each step; an error ends training.
    pub on: &'a mut dyn FnMut(Progress) -> Result<()>,
    /// Where and how often to save the whole state. A run goes on from what is there.
    pub checkpoint: Option<Checkpoint>,
    /// What memory there is.
    pub memory: Memory<'a>,
}

/// Trains on `train` and evaluates on `valid`. The same spec and rows give the same bytes, for any number of threads, as
/// long as memory does not ask for another [`memory::Plan`].
pub fn train(
    model: (&Config, &Weights),
    how: (&Method, &Spec),
    rows: (&[Sequence], &[Sequence]),
    control: &mut Control<'_>,
) -> Result<Trained> {
    train_from(&Setup::default(), model, how, rows, control)
}

/// Where training starts and where it computes; no part of the spec.
#[derive(Default)]
pub struct Setup<'a> {
    /// The adapter to start from, of the method's configuration; `None`: one that is drawn.
    pub start: Option<&'a Adapter>,
    /// A device; `None`: the CPU with its fused layers.
    pub on: Option<&'a Compute>,
}

/// [`train`] that starts or computes elsewhere.
pub fn train_from(
    setup: &Setup<'_>,
    (config, weights): (&Config, &Weights),
    (method, spec): (&Method, &Spec),
    (train, valid): (&[Sequence], &[Sequence]),
    control: &mut Control<'_>,
) -> Result<Trained> {
    check(config, spec, train, valid)?;
    let demand = Demand::new((config, weights), (method, spec), (train, valid), rayon::current_num_threads());
    let (plan, _) = demand.plan(&control.memory)?;
    let mut run = Run::new((config, weights), (method, spec), setup)?;
    // Before the state of an interrupted run is read: pairs are compared with the model as it was at the start.
    let mut cut = Spec { micro_tokens: plan.micro_tokens, ..spec.clone() };
    let valid_rows = valid;
    let start = (&*run.graph, &run.params);
    let (data, valid) = (Data::new(&cut, train, start)?, Data::new(&cut, valid, start)?);
    run.plan(spec, data.len());
    let store = control.checkpoint.as_ref().map(Store::open).transpose()?;
    if let Some(store) = &store {
        run.resume(store, spec, &data)?;
    }
    run.report.findings = run.before(config, spec, (train, valid_rows))?;
    run.cut(&mut cut, plan.with(run.report.plans.last().map(|(_, plan)| *plan)));
    let mut in_steps = Duration::ZERO;
    // A run that stopped early may have been killed after its last checkpoint.
    while run.report.steps.0 < run.report.steps.1 && run.report.stopped != Stopped::Early {
        let (step, per_epoch) = (run.report.steps.0, run.per_epoch);
        let groups = groups_of_step(spec, data.len(), step);
        let began = Instant::now();
        if control.memory.pressure.is_some_and(|short| short()) {
            run.relieve(&mut cut, &demand);
        }
        let taken = run.step((config, weights), &cut, &data, &groups)?;
        in_steps += began.elapsed();
        let last = step + 1 == run.report.steps.1;
        let due = (last || (step + 1).is_multiple_of(spec.eval_steps.unwrap_or(per_epoch))) && valid.len() > 0;
        // What is trained so far can be kept without an evaluation, but not after the caller's patience has ended.
        let evaluated = !due || run.evaluate(&cut, &valid, control.deadline)?;
        (control.on)(run.progress(taken, due && evaluated, in_steps))?;
        // A state from which an evaluation is missing would go on to other bytes.
        if let Some(store) = store.as_ref().filter(|_| evaluated) {
            let last = last || run.report.stopped == Stopped::Early;
            run.save_if_due(store, spec, last)?;
        }
        if run.report.stopped == Stopped::Early {
            break;
        }
        if !evaluated || (passed(control.deadline) && !last) {
            run.report.stopped = Stopped::Deadline;
            break;
        }
    }
    if run.best.is_none() && run.report.stopped != Stopped::Deadline && valid.len() > 0 {
        run.evaluate(&cut, &valid, control.deadline)?;
    }
    Ok(run.finish())
}
