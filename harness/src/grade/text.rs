//! Scoring one model on raw text: how many bits it takes for a byte that it has not seen.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::{Gain, GradeProgress, Measured, cases::Cases, measure::Scored};
use crate::{
    model::{ChatLanguageModel, ModelError},
    stats::{DRAWS, Sums, bootstrap, paired_permutation, percentile_interval},
};

/// Seed of the resamples, so that the same rows give the same bytes.
const SEED: u64 = 0x7e87;

/// One passage of raw text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Its bytes as UTF-8.
    pub bytes: u64,
    /// Bits that the base takes for it.
    pub base: f64,
    /// Bits that the tuned model takes for it.
    pub tuned: Option<f64>,
}

/// Scores `model` on the texts of `cases`, each read by itself.
pub(super) fn measure(
    cases: &Cases,
    model: &mut dyn ChatLanguageModel,
    name: &str,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<Scored, ModelError> {
    let texts: Vec<String> = cases.examples().map(|example| example.completion.clone()).collect();
    let read = model.read(&texts, &mut |done, total| {
        on(GradeProgress::Rows { stage: format!("{name}: texts"), done, total });
    })?;
    if read.len() != texts.len() {
        return Err(ModelError(format!("the model read {} of {} texts", read.len(), texts.len())));
    }
    let bits: Vec<Sums<2>> =
        read.iter().zip(&texts).map(|(read, text)| [-read.sum / LN_2, text.len() as f64]).collect();
    let total = bits.iter().fold([0.0, 0.0], |sum, more| [sum[0] + more[0], sum[1] + more[1]]);
    let value = rate(&total).ok_or_else(|| ModelError("the bits that it takes for the texts are no number".into()))?;
    let interval = resampled(bits.len(), |picked| rate(&sum(&bits, picked)));
    let (nats, tokens) = (total[0] * LN_2, read.iter().map(|read| read.tokens).sum::<usize>());
    let measured = Measured {
        value,
        // One passage tells nothing of others.
        interval: interval.unwrap_or((0.0, f64::MAX)),
        n: texts.len(),
        exact_match: None,
        format_failures: None,
        macro_f1: None,
        field_accuracy: None,
        perplexity: Some((nats / tokens.max(1) as f64).exp()),
    };
    Ok(Scored { measured, right: Vec::new(), got: Vec::new(), predicted: Vec::new(), bits })
}

/// What training saved, in bits per byte, on the passages that both models read. The passages are resampled whole, because
/// the bytes of one hang together.
pub(super) fn gain(base: &[Sums<2>], tuned: &[Sums<2>]) -> Gain {
    let saved = |base: &Sums<2>, tuned: &Sums<2>| Some(rate(base)? - rate(tuned)?);
    let all: Vec<usize> = (0..base.len().min(tuned.len())).collect();
    let value = saved(&sum(base, &all), &sum(tuned, &all)).unwrap_or(0.0);
    let interval = resampled(all.len(), |picked| saved(&sum(base, picked), &sum(tuned, picked)));
    let p_value = paired_permutation(base, tuned, rate, DRAWS, SEED).unwrap_or(1.0);
    Gain { value, interval: interval.unwrap_or((value.min(0.0), value.max(0.0))), p_value }
}

/// Bits per byte.
fn rate([bits, bytes]: &Sums<2>) -> Option<f64> {
    Some(bits / bytes).filter(|rate| rate.is_finite())
}

fn sum(of: &[Sums<2>], picked: &[usize]) -> Sums<2> {
    picked.iter().filter_map(|at| of.get(*at)).fold([0.0, 0.0], |sum, more| [sum[0] + more[0], sum[1] + more[1]])
}

fn resampled(passages: usize, statistic: impl FnMut(&[usize]) -> Option<f64>) -> Option<(f64, f64)> {
    percentile_interval(bootstrap(passages, DRAWS, SEED, statistic)?, 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_what_is_saved_and_its_interval_comes_from_whole_passages() {
        let base: Vec<Sums<2>> = (0..40).map(|at| [300.0 + f64::from(at), 100.0]).collect();
        let saves = |(at, [bits, bytes]): (usize, &Sums<2>)| [bits - 100.0 - (at % 5) as f64, *bytes];
        let tuned: Vec<Sums<2>> = base.iter().enumerate().map(saves).collect();
        let better = gain(&base, &tuned);
        assert!((better.value - 1.02).abs() < 1e-12 && better.p_value < 0.001, "{better:?}");
        assert!(better.interval.0 > 1.01 && better.interval.1 < 1.03, "{better:?}");
        let worse = gain(&tuned, &base);
        assert!(worse.value < -1.01 && worse.interval.1 < 0.0, "{worse:?}");
        // Without a difference nothing is claimed.
        assert_eq!(gain(&base, &base), Gain { value: 0.0, interval: (0.0, 0.0), p_value: 1.0 });
    }
}
