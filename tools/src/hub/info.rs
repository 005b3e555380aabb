//! What is in a repository, and whether it can be trained here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_lm::config::Config;

use super::{
    Hub, HubError, Kind, RepoId,
    client::About,
    licence::Terms,
    names::{inside, is_commit, is_sha256},
    search::{self, Listed},
};

/// Most files and folders of a repository, and as how many of them a page of fewer counts.
const ENTRIES: usize = 200_000;
const PAGE: usize = 100;
/// Most bytes of a config.json.
const CONFIG: usize = 1 << 20;
/// Most bytes of all files together, far above any: a sum of more is no size.
const BYTES: u64 = 1 << 50;

/// A repository at a commit. What the Hub does not say is `None`, never zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// `owner/name`.
    pub id: String,
    /// A model or a data set.
    pub kind: Kind,
    /// The revision that was asked for.
    pub revision: String,
    /// The commit that it means now.
    pub commit: String,
    /// What may be done with it.
    pub licence: Terms,
    /// Whether only its owner sees it.
    pub private: Option<bool>,
    /// Whether access must be asked for.
    pub gated: Option<bool>,
    /// Downloads in the last 30 days.
    pub downloads: Option<u64>,
    /// Likes.
    pub likes: Option<u64>,
    /// When it was changed last, as the Hub writes it.
    pub modified: Option<String>,
    /// The task, of a model.
    pub task: Option<String>,
    /// The library that it is made for.
    pub library: Option<String>,
    /// Parameters of a model, from the heads of its safetensors.
    pub parameters: Option<u64>,
    /// Of these, how many of each type.
    pub types: BTreeMap<String, u64>,
    /// The architecture that config.json names.
    pub architecture: Option<String>,
    /// Whether it can be trained here; `None` where that cannot be told.
    pub trainable: Option<bool>,
    /// Why not, or why it cannot be told.
    pub why: Option<String>,
    /// Its files.
    pub files: Vec<RemoteFile>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Its path, which is safe to use.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// SHA-256 of large files.
    pub sha256: Option<String>,
    /// Git's name of the others, a SHA-1.
    pub git: Option<String>,
}

