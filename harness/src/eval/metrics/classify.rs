//! Metrics of labels: F1, Matthews' correlation, the Brier score; argmax and softmax as NumPy has them.

/// Index of the largest value, the first of several; the first NaN where there is one: NumPy's `argmax`.
pub fn argmax(values: &[f64]) -> Option<usize> {
    if let Some(nan) = values.iter().position(|value| value.is_nan()) {
        return Some(nan);
    }
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(better)
}

/// lm-eval's `softmax`.
pub fn softmax(values: &[f64]) -> Vec<f64> {
    // Unlike `f64::max`, NumPy's maximum is NaN where a value is.
    let max = argmax(values).map_or(f64::NAN, |i| values[i]);
    let powers: Vec<f64> = values.iter().map(|value| (value - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// How often a pair of labels occurs.
pub(crate) type Counted = (i64, i64, u64);

/// F1 of label 1, scikit-learn's `f1_score` of labels that are all 1 or one other; 0 without any 1.
pub(crate) fn f1(cells: &[Counted]) -> f64 {
    let count = |wanted: fn(i64, i64) -> bool| -> u64 {
        cells.iter().filter(|(gold, pred, _)| wanted(*gold, *pred)).map(|(.., n)| n).sum()
    };
    let hits = count(|gold, pred| gold == 1 && pred == 1);
    let total = count(|gold, _| gold == 1) + count(|_, pred| pred == 1);
    if total == 0 { 0.0 } else { 2.0 * hits as f64 / total as f64 }
}

/// Matthews' correlation coefficient of any number of labels: scikit-learn's `matthews_corrcoef`.
///
/// `cells` count pairs of positions below `labels`.
pub(crate) fn matthews(cells: impl Iterator<Item = (usize, usize, u64)>, labels: usize) -> f64 {
    let (mut golds, mut preds) = (vec![0.0; labels], vec![0.0; labels]);
    let mut right = 0.0;
    for (gold, pred, n) in cells {
        let n = n as f64;
        golds[gold] += n;
        preds[pred] += n;
        right += if gold == pred { n } else { 0.0 };
    }
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let n: f64 = preds.iter().sum();
    let both = right * n - dot(&golds, &preds);
    let spread = (n * n - dot(&preds, &preds)) * (n * n - dot(&golds, &golds));
    if spread == 0.0 { 0.0 } else { both / spread.sqrt() }
}

/// Squared distance of probabilities from the certainty of label `gold`.
pub(crate) fn brier(gold: usize, probabilities: &[f64]) -> f64 {
    let distance = |(i, p): (usize, &f64)| (p - f64::from(u8::from(i == gold))).powi(2);
    probabilities.iter().enumerate().map(distance).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_wins_and_nan_above_all() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[1.0, f64::NAN, 3.0, f64::NAN]), Some(1));
        assert_eq!(argmax(&[f64::NEG_INFINITY; 2]), Some(0));
        assert_eq!(argmax(&[]), None);
    }
}
