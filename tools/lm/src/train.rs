//! The training loop: batches, accumulation, optimizer, evaluation, best checkpoint, early stopping, and the checks that
//! make silent failure impossible.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    engine::{
        Engine,
        batch::{Batch, Sequence},
        composed::Composed,
        device::Compute,
        graph::Graph,
        params::{LayerSlots, Method, Slots},
        return_freed_memory,
        trained::Params,
    },
    error::{Error, Result},
    lora::Adapter,
    optim::{AdamW, Course, Rate, Schedule, clip, steps_of},
    rng::Rng,
    weights::Weights,
};

mod audit;
mod batches;
mod checkpoint;
pub mod faults;
mod forecast;
pub mod memory;
mod state;

use batches::{Data, check, groups_of_step, passed};
use checkpoint::Store;
use faults::{Finding, Signal, signals};
use memory::{Demand, Memory, Plan};

pub use audit::Audit;
pub use checkpoint::{Checkpoint, StorageWarning};
pub use forecast::{Forecast, forecast};

/// Everything that decides a training run. Names follow PEFT's and transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Passes over the rows.
    pub epochs: usize,
    /// Stops after this many optimizer steps, if that is sooner; the schedule is laid out for it.
    pub max_steps: Option<usize>,
    /// Rows, packs of rows or pairs of answers per optimizer step.
    pub batch_size: usize,
    /// Tokens worked on at a time; a step with more accumulates gradients, with the same result.
    pub micro_tokens: usize,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Warm-up: steps when at least 1, else a share of all steps.
    pub warmup: f64,
    /// Length of the last fall of [`Schedule::WarmupStableDecay`]: steps when at least 1, else a share of all steps.
    pub decay: f64,
    /// Floor of the learning rate of [`Schedule::Cosine`] and [`Schedule::WarmupStableDecay`], as a share of its peak.
    pub min_lr_ratio: f64,
    /// Decoupled weight decay; never on norms and biases.
    pub weight_decay: f64,
    /// LoRA+: how much faster B learns than A (Hayou et al., 2024); 1 is plain LoRA.
    pub loraplus_lr_ratio: f64,
    /// Largest norm of the gradient; `None` does not clip.
    pub max_grad_norm: Option<f64>,
    /// How rows of different lengths count.
    pub weighting: Weighting,
    /// Optimizer steps between evaluations; `None` evaluates after each epoch.
    pub eval_steps: Option<usize>,
    /// Evaluations without improvement before training stops early; `None` never does. With [`Select::Exact`] it also
    /// stops when every row is exact.
    pub patience: Option<usize>,
    /// What "best" means.
    pub select: Select,
    /// Most tokens of rows that are packed to count as one of `batch_size`; `None`: each row counts alone.
    pub packing: Option<usize>,
    /// What is learned from the rows.
    pub objective: Objective,
    /// Whether each epoch takes the rows in another order.
    pub shuffle: bool,
    /// Seed of initial adapters, of the order of rows and of dropout.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            learning_rate: 2e-4,
            epochs: 3,
            max_steps: None,
            batch_size: 16,
            micro_tokens: 4096,
            schedule: Schedule::Linear,
            warmup: 0.0,
            decay: 0.1,
            min_lr_ratio: 0.0,
            weight_decay: 0.0,
            loraplus_lr_ratio: 1.0,
            max_grad_norm: Some(1.0),
            weighting: Weighting::Token,
            eval_steps: None,
            patience: None,
            select: Select::Loss,
            packing: None,
            objective: Objective::Sft,
            shuffle: true,
            seed: 0,
        }
    }
}

impl Spec {
    /// The learning rate of each of `total` steps.
    pub fn course(&self, total: usize) -> Course {
        let Spec { schedule, min_lr_ratio, .. } = *self;
        let (warmup, decay) = (steps_of(self.warmup, total), steps_of(self.decay, total));
        Course { schedule, warmup, decay, total, min_lr_ratio }
    }
}

/// What is learned from the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// To say the trained tokens of each row.
    #[default]
    Sft,
    /// To prefer the chosen to the rejected answer (Rafailov et al., 2023). Rows are pairs, chosen and rejected in turn.
    Dpo {
        /// How strongly the model is held to what it was.
        beta: f64,
    },
}

/// How rows of different lengths count in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// Each trained token of the step counts the same, over all accumulated parts (transformers' rule).
    #[default]
    Token,
    /// Each row counts the same: the mean over its tokens, then over the rows.
    Row,
}

/// Which checkpoint is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The lowest evaluation loss.
    #[default]
    Loss,
    /// The highest share of rows that greedy decoding answers exactly; the loss breaks ties.
    Exact,
}

/// A finished training run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The trained numbers at the best evaluation (at the end, where none was finished).
    pub params: Params,
    /// Their layout.
    pub slots: Slots,
    /// What happened.
    pub report: Report,
}

