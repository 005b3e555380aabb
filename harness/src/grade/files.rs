//! Checks of the files that a run ships.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Artifact, Grade, GradeProgress, Submission, cases::Cases, less_is_better, measure::measure, shown};
use crate::{hash::sha256_file, model::Models};

/// The kind of an adapter.
pub(super) const ADAPTER: &str = "adapter";

/// The file that an adapter's directory is known by.
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// The file that a model's directory is known by.
const MODEL_WEIGHTS: &str = "model.safetensors";

/// The largest file that is read at all.
const MOST_BYTES: u64 = 32 << 30;

/// All files to check, not yet checked: those listed, and the adapter where the list lacks it.
pub(super) fn listed(s: &Submission) -> Vec<Artifact> {
    let unchecked = |path: &Path, kind: &str| Artifact {
        path: path.strip_prefix(&s.root).unwrap_or(path).display().to_string(),
        kind: kind.to_owned(),
        sha256: String::new(),
        bytes: 0,
        measured: None,
        failed: Some("not checked: grading ended before".to_owned()),
    };
    let mut list: Vec<Artifact> = s.artifacts.iter().map(|(path, kind)| unchecked(path, kind)).collect();
    if let Some(adapter) = &s.adapter
        && of_adapter(s, adapter) == list.len()
    {
        list.push(unchecked(adapter, ADAPTER));
    }
    list
}

/// The place of `adapter` in the list; one past the submitted files where they do not name it.
pub(super) fn of_adapter(s: &Submission, adapter: &Path) -> usize {
    let is_it = |(path, kind): &(PathBuf, String)| kind == ADAPTER && directory(path) == directory(adapter);
    s.artifacts.iter().position(is_it).unwrap_or(s.artifacts.len())
}

/// Checks the file at place `at` and scores it where it is a model of its own.
pub(super) fn check(
    grade: &mut Grade,
    at: usize,
    s: &Submission,
    cases: &Cases,
    models: &dyn Models,
    on: &mut dyn FnMut(GradeProgress),
) {
    let Some(path) = s.artifacts.get(at).map(|(path, _)| path).or(s.adapter.as_ref()) else { return };
    let artifact = &mut grade.artifacts[at];
    if let Some(why) = s.refused.get(path) {
        artifact.failed = Some(why.clone());
        return;
    }
    artifact.failed = examine(artifact, path, s, cases, models, on).err();
    if artifact.failed.is_none()
        && let (Some(file), Some(tuned)) = (&artifact.measured, &grade.tuned)
        && if less_is_better(&grade.metric) {
            file.interval.0 > tuned.interval.1
        } else {
            file.interval.1 < tuned.interval.0
        }
    {
        let (file, tuned) = (shown(&grade.metric, file.value), shown(&grade.metric, tuned.value));
        artifact.failed = Some(format!("the file reaches {file} where the tuned model has {tuned}"));
    }
}

fn examine(
    artifact: &mut Artifact,
    path: &Path,
    s: &Submission,
    cases: &Cases,
    models: &dyn Models,
    on: &mut dyn FnMut(GradeProgress),
) -> Result<(), String> {
    let weights = match artifact.kind.as_str() {
        ADAPTER if path.is_dir() => path.join(ADAPTER_WEIGHTS),
        "safetensors" if path.is_dir() => path.join(MODEL_WEIGHTS),
        _ => path.to_owned(),
    };
    (artifact.bytes, artifact.sha256) = hashed(&s.root, &weights).map_err(|e| e.to_string())?;
    let model = match artifact.kind.as_str() {
        ADAPTER => return models.check_adapter(&s.base, directory(path)).map_err(|e| e.to_string()),
        "safetensors" => directory(&weights),
        "gguf" => path,
        other => {
            return Err(format!(
                "the grader cannot check a file of kind {other:?}; ship gguf, safetensors or an adapter"
            ));
        }
    };
    let stage = artifact.path.clone();
    let scored = models
        .open(model, None)
        .and_then(|mut model| measure(&s.recipe, cases, model.as_mut(), &stage, on))
        .map_err(|error| error.to_string())?;
    artifact.measured = Some(scored.measured);
    Ok(())
}

/// The directory of an adapter that may be named by its directory or by its weights.
fn directory(path: &Path) -> &Path {
    match (path.extension().and_then(|e| e.to_str()), path.parent()) {
        (Some("safetensors"), Some(parent)) if !path.is_dir() => parent,
        _ => path,
    }
}

/// Size and SHA-256 of a regular file that is reached without a link.
fn hashed(root: &Path, path: &Path) -> io::Result<(u64, String)> {
    refuse_links(root, path)?;
    Ok((regular_size(path)?, sha256_file(path)?))
}

/// A run's own steps write these files, so a link could point at anything the grader can read.
fn refuse_links(root: &Path, path: &Path) -> io::Result<()> {
    let below = path.ancestors().take_while(|part| *part != root && !part.as_os_str().is_empty());
    let inside = path.starts_with(root);
    for part in below.take(if inside { usize::MAX } else { 1 }) {
        if fs::symlink_metadata(part)?.is_symlink() {
            return Err(io::Error::other(format!("{} is a link; ship the file itself", part.display())));
        }
    }
    Ok(())
}

fn regular_size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file; ship the file itself"));
    }
    match meta.len() {
        0 => Err(io::Error::other("the file is empty")),
        size if size > MOST_BYTES => Err(io::Error::other(format!("{size} bytes are more than the grader reads"))),
        size => Ok(size),
    }
}
