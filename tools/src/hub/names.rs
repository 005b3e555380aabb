//! Names of repositories and of files in them. What the Hub says is not trusted to be a safe path.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use tunesmith_harness::text::visible;

use super::HubError;

/// Kinds of repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// The word in addresses of the interface.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Dataset => "data set",
        }
    }
}

/// A repository at a revision: `owner/name` or `owner/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct RepoId {
    /// The user or organisation.
    pub owner: String,
    /// The name.
    pub name: String,
    /// A branch, a tag or a commit; `None` is `main`.
    pub revision: Option<String>,
}

impl RepoId {
    /// `owner/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The revision that is meant.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            None => write!(f, "{}/{}", self.owner, self.name),
            Some(revision) => write!(f, "{}/{}@{revision}", self.owner, self.name),
        }
    }
}

impl From<RepoId> for String {
    fn from(id: RepoId) -> String {
        id.to_string()
    }
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name(text.to_owned());
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = id.split_once('/').ok_or_else(wrong)?;
        let usable = is_part(owner) && is_part(name) && revision.is_none_or(is_revision);
        let revision = revision.map(str::to_owned);
        usable.then(|| RepoId { owner: owner.into(), name: name.into(), revision }).ok_or_else(wrong)
    }
}

/// Longest part of an id.
const LONGEST: usize = 96;

/// The Hub's own rule for names.
fn is_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = text.starts_with(['.', '-']) || text.ends_with(['.', '-']);
    let doubled = text.contains("..") || text.contains("--");
    (1..=LONGEST).contains(&text.len()) && text.chars().all(plain) && !ends && !doubled
}

/// A name that git allows, as far as a path can be made of it.
pub fn is_revision(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"\\:?*[~^".contains(c);
    let parts = text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    (1..=255).contains(&text.len()) && text.chars().all(plain) && parts && !text.contains("..")
}

/// Whether this is the name of a commit.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether this is a SHA-256 in hex.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A file's path as the Hub names it, where it stays inside of the directory that it is put into.
pub fn inside(path: &str) -> Result<PathBuf, HubError> {
    let refused = || HubError::Path(path.chars().take(200).collect());
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => (1..=255).contains(&name.len()),
        _ => false,
    };
    // A name that is shown in another way than it is could pass for another.
    let plain = !path.contains(['\t', '\\', ':']) && visible(path) == path;
    // `components` drops a dot and doubled slashes, which would be two names of one file.
    let whole = path.split('/').all(|part| !part.is_empty() && part != "." && part != ".git");
    let found = Path::new(path);
    let usable = plain && whole && path.len() <= 1024 && found.components().all(part);
    usable.then(|| found.to_owned()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_hub_says_a_path_stays_inside_and_an_id_stays_itself(text in "[a-z./\\\\@:\u{0}\u{1b}~-]{0,12}|.{0,40}") {
            if let Ok(path) = inside(&text) {
                prop_assert_eq!(Path::new("/dir").join(&path), PathBuf::from(format!("/dir/{text}")));
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            }
            if let Ok(id) = text.parse::<RepoId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn an_id_is_an_owner_a_name_and_perhaps_a_revision() {
        let id: RepoId = "HuggingFaceTB/SmolLM2-135M@refs/pr/1".parse().unwrap();
        assert_eq!((id.id().as_str(), id.revision()), ("HuggingFaceTB/SmolLM2-135M", "refs/pr/1"));
        assert_eq!(id.to_string(), "HuggingFaceTB/SmolLM2-135M@refs/pr/1");
        let id: RepoId = "a/b".parse().unwrap();
        assert_eq!((id.to_string().as_str(), id.revision()), ("a/b", "main"));
        let long = format!("a/{}", "b".repeat(97));
        for wrong in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@..",
            "a/b@x y",
            "a/b@/x",
            "a/b\u{1b}",
            "-a/b",
            &long,
        ] {
            assert!(wrong.parse::<RepoId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_of_the_hubs_stays_inside() {
        for good in ["config.json", "data/train-00000-of-00001.parquet", "größe.txt", ".gitattributes", "a..b"] {
            assert_eq!(inside(good).unwrap(), Path::new(good));
        }
        let (long, deep) = ("a".repeat(256), "a/".repeat(600) + "a");
        for bad in [
            "",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/./b",
            "a\\b",
            "c:/x",
            "a\nb",
            "a\tb",
            "a\u{0}",
            "a\u{202e}b",
            "a/",
            ".git/config",
            &long,
            &deep,
        ] {
            assert!(inside(bad).is_err(), "{bad:?}");
        }
    }
}
