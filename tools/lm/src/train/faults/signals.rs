//! Divergence, plateau and overfitting, read from the curves of losses by fixed rules, for whoever plans the next run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Fault, Finding, Stage::After};

/// What the curves of losses say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The training loss is 10 % above its start, or three times its best and risen by 10 % of its start.
    Diverging {
        /// The last step.
        step: usize,
        /// Loss at the start.
        start: f64,
        /// The lowest.
        best: f64,
        /// Loss at this step.
        last: f64,
    },
    /// Over the last third of the steps the training loss has fallen by less than 1 %.
    Plateau {
        /// The last step.
        step: usize,
        /// Loss where the last third begins.
        from: f64,
        /// Loss at this step.
        last: f64,
    },
    /// The validation loss is 5 % above its best, and by 1 % of its first, while the training loss has fallen since.
    Overfitting {
        /// The step of the last evaluation.
        step: usize,
        /// The step of the best evaluation.
        best_step: usize,
        /// The best validation loss.
        best: f64,
        /// The last validation loss.
        last: f64,
    },
}

/// Fewer steps say nothing about a course.
const LEAST: usize = 10;

/// The signals in a curve of training losses and one of validation losses, both by ascending step. Training losses are
/// means over a tenth of the curve, but over at least three steps.
pub fn signals(curve: &[(usize, f64)], valid: &[(usize, f64)]) -> Vec<Signal> {
    let window = (curve.len() / 10).max(3);
    let mean = |part: &[(usize, f64)]| part.iter().map(|point| point.1).sum::<f64>() / part.len().max(1) as f64;
    let until = |end: usize| mean(&curve[end.saturating_sub(window)..end]);
    let mut signals = Vec::new();
    if let Some(&(step, _)) = curve.last().filter(|_| curve.len() >= LEAST) {
        let (start, last) = (until(window), until(curve.len()));
        let best = curve.windows(window).step_by(window).map(mean).fold(f64::INFINITY, f64::min).min(last);
        let from = until(curve.len() - curve.len() / 3);
        if !last.is_finite() || last > 1.1 * start || (last > 3.0 * best && last - best > 0.1 * start) {
            signals.push(Signal::Diverging { step, start, best, last });
        } else if from - last < 0.01 * from {
            signals.push(Signal::Plateau { step, from, last });
        }
    }
    signals.extend(overfitting(curve, valid));
    signals
}

/// [`Signal::Overfitting`], where the curves say so.
pub fn overfitting(curve: &[(usize, f64)], valid: &[(usize, f64)]) -> Option<Signal> {
    let (first, &(step, last)) = (valid.first()?.1, valid.last()?);
    let &(best_step, best) = valid.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let rose = last > 1.05 * best && last - best > 0.01 * first;
    let window = (curve.len() / 10).max(3);
    let around = |step: usize| {
        let end = curve.partition_point(|point| point.0 <= step).max(1).min(curve.len());
        let part = &curve[end.saturating_sub(window)..end];
        part.iter().map(|point| point.1).sum::<f64>() / part.len().max(1) as f64
    };
    (rose && around(step) < around(best_step)).then_some(Signal::Overfitting { step, best_step, best, last })
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signal::Diverging { step, start, best, last } => write!(
                f,
                "diverging at step {step}: the loss is {last:.3}, was {start:.3} at the start and {best:.3} at best"
            ),
            Signal::Plateau { step, from, last } => {
                write!(f, "plateau at step {step}: the loss went from {from:.3} to {last:.3} in the last third")
            }
            Signal::Overfitting { step, best_step, best, last, .. } => write!(
                f,
                "overfitting at step {step}: the validation loss is {last:.3} after {best:.3} at step {best_step}"
            ),
        }
    }
}

impl Signal {
    /// The finding that it amounts to in a finished run: overfitting is a fault where the validation loss rose by
    /// more than a tenth of a nat per token, which is a tenth in perplexity. The rest is for the planner.
    pub(in crate::train) fn finding(&self) -> Option<Finding> {
        let Signal::Overfitting { best, last, .. } = self else { return None };
        if last - best <= 0.1 {
            return None;
        }
        let advice = "take fewer epochs or more rows; the best checkpoint was kept";
        Some(Finding::warning(Fault::Collapse, After, self.to_string(), advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: impl IntoIterator<Item = f64>) -> Vec<(usize, f64)> {
        losses.into_iter().enumerate().map(|(i, loss)| (i + 1, loss)).collect()
    }

    #[test]
    fn each_course_has_its_signal() {
        let falling = curve((0..40).map(|i| 4.0 * 0.95f64.powi(i)));
        assert_eq!(signals(&falling, &[(20, 2.0), (40, 1.0)]), []);
        let rising = curve((0..40).map(|i| 2.0 + 0.1 * f64::from(i)));
        assert!(matches!(signals(&rising, &[])[..], [Signal::Diverging { step: 40, .. }]));
        let back = curve((0..40).map(|i| if i < 25 { 4.0 * 0.8f64.powi(i) } else { 2.0 }));
        assert!(matches!(signals(&back, &[])[..], [Signal::Diverging { step: 40, .. }]));
        let lost = curve((0..40).map(|i| if i < 30 { 1.0 } else { f64::NAN }));
        assert!(matches!(signals(&lost, &[])[..], [Signal::Diverging { .. }]));
        let flat = curve((0..40).map(|i| 1.0 + 1.0 / f64::from(i + 1).powi(3)));
        assert!(matches!(signals(&flat, &[])[..], [Signal::Plateau { step: 40, .. }]));
        let valid = [(10, 2.0), (20, 1.0), (30, 1.2), (40, 1.6)];
        let over = Signal::Overfitting { step: 40, best_step: 20, best: 1.0, last: 1.6 };
        assert_eq!(signals(&falling, &valid), [over]);
        assert!(over.finding().is_some());
        // Near zero a rise is large by its share and small in fact.
        assert_eq!(overfitting(&falling, &[(10, 2.0), (20, 0.01), (40, 0.06)]).unwrap().finding(), None);
        // A loss that rises in training as well is no overfitting.
        assert!(matches!(signals(&rising, &valid)[..], [Signal::Diverging { .. }]));
    }

    #[test]
    fn short_curves_and_small_wobbles_say_nothing() {
        assert_eq!(signals(&[], &[]), []);
        assert_eq!(signals(&curve([1.0, 2.0, 9.0]), &[(3, 1.0)]), []);
        let low = curve((0..30).map(|i| 3.0 * 0.5f64.powi(i.min(9)) * 0.98f64.powi(i)));
        assert_eq!(signals(&low, &[(10, 3.0), (20, 0.01), (30, 0.02)]), []);
    }
}
