//! The sealed grader: scores base, tuned model and shipped file on rows that nobody has seen.

mod cases;
mod figures;
mod files;
mod measure;
mod outcome;
mod text;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub(crate) use self::outcome::change;
use self::{
    cases::{Case, Cases},
    measure::{Scored, gain, measure},
};
pub use self::{
    figures::{less_is_better, shown, shown_gain, shown_interval},
    outcome::{METRICS, is_metric, metric_value, outcome, too_large},
    text::Passage,
};
use crate::{
    baselines, metrics,
    model::{ChatLanguageModel, ModelError, Models},
    overlap::{Overlap, Search},
    recipe::{Example, Recipe, Row},
    task::JobKind,
};

/// Wrong rows kept for the report.
const ERRORS: usize = 10;

/// What a run hands in to be graded.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The run's directory; paths of artefacts are shown relative to it.
    pub root: PathBuf,
    /// How rows become prompts and answers.
    pub recipe: Recipe,
    /// The grader's own copy of the base.
    pub base: PathBuf,
    /// The trained adapter's directory, if there is one.
    pub adapter: Option<PathBuf>,
    /// Shipped files with their kind: `gguf`, `safetensors` or `adapter`.
    pub artifacts: Vec<(PathBuf, String)>,
    /// Outputs that may not be looked at, with the reason; each of them counts as failed.
    pub refused: BTreeMap<PathBuf, String>,
    /// Files of rows, as JSON lines, that the adapter was trained on.
    pub trained: Vec<PathBuf>,
    /// The rows that nobody has seen.
    pub sealed: Vec<Row>,
    /// The rows that the run could use.
    pub open: Vec<Row>,
}

/// How far grading is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GradeProgress {
    /// A model works through rows.
    Rows {
        /// What is being done, for example `base: labels`.
        stage: String,
        /// Rows done.
        done: usize,
        /// Rows in all.
        total: usize,
    },
    /// What is known so far: a valid grade, in which files not yet scored are marked as failed.
    Partial(Box<Grade>),
}

/// Why there is no grade at all.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// No sealed row can be scored.
    #[error("none of the {0} sealed rows can be scored; check that the recipe's columns and labels are in the data")]
    NoRows(usize),
    /// A classification without labels.
    #[error("the recipe is a classification but lists no labels; prepare the data again")]
    NoLabels,
    /// Raw text with changes: those that fail on a row would leave it out of one model's measure alone.
    #[error(
        "the recipe changes rows of raw text, which is measured as it stands; prepare the data again without changes"
    )]
    Changed,
    /// The base cannot be opened or scored.
    #[error("the base model cannot be scored: {0}")]
    Base(#[source] ModelError),
}

/// Grades a submission: first what needs no model, then base, tuned model and shipped files.
///
/// After each of them `on` is handed the grade so far, so that a deadline loses only what is not done.
/// A file that does not pass is marked as failed and the rest goes on.
pub fn grade(s: &Submission, models: &dyn Models, on: &mut dyn FnMut(GradeProgress)) -> Result<Grade, GradeError> {
    let classification = s.recipe.kind == JobKind::Classification;
    if classification && s.recipe.labels.is_empty() {
        return Err(GradeError::NoLabels);
    }
    if s.recipe.kind == JobKind::Pretraining && !s.recipe.changes.is_empty() {
        return Err(GradeError::Changed);
    }
    let (seen, refusal) = contamination(s);
    let rows = unseen(s, &seen, &refusal);
    let mut cases = Cases::of(&s.recipe, &rows);
    if !cases.any_usable(&s.recipe) {
        return Err(GradeError::NoRows(s.sealed.len()));
    }
    if let (count @ 1.., None) = (seen.seen().len(), &refusal) {
        cases.unusable.push((SEEN.to_owned(), count));
    }
    // Changes that only make it harder for the base, or for words, are no gain.
    let unchanged = (!s.recipe.changes.is_empty()).then(|| Cases::unchanged(&s.recipe, &rows));
    let base = models
        .open(&s.base, None)
        .and_then(|mut model| of_base(&s.recipe, &cases, unchanged.as_ref(), model.as_mut(), on))
        .map_err(GradeError::Base)?;
    let mut baselines = baselines_of(&s.recipe, &s.open, &cases);
    if let Some(cases) = &unchanged {
        baselines = baselines.or_better(baselines_of(&s.recipe.unchanged(), &s.open, cases));
    }
    let mut grade = Grade {
        metric: s.recipe.kind.metric().to_owned(),
        base: base.measured.clone(),
        tuned: None,
        gain: None,
        baselines,
        artifacts: files::listed(s),
        confusion: None,
        errors: Vec::new(),
        unusable: cases.unusable.clone(),
        items: base.right.iter().map(|right| (*right, None)).collect(),
        passages: base.passages(None),
    };
    on(GradeProgress::Partial(Box::new(grade.clone())));
    let adapter = s.adapter.as_ref().map(|adapter| files::of_adapter(s, adapter));
    if let Some(adapter) = &s.adapter {
        match refusal.filter(|_| !s.refused.contains_key(adapter)) {
            Some(why) => grade.artifacts[files::of_adapter(s, adapter)].failed = Some(why),
            None => add_tuned(&mut grade, s, adapter, &cases, &base, models, on),
        }
        on(GradeProgress::Partial(Box::new(grade.clone())));
    }
    for at in 0..grade.artifacts.len() {
        if Some(at) != adapter {
            files::check(&mut grade, at, s, &cases, models, on);
            on(GradeProgress::Partial(Box::new(grade.clone())));
        }
    }
    Ok(grade)
}

