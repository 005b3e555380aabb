//! Which difference could have been seen, how many items would show one, and what noise alone does.

use super::{Estimate, mean::paired_sd, t_quantile};

/// The chance with which a difference of the detectable size is to be found.
pub const POWER: f64 = 0.8;

/// The least difference that a two-sided test at `alpha` finds with a chance of [`POWER`], given its standard error.
///
/// (quantile at 1 - alpha/2 + quantile at the power) · standard error: J. Cohen, "Statistical power analysis for the
/// behavioral sciences" (1988), chapter 2. `df` are the degrees of freedom of the standard error, infinite where it is
/// known.
pub fn detectable(se: f64, df: f64, alpha: f64) -> Option<f64> {
    let least = (t_quantile(1.0 - alpha / 2.0, df)? + t_quantile(POWER, df)?) * se;
    (least.is_finite() && se > 0.0).then_some(least)
}

/// The least difference of two shares that two runs on the same `n` independent items would show.
///
/// `only_a` and `only_b` are the items that only one of the two got right: the fewer, the smaller the difference.
pub fn detectable_paired(only_a: usize, only_b: usize, n: usize, alpha: f64) -> Option<f64> {
    if n == 0 || only_a.checked_add(only_b)? > n {
        return None;
    }
    detectable(paired_sd(only_a, only_b, n) / (n as f64).sqrt(), f64::INFINITY, alpha)
}

/// How many items would show `effect`, where `n` items show `detectable`; `None` where no number would.
///
/// A standard error shrinks with the square root of the number of items.
pub fn items_needed(n: usize, detectable: f64, effect: f64) -> Option<usize> {
    let items = (n as f64 * (detectable / effect).powi(2)).ceil();
    // Rounding may leave a hair above a whole number.
    let items =
        if items - 1.0 >= n as f64 * (detectable / effect).powi(2) * (1.0 - 1e-12) { items - 1.0 } else { items };
    (1.0..1e15).contains(&items).then_some(items as usize)
}

/// The difference that two runs of the same thing reach by noise alone, from repeated runs of it.
///
/// Two more runs differ by more than this only in a share of `alpha`: t · s · √2, with s the standard deviation of the
/// repeated runs and t Student's quantile. `None` below two runs, from which no noise can be known. Runs that agree to
/// the last digit have a floor of zero.
pub fn noise_floor(repeated: &[f64], alpha: f64) -> Option<f64> {
    if repeated.len() < 2 || repeated.iter().any(|value| !value.is_finite()) {
        return None;
    }
    if repeated.iter().all(|value| *value == repeated[0]) {
        return Some(0.0);
    }
    let estimate = Estimate::of(repeated, None)?;
    let sd = estimate.se.unwrap_or(0.0) * (repeated.len() as f64).sqrt();
    Some(t_quantile(1.0 - alpha / 2.0, estimate.df())? * sd * 2.0_f64.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_shows_nothing() {
        assert_eq!(detectable(0.0, 9.0, 0.05), None);
        assert_eq!(detectable(f64::NAN, 9.0, 0.05), None);
        assert_eq!(detectable(1.0, 0.0, 0.05), None);
        assert_eq!(detectable_paired(3, 3, 5, 0.05), None);
        assert_eq!(items_needed(100, 0.1, 0.0), None);
        assert_eq!(items_needed(100, f64::NAN, 0.1), None);
        assert_eq!(noise_floor(&[0.5], 0.05), None);
        assert_eq!(noise_floor(&[0.5, f64::NAN], 0.05), None);
    }

    #[test]
    fn half_the_difference_needs_four_times_the_items() {
        assert_eq!(items_needed(100, 0.2, 0.1), Some(400));
        assert_eq!(items_needed(100, 0.1, 0.1), Some(100));
        assert_eq!(items_needed(100, 0.1, 0.2), Some(25));
    }

    #[test]
    fn repeated_runs_say_what_noise_does() {
        assert_eq!(noise_floor(&[0.5, 0.5, 0.5], 0.05), Some(0.0));
        // Student's quantile for two degrees of freedom is 4.303; the standard deviation is 0.01.
        let floor = noise_floor(&[0.49, 0.50, 0.51], 0.05).unwrap();
        assert!((floor - 4.302_652_729_749_462 * 0.01 * 2.0_f64.sqrt()).abs() < 1e-12, "{floor}");
    }
}
