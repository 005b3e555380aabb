//! Whether a replay gave what its manifest says.

use std::path::Path;

use serde::Serialize;
use tunesmith_tools::{
    data_prepare::manifest::{MANIFEST, Manifest},
    files::read_json,
};

use crate::run::Failure;

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Replayed {
    /// The same recipe on the same bytes gave the same bytes.
    Same,
    /// The recipe, the inputs, the base or the version are others, so nothing can be said.
    Changed,
    /// The same recipe on the same bytes gave other bytes.
    Differs,
}

impl Replayed {
    /// In a line for people.
    pub fn words(self) -> &'static str {
        match self {
            Replayed::Same => "replayed: the same bytes as in the manifest",
            Replayed::Changed => {
                "replayed on other inputs, or with another recipe, base or version than in the manifest"
            }
            Replayed::Differs => "replayed: other bytes than in the manifest, from the same inputs; this is a defect",
        }
    }
}

/// Holds a new preparation against the manifest that it was made from.
pub(super) fn compare(before: &Manifest, made: &Path) -> Result<Replayed, Failure> {
    let now: Manifest = read_json(&made.join(MANIFEST)).map_err(|error| Failure::new(70, error))?;
    let given = |manifest: &Manifest| {
        let Manifest { tunesmith, recipe, inputs, against, base, .. } = manifest.clone();
        (tunesmith, recipe, inputs, against, base)
    };
    Ok(match () {
        () if given(&now) != given(before) => Replayed::Changed,
        () if now.outputs == before.outputs => Replayed::Same,
        () => Replayed::Differs,
    })
}