/// Why a sealed row is not scored.
const SEEN: &str = "stands whole or in part in data that the run brought in";

/// What the adapter was trained on, held against the sealed rows, and why nothing may be claimed on them.
fn contamination(s: &Submission) -> (Overlap, Option<String>) {
    let mut search = Search::new(&s.recipe, &s.sealed, s.open.iter());
    for file in &s.trained {
        if let Err(error) = search.see_file(file) {
            return (
                Overlap::default(),
                Some(format!("contamination: what it was trained on cannot be read: {error}")),
            );
        }
    }
    let overlap = search.found();
    let refusal = overlap.refusal(s.sealed.len());
    (overlap, refusal)
}

/// The sealed rows that are scored: those that the run brought in too are left out, so that they gain it nothing.
fn unseen(s: &Submission, overlap: &Overlap, refusal: &Option<String>) -> Vec<Row> {
    let seen = if refusal.is_none() { overlap.seen() } else { Default::default() };
    let rows = s.sealed.iter().enumerate().filter(|(place, _)| !seen.contains(place));
    rows.map(|(_, row)| row.clone()).collect()
}

/// Scores a model on prepared examples with the grader's own measures, for scores during a run; with up to ten wrong rows.
///
/// `on` is told what is being done and how far it is.
pub fn measure_examples(
    recipe: &Recipe,
    examples: &[Example],
    model: &mut dyn ChatLanguageModel,
    name: &str,
    on: &mut dyn FnMut(&str, usize, usize),
) -> Result<(Measured, Vec<WrongRow>), ModelError> {
    let cases = Cases::of_examples(recipe, examples);
    let scored = measure(recipe, &cases, model, name, &mut |progress| {
        if let GradeProgress::Rows { stage, done, total } = progress {
            on(&stage, done, total);
        }
    })?;
    let wrong = cases.wrong(&scored.right, &scored.got, ERRORS);
    Ok((scored.measured, wrong))
}

/// Checks the adapter, scores base and adapter together, and fills in all that follows from the pair.
fn add_tuned(
    grade: &mut Grade,
    s: &Submission,
    adapter: &Path,
    cases: &Cases,
    base: &Scored,
    models: &dyn Models,
    on: &mut dyn FnMut(GradeProgress),
) {
    let at = files::of_adapter(s, adapter);
    files::check(grade, at, s, cases, models, on);
    if grade.artifacts[at].failed.is_some() {
        return;
    }
    let scored = models
        .open(&s.base, Some(adapter))
        .and_then(|mut model| measure(&s.recipe, cases, model.as_mut(), "tuned", on));
    let tuned = match scored {
        Ok(tuned) => tuned,
        Err(error) => {
            grade.artifacts[at].failed = Some(format!("the tuned model cannot be scored: {error}"));
            return;
        }
    };
    grade.gain = Some(match s.recipe.kind {
        JobKind::Pretraining => text::gain(&base.bits, &tuned.bits),
        _ => gain(&base.right, &tuned.right),
    });
    grade.passages = base.passages(Some(&tuned));
    grade.items = base.right.iter().zip(&tuned.right).map(|(base, tuned)| (*base, Some(*tuned))).collect();
    grade.errors = cases.wrong(&tuned.right, &tuned.got, ERRORS);
    grade.confusion = (s.recipe.kind == JobKind::Classification)
        .then(|| metrics::confusion(cases.labels.clone(), &cases.truth(), &tuned.predicted));
    grade.tuned = Some(tuned.measured);
}

