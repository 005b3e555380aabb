//! `finish`: hands in the result. What is claimed to exist is looked for.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    hash::sha256_file,
    score::{Score, Verdict},
    text::visible,
};
use tunesmith_sandbox::Workdir;

use crate::{
    files::{inside, open_regular, score},
    tool::{Cx, FieldError, Tool, ToolError},
};

/// See [`Args`].
pub struct Finish;

/// Ends the run and hands in the result; a separate grader then scores it on rows that nobody has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// What was done, what was reached and what was not.
    #[schemars(length(min = 1, max = 4000))]
    pub summary: String,
    /// The best adapter's directory; leave it out where training failed or made no sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Files to ship, as convert returned them.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// Numbers that the summary states, with the step that measured them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
}

/// What is handed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The planner's words.
    pub summary: String,
    /// The adapter's directory.
    pub adapter: Option<String>,
    /// Files to ship.
    pub artifacts: Vec<File>,
    /// The planner's claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
}

/// One file to ship.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Path relative to the workdir.
    pub path: String,
    /// `gguf`, `safetensors`, `adapter` or `other`, which the grader lets fail because it cannot check it.
    pub kind: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of a file's bytes; null for a directory.
    pub sha256: Option<String>,
}

impl Tool for Finish {
    const NAME: &'static str = "finish";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let mut errors = Vec::new();
        if let Some(adapter) = &args.adapter
            && let Err(message) = check_adapter(cx.dir, adapter)
        {
            errors.push(FieldError { pointer: "/adapter".into(), message });
        }
        let mut artifacts: Vec<File> = Vec::new();
        for (at, path) in args.artifacts.iter().enumerate() {
            match file(cx.dir, path) {
                Ok(file) if artifacts.iter().any(|other| other.path == file.path) => {}
                Ok(file) => artifacts.push(file),
                Err(message) => errors.push(FieldError { pointer: format!("/artifacts/{at}"), message }),
            }
        }
        if !errors.is_empty() {
            return Err(ToolError::Invalid(errors));
        }
        Ok(Output { summary: args.summary, adapter: args.adapter, artifacts, claims: args.claims })
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        if let Err(why) = output.artifacts.iter().try_for_each(|file| still(dir, file)) {
            return vec![score("finish.files", None, Verdict::Fail, why)];
        }
        let (verdict, why) = match (&output.adapter, output.artifacts.len()) {
            (None, 0) => (Verdict::Warn, "nothing is handed in".to_owned()),
            (None, n) => (Verdict::Warn, format!("{n} files, but no adapter, so there is no gain to measure")),
            (Some(adapter), n) => (Verdict::Pass, format!("{adapter} and {n} files are there")),
        };
        vec![score("finish.files", None, verdict, why)]
    }
}

/// Whether what is handed in is there, and a file is a regular one of the size that was hashed.
fn still(dir: &Workdir, file: &File) -> Result<(), String> {
    let path = dir.join(&file.path).map_err(|error| error.to_string())?;
    if file.sha256.is_none() {
        return if path.is_dir() { Ok(()) } else { Err(format!("{} is not there", visible(&file.path))) };
    }
    let found = open_regular(&path).and_then(|file| file.metadata()).map(|meta| meta.len());
    match found {
        Ok(bytes) if bytes == file.bytes => Ok(()),
        Ok(bytes) => Err(format!("{} has {bytes} bytes, not {}", visible(&file.path), file.bytes)),
        Err(_) => Err(format!("{} is not there as a regular file", visible(&file.path))),
    }
}

fn check_adapter(dir: &Workdir, path: &str) -> Result<(), String> {
    let folder = inside(dir, "", path).map_err(|error| error.to_string())?;
    let missing =
        ["adapter_config.json", "adapter_model.safetensors"].into_iter().find(|file| !folder.join(file).is_file());
    missing.map_or(Ok(()), |file| Err(format!("{path:?} has no {file}; name a directory that train returned")))
}

fn file(dir: &Workdir, path: &str) -> Result<File, String> {
    let absolute = dir.join(path).map_err(|error| error.to_string())?;
    let meta = std::fs::metadata(&absolute)
        .map_err(|_| format!("there is no {path:?} in the workdir; make it first, or leave it out"))?;
    let kind = match () {
        () if absolute.extension().is_some_and(|e| e == "gguf") && meta.is_file() => "gguf",
        () if absolute.join("model.safetensors").is_file() => "safetensors",
        () if absolute.join("adapter_model.safetensors").is_file() => "adapter",
        () => "other",
    };
    let (bytes, sha256) = if meta.is_dir() {
        (folder_bytes(&absolute).map_err(|e| format!("{path:?} cannot be read: {e}"))?, None)
    } else {
        (
            meta.len(),
            Some(
                open_regular(&absolute)
                    .and_then(|_| sha256_file(&absolute))
                    .map_err(|e| format!("{path:?} cannot be read: {e}"))?,
            ),
        )
    };
    Ok(File { path: path.to_owned(), kind: kind.to_owned(), bytes, sha256 })
}

fn folder_bytes(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let meta = entry?.metadata()?;
        bytes += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_handed_in_must_still_be_there_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let dir = Workdir::open(root.path()).unwrap();
        let path = root.path().join("model.gguf");
        std::fs::write(&path, "12345").unwrap();
        let output = Output {
            summary: "done".into(),
            adapter: Some("train-1".into()),
            artifacts: vec![file(&dir, "model.gguf").unwrap()],
            claims: Vec::new(),
        };
        let told = || {
            let scores = Finish.scores(&output, &dir).into_iter();
            scores.map(|score| (score.verdict, score.why)).collect::<Vec<_>>()
        };
        assert_eq!(told(), [(Verdict::Pass, "train-1 and 1 files are there".to_owned())]);
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(told(), [(Verdict::Fail, "model.gguf has 4 bytes, not 5".to_owned())]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(), [(Verdict::Fail, "model.gguf is not there as a regular file".to_owned())]);
    }
}
