//! What is known of a result: what it was made of, how, and what it reaches.

use std::{io::Read, path::Path};

use serde_json::Value;
use tunesmith_harness::{eval::results::Results, recipe::Recipe, report::Report, run::Run};

use super::{Contents, Outgoing, Refusal, Wish, unfit};
use crate::{
    files::{open_declared, read_small},
    hub::{
        RepoId,
        card::{Facts, Figure, Named},
        licence::{Part, Terms},
    },
};

/// Most bytes of a file that describes something.
const SMALL: u64 = 16 << 20;

fn json(dir: &Path, name: &str) -> Option<Value> {
    let mut text = String::new();
    let file = open_declared(dir, Path::new(name)).ok()?;
    file.take(SMALL).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The recipe that stands beside the result, or in the run.
pub fn recipe(dir: &Path, run: Option<&Run>) -> Option<Value> {
    let beside = [dir.join("prepared"), dir.to_owned()];
    let all = beside.into_iter().chain(run.map(|run| run.work().join("prepared")));
    let mut found = all.filter_map(|dir| json(&dir, "recipe.json"));
    found.find(|recipe| serde_json::from_value::<Recipe>(recipe.clone()).is_ok())
}

/// What is known of it.
pub fn facts(
    wish: &Wish,
    dir: &Path,
    contents: Contents,
    run: Option<&Run>,
    (files, rows): (&[Outgoing], Vec<(String, usize)>),
) -> Result<Facts, Refusal> {
    let report = run.and_then(|run| read_small(&run.report("json"), SMALL).ok());
    let report: Option<Report> = report.and_then(|text| serde_json::from_str(&text).ok());
    let scope = report.as_ref().and_then(|report| report.scope.as_ref());
    let (config, mut training) = (json(dir, "adapter_config.json"), json(dir, "training.json"));
    let text = |value: &Option<Value>, name: &str| Some(value.as_ref()?.get(name)?.as_str()?.to_owned());
    let base = wish.base.0.clone().or_else(|| scope.map(|scope| scope.base.clone()));
    let base = base.or_else(|| text(&config, "base_model_name_or_path"));
    let base_sha256 = text(&training, "base_sha256");
    let data_sha256 = scope.map(|scope| scope.data_sha256.clone()).or_else(|| text(&training, "data_sha256"));
    // These two stand beside the names already.
    let named_already = ["base_sha256", "data_sha256"];
    training.as_mut().and_then(Value::as_object_mut).into_iter().for_each(|all| {
        named_already.iter().for_each(|name| drop(all.remove(*name)));
    });
    let graded = report.as_ref().and_then(|report| measured(report, files));
    let verdict = report.as_ref().filter(|_| graded.is_some()).map(Report::sentence);
    let mut results: Vec<Figure> = graded.into_iter().collect();
    for path in &wish.results {
        results.extend(evaluated(path)?);
    }
    Ok(Facts {
        name: wish.to.name.clone(),
        contents: contents.word().into(),
        base: named(base, base_sha256, "unnamed"),
        data: named(wish.data.0.clone(), data_sha256, "the rows of the training run"),
        recipe: recipe(dir, run),
        training,
        verdict,
        results,
        rows,
    })
}

/// A base or data, `or` where it has a hash and no name.
fn named(name: Option<String>, sha256: Option<String>, or: &str) -> Option<Named> {
    let id = name.clone().filter(|name| name.parse::<RepoId>().is_ok());
    // A path would tell how the user's directories are called.
    let last = |name: &String| Path::new(name).file_name().map(|name| name.to_string_lossy().into_owned());
    let shown = id.clone().or_else(|| name.as_ref().and_then(last));
    (name.is_some() || sha256.is_some()).then(|| Named { name: shown.unwrap_or_else(|| or.to_owned()), id, sha256 })
}

/// What the run measured on its sealed rows, where one of these very files is what it graded.
fn measured(report: &Report, files: &[Outgoing]) -> Option<Figure> {
    let mut passed = report.artifacts.iter().filter(|artifact| artifact.failed.is_none());
    let graded = passed.find(|artifact| files.iter().any(|file| file.sha256 == artifact.sha256))?;
    let measured = graded.measured.as_ref().or(report.tuned.as_ref())?;
    Some(Figure {
        task: "sealed rows of the run".into(),
        metric: report.metric.clone()?,
        value: measured.value,
        interval: Some(measured.interval),
        n: measured.n,
        base: report.base.as_ref().map(|base| base.value),
        chance: report.baselines.chance,
    })
}

/// What an evaluation measured.
fn evaluated(path: &Path) -> Result<Vec<Figure>, Refusal> {
    let file = if path.is_dir() { path.join("results.json") } else { path.to_owned() };
    let text = read_small(&file, SMALL).map_err(|error| unfit(path, error.to_string()))?;
    let form = "are no results of `tunesmith eval --tasks ... --out DIR`; name that directory";
    let results: Results = serde_json::from_str(&text).map_err(|_| unfit(path, form))?;
    let figures = results.tunesmith.figures.into_iter().filter_map(|figure| {
        Some(Figure {
            value: figure.value.filter(|value| value.is_finite())?,
            task: figure.task,
            metric: figure.metric,
            interval: figure.interval,
            n: figure.n,
            base: None,
            chance: figure.chance,
        })
    });
    Ok(figures.collect())
}

/// Base and data with their licences; what nobody has said is unknown.
pub fn parts(wish: &Wish, facts: &Facts, contents: Contents) -> Vec<Part> {
    let unknown = || Terms::of(None);
    let part = |role: &str, named: &Option<Named>, terms: &Option<Terms>| Part {
        role: role.into(),
        name: named.as_ref().map_or("unknown", |named| named.id.as_deref().unwrap_or(&named.name)).to_owned(),
        terms: terms.clone().unwrap_or_else(unknown),
    };
    let base = (contents != Contents::Dataset).then(|| part("base", &facts.base, &wish.base.1));
    base.into_iter().chain([part("data", &facts.data, &wish.data.1)]).collect()
}
