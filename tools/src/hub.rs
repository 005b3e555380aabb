//! The Hugging Face Hub: finding models and data sets. The only place that speaks to it.

use std::{path::PathBuf, pin::pin};

use futures_util::{Stream, StreamExt};
use hf_hub::{HFClient, HFError};
use serde::{Deserialize, Serialize};
use tunesmith_harness::text::visible;
use tunesmith_lm::config::FAMILIES;

/// How the Hub is reached. Nothing is read from the environment here; the binary does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The server, for example `https://huggingface.co`.
    pub endpoint: String,
    /// The user's token; without one only public things are seen.
    pub token: Option<String>,
    /// Where downloaded files are kept.
    pub cache_dir: PathBuf,
}

/// A client of the Hub.
pub struct Hub {
    client: HFClient,
    endpoint: String,
    authenticated: bool,
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// A licence's tag, for example `apache-2.0`.
    pub licence: Option<String>,
    /// Most parameters of a model; models that do not state theirs are left out.
    pub max_parameters: Option<u64>,
    /// `downloads`, `likes`, `createdAt`, `lastModified` or `trendingScore`.
    pub sort: Option<String>,
    /// Most results.
    pub limit: usize,
}

/// One model or data set. What the Hub does not say is `None`, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// `owner/name`.
    pub id: String,
    /// Downloads in the last 30 days.
    pub downloads: Option<u64>,
    /// Likes.
    pub likes: Option<u64>,
    /// Licence tag.
    pub licence: Option<String>,
    /// Other tags, the first 20.
    pub tags: Vec<String>,
    /// Whether access must be asked for; `None` where the Hub does not say.
    pub gated: Option<bool>,
    /// Parameters of a model.
    pub parameters: Option<u64>,
    /// Whether a model can be trained here: its family is known and its weights are safetensors; `None` where the Hub does not
    /// say enough.
    #[serde(default)]
    pub trainable: Option<bool>,
}

/// Why the Hub gave no answer, in one line with what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// 401.
    #[error("the Hub at {0} asks for a valid token: set HF_TOKEN, or run without one for public things")]
    Unauthorized(String),
    /// 403.
    #[error(
        "the Hub at {0} refuses access with this token: accept the repository's terms, or use a token that may read it"
    )]
    Forbidden(String),
    /// 404.
    #[error("the Hub at {0} does not know this: check the name, and HF_ENDPOINT")]
    NotFound(String),
    /// 429.
    #[error("the Hub at {0} limits requests for now: wait some minutes, or set HF_TOKEN for a higher limit")]
    RateLimited(String),
    /// No answer.
    #[error("the Hub at {0} cannot be reached: check the network and HF_ENDPOINT, or work with local files")]
    Offline(String),
    /// An address that is none.
    #[error("{0:?} is not the address of a Hub: set HF_ENDPOINT to something like https://huggingface.co")]
    Endpoint(String),
    /// Everything else.
    #[error("the Hub at {endpoint} failed: {why}")]
    Other {
        /// The server.
        endpoint: String,
        /// What it said, on one line.
        why: String,
    },
}

/// The client looks into the environment when it is given no token. This one cannot be written into a header, so none
/// is sent.
const NO_TOKEN: &str = "\n";

/// Results to look at for one that is shown, when the client has to filter.
const LOOK_AT: usize = 500;

/// Tags shown.
const TAGS: usize = 20;

impl Hub {
    /// A client; nothing is sent yet.
    pub fn new(config: &HubConfig) -> Result<Self, HubError> {
        let client = HFClient::builder()
            .endpoint(&config.endpoint)
            .token(config.token.as_deref().unwrap_or(NO_TOKEN))
            .cache_dir(&config.cache_dir)
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            .retry_max_attempts(2)
            .build()
            .map_err(|_| HubError::Endpoint(config.endpoint.clone()))?;
        Ok(Hub { client, endpoint: config.endpoint.clone(), authenticated: config.token.is_some() })
    }

    /// Whether a token is sent.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Finds models that generate text.
    pub async fn search_models(&self, query: &str, filters: &Filters) -> Result<Vec<Hit>, HubError> {
        let stream = self
            .client
            .list_models()
            .search(query)
            .pipeline_tag("text-generation")
            .maybe_filter(filters.licence.as_ref().map(|licence| format!("license:{licence}")))
            .sort(filters.sort.as_deref().unwrap_or("downloads"))
            .full(true)
            .limit(if filters.max_parameters.is_some() { LOOK_AT } else { filters.limit })
            .send()
            .map_err(|error| self.error(error))?;
        self.collect(stream, filters, |model| Hit {
            id: model.id,
            downloads: model.downloads,
            likes: model.likes,
            licence: licence(model.tags.as_deref(), model.card_data.as_ref()),
            trainable: trainable(model.config.as_ref(), model.tags.as_deref(), model.safetensors.is_some()),
            tags: other_tags(model.tags),
            gated: model.gated.map(is_gated),
            parameters: model.safetensors.map(|s| s.total).filter(|total| *total > 0),
        })
        .await
    }