/// What happened in a training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Optimizer steps taken and planned.
    pub steps: (usize, usize),
    /// `(step, training loss)` in nats per token (per row with [`Weighting::Row`]).
    pub curve: Vec<(usize, f64)>,
    /// `(step, evaluation loss)`.
    pub valid_curve: Vec<(usize, f64)>,
    /// `(step, share of evaluation rows that are right)`: that greedy decoding answers exactly, given the right tokens so
    /// far; with [`Objective::Dpo`], pairs whose chosen answer has gained more than the rejected one.
    pub exact_curve: Vec<(usize, f64)>,
    /// Step of the best evaluation; `None` where none was finished.
    pub best_step: Option<usize>,
    /// Why it ended.
    pub stopped: Stopped,
    /// The gradient audit.
    pub audit: Audit,
    /// Largest norm of the gradient before clipping.
    pub max_grad_norm: f64,
    /// Tokens worked through in training.
    pub tokens: usize,
    /// Of these, tokens that were predicted.
    pub trained_tokens: usize,
    /// Numbers that were trained.
    pub parameters: usize,
    /// How steps were cut into parts, each from the step after this one on; where memory was short, not as asked.
    #[serde(default)]
    pub plans: Vec<(usize, Plan)>,
    /// What went wrong with files in this process, without ending the run.
    #[serde(default)]
    pub storage_warnings: Vec<StorageWarning>,
    /// Faults that were found and did not stop training.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the curves say at the end.
    #[serde(default)]
    pub signals: Vec<Signal>,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All planned steps were taken.
    #[default]
    Done,
    /// The evaluation had not improved for too long, or could not improve.
    Early,
    /// The deadline came first.
    Deadline,
}

/// How far training is, for whoever watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: usize,
    /// Optimizer steps planned.
    pub total: usize,
    /// Passes over the rows so far, with the part of the last one.
    pub epoch: f64,
    /// Loss of this step.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of this step's gradient before clipping.
    pub grad_norm: f64,
    /// Loss of the last evaluation.
    pub valid_loss: Option<f64>,
    /// Share of exact rows in the last evaluation.
    pub valid_exact: Option<f64>,
    /// Whether that evaluation was made after this step.
    pub evaluated: bool,
    /// Tokens worked through so far by this process.
    pub tokens: usize,
    /// Tokens worked through so far in the whole run, also before it was interrupted.
    pub all_tokens: usize,
    /// Seconds that this process spent in optimizer steps alone; never part of a result.
    pub seconds: f64,
    /// How this step was cut into parts.
    pub plan: Plan,
    /// What went wrong with files since the last call.
    pub warnings: Vec<StorageWarning>,
    /// What the curves say so far, looked at with each evaluation and after each hundredth of the steps.
    pub signals: Vec<Signal>,
}

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
/// long as memory does not ask for another [`Plan`].
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

/// Everything that changes while training.
struct Run {
    graph: Box<dyn Engine>,
    params: Params,
    adam: AdamW,
    report: Report,
    best: Option<Best>,
    since_best: usize,
    per_epoch: usize,
    resumed_tokens: usize,
    dropout: bool,
    /// How many storage warnings were told.
    told: usize,
    signals: Vec<Signal>,
}

/// The figures of one optimizer step.
#[derive(Clone, Copy)]
struct Taken {
    loss: f64,
    learning_rate: f64,
    grad_norm: f64,
}

struct Best {
    value: (f64, f64),
    params: Params,
}

impl Run {
    fn new(
        (config, weights): (&Config, &Weights),
        (method, spec): (&Method, &Spec),
        setup: &Setup<'_>,
    ) -> Result<Self> {
        let slots = Slots::new(config, method)?;
        let params = match setup.start {
            None => Params::initial(&slots, config, weights, &mut Rng::new(spec.seed, "adapter")),
            Some(adapter) if matches!(method, Method::Lora(lora) if *lora == adapter.config) => {
                adapter.check(config)?;
                Params::of_adapter(&slots, config, weights, adapter)
            }
            Some(_) => {
                let why = "the adapter to start from has another configuration: train with its";
                return Err(Error::Train(why.into()));
            }
        };
        let graph: Box<dyn Engine> = match setup.on {
            None => Box::new(Graph::new(config, weights, slots, &params)?),
            Some(on) => Box::new(Composed::new(config, weights, slots, &params, on)?),
        };
        let report = Report { parameters: params.vectors().map(Vec::len).sum(), ..Report::default() };
        let adam = AdamW::new(params.vectors().map(Vec::len));
        let dropout = matches!(method, Method::Lora(lora) if lora.lora_dropout > 0.0);
        Ok(Run {
            graph,
            params,
            adam,
            report,
            best: None,
            since_best: 0,
            per_epoch: 0,
            resumed_tokens: 0,
            dropout,
            told: 0,
            signals: Vec::new(),
        })
    }

