//! AdamW, learning-rate schedules and clipping, with the formulas of PyTorch and transformers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// AdamW (Loshchilov and Hutter, 2019) as `torch.optim.AdamW` computes it, over one flat vector per variable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdamW {
    /// Steps taken.
    pub steps: u64,
    /// First and second moments of each variable.
    pub moments: Vec<(Vec<f32>, Vec<f32>)>,
    /// β₁ and β₂.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
}

impl AdamW {
    /// An optimizer for variables of these lengths, with PyTorch's betas and epsilon.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let moments = lengths.into_iter().map(|n| (vec![0.0; n], vec![0.0; n])).collect();
        AdamW { steps: 0, moments, betas: (0.9, 0.999), eps: 1e-8 }
    }

    /// Begins a step; then call [`AdamW::update`] once for each variable.
    pub fn begin(&mut self) {
        self.steps += 1;
    }

    /// Updates `range` of variable `index` in place, from its gradient times `scale`:
    /// `p ← p·(1 − lr·decay) − lr · m̂ / (√v̂ + ε)`.
    pub fn update(
        &mut self,
        index: usize,
        range: Range<usize>,
        params: &mut [f32],
        grads: &[f32],
        scale: f32,
        rate: Rate,
    ) {
        let (b1, b2) = self.betas;
        let t = self.steps as i32;
        let step = (rate.lr / (1.0 - b1.powi(t))) as f32;
        let root = (1.0 - b2.powi(t)).sqrt() as f32;
        let (b1, b2, eps, keep) = (b1 as f32, b2 as f32, self.eps as f32, (1.0 - rate.lr * rate.decay) as f32);
        let (m, v) = &mut self.moments[index];
        let moments = m[range.clone()].iter_mut().zip(&mut v[range.clone()]);
        for ((p, g), (m, v)) in params[range.clone()].iter_mut().zip(&grads[range]).zip(moments) {
            let g = g * scale;
            *m += (g - *m) * (1.0 - b1);
            *v = *v * b2 + g * g * (1.0 - b2);
            *p = *p * keep - step * *m / (v.sqrt() / root + eps);
        }
    }
}

/// Learning rate and weight decay of one update.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub decay: f64,
}

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls to zero in a straight line.
    #[default]
    Linear,
    /// Falls to the floor along half a cosine.
    Cosine,
    /// Stays, and falls to the floor along half a cosine in the last steps.
    WarmupStableDecay,
}

/// The learning rate of each step, as a factor of its peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Its shape.
    pub schedule: Schedule,
    /// Steps of rise.
    pub warmup: usize,
    /// Steps of the last fall, with [`Schedule::WarmupStableDecay`].
    pub decay: usize,
    /// All steps.
    pub total: usize,
    /// The floor, as a share of the peak.
    pub min_lr_ratio: f64,
}

impl Course {
    /// The factor at `step` (from 0), as transformers' schedules with warm-up define it (`get_linear_schedule_with_warmup`,
    /// `get_cosine_with_min_lr_schedule_with_warmup`, `get_wsd_schedule`).
    pub fn factor(&self, step: usize) -> f64 {
        let Course { schedule, warmup, decay, total, min_lr_ratio } = *self;
        let above = |factor: f64| (factor * (1.0 - min_lr_ratio) + min_lr_ratio).max(0.0);
        let cosine = |progress: f64| above(0.5 * (1.0 + (std::f64::consts::PI * progress).cos()));
        let share = |steps: usize, of: usize| steps as f64 / of.max(1) as f64;
        if step < warmup {
            let rise = share(step, warmup);
            return if schedule == Schedule::WarmupStableDecay { above(rise) } else { rise };
        }
        match schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => share(total.saturating_sub(step), total.saturating_sub(warmup)),
            Schedule::Cosine => cosine(share(step - warmup, total.saturating_sub(warmup))),
            Schedule::WarmupStableDecay => match step.checked_sub(total.saturating_sub(decay).max(warmup)) {
                None => 1.0,
                Some(into) if into < decay => cosine(share(into, decay)),
                Some(_) => min_lr_ratio,
            },
        }
    }
}

/// Steps as transformers counts those of a warm-up: a value of at least 1 is their number, a smaller one a share.
pub fn steps_of(value: f64, total: usize) -> usize {
    if value >= 1.0 { value as usize } else { (value * total as f64).ceil() as usize }
}

/// Norm of all gradients together, and the factor that brings it down to `max` (PyTorch's `clip_grad_norm_`).
pub fn clip(grads: &[Vec<f32>], max: Option<f64>) -> (f64, f32) {
    let square = |g: &Vec<f32>| g.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
    let norm = grads.iter().map(square).sum::<f64>().sqrt();
    let factor = max.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
    (norm, factor as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_follow_transformers() {
        let golden = include_str!("../tests/golden/schedules.json");
        let golden: Vec<(Schedule, usize, usize, usize, f64, Vec<f64>)> = serde_json::from_str(golden).unwrap();
        assert!(golden.len() >= 8);
        for (schedule, warmup, decay, total, min_lr_ratio, want) in golden {
            let course = Course { schedule, warmup, decay, total, min_lr_ratio };
            for (step, want) in want.into_iter().enumerate() {
                assert!((course.factor(step) - want).abs() < 1e-12, "{course:?} at {step}: {want}");
            }
        }
    }

    #[test]
    fn steps_below_one_are_a_share() {
        assert_eq!((steps_of(0.0, 9), steps_of(0.1, 95), steps_of(7.0, 9)), (0, 10, 7));
    }

    #[test]
    fn adamw_takes_the_steps_of_torch() {
        // torch.optim.AdamW([1.0, -2.0], lr=0.1, weight_decay=0.1), gradients [0.5, -1.0] then [0.1, 0.3].
        let mut p = [1.0f32, -2.0];
        let mut adam = AdamW::new([2]);
        for g in [[0.5f32, -1.0], [0.1, 0.3]] {
            adam.begin();
            adam.update(0, 0..2, &mut p, &g, 1.0, Rate { lr: 0.1, decay: 0.1 });
        }
        assert!((p[0] - 0.800_796).abs() < 2e-6 && (p[1] + 1.818_415_2).abs() < 2e-6, "{p:?}");
    }

    #[test]
    fn clipping_scales_to_the_norm() {
        let (norm, factor) = clip(&[vec![3.0], vec![4.0]], Some(1.0));
        assert!((norm - 5.0).abs() < 1e-12 && (factor - 0.2).abs() < 1e-6);
        assert_eq!(clip(&[vec![0.3]], Some(1.0)).1, 1.0);
    }
}
