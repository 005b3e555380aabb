//! `read_file`: a part of a text file of the workdir.

use std::io::{Read, Seek, SeekFrom};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::text::visible_lines;

use crate::{
    files::{cut, existing, open_regular},
    tool::{Cx, Tool, ToolError},
};

/// See [`Args`].
pub struct ReadFile;

/// Reads a part of a text file in the workdir, or lists a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// File or directory; . is the workdir itself.
    pub path: String,
    /// First byte.
    #[serde(default)]
    pub offset: u64,
    /// Most bytes.
    #[serde(default = "four_thousand")]
    #[schemars(range(min = 1, max = 16000))]
    pub limit: u64,
}

fn four_thousand() -> u64 {
    4_000
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The text, with control characters written out and very long lines cut; of a directory, one name per line.
    pub text: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Where to read on, or null at the end.
    pub next_offset: Option<u64>,
}

/// Characters of the longest line that is shown whole.
const LINE: usize = 4_000;
/// Names listed of a directory.
const NAMES: usize = 500;

impl Tool for ReadFile {
    const NAME: &'static str = "read_file";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let path = existing(cx.dir, "/path", &args.path)?;
        let failed = |error: std::io::Error| ToolError::Failed(format!("{:?} cannot be read: {error}", args.path));
        let meta = std::fs::metadata(&path).map_err(failed)?;
        if meta.is_dir() {
            return list(&path).map_err(failed);
        }
        if !meta.is_file() {
            return Err(ToolError::Failed(format!("{:?} is neither a file nor a directory", args.path)));
        }
        read(&path, args.offset, args.limit, meta.len()).map_err(failed)
    }
}

fn read(path: &std::path::Path, offset: u64, limit: u64, bytes: u64) -> std::io::Result<Output> {
    let mut file = open_regular(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut part = Vec::new();
    file.take(limit).read_to_end(&mut part)?;
    let mut read = part.len();
    // A character that is cut at the end is left for the next part.
    if let Err(error) = std::str::from_utf8(&part)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        read = error.valid_up_to();
    }
    let text = String::from_utf8_lossy(&part[..read]).into_owned();
    let text = text.split('\n').map(|line| cut(line, LINE)).collect::<Vec<_>>().join("\n");
    let next = offset + read as u64;
    Ok(Output {
        text: visible_lines(&text).into_owned(),
        bytes,
        next_offset: (next < bytes && read > 0).then_some(next),
    })
}

fn list(path: &std::path::Path) -> std::io::Result<Output> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)?.take(NAMES) {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", tunesmith_harness::text::visible(&entry.file_name().to_string_lossy())));
    }
    names.sort();
    let text = names.join("\n");
    Ok(Output { bytes: text.len() as u64, text, next_offset: None })
}
