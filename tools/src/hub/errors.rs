//! Why the Hub gave no answer, each in one line with what to do.

use std::path::PathBuf;

use super::names::Kind;

/// Why something did not come from the Hub, or did not go there. Nothing is taken instead.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// 401 with a token.
    #[error(
        "the Hub at {0} does not know this token: set HF_TOKEN to a valid one, or run without one for public things"
    )]
    Unauthorized(String),
    /// 403.
    #[error("the Hub at {0} refuses this to your token: use a token with the right to it, see {0}/settings/tokens")]
    Forbidden(String),
    /// Access must be asked for.
    #[error("{id} is gated: accept its terms at {page}, then {}", if *.authenticated { "ask again with the token of that account" } else { "set HF_TOKEN to a token of that account" })]
    Gated {
        /// The repository.
        id: String,
        /// Where its terms are.
        page: String,
        /// Whether a token was sent.
        authenticated: bool,
    },
    /// There is no such repository, or nobody may know of it.
    #[error("the Hub at {endpoint} has no {} {id}, or it is private: check the name{}", .kind.word(), if *.authenticated { " and whether your token may read it" } else { ", or set HF_TOKEN if it is private" })]
    NoRepo {
        /// The server.
        endpoint: String,
        /// What was looked for.
        kind: Kind,
        /// The repository.
        id: String,
        /// Whether a token was sent.
        authenticated: bool,
    },
    /// There is no such branch, tag or commit.
    #[error(
        "{id} has no revision {revision}: leave out @{revision} for the newest, or name a branch, a tag or a commit"
    )]
    NoRevision {
        /// The repository.
        id: String,
        /// What was asked for.
        revision: String,
    },
    /// There is no such file.
    #[error("{id} has no file {path}: `tunesmith hub info {id}` lists them")]
    NoFile {
        /// The repository.
        id: String,
        /// What was asked for.
        path: String,
    },
    /// None of its files is wanted.
    #[error("{id} has nothing to download{}: name what you want with --file, or say --all", .found.as_ref().map_or_else(String::new, |found| format!(" ({found})")))]
    Nothing {
        /// The repository.
        id: String,
        /// A file that is left out, with the reason.
        found: Option<String>,
    },
    /// The repository has another name now.
    #[error("{old} is called {new} now: ask for {new} if that is the one you mean")]
    Renamed {
        /// What was asked for.
        old: String,
        /// What the Hub calls it.
        new: String,
    },
    /// 404 of something else.
    #[error("the Hub at {0} does not know this: check the name, and HF_ENDPOINT")]
    NotFound(String),
    /// 429.
    #[error("the Hub at {endpoint} limits requests for now: {}, or set HF_TOKEN for a higher limit", wait(*.seconds))]
    RateLimited {
        /// The server.
        endpoint: String,
        /// How long to wait, where the Hub says so.
        seconds: Option<u64>,
    },
    /// 5xx.
    #[error("the Hub at {endpoint} has a fault of its own (status {status}): try again later")]
    Server {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
    },
    /// No answer.
    #[error("the Hub at {0} cannot be reached: check the network and HF_ENDPOINT, or work with local files")]
    Unreachable(String),
    /// HF_HUB_OFFLINE is set.
    #[error("HF_HUB_OFFLINE forbids to ask the Hub{0}: unset it, or name a local file or directory")]
    Offline(String),
    /// A data set without rows to look at.
    #[error("there is no preview of {id}: {why}")]
    NoPreview {
        /// The data set.
        id: String,
        /// What the viewer said, and what to do.
        why: String,
    },
    /// An address that is none.
    #[error("{0:?} is not the address of a Hub: set HF_ENDPOINT to something like https://huggingface.co")]
    Endpoint(String),
    /// A token that no header can hold.
    #[error("the token holds characters that no token has: set HF_TOKEN anew")]
    Token,
    /// Something that is no id.
    #[error("{0:?} is not the name of something on the Hub: write OWNER/NAME or OWNER/NAME@REVISION")]
    Name(String),
    /// A file whose name would lead elsewhere.
    #[error("the Hub names a file {0:?}, which is no safe path: nothing was downloaded")]
    Path(String),
    /// An answer that is not what the Hub's interface says.
    #[error("the Hub at {endpoint} gave an answer that makes no sense ({why}): check HF_ENDPOINT")]
    Senseless {
        /// The server.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// Other bytes than the Hub's own hash says.
    #[error(
        "{path} came with other bytes than the Hub's hash says ({got} instead of {want}): it was removed; try again"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What the Hub says.
        want: String,
        /// What came.
        got: String,
    },
    /// The transfer broke again and again.
    #[error("the transfer of {path} broke off at {done} of {size} bytes: the same command goes on from there")]
    Cut {
        /// The file.
        path: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
    /// Not enough room.
    #[error("{} bytes are needed in {}, which has {} free: free some space or name another place", .need, .place.display(), .free)]
    NoSpace {
        /// Where.
        place: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        free: u64,
    },
    /// Another download was begun there, or something else stands there.
    #[error("{} holds something else already: remove it, or name another place", .0.display())]
    Occupied(PathBuf),
    /// Another process writes the same file.
    #[error("{}: another process is downloading this; wait for it", .0.display())]
    Busy(PathBuf),
    /// Publishing without a token.
    #[error("publishing needs a token with the right to write: set HF_TOKEN, see {0}/settings/tokens")]
    NoToken(String),
    /// Something private would become public.
    #[error("{id} is there already and public: say --public if everybody may see this, or name another repository")]
    Public {
        /// The repository.
        id: String,
    },
    /// Large files have no place there.
    #[error("the Hub at {endpoint} {why}: nothing was sent")]
    NoStore {
        /// The server.
        endpoint: String,
        /// Why not.
        why: String,
    },
    /// What the Hub holds now is not what was shown.
    #[error(
        "{path} is on the Hub with other bytes than were shown: it changed while it was sent; look at {id}, and publish again"
    )]
    Changed {
        /// The repository.
        id: String,
        /// The file.
        path: String,
    },
    /// A local file.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Everything else.
    #[error("the Hub at {endpoint} failed: {why}")]
    Other {
        /// The server.
        endpoint: String,
        /// What it said, on one line.
        why: String,
    },
}

impl HubError {
    /// A local file that could not be used.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> HubError {
        let path = path.into();
        |error| HubError::Io { path, error }
    }
}

fn wait(seconds: Option<u64>) -> String {
    match seconds {
        None => "wait some minutes".into(),
        Some(1) => "wait 1 second".into(),
        Some(seconds) => format!("wait {seconds} seconds"),
    }
}
