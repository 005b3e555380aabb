//! Several tries at each task: pass@k, at least one of k right, and pass^k, all k right.

use super::{Estimate, clopper_pearson, share};

/// The chance that at least one of `k` tries is right, from `right` of `n`; unbiased.
///
/// 1 - C(n-c, k) / C(n, k): M. Chen et al., "Evaluating large language models trained on code" (2021), equation 1.
/// `None` where fewer than `k` tries were made.
pub fn pass_at_k(n: usize, right: usize, k: usize) -> Option<f64> {
    pass_hat_k(n, n.checked_sub(right)?, k).map(|all_wrong| 1.0 - all_wrong)
}

/// The chance that all of `k` tries are right, from `right` of `n`: C(c, k) / C(n, k); unbiased.
pub fn pass_hat_k(n: usize, right: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || right > n {
        return None;
    }
    if right < k {
        return Some(0.0);
    }
    Some((0..k).map(|i| (right - i) as f64 / (n - i) as f64).product())
}

/// Which of the two is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// pass@k: at least one of k tries is right.
    Any(usize),
    /// pass^k: all k tries are right.
    All(usize),
}

impl Tries {
    /// The value for one task.
    pub fn of(self, n: usize, right: usize) -> Option<f64> {
        match self {
            Tries::Any(k) => pass_at_k(n, right, k),
            Tries::All(k) => pass_hat_k(n, right, k),
        }
    }

    /// The mean over tasks, each given as (tries, right tries), and its interval.
    ///
    /// Several tasks: they are the sample, so the interval is Student's over their values, or that of a share where each
    /// value is 0 or 1. One task: its tries are the sample; both chances grow with the chance of one try, so the ends of
    /// that one's Clopper-Pearson interval give the ends.
    pub fn over(self, tasks: &[(usize, usize)], alpha: f64) -> Option<(f64, Option<(f64, f64)>)> {
        let values = tasks.iter().map(|(n, right)| self.of(*n, *right)).collect::<Option<Vec<f64>>>()?;
        if let [(n, right)] = tasks {
            let interval = clopper_pearson(*right, *n, alpha).map(|(low, high)| (self.chance(low), self.chance(high)));
            return Some((values[0], interval));
        }
        let estimate = Estimate::of(&values, None)?;
        let interval = if values.iter().all(|value| *value == 0.0 || *value == 1.0) {
            share(values.iter().filter(|value| **value == 1.0).count(), values.len(), alpha)
        } else {
            estimate.interval(alpha).map(|(low, high)| (low.max(0.0), high.min(1.0)))
        };
        Some((estimate.value, interval))
    }

    /// The value where one try is right with chance `p`.
    fn chance(self, p: f64) -> f64 {
        match self {
            Tries::Any(k) => 1.0 - (1.0 - p).powf(k as f64),
            Tries::All(k) => p.powf(k as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_tries_say_nothing() {
        assert_eq!(pass_at_k(3, 1, 4), None);
        assert_eq!(pass_at_k(3, 4, 1), None);
        assert_eq!(pass_hat_k(3, 1, 0), None);
        assert_eq!(Tries::Any(2).over(&[(5, 1), (1, 1)], 0.05), None);
        assert_eq!(Tries::Any(1).over(&[], 0.05), None);
        assert_eq!(Tries::Any(1).over(&[(4, 2), (4, 2)], 0.05), Some((0.5, None)));
    }

    #[test]
    fn one_try_per_task_is_a_share() {
        let tasks: Vec<_> = (0..40).map(|i| (1, usize::from(i < 10))).collect();
        assert_eq!(Tries::Any(1).over(&tasks, 0.05), Some((0.25, share(10, 40, 0.05))));
        assert_eq!(Tries::Any(1).over(&[(4, 0), (4, 4), (4, 0)], 0.05).unwrap().1, share(1, 3, 0.05));
    }

    #[test]
    fn the_tries_of_one_task_are_its_sample() {
        let (low, high) = clopper_pearson(3, 10, 0.05).unwrap();
        let (value, interval) = Tries::All(2).over(&[(10, 3)], 0.05).unwrap();
        assert!((value - 6.0 / 90.0).abs() < 1e-15);
        assert_eq!(interval, Some((low * low, high * high)));
    }
}
