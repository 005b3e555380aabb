//! Tests of two results on the same right-or-wrong items. Nothing here draws a random number.

use std::f64::consts::{LN_2, PI};

/// Probability mass that may be cut from each end of a distribution to keep it short.
const NEGLIGIBLE: f64 = 1e-16;

/// Two-sided exact McNemar test: the p-value of two models differing on `only_a` and `only_b` paired rows.
///
/// Q. McNemar, Psychometrika 12 (1947), in its exact form: under the null hypothesis the rows that only one model gets
/// right are fair coin flips, so the p-value is twice the binomial tail, at most 1. Stable for any count, because the
/// first term comes from log-factorials and the rest of the tail from ratios of neighbours.
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let (n, k) = (only_a + only_b, only_a.min(only_b));
    if only_a == only_b {
        return 1.0;
    }
    let mut term = (ln_choose(n, k) - n as f64 * LN_2).exp();
    let mut tail = 0.0;
    for i in (0..=k).rev() {
        tail += term;
        term *= i as f64 / (n - i + 1) as f64;
        if term < tail * NEGLIGIBLE {
            break;
        }
    }
    (2.0 * tail).min(1.0)
}

/// The 95 % paired bootstrap interval of (share right by b) - (share right by a).
///
/// `only_a` and `only_b` are the rows that only one of the two gets right, `n` all rows. The percentile bootstrap
/// (B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, section 13.3) resamples rows with
/// replacement; as each row contributes -1, 0 or 1, the distribution that endless resampling would converge to is the
/// n-fold convolution of three probabilities, which is computed here. So there is no seed and no sampling error.
pub fn paired_bootstrap(only_a: usize, only_b: usize, n: usize) -> (f64, f64) {
    if n == 0 || only_a + only_b > n {
        return (-1.0, 1.0);
    }
    let rows = n as f64;
    let [down, up] = [only_a, only_b].map(|count| count as f64 / rows);
    let one = Steps { lowest: -1, mass: vec![down, (n - only_a - only_b) as f64 / rows, up] };
    let sum = one.power(n);
    (sum.quantile(0.025) as f64 / rows, sum.quantile(0.975) as f64 / rows)
}

/// A distribution over neighbouring whole numbers.
#[derive(Clone)]
struct Steps {
    lowest: i64,
    mass: Vec<f64>,
}

impl Steps {
    /// The distribution of the sum of `n` independent draws, by repeated squaring.
    fn power(&self, mut n: usize) -> Steps {
        let mut result = Steps { lowest: 0, mass: vec![1.0] };
        let mut square = self.clone();
        loop {
            if n & 1 == 1 {
                result = result.plus(&square);
            }
            n >>= 1;
            if n == 0 {
                return result;
            }
            square = square.plus(&square);
        }
    }

    fn plus(&self, other: &Steps) -> Steps {
        let mut mass = vec![0.0; self.mass.len() + other.mass.len() - 1];
        for (i, a) in self.mass.iter().enumerate() {
            for (sum, b) in mass[i..].iter_mut().zip(&other.mass) {
                *sum += a * b;
            }
        }
        Steps { lowest: self.lowest + other.lowest, mass }.trimmed()
    }

    /// Cuts ends that are too improbable to move a quantile; else the work would grow with the square of n.
    fn trimmed(mut self) -> Steps {
        let cut = |masses: &mut dyn Iterator<Item = &f64>| {
            let mut sum = 0.0;
            masses
                .take_while(|mass| {
                    sum += **mass;
                    sum < NEGLIGIBLE
                })
                .count()
        };
        let high = cut(&mut self.mass.iter().rev());
        self.mass.truncate(self.mass.len() - high);
        let low = cut(&mut self.mass.iter());
        self.mass.drain(..low);
        self.lowest += low as i64;
        self
    }

    /// The least value whose cumulative probability reaches `share`.
    fn quantile(&self, share: f64) -> i64 {
        let mut sum = 0.0;
        // The tolerance keeps a sum that should be exactly `share` from missing it by a rounding error.
        let at = self.mass.iter().position(|mass| {
            sum += mass;
            sum >= share - 1e-12
        });
        self.lowest + at.unwrap_or(self.mass.len().saturating_sub(1)) as i64
    }
}

fn ln_choose(n: usize, k: usize) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// ln(n!): a plain sum where that is short, else Stirling's series, whose next term is below 1e-15 from there on.
fn ln_factorial(n: usize) -> f64 {
    if n < 24 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5)) - 1.0 / (1680.0 * x.powi(7));
    x * x.ln() - x + 0.5 * (2.0 * PI * x).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_counts_claim_nothing() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(paired_bootstrap(0, 0, 0), (-1.0, 1.0));
        assert_eq!(paired_bootstrap(0, 0, 50), (0.0, 0.0));
    }

    #[test]
    fn the_interval_mirrors_when_the_models_swap() {
        let (low, high) = paired_bootstrap(13, 40, 300);
        let (other_low, other_high) = paired_bootstrap(40, 13, 300);
        assert!((low + other_high).abs() <= 1.0 / 300.0 && (high + other_low).abs() <= 1.0 / 300.0);
        assert!(low > 0.0);
    }

    #[test]
    fn huge_counts_stay_finite_and_fast() {
        assert_eq!(mcnemar(500_000, 500_000), 1.0);
        assert!(mcnemar(0, 1_000_000) == 0.0);
        let p = mcnemar(499_000, 501_000);
        assert!((0.0454..0.0457).contains(&p), "{p}");
        let (low, high) = paired_bootstrap(1_000, 1_200, 100_000);
        assert!(low > 0.0 && high < 0.004, "{low} {high}");
    }
}
