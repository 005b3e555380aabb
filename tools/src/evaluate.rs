//! `evaluate`: scores the base or an adapter on prepared examples, as the grader will on sealed rows.

use std::path::PathBuf;

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    baselines::baselines,
    grade::{Baselines, Measured, WrongRow, measure_examples, shown},
    recipe::Example,
    score::{Score, Verdict},
    stats::wilson,
    task::JobKind,
};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    data_prepare::Part,
    files::{existing, name, part, read_examples, read_recipe, score, typed},
    models::LmModel,
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

/// See [`Args`].
pub struct Evaluate;

/// Scores the base, or the base with an adapter, on validation examples with the grader's own measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// File of examples; recipe.json must be beside it.
    #[serde(default = "valid")]
    pub data: String,
    /// The adapter's directory; without one the base is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Score only the first so many examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
}

fn valid() -> String {
    "prepared/valid.jsonl".to_owned()
}

/// How good the model is on the examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The adapter, or null for the base.
    pub adapter: Option<String>,
    /// The headline metric: `accuracy` (label-scored), `exact_match` or `bits_per_byte`.
    pub metric: String,
    /// The measures, as in the report.
    #[serde(flatten)]
    pub measured: Measured,
    /// 95 % interval of the exact match, where anything is answered.
    pub exact_interval: Option<(f64, f64)>,
    /// What needs no model, on the same examples.
    pub baselines: Baselines,
    /// Up to ten wrong answers.
    pub mistakes: Vec<WrongRow>,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The base model.
    pub base: PathBuf,
    /// The adapter's directory.
    pub adapter: Option<PathBuf>,
    /// The examples.
    pub data: PathBuf,
    /// Score only the first so many.
    pub limit: Option<usize>,
}

impl Tool for Evaluate {
    const NAME: &'static str = "evaluate";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let data = existing(cx.dir, "/data", &args.data)?;
        let adapter = args.adapter.as_deref().map(|path| existing(cx.dir, "/adapter", path)).transpose()?;
        let work = Work::Evaluate(Job { base: cx.base.into(), adapter, data, limit: args.limit });
        let result = run_work(cx.jobs, cx.dir, &work, bases::reads(cx.base), (cx.deadline, &cx.cancel), cx.on).await?;
        let output: Output = typed(result)?;
        Ok(Output { adapter: args.adapter, ..output })
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let Measured { value, interval, n, format_failures, .. } = output.measured;
        let figure = format!("{} {} of {n} examples", output.metric, shown(&output.metric, value));
        let Some(format_failures) = format_failures else {
            return vec![Score { interval: Some(interval), ..score("eval.value", Some(value), Verdict::Pass, figure) }];
        };
        let best = [output.baselines.chance, output.baselines.majority, output.baselines.naive_bayes];
        let best = best.into_iter().flatten().fold(None, |best: Option<f64>, x| Some(best.map_or(x, |b| b.max(x))));
        let (verdict, note) = match best {
            _ if output.adapter.is_none() => (Verdict::Pass, String::new()),
            Some(best) if value < best => {
                (Verdict::Warn, format!("; a baseline without a model reaches {:.1} %", best * 100.0))
            }
            _ if value == 0.0 => (Verdict::Fail, "; not one answer is right".to_owned()),
            _ => (Verdict::Pass, String::new()),
        };
        let why = figure + &note;
        let headline = Score { interval: Some(interval), ..score("eval.value", Some(value), verdict, why) };
        let form = match format_failures {
            share if output.adapter.is_none() || share <= 0.05 => Verdict::Pass,
            share if share <= 0.3 => Verdict::Warn,
            _ => Verdict::Fail,
        };
        let why = format!("{:.1} % of generated answers do not have the asked-for form", format_failures * 100.0);
        vec![headline, score("eval.format", Some(format_failures), form, why)]
    }
}

impl Job {
    /// Scores the examples.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        let folder = self.data.parent().unwrap_or(&self.data);
        let recipe = read_recipe(&folder.join("recipe.json"))?;
        let mut examples = read_examples(&self.data)?;
        examples.truncate(self.limit.unwrap_or(usize::MAX));
        if examples.is_empty() {
            bail!("{} has no examples", name(&self.data));
        }
        if recipe.kind == JobKind::Classification
            && examples.iter().any(|e| e.label.is_none_or(|label| label >= recipe.labels.len()))
        {
            bail!("{} does not fit recipe.json beside it; prepare the data again", name(&self.data));
        }
        let mut model = LmModel::open(&self.base, self.adapter.as_deref())?;
        let stage = if self.adapter.is_some() { "tuned" } else { "base" };
        let on = &mut |what: &str, done, total| live.progress(what, done, total);
        let (measured, mistakes) = measure_examples(&recipe, &examples, &mut model, stage, on).context("scoring")?;
        let right = |share: f64| (share * measured.n as f64).round() as usize;
        Ok(Output {
            adapter: self.adapter.as_deref().map(name),
            metric: recipe.kind.metric().to_owned(),
            exact_interval: measured.exact_match.map(|share| wilson(right(share), measured.n)),
            measured,
            baselines: without_model(&part(folder, Part::Train), recipe.kind, recipe.labels.len(), &examples),
            mistakes,
        })
    }
}

/// Chance, majority and naive Bayes, fitted on the training examples where they are there.
fn without_model(train: &std::path::Path, kind: JobKind, labels: usize, examples: &[Example]) -> Baselines {
    let train = read_examples(train).unwrap_or_default();
    let text = |example: &Example| example.prompt.last().map(|message| message.content.clone()).unwrap_or_default();
    let open: Vec<(String, usize)> =
        train.iter().filter_map(|e| Some((text(e), e.label.filter(|label| *label < labels)?))).collect();
    let open: Vec<(&str, usize)> = open.iter().map(|(text, label)| (text.as_str(), *label)).collect();
    let shown: Vec<(String, Option<usize>)> = examples.iter().map(|example| (text(example), example.label)).collect();
    let shown: Vec<(&str, Option<usize>)> = shown.iter().map(|(text, label)| (text.as_str(), *label)).collect();
    baselines(kind, labels, &open, &shown)
}
