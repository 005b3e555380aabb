//! The state of a run, and what changes it: a step, an evaluation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Setup, audit,
    batches::Data,
    faults::{self, Finding, Signal, signals},
    memory::{Demand, Plan},
    report::{Progress, Report, Stopped, Trained},
    spec::{Objective, Select, Spec},
};
use crate::{
    config::Config,
    engine::{
        Engine,
        batch::{Batch, Sequence},
        composed::Composed,
        graph::Graph,
        params::{LayerSlots, Method, Slots},
        return_freed_memory,
        trained::Params,
    },
    error::{Error, Result},
    optim::{AdamW, Rate, clip},
    rng::Rng,
    weights::Weights,
};

/// Tokens of a row of which it is tried, before training, whether it is kept apart from its neighbour.
const BEGINNING: usize = 32;

/// Everything that changes while training.
pub(super) struct Run {
    pub(super) graph: Box<dyn Engine>,
    pub(super) params: Params,
    pub(super) adam: AdamW,
    pub(super) report: Report,
    pub(super) best: Option<Best>,
    pub(super) since_best: usize,
    pub(super) per_epoch: usize,
    pub(super) resumed_tokens: usize,
    pub(super) dropout: bool,
    /// How many storage warnings were told.
    pub(super) told: usize,
    pub(super) signals: Vec<Signal>,
}

/// The figures of one optimizer step.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    loss: f64,
    learning_rate: f64,
    grad_norm: f64,
}

pub(super) struct Best {
    pub(super) value: (f64, f64),
    pub(super) params: Params,
}

impl Run {
    pub(super) fn new(
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
    pub(super) fn plan(&mut self, spec: &Spec, groups: usize) {
        self.per_epoch = groups.div_ceil(spec.batch_size);
        let all = self.per_epoch.saturating_mul(spec.epochs);
        self.report.steps.1 = spec.max_steps.map_or(all, |max| max.min(all));
    }

    /// Cuts the next steps by `plan`, and writes that down.
    pub(super) fn cut(&mut self, spec: &mut Spec, plan: Plan) {
        spec.micro_tokens = plan.micro_tokens;
        self.graph.set_recompute(plan.recompute);
        if self.report.plans.last().is_none_or(|(_, last)| *last != plan) {
            self.report.plans.push((self.report.steps.0, plan));
        }
    }

    /// Takes less memory from the next step on, where that is possible, and gives back what is free.
    pub(super) fn relieve(&mut self, spec: &mut Spec, demand: &Demand<'_>) {
        if let Some(less) = self.report.plans.last().and_then(|(_, plan)| demand.less(*plan)) {
            self.cut(spec, less);
        }
        return_freed_memory();
    }

    /// Looks for faults that can be seen before the first step.
    pub(super) fn before(
        &self,
        config: &Config,
        spec: &Spec,
        (train, valid): (&[Sequence], &[Sequence]),
    ) -> Result<Vec<Finding>> {
        let together = if matches!(spec.objective, Objective::Dpo { .. }) { 2 } else { 1 };
        let mut findings = faults::leakage(train, valid, together);
        if spec.batch_size > 1 || spec.packing.is_some() || together > 1 {
            // The beginnings of two rows show as much as whole ones, and take no memory worth a word.
            let beginning = |row: &Sequence| Sequence::from(row.tokens[..row.tokens.len().min(BEGINNING)].to_vec(), 1);
            let rows: Vec<Sequence> = train.iter().take(2).map(beginning).collect();
            let rows: Vec<&Sequence> = rows.iter().collect();
            let log_p = |batch: Batch| Ok(self.graph.loss(&Arc::new(batch))?.1.log_p);
            findings.extend(faults::packing(&Batch::new(&rows, |_| 1.0), &rows, config.vocab_size, log_p)?);
        }
        faults::stopping(findings)
    }

    /// One optimizer step.
    pub(super) fn step(
        &mut self,
        model: (&Config, &Weights),
        spec: &Spec,
        data: &Data<'_>,
        groups: &[usize],
    ) -> Result<Taken> {
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
    pub(super) fn accumulate(&mut self, batch: &Arc<Batch>, grads: &mut Vec<Vec<f32>>, step: usize) -> Result<f64> {
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
    pub(super) fn update(&mut self, grads: &[Vec<f32>], factor: f32, rate: Rate, ratio: f64) -> Result<()> {
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
    pub(super) fn evaluate(&mut self, spec: &Spec, valid: &Data<'_>, deadline: Option<Instant>) -> Result<bool> {
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
    pub(super) fn progress(&mut self, taken: Taken, evaluated: bool, in_steps: Duration) -> Progress {
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

    pub(super) fn finish(mut self) -> Trained {
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
