//! Files of a repository at one commit: which of them are needed, and where they are put.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tunesmith_harness::run::write_atomically;

use super::{
    Hub, HubError, Kind, RepoId,
    info::RemoteFile,
    licence::Terms,
    names::{inside, is_commit},
    transfer::{Transfer, beside, room},
};
use crate::files::read_small;

/// The file that says where a directory came from.
pub const SOURCE: &str = "tunesmith-hub.json";

/// Most bytes of it.
const SOURCE_BYTES: u64 = 64 << 20;

/// Which files of a repository are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// All of them, also those that can run code when they are read.
    pub all: bool,
    /// Exactly these.
    pub only: Vec<String>,
}

/// What will be downloaded, before it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Where it comes from.
    pub source: Source,
    /// Bytes of all its files.
    pub bytes: u64,
    /// What is left where it is.
    pub left_out: Vec<LeftOut>,
}

/// Where files came from: enough to tell whether they are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `owner/name`.
    pub id: String,
    /// A model or a data set.
    pub kind: Kind,
    /// The revision that was asked for.
    pub revision: String,
    /// The commit that it meant.
    pub commit: String,
    /// What may be done with it.
    pub licence: Terms,
    /// The files.
    pub files: Vec<RemoteFile>,
}

/// A file that is not downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its path.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// Why.
    pub why: String,
}

impl Source {
    /// Where the files of a directory came from; `None` where nothing says so.
    pub fn of(dir: &Path) -> Option<Source> {
        serde_json::from_str(&read_small(&dir.join(SOURCE), SOURCE_BYTES).ok()?).ok()
    }

    /// The repository at its commit.
    pub fn repo(&self) -> Option<RepoId> {
        is_commit(&self.commit).then(|| format!("{}@{}", self.id, self.commit).parse().ok())?
    }

    /// The repository and commit that a model's directory is of: as its download says, or where it stands in the cache of
    /// the Hub's tools.
    pub fn origin(dir: &Path) -> Option<RepoId> {
        if let Some(source) = Source::of(dir) {
            return source.repo().filter(|_| source.kind == Kind::Model);
        }
        let mut parts = dir.components().rev().map(|part| part.as_os_str().to_str());
        let (commit, snapshots, repo) = (parts.next()??, parts.next()??, parts.next()??);
        let (owner, name) = repo.strip_prefix("models--")?.split_once("--")?;
        let cached = snapshots == "snapshots" && is_commit(commit);
        cached.then(|| format!("{owner}/{name}@{commit}").parse().ok())?
    }
}

impl Hub {
    /// What a download would take. Nothing is downloaded.
    pub async fn plan(&self, kind: Kind, repo: &RepoId, choice: &Choice) -> Result<Plan, HubError> {
        let (listed, commit) = self.listed(kind, repo).await?;
        let files = self.files(kind, repo, &commit).await?;
        if let Some(missing) = choice.only.iter().find(|path| !files.iter().any(|file| file.path == **path)) {
            return Err(HubError::NoFile { id: repo.id(), path: missing.clone() });
        }
        let reasons: Vec<Option<&str>> = files.iter().map(|file| reason(kind, &file.path, &files, choice)).collect();
        let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
        for (file, why) in files.into_iter().zip(reasons) {
            match why {
                None => wanted.push(file),
                Some(why) => left_out.push(LeftOut { path: file.path, size: file.size, why: why.into() }),
            }
        }
        if wanted.is_empty() {
            let found = left_out.first().map(|file| format!("{}: {}", file.path, file.why));
            return Err(HubError::Nothing { id: repo.id(), found });
        }
        let licence = Terms::of_card(listed.tags.as_deref(), listed.card_data.as_ref());
        let bytes = wanted.iter().map(|file| file.size).sum();
        let revision = repo.revision().to_owned();
        Ok(Plan { source: Source { id: repo.id(), kind, revision, commit, licence, files: wanted }, bytes, left_out })
    }

    /// Downloads into `out`, which must not be there yet. What an earlier call left half done is gone on with.
    pub async fn download(&self, plan: &Plan, out: &Path, on: &Transfer<'_>) -> Result<(), HubError> {
        let half = beside(out, ".partial");
        let empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        if out.symlink_metadata().is_ok() && !empty {
            return Err(HubError::Occupied(out.to_owned()));
        }
        let _alone = begin(&half, &plan.source)?;
        room(&half, &plan.source.files, &|file| half.join(&file.path))?;
        let mut before = 0;
        for file in &plan.source.files {
            let to = half.join(inside(&file.path)?);
            self.fetch(&plan.source, file, &to, &|done| on(&file.path, before + done)).await?;
            before += file.size;
        }
        fs::rename(&half, out).map_err(HubError::io(out))
    }

