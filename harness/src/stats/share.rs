//! Intervals of shares.

use super::{Estimate, distributions::beta_quantile, normal_quantile, t_quantile};

/// Below this many items the normal approximation behind Wilson's interval is not trusted.
pub const FEW: usize = 30;

/// The interval of a share of independent items: Clopper-Pearson below 30 items, Wilson from there on.
pub fn share(right: usize, n: usize, alpha: f64) -> Option<(f64, f64)> {
    if n < FEW { clopper_pearson(right, n, alpha) } else { wilson_at(right, n, alpha) }
}

/// The 95 % interval of a share of `right` out of `n`, by Wilson's score method.
///
/// Without any row nothing is known, so the interval is 0 to 1.
pub fn wilson(right: usize, n: usize) -> (f64, f64) {
    wilson_at(right, n, 0.05).unwrap_or((0.0, 1.0))
}

/// Wilson's score interval at any level.
///
/// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
pub fn wilson_at(right: usize, n: usize, alpha: f64) -> Option<(f64, f64)> {
    let z = normal_quantile(1.0 - alpha / 2.0)?;
    (n > 0 && right <= n).then(|| score_interval(right as f64 / n as f64, n as f64, z))
}

/// The exact interval of a share: it covers at least as often as it says, and mostly more often.
///
/// C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
/// Biometrika 26 (1934), in terms of beta quantiles.
pub fn clopper_pearson(right: usize, n: usize, alpha: f64) -> Option<(f64, f64)> {
    if n == 0 || right > n || !(alpha > 0.0 && alpha < 1.0) {
        return None;
    }
    let (k, rest) = (right as f64, (n - right) as f64);
    let low = if right == 0 { 0.0 } else { beta_quantile(alpha / 2.0, k, rest + 1.0)? };
    let high = if right == n { 1.0 } else { beta_quantile(1.0 - alpha / 2.0, k + 1.0, rest)? };
    Some((low, high))
}

/// The interval of a share whose items come in clusters; `clusters` names the cluster of each item.
///
/// Wilson's interval with the number of independent items that would have the same cluster-robust standard error, and
/// with Student's t for the number of clusters, after E. L. Korn and B. I. Graubard, "Confidence intervals for
/// proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24 (1998).
/// Where clusters do not differ at all, each counts as one item. `None` below two clusters.
pub fn clustered_share(right: &[bool], clusters: &[usize], alpha: f64) -> Option<(f64, f64)> {
    let values: Vec<f64> = right.iter().map(|right| f64::from(u8::from(*right))).collect();
    let estimate = Estimate::of(&values, Some(clusters))?;
    if estimate.groups < 2 {
        return None;
    }
    let (share, n) = (estimate.value, values.len() as f64);
    let effective = match estimate.se {
        Some(se) if share > 0.0 && share < 1.0 => (share * (1.0 - share) / (se * se)).clamp(1.0, n),
        _ => estimate.groups as f64,
    };
    Some(score_interval(share, effective, t_quantile(1.0 - alpha / 2.0, estimate.df())?))
}

fn score_interval(share: f64, n: f64, z: f64) -> (f64, f64) {
    let centre = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // What nobody got right can be a share of zero, whatever rounding says.
    let low = if share == 0.0 { 0.0 } else { ((centre - half) / scale).max(0.0) };
    let high = if share == 1.0 { 1.0 } else { ((centre + half) / scale).min(1.0) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_has_no_interval() {
        assert_eq!((share(0, 0, 0.05), wilson(0, 0)), (None, (0.0, 1.0)));
        assert_eq!(share(3, 2, 0.05), None);
        assert_eq!(wilson_at(1, 2, 0.0), None);
        assert_eq!(clustered_share(&[], &[], 0.05), None);
        assert_eq!(clustered_share(&[true, false], &[7, 7], 0.05), None);
        assert_eq!(clustered_share(&[true, false], &[7], 0.05), None);
    }

    #[test]
    fn few_items_get_the_exact_interval() {
        assert_eq!(share(10, 29, 0.05), clopper_pearson(10, 29, 0.05));
        assert_eq!(share(10, 30, 0.05), wilson_at(10, 30, 0.05));
        assert_eq!(clopper_pearson(0, 5, 0.05).unwrap().0, 0.0);
        assert_eq!(clopper_pearson(5, 5, 0.05).unwrap().1, 1.0);
    }

    #[test]
    fn clusters_that_are_all_alike_count_as_one_item_each() {
        let clusters: Vec<usize> = (0..40).map(|i| i / 4).collect();
        let (low, high) = clustered_share(&[true; 40], &clusters, 0.05).unwrap();
        assert_eq!(high, 1.0);
        assert!(low < wilson_at(10, 10, 0.05).unwrap().0, "{low}");
    }
}
