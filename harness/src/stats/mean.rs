//! Means and paired differences, for independent items and for items in clusters.

use std::collections::BTreeMap;

use super::{normal_quantile, t_quantile};

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; `None` where there are fewer than two groups or no spread at all.
    pub se: Option<f64>,
    /// Independent groups: clusters, or items where none were given.
    pub groups: usize,
}

impl Estimate {
    /// The mean of `values`, whose items are independent, or at least those of different `clusters` are.
    ///
    /// The cluster-robust variance is C/(C-1) · Σ over clusters of (Σ of deviations)² / n²; with one item in each cluster
    /// it is the ordinary s²/n. K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear
    /// models", Biometrika 73 (1986), with the usual correction for few clusters.
    pub fn of(values: &[f64], clusters: Option<&[usize]>) -> Option<Estimate> {
        let fits = clusters.is_none_or(|clusters| clusters.len() == values.len());
        if values.is_empty() || !fits || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let (squares, groups) = match clusters {
            None => (values.iter().map(|v| (v - value).powi(2)).sum::<f64>(), values.len()),
            Some(clusters) => {
                let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
                for (value_of_item, cluster) in values.iter().zip(clusters) {
                    *sums.entry(*cluster).or_default() += value_of_item - value;
                }
                (sums.values().map(|sum| sum * sum).sum(), sums.len())
            }
        };
        let c = groups as f64;
        let se = (squares * c / (c - 1.0)).sqrt() / n;
        // Equal values leave deviations of rounding size behind, which are no spread.
        let largest = values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        let spread = groups > 1 && se.is_finite() && se > 1e-13 * largest;
        value.is_finite().then_some(Estimate { value, se: spread.then_some(se), groups })
    }

    /// Student's interval of the mean; `None` where the standard error is unknown.
    pub fn interval(&self, alpha: f64) -> Option<(f64, f64)> {
        let half = t_quantile(1.0 - alpha / 2.0, self.df())? * self.se?;
        Some((self.value - half, self.value + half))
    }

    /// Degrees of freedom: groups less one.
    pub fn df(&self) -> f64 {
        self.groups.saturating_sub(1) as f64
    }
}

/// The interval of (share right by b) - (share right by a) on the same `n` independent items.
///
/// `only_a` and `only_b` are the items that only one of the two gets right. A. Agresti and Y. Min, "Simple improved
/// confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005): the ordinary interval
/// after half an item more in each of the four cells. The ordinary one is too short where few items differ.
pub fn paired_share(only_a: usize, only_b: usize, n: usize, alpha: f64) -> Option<(f64, f64)> {
    if n == 0 || only_a.checked_add(only_b)? > n {
        return None;
    }
    let z = normal_quantile(1.0 - alpha / 2.0)?;
    let items = n as f64 + 2.0;
    let value = (only_b as f64 - only_a as f64) / items;
    let half = z * paired_sd(only_a, only_b, n) / items.sqrt();
    Some(((value - half).max(-1.0), (value + half).min(1.0)))
}

/// The standard deviation of one item's difference, smoothed as in [`paired_share`], so that it is never zero.
pub(super) fn paired_sd(only_a: usize, only_b: usize, n: usize) -> f64 {
    let items = n as f64 + 2.0;
    let (sum, difference) = ((only_a + only_b) as f64 + 1.0, only_b as f64 - only_a as f64);
    (sum / items - (difference / items).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_has_no_interval() {
        assert_eq!(Estimate::of(&[], None), None);
        assert_eq!(Estimate::of(&[1.0, f64::NAN], None), None);
        assert_eq!(Estimate::of(&[1.0, f64::INFINITY], None), None);
        assert_eq!(Estimate::of(&[f64::MAX, f64::MAX], None), None);
        assert_eq!(Estimate::of(&[1.0, 2.0], Some(&[0])), None);
        assert_eq!(Estimate::of(&[3.0], None), Some(Estimate { value: 3.0, se: None, groups: 1 }));
        assert_eq!(Estimate::of(&[0.1; 7], None).unwrap().interval(0.05), None);
        assert_eq!(Estimate::of(&[1.0, 2.0], Some(&[4, 4])).unwrap().interval(0.05), None);
        assert_eq!(paired_share(0, 0, 0, 0.05), None);
        assert_eq!(paired_share(usize::MAX, 1, 5, 0.05), None);
    }

    #[test]
    fn a_cluster_for_each_item_changes_nothing() {
        let values = [0.3, 1.7, -2.0, 0.4, 9.1];
        let alone = Estimate::of(&values, None).unwrap();
        let clustered = Estimate::of(&values, Some(&[9, 1, 4, 3, 2])).unwrap();
        assert_eq!((alone.value, alone.groups), (clustered.value, clustered.groups));
        assert!((alone.se.unwrap() - clustered.se.unwrap()).abs() < 1e-15);
    }
}