impl RemoteFile {
    /// The hash that it is told by.
    pub fn hash(&self) -> &str {
        self.sha256.as_deref().or(self.git.as_deref()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// What is in a repository.
    pub async fn info(&self, kind: Kind, repo: &RepoId) -> Result<Info, HubError> {
        let (listed, commit) = self.listed(kind, repo).await?;
        let files = self.files(kind, repo, &commit).await?;
        let counts = listed.safetensors.unwrap_or_default();
        let mut info = Info {
            id: repo.id(),
            kind,
            revision: repo.revision().into(),
            licence: Terms::of_card(listed.tags.as_deref(), listed.card_data.as_ref()),
            private: listed.private,
            gated: listed.gated.as_ref().map(search::is_gated),
            downloads: listed.downloads,
            likes: listed.likes,
            modified: listed.last_modified,
            task: listed.pipeline_tag,
            library: listed.library_name,
            parameters: Some(counts.total).filter(|total| *total > 0),
            types: counts.parameters,
            architecture: None,
            trainable: None,
            why: None,
            bytes: files.iter().map(|file| file.size).sum(),
            files,
            commit,
        };
        if kind == Kind::Model {
            self.judge(repo, &mut info).await?;
        }
        Ok(info)
    }

    /// What may be done with a repository.
    pub async fn terms(&self, kind: Kind, repo: &RepoId) -> Result<Terms, HubError> {
        let (listed, _) = self.listed(kind, repo).await?;
        Ok(Terms::of_card(listed.tags.as_deref(), listed.card_data.as_ref()))
    }

    /// What the Hub says of a repository, and the commit that its revision means.
    pub(super) async fn listed(&self, kind: Kind, repo: &RepoId) -> Result<(Listed, String), HubError> {
        let url = self.client.url(&["api", kind.plural(), &repo.owner, &repo.name, "revision", repo.revision()]);
        let listed: Listed = self.client.json(url, About::Repo(kind, repo)).await.map_err(|error| match error {
            HubError::Offline(_) => HubError::Offline(format!(" for {repo}")),
            error => error,
        })?;
        // The Hub takes names in any case and answers with the right one; everything else is another repository.
        if !listed.id.eq_ignore_ascii_case(&repo.id()) {
            let new = listed.id.parse::<RepoId>().map_err(|_| self.client.senseless("it names another repository"))?;
            return Err(HubError::Renamed { old: repo.id(), new: new.id() });
        }
        let commit = listed.sha.clone().filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| self.client.senseless("it names no commit"))?;
        Ok((listed, commit))
    }

    /// The files of a commit.
    pub(super) async fn files(&self, kind: Kind, repo: &RepoId, commit: &str) -> Result<Vec<RemoteFile>, HubError> {
        let mut url = self.client.url(&["api", kind.plural(), &repo.owner, &repo.name, "tree", commit]);
        url.query_pairs_mut().append_pair("recursive", "true");
        let (mut files, mut bytes, mut entries, mut next) = (Vec::new(), 0_u64, 0, Some(url));
        while let Some(url) = next.take() {
            let (page, following): (Vec<Entry>, _) = self.client.page(url, About::Repo(kind, repo)).await?;
            next = following.filter(|_| !page.is_empty());
            // Folders count too, and so do pages: those of little else would go on for ever.
            entries += page.len().max(PAGE);
            for entry in page.into_iter().filter(|entry| entry.kind == "file") {
                let file = self.file(entry)?;
                bytes = bytes.saturating_add(file.size);
                files.push(file);
            }
            if entries > ENTRIES || bytes > BYTES {
                return Err(self.client.senseless("more files than a repository has"));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(files)
    }

    /// A file as the Hub lists it. Without a size or a hash it could not be told from another.
    fn file(&self, entry: Entry) -> Result<RemoteFile, HubError> {
        inside(&entry.path)?;
        let (size, sha256) = match entry.lfs {
            Some(lfs) => (Some(lfs.size), Some(lfs.oid.trim_start_matches("sha256:").to_owned())),
            None => (entry.size, None),
        };
        let git = entry.oid.filter(|oid| sha256.is_none() && is_commit(oid));
        let hashed = sha256.as_ref().map_or(git.is_some(), |hash| is_sha256(hash));
        let size = size.filter(|_| hashed);
        let size = size.ok_or_else(|| self.client.senseless("a file without a size or a hash"))?;
        Ok(RemoteFile { path: entry.path, size, sha256, git })
    }

    /// Whether the model can be trained here.
    async fn judge(&self, repo: &RepoId, info: &mut Info) -> Result<(), HubError> {
        let has = |name: &str| info.files.iter().any(|file| file.path == name);
        let (trainable, why) = if has("adapter_config.json") {
            (Some(false), Some("it is an adapter: train its base".to_owned()))
        } else if !has("config.json") {
            match info.files.iter().any(|file| file.path.ends_with(".gguf")) {
                true => {
                    (None, Some("it has GGUF files only: download one and ask `tunesmith train --dry-run`".to_owned()))
                }
                false => (Some(false), Some("it has no config.json".to_owned())),
            }
        } else {
            let url = self.client.url(&[&repo.owner, &repo.name, "resolve", &info.commit, "config.json"]);
            match self.client.small(url, CONFIG, About::File(Kind::Model, repo, "config.json")).await {
                Ok(text) => {
                    let text = String::from_utf8_lossy(&text);
                    let config = serde_json::from_str::<Value>(&text).unwrap_or_default();
                    let named = config["architectures"].get(0).or(config.get("model_type"));
                    info.architecture = named.and_then(Value::as_str).map(str::to_owned);
                    computed(&text, &info.files)
                }
                Err(HubError::Gated { .. }) => {
                    (None, Some("its config.json cannot be read before access is granted".to_owned()))
                }
                Err(error) => return Err(error),
            }
        };
        (info.trainable, info.why) = (trainable, why);
        Ok(())
    }
}

/// Whether a model of this config.json, with these files, is computed here.
fn computed(config: &str, files: &[RemoteFile]) -> (Option<bool>, Option<String>) {
    let has = |end: &str| files.iter().any(|file| !file.path.contains('/') && file.path.ends_with(end));
    let why = match Config::from_json(config) {
        Err(error) => error.to_string(),
        Ok(_) if !has(".safetensors") => "it has no safetensors, the one format of weights that is read".to_owned(),
        Ok(_) if !has("tokenizer.json") => "it has no tokenizer.json".to_owned(),
        Ok(_) => return (Some(true), None),
    };
    (Some(false), Some(why))
}