    /// Lays out the steps for so many groups of rows.
    fn plan(&mut self, spec: &Spec, groups: usize) {
        self.per_epoch = groups.div_ceil(spec.batch_size);
        let all = self.per_epoch.saturating_mul(spec.epochs);
        self.report.steps.1 = spec.max_steps.map_or(all, |max| max.min(all));
    }

    /// Cuts the next steps by `plan`, and writes that down.
    fn cut(&mut self, spec: &mut Spec, plan: Plan) {
        spec.micro_tokens = plan.micro_tokens;
        self.graph.set_recompute(plan.recompute);
        if self.report.plans.last().is_none_or(|(_, last)| *last != plan) {
            self.report.plans.push((self.report.steps.0, plan));
        }
    }

    /// Takes less memory from the next step on, where that is possible, and gives back what is free.
    fn relieve(&mut self, spec: &mut Spec, demand: &Demand<'_>) {
        if let Some(less) = self.report.plans.last().and_then(|(_, plan)| demand.less(*plan)) {
            self.cut(spec, less);
        }
        return_freed_memory();
    }

    /// Looks for faults that can be seen before the first step.
    fn before(&self, config: &Config, spec: &Spec, (train, valid): (&[Sequence], &[Sequence])) -> Result<Vec<Finding>> {
        let together = if matches!(spec.objective, Objective::Dpo { .. }) { 2 } else { 1 };
        let mut findings = faults::leakage(train, valid, together);
        if spec.batch_size > 1 || spec.packing.is_some() || together > 1 {
            // Two short rows show as much as two long ones.
            let mut rows: Vec<&Sequence> = train.iter().collect();
            rows.sort_by_key(|row| row.tokens.len());
            rows.truncate(2);
            let log_p = |batch: Batch| Ok(self.graph.loss(&Arc::new(batch))?.1.log_p);
            findings.extend(faults::packing(&Batch::new(&rows, |_| 1.0), &rows, config.vocab_size, log_p)?);
        }
        faults::stopping(findings)
    }

    /// One optimizer step.
    fn step(&mut self, model: (&Config, &Weights), spec: &Spec, data: &Data<'_>, groups: &[usize]) -> Result<Taken> {
        let step = self.report.steps.0 + 1;
        let (mut grads, mut loss, mut first) = (Vec::new(), 0.0, 0);
        let parts = data.parts(groups, spec);
        let attends = parts.iter().any(|(_, batch)| batch.attends());
        if let Some(finding) = faults::accumulation(parts.iter().map(|(_, batch)| batch)) {
            return Err(finding.into());
        }
        for (_, batch) in parts {
            let sequences = batch.sequences.len();
            let batch = Arc::new(if self.dropout { batch.with_dropout(spec.seed, step, first) } else { batch });
            loss += self.accumulate(&batch, &mut grads, step)?;
            self.report.tokens += batch.tokens.len();
            first += sequences;
        }
        self.report.trained_tokens += data.targets(groups);
        let (norm, factor) = clip(&grads, spec.max_grad_norm);
        if !loss.is_finite() || !norm.is_finite() {
            let (rows, place) = self.not_finite(model, spec, data, groups)?;
            let slots = self.graph.slots();
            return Err(faults::not_finite((step, loss, norm), &rows, place, (slots, &grads)).into());
        }
        self.report.max_grad_norm = self.report.max_grad_norm.max(norm);
        let course = spec.course(self.report.steps.1);
        let rate = |step: usize| spec.learning_rate * course.factor(step - 1);
        let moved = |step: usize| (1..step).any(|before| rate(before) > 0.0);
        let audited = audit::Step { number: step, first_moved: step <= 3 && moved(step) && !moved(step - 1), attends };
        let lr = rate(step);
        self.report.audit.check(audited, self.graph.slots(), &grads)?;
        self.update(&grads, factor, Rate { lr, decay: spec.weight_decay }, spec.loraplus_lr_ratio)?;
        self.report.steps.0 = step;
        self.report.curve.push((step, loss));
        Ok(Taken { loss, learning_rate: lr, grad_norm: norm })
    }

    /// Rows of the first part of a step whose numbers are not finite, and where they begin; all rows of the step where the
    /// forward pass has none such.
    fn not_finite(
        &self,
        (config, weights): (&Config, &Weights),
        spec: &Spec,
        data: &Data<'_>,
        groups: &[usize],
    ) -> Result<(Vec<usize>, Option<String>)> {
        let graph = Graph::new(config, weights, self.graph.slots().clone(), &self.params)?;
        for (part, batch) in data.parts(groups, spec) {
            if let Some(place) = graph.first_not_finite(&batch, &self.params) {
                return Ok((data.indices_of(part), Some(place)));
            }
        }
        Ok((data.indices_of(groups), None))
    }

