//! Files of rows that the user names: files, folders and patterns.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tunesmith_harness::rows::{Bad, Input, Reading, Source};

/// A path, and how the user writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called in results.
    pub name: String,
}

/// The files that these paths stand for.
pub(crate) fn source(named: &[Named], bad: Bad) -> anyhow::Result<Source> {
    let paths: Vec<PathBuf> = named.iter().map(|named| named.path.clone()).collect();
    Ok(Source::find(&paths, &Reading { bad, ..Reading::default() })?)
}

/// A file as the user would write it.
pub(crate) fn name(named: &[Named], input: &Input) -> String {
    let rest = |named: &Named| {
        let rest = input.path.strip_prefix(&named.path).ok()?;
        Some(if rest == Path::new("") {
            named.name.clone()
        } else {
            Path::new(&named.name).join(rest).display().to_string()
        })
    };
    named.iter().find_map(rest).unwrap_or_else(|| input.path.display().to_string())
}

/// A file's name wherever it lies: itself, or its place in the folder that was named.
pub(crate) fn short_name(named: &[Named], input: &Input) -> String {
    let within = |named: &Named| input.path.strip_prefix(named.path.parent()?).ok();
    let rest = named.iter().find_map(within).or_else(|| input.path.file_name().map(Path::new));
    rest.unwrap_or(&input.path).display().to_string()
}
