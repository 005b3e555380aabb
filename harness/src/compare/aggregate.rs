//! How the values of items make the value of a metric.

use serde_json::Value;

use crate::eval::metrics::{bleu, chrf, ter};

/// Longest text that is scored as a translation, in bytes: shifts of phrases are sought in a time that grows with its square.
const LONGEST: usize = 1 << 20;

/// How the items of a metric make its value: from sums over them, so that any choice of items has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean: sums are values and their number.
    Mean,
    /// exp(-mean log-likelihood), each item weighing as much as its words or bytes: log-likelihoods and weights.
    Perplexity,
    /// -log2 of the likelihood per byte: log-likelihoods and bytes.
    BitsPerByte,
    /// F1 of the class 1: true positives, false positives, false negatives.
    F1,
    /// Matthews' correlation of two classes: true positives, false positives, false negatives, true negatives.
    Mcc,
    /// sacreBLEU: its counts of words and n-grams.
    Bleu,
    /// chrF: its counts of n-grams of characters.
    Chrf,
    /// chrF++, with words and pairs of words.
    ChrfPlusPlus,
    /// Translation edit rate: edits, and words of the references.
    Ter,
}

impl Aggregate {
    /// Most sums that an aggregate has, translations aside.
    pub(super) const NARROW: usize = 4;
    /// Most sums that any aggregate has.
    pub(super) const WIDE: usize = chrf::width(chrf::WORDS);

    /// How lm-eval aggregates the metric of this name.
    pub fn of(metric: &str, item: &Value) -> Aggregate {
        match metric {
            "perplexity" | "word_perplexity" | "byte_perplexity" => Aggregate::Perplexity,
            "bits_per_byte" => Aggregate::BitsPerByte,
            "f1" if item.is_array() => Aggregate::F1,
            "mcc" => Aggregate::Mcc,
            "bleu" if item.is_array() => Aggregate::Bleu,
            "chrf" if item.is_array() => Aggregate::Chrf,
            "chrf++" if item.is_array() => Aggregate::ChrfPlusPlus,
            "ter" if item.is_array() => Aggregate::Ter,
            _ => Aggregate::Mean,
        }
    }

    /// What an item, as lm-eval writes it, adds to the sums; `None` where it is not of that kind.
    pub fn sums(self, metric: &str, item: &Value) -> Option<Vec<f64>> {
        let pair = || item.as_array().filter(|pair| pair.len() == 2);
        let sums = match self {
            Aggregate::Mean if metric == "brier_score" && item.is_array() => {
                vec![brier(&pair()?[0], &pair()?[1])?, 1.0]
            }
            Aggregate::Mean => vec![number(item)?, 1.0],
            Aggregate::Perplexity | Aggregate::BitsPerByte => match pair() {
                Some(pair) => vec![number(&pair[0])?, number(&pair[1])?],
                None => vec![number(item)?, 1.0],
            },
            Aggregate::F1 | Aggregate::Mcc => match (class(&pair()?[0])?, class(&pair()?[1])?) {
                (true, true) => vec![1.0, 0.0, 0.0, 0.0],
                (false, true) => vec![0.0, 1.0, 0.0, 0.0],
                (true, false) => vec![0.0, 0.0, 1.0, 0.0],
                (false, false) => vec![0.0, 0.0, 0.0, 1.0],
            },
            translation => translation.texts(pair()?)?,
        };
        sums.iter().all(|sum| sum.is_finite()).then_some(sums)
    }

    /// What a text adds that is held against one reference or several.
    fn texts(self, pair: &[Value]) -> Option<Vec<f64>> {
        let references: Vec<String> = match &pair[0] {
            Value::String(reference) => vec![reference.clone()],
            several => serde_json::from_value(several.clone()).ok()?,
        };
        let text = pair[1].as_str()?;
        let short = references.iter().map(String::as_str).chain([text]).all(|text| text.len() <= LONGEST);
        if references.is_empty() || !short {
            return None;
        }
        Some(match self {
            Aggregate::Bleu => bleu::statistics(&references, text).to_vec(),
            Aggregate::Chrf => chrf::statistics(&references, text, 0),
            Aggregate::ChrfPlusPlus => chrf::statistics(&references, text, chrf::WORDS),
            _ => ter::statistics(&references, text).ok()?.to_vec(),
        })
    }

