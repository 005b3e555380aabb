//! Scoring one model on the sealed rows.

use serde_json::Value;

use super::{Gain, GradeProgress, Measured, Passage, cases::Cases, text};
use crate::{
    metrics,
    model::{ChatLanguageModel, Generated, Loglikelihood, ModelError},
    recipe::{Judged, Recipe},
    stats,
    task::JobKind,
};

/// One model's results, each list with one entry per scored row.
pub(super) struct Scored {
    pub measured: Measured,
    pub right: Vec<bool>,
    /// What the model said, for people.
    pub got: Vec<String>,
    /// Classification: the predicted label, if there is a single best one.
    pub predicted: Vec<Option<usize>>,
    /// Raw text: bits and bytes of each passage; then nothing is right or wrong.
    pub bits: Vec<stats::Sums<2>>,
}

impl Scored {
    /// The passages of raw text, with what the tuned model takes for them where it was scored.
    pub fn passages(&self, tuned: Option<&Scored>) -> Vec<Passage> {
        let of = |(at, [base, bytes]): (usize, &stats::Sums<2>)| Passage {
            bytes: *bytes as u64,
            base: *base,
            tuned: tuned.and_then(|tuned| tuned.bits.get(at)).map(|[bits, _]| *bits),
        };
        self.bits.iter().enumerate().map(of).collect()
    }
}

/// Scores `model` on `cases`. Rows without an example are wrong.
pub(super) fn measure(
    recipe: &Recipe,
    cases: &Cases,
    model: &mut dyn ChatLanguageModel,
    name: &str,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<Scored, ModelError> {
    let labels = match recipe.kind {
        JobKind::Pretraining => return text::measure(cases, model, name, on),
        JobKind::Classification => Some(predict(recipe, cases, model, name, on)?),
        JobKind::Extraction | JobKind::Generation => None,
    };
    let (texts, judged) = generate(recipe, cases, model, name, on)?;
    let n = cases.rows.len();
    let exact: Vec<bool> = cases.spread(judged.iter().map(|j| j.right).collect(), false);
    let field_accuracy = (recipe.kind == JobKind::Extraction).then(|| fields(&texts, cases)).flatten();
    let malformed = judged.iter().filter(|j| !j.well_formed).count();
    let (right, got, predicted, macro_f1) = match labels {
        Some(labels) => {
            let predicted = cases.spread(labels, None);
            let truth = cases.truth();
            let right = truth.iter().zip(&predicted).map(|(t, p)| t.is_some() && t == p).collect();
            let said = predicted.iter().map(|p| label_text(recipe, *p)).collect();
            let macro_f1 = metrics::macro_f1(cases.labels.len(), &truth, &predicted);
            (right, said, predicted, Some(macro_f1))
        }
        None => (exact.clone(), cases.spread(texts, String::new()), vec![None; n], None),
    };
    let measured = Measured {
        value: metrics::accuracy(&right),
        interval: stats::wilson(right.iter().filter(|r| **r).count(), n),
        n,
        exact_match: Some(metrics::accuracy(&exact)),
        format_failures: Some(malformed as f64 / judged.len().max(1) as f64),
        macro_f1,
        field_accuracy,
        perplexity: None,
    };
    Ok(Scored { measured, right, got, predicted, bits: Vec::new() })
}

/// Share of the fields of all expected objects that the generated ones have with the same value; `None` where nothing is
/// expected that has fields.
fn fields(texts: &[String], cases: &Cases) -> Option<f64> {
    let (mut right, mut all) = (0usize, 0usize);
    for (text, example) in texts.iter().zip(cases.examples()) {
        let Ok(Value::Object(expected)) = serde_json::from_str(example.completion.trim()) else { continue };
        all += expected.len();
        if let Ok(Value::Object(got)) = serde_json::from_str(text.trim()) {
            right += expected.iter().filter(|(name, value)| got.get(*name) == Some(value)).count();
        }
    }
    (all > 0).then(|| right as f64 / all as f64)
}

/// What training changed on the rows that both models were scored on.
pub(super) fn gain(base: &[bool], tuned: &[bool]) -> Gain {
    let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| **a && !**b).count();
    let (lost, won) = (only(base, tuned), only(tuned, base));
    Gain {
        value: metrics::accuracy(tuned) - metrics::accuracy(base),
        interval: stats::paired_bootstrap(lost, won, base.len()),
        p_value: stats::mcnemar(lost, won),
    }
}

/// The label with the highest log-likelihood for each example.
fn predict(
    recipe: &Recipe,
    cases: &Cases,
    model: &mut dyn ChatLanguageModel,
    name: &str,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<Vec<Option<usize>>, ModelError> {
    let texts: Vec<String> = recipe.labels.iter().map(|label| label.text.clone()).collect();
    let requests: Vec<_> = cases.examples().map(|example| (example.prompt.clone(), texts.clone())).collect();
    let scores = model.loglikelihood(&requests, &mut |done, total| {
        on(GradeProgress::Rows { stage: format!("{name}: labels"), done, total });
    })?;
    complete(scores.len(), requests.len())?;
    Ok(scores.iter().map(|row| if row.len() == texts.len() { best(row) } else { None }).collect())
}

/// The single best label. A tie, or a number that is none, is no answer: a broken model must not win by order.
fn best(scores: &[Loglikelihood]) -> Option<usize> {
    if scores.iter().any(|score| score.sum.is_nan() || score.sum == f64::INFINITY) {
        return None;
    }
    let most = scores.iter().map(|score| score.sum).fold(f64::NEG_INFINITY, f64::max);
    let mut winners = scores.iter().enumerate().filter(|(_, score)| score.sum == most).map(|(at, _)| at);
    let first = winners.next();
    if winners.next().is_some() || most == f64::NEG_INFINITY { None } else { first }
}

fn generate(
    recipe: &Recipe,
    cases: &Cases,
    model: &mut dyn ChatLanguageModel,
    name: &str,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<(Vec<String>, Vec<Judged>), ModelError> {
    let prompts: Vec<_> = cases.examples().map(|example| example.prompt.clone()).collect();
    let generated = model.generate(&prompts, recipe.max_new_tokens, &mut |done, total| {
        on(GradeProgress::Rows { stage: format!("{name}: answers"), done, total });
    })?;
    complete(generated.len(), prompts.len())?;
    let texts: Vec<String> = generated.into_iter().map(|Generated { text, .. }| text).collect();
    let judged = texts.iter().zip(cases.examples()).map(|(text, e)| recipe.judge(text, &e.completion)).collect();
    Ok((texts, judged))
}

fn complete(got: usize, asked: usize) -> Result<(), ModelError> {
    if got == asked { Ok(()) } else { Err(ModelError(format!("the model answered {got} of {asked} rows"))) }
}

fn label_text(recipe: &Recipe, label: Option<usize>) -> String {
    label.and_then(|at| recipe.labels.get(at)).map_or_else(|| "(no single best label)".to_owned(), |l| l.text.clone())
}
