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
        batch::{Batch, Sequence},
        graph::Graph,
        params::{LayerSlots, Method},
    },
    error::{Error, Result},
    lora::Adapter,
    optim::{AdamW, Rate, Schedule, clip, warmup_steps},
    rng::Rng,
    weights::Weights,
};

mod audit;
mod batches;
mod state;

use batches::{check, evaluate, micro_batches, passed, rows_of_step};

pub use audit::Audit;
pub use state::Checkpoint;

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
    /// Rows per optimizer step.
    pub batch_size: usize,
    /// Tokens worked on at a time; a step with more accumulates gradients, with the same result.
    pub micro_tokens: usize,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Warm-up: steps when at least 1, else a share of all steps.
    pub warmup: f64,
    /// Decoupled weight decay; never on norms.
    pub weight_decay: f64,
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
    /// Seed of initial adapters and of the order of rows.
    pub seed: u64,
    /// Whether each epoch goes through the rows in a new order.
    pub shuffle: bool,
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
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
            weighting: Weighting::Token,
            eval_steps: None,
            patience: None,
            select: Select::Loss,
            seed: 0,
            shuffle: true,
        }
    }
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
    /// The flat vectors of each layer at the best evaluation (at the end, where none was finished).
    pub layers: Vec<Vec<f32>>,
    /// Last norm, embedding and (untied) output layer, when everything is trained.
    pub outer: Vec<Vec<f32>>,
    /// Their layout.
    pub slots: LayerSlots,
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
    /// `(step, share of evaluation rows that greedy decoding answers exactly)`.
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: usize,
    /// Optimizer steps planned.
    pub total: usize,
    /// Loss of this step.
    pub loss: f64,
    /// Loss of the last evaluation.
    pub valid_loss: Option<f64>,
    /// Tokens worked through so far by this process.
    pub tokens: usize,
    /// Seconds that this process spent in optimizer steps alone; never part of a result.
    pub seconds: f64,
}

/// What may end training early, and who is told.
pub struct Control<'a> {
    /// Training stops at this time.
    pub deadline: Option<Instant>,
    /// Called after each step; an error ends training.
    pub on: &'a mut dyn FnMut(Progress) -> Result<()>,
    /// Where and how often to save the whole state, to go on after a crash.
    pub checkpoint: Option<Checkpoint>,
}

/// Trains on `train` and evaluates on `valid`. The same spec and rows give the same bytes, for any number of threads.
pub fn train(
    model: (&Config, &Weights),
    how: (&Method, &Spec),
    rows: (&[Sequence], &[Sequence]),
    control: &mut Control<'_>,
) -> Result<Trained> {
    train_from(None, model, how, rows, control)
}

/// [`train`] that starts from the values of an adapter in place of drawn ones.
pub fn train_from(
    start: Option<&Adapter>,
    (config, weights): (&Config, &Weights),
    (method, spec): (&Method, &Spec),
    (train, valid): (&[Sequence], &[Sequence]),
    control: &mut Control<'_>,
) -> Result<Trained> {
    check(config, (method, spec), train, valid)?;
    let mut run = Run::new((config, weights), (method, spec), start, train.len())?;
    if let Some(checkpoint) = &control.checkpoint {
        run.resume(checkpoint, spec)?;
    }
    let mut in_steps = Duration::ZERO;
    while run.report.steps.0 < run.report.steps.1 {
        let (step, per_epoch) = (run.report.steps.0, run.per_epoch);
        let rows = rows_of_step(spec, train.len(), step);
        let began = Instant::now();
        let loss = run.step(spec, &rows.iter().map(|&i| &train[i]).collect::<Vec<_>>())?;
        in_steps += began.elapsed();
        let last = step + 1 == run.report.steps.1;
        let due = (last || (step + 1).is_multiple_of(spec.eval_steps.unwrap_or(per_epoch))) && !valid.is_empty();
        // What is trained so far can be kept without an evaluation, but not after the caller's patience has ended.
        let evaluated = !due || run.evaluate(spec, valid, control.deadline)?;
        let valid_loss = run.report.valid_curve.last().map(|v| v.1);
        let (step, total) = run.report.steps;
        let (tokens, seconds) = (run.report.tokens - run.resumed_tokens, in_steps.as_secs_f64());
        (control.on)(Progress { step, total, loss, valid_loss, tokens, seconds })?;
        // A state from which an evaluation is missing would go on to other bytes.
        if let Some(checkpoint) = control.checkpoint.as_ref().filter(|_| evaluated) {
            run.save_if_due(checkpoint, spec, last)?;
        }
        if run.report.stopped == Stopped::Early {
            break;
        }
        if !evaluated || (passed(control.deadline) && !last) {
            run.report.stopped = Stopped::Deadline;
            break;
        }
    }
    if run.best.is_none() && run.report.stopped != Stopped::Deadline && !valid.is_empty() {
        run.evaluate(spec, valid, control.deadline)?;
    }
    Ok(run.finish())
}

/// Everything that changes while training.
struct Run {
    graph: Graph,
    /// The trained numbers, in the order of [`Graph::variables`].
    params: Vec<Vec<f32>>,
    adam: AdamW,
    report: Report,
    best: Option<Best>,
    since_best: usize,
    per_epoch: usize,
    resumed_tokens: usize,
}

struct Best {
    value: (f64, f64),
    params: Vec<Vec<f32>>,
}