    /// The value of these sums, of which those that are missing are zero; `None` where there is none.
    pub fn value(self, sums: &[f64]) -> Option<f64> {
        let [a, b, c, d] = std::array::from_fn(|i| sums.get(i).copied().unwrap_or(0.0));
        let value = match self {
            Aggregate::Mean => a / b,
            Aggregate::Perplexity => (-a / b).exp(),
            Aggregate::BitsPerByte => -a / b / std::f64::consts::LN_2,
            // As scikit-learn has it, a class that never occurs scores 0.
            Aggregate::F1 if a == 0.0 => 0.0,
            Aggregate::F1 => 2.0 * a / (2.0 * a + b + c),
            Aggregate::Mcc => match ((a + b) * (a + c) * (d + b) * (d + c)).sqrt() {
                0.0 => 0.0,
                scale => (a * d - b * c) / scale,
            },
            Aggregate::Bleu if sums.len() < bleu::STATISTICS => return None,
            Aggregate::Bleu => bleu::score(sums),
            Aggregate::Chrf | Aggregate::ChrfPlusPlus => chrf::score(sums),
            Aggregate::Ter => ter::score(&[a, b]),
        };
        value.is_finite().then_some(value)
    }
}

/// A number, a truth value, or either as text: Python writes some numbers of NumPy as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(text) => match text.trim() {
            "True" => Some(1.0),
            "False" => Some(0.0),
            text => text.parse().ok(),
        },
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

fn class(value: &Value) -> Option<bool> {
    match number(value)? {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

/// Σ (p - 1 where right)² of one item; the chances come as a list or as the text that NumPy prints.
fn brier(gold: &Value, chances: &Value) -> Option<f64> {
    let chances: Vec<f64> = match chances {
        Value::Array(chances) => chances.iter().map(number).collect::<Option<_>>()?,
        Value::String(text) => text
            .trim_matches(['[', ']'])
            .split([' ', ',', '\n'])
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let gold = number(gold).filter(|gold| gold.fract() == 0.0 && *gold >= 0.0 && (*gold as usize) < chances.len())?;
    let right = |at: usize| f64::from(u8::from(at == gold as usize));
    Some(chances.iter().enumerate().map(|(at, chance)| (chance - right(at)).powi(2)).sum())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_add_up_as_lm_evals_do() {
        let value = |metric: &str, items: &[Value]| {
            let aggregate = Aggregate::of(metric, &items[0]);
            let mut all = vec![0.0; Aggregate::WIDE];
            for item in items {
                aggregate.sums(metric, item)?.iter().zip(&mut all).for_each(|(more, sum)| *sum += more);
            }
            aggregate.value(&all)
        };
        assert_eq!(value("acc", &[json!(1.0), json!(false), json!("True"), json!("0.5")]), Some(0.625));
        assert_eq!(value("acc", &[json!("N/A")]), None);
        assert_eq!(value("bits_per_byte", &[json!([-std::f64::consts::LN_2 * 6.0, 3])]), Some(2.0));
        assert_eq!(value("perplexity", &[json!(0.0), json!(0.0)]), Some(1.0));
        assert_eq!(value("f1", &[json!([1, 1]), json!([0, 1]), json!([1, 0]), json!([0, 0])]), Some(0.5));
        assert_eq!(value("mcc", &[json!([1, 1]), json!([0, 1]), json!([1, 0]), json!([0, 0])]), Some(0.0));
        assert_eq!(value("mcc", &[json!([2, 1])]), None);
        assert_eq!(value("brier_score", &[json!([0, "[0.5 0.5]"]), json!([1, [0.0, 1.0]])]), Some(0.25));
        assert_eq!(value("brier_score", &[json!([7, "[0.5 0.5]"])]), None);
        assert_eq!(
            value("bleu", &[json!(["a b c d e", "a b c d e"]), json!([["x", "y"], "y"])]).map(f64::round),
            Some(100.0)
        );
        assert_eq!(value("chrf", &[json!(["abcdef", "abcdef"])]), Some(100.0));
        assert_eq!(value("ter", &[json!(["a b c d", "a b c"]), json!(["a", "b"])]), Some(40.0));
        assert_eq!(value("ter", &[json!([[], "a"])]), None);
        assert_eq!(value("bleu", &[json!("a")]), None);
        assert_eq!(value("bleu", &[json!(["a", 1])]), None);
    }
}
