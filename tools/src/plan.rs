//! `plan`: says what the run will do. The first plan freezes the scope.

use std::io::{BufRead, BufReader, Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{recipe::Row, task::JobKind};

use crate::{
    data_inspect::DATA,
    files::open_regular,
    tool::{Cx, FieldError, Tool, ToolError},
};

/// See [`Args`].
pub struct Plan;

/// Fixes what the run will do: the kind of job, the columns, the method and the metric. Call it once, after looking at
/// the data and before preparing it; later changes need the user's permission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// classification: one label of a closed set per row; extraction: a JSON object; generation: any text; pretraining: raw
    /// text, input and target are its column.
    pub kind: Kind,
    /// Column that holds the input.
    pub input: String,
    /// Column that holds the answer.
    pub target: String,
    /// Generation: only what follows the last occurrence of this marker is compared, for example ####.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub answer_after: Option<String>,
    /// Base model; leave it out, because it is the one of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Training method.
    #[serde(default)]
    pub method: Method,
    /// Longest example in tokens, prompt and answer together, at most.
    pub max_length: usize,
    /// Headline metric: accuracy for classification, bits_per_byte for pretraining, else exact_match.
    pub metric: String,
    /// The steps to take, in a few words each.
    #[serde(default)]
    pub steps: Vec<String>,
    /// Why this fits the request and the data.
    pub why: String,
    /// Only when the plan is changed: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The kind of job, as planners name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Classification,
    Extraction,
    Generation,
    Pretraining,
}

impl From<Kind> for JobKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classification => JobKind::Classification,
            Kind::Extraction => JobKind::Extraction,
            Kind::Generation => JobKind::Generation,
            Kind::Pretraining => JobKind::Pretraining,
        }
    }
}

impl From<JobKind> for Kind {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Classification => Kind::Classification,
            JobKind::Extraction => Kind::Extraction,
            JobKind::Generation => Kind::Generation,
            JobKind::Pretraining => Kind::Pretraining,
        }
    }
}

/// How a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Lora,
}

/// Lines of the data that are looked at for column names.
const LOOK_AT: usize = 200;
/// Bytes of the data that are looked at, whatever a job made of its lines.
const LOOK_AT_BYTES: u64 = 64 << 20;

impl Tool for Plan {
    const NAME: &'static str = "plan";
    type Args = Args;
    type Output = Args;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Args, ToolError> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: &str, message: String| errors.push(FieldError { pointer: pointer.into(), message });
        let fitting = JobKind::from(args.kind).metric();
        if args.metric != fitting {
            wrong("/metric", format!("must be {fitting} for this kind of job"));
        }
        match (args.kind == Kind::Pretraining, args.input == args.target) {
            (false, true) => wrong("/target", "must be another column than the input".into()),
            (true, false) => wrong("/target", "must be the input's column: raw text is read as it stands".into()),
            _ => {}
        }
        if args.answer_after.is_some() && args.kind != Kind::Generation {
            wrong("/answer_after", "is for generation only; leave it out".into());
        }
        if let Some(columns) = columns(cx) {
            for (pointer, column) in [("/input", &args.input), ("/target", &args.target)] {
                if !columns.contains(column) {
                    wrong(pointer, format!("the data has no column {column:?}; it has {}", columns.join(", ")));
                }
            }
        }
        if errors.is_empty() { Ok(args) } else { Err(ToolError::Invalid(errors)) }
    }
}

/// The columns of the open rows; `None` where the file is not the run's own.
fn columns(cx: &Cx<'_>) -> Option<Vec<String>> {
    let file = open_regular(&cx.dir.join(DATA).ok()?).ok()?.take(LOOK_AT_BYTES);
    let mut columns: Vec<String> = Vec::new();
    for line in BufReader::new(file).lines().take(LOOK_AT) {
        let row: Row = serde_json::from_str(&line.ok()?).ok()?;
        for column in row.keys() {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
    }
    Some(columns)
}