    /// Finds data sets.
    pub async fn search_datasets(&self, query: &str, filters: &Filters) -> Result<Vec<Hit>, HubError> {
        let stream = self
            .client
            .list_datasets()
            .search(query)
            .maybe_filter(filters.licence.as_ref().map(|licence| format!("license:{licence}")))
            .sort(filters.sort.as_deref().unwrap_or("downloads"))
            .full(true)
            .limit(filters.limit)
            .send()
            .map_err(|error| self.error(error))?;
        let filters = Filters { max_parameters: None, ..filters.clone() };
        self.collect(stream, &filters, |set| Hit {
            id: set.id,
            downloads: set.downloads,
            likes: set.likes,
            licence: licence(set.tags.as_deref(), set.card_data.as_ref()),
            tags: other_tags(set.tags),
            gated: set.gated.map(is_gated),
            parameters: None,
            trainable: None,
        })
        .await
    }

    async fn collect<T>(
        &self,
        stream: impl Stream<Item = Result<T, HFError>>,
        filters: &Filters,
        hit: impl Fn(T) -> Hit,
    ) -> Result<Vec<Hit>, HubError> {
        let mut stream = pin!(stream);
        let mut hits = Vec::new();
        while hits.len() < filters.limit
            && let Some(item) = stream.next().await
        {
            let found = hit(item.map_err(|error| self.error(error))?);
            if filters.max_parameters.is_none_or(|most| found.parameters.is_some_and(|n| n <= most)) {
                hits.push(found);
            }
        }
        Ok(hits)
    }

    fn error(&self, error: HFError) -> HubError {
        let endpoint = self.endpoint.clone();
        let status = match &error {
            HFError::Http { context } | HFError::AuthRequired { context } | HFError::Forbidden { context } => {
                context.status.as_u16()
            }
            HFError::RateLimited { .. } => 429,
            HFError::RepoNotFound { .. } | HFError::EntryNotFound { .. } | HFError::RevisionNotFound { .. } => 404,
            HFError::Request { source, .. } if source.is_connect() || source.is_timeout() => {
                return HubError::Offline(endpoint);
            }
            HFError::Url(_) => return HubError::Endpoint(endpoint),
            _ => 0,
        };
        match status {
            401 => HubError::Unauthorized(endpoint),
            403 => HubError::Forbidden(endpoint),
            404 => HubError::NotFound(endpoint),
            429 => HubError::RateLimited(endpoint),
            _ => HubError::Other { endpoint, why: visible(&error.to_string()).chars().take(300).collect() },
        }
    }
}

/// The licence as the card states it, else as the Hub's tag does.
fn licence(tags: Option<&[String]>, card: Option<&serde_json::Value>) -> Option<String> {
    let stated = card.and_then(|card| card.get("license")?.as_str()).map(String::from);
    stated.or_else(|| tags?.iter().find_map(|tag| tag.strip_prefix("license:")).map(String::from))
}

/// Whether a model's family is computed here and its weights are in a format that is read. The Hub names the family in
/// the config or among the tags.
fn trainable(config: Option<&serde_json::Value>, tags: Option<&[String]>, safetensors: bool) -> Option<bool> {
    let known = |name: &str| FAMILIES.iter().any(|family| family.model_type == name);
    let tag = |name: &str| tags.unwrap_or_default().iter().any(|tag| tag == name);
    let named = config.and_then(|config| config.get("model_type")?.as_str()).map(known);
    let family = named.or_else(|| FAMILIES.iter().any(|family| tag(family.model_type)).then_some(true))?;
    match family {
        false => Some(false),
        true => (safetensors || tag("safetensors")).then_some(true),
    }
}

fn other_tags(tags: Option<Vec<String>>) -> Vec<String> {
    tags.unwrap_or_default().into_iter().filter(|tag| !tag.starts_with("license:")).take(TAGS).collect()
}

/// The Hub writes `false`, or how access is granted.
fn is_gated(gated: serde_json::Value) -> bool {
    gated != serde_json::Value::Bool(false) && !gated.is_null()
}
