//! What is sent to the Hub: gathered, looked at and shown before anything leaves this machine.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;
use tunesmith_harness::{eval::results::Results, hash, recipe::Recipe, redact, report::Report, run::Run};

use super::{
    Kind, RepoId,
    card::{self, Facts, Figure, Named},
    licence::{self, Combined, Hidden, Part, Terms},
    names::inside,
};
use crate::files::{open_declared, read_small};
use look::Looked;

mod look;
mod sealed;
mod send;

pub use send::Published;

/// Most bytes of a file that describes something.
const SMALL: u64 = 16 << 20;
/// Most files, and how deep they may stand.
const FILES: usize = 10_000;
const DEPTH: usize = 8;

/// What the user wants to be published.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The directory.
    pub dir: PathBuf,
    /// Where it goes.
    pub to: RepoId,
    /// Whether everybody may see it.
    pub public: bool,
    /// The licence to state; `None` follows from the parts.
    pub licence: Option<String>,
    /// The base's name and terms, where the user or the Hub says them.
    pub base: (Option<String>, Option<Terms>),
    /// The data's name and terms, where the user or the Hub says them.
    pub data: (Option<String>, Option<Terms>),
    /// The run that made it; `None` where it stands in the directory of one, or where there is none.
    pub run: Option<PathBuf>,
    /// Results of evaluations, `results.json`.
    pub results: Vec<PathBuf>,
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    /// An adapter in PEFT's format.
    Adapter,
    /// A model in Hugging Face's format, or as GGUF.
    Model,
    /// Rows.
    Dataset,
}

impl Contents {
    /// The kind of repository.
    pub fn kind(self) -> Kind {
        match self {
            Contents::Adapter | Contents::Model => Kind::Model,
            Contents::Dataset => Kind::Dataset,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Contents::Adapter => "adapter",
            Contents::Model => "model",
            Contents::Dataset => "dataset",
        }
    }
}

/// Exactly what would be sent.
#[derive(Clone, Debug, Serialize)]
pub struct Parcel {
    /// Where it goes.
    pub to: RepoId,
    /// What it is.
    pub contents: Contents,
    /// Whether only its owner sees it.
    pub private: bool,
    /// The files, the card among them.
    pub files: Vec<Outgoing>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Files of the directory that are not sent, with the reason.
    pub kept_back: Vec<(String, String)>,
    /// What it was made of, and what may be done with that.
    pub parts: Vec<Part>,
    /// What may be done with the whole.
    pub licence: Combined,
    /// Whether its rows were held against a run's sealed ones; `None` where no run is known.
    pub sealed_checked: Option<usize>,
}

/// A file that would be sent.
#[derive(Clone, Debug, Serialize)]
pub struct Outgoing {
    /// Its path in the repository.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Git's name for the same bytes.
    #[serde(skip)]
    pub(crate) git: String,
    #[serde(skip)]
    pub(crate) bytes: Bytes,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Here(Vec<u8>),
    File(PathBuf),
}

