//! `data_inspect`: what is in a file of rows, and what it could be used for.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    recipe::Row,
    rows::{self, Table},
    score::{Score, Verdict},
    task::JobKind,
};
use tunesmith_sandbox::Workdir;

use crate::{
    files::{cut, existing, score, typed},
    tool::{Cx, Tool, ToolError},
    worker::{Live, Work, run_work},
};

mod propose;

/// Where the open rows of a run are.
pub const DATA: &str = "data/train.jsonl";

/// See [`Args`].
pub struct DataInspect;

/// Looks at the rows: columns, empty cells, duplicates, lengths and label balance, and proposes how to use them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// File in the workdir.
    #[serde(default = "data")]
    pub file: String,
}

/// The default of arguments that name the data.
pub fn data() -> String {
    DATA.to_owned()
}

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Rows.
    pub rows: usize,
    /// Rows that repeat an earlier one in every column.
    pub duplicates: usize,
    /// The columns, in the file's order.
    pub columns: Vec<Column>,
    /// How the rows could be used.
    pub proposal: Option<Proposal>,
    /// Why there is no proposal, or what needs attention.
    pub note: Option<String>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells hold.
    pub cells: Cells,
    /// Cells that are missing, null or blank.
    pub missing: usize,
    /// Different values.
    pub distinct: usize,
    /// Characters of a cell: least, median, 95th percentile, most.
    pub lengths: [usize; 4],
    /// The most frequent values, where they are few enough to be labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelCount>,
    /// The first different values, cut.
    pub examples: Vec<String>,
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cells {
    /// Nothing.
    Empty,
    /// Numbers.
    Number,
    /// True and false.
    Boolean,
    /// JSON objects or arrays, as such or as text.
    Json,
    /// Anything else.
    Text,
}

/// How often a value occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// The value.
    pub label: String,
    /// Its rows.
    pub rows: usize,
}

/// How rows could be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The kind of job.
    pub kind: JobKind,
    /// The input column.
    pub input: String,
    /// The answer's column.
    pub target: String,
    /// Only what follows this marker is the answer.
    pub answer_after: Option<String>,
    /// The headline metric.
    pub metric: String,
    /// Why.
    pub why: String,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The file.
    pub file: PathBuf,
}

/// Values up to which a column is described by its most frequent ones.
const MOST_LABELS: usize = 1_000;
/// Of these, how many are shown.
const SHOWN_LABELS: usize = 30;
/// Example values, and the characters of one.
const EXAMPLES: (usize, usize) = (3, 160);

impl Tool for DataInspect {
    const NAME: &'static str = "data_inspect";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let work = Work::Inspect(Job { file: existing(cx.dir, "/file", &args.file)? });
        typed(run_work(cx.jobs, cx.dir, &work, Vec::new(), (cx.deadline, &cx.cancel), cx.on).await?)
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let (verdict, why) = match &output.proposal {
            Some(proposal) => (Verdict::Pass, proposal.why.clone()),
            None => (Verdict::Fail, output.note.clone().unwrap_or_else(|| "no use of these rows is known".into())),
        };
        let share = output.duplicates as f64 / output.rows.max(1) as f64;
        let repeats = if share > 0.1 { Verdict::Warn } else { Verdict::Pass };
        vec![
            score("data.usable", None, verdict, why),
            score(
                "data.duplicates",
                Some(share),
                repeats,
                format!("{} of {} rows repeat another", output.duplicates, output.rows),
            ),
        ]
    }
}

impl Job {
    /// Looks at the file.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        let table = rows::read(&self.file)?;
        live.note("read", table.note.clone());
        Ok(inspect(&table))
    }
}

/// Looks at a table.
pub fn inspect(table: &Table) -> Output {
    let columns: Vec<Column> = table.columns.iter().map(|name| column(name, &table.rows)).collect();
    let mut seen = std::collections::BTreeSet::new();
    let duplicates = table.rows.iter().filter(|row| !seen.insert(Value::Object((*row).clone()).to_string())).count();
    let (proposal, note) = match propose::propose(&columns, &table.rows) {
        Ok((proposal, note)) => (Some(proposal), note),
        Err(why) => (None, Some(why)),
    };
    Output { rows: table.rows.len(), duplicates, columns, proposal, note }
}

/// A cell as text, or `None` where it is empty; as [`tunesmith_harness::recipe::Recipe`] reads it.
fn text(row: &Row, column: &str) -> Option<String> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

fn column(name: &str, rows: &[Row]) -> Column {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut lengths = Vec::new();
    let (mut json, mut number, mut boolean) = (0, 0, 0);
    for (at, row) in rows.iter().enumerate() {
        let Some(cell) = text(row, name) else { continue };
        lengths.push(cell.chars().count());
        json += usize::from(is_json(row.get(name), &cell));
        number += usize::from(cell.parse::<f64>().is_ok_and(f64::is_finite));
        boolean += usize::from(matches!(cell.as_str(), "true" | "false" | "True" | "False"));
        counts.entry(cell).or_insert((0, at)).0 += 1;
    }
    lengths.sort_unstable();
    let filled = lengths.len();
    let at =
        |share: f64| lengths.get(((filled.saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or(0);
    let mut common: Vec<(&String, (usize, usize))> = counts.iter().map(|(text, count)| (text, *count)).collect();
    common.sort_by_key(|(_, (_, first))| *first);
    let examples = common.iter().take(EXAMPLES.0).map(|(text, _)| cut(text, EXAMPLES.1)).collect();
    // Stable: equally frequent values stay in the file's order.
    common.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
    let repeated = counts.len() <= MOST_LABELS && counts.len() * 2 <= filled;
    let shown = if repeated { SHOWN_LABELS } else { 0 };
    Column {
        name: name.to_owned(),
        cells: match filled {
            0 => Cells::Empty,
            n if n == json => Cells::Json,
            n if n == number => Cells::Number,
            n if n == boolean => Cells::Boolean,
            _ => Cells::Text,
        },
        missing: rows.len() - filled,
        distinct: counts.len(),
        lengths: [at(0.0), at(0.5), at(0.95), at(1.0)],
        labels: common
            .iter()
            .take(shown)
            .map(|(text, (rows, _))| LabelCount { label: cut(text, 80), rows: *rows })
            .collect(),
        examples,
    }
}

fn is_json(cell: Option<&Value>, text: &str) -> bool {
    match cell {
        Some(Value::Object(_) | Value::Array(_)) => true,
        _ => {
            text.starts_with(['{', '['])
                && serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object() || v.is_array())
        }
    }
}
