//! Direct preference optimisation (Rafailov et al., 2023): the loss of pairs of answers to one prompt.

use std::ops::Range;

use super::{
    batch::Batch,
    head::{Head, HeadGrads, Loss},
};

/// What a batch of pairs is trained for. Sequences `2 i` and `2 i + 1` are the chosen and the rejected answer of pair `i`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preference {
    /// How strongly the model is held to the reference.
    pub beta: f32,
    /// For each pair, by how much the reference prefers the chosen answer: the difference of its log-likelihoods.
    pub references: Vec<f32>,
    /// Weight of each pair in the loss.
    pub weight: f32,
}

impl Preference {
    /// `β (Δ − Δ_ref)` of pair `i`, from the log-likelihoods of its answers.
    pub fn margin(&self, i: usize, chosen: f32, rejected: f32) -> f32 {
        self.beta * (chosen - rejected - self.references[i])
    }

    /// The weighted loss `−log σ(z)` of margin `z`, and the weight that the chosen answer's tokens have in its gradient.
    fn loss(&self, z: f32) -> (f64, f32) {
        // log(1 + e^−z) without overflow.
        let loss = f64::from((-z).max(0.0)) + f64::from((-z.abs()).exp()).ln_1p();
        let push = 1.0 / (1.0 + f64::from(z).exp());
        (f64::from(self.weight) * loss, self.weight * self.beta * push as f32)
    }

    /// The loss of the pairs in shard `index` of `batch`, whose hidden rows are `x`, with its gradients. The logits are
    /// made twice, because the weight of a token depends on both answers.
    pub fn cross_entropy(&self, head: &Head<'_>, x: &[f32], (batch, index): (&Batch, usize), grads: HeadGrads) -> Loss {
        let mut targets = batch.shard_targets(index);
        let plain = head.cross_entropy(x, &targets, None);
        let sum = self.weigh(batch, batch.shards[index].clone(), &plain.log_p, &mut targets);
        head.cross_entropy(x, &targets, Some(grads));
        Loss { sum, ..plain }
    }

    /// Gives the targets of `sequences`, which are whole pairs, the weights of their likelihoods in the gradient, and
    /// returns the pairs' weighted loss.
    fn weigh(&self, batch: &Batch, sequences: Range<usize>, log_p: &[f32], targets: &mut [(usize, u32, f32)]) -> f64 {
        let (mut loss, mut at) = (0.0, 0);
        for pair in sequences.step_by(2) {
            let sides = [pair, pair + 1].map(|sequence| {
                let start = at;
                at += batch.targets_of(sequence).len();
                start..at
            });
            let [chosen, rejected] = sides.clone().map(|side| log_p[side].iter().sum::<f32>());
            let (own, weight) = self.loss(self.margin(pair / 2, chosen, rejected));
            loss += own;
            for (side, weight) in sides.into_iter().zip([weight, -weight]) {
                targets[side].iter_mut().for_each(|target| target.2 = weight);
            }
        }
        loss
    }

    /// The weighted loss of all pairs of `batch` and, for each, whether the chosen answer has gained more than the
    /// rejected one, from the log-likelihoods of all targets.
    pub fn figures(&self, batch: &Batch, log_p: &[f32]) -> (f64, Vec<bool>) {
        let margins = self.margins(batch, log_p);
        (margins.iter().map(|z| self.loss(*z).0).sum(), margins.iter().map(|z| *z > 0.0).collect())
    }

    /// `batch` as a batch of likelihoods whose gradient is that of the pairs' loss.
    pub fn weighed(&self, batch: &Batch, log_p: &[f32]) -> Batch {
        let mut weighed = Batch { preference: None, ..batch.clone() };
        self.weigh(batch, 0..batch.sequences.len(), log_p, &mut weighed.targets);
        weighed
    }

    fn margins(&self, batch: &Batch, log_p: &[f32]) -> Vec<f32> {
        let sums = batch.log_likelihoods(log_p);
        sums.chunks_exact(2).enumerate().map(|(i, pair)| self.margin(i, pair[0], pair[1])).collect()
    }
}
