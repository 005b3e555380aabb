//! What is known of a result: what it was made of, how, and what it reaches.

use std::{io::Read, path::Path};

use serde_json::Value;
use tunesmith_harness::{eval::results::Results, recipe::Recipe, report::Report, run::Run};

use super::{Contents, Outgoing, Refusal, Stated, Wish, unfit};
use crate::{
    data_prepare::manifest::{File, MANIFEST, Manifest},
    files::{open_declared, read_small},
    hub::{
        RepoId,
        card::{Facts, Figure, Measured, Named},
        licence::{Part, Terms},
        names::{is_commit, is_sha256},
    },
    models::fingerprint,
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

/// The base as the run or the adapter itself names it.
pub fn recorded(dir: &Path, run: Option<&Run>) -> Option<Named> {
    let config = json(dir, "adapter_config.json");
    let text = |name: &str| Some(config.as_ref()?.get(name)?.as_str()?.to_owned());
    let adapter = text("base_model_name_or_path").map(|name| match text("revision") {
        Some(revision) => format!("{name}@{revision}"),
        None => name,
    });
    let scope = run.and_then(report).and_then(|report| report.scope);
    // A path in a run may look like an id; a commit tells them apart.
    let id = |name: &String| name.parse::<RepoId>().ok();
    let pinned = |id: &RepoId| id.revision.as_deref().is_some_and(is_commit);
    let of_scope = scope.as_ref().and_then(|scope| id(&scope.base)).filter(pinned);
    let id = of_scope.or_else(|| adapter.as_ref().and_then(id));
    let name = scope.map(|scope| scope.base).or(adapter)?;
    Some(Named { name: id.as_ref().map_or_else(|| last(&name), RepoId::to_string), id, sha256: None })
}

/// A path would tell how the user's directories are called.
fn last(name: &str) -> String {
    Path::new(name).file_name().map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn report(run: &Run) -> Option<Report> {
    serde_json::from_str(&read_small(&run.report("json"), SMALL).ok()?).ok()
}

/// What a preparation says that the rows were made of, and how. One of other rows would lie about these.
fn prepared(dir: &Path, files: &[Outgoing]) -> Result<Option<Manifest>, Refusal> {
    let manifest: Option<Manifest> = json(dir, MANIFEST).and_then(|value| serde_json::from_value(value).ok());
    let outputs = manifest.iter().flat_map(|manifest| &manifest.outputs);
    let other = |output: &&File| files.iter().any(|file| file.path == output.file && file.sha256 != output.sha256);
    match outputs.into_iter().find(other) {
        None => Ok(manifest),
        Some(output) => {
            let why =
                format!("is of another {} than stands there; prepare the rows again, or take it away", output.file);
            Err(unfit(&dir.join(MANIFEST), why))
        }
    }
}

/// The split of a prepared file, by the Hub's names.
fn split(output: File) -> Option<(String, String)> {
    output.rows?;
    let part = output.file.split('.').next().unwrap_or_default();
    Some((if part == "valid" { "validation" } else { part }.to_owned(), output.file))
}

/// What is known of it.
pub fn facts(
    wish: &Wish,
    dir: &Path,
    contents: Contents,
    run: Option<&Run>,
    (files, rows): (&[Outgoing], Vec<(String, usize)>),
) -> Result<Facts, Refusal> {
    let report = run.and_then(report);
    let scope = report.as_ref().and_then(|report| report.scope.as_ref());
    let mut training = json(dir, "training.json");
    let text = |value: &Option<Value>, name: &str| Some(value.as_ref()?.get(name)?.as_str()?.to_owned());
    let base_sha256 = text(&training, "base_sha256").or_else(|| scope.map(|scope| scope.base_sha256.clone()));
    let data_sha256 = scope.map(|scope| scope.data_sha256.clone()).or_else(|| text(&training, "data_sha256"));
    // These two stand beside the names already.
    let named_already = ["base_sha256", "data_sha256"];
    training.as_mut().and_then(Value::as_object_mut).into_iter().for_each(|all| {
        named_already.iter().for_each(|name| drop(all.remove(*name)));
    });
    let graded = report.as_ref().and_then(|report| measured(report, files));
    let verdict = report.as_ref().filter(|_| graded.is_some()).map(Report::sentence);
    let mut results: Vec<Figure> = graded.into_iter().collect();
    if !wish.results.is_empty() {
        let these = These::of(dir, contents, base_sha256.as_deref(), files)?;
        for path in &wish.results {
            results.extend(evaluated(path, &these)?);
        }
    }
    let base = base(wish, recorded(dir, run))?;
    let prepared = if contents == Contents::Dataset { prepared(dir, files)? } else { None };
    let how = prepared.as_ref().and_then(|manifest| serde_json::to_value(&manifest.recipe).ok());
    let (inputs, outputs) = prepared.map(|manifest| (manifest.inputs, manifest.outputs)).unwrap_or_default();
    let input = |file: File| Named { name: file.file, id: None, sha256: Some(file.sha256) };
    Ok(Facts {
        name: wish.to.name.clone(),
        contents: contents.word().into(),
        base: named(base, base_sha256, "unnamed"),
        data: named(stated(&wish.data), data_sha256, "the rows of the training run"),
        inputs: inputs.into_iter().map(input).collect(),
        splits: outputs.into_iter().filter_map(split).collect(),
        recipe: how.or_else(|| recipe(dir, run)),
        training,
        verdict,
        results,
        rows,
    })
}

/// The base as the user names it, else as it is recorded; both may not be of different repositories.
fn base(wish: &Wish, recorded: Option<Named>) -> Result<Option<Named>, Refusal> {
    let (Some(said), Some(found)) = (stated(&wish.base), &recorded) else { return Ok(stated(&wish.base).or(recorded)) };
    let (Some(id), Some(of)) = (&said.id, &found.id) else { return Ok(Some(said)) };
    match (id.id() == of.id(), &id.revision) {
        (true, None) => Ok(recorded),
        (true, Some(_)) if id == of => Ok(recorded),
        _ => Err(unfit(&wish.dir, format!("was trained from {of}, not from {id}; leave out --base"))),
    }
}

fn stated(stated: &Stated) -> Option<Named> {
    let name = stated.id.as_ref().map(RepoId::to_string).or_else(|| stated.name.as_deref().map(last))?;
    Some(Named { name, id: stated.id.clone(), sha256: None })
}

/// With the hash of what was used, and `or` as its name where it has none.
fn named(named: Option<Named>, sha256: Option<String>, or: &str) -> Option<Named> {
    match (named, sha256) {
        (None, None) => None,
        (named, sha256) => {
            let named = named.unwrap_or_else(|| Named { name: or.to_owned(), ..Named::default() });
            Some(Named { sha256, ..named })
        }
    }
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
        on: Measured::Data,
        certain: true,
    })
}

