//! Takes what a run hands in: declared files alone, copied once by descriptor to a place of the grader's own, each held
//! against what the log says of the step that made it. Nothing else is ever opened as a model.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tunesmith_harness::{
    event::{Event, Kind},
    run::Run,
};
use tunesmith_sandbox::Workdir;
use tunesmith_tools::{
    convert,
    files::{open_declared, open_regular},
    tool::Tool,
    train::{self, Provenance},
};

use super::Submitted;

/// Where the run's directory keeps the rows that adapters were trained on: jobs cannot write there.
const KEPT: &str = "trained";
/// Most files of a model's directory.
const MOST_FILES: usize = 1_000;

/// Keeps the rows that a training step was given, for the grader to hold against the sealed ones. What cannot be kept is
/// missed by the grader, who then refuses the adapter.
pub fn keep(run: &Run, output: &Value) {
    let Ok(train::Output { provenance: Some(made), .. }) = serde_json::from_value(output.clone()) else { return };
    let (Ok(work), kept) = (Workdir::open(&run.work()), run.dir().join(KEPT)) else { return };
    let Ok(data) = work.join(&made.data) else { return };
    // The worker that named them reads what strangers wrote: neither may lead elsewhere.
    let is_name = |name: &str| plain(name) == Path::new(name) && !name.contains('/');
    let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (name, sha256) in rows(&made).filter(|(name, hash)| is_name(name) && is_hash(hash)) {
        let from = if data.is_dir() { data.join(name) } else { data.clone() };
        let to = kept_at(run, sha256);
        // The hash is compared when the copy is used.
        let _ = fs::create_dir_all(&kept)
            .and_then(|()| open_regular(&from))
            .and_then(|mut from| io::copy(&mut from, &mut File::create(&to)?));
    }
}

/// Files of rows among those that were trained on, with their hashes.
fn rows(made: &Provenance) -> impl Iterator<Item = (&String, &String)> {
    made.data_sha256.iter().filter(|(name, _)| *name != "recipe.json")
}

fn kept_at(run: &Run, sha256: &str) -> PathBuf {
    run.dir().join(KEPT).join(format!("{sha256}.jsonl"))
}

/// What is needed to take something in.
pub struct Intake<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its workdir, in which no job runs any more.
    pub work: &'a Workdir,
    /// Its log.
    pub events: &'a [Event],
    /// Hash of its base.
    pub base_sha256: &'a str,
    /// Where copies go.
    pub place: &'a Path,
}

/// What was taken in: paths of the copies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The adapter's directory.
    pub adapter: Option<PathBuf>,
    /// Shipped files with their kind.
    pub artifacts: Vec<(PathBuf, String)>,
    /// What was not taken, with the reason.
    pub refused: BTreeMap<PathBuf, String>,
    /// The rows that the adapter was trained on.
    pub trained: Vec<PathBuf>,
}

