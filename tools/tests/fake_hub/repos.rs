//! Who asks, which repositories there are, what is in one.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};

use super::{
    Shared,
    http::{Answer, Request},
    owns,
    store::{Kind, Repo},
};

pub fn whoami(user: Option<&str>) -> Answer {
    let Some(user) = user else { return Answer::refused(401, "", "Invalid username or password.") };
    let orgs = if user == "tester" { json!([{"type": "org", "id": "2", "name": "org"}]) } else { json!([]) };
    let token = json!({"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}});
    Answer::json(
        &json!({"type": "user", "id": "1", "name": user, "fullname": user, "email": null, "orgs": orgs, "auth": token}),
    )
}

pub fn info(repo: &Repo, revision: &str, request: &Request) -> Answer {
    let Some(commit) = repo.at(revision) else { return no_revision(revision) };
    let blobs = request.get("blobs").is_some_and(|blobs| blobs.eq_ignore_ascii_case("true"));
    Answer::json(&Value::Object(expanded(repo.info(commit, blobs), request)))
}

fn no_revision(revision: &str) -> Answer {
    Answer::refused(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"))
}

/// Of what is known, only what was asked for, where something was.
fn expanded(info: Map<String, Value>, request: &Request) -> Map<String, Value> {
    let asked: Vec<&str> = request.all("expand").chain(request.all("expand[]")).collect();
    let always = ["_id", "id", "modelId"];
    let keep = |name: &String| asked.is_empty() || asked.contains(&name.as_str()) || always.contains(&name.as_str());
    info.into_iter().filter(|(name, _)| keep(name)).collect()
}

impl Shared {
    /// A list of models or data sets, page by page.
    pub fn list(&self, kind: Kind, request: &Request, user: Option<&str>) -> Answer {
        let state = self.state();
        let has = |repo: &&Repo| repo.kind == kind && (!repo.private || owns(repo.owner(), user));
        let (search, author) = (request.get("search").unwrap_or_default().to_lowercase(), request.get("author"));
        let mut found: Vec<Map<String, Value>> =
            state.repos.values().filter(has).map(|repo| repo.info(repo.head(), false)).collect();
        found.retain(|info| {
            let tags = info["tags"].as_array().unwrap();
            let tagged =
                |tag: &str| tags.iter().any(|has| has == tag) || info.get("library_name").is_some_and(|has| has == tag);
            info["id"].as_str().unwrap().to_lowercase().contains(&search)
                && author.is_none_or(|author| info["author"] == author)
                && request
                    .all("filter")
                    .all(|tag| tagged(tag) || info.get("pipeline_tag").is_some_and(|has| has == tag))
                && request.get("pipeline_tag").is_none_or(|tag| info.get("pipeline_tag").is_some_and(|has| has == tag))
        });
        let field = request.get("sort").unwrap_or("trendingScore");
        if !["downloads", "likes", "createdAt", "lastModified", "trendingScore"].contains(&field) {
            return Answer::refused(400, "", &format!("Invalid sort parameter: {field}"));
        }
        found.sort_by_key(|info| Reverse((info[field].as_u64(), info[field].as_str().map(str::to_owned))));
        let expand = request.all("expand").next().is_some();
        let full = request.get("full").is_some() || expand || kind == Kind::Dataset;
        let found = found.into_iter().map(|mut info| {
            // Only who asks for them gets these.
            let asked = |name: &str| request.all("expand").any(|has| has == name);
            for (name, by) in [("config", "config"), ("cardData", "cardData"), ("safetensors", "")] {
                if !asked(name) && (by.is_empty() || request.get(by).is_none()) {
                    info.remove(name);
                }
            }
            if !full {
                ["sha", "siblings", "lastModified", "author"].iter().for_each(|name| drop(info.remove(*name)));
            }
            Value::Object(expanded(info, request))
        });
        let found: Vec<Value> = found.collect();
        let limit = request.get("limit").and_then(|n| n.parse().ok()).unwrap_or(1000);
        self.paged(found, limit, state.page, request)
    }

    /// The files of a commit, with their hashes.
    pub fn tree(&self, repo: &Repo, revision: &str, folder: &str, request: &Request) -> Answer {
        let Some(commit) = repo.at(revision) else { return no_revision(revision) };
        let recursive = request.get("recursive").is_some_and(|all| all.eq_ignore_ascii_case("true"));
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut entries = Vec::<Value>::new();
        for (path, blob) in commit.files.iter().filter(|(path, _)| path.starts_with(&start)) {
            let parts: Vec<&str> = path[start.len()..].split('/').collect();
            let folders = (1..parts.len()).map(|n| format!("{start}{}", parts[..n].join("/")));
            for folder in folders.take(if recursive { usize::MAX } else { 1 }) {
                let entry = json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": folder});
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
            if recursive || parts.len() == 1 {
                let mut file = json!({"type": "file", "oid": blob.oid(), "size": blob.bytes.len(), "path": path});
                if blob.lfs {
                    file["lfs"] = json!({"oid": blob.sha256(), "size": blob.bytes.len(), "pointerSize": 134});
                }
                blob.xet.as_ref().into_iter().for_each(|hash| file["xetHash"] = json!(hash));
                entries.push(file);
            }
        }
        if entries.is_empty() && !folder.is_empty() {
            return Answer::refused(404, "EntryNotFound", &format!("{folder} does not exist on \"{revision}\""));
        }
        let page = self.state().page;
        self.paged(entries, 1000, page, request)
    }

    fn paged(&self, items: Vec<Value>, limit: usize, page: Option<usize>, request: &Request) -> Answer {
        let from: usize = request.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let size = limit.min(page.unwrap_or(1000));
        let part: Vec<&Value> = items.iter().skip(from).take(size).collect();
        let answer = Answer::json(&json!(part));
        if from + size >= items.len() {
            return answer;
        }
        let target = request.target.split("&cursor=").next().unwrap();
        let joint = if target.contains('?') { "&" } else { "?" };
        answer.with("link", &format!("<{}{target}{joint}cursor={}>; rel=\"next\"", self.endpoint, from + size))
    }
}
