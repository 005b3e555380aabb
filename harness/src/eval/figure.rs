//! One number of an evaluation with all that tells what it is worth.

use serde::{Deserialize, Serialize};

/// One metric of one task or group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The task or group.
    pub task: String,
    /// How deep it stands below the groups that were asked for.
    pub depth: usize,
    /// The filter that the answers went through.
    pub filter: String,
    /// The metric.
    pub metric: String,
    /// Number of examples before the question.
    pub n_shot: Option<usize>,
    /// Its value; `None` where it is not a number.
    pub value: Option<f64>,
    /// Its 95 % interval, where one is known.
    pub interval: Option<(f64, f64)>,
    /// How the interval was made, for example `wilson`.
    pub method: Option<String>,
    /// Standard error as lm-eval computes it, where it has one.
    pub stderr: Option<f64>,
    /// Rows that the value is made of.
    pub n: usize,
    /// Whether more is better, where that is known.
    pub higher_is_better: Option<bool>,
    /// What guessing reaches, where that is known.
    pub chance: Option<f64>,
    /// Share of answers that did not have the asked-for form, where that can be told.
    pub format_failures: Option<f64>,
}

impl Figure {
    /// Whether the metric is a share, so that it is shown in per cent.
    pub fn is_share(&self) -> bool {
        const SHARES: [&str; 8] =
            ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "em", "likelihood"];
        SHARES.contains(&self.metric.as_str()) || self.metric.ends_with("_acc")
    }

    /// The interval of these ends, within what the metric can be; `None` where an end is no number.
    pub(super) fn within_range(&self, (low, high): (f64, f64)) -> Option<(f64, f64)> {
        let (least, most) = match self.metric.as_str() {
            _ if self.is_share() => (0.0, 1.0),
            "mcc" => (-1.0, 1.0),
            "bleu" | "chrf" => (0.0, 100.0),
            "ter" => (0.0, f64::INFINITY),
            metric if metric.contains("perplexity") => (1.0, f64::INFINITY),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        (low.is_finite() && high.is_finite()).then(|| (low.clamp(least, most), high.clamp(least, most)))
    }

    /// The value as people read it.
    pub fn shown(&self) -> String {
        self.value.map_or_else(|| "unknown".to_owned(), |value| self.number(value))
    }

    /// The interval as people read it.
    pub fn shown_interval(&self) -> Option<String> {
        let (low, high) = self.interval?;
        Some(format!("{} to {}", self.number(low).trim_end_matches(" %"), self.number(high)))
    }

    fn number(&self, value: f64) -> String {
        if self.is_share() { crate::figures::percent(value) } else { format!("{value:.4}") }
    }
}
