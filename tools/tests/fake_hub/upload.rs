//! What clients bring: new repositories and commits.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Shared,
    http::{Answer, Request},
    owns,
    store::{Blob, Kind, Repo, is_lfs},
    xet,
};

/// Which files are to be stored before the commit.
pub fn preupload(request: &Request) -> Answer {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let files = asked["files"].as_array().into_iter().flatten().map(|file| {
        let (path, size) = (file["path"].as_str().unwrap_or_default(), file["size"].as_u64().unwrap_or(0));
        let mode = if is_lfs(path, size) { "lfs" } else { "regular" };
        json!({"path": path, "uploadMode": mode, "shouldIgnore": false, "oid": null})
    });
    Answer::json(&json!({"files": files.collect::<Vec<_>>()}))
}

/// How they are to be stored: by Xet.
pub fn batch(request: &Request) -> Answer {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    Answer::json(&json!({"transfer": "xet", "objects": asked["objects"]}))
}

impl Shared {
    pub fn create(&self, request: &Request, user: Option<&str>) -> Answer {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Some(user) = user else { return Answer::refused(401, "", "Invalid username or password.") };
        let name = asked["name"].as_str().unwrap_or_default();
        // With its owner in one, or apart.
        let (owner, name) = name.split_once('/').unwrap_or((asked["organization"].as_str().unwrap_or(user), name));
        if !owns(owner, Some(user)) {
            let message = format!("You don't have the rights to create a model under the namespace \"{owner}\"");
            return Answer::refused(403, "", &message);
        }
        let (kind, prefix) = match asked["type"].as_str() {
            Some("dataset") => (Kind::Dataset, "datasets/"),
            _ => (Kind::Model, ""),
        };
        let id = format!("{owner}/{name}");
        let url = format!("{}/{prefix}{id}", self.endpoint);
        let mut state = self.state();
        let known = state.repos.contains_key(&(kind, id.clone()));
        let answer = Answer::json(&json!({"url": url, "name": id, "id": "fake"}));
        if known {
            let message = "You already created this model repo";
            let body = json!({"error": message, "url": url});
            return Answer { status: 409, ..Answer::json(&body) }.with("x-error-message", message);
        }
        let mut repo = Repo::new(kind, &id);
        repo.private = asked["private"] == true || asked["visibility"] == "private";
        state.repos.insert((kind, id), repo);
        answer
    }

    /// One line for the message, one for each file.
    pub fn commit(&self, repo: &Repo, request: &Request) -> Answer {
        let lines = request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let Ok(lines) = lines.map(serde_json::from_slice::<Value>).collect::<Result<Vec<_>, _>>() else {
            return Answer::refused(400, "", "the body is not JSON lines");
        };
        let (mut files, mut title) = (repo.head().files.clone(), String::new());
        for line in lines {
            let value = &line["value"];
            let path = value["path"].as_str().unwrap_or_default().to_owned();
            match line["key"].as_str() {
                Some("header") => title = value["summary"].as_str().unwrap_or_default().to_owned(),
                Some("file") => {
                    let Ok(bytes) = STANDARD.decode(value["content"].as_str().unwrap_or_default()) else {
                        return Answer::refused(400, "", "content is not base64");
                    };
                    files.insert(path, Blob { bytes, lfs: false, xet: None });
                }
                Some("lfsFile") => {
                    let sha256 = value["oid"].as_str().unwrap_or_default();
                    let kept = repo.commits.iter().flat_map(|commit| commit.files.values());
                    let known = kept.filter(|blob| blob.lfs).find(|blob| blob.sha256() == sha256).cloned();
                    let Some(blob) = known.or_else(|| xet::stored(self.cas.path(), sha256)) else {
                        return Answer::refused(
                            400,
                            "",
                            &format!("LFS pointer pointed to a file that does not exist: {path}"),
                        );
                    };
                    files.insert(path, blob);
                }
                Some("deletedFile") => drop(files.remove(&path)),
                _ => return Answer::refused(400, "", "unknown operation"),
            }
        }
        let mut state = self.state();
        let repo = state.repos.get_mut(&(repo.kind, repo.id.clone())).unwrap();
        let prefix = if repo.kind == Kind::Model { "" } else { "datasets/" };
        let sha = repo.commit(&title, files);
        let url = format!("{}/{prefix}{}/commit/{sha}", self.endpoint, repo.id);
        Answer::json(&json!({"success": true, "commitOid": sha, "commitUrl": url, "hookOutput": ""}))
    }
}