    /// Downloads into the cache, laid out as by the Hub's own tools, and gives the directory.
    pub async fn download_cached(&self, plan: &Plan, on: &Transfer<'_>) -> Result<PathBuf, HubError> {
        let source = &plan.source;
        let root = self.cache_of(source.kind, &source.id);
        let (blobs, snapshot) = (root.join("blobs"), root.join("snapshots").join(&source.commit));
        for dir in [&blobs, &snapshot] {
            fs::create_dir_all(dir).map_err(HubError::io(dir))?;
        }
        room(&root, &source.files, &|file| blobs.join(file.hash()))?;
        let mut before = 0;
        for file in &source.files {
            let path = snapshot.join(inside(&file.path)?);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(HubError::io(parent))?;
            }
            let blob = blobs.join(file.hash());
            self.fetch(source, file, &blob, &|done| on(&file.path, before + done)).await?;
            link(&blob, &path, &snapshot).map_err(HubError::io(&path))?;
            before += file.size;
        }
        if !is_commit(&source.revision) {
            let reference = root.join("refs").join(&source.revision);
            let parent = reference.parent().unwrap_or(&root);
            fs::create_dir_all(parent).map_err(HubError::io(parent))?;
            fs::write(&reference, &source.commit).map_err(HubError::io(&reference))?;
        }
        Ok(snapshot)
    }

    /// A model in the cache, and its commit, without asking the Hub. `None` where it is not there.
    pub fn cached(&self, repo: &RepoId) -> Option<(PathBuf, String)> {
        let root = self.cache_of(Kind::Model, &repo.id());
        let commit = match is_commit(repo.revision()) {
            true => repo.revision().to_owned(),
            false => read_small(&root.join("refs").join(repo.revision()), 100).ok()?.trim().to_owned(),
        };
        let snapshot = root.join("snapshots").join(&commit);
        (is_commit(&commit) && snapshot.join("config.json").is_file()).then_some((snapshot, commit))
    }

    fn cache_of(&self, kind: Kind, id: &str) -> PathBuf {
        self.config.cache_dir.join(format!("{}--{}", kind.plural(), id.replace('/', "--")))
    }
}

/// Makes the directory of a download, or takes up the one that an earlier call left, for this process alone.
fn begin(half: &Path, source: &Source) -> Result<Option<File>, HubError> {
    fs::create_dir_all(half).map_err(HubError::io(half))?;
    // Where directories or locks are not to be had so, each file has a lock of its own.
    let lock = File::open(half).ok();
    if lock.as_ref().is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
        return Err(HubError::Busy(half.to_owned()));
    }
    if Source::of(half).as_ref() == Some(source) {
        return Ok(lock);
    }
    // What a process leaves that ends while it writes the first file has a hidden name.
    let is_hidden = |entry: fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    if !fs::read_dir(half).map_err(HubError::io(half))?.all(|entry| entry.is_ok_and(is_hidden)) {
        return Err(HubError::Occupied(half.to_owned()));
    }
    let at = half.join(SOURCE);
    let text = serde_json::to_string_pretty(source).map_err(|error| HubError::io(&at)(error.into()))?;
    write_atomically(&at, format!("{text}\n").as_bytes())
        .map_err(|error| HubError::io(&at)(io::Error::other(error)))?;
    Ok(lock)
}

/// Puts a link to a blob at `path` inside of `snapshot`.
fn link(blob: &Path, path: &Path, snapshot: &Path) -> std::io::Result<()> {
    let same = path.canonicalize().is_ok_and(|there| blob.canonicalize().is_ok_and(|blob| blob == there));
    if same {
        return Ok(());
    }
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    #[cfg(unix)]
    {
        let depth = path.strip_prefix(snapshot).map_or(1, |rel| rel.components().count());
        let name = blob.file_name().unwrap_or_default();
        let target: PathBuf = std::iter::repeat_n("..", depth + 1).collect();
        std::os::unix::fs::symlink(target.join("blobs").join(name), path)
    }
    #[cfg(not(unix))]
    {
        let _ = snapshot;
        fs::copy(blob, path).map(drop)
    }
}

/// Endings of files that can run code when they are read, or that nothing here reads.
const PICKLES: [&str; 10] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "dill", "npy", "npz"];
const FOREIGN: [&str; 8] = ["h5", "msgpack", "onnx", "ot", "tflite", "mlmodel", "pb", "keras"];
/// Endings of rows.
const ROWS: [&str; 11] = ["parquet", "jsonl", "ndjson", "json", "csv", "tsv", "txt", "md", "gz", "zst", "arrow"];

