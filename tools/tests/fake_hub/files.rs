//! The bytes of files: small ones from the Hub itself, large ones from where it sends people.

use super::{
    Shared,
    http::{Answer, Request},
    owns,
    store::{Kind, Repo},
};

impl Shared {
    /// One file at a revision.
    pub fn resolve(
        &self,
        kind: Kind,
        id: &str,
        revision: &str,
        path: &str,
        request: &Request,
        user: Option<&str>,
    ) -> Answer {
        if let Some(new) = self.state().renamed.get(&(kind, id.to_owned())) {
            return Answer::new(307, Vec::new()).with("location", &request.target.replacen(id, new, 1));
        }
        let repo = match self.visible(kind, id, user) {
            Ok(repo) => repo,
            Err(refusal) => return refusal,
        };
        if let Some(refusal) = locked(&repo, user) {
            return refusal;
        }
        let Some(commit) = repo.at(revision) else {
            return Answer::refused(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
        };
        let Some(blob) = commit.files.get(path) else {
            return Answer::refused(404, "EntryNotFound", "Entry not found").with("x-repo-commit", &commit.sha);
        };
        if !blob.lfs {
            return ranged(&blob.bytes, request)
                .with("etag", &format!("\"{}\"", blob.oid()))
                .with("x-repo-commit", &commit.sha);
        }
        let to = format!("{}/large/{}?Expires=1&Signature=x", self.other, blob.sha256());
        let answer = Answer::new(302, b"Found. Redirecting".to_vec()).with("location", &to);
        let answer = answer.with("x-linked-etag", &format!("\"{}\"", blob.sha256()));
        let answer = answer.with("x-linked-size", &blob.bytes.len().to_string()).with("x-repo-commit", &commit.sha);
        let plural = if kind == Kind::Model { "models" } else { "datasets" };
        let refresh = format!("{}/api/{plural}/{id}/xet-read-token/{}", self.endpoint, commit.sha);
        match &blob.xet {
            None => answer,
            Some(hash) => answer.with("x-xet-hash", hash).with("link", &format!("<{refresh}>; rel=\"xet-auth\"")),
        }
    }

    /// A large file by its hash; whoever has the address may fetch it.
    pub fn large(&self, request: &Request) -> Answer {
        let hash = request.path.last().cloned().unwrap_or_default();
        let state = self.state();
        let mut blobs = state.repos.values().flat_map(|repo| &repo.commits).flat_map(|commit| commit.files.values());
        match blobs.find(|blob| blob.lfs && blob.sha256() == hash) {
            Some(blob) => ranged(&blob.bytes, request).with("etag", &format!("\"{hash}\"")),
            None => Answer::refused(403, "", "SignatureDoesNotMatch"),
        }
    }
}

fn locked(repo: &Repo, user: Option<&str>) -> Option<Answer> {
    let inside = owns(repo.owner(), user) || user.is_some_and(|user| repo.readers.contains(user));
    let message =
        format!("Access to {} {} is restricted. You must have access to it and be authenticated.", "model", repo.id);
    (repo.gated.is_some() && !inside).then(|| match user {
        None => Answer::refused(401, "GatedRepo", &message),
        Some(_) => Answer::refused(403, "GatedRepo", &format!("{message} Visit the page to ask for access.")),
    })
}

/// All of it, or the part that was asked for.
fn ranged(bytes: &[u8], request: &Request) -> Answer {
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let answer = match range.and_then(|range| range.split_once('-')) {
        None => Answer::new(200, bytes.to_vec()),
        Some((from, to)) => {
            let from: usize = from.parse().unwrap_or(0);
            let to = to.parse().unwrap_or(usize::MAX).min(bytes.len().saturating_sub(1));
            if from >= bytes.len() {
                return Answer::new(416, Vec::new()).with("content-range", &format!("bytes */{}", bytes.len()));
            }
            let shown = format!("bytes {from}-{to}/{}", bytes.len());
            Answer::new(206, bytes[from..=to].to_vec()).with("content-range", &shown)
        }
    };
    answer.with("accept-ranges", "bytes").with("content-type", "application/octet-stream")
}
