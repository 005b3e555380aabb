//! Two results on different items: nothing pairs them, so each has a spread of its own.

use super::{Estimate, detectable, t_quantile, t_two_sided, wilson_at};

/// Right answers, and all.
pub type Counted = (usize, usize);

/// How much likelier a table may be than the observed one and still count as no likelier: what rounding adds.
const TIE: f64 = 1.0 + 1e-7;

/// A chance below this share of the likeliest table's adds nothing.
const NEGLIGIBLE: f64 = 1e-18;

/// The interval of (share of b) - (share of a).
///
/// Method 10 of R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
/// Medicine 17 (1998): the ends of both Wilson intervals put together. It holds where all answers are right or wrong, where
/// a standard error of zero would call the share exact.
pub fn unpaired_share(a: Counted, b: Counted, alpha: f64) -> Option<(f64, f64)> {
    let (low_a, high_a) = wilson_at(a.0, a.1, alpha)?;
    let (low_b, high_b) = wilson_at(b.0, b.1, alpha)?;
    let (share_a, share_b) = (a.0 as f64 / a.1 as f64, b.0 as f64 / b.1 as f64);
    let difference = share_b - share_a;
    let (down, up) = ((share_b - low_b).hypot(high_a - share_a), (high_b - share_b).hypot(share_a - low_a));
    Some((difference - down, difference + up))
}

/// Two-sided p-value of Fisher's exact test: are both right equally often?
///
/// R. A. Fisher, "The design of experiments" (1935): given how many are right in all, the chance of a table that is no
/// likelier than the observed one. `None` without items on both sides.
pub fn fisher(a: Counted, b: Counted) -> Option<f64> {
    if a.1 == 0 || b.1 == 0 || a.0 > a.1 || b.0 > b.1 {
        return None;
    }
    let (items, right) = (a.1 as f64 + b.1 as f64, a.0 + b.0);
    let (least, most) = (right.saturating_sub(b.1), right.min(a.1));
    // How much likelier the table with one more right answer in A is, next to that with `k`.
    let more = |k: usize| ((a.1 - k) as f64 * (right - k) as f64) / ((k + 1) as f64 * (b.1 + k + 1 - right) as f64);
    let mode = ((a.1 as f64 + 1.0) * (right as f64 + 1.0) / (items + 2.0)) as usize;
    let mode = mode.clamp(least, most);
    let mut chances = vec![(mode, 1.0)];
    let mut chance = 1.0;
    for k in mode..most {
        chance *= more(k);
        chances.push((k + 1, chance));
        if chance < NEGLIGIBLE {
            break;
        }
    }
    chance = 1.0;
    for k in (least..mode).rev() {
        chance /= more(k);
        chances.push((k, chance));
        if chance < NEGLIGIBLE {
            break;
        }
    }
    // What is not among them is too unlikely to be told from nothing.
    let observed = chances.iter().find(|(k, _)| *k == a.0).map_or(0.0, |(_, chance)| *chance);
    let sum = |most: f64| chances.iter().map(|(_, chance)| *chance).filter(|chance| *chance <= most).sum::<f64>();
    Some((sum(observed * TIE) / sum(f64::INFINITY)).min(1.0))
}

/// The least difference of two shares that two runs on such numbers of different items would show.
///
/// Around the share of both together, with half an item more on each side, so that it is never certain.
pub fn detectable_unpaired(a: Counted, b: Counted, alpha: f64) -> Option<f64> {
    if a.1 == 0 || b.1 == 0 {
        return None;
    }
    let share = ((a.0 + b.0) as f64 + 1.0) / ((a.1 + b.1) as f64 + 2.0);
    let variance = share * (1.0 - share) * (1.0 / a.1 as f64 + 1.0 / b.1 as f64);
    detectable(variance.sqrt(), f64::INFINITY, alpha)
}

/// A difference of two means with its standard error and the degrees of freedom of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean of b minus mean of a.
    pub value: f64,
    /// Its standard error.
    pub se: f64,
    /// Degrees of freedom; infinite where the standard errors are taken as known.
    pub df: f64,
}

impl Difference {
    /// The difference of two values with their standard errors and the degrees of freedom of these.
    ///
    /// B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
    /// Biometrika 34 (1947). `None` where an error is zero: a spread of zero in a sample says nothing about the next one.
    pub fn of((a, se_a, df_a): (f64, f64, f64), (b, se_b, df_b): (f64, f64, f64)) -> Option<Self> {
        let (of_a, of_b) = (se_a * se_a, se_b * se_b);
        let df = (of_a + of_b).powi(2) / (of_a.powi(2) / df_a + of_b.powi(2) / df_b);
        let difference = Difference { value: b - a, se: (of_a + of_b).sqrt(), df };
        (se_a > 0.0 && se_b > 0.0 && difference.se.is_finite() && df > 0.0).then_some(difference)
    }

    /// That of two means.
    pub fn of_means(a: &Estimate, b: &Estimate) -> Option<Self> {
        Self::of((a.value, a.se?, a.df()), (b.value, b.se?, b.df()))
    }

    /// Its interval.
    pub fn interval(&self, alpha: f64) -> Option<(f64, f64)> {
        let half = t_quantile(1.0 - alpha / 2.0, self.df)? * self.se;
        Some((self.value - half, self.value + half))
    }

    /// The two-sided p-value of no difference.
    pub fn p(&self) -> Option<f64> {
        t_two_sided(self.value / self.se, self.df)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_items_nothing_is_known() {
        assert_eq!(unpaired_share((0, 0), (1, 2), 0.05), None);
        assert_eq!(fisher((0, 0), (1, 2)), None);
        assert_eq!(fisher((3, 2), (1, 2)), None);
        assert_eq!(detectable_unpaired((0, 0), (1, 2), 0.05), None);
        assert_eq!(Difference::of((1.0, 0.0, 9.0), (0.0, 0.1, 9.0)), None);
    }

    #[test]
    fn a_hundred_and_sixty_four_unpaired_items_show_fifteen_points() {
        let points = detectable_unpaired((82, 164), (82, 164), 0.05).unwrap() * 100.0;
        assert!((15.4..15.5).contains(&points), "{points}");
    }

    #[test]
    fn the_sides_may_be_swapped() {
        for (a, b) in [((3, 10), (9, 11)), ((0, 7), (5, 5)), ((400, 1000), (460, 1000)), ((1, 1), (0, 1))] {
            let (p, back) = (fisher(a, b).unwrap(), fisher(b, a).unwrap());
            assert!((p - back).abs() <= 1e-12 * p, "{p} {back}");
            let ((low, high), (other_low, other_high)) =
                (unpaired_share(a, b, 0.05).unwrap(), unpaired_share(b, a, 0.05).unwrap());
            assert!((low + other_high).abs() < 1e-12 && (high + other_low).abs() < 1e-12);
        }
    }

    #[test]
    fn huge_counts_stay_finite_and_fast() {
        let p = fisher((499_000, 1_000_000), (501_000, 1_000_000)).unwrap();
        // The normal test with pooled variance, to which this is close.
        assert!((p - 0.00468).abs() < 2e-5, "{p}");
        assert_eq!(fisher((0, 1_000_000), (1_000_000, 1_000_000)), Some(0.0));
    }
}
