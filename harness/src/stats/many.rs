//! Many tests at once.

/// Benjamini and Hochberg's adjusted p-values, in the order of `p`.
///
/// Calling those below alpha a difference is wrong in at most a share of alpha of the calls, on average. Y. Benjamini and
/// Y. Hochberg, "Controlling the false discovery rate", J. R. Statist. Soc. B 57 (1995). What is unknown (`None` or not
/// finite) stays unknown and is not counted as a test.
pub fn benjamini_hochberg(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut known: Vec<(usize, f64)> =
        p.iter().enumerate().filter_map(|(at, p)| Some((at, p.filter(|p| p.is_finite())?))).collect();
    known.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut adjusted = vec![None; p.len()];
    let mut least = 1.0_f64;
    for (smaller, (at, p)) in known.iter().enumerate() {
        least = least.min(p * known.len() as f64 / (known.len() - smaller) as f64);
        adjusted[*at] = Some(least);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tests_are_not_counted() {
        assert_eq!(benjamini_hochberg(&[]), []);
        assert_eq!(benjamini_hochberg(&[None, Some(0.04), Some(f64::NAN)]), [None, Some(0.04), None]);
        assert_eq!(benjamini_hochberg(&[Some(0.01), Some(0.04)]), [Some(0.02), Some(0.04)]);
    }
}
