//! What is sent to the Hub: gathered, looked at and shown before anything leaves this machine.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tunesmith_harness::{hash, redact, run::Run};

use super::{
    Kind, RepoId, card,
    licence::{self, Combined, Hidden, Part, Terms},
    names::inside,
};
use crate::files::open_regular;
use known::{facts, parts, recipe, recorded};

mod known;
mod look;
pub mod rows;
mod secrets;
mod send;

pub use send::Published;

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
    /// The base.
    pub base: Stated,
    /// The data.
    pub data: Stated,
    /// The run that made it; `None` where it stands in the directory of one, or where there is none.
    pub run: Option<PathBuf>,
    /// Results of evaluations, `results.json`.
    pub results: Vec<PathBuf>,
}

/// What the user, or the Hub, says of a base or of data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Its name.
    pub name: Option<String>,
    /// Its id on the Hub, where it has one.
    pub id: Option<RepoId>,
    /// What may be done with it.
    pub terms: Option<Terms>,
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
    /// The text of the card.
    pub card: String,
    /// Files of the directory that are not sent, with the reason.
    pub kept_back: Vec<(String, String)>,
    /// What it was made of, and what may be done with that.
    pub parts: Vec<Part>,
    /// What may be done with the whole.
    pub licence: Combined,
    /// The sealed rows of a run that its rows were held against; `None` where it holds no rows or no run is known.
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

/// What was gathered, before its rows are looked at.
pub struct Gathered {
    dir: PathBuf,
    contents: Contents,
    run: Option<Run>,
    files: Vec<Outgoing>,
    kept_back: Vec<(String, String)>,
    /// Files of rows.
    rows: Vec<String>,
}

impl Gathered {
    /// Gathers what would be sent. Links, unknown kinds of files and secrets are refused.
    pub fn of(wish: &Wish) -> Result<Gathered, Refusal> {
        let dir = wish.dir.canonicalize().map_err(|error| unfit(&wish.dir, error.to_string()))?;
        let paths = walk(&dir)?;
        let contents = contents(&dir, &paths)?;
        let run = run(wish, &dir)?;
        let mut gathered = Gathered { dir, contents, run, files: Vec::new(), kept_back: Vec::new(), rows: Vec::new() };
        for path in paths {
            if let Some(why) = look::kept_back(contents, &path) {
                gathered.kept_back.push((path, why.to_owned()));
                continue;
            }
            gathered.files.push(look::file(contents, &gathered.dir, &path)?);
            gathered.rows.extend(look::holds_rows(contents, &path).then_some(path));
        }
        Ok(gathered)
    }

    /// The base on the Hub that the run, or the adapter itself, names. Rows have none.
    pub fn base(&self) -> Option<RepoId> {
        let is_model = self.contents.kind() == Kind::Model;
        is_model.then(|| recorded(&self.dir, self.run.as_ref())).flatten().and_then(|base| base.id)
    }

    /// Whether there are files that a worker has to look at.
    pub fn holds_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// What the worker has to look at; it may write the directory `texts`.
    pub fn rows(&self, texts: &Path) -> rows::Job {
        let origin = |run: &Run| rows::Origin {
            sealed: run.sealed().join("rows.jsonl"),
            open: run.work().join("data/train.jsonl"),
            recipe: recipe(&self.dir, Some(run)).and_then(|recipe| serde_json::from_value(recipe).ok()),
        };
        let files = self.rows.iter().map(|path| self.dir.join(path)).collect();
        let run = self.run.as_ref().map(origin);
        rows::Job { files, texts: texts.to_owned(), run }
    }

    /// Exactly what would be sent, with its card. `looked` is what the worker found, and where it wrote texts.
    pub fn parcel(self, wish: &Wish, looked: Option<(&rows::Output, &Path)>) -> Result<Parcel, Refusal> {
        let Gathered { dir, contents, run, mut files, kept_back, rows } = self;
        let mut counts = Vec::new();
        for (n, path) in rows.into_iter().enumerate() {
            let found = looked.and_then(|(found, texts)| Some((found.files.get(n)?, rows::texts(texts, n))));
            let (found, texts) = found.ok_or_else(|| unfit(&dir.join(&path), "was not looked at"))?;
            if found.unpacked {
                clean(&texts).map_err(|why| unfit(&dir.join(&path), why))?;
            }
            counts.extend(found.rows.map(|rows| (path, rows)));
        }
        if contents == Contents::Dataset && counts.is_empty() {
            return Err(unfit(&dir, NOTHING));
        }
        let facts = facts(wish, &dir, contents, run.as_ref(), (&files, counts))?;
        let parts = parts(wish, &facts, contents);
        let licence = licence::combine(&parts, wish.licence.as_deref())?;
        let card = card::card(&facts, &parts, &licence);
        if redact::redacted(&card) != card {
            let why = "its card would hold a secret; take it out of the recipe, the settings or the names";
            return Err(unfit(&wish.dir, why));
        }
        files.push(look::made("README.md", card.clone().into_bytes()));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = files.iter().map(|file| file.size).sum();
        let (to, private, sealed_checked) = (wish.to.clone(), !wish.public, looked.and_then(|(found, _)| found.sealed));
        Ok(Parcel { to, contents, private, files, bytes, card, kept_back, parts, licence, sealed_checked })
    }
}

/// Looks for secrets in rows that a worker has written out, a line each.
fn clean(texts: &Path) -> Result<(), String> {
    let found = open_regular(texts).and_then(secrets::line).map_err(|error| format!("cannot be looked at: {error}"))?;
    found.map_or(Ok(()), |row| Err(format!("row {row} {}", look::SECRET)))
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
                        let why = "has a name that is not sent (a secret, hidden characters or a part such as .git); \
                                   give it another";
                        return Err(unfit(&path, why));
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

const NOTHING: &str = "holds no adapter, no model and no rows (.jsonl, .json, .csv, .tsv, .parquet; all but the last also as .gz or .zst)";

fn contents(dir: &Path, paths: &[String]) -> Result<Contents, Refusal> {
    let has = |name: &str| paths.iter().any(|path| path == name);
    match () {
        () if has("events.jsonl") || has("run.json") => {
            Err(unfit(dir, "is the directory of a run, with its sealed rows; name one of the results in its work/"))
        }
        () if has("adapter_config.json") => Ok(Contents::Adapter),
        () if has("config.json") || paths.iter().any(|path| path.ends_with(".gguf")) => Ok(Contents::Model),
        () if paths.iter().any(|path| look::holds_rows(Contents::Dataset, path)) => Ok(Contents::Dataset),
        () => Err(unfit(dir, NOTHING)),
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

/// The hashes of bytes, by SHA-256 and as git names a file of them.
fn hashes(bytes: &[u8]) -> (String, String) {
    use sha1::{Digest, Sha1};
    let mut git = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    (hash::sha256(bytes), git.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
