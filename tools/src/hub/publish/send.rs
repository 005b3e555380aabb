//! Sending, by the Hub's own client, and looking at what arrived.

use std::{net::IpAddr, time::Duration};

use hf_hub::{
    HFClient, HFError, RepoType, RepoTypeDataset, RepoTypeModel,
    progress::{Progress, ProgressEvent, ProgressHandler, UploadEvent},
    repository::{AddSource, CommitInfo, CommitOperation},
};
use reqwest::{Url, redirect::Policy};
use serde::{Deserialize, Serialize};
use tunesmith_harness::text::visible;

use super::{Bytes, Outgoing, Parcel};
use crate::hub::{Hub, HubError, Kind, client::About};

/// Hears how many bytes were sent.
pub type Sent = Box<dyn Fn(u64) + Send + Sync>;

/// What is on the Hub now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its page.
    pub url: String,
    /// The commit.
    pub commit: String,
    /// Whether only its owner sees it; what was there before and private stays so.
    pub private: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    cas_url: String,
}

struct Watch(Sent);

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, .. }) = event {
            (self.0)(*bytes_completed);
        }
    }
}

impl Hub {
    /// Sends exactly what was shown, as one commit, and holds what arrived against it.
    pub async fn publish(&self, parcel: &Parcel, on: Sent) -> Result<Published, HubError> {
        let endpoint = self.client.name();
        if self.config.offline {
            return Err(HubError::Offline(format!(" for {}", parcel.to)));
        }
        if self.config.token.is_none() {
            return Err(HubError::NoToken(endpoint));
        }
        let client = self.writer()?;
        let (id, kind) = (parcel.to.id(), parcel.contents.kind());
        let private = Some(parcel.private);
        match kind {
            Kind::Model => {
                client
                    .create_repository()
                    .repo_id(&id)
                    .repo_type(RepoTypeModel)
                    .maybe_private(private)
                    .exist_ok(true)
                    .send()
                    .await
            }
            Kind::Dataset => {
                client
                    .create_repository()
                    .repo_id(&id)
                    .repo_type(RepoTypeDataset)
                    .maybe_private(private)
                    .exist_ok(true)
                    .send()
                    .await
            }
        }
        .map_err(|error| self.refused(error, kind, parcel))?;
        let (listed, head) = self.listed(kind, &parcel.to).await?;
        // It may have been there before.
        if parcel.private && listed.private != Some(true) {
            return Err(HubError::Public { id });
        }
        let prefix = if kind == Kind::Dataset { "datasets/" } else { "" };
        let url = format!("{endpoint}/{prefix}{id}");
        let private = listed.private.unwrap_or(parcel.private);
        // Whoever died after the last send finds it there.
        if self.differs(kind, parcel, &head).await?.is_none() {
            return Ok(Published { url, commit: head, private });
        }
        self.store(kind, parcel).await?;
        let (owner, name) = (parcel.to.owner.as_str(), parcel.to.name.as_str());
        let done = match kind {
            Kind::Model => commit(&client.model(owner, name), parcel, on).await,
            Kind::Dataset => commit(&client.dataset(owner, name), parcel, on).await,
        };
        let done = done.map_err(|error| self.refused(error, kind, parcel))?;
        let commit = done.commit_oid.filter(|oid| crate::hub::names::is_commit(oid));
        let commit = commit.ok_or_else(|| self.client.senseless("it names no commit"))?;
        match self.differs(kind, parcel, &commit).await? {
            Some(path) => Err(HubError::Changed { id, path }),
            None => Ok(Published { url, commit, private }),
        }
    }

    /// The Hub's own client. It follows no redirect, because a token must not go along.
    fn writer(&self) -> Result<HFClient, HubError> {
        let wrong = || HubError::Endpoint(self.config.endpoint.clone());
        let http = reqwest::Client::builder()
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            // A commit of many files takes the Hub a while.
            .read_timeout(Duration::from_secs(300))
            .build()
            .map_err(|_| wrong())?;
        HFClient::builder()
            .endpoint(&self.config.endpoint)
            .token(self.config.token.as_deref().unwrap_or_default())
            .cache_dir(&self.config.cache_dir)
            .client(http)
            .retry_max_attempts(3)
            .build()
            .map_err(|_| wrong())
    }

