//! Measurements of trained models that a run makes, and which of two is the better one.

use serde_json::Value;
use tunesmith_harness::grade::less_is_better;

/// What a call of `evaluate` found out about an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The adapter.
    pub adapter: String,
    /// The metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The rows it was taken on, and how many: of other rows, or of fewer, nothing can be better or worse.
    rows: (String, u64),
}

impl Measurement {
    /// What these arguments of `evaluate` brought; `None` where no adapter was measured.
    pub fn of(args: &Value, output: &Value) -> Option<Self> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Measurement {
            adapter: text(args, "adapter")?,
            metric: text(output, "metric").unwrap_or_default(),
            value: output.get("value").and_then(Value::as_f64)?,
            rows: (text(args, "data").unwrap_or_default(), output.get("n").and_then(Value::as_u64).unwrap_or_default()),
        })
    }

    /// Whether it is better than `other`; `None` where the two say nothing of each other.
    pub fn beats(&self, other: &Self) -> Option<bool> {
        if (&self.metric, &self.rows) != (&other.metric, &other.rows) {
            return None;
        }
        Some(if less_is_better(&self.metric) { self.value < other.value } else { self.value > other.value })
    }

    /// Whether it is kept in place of `best`: it is better, or it is of more rows, or of as many others and newer.
    pub fn replaces(&self, best: Option<&Self>) -> bool {
        best.is_none_or(|best| self.beats(best).unwrap_or(self.rows.1 >= best.rows.1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(metric: &str, value: f64, n: u64) -> Measurement {
        Measurement::of(&json!({"adapter": "a"}), &json!({"metric": metric, "value": value, "n": n})).unwrap()
    }

    #[test]
    fn less_is_better_of_bits_and_nothing_is_said_of_other_rows() {
        assert_eq!(of("bits_per_byte", 1.9, 9).beats(&of("bits_per_byte", 2.4, 9)), Some(true));
        assert_eq!(of("accuracy", 0.5, 9).beats(&of("accuracy", 0.5, 9)), Some(false));
        assert_eq!(of("accuracy", 0.6, 9).beats(&of("accuracy", 0.5, 9)), Some(true));
        assert_eq!(of("accuracy", 1.0, 10).beats(&of("accuracy", 0.9, 500)), None);
        assert_eq!(of("accuracy", 1.0, 10).beats(&of("exact_match", 0.9, 10)), None);
        let kept = |new: Measurement, best: Measurement| new.replaces(Some(&best));
        assert!(!kept(of("accuracy", 1.0, 10), of("accuracy", 0.9, 500)));
        assert!(kept(of("accuracy", 0.9, 500), of("accuracy", 1.0, 10)));
        assert_eq!(Measurement::of(&json!({}), &json!({"metric": "accuracy", "value": 0.5})), None);
    }
}
