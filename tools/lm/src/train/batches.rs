//! Which rows a step takes, which rows can be trained on, and how rows count in an evaluation.

use std::time::Instant;

use super::{
    Objective, Spec, Weighting,
    faults::{Fault, Finding, Stage},
};
use crate::{
    config::Config,
    engine::{
        Engine,
        batch::{Batch, Sequence, runs},
        head::Loss,
        preference::Preference,
        trained::Params,
    },
    error::{Error, Result},
    optim::Schedule,
    rng::Rng,
    rows::pack,
};

/// Rows with what stays together, and what a pair of answers is compared with.
pub(super) struct Data<'a> {
    rows: &'a [Sequence],
    /// Indices of rows that count as one of `batch_size`: a row, a pack of rows, or the two answers of a pair.
    groups: Vec<Vec<usize>>,
    /// For each pair, by how much the reference prefers the chosen answer; empty for other objectives.
    references: Vec<f32>,
}

impl<'a> Data<'a> {
    /// `rows` as the objective takes them. The reference of pairs is the model as `params` are now.
    pub(super) fn new(spec: &Spec, rows: &'a [Sequence], (engine, params): (&dyn Engine, &Params)) -> Result<Self> {
        let mut data = Self::without_references(spec, rows);
        if let Objective::Dpo { .. } = spec.objective {
            let all: Vec<usize> = (0..data.groups.len()).collect();
            let mut references = Vec::new();
            for (_, batch) in data.parts(&all, spec) {
                let sums = batch.log_likelihoods(&engine.evaluate(&batch, params)?.log_p);
                references.extend(sums.chunks_exact(2).map(|pair| pair[0] - pair[1]));
            }
            data.references = references;
        }
        Ok(data)
    }

    /// The same without the reference of pairs, which takes a pass over all of them.
    pub(super) fn without_references(spec: &Spec, rows: &'a [Sequence]) -> Self {
        let groups = groups_of(spec, &rows.iter().map(|row| row.tokens.len()).collect::<Vec<_>>());
        let pairs = if spec.objective == Objective::Sft { 0 } else { groups.len() };
        Data { rows, groups, references: vec![0.0; pairs] }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The rows of these groups.
    pub(super) fn rows_of(&self, groups: &[usize]) -> Vec<Sequence> {
        groups.iter().flat_map(|group| &self.groups[*group]).map(|row| self.rows[*row].clone()).collect()
    }

    /// Whether rows are pairs with a reference.
    pub(super) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    /// Trained tokens of these groups.
    pub(super) fn targets(&self, groups: &[usize]) -> usize {
        groups.iter().flat_map(|group| &self.groups[*group]).map(|row| self.rows[*row].targets()).sum()
    }

    /// Trained tokens of the first `steps` optimizer steps.
    pub(super) fn targets_of_steps(&self, spec: &Spec, steps: usize) -> usize {
        let per_epoch = self.len().div_ceil(spec.batch_size).max(1);
        let (epochs, rest) = (steps / per_epoch, steps % per_epoch);
        let part: Vec<usize> = match rest {
            0 => Vec::new(),
            _ => order_of_epoch(spec, self.len(), epochs).into_iter().take(rest * spec.batch_size).collect(),
        };
        epochs * self.rows.iter().map(Sequence::targets).sum::<usize>() + self.targets(&part)
    }

    /// Indices of the rows of these groups.
    pub(super) fn indices_of(&self, groups: &[usize]) -> Vec<usize> {
        groups.iter().flat_map(|group| self.groups[*group].iter().copied()).collect()
    }

    /// The batches in which these groups are worked on, each with its groups. Weights are those of all of them together:
    /// a sum over the batches is a mean over the groups.
    pub(super) fn parts<'b>(&self, groups: &'b [usize], spec: &Spec) -> Vec<(&'b [usize], Batch)> {
        let targets = self.targets(groups) as f32;
        let rows: usize = groups.iter().map(|group| self.groups[*group].len()).sum();
        let weight = |s: &Sequence| match spec.weighting {
            Weighting::Token => 1.0 / targets,
            Weighting::Row => 1.0 / (rows * s.targets().max(1)) as f32,
        };
        let tokens = |group: &usize| self.groups[*group].iter().map(|row| self.rows[*row].tokens.len()).sum();
        let batch = |part: &'b [usize]| {
            let rows: Vec<&Sequence> =
                part.iter().flat_map(|group| &self.groups[*group]).map(|row| &self.rows[*row]).collect();
            match spec.objective {
                Objective::Sft => Batch::new(&rows, weight),
                Objective::Dpo { beta } => {
                    let references = part.iter().map(|pair| self.references[*pair]).collect();
                    let weight = 1.0 / groups.len() as f32;
                    Batch::pairs(&rows, Preference { beta: beta as f32, references, weight })
                }
            }
        };
        runs(groups, tokens, spec.micro_tokens).into_iter().map(|part| (part, batch(part))).collect()
    }

    /// Loss of all rows, weighted as in training, and the share that is right: rows whose every trained token is the most
    /// likely one, or pairs whose chosen answer has gained more. `None` when the deadline comes first.
    pub(super) fn evaluate(
        &self,
        (engine, params): (&dyn Engine, &Params),
        spec: &Spec,
        deadline: Option<Instant>,
    ) -> Result<Option<(f64, f64)>> {
        let all: Vec<usize> = (0..self.len()).collect();
        let (mut sum, mut right, mut count) = (0.0, 0, 0);
        for (_, batch) in self.parts(&all, spec) {
            if passed(deadline) {
                return Ok(None);
            }
            let loss = engine.evaluate(&batch, params)?;
            let (part, rights) = match &batch.preference {
                Some(preference) => preference.figures(&batch, &loss.log_p),
                None => (loss.sum, exact(&batch, &loss)),
            };
            sum += part;
            count += rights.len();
            right += rights.into_iter().filter(|right| *right).count();
        }
        Ok(Some((sum, right as f64 / count.max(1) as f64)))
    }
}

