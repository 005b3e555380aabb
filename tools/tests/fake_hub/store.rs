//! What the fake Hub holds: repositories, their commits and their files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;

/// Models and data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Model,
    Dataset,
}

/// One file of a commit.
#[derive(Clone, Debug)]
pub struct Blob {
    pub bytes: Vec<u8>,
    /// Whether it is kept outside of git, as large and binary files are.
    pub lfs: bool,
    /// Its name in the Xet store, where a client put it there.
    pub xet: Option<String>,
}

impl Blob {
    /// The name that git has for the file or, of what is kept outside, for its pointer.
    pub fn oid(&self) -> String {
        let pointer = || {
            let (oid, size) = (self.sha256(), self.bytes.len());
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n").into_bytes()
        };
        let content = if self.lfs { pointer() } else { self.bytes.clone() };
        hex(&Sha1::digest([format!("blob {}\0", content.len()).as_bytes(), &content].concat()))
    }

    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub sha: String,
    pub title: String,
    pub files: BTreeMap<String, Blob>,
}

/// A model or a data set.
#[derive(Clone, Debug)]
pub struct Repo {
    pub kind: Kind,
    pub id: String,
    pub private: bool,
    /// `auto` or `manual` where access must be asked for.
    pub gated: Option<&'static str>,
    /// Users who were let in.
    pub readers: BTreeSet<String>,
    pub downloads: u64,
    pub likes: u64,
    pub trending: u64,
    /// The last one is `main`.
    pub commits: Vec<Commit>,
}

impl Repo {
    pub fn new(kind: Kind, id: &str) -> Repo {
        let readers = BTreeSet::new();
        let (private, gated, downloads, likes, trending) = (false, None, 0, 0, 0);
        let mut repo =
            Repo { kind, id: id.into(), private, gated, readers, downloads, likes, trending, commits: vec![] };
        repo.commit("initial commit", BTreeMap::new());
        repo
    }

    pub fn model(id: &str) -> Repo {
        Repo::new(Kind::Model, id)
    }

    pub fn dataset(id: &str) -> Repo {
        Repo::new(Kind::Dataset, id)
    }

    /// With one more file, in a commit of its own.
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Repo {
        let bytes = bytes.into();
        let mut files = self.head().files.clone();
        let lfs = is_lfs(path, bytes.len() as u64);
        files.insert(path.into(), Blob { bytes, lfs, xet: None });
        self.commit(&format!("Upload {path}"), files);
        self
    }

    /// With all files of a directory.
    pub fn folder(self, dir: &Path) -> Repo {
        let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().filter(|path| path.is_file()).fold(self, |repo, path| {
            repo.file(path.file_name().unwrap().to_str().unwrap(), std::fs::read(path).unwrap())
        })
    }

    pub fn popular(mut self, downloads: u64, likes: u64, trending: u64) -> Repo {
        (self.downloads, self.likes, self.trending) = (downloads, likes, trending);
        self
    }

    pub fn gated(mut self, how: &'static str) -> Repo {
        self.gated = Some(how);
        self
    }

    pub fn private(mut self) -> Repo {
        self.private = true;
        self
    }

    /// A new `main`; gives its name.
    pub fn commit(&mut self, title: &str, files: BTreeMap<String, Blob>) -> String {
        let mut hash = Sha1::new();
        hash.update(format!("{} {} {title}", self.id, self.commits.len()));
        files.iter().for_each(|(path, blob)| hash.update(format!("\0{path} {}", blob.oid())));
        let sha = hex(&hash.finalize());
        self.commits.push(Commit { sha: sha.clone(), title: title.into(), files });
        sha
    }

    pub fn head(&self) -> &Commit {
        self.commits.last().unwrap()
    }

    /// The commit that a revision means.
    pub fn at(&self, revision: &str) -> Option<&Commit> {
        match revision {
            "main" => Some(self.head()),
            sha => self.commits.iter().find(|commit| commit.sha == sha),
        }
    }

    pub fn owner(&self) -> &str {
        self.id.split('/').next().unwrap()
    }