    /// Adds the gradients of one part of a step to `grads`.
    fn accumulate(&mut self, batch: &Arc<Batch>, grads: &mut Vec<Vec<f32>>, step: usize) -> Result<f64> {
        let (loss, figures) = self.graph.loss(batch)?;
        let store = loss.backward()?;
        if grads.is_empty() {
            grads.extend(self.params.vectors().map(|values| vec![0.0; values.len()]));
        }
        for (i, var) in self.graph.trained().iter() {
            let Some(grad) = store.get(var) else {
                let name = self.graph.trained().name(i);
                return Err(audit::cut(format!("no gradient reached {name} at step {step}")));
            };
            add_to(&mut grads[i], grad)?;
        }
        Ok(figures.sum)
    }

    /// Groups as in transformers and PEFT: norms and biases are spared the decay; with LoRA+, B and all other vectors
    /// learn faster.
    fn update(&mut self, grads: &[Vec<f32>], factor: f32, rate: Rate, ratio: f64) -> Result<()> {
        self.adam.begin();
        let slots = self.graph.slots();
        // Outside the layers: last norm, embedding, output layer.
        let outer = ["norm", "", ""].map(|name| vec![(name.to_owned(), 0..usize::MAX)]);
        let tensors = slots.layers.iter().map(LayerSlots::tensors).chain(outer);
        for (i, ((params, grad), tensors)) in self.params.vectors_mut().zip(grads).zip(tensors).enumerate() {
            for (name, range) in tensors {
                let (norm, bias) = (name.contains("norm"), name.ends_with(".bias"));
                let fast = norm || bias || name.ends_with("lora_B.weight") || name.ends_with("magnitude_vector");
                let rate = Rate {
                    lr: if fast { rate.lr * ratio } else { rate.lr },
                    decay: if norm || bias { 0.0 } else { rate.decay },
                };
                self.adam.update(i, range.start..range.end.min(grad.len()), params, grad, factor, rate);
            }
        }
        self.graph.trained().set(&self.params)
    }

    /// Evaluates and keeps the best parameters; false when the deadline came first.
    fn evaluate(&mut self, spec: &Spec, valid: &Data<'_>, deadline: Option<Instant>) -> Result<bool> {
        let step = self.report.steps.0;
        let Some((loss, exact)) = valid.evaluate((&*self.graph, &self.params), spec, deadline)? else {
            return Ok(false);
        };
        self.report.valid_curve.push((step, loss));
        self.report.exact_curve.push((step, exact));
        let value = match spec.select {
            Select::Loss => (-loss, exact),
            Select::Exact => (exact, -loss),
        };
        if self.best.as_ref().is_none_or(|best| value > best.value) {
            self.best = Some(Best { value, params: self.params.clone() });
            self.report.best_step = Some(step);
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        let perfect = spec.select == Select::Exact && exact >= 1.0;
        let tired = spec.patience.is_some_and(|patience| perfect || self.since_best >= patience);
        if tired && step < self.report.steps.1 {
            self.report.stopped = Stopped::Early;
        }
        Ok(true)
    }

    /// What is told after a step.
    fn progress(&mut self, taken: Taken, evaluated: bool, in_steps: Duration) -> Progress {
        let (step, total) = self.report.steps;
        let Taken { loss, learning_rate, grad_norm } = taken;
        let warnings = self.report.storage_warnings[self.told..].to_vec();
        self.told = self.report.storage_warnings.len();
        if evaluated || step.is_multiple_of((total / 100).max(1)) {
            self.signals = signals(&self.report.curve, &self.report.valid_curve);
        }
        Progress {
            step,
            total,
            epoch: step as f64 / self.per_epoch as f64,
            loss,
            learning_rate,
            grad_norm,
            valid_loss: self.report.valid_curve.last().map(|v| v.1),
            valid_exact: self.report.exact_curve.last().map(|v| v.1),
            evaluated,
            tokens: self.report.tokens - self.resumed_tokens,
            all_tokens: self.report.tokens,
            seconds: in_steps.as_secs_f64(),
            plan: self.report.plans.last().map_or_else(Plan::default, |(_, plan)| *plan),
            warnings,
            signals: self.signals.clone(),
        }
    }

    fn finish(mut self) -> Trained {
        self.report.signals = signals(&self.report.curve, &self.report.valid_curve);
        self.report.findings.extend(self.report.signals.iter().filter_map(Signal::finding));
        let params = self.best.map_or(self.params, |best| best.params);
        Trained { params, slots: self.graph.slots().clone(), report: self.report }
    }
}

fn add_to(sum: &mut [f32], grad: &candle_core::Tensor) -> Result<()> {
    let grad = grad.flatten_all()?.to_vec1::<f32>()?;
    sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
    Ok(())
}