/// What is published, as results of an evaluation name it.
#[derive(Default)]
struct These {
    /// Fingerprints of the model; none where it is not known what the adapter was trained on.
    models: Vec<String>,
    /// The base by itself.
    base: Option<String>,
}

impl These {
    fn of(dir: &Path, contents: Contents, base: Option<&str>, files: &[Outgoing]) -> Result<These, Refusal> {
        let sha256 = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.sha256.as_str());
        let models = match contents {
            Contents::Adapter => {
                let parts = (base, sha256("adapter_config.json"), sha256("adapter_model.safetensors"));
                let (Some(base), Some(config), Some(weights)) = parts else { return Ok(These::default()) };
                return Ok(These { models: vec![fingerprint(base, config, weights)], base: Some(base.to_owned()) });
            }
            Contents::Dataset => Vec::new(),
            Contents::Model => {
                files.iter().filter(|file| file.path.ends_with(".gguf")).map(|f| f.sha256.clone()).collect()
            }
        };
        let whole = sha256("config.json").map(|_| tunesmith_lm::model::hash(dir)).transpose();
        let whole = whole.map_err(|error| unfit(dir, error.to_string()))?;
        Ok(These { models: models.into_iter().chain(whole).collect(), base: None })
    }

    /// Whether results of this fingerprint are about it; `None` where that cannot be told.
    fn gave(&self, fingerprint: &str) -> Result<Option<()>, &'static str> {
        // What an endpoint answered has no hash.
        if !is_sha256(fingerprint) || self.models.is_empty() {
            return Ok(None);
        }
        match () {
            () if self.models.iter().any(|model| model == fingerprint) => Ok(Some(())),
            () if self.base.as_deref() == Some(fingerprint) => {
                Err("are of the base by itself; evaluate with --adapter, or leave them out")
            }
            () => Err(
                "are of another model or adapter, by its hash; evaluate the one that is published, or leave them out",
            ),
        }
    }
}

/// What an evaluation measured.
fn evaluated(path: &Path, these: &These) -> Result<Vec<Figure>, Refusal> {
    let file = if path.is_dir() { path.join("results.json") } else { path.to_owned() };
    let text = read_small(&file, SMALL).map_err(|error| unfit(path, error.to_string()))?;
    let form = "are no results of `tunesmith eval --tasks ... --out DIR`; name that directory";
    let results: Results = serde_json::from_str(&text).map_err(|_| unfit(path, form))?;
    let certain = these.gave(&results.tunesmith.fingerprint).map_err(|why| unfit(path, why))?.is_some();
    let figures = results.tunesmith.figures.into_iter().filter_map(|figure| {
        Some(Figure {
            value: figure.value.filter(|value| value.is_finite())?,
            task: figure.task,
            metric: figure.metric,
            interval: figure.interval,
            n: figure.n,
            base: None,
            chance: figure.chance,
            on: Measured::Task,
            certain,
        })
    });
    Ok(figures.collect())
}

/// Base and data with their licences; what nobody has said is unknown.
pub fn parts(wish: &Wish, facts: &Facts, contents: Contents) -> Vec<Part> {
    let unknown = || Terms::of(None);
    let part = |role: &str, named: &Option<Named>, terms: &Option<Terms>| Part {
        role: role.into(),
        name: named.as_ref().map_or("unknown", |named| named.name.as_str()).to_owned(),
        terms: terms.clone().unwrap_or_else(unknown),
    };
    let base = (contents != Contents::Dataset).then(|| part("base", &facts.base, &wish.base.terms));
    base.into_iter().chain([part("data", &facts.data, &wish.data.terms)]).collect()
}
