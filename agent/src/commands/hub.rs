//! `tunesmith hub`: finding, looking at, downloading and publishing models and data sets.

use std::{fmt::Display, future::Future};

use tunesmith_harness::text::visible;
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{HubError, Kind, RepoId, licence::Terms};

use super::stop::CANCELLED;
use crate::run::Failure;

mod bar;
pub mod download;
mod info;
mod preview;
pub mod publish;
mod search;

/// Models and data sets of the Hugging Face Hub (HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HUB_OFFLINE are honoured)
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Hub {
    /// Find models that generate text, or data sets
    Search(search::Args),
    /// What is in a model or data set, its licence, and whether it can be trained here
    Info(info::Args),
    /// The first rows of a data set, without downloading it
    Preview(preview::Args),
    /// Download a model or data set at one commit, and check every file
    Download(download::Args),
    /// Publish an adapter, a model or rows, with a card, private unless you say otherwise
    Publish(publish::Args),
}

/// Does it; `Ok` holds the exit code.
pub async fn main(hub: Hub, cancel: &Cancel) -> Result<u8, Failure> {
    match hub {
        Hub::Search(args) => search::main(args, cancel).await,
        Hub::Info(args) => info::main(args, cancel).await,
        Hub::Preview(args) => preview::main(args, cancel).await,
        Hub::Download(args) => download::main(args, cancel).await,
        Hub::Publish(args) => publish::main(args, cancel).await,
    }
}

/// What to exit with, and what to say.
pub fn failure(error: HubError) -> Failure {
    let exit = match error {
        HubError::Name(_)
        | HubError::NoFile { .. }
        | HubError::NoRevision { .. }
        | HubError::Nothing { .. }
        | HubError::Occupied(_) => 2,
        _ => 5,
    };
    Failure::new(exit, error)
}

/// Waits for the Hub, or for the user to cancel, which is `None`.
pub async fn unless_cancelled<T>(
    work: impl Future<Output = Result<T, HubError>>,
    cancel: &Cancel,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        done = work => done.map(Some).map_err(failure),
        () = cancel.cancelled() => Ok(None),
    }
}

/// A name on the command line.
fn repo(text: &str) -> Result<RepoId, String> {
    text.parse().map_err(|error: HubError| error.to_string())
}

fn kind(dataset: bool) -> Kind {
    if dataset { Kind::Dataset } else { Kind::Model }
}

/// Characters of a line.
const WIDTH: usize = 110;

/// A name and its value, values below each other; long ones go on in the next line.
fn fact(name: &str, value: impl Display) -> String {
    let (mut text, mut width) = (format!("{name:<12}"), 12);
    for word in visible(&value.to_string()).split(' ') {
        let length = word.chars().count();
        if width > 12 && width + 1 + length > WIDTH {
            text = format!("{}\n{:12}", text.trim_end(), "");
            width = 12;
        }
        text += " ";
        text += word;
        width += 1 + length;
    }
    text
}

/// A licence and what it means.
pub fn terms(terms: &Terms) -> String {
    match &terms.licence {
        Some(licence) => format!("{licence} ({})", terms.class.words()),
        None => terms.class.words().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_goes_on_below_itself() {
        assert_eq!(fact("licence", "mit"), "licence      mit");
        let long = ["word"; 30].join(" ");
        let lines: Vec<String> = fact("why", long).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [format!("why          {}", ["word"; 19].join(" ")), format!("{:13}{}", "", ["word"; 11].join(" "))]
        );
    }
}