/// Why something is not published, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing to publish.
    #[error("{}: {why}", .path.display())]
    Unfit {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A licence that would hide another.
    #[error(transparent)]
    Licence(#[from] Hidden),
}

fn unfit(path: &Path, why: impl Into<String>) -> Refusal {
    Refusal::Unfit { path: path.to_owned(), why: why.into() }
}

impl Parcel {
    /// Gathers what would be sent. Links, unknown kinds of files, secrets and sealed rows are refused.
    pub fn gather(wish: &Wish) -> Result<Parcel, Refusal> {
        let dir = wish.dir.canonicalize().map_err(|error| unfit(&wish.dir, error.to_string()))?;
        let paths = walk(&dir)?;
        let contents = contents(&dir, &paths)?;
        let run = run(wish, &dir)?;
        let (mut files, mut kept_back, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut sealed = run.as_ref().map(|run| sealed::Sealed::of(run, &dir)).transpose()?;
        for path in &paths {
            if let Some(why) = look::kept_back(contents, path) {
                kept_back.push((path.clone(), why.to_owned()));
                continue;
            }
            let looked = look::file(contents, &dir, path, sealed.as_mut())?;
            rows.extend(looked.rows.map(|rows| (path.clone(), rows)));
            files.push(looked.outgoing);
        }
        let sealed_checked = sealed.map(|sealed| sealed.verdict(&wish.dir)).transpose()?;
        let facts = facts(wish, &dir, contents, run.as_ref(), rows)?;
        let parts = parts(wish, &facts, contents);
        let licence = licence::combine(&parts, wish.licence.as_deref())?;
        let card = card::card(&facts, &parts, &licence);
        if redact::redacted(&card) != card {
            return Err(unfit(
                &wish.dir,
                "what its card would say holds a secret; take it out of the recipe or the settings",
            ));
        }
        files.push(Looked::of("README.md", card.into_bytes()));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = files.iter().map(|file| file.size).sum();
        let (to, private) = (wish.to.clone(), !wish.public);
        Ok(Parcel { to, contents, private, files, bytes, kept_back, parts, licence, sealed_checked })
    }
}

/// All files below a directory, by their paths; a link anywhere is an error.
fn walk(dir: &Path) -> Result<Vec<String>, Refusal> {
    let mut found = BTreeSet::new();
    let mut open = vec![(dir.to_owned(), 0)];
    while let Some((at, depth)) = open.pop() {
        let entries = fs::read_dir(&at).map_err(|error| unfit(&at, error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| unfit(&at, error.to_string()))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| unfit(&path, error.to_string()))?;
            match () {
                () if kind.is_symlink() => return Err(unfit(&path, "is a link; put the file itself there")),
                () if kind.is_dir() && depth == DEPTH => return Err(unfit(&path, "stands too deep")),
                () if kind.is_dir() => open.push((path, depth + 1)),
                () if !kind.is_file() => return Err(unfit(&path, "is a pipe or a device; take it away")),
                () => {
                    let rel = path.strip_prefix(dir).ok().and_then(Path::to_str).map(|rel| rel.replace('\\', "/"));
                    let rel = rel.filter(|rel| inside(rel).is_ok());
                    let Some(rel) = rel else {
                        return Err(unfit(&path, "has a name that the Hub does not take; give it another"));
                    };
                    found.insert(rel);
                }
            }
            if found.len() > FILES {
                return Err(unfit(
                    dir,
                    format!("has more than {FILES} files; name the directory of one model or data set"),
                ));
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn contents(dir: &Path, paths: &[String]) -> Result<Contents, Refusal> {
    let has = |name: &str| paths.iter().any(|path| path == name);
    let ends = |ends: &[&str]| paths.iter().any(|path| ends.iter().any(|end| path.ends_with(end)));
    match () {
        () if has("events.jsonl") || has("run.json") => {
            Err(unfit(dir, "is the directory of a run, with its sealed rows; name one of the results in its work/"))
        }
        () if has("adapter_config.json") => Ok(Contents::Adapter),
        () if has("config.json") || ends(&[".gguf"]) => Ok(Contents::Model),
        () if ends(&[".jsonl", ".csv", ".tsv", ".parquet"]) => Ok(Contents::Dataset),
        () => Err(unfit(dir, "holds no adapter, no model and no rows (.jsonl, .csv, .tsv, .parquet)")),
    }
}

/// The run that made it.
fn run(wish: &Wish, dir: &Path) -> Result<Option<Run>, Refusal> {
    if let Some(run) = &wish.run {
        return Run::open(run).map(Some).map_err(|error| unfit(run, error.to_string()));
    }
    let around =
        dir.ancestors().skip(1).find(|above| above.join("events.jsonl").is_file() && above.join("run.json").is_file());
    match around {
        Some(above) if dir.starts_with(above.join("sealed")) => {
            Err(unfit(&wish.dir, "holds a run's sealed rows, which are never published"))
        }
        Some(above) => Run::open(above).map(Some).map_err(|error| unfit(above, error.to_string())),
        None => Ok(None),
    }
}

fn json(dir: &Path, name: &str) -> Option<Value> {
    let mut text = String::new();
    let file = open_declared(dir, Path::new(name)).ok()?;
    file.take(SMALL).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The recipe that stands beside the result, or in the run.
fn recipe(dir: &Path, run: Option<&Run>) -> Option<Value> {
    let beside = [dir.join("prepared"), dir.to_owned(), dir.parent()?.join("prepared")];
    let all = beside.into_iter().chain(run.map(|run| run.work().join("prepared")));
    let mut found = all.filter_map(|dir| json(&dir, "recipe.json"));
    found.find(|recipe| serde_json::from_value::<Recipe>(recipe.clone()).is_ok())
}

/// What is known of it.
fn facts(
    wish: &Wish,
    dir: &Path,
    contents: Contents,
    run: Option<&Run>,
    rows: Vec<(String, usize)>,
) -> Result<Facts, Refusal> {
    let report = run.and_then(|run| read_small(&run.report("json"), SMALL).ok());
    let report: Option<Report> = report.and_then(|text| serde_json::from_str(&text).ok());
    let scope = report.as_ref().and_then(|report| report.scope.as_ref());
    let (config, training) = (json(dir, "adapter_config.json"), json(dir, "training.json"));
    let text = |value: &Option<Value>, name: &str| Some(value.as_ref()?.get(name)?.as_str()?.to_owned());
    let id = |name: &Option<String>| name.clone().filter(|name| name.parse::<RepoId>().is_ok());
    let base = wish.base.0.clone().or_else(|| scope.map(|scope| scope.base.clone()));
    let base = base.or_else(|| text(&config, "base_model_name_or_path"));
    let data = wish.data.0.clone();
    let named = |name: Option<String>, sha256: Option<String>, or: &str| {
        let known = name.is_some() || sha256.is_some();
        // A path would tell how the user's directories are called.
        let shown = |name: &String| match name.parse::<RepoId>() {
            Ok(_) => name.clone(),
            Err(_) => {
                Path::new(name).file_name().map_or_else(|| or.to_owned(), |name| name.to_string_lossy().into_owned())
            }
        };
        known.then(|| Named { name: name.as_ref().map_or_else(|| or.to_owned(), shown), id: id(&name), sha256 })
    };
    let data_sha256 = scope.map(|scope| scope.data_sha256.clone()).or_else(|| text(&training, "data_sha256"));
    let mut results: Vec<Figure> = report.as_ref().and_then(measured).into_iter().collect();
    for path in &wish.results {
        results.extend(evaluated(path)?);
    }
    Ok(Facts {
        name: wish.to.name.clone(),
        contents: contents.word().into(),
        base: named(base, text(&training, "base_sha256"), "unnamed"),
        data: named(data, data_sha256, "the rows of the training run"),
        recipe: recipe(dir, run),
        training: training.map(|mut training| {
            // The numbers are in the table already.
            training
                .as_object_mut()
                .into_iter()
                .for_each(|all| drop((all.remove("base_sha256"), all.remove("data_sha256"))));
            training
        }),
        verdict: report.as_ref().filter(|report| report.tuned.is_some()).map(Report::sentence),
        results,
        rows,
    })
}

/// What the run measured on its sealed rows.
fn measured(report: &Report) -> Option<Figure> {
    let tuned = report.tuned.as_ref()?;
    Some(Figure {
        task: "sealed rows of the run".into(),
        metric: report.metric.clone()?,
        value: tuned.value,
        interval: Some(tuned.interval),
        n: tuned.n,
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
fn parts(wish: &Wish, facts: &Facts, contents: Contents) -> Vec<Part> {
    let unknown = || Terms::of(None);
    let part = |role: &str, named: &Option<Named>, terms: &Option<Terms>| Part {
        role: role.into(),
        name: named.as_ref().map_or("unknown", |named| named.id.as_deref().unwrap_or(&named.name)).to_owned(),
        terms: terms.clone().unwrap_or_else(unknown),
    };
    let base = (contents != Contents::Dataset).then(|| part("base", &facts.base, &wish.base.1));
    base.into_iter().chain([part("data", &facts.data, &wish.data.1)]).collect()
}

/// The hashes of bytes, by SHA-256 and as git names a file of them.
fn hashes(bytes: &[u8]) -> (String, String) {
    use sha1::{Digest, Sha1};
    let mut git = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    (hash::sha256(bytes), git.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
