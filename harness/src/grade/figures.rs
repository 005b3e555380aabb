//! Values of metrics as people read them: shares in per cent, everything else as a number.

use crate::figures::{percent, percents, points};

/// Whether less of a metric is better.
pub fn less_is_better(metric: &str) -> bool {
    matches!(metric, "bits_per_byte" | "perplexity")
}

/// A value of a metric, as `91.2 %` or `1.234`.
pub fn shown(metric: &str, value: f64) -> String {
    match () {
        () if !less_is_better(metric) => percent(value),
        () if value.is_finite() => format!("{value:.3}"),
        () => "unknown".to_owned(),
    }
}

/// An interval of a metric, as `88.0 to 93.6 %` or `1.200 to 1.300`.
pub fn shown_interval(metric: &str, (low, high): (f64, f64)) -> String {
    match less_is_better(metric) {
        false => percents((low, high)),
        true if high == f64::MAX => "unknown".to_owned(),
        true => format!("{low:.3} to {high:.3}"),
    }
}

/// A gain on a metric, as `+81.2 points` or `+0.312 bits per byte`.
pub fn shown_gain(metric: &str, value: f64) -> String {
    match less_is_better(metric) {
        false => format!("{} points", points(value)),
        // No -0.000.
        true => format!("{:+.3} {}", if value.abs() < 5e-4 { 0.0 } else { value }, metric.replace('_', " ")),
    }
}
