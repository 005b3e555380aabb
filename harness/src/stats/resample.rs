//! Permutation tests and bootstraps, for any statistic. The seed is given, so the same data give the same bytes.

/// Resamples of a bootstrap or a permutation test, unless the caller says otherwise.
pub const DRAWS: usize = 10_000;

/// Up to this many groups every swap is tried, which makes the permutation test exact.
const ENUMERATED: usize = 13;

/// What a group of items adds to a statistic: sums from which the statistic is computed.
pub type Sums<const N: usize> = [f64; N];

/// Two-sided p-value of a paired permutation test: are a and b exchangeable within each group?
///
/// `a[i]` and `b[i]` are the sums of the two models over group `i`: an item, or a cluster, whose items are swapped
/// together because they are not independent. `statistic` turns the sums of all groups into the value that is compared.
/// R. A. Fisher, "The design of experiments" (1935), section 21; drawn swaps count the observed one too, which keeps the
/// test valid: B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", SAGMB 9 (2010). `None` where the
/// statistic is unknown or no group is there.
pub fn paired_permutation<const N: usize>(
    a: &[Sums<N>],
    b: &[Sums<N>],
    statistic: impl Fn(&Sums<N>) -> Option<f64>,
    draws: usize,
    seed: u64,
) -> Option<f64> {
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    let (all_a, all_b) = (total(a), total(b));
    let difference = |a: &Sums<N>, b: &Sums<N>| Some((statistic(b)? - statistic(a)?).abs()).filter(|d| d.is_finite());
    let observed = difference(&all_a, &all_b)?;
    // What rounding adds to sums in another order must not hide a tie.
    let bar = observed - 1e-10 * observed.max(statistic(&all_a)?.abs() * 1e-3);
    // A group in which both are equal is the same after a swap.
    let moves: Vec<Sums<N>> = a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, b)| minus(b, a)).collect();
    // An unknown value after a swap counts as extreme, which can only make the p-value larger.
    let extreme = |moved: &Sums<N>| {
        difference(&plus(&all_a, moved), &minus(&all_b, moved)).is_none_or(|difference| difference >= bar)
    };
    if moves.len() <= ENUMERATED {
        let swaps = 1_u64 << moves.len();
        let hits = (0..swaps).filter(|swap| extreme(&swapped(&moves, |i| swap >> i & 1 == 1))).count();
        return Some(hits as f64 / swaps as f64);
    }
    let mut random = Random(seed);
    let hits = (0..draws)
        .filter(|_| {
            let mut bits = 0;
            extreme(&swapped(&moves, |i| {
                if i % 64 == 0 {
                    bits = random.next();
                }
                bits >> (i % 64) & 1 == 1
            }))
        })
        .count();
    Some((hits + 1) as f64 / (draws + 1) as f64)
}

fn swapped<const N: usize>(moves: &[Sums<N>], mut swap: impl FnMut(usize) -> bool) -> Sums<N> {
    let mut sum = [0.0; N];
    for (i, moved) in moves.iter().enumerate() {
        if swap(i) {
            sum = plus(&sum, moved);
        }
    }
    sum
}

fn total<const N: usize>(sums: &[Sums<N>]) -> Sums<N> {
    sums.iter().fold([0.0; N], |sum, more| plus(&sum, more))
}

fn plus<const N: usize>(a: &Sums<N>, b: &Sums<N>) -> Sums<N> {
    std::array::from_fn(|i| a[i] + b[i])
}

fn minus<const N: usize>(a: &Sums<N>, b: &Sums<N>) -> Sums<N> {
    std::array::from_fn(|i| a[i] - b[i])
}

