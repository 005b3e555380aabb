//! The rows of a run: its files, and what `data_inspect` found in them as a part of a page: findings, columns, small plots,
//! and the evidence behind them.

use minijinja::AutoEscape;
use serde::Serialize;
use serde_json::Value;

use super::render::try_page;
use crate::{
    figures::{bytes, counted},
    run::Input,
    svg,
    text::truncate_middle,
};

const SECTION: &str = include_str!("data.html.j2");
/// Longest reason why a line gave no row, in characters.
const REASON: usize = 300;

/// What the template shows beside the output itself. The plots are made of numbers and our own words alone.
#[derive(Serialize)]
struct View<'a> {
    output: &'a Value,
    heading: &'a str,
    open: bool,
    /// Of the columns: the share of cells that are missing, as a bar.
    missing: Vec<Option<String>>,
    labels: Vec<Bar<'a>>,
    tokens: Option<String>,
}

/// A label with a bar as long as its share of the most frequent one.
#[derive(Serialize)]
struct Bar<'a> {
    label: &'a Value,
    rows: f64,
    bar: Option<String>,
}

/// One of the user's files.
#[derive(Serialize)]
pub(super) struct InputView {
    path: String,
    rows: usize,
    size: String,
    sha256: String,
    notes: Vec<String>,
}

impl InputView {
    pub fn of(input: &Input) -> InputView {
        let bad = (input.bad_rows > 0).then(|| {
            let first = input
                .bad
                .first()
                .map_or(String::new(), |first| format!(", the first: {}", truncate_middle(first, REASON)));
            format!("left out: {} without a row{first}", counted(input.bad_rows, "line"))
        });
        InputView {
            path: input.path.display().to_string(),
            rows: input.rows,
            size: bytes(input.bytes),
            sha256: input.sha256.clone(),
            notes: input.note.clone().into_iter().chain(bad).collect(),
        }
    }
}

/// Lays an output of `data_inspect` out under headings of the page around it; `open` shows the evidence at once. `None` for
/// what is no such output, as logs of early versions have.
pub fn data_section(output: &Value, heading: &str, open: bool) -> Option<String> {
    let columns = list(&output["columns"]);
    let share = |part: f64, of: f64| part / of.max(1.0);
    let rows = output["rows"].as_f64()?;
    let missing = columns.iter().map(|column| svg::bar(share(number(&column["missing"]), rows), None));
    let view = View {
        output,
        heading,
        open,
        missing: missing.collect(),
        labels: labels(output, columns, share),
        tokens: tokens(&output["tokens"]),
    };
    try_page(AutoEscape::Html, SECTION, view).ok()
}

/// Every label, or where an output is kept short those that stand in their column.
fn labels<'a>(output: &'a Value, columns: &'a [Value], share: impl Fn(f64, f64) -> f64) -> Vec<Bar<'a>> {
    let about = &output["labels"];
    let own = list(&about["counts"]);
    let column = || columns.iter().find(|column| column["name"] == about["target"]);
    let counts = if own.is_empty() { column().map_or(own, |column| list(&column["labels"])) } else { own };
    let most = counts.first().map_or(0.0, |label| number(&label["rows"]));
    let bar = |label: &'a Value| {
        let rows = number(&label["rows"]);
        Bar { label: &label["label"], rows, bar: svg::bar(share(rows, most), None) }
    };
    counts.iter().map(bar).collect()
}

fn tokens(about: &Value) -> Option<String> {
    let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let counts: Vec<usize> = list(&about["histogram"]).iter().filter_map(whole).collect();
    svg::histogram(&counts, whole(&about["histogram_to"])?, "tokens", "rows", whole(&about["max_length"])?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}
