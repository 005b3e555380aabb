//! What an evaluation writes and reads again.

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use super::EvaluationError;
use crate::rows::not_a_file;

/// The largest file that is read, in bytes.
const MOST: u64 = 64 << 20;

pub(super) fn line(path: &Path, value: &impl Serialize) -> Result<String, EvaluationError> {
    let text = serde_json::to_string(value);
    text.map(|text| text + "\n").map_err(|error| EvaluationError::Place { path: path.into(), why: error.to_string() })
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EvaluationError> {
    let wrong = |why: String| EvaluationError::Place { path: path.into(), why };
    if let Some(what) = not_a_file(path) {
        return Err(wrong(format!("{what}, not a file")));
    }
    match fs::metadata(path).map(|meta| meta.len()) {
        Ok(bytes) if bytes > MOST => return Err(wrong("is too large".into())),
        _ => {}
    }
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => wrong("is not there; name the --out directory of `tunesmith eval --tasks`".into()),
        _ => wrong(error.to_string()),
    })?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("is damaged ({error}); name another --out")))
}