/// The statistic of `draws` resamples with replacement of `groups` groups, which are items or whole clusters.
///
/// `statistic` is handed the numbers of the drawn groups. B. Efron and R. Tibshirani, "An introduction to the bootstrap"
/// (1993), chapter 6. `None` where some resample has no value.
pub fn bootstrap(
    groups: usize,
    draws: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Vec<f64>> {
    if groups == 0 {
        return None;
    }
    let mut random = Random(seed);
    let mut picked = vec![0; groups];
    (0..draws)
        .map(|_| {
            picked.iter_mut().for_each(|group| *group = random.below(groups));
            statistic(&picked).filter(|value| value.is_finite())
        })
        .collect()
}

/// The percentile interval of resampled values; `None` without values or where they are all the same.
///
/// Quantiles between two values are interpolated as NumPy does by default.
pub fn percentile_interval(mut values: Vec<f64>, alpha: f64) -> Option<(f64, f64)> {
    if values.is_empty() || !(alpha > 0.0 && alpha < 1.0) || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = share * (values.len() - 1) as f64;
        let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    (values[0] != values[values.len() - 1]).then(|| (quantile(alpha / 2.0), quantile(1.0 - alpha / 2.0)))
}

/// The interval of the mean over tasks of the mean over their repeated runs, which need not be equally many.
///
/// Tasks are resampled, then the runs of each drawn task: A. C. Davison and D. V. Hinkley, "Bootstrap methods and their
/// application" (1997), section 3.8. `None` below two tasks, or where a task has no run.
pub fn hierarchical(tasks: &[Vec<f64>], alpha: f64, draws: usize, seed: u64) -> Option<(f64, f64)> {
    let none: Vec<Vec<f64>> = vec![vec![0.0]; tasks.len()];
    hierarchical_difference(&none, tasks, alpha, draws, seed)
}

/// The interval of (mean of b) - (mean of a) over the same tasks; the runs of each are resampled apart.
pub fn hierarchical_difference(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    alpha: f64,
    draws: usize,
    seed: u64,
) -> Option<(f64, f64)> {
    if a.len() != b.len() || a.len() < 2 || a.iter().chain(b).any(Vec::is_empty) {
        return None;
    }
    // Runs are drawn from a stream of their own, apart from that of the tasks.
    let mut random = Random(seed ^ 0x5eed_5eed_5eed_5eed);
    let mut mean =
        |runs: &[f64]| (0..runs.len()).map(|_| runs[random.below(runs.len())]).sum::<f64>() / runs.len() as f64;
    let values = bootstrap(a.len(), draws, seed, |picked| {
        let sum: f64 = picked.iter().map(|task| mean(&b[*task]) - mean(&a[*task])).sum();
        Some(sum / picked.len() as f64)
    })?;
    percentile_interval(values, alpha)
}

/// SplitMix64: G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, by multiplication; its bias of n / 2^64 is far below what any count of draws shows.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mcnemar;

    fn mean(sums: &Sums<2>) -> Option<f64> {
        (sums[1] > 0.0).then(|| sums[0] / sums[1])
    }

    fn items(values: &[f64]) -> Vec<Sums<2>> {
        values.iter().map(|value| [*value, 1.0]).collect()
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn on_right_or_wrong_items_the_permutation_test_is_mcnemars() {
        for (only_a, only_b, same) in [(0, 0, 5), (1, 5, 10), (2, 9, 40), (6, 7, 0), (0, 12, 3)] {
            let (mut a, mut b) = (vec![1.0; only_a], vec![0.0; only_a]);
            a.extend(vec![0.0; only_b]);
            b.extend(vec![1.0; only_b]);
            a.extend(vec![1.0; same]);
            b.extend(vec![1.0; same]);
            let p = paired_permutation(&items(&a), &items(&b), mean, 10, 1).unwrap();
            assert!((p - mcnemar(only_a, only_b)).abs() < 1e-12, "{only_a} {only_b}: {p}");
        }
    }

    #[test]
    fn drawn_swaps_come_close_to_all_of_them() {
        let (a, b) = (vec![0.0; 80], (0..80).map(|i| f64::from(u8::from(i < 50))).collect::<Vec<_>>());
        let b: Vec<f64> = b.iter().map(|v| v * 2.0 - 1.0).collect();
        let p = paired_permutation(&items(&a), &items(&b), mean, 20_000, 7).unwrap();
        assert!((p - mcnemar(30, 50)).abs() < 0.003, "{p}");
    }

    #[test]
    fn without_data_nothing_is_known() {
        assert_eq!(paired_permutation(&[], &[], mean, 10, 0), None);
        assert_eq!(paired_permutation(&items(&[1.0]), &[], mean, 10, 0), None);
        assert_eq!(paired_permutation(&items(&[f64::NAN]), &items(&[1.0]), mean, 10, 0), None);
        assert_eq!(bootstrap(0, 10, 0, |_| Some(1.0)), None);
        assert_eq!(bootstrap(3, 10, 0, |_| None), None);
        assert_eq!(percentile_interval(vec![], 0.05), None);
        assert_eq!(percentile_interval(vec![2.0; 9], 0.05), None);
        assert_eq!(hierarchical(&[vec![1.0, 2.0]], 0.05, 10, 0), None);
        assert_eq!(hierarchical(&[vec![1.0, 2.0], vec![]], 0.05, 10, 0), None);
    }

    #[test]
    fn a_bootstrap_over_tasks_and_runs_sees_both_spreads() {
        let flat: Vec<Vec<f64>> = (0..30).map(|i| vec![f64::from(i % 2); 4]).collect();
        let noisy: Vec<Vec<f64>> = (0..30).map(|i| vec![f64::from(i % 2) - 1.0, f64::from(i % 2) + 1.0]).collect();
        let width = |tasks: &[Vec<f64>]| hierarchical(tasks, 0.05, 2000, 3).map(|(low, high)| high - low).unwrap();
        // The spread of tasks alone is 2 · 1.96 · sqrt(0.25 / 30) = 0.36; runs add 1/2 to each task's variance.
        assert!((0.30..0.42).contains(&width(&flat)), "{}", width(&flat));
        assert!((0.55..0.70).contains(&width(&noisy)), "{}", width(&noisy));
        assert_eq!(hierarchical_difference(&flat, &flat, 0.05, 100, 3), None, "no task differs");
    }
}