/// Why a file is left out; `None` where it is wanted.
fn reason(kind: Kind, path: &str, files: &[RemoteFile], choice: &Choice) -> Option<&'static str> {
    if path.eq_ignore_ascii_case(SOURCE) {
        return Some("it would say where the download came from");
    }
    if !choice.only.is_empty() {
        return (!choice.only.iter().any(|only| only == path)).then_some("not asked for");
    }
    if choice.all {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let ending = ending.as_str();
    let said =
        ["README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "USE_POLICY.md"].contains(&path);
    match kind {
        _ if said => None,
        _ if PICKLES.contains(&ending) => Some("a pickle, which can run code when it is read"),
        Kind::Dataset if ["py", "sh", "ipynb"].contains(&ending) => Some("code, which is never run"),
        Kind::Dataset => (!ROWS.contains(&ending)).then_some("no rows"),
        Kind::Model if path.contains('/') => Some("in a folder, where no model is read"),
        Kind::Model if ending == "safetensors" => second(path, files).then_some("the same weights again, or others"),
        Kind::Model if ["json", "jinja"].contains(&ending) => None,
        Kind::Model if ["tokenizer.model", "vocab.txt", "merges.txt", "spiece.model"].contains(&path) => None,
        Kind::Model if ending == "gguf" && !files.iter().any(|file| file.path.ends_with(".safetensors")) => {
            Some("one of the GGUF files: name the one that you want with --file")
        }
        Kind::Model if ending == "gguf" || FOREIGN.contains(&ending) => Some("weights in another format"),
        Kind::Model => Some("not needed for a model"),
    }
}

/// Whether these weights stand beside a model's own.
fn second(path: &str, files: &[RemoteFile]) -> bool {
    let own = |path: &str| {
        let part = path.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
        path == "model.safetensors" || part.is_some_and(|part| part.contains("-of-"))
    };
    let adapter = path == "adapter_model.safetensors";
    !own(path) && !adapter && files.iter().any(|file| own(&file.path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn left_out(kind: Kind, paths: &[&str]) -> Vec<String> {
        let file = |path: &&str| RemoteFile { path: (*path).into(), size: 1, sha256: None, git: None };
        let files: Vec<RemoteFile> = paths.iter().map(file).collect();
        let why = |path: &&str| reason(kind, path, &files, &Choice::default()).map(|why| format!("{path}: {why}"));
        paths.iter().filter_map(why).collect()
    }

    #[test]
    fn of_a_model_only_what_it_is_read_from_is_wanted() {
        let paths = [
            "README.md",
            "LICENSE",
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "model.safetensors",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "onnx/model.onnx",
            ".gitattributes",
        ];
        let want = [
            "consolidated.safetensors: the same weights again, or others",
            "pytorch_model.bin: a pickle, which can run code when it is read",
            "tf_model.h5: weights in another format",
            "onnx/model.onnx: in a folder, where no model is read",
            ".gitattributes: not needed for a model",
        ];
        assert_eq!(left_out(Kind::Model, &paths), want);
        let adapter = ["adapter_config.json", "adapter_model.safetensors", "training_args.bin"];
        let want = ["training_args.bin: a pickle, which can run code when it is read"];
        assert_eq!(left_out(Kind::Model, &adapter), want);
        let want = ["m-Q4.gguf: one of the GGUF files: name the one that you want with --file"];
        assert_eq!(left_out(Kind::Model, &["m-Q4.gguf"]), want);
    }

    #[test]
    fn a_directory_of_the_hubs_is_known_by_its_download_or_by_its_place_in_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let commit = "0123456789".repeat(4);
        let of = |path: &str| Source::origin(&dir.path().join(path)).map(|repo| repo.to_string());
        assert_eq!(of(&format!("models--a--b-c/snapshots/{commit}")), Some(format!("a/b-c@{commit}")));
        let others =
            ["models--a--b/snapshots/main", "models--a/snapshots/0", "datasets--a--b/snapshots/x", "snapshots", "x"];
        assert_eq!(others.map(of), [const { None }; 5]);
        let source = |kind: Kind, commit: &str| Source {
            id: "a/b".into(),
            kind,
            revision: "main".into(),
            commit: commit.into(),
            licence: Terms::of(None),
            files: Vec::new(),
        };
        for (source, want) in [
            (source(Kind::Model, &commit), Some(format!("a/b@{commit}"))),
            (source(Kind::Model, "main"), None),
            (source(Kind::Dataset, &commit), None),
        ] {
            fs::write(dir.path().join(SOURCE), serde_json::to_string(&source).unwrap()).unwrap();
            assert_eq!(of(""), want);
        }
    }

    #[test]
    fn of_a_data_set_rows_are_wanted_and_code_is_not() {
        let paths = ["README.md", "data/train-00000.parquet", "rows.jsonl.gz", "loader.py", "x.pkl", "a.png"];
        let want = [
            "loader.py: code, which is never run",
            "x.pkl: a pickle, which can run code when it is read",
            "a.png: no rows",
        ];
        assert_eq!(left_out(Kind::Dataset, &paths), want);
    }
}