    /// What the Hub says of it, all of it read from its files as the Hub reads it.
    pub fn info(&self, commit: &Commit, blobs: bool) -> Map<String, Value> {
        let text = |path: &str| commit.files.get(path).map(|blob| String::from_utf8_lossy(&blob.bytes).into_owned());
        let card = text("README.md").map(|text| front_matter(&text)).unwrap_or_default();
        let config = text("config.json").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let config = config.map(|all| json!({"architectures": all["architectures"], "model_type": all["model_type"]}));
        let siblings = commit.files.iter().map(|(path, blob)| match blobs {
            false => json!({"rfilename": path}),
            true => {
                let mut file = json!({"rfilename": path, "blobId": blob.oid(), "size": blob.bytes.len()});
                if blob.lfs {
                    let (sha256, size) = (blob.sha256(), blob.bytes.len());
                    file["lfs"] = json!({"sha256": sha256, "size": size, "pointerSize": 134});
                }
                file
            }
        });
        let siblings: Vec<Value> = siblings.collect();
        let mut info = json!({
            "_id": hex(&Sha1::digest(&self.id))[..24].to_owned(),
            "id": self.id,
            "author": self.owner(),
            "sha": commit.sha,
            "private": self.private,
            "gated": self.gated.map_or(json!(false), |how| json!(how)),
            "disabled": false,
            "downloads": self.downloads,
            "likes": self.likes,
            "trendingScore": self.trending,
            "tags": self.tags(commit, &card, config.as_ref()),
            "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2026-01-01T03:04:05.000Z",
            "siblings": siblings,
            "cardData": card,
        });
        let fields = info.as_object_mut().unwrap();
        if self.kind == Kind::Model {
            fields.insert("modelId".into(), json!(self.id));
            let generates = config.as_ref().is_some_and(|config| config.to_string().contains("ForCausalLM"));
            let stated = card.get("pipeline_tag").cloned();
            stated.or(generates.then(|| json!("text-generation"))).map(|tag| fields.insert("pipeline_tag".into(), tag));
            let library = if commit.files.contains_key("adapter_config.json") { "peft" } else { "transformers" };
            let library = card.get("library_name").cloned().or(config.as_ref().map(|_| json!(library)));
            library.map(|name| fields.insert("library_name".into(), name));
            config.map(|config| fields.insert("config".into(), config));
            parameters(commit).map(|counts| fields.insert("safetensors".into(), counts));
        }
        fields.clone()
    }

    fn tags(&self, commit: &Commit, card: &Map<String, Value>, config: Option<&Value>) -> Vec<String> {
        let mut tags = Vec::new();
        if self.kind == Kind::Model {
            if config.is_some() {
                tags.push("transformers".to_owned());
            }
            if commit.files.keys().any(|path| path.ends_with(".safetensors")) {
                tags.push("safetensors".to_owned());
            }
            tags.extend(config.and_then(|config| config["model_type"].as_str()).map(str::to_owned));
        }
        let listed = |key: &str| -> Vec<String> {
            match card.get(key) {
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Some(Value::String(one)) => vec![one.clone()],
                _ => Vec::new(),
            }
        };
        tags.extend(listed("tags"));
        for (key, tag) in [("license", "license"), ("base_model", "base_model"), ("datasets", "dataset")] {
            tags.extend(listed(key).iter().map(|value| format!("{tag}:{value}")));
        }
        for (key, tag) in [("language", "language"), ("task_categories", "task_categories")] {
            let named = self.kind == Kind::Dataset;
            tags.extend(listed(key).iter().map(|value| if named { format!("{tag}:{value}") } else { value.clone() }));
        }
        tags
    }
}

/// Whether the Hub keeps such a file outside of git.
pub fn is_lfs(path: &str, size: u64) -> bool {
    let ending = path.rsplit('.').next().unwrap_or_default();
    ["safetensors", "bin", "gguf", "parquet", "pt", "gz", "zst"].contains(&ending) || size > 10 << 20
}

/// Numbers by type, from the heads of the files.
fn parameters(commit: &Commit) -> Option<Value> {
    let mut counts = BTreeMap::<String, u64>::new();
    for (_, blob) in commit.files.iter().filter(|(path, _)| path.ends_with(".safetensors") && !path.contains("adapter"))
    {
        let length = u64::from_le_bytes(blob.bytes.get(..8)?.try_into().ok()?) as usize;
        let head: Value = serde_json::from_slice(blob.bytes.get(8..8 + length)?).ok()?;
        for (_, tensor) in head.as_object()?.iter().filter(|(name, _)| *name != "__metadata__") {
            let numbers = tensor["shape"].as_array()?.iter().filter_map(Value::as_u64).product::<u64>();
            *counts.entry(tensor["dtype"].as_str()?.to_owned()).or_default() += numbers;
        }
    }
    let total: u64 = counts.values().sum();
    (total > 0).then(|| json!({"parameters": counts, "total": total}))
}

/// Plain fields and lists at the outermost level of a card's head; what is nested is left out.
fn front_matter(card: &str) -> Map<String, Value> {
    let Some((head, _)) = card.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")) else {
        return Map::new();
    };
    let plain = |text: &str| json!(text.trim().trim_matches(['"', '\'']));
    let (mut fields, mut last) = (Map::new(), None::<String>);
    for line in head.lines() {
        match (line.strip_prefix("- "), line.split_once(':')) {
            (Some(item), _) if !item.contains(": ") => {
                let list = last.as_ref().map(|name| fields.entry(name.clone()).or_insert_with(|| json!([])));
                list.and_then(Value::as_array_mut).into_iter().for_each(|list| list.push(plain(item)));
            }
            (_, Some((name, value))) if !line.starts_with([' ', '-']) => {
                last = Some(name.into());
                if !value.trim().is_empty() {
                    fields.insert(name.into(), plain(value));
                }
            }
            _ => {}
        }
    }
    fields
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