impl Run {
    fn new(
        (config, weights): (&Config, &Weights),
        (method, spec): (&Method, &Spec),
        start: Option<&Adapter>,
        rows: usize,
    ) -> Result<Self> {
        let slots = LayerSlots::new(config, method)?;
        let thetas: Vec<Vec<f32>> = match start {
            None => {
                let mut rng = Rng::new(spec.seed, "adapter");
                weights.layers.iter().map(|w| slots.initial(config, w, &mut rng)).collect()
            }
            Some(adapter) => {
                if !matches!(method, Method::Lora(lora) if *lora == adapter.config) {
                    return Err(Error::Train(
                        "the adapter to start from has another configuration: train with its".into(),
                    ));
                }
                (0..weights.layers.len()).map(|index| slots.from_adapter(index, adapter)).collect()
            }
        };
        let graph = Graph::new(config, weights, slots, thetas, matches!(method, Method::Full))?;
        let params: Vec<Vec<f32>> =
            graph.variables().iter().map(|(_, var)| Ok(var.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
        let per_epoch = rows.div_ceil(spec.batch_size);
        let all = per_epoch * spec.epochs;
        let mut report = Report { parameters: params.iter().map(Vec::len).sum(), ..Report::default() };
        report.steps.1 = spec.max_steps.map_or(all, |max| max.min(all));
        let adam = AdamW::new(params.iter().map(Vec::len));
        Ok(Run { graph, params, adam, report, best: None, since_best: 0, per_epoch, resumed_tokens: 0 })
    }

    /// One optimizer step; returns its loss.
    fn step(&mut self, spec: &Spec, rows: &[&Sequence]) -> Result<f64> {
        let step = self.report.steps.0 + 1;
        let targets: usize = rows.iter().map(|s| s.targets()).sum();
        let weight = |s: &Sequence| match spec.weighting {
            Weighting::Token => 1.0 / targets as f32,
            Weighting::Row => 1.0 / (rows.len() * s.targets().max(1)) as f32,
        };
        let (mut grads, mut loss) = (Vec::new(), 0.0);
        for micro in micro_batches(rows, spec.micro_tokens) {
            let batch = Arc::new(Batch::new(micro, weight));
            loss += self.accumulate(&batch, &mut grads, step)?;
            self.report.tokens += batch.tokens.len();
        }
        self.report.trained_tokens += targets;
        let (norm, factor) = clip(&grads, spec.max_grad_norm);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(Error::Train(format!(
                "loss or gradient is not finite at step {step} (loss {loss}, gradient norm {norm}): lower the learning rate"
            )));
        }
        self.report.max_grad_norm = self.report.max_grad_norm.max(norm);
        let warmup = warmup_steps(spec.warmup, self.report.steps.1);
        let rate = |step: usize| spec.learning_rate * spec.schedule.factor(step - 1, warmup, self.report.steps.1);
        let moved = |step: usize| (1..step).any(|before| rate(before) > 0.0);
        let audited = audit::Step { number: step, first_moved: step <= 3 && moved(step) && !moved(step - 1) };
        let lr = rate(step);
        self.report.audit.check(audited, self.graph.slots(), self.graph.layers.len(), &grads)?;
        self.update(&grads, factor, Rate { lr, decay: spec.weight_decay })?;
        self.report.steps.0 = step;
        self.report.curve.push((step, loss));
        Ok(loss)
    }

    /// Adds the gradients of one part of a step to `grads`.
    fn accumulate(&mut self, batch: &Arc<Batch>, grads: &mut Vec<Vec<f32>>, step: usize) -> Result<f64> {
        let (loss, figures) = self.graph.loss(batch)?;
        let store = loss.backward()?;
        for (i, (name, var)) in self.graph.variables().into_iter().enumerate() {
            let Some(grad) = store.get(var) else {
                return Err(Error::Train(format!("no gradient reached {name} at step {step}: the graph is cut")));
            };
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            match grads.get_mut(i) {
                None => grads.push(grad),
                Some(sum) => sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g),
            }
        }
        Ok(figures.sum)
    }

    fn update(&mut self, grads: &[Vec<f32>], factor: f32, rate: Rate) -> Result<()> {
        self.adam.begin();
        let layers = self.graph.layers.len();
        let slots = self.graph.slots().tensors();
        for (i, (params, grad)) in self.params.iter_mut().zip(grads).enumerate() {
            // Norms and biases are spared the decay; outside the layers the last norm, which comes first.
            let whole = [(if i == layers { "norm" } else { "" }.to_owned(), 0..params.len())];
            for (name, range) in if i < layers { &slots[..] } else { &whole[..] } {
                let decay = if name.contains("norm") || name.ends_with(".bias") { 0.0 } else { rate.decay };
                self.adam.update(i, range.clone(), params, grad, factor, Rate { decay, ..rate });
            }
        }
        self.push_params()
    }

    /// Puts the trained numbers into the graph's variables.
    fn push_params(&self) -> Result<()> {
        for (params, (_, var)) in self.params.iter().zip(self.graph.variables()) {
            var.set(&candle_core::Tensor::from_slice(params, var.shape(), &candle_core::Device::Cpu)?)?;
        }
        Ok(())
    }

    /// Evaluates and keeps the best parameters; false when the deadline came first.
    fn evaluate(&mut self, spec: &Spec, valid: &[Sequence], deadline: Option<Instant>) -> Result<bool> {
        let step = self.report.steps.0;
        let Some((loss, exact)) = evaluate(&self.graph, valid, spec, deadline)? else { return Ok(false) };
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

    fn finish(self) -> Trained {
        let mut layers = self.best.map_or(self.params, |best| best.params);
        let outer = layers.split_off(self.graph.layers.len());
        Trained { layers, outer, slots: self.graph.slots().clone(), report: self.report }
    }
}