    /// Whether the Hub has a place for large files that may be trusted. Without one its client would put them into the
    /// commit itself; and a place on this machine is one only where the Hub is here too.
    async fn store(&self, kind: Kind, parcel: &Parcel) -> Result<(), HubError> {
        if !parcel.files.iter().any(|file| matches!(file.bytes, Bytes::File(_)) || large(&file.path)) {
            return Ok(());
        }
        let none = |why: &str| HubError::NoStore { endpoint: self.client.name(), why: why.into() };
        let (owner, name) = (&parcel.to.owner, &parcel.to.name);
        let url = self.client.url(&["api", kind.plural(), owner, name, "xet-write-token", "main"]);
        let store: Store = self.client.json(url, About::Repo(kind, &parcel.to)).await.map_err(|error| match error {
            HubError::NoRepo { .. } | HubError::NotFound(_) => none("stores no large files by Xet"),
            error => error,
        })?;
        let here = Url::parse(&self.config.endpoint).is_ok_and(|endpoint| is_here(&endpoint));
        match store.cas_url.split_once("://") {
            Some(("https", _)) => Ok(()),
            Some(("http" | "local", _)) if here => Ok(()),
            _ => Err(none("wants large files at a place that is not safe")),
        }
    }

    /// The first file of what was shown that a commit has not, or has otherwise.
    async fn differs(&self, kind: Kind, parcel: &Parcel, commit: &str) -> Result<Option<String>, HubError> {
        let there = self.files(kind, &parcel.to, commit).await?;
        let same = |file: &&Outgoing| {
            there.iter().find(|other| other.path == file.path).is_some_and(|other| match &other.sha256 {
                Some(sha256) => *sha256 == file.sha256,
                None => other.git.as_ref() == Some(&file.git),
            })
        };
        Ok(parcel.files.iter().find(|file| !same(file)).map(|file| file.path.clone()))
    }

    /// What a refusal to the Hub's own client means.
    fn refused(&self, error: HFError, kind: Kind, parcel: &Parcel) -> HubError {
        let endpoint = self.client.name();
        match error {
            HFError::AuthRequired { .. } => HubError::Unauthorized(endpoint),
            HFError::Forbidden { .. } => HubError::Forbidden(endpoint),
            HFError::RateLimited { retry_after, .. } => {
                HubError::RateLimited { endpoint, seconds: retry_after.map(|wait| wait.as_secs()) }
            }
            HFError::RepoNotFound { .. } => {
                HubError::NoRepo { endpoint, kind, id: parcel.to.id(), authenticated: true }
            }
            HFError::Request { source, .. } if source.is_connect() || source.is_timeout() => {
                HubError::Unreachable(endpoint)
            }
            HFError::Http { context } if context.status.is_server_error() => {
                HubError::Server { endpoint, status: context.status.as_u16() }
            }
            error => HubError::Other { endpoint, why: visible(&error.to_string()).chars().take(300).collect() },
        }
    }
}

async fn commit<T: RepoType>(repo: &hf_hub::HFRepository<T>, parcel: &Parcel, on: Sent) -> Result<CommitInfo, HFError> {
    let operations = parcel.files.iter().map(|file| CommitOperation::Add {
        path_in_repo: file.path.clone(),
        source: match &file.bytes {
            Bytes::Here(bytes) => AddSource::bytes(bytes.clone()),
            Bytes::File(path) => AddSource::file(path),
        },
    });
    let progress = Progress::new(Watch(on));
    let message = "Published by Tunesmith";
    repo.create_commit().operations(operations.collect()).commit_message(message).progress(progress).send().await
}

/// Files that the Hub keeps outside of git whatever their size.
fn large(path: &str) -> bool {
    [".safetensors", ".gguf", ".parquet"].iter().any(|end| path.ends_with(end))
}

/// Whether an address is of this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
