//! Metrics over right-or-wrong results and over label predictions.

use crate::grade::Confusion;

/// The share of rows that are right; 0 without rows.
pub fn accuracy(right: &[bool]) -> f64 {
    if right.is_empty() { 0.0 } else { right.iter().filter(|r| **r).count() as f64 / right.len() as f64 }
}

/// Counts truths against predictions. Rows without a known truth or without a prediction are in no cell.
pub fn confusion(labels: Vec<String>, truth: &[Option<usize>], predicted: &[Option<usize>]) -> Confusion {
    let mut counts = vec![vec![0; labels.len()]; labels.len()];
    for (truth, predicted) in truth.iter().zip(predicted) {
        if let (Some(truth), Some(predicted)) = (truth, predicted)
            && let Some(cell) = counts.get_mut(*truth).and_then(|row| row.get_mut(*predicted))
        {
            *cell += 1;
        }
    }
    Confusion { labels, counts }
}

/// The unweighted mean of the F1 of every label that is a truth or a prediction somewhere; 0 without any.
///
/// A row without a prediction is a miss of its label. F1 is 2·hits / (truths + predictions).
pub fn macro_f1(labels: usize, truth: &[Option<usize>], predicted: &[Option<usize>]) -> f64 {
    let (mut hits, mut total) = (vec![0usize; labels], vec![0usize; labels]);
    for (truth, predicted) in truth.iter().zip(predicted) {
        for label in [truth, predicted].into_iter().flatten() {
            if let Some(count) = total.get_mut(*label) {
                *count += 1;
            }
        }
        if let (Some(truth), true) = (truth, truth == predicted)
            && let Some(count) = hits.get_mut(*truth)
        {
            *count += 1;
        }
    }
    let scores: Vec<f64> =
        hits.iter().zip(&total).filter(|(_, total)| **total > 0).map(|(h, t)| 2.0 * *h as f64 / *t as f64).collect();
    if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_prediction_are_misses_in_no_cell() {
        let truth = [Some(0), Some(0), Some(1), None];
        let predicted = [Some(0), None, Some(0), Some(1)];
        let labels = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(
            confusion(labels.clone(), &truth, &predicted),
            Confusion { labels, counts: vec![vec![1, 0, 0], vec![1, 0, 0], vec![0, 0, 0]] }
        );
        // a: one hit of two truths and two predictions; b: no hit; c never occurs and does not count.
        assert_eq!(macro_f1(3, &truth, &predicted), 0.25);
        assert_eq!(macro_f1(3, &[], &[]), 0.0);
        assert_eq!(accuracy(&[true, false, false, true]), 0.5);
        assert_eq!(accuracy(&[]), 0.0);
    }
}
