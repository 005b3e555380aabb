use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_tools::files::{existing, read_small};
use tunesmith_tools::tool::{Cx, Tool, ToolError};

pub struct CountLines;

/// Counts the lines of a text file in the workdir.
#[derive(Deserialize, JsonSchema)]
pub struct Args {
    /// Path in the workdir.
    file: String,
}

#[derive(Serialize, Deserialize)]
pub struct Output {
    lines: usize,
}

impl Tool for CountLines {
    const NAME: &'static str = "count_lines";
    type Args = Args;
    type Output = Output;
    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let path = existing(cx.dir, "/file", &args.file)?;
        let text = read_small(&path, 1 << 20).map_err(|error| ToolError::Failed(error.to_string()))?;
        Ok(Output { lines: text.lines().count() })
    }
}
