//! The Hugging Face Hub. The only place that speaks to it.
//!
//! | module | answers |
//! |---|---|
//! | [`search`] | which models and data sets there are |
//! | [`info`] | what is in one, and whether it can be trained here |
//! | [`preview`] | how the rows of a data set look |
//! | [`download`] | its files, whole and as the Hub names them |
//! | [`publish`], [`card`] | what is sent, and what is said of it |
//! | [`licence`] | what may be done with it |
//! | [`names`] | which names are safe to use |
//! | [`errors`] | why not |
//!
//! Reading goes over the Hub's HTTP interface, because a download must be resumed and held against its hash, a renamed
//! repository must be told from the one that was named, and a token must never follow a redirect. Writing goes through
//! the Hub's own client, which brings its storage protocol.

use std::path::PathBuf;

pub use errors::HubError;
pub use names::{Kind, RepoId};
pub use search::{Filters, Found, Hit};

pub mod card;
mod client;
pub mod download;
pub mod errors;
pub mod info;
pub mod licence;
pub mod names;
pub mod preview;
pub mod publish;
pub mod search;
mod transfer;

/// How the Hub is reached. Nothing is read from the environment here; the binary does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The server, for example `https://huggingface.co`.
    pub endpoint: String,
    /// The user's token; without one only public things are seen. It goes to the endpoint and nowhere else.
    pub token: Option<String>,
    /// Where downloaded files are kept.
    pub cache_dir: PathBuf,
    /// The data-set viewer; `None` derives it from the endpoint.
    pub viewer: Option<String>,
    /// Whether only what is in the cache may be used.
    pub offline: bool,
}

/// A client of the Hub.
pub struct Hub {
    client: client::Client,
    config: HubConfig,
}

impl Hub {
    /// A client; nothing is sent yet.
    pub fn new(config: &HubConfig) -> Result<Self, HubError> {
        Ok(Hub { client: client::Client::new(config)?, config: config.clone() })
    }

    /// Whether a token is sent.
    pub fn is_authenticated(&self) -> bool {
        self.config.token.is_some()
    }

    /// Whether only what is in the cache may be used.
    pub fn is_offline(&self) -> bool {
        self.config.offline
    }
}