/// The base on the rows as the recipe changes them, or as they stand in the data where it does better there.
fn of_base(
    recipe: &Recipe,
    cases: &Cases,
    unchanged: Option<&Cases>,
    model: &mut dyn ChatLanguageModel,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<Scored, ModelError> {
    let changed = measure(recipe, cases, model, "base", on)?;
    let Some(cases) = unchanged else { return Ok(changed) };
    let plain = measure(recipe, cases, model, "base, rows unchanged", on)?;
    Ok(if plain.measured.value > changed.measured.value { plain } else { changed })
}

fn baselines_of(recipe: &Recipe, open: &[Row], cases: &Cases) -> Baselines {
    // Texts have no answers that could be guessed.
    if recipe.kind == JobKind::Pretraining {
        return Baselines::default();
    }
    if recipe.kind != JobKind::Classification {
        let open: Vec<String> = open.iter().filter_map(|row| Some(recipe.example(row).ok()?.completion)).collect();
        let completion = |case: &'_ Case| case.example.as_ref().map(|example| example.completion.clone());
        let sealed: Vec<Option<String>> = cases.rows.iter().map(completion).collect();
        return baselines::constant(recipe, &open, &sealed.iter().map(Option::as_deref).collect::<Vec<_>>());
    }
    let open: Vec<(String, usize)> =
        open.iter().filter_map(|row| Some((recipe.input(row).ok()?, recipe.example(row).ok()?.label?))).collect();
    let open: Vec<(&str, usize)> = open.iter().map(|(text, label)| (text.as_str(), *label)).collect();
    let known = |case: &'_ Case| case.label().filter(|label| *label < recipe.labels.len());
    let sealed: Vec<(&str, Option<usize>)> = cases.rows.iter().map(|row| (row.input.as_str(), known(row))).collect();
    baselines::baselines(recipe.kind, recipe.labels.len(), &open, &sealed)
}

/// The grader's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Name of the headline metric: `accuracy` (label-scored), `exact_match` or `bits_per_byte`.
    pub metric: String,
    /// The base on the sealed rows: as the recipe changes them, or as they stand in the data where it is better there.
    pub base: Measured,
    /// The tuned model on the sealed rows; `None` when no adapter was handed in.
    pub tuned: Option<Measured>,
    /// What training gained on the headline metric.
    pub gain: Option<Gain>,
    /// What needs no model. `None` where a baseline does not apply.
    pub baselines: Baselines,
    /// Shipped files, each with its own score.
    pub artifacts: Vec<Artifact>,
    /// Classification: label texts in order and `counts[truth][prediction]` of the tuned model.
    pub confusion: Option<Confusion>,
    /// Up to ten rows that the tuned model gets wrong.
    pub errors: Vec<WrongRow>,
    /// Rows that the recipe could not turn into an example, by reason.
    pub unusable: Vec<(String, usize)>,
    /// Per scored row, in file order: base right, tuned right. Rows without an input are not scored.
    pub items: Vec<(bool, Option<bool>)>,
    /// Raw text: every passage, in file order, in place of `items`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passages: Vec<Passage>,
}

/// One model's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The headline metric: a fraction, or bits per byte.
    pub value: f64,
    /// Its 95 % interval: Wilson's of a share, a bootstrap of whole passages else.
    pub interval: (f64, f64),
    /// Rows scored.
    pub n: usize,
    /// Exact match of greedy generation, as the shipped file will be used; null where nothing is answered.
    pub exact_match: Option<f64>,
    /// Share of greedy generations that do not have the asked-for form; null where nothing is answered.
    pub format_failures: Option<f64>,
    /// Classification: macro F1 of the label-scored predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Extraction: share of the expected objects' fields that are right in what is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_accuracy: Option<f64>,
    /// Raw text: e to the mean loss of a token, which only models of one tokenizer share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
}

/// The difference that training made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Tuned minus base, or base minus tuned where less is better: above zero the tuned model is the better one.
    pub value: f64,
    /// 95 % interval, see [`crate::stats::paired_bootstrap`]; of raw text a bootstrap of whole passages.
    pub interval: (f64, f64),
    /// Two-sided exact McNemar test; of raw text a paired permutation test of passages.
    pub p_value: f64,
}

/// Scores that need no model, on the same rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// One over the number of labels.
    pub chance: Option<f64>,
    /// Always the most frequent label, or without labels the most frequent answer, of the open rows.
    pub majority: Option<f64>,
    /// Multinomial naive Bayes over words of the open rows.
    pub naive_bayes: Option<f64>,
}

impl Baselines {
    /// The better value of each.
    fn or_better(self, other: Baselines) -> Baselines {
        let better = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        Baselines {
            chance: better(self.chance, other.chance),
            majority: better(self.majority, other.majority),
            naive_bayes: better(self.naive_bayes, other.naive_bayes),
        }
    }
}

/// One shipped file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path relative to the run directory, or as handed in where it is elsewhere.
    pub path: String,
    /// `gguf`, `adapter`, `safetensors`.
    pub kind: String,
    /// SHA-256 of the file, in hex; empty when the file failed before it could be read.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Score of this very file on the sealed rows, where it is a model.
    pub measured: Option<Measured>,
    /// Why the file failed its check, if it did.
    pub failed: Option<String>,
}

/// Confusion matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Label texts, in order.
    pub labels: Vec<String>,
    /// `counts[truth][prediction]`.
    pub counts: Vec<Vec<usize>>,
}

/// A row that the tuned model gets wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongRow {
    /// The input.
    pub input: String,
    /// What it should have said.
    pub expected: String,
    /// What it said.
    pub got: String,
}
