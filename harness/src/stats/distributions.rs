//! Quantiles of the distributions that intervals need.

use statrs::{
    distribution::{ContinuousCDF, Normal},
    function::beta::{beta_reg, inv_beta_reg},
};

/// The quantile of the standard normal distribution; `None` outside 0 to 1.
pub fn normal_quantile(p: f64) -> Option<f64> {
    inside(p).then(|| Normal::standard().inverse_cdf(p))
}

/// The chance that a standard normal value is at least as far from zero as `z`.
pub fn normal_two_sided(z: f64) -> Option<f64> {
    z.is_finite().then(|| 2.0 * Normal::standard().sf(z.abs()))
}

/// The chance that a value of Student's t is at least as far from zero as `t`; infinite degrees of freedom are normal.
pub fn t_two_sided(t: f64, df: f64) -> Option<f64> {
    if df > 1e7 {
        return normal_two_sided(t);
    }
    // P(|T| > t) = I_x(df/2, 1/2) with x = df / (df + t²): Abramowitz and Stegun, 26.7.1.
    (t.is_finite() && df > 0.0).then(|| beta_reg(0.5 * df, 0.5, df / (df + t * t)))
}

/// The quantile of Student's t; with infinite degrees of freedom the normal one. `None` where there is none.
pub fn t_quantile(p: f64, df: f64) -> Option<f64> {
    // Beyond, the two differ by less than 1e-7 and the incomplete beta function would lose more than that.
    if df > 1e7 {
        return normal_quantile(p);
    }
    if !inside(p) || df.is_nan() || df <= 0.0 {
        return None;
    }
    // P(|T| > t) = I_x(df/2, 1/2) with x = df / (df + t²): Abramowitz and Stegun, 26.7.1.
    let x = beta_quantile(2.0 * p.min(1.0 - p), 0.5 * df, 0.5)?;
    let t = (df * (1.0 - x) / x).sqrt();
    Some(if p < 0.5 { -t } else { t })
}

/// The quantile of the beta distribution with these shapes, to the precision of its distribution function.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> Option<f64> {
    if !(inside(p) && a > 0.0 && b > 0.0) {
        return None;
    }
    // The inverse is accurate to a few digits only, so it is a first guess for a bisection that cannot fail.
    let guess = inv_beta_reg(a, b, p);
    let (mut low, mut high) = (0.0, 1.0);
    for width in [1e-6, 1e-3] {
        let (below, above) = (guess * (1.0 - width), guess + (1.0 - guess) * width);
        if (0.0..1.0).contains(&below) && above < 1.0 && beta_reg(a, b, below) <= p && beta_reg(a, b, above) >= p {
            (low, high) = (below, above);
            break;
        }
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if beta_reg(a, b, middle) < p { low = middle } else { high = middle }
    }
    Some(0.5 * (low + high))
}

fn inside(p: f64) -> bool {
    p > 0.0 && p < 1.0
}