/// For each sequence, whether greedy decoding would have given every trained token.
fn exact(batch: &Batch, loss: &Loss) -> Vec<bool> {
    let mut greedy = loss.greedy.iter();
    let counts = (0..batch.sequences.len()).map(|sequence| batch.targets_of(sequence).len());
    counts.map(|count| greedy.by_ref().take(count).filter(|greedy| **greedy).count() == count).collect()
}

/// Whether the time is up.
pub(super) fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The groups of optimizer step `step` (from 0). Unless rows are not shuffled, each epoch has a new seeded order, which
/// depends on nothing else, so that a resumed run goes on exactly where it was.
pub(super) fn groups_of_step(spec: &Spec, groups: usize, step: usize) -> Vec<usize> {
    let per_epoch = groups.div_ceil(spec.batch_size);
    let (epoch, at) = (step / per_epoch, step % per_epoch);
    let order = order_of_epoch(spec, groups, epoch);
    order.into_iter().skip(at * spec.batch_size).take(spec.batch_size).collect()
}

/// All groups in the order in which epoch `epoch` (from 0) takes them.
pub(super) fn order_of_epoch(spec: &Spec, groups: usize, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups).collect();
    if spec.shuffle {
        Rng::new(spec.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
    }
    order
}

/// Indices of rows that count as one of `batch_size`, for rows of these lengths.
pub(super) fn groups_of(spec: &Spec, lengths: &[usize]) -> Vec<Vec<usize>> {
    match spec.objective {
        Objective::Sft => match spec.packing {
            None => (0..lengths.len()).map(|row| vec![row]).collect(),
            Some(most) => pack(lengths, most),
        },
        Objective::Dpo { .. } => (0..lengths.len() / 2).map(|pair| vec![2 * pair, 2 * pair + 1]).collect(),
    }
}

/// Whether this can be trained at all.
pub(super) fn check(config: &Config, spec: &Spec, train: &[Sequence], valid: &[Sequence]) -> Result<()> {
    let fail = |why: String| Err(Error::Train(why));
    if train.is_empty() {
        return fail("there are no rows to train on".into());
    }
    if spec.batch_size == 0
        || spec.epochs == 0
        || spec.micro_tokens == 0
        || [spec.eval_steps, spec.max_steps].contains(&Some(0))
    {
        return fail("batch_size, epochs, micro_tokens, eval_steps and max_steps must be at least 1".into());
    }
    if !(spec.learning_rate > 0.0 && spec.learning_rate.is_finite() && (0.0..f64::INFINITY).contains(&spec.warmup)) {
        return fail("learning_rate must be above 0 and warmup not negative".into());
    }
    if !(0.0..f64::INFINITY).contains(&spec.weight_decay) {
        return fail(format!("weight_decay is {}, it must not be negative", spec.weight_decay));
    }
    // A limit of 0 would take every step without a change.
    if let Some(norm) = spec.max_grad_norm.filter(|norm| norm.is_nan() || *norm <= 0.0) {
        return fail(format!("max_grad_norm is {norm}, it must be above 0; leave it out not to clip"));
    }
    if let Objective::Dpo { beta } = spec.objective {
        if !(beta > 0.0 && beta.is_finite()) {
            return fail(format!("beta is {beta}, it must be above 0"));
        }
        if spec.packing.is_some() {
            return fail("pairs of answers cannot be packed: leave packing out".into());
        }
        if !train.len().is_multiple_of(2) || !valid.len().is_multiple_of(2) {
            return fail("pairs of answers are expected, chosen and rejected in turn".into());
        }
    }
    let longest = train.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
    if let Some(most) = spec.packing.filter(|most| *most < longest) {
        return fail(format!("packs of {most} tokens cannot hold a row of {longest}: raise packing or cut the rows"));
    }
    let floor = matches!(spec.schedule, Schedule::Cosine | Schedule::WarmupStableDecay);
    if !(0.0..1.0).contains(&spec.min_lr_ratio) || spec.min_lr_ratio > 0.0 && !floor {
        return fail(format!(
            "min_lr_ratio is {}, it must be at least 0 and below 1, and goes with cosine and warmup_stable_decay",
            spec.min_lr_ratio
        ));
    }
    if !(spec.decay > 0.0 && spec.decay.is_finite()) {
        return fail(format!("decay is {}, it must be above 0", spec.decay));
    }
    if !(1.0..=1e4).contains(&spec.loraplus_lr_ratio) {
        return fail(format!("loraplus_lr_ratio is {}, it must be at least 1", spec.loraplus_lr_ratio));
    }
    for (name, rows) in [("training", train), ("evaluation", valid)] {
        for (i, row) in rows.iter().enumerate() {
            if row.targets() == 0 {
                let what = format!("{name} row {} has no token to train", i + 1);
                let advice = "its answer is empty or was cut off: fill it or leave it out";
                return Err(Finding::error(Fault::NothingTrained, Stage::Before, what, advice).into());
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
