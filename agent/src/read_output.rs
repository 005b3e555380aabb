//! `read_output`: the parts of an output that was too long to be shown whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::run::write_atomically;
use tunesmith_tools::{
    files::read_small,
    tool::{Cx, Tool, ToolError},
};

/// Bytes of the largest output that is read again.
const MOST: u64 = 64 << 20;

/// Where the whole texts are, outside of what jobs may write.
pub struct ReadOutput {
    /// Their directory.
    pub dir: PathBuf,
    /// Characters of one part.
    pub part: usize,
}

/// Reads on in an output that was shown cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Its step.
    pub step: u32,
    /// First character.
    #[serde(default)]
    pub offset: usize,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The text.
    pub text: String,
    /// Characters of the whole.
    pub characters: usize,
    /// Where to read on, or null at the end.
    pub next_offset: Option<usize>,
}

impl Tool for ReadOutput {
    const NAME: &'static str = "read_output";
    type Args = Args;
    type Output = Output;

    async fn call(&self, _: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let text = read_small(&place(&self.dir, args.step), MOST).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ToolError::Failed(format!("the output of step {} was shown whole", args.step)),
            _ => ToolError::Failed(format!("the output of step {} cannot be read: {error}", args.step)),
        })?;
        let characters = text.chars().count();
        let part: String = text.chars().skip(args.offset).take(self.part).collect();
        let next = args.offset.saturating_add(part.chars().count());
        let next_offset = (next < characters && !part.is_empty()).then_some(next);
        Ok(Output { text: part, characters, next_offset })
    }
}

/// Keeps the whole output of a step, as it may be shown.
pub fn keep(dir: &Path, step: u32, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    write_atomically(&place(dir, step), text.as_bytes()).map_err(io::Error::other)
}

/// Removes what was kept of a step that does not count any more.
pub fn forget(dir: &Path, step: u32) -> io::Result<()> {
    let removed = fs::remove_file(place(dir, step));
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn place(dir: &Path, step: u32) -> PathBuf {
    dir.join(format!("step-{step}.json"))
}