impl Intake<'_> {
    /// Takes in what was handed in; what does not fit is named with the reason.
    pub fn take(&self, submitted: &Submitted) -> Taken {
        let mut taken = Taken::default();
        if let Some(path) = &submitted.adapter {
            let to = self.to(path);
            match self.adapter(path) {
                Ok(trained) => taken.trained = trained,
                Err(why) => drop(taken.refused.insert(to.clone(), why)),
            }
            taken.adapter = Some(to);
        }
        for (path, kind) in &submitted.artifacts {
            let to = self.to(path);
            let result = match kind.as_str() {
                "adapter" => self.adapter(path).map(drop),
                "gguf" | "safetensors" => self.model(path, kind, submitted.adapter.as_deref()),
                other => Err(format!(
                    "the grader cannot check a file of kind {other:?}; ship gguf, safetensors or an adapter"
                )),
            };
            if let Err(why) = result {
                taken.refused.insert(to.clone(), why);
            }
            taken.artifacts.push((to, kind.clone()));
        }
        taken
    }

    /// Where the copy of what was handed in goes, named like the original below the run's directory.
    fn to(&self, path: &str) -> PathBuf {
        self.place.join("work").join(plain(path))
    }

    /// Copies an adapter that a training step made, and names the rows that it was trained on.
    fn adapter(&self, path: &str) -> Result<Vec<PathBuf>, String> {
        let open = |name| open_declared(self.work.path(), &plain(path).join(name));
        let opened = train::FILES.into_iter().map(open).collect::<Result<Vec<File>, String>>()?;
        let made = self.made(path)?;
        if made.base_sha256 != self.base_sha256 {
            return Err(format!("lineage: it was trained on another base ({})", made.base_sha256));
        }
        fs::create_dir_all(self.to(path)).map_err(|e| e.to_string())?;
        for (name, file) in train::FILES.into_iter().zip(opened) {
            let Some((bytes, sha256)) = made.files.get(name) else {
                return Err(format!("lineage: the training step wrote no {name}"));
            };
            let copied = copy(file, &self.to(path).join(name), *bytes).map_err(|e| format!("{name}: {e}"))?;
            if copied.as_ref() != Some(sha256) {
                return Err(format!("lineage: {name} is not what the training step wrote"));
            }
        }
        let trained: Vec<PathBuf> = rows(&made).map(|(_, sha256)| kept_at(self.run, sha256)).collect();
        let whole = rows(&made).all(|(_, sha256)| {
            let kept = kept_at(self.run, sha256);
            open_regular(&kept).is_ok() && tunesmith_harness::hash::sha256_file(&kept).as_ref().ok() == Some(sha256)
        });
        match whole && !trained.is_empty() {
            true => Ok(trained),
            false => Err("lineage: the rows that it was trained on were not kept as they were".into()),
        }
    }

    /// What the log says of the adapter in this directory.
    fn made(&self, path: &str) -> Result<Provenance, String> {
        let made = self.returned(train::Train::NAME, |output: &train::Output| plain(&output.adapter) == plain(path));
        let made = made.ok_or("lineage: no training step of this run made it")?;
        made.provenance.ok_or_else(|| "lineage: the log does not say what it was made of".into())
    }

    /// Copies a model that a conversion wrote, of the adapter that was handed in.
    fn model(&self, path: &str, kind: &str, adapter: Option<&str>) -> Result<(), String> {
        let single = if kind == "gguf" { Some(open_declared(self.work.path(), &plain(path))?) } else { None };
        let made = self.returned(convert::Convert::NAME, |output: &convert::Output| plain(&output.path) == plain(path));
        let made = made.ok_or("lineage: no conversion of this run wrote it")?;
        if let Some(adapter) = adapter {
            let weights = self.made(adapter).ok().and_then(|made| Some(made.files.get(train::WEIGHTS)?.1.clone()));
            if weights.is_none() || made.adapter_sha256 != weights {
                return Err("lineage: it was not made of the adapter that was handed in".into());
            }
        }
        let to = self.to(path);
        match single {
            Some(file) => {
                to.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| e.to_string())?;
                copy(file, &to, made.bytes)?;
            }
            None => self.directory(path, made.bytes)?,
        }
        match tunesmith_lm::model::hash(&to) {
            Ok(sha256) if sha256 == made.sha256 => Ok(()),
            _ => Err("lineage: it is not what the conversion wrote".into()),
        }
    }

    /// Copies those files of a directory that make a model, of so many bytes at most.
    fn directory(&self, path: &str, mut bytes: u64) -> Result<(), String> {
        fs::create_dir_all(self.to(path)).map_err(|e| e.to_string())?;
        let names = fs::read_dir(self.work.path().join(plain(path))).map_err(|e| e.to_string())?;
        let names = names.take(MOST_FILES).flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let part = |name: &String| {
            tunesmith_lm::model::FILES.contains(&name.as_str())
                || name.ends_with(".safetensors")
                || name.ends_with(".safetensors.index.json")
        };
        for name in names.filter(part) {
            let file = open_declared(self.work.path(), &plain(path).join(&name))?;
            let size = file.metadata().map_err(|e| e.to_string())?.len();
            bytes = bytes.checked_sub(size).ok_or("lineage: it is larger than what the conversion wrote")?;
            copy(file, &self.to(path).join(&name), size)?;
        }
        Ok(())
    }

    /// The output of the last successful step of `tool` that `is` meant.
    fn returned<T: DeserializeOwned>(&self, tool: &str, is: impl Fn(&T) -> bool) -> Option<T> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            Kind::Returned { tool: name, ok: true, output, .. } if name == tool => {
                serde_json::from_value(output.clone()).ok().filter(&is)
            }
            _ => None,
        })
    }
}

/// A path of the workdir without what means nothing there: dots, and slashes at either end.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Copies a file of exactly so many bytes; gives its SHA-256, or nothing where it has another size.
fn copy(mut from: File, to: &Path, bytes: u64) -> Result<Option<String>, String> {
    let fail = |e: io::Error| e.to_string();
    if from.metadata().map_err(fail)?.len() != bytes {
        return Ok(None);
    }
    let mut to = File::create(to).map_err(fail)?;
    let (mut hash, mut left, mut buffer) = (Sha256::new(), bytes, vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer).map_err(fail)? {
            0 if left == 0 => break,
            0 => return Ok(None),
            n if n as u64 > left => return Ok(None),
            n => {
                left -= n as u64;
                hash.update(&buffer[..n]);
                to.write_all(&buffer[..n]).map_err(fail)?;
            }
        }
    }
    Ok(Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
