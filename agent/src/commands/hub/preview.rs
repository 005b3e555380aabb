//! `hub preview`.

use std::cmp::Reverse;

use serde_json::Value;
use tunesmith_harness::figures::{bytes, counted};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{
    RepoId,
    preview::{Column, Preview, ROWS},
};

use super::{CANCELLED, fact, failure, repo, unless_cancelled};
use crate::{
    commands::{
        print, print_json,
        table::{count, short},
    },
    run::Failure,
};

/// `hub preview`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  tunesmith hub preview openai/gsm8k --config main --split train --rows 3")]
pub struct Args {
    /// OWNER/NAME
    #[arg(value_parser = repo)]
    id: RepoId,
    /// Part of the data set [default: the first]
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
    /// Split [default: train, else the first]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Rows
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=ROWS as u64))]
    rows: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Characters of a cell.
const CELL: usize = 200;

/// Shows rows.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let hub = crate::hub::open().map_err(failure)?;
    let asked = hub.preview(&args.id, args.config.as_deref(), args.split.as_deref(), args.rows as usize);
    let Some(preview) = unless_cancelled(asked, cancel).await? else { return Ok(CANCELLED) };
    match args.json {
        true => print_json(&preview)?,
        false => lines(&preview).iter().for_each(|line| print(line)),
    }
    Ok(0)
}

fn lines(preview: &Preview) -> Vec<String> {
    let splits = preview.splits.iter().map(|split| {
        let rows = split.rows.map_or_else(|| "unknown rows".into(), |rows| format!("{} rows", count(rows)));
        let size = split.bytes.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
        format!("{}/{} ({rows}{size})", split.config, split.split)
    });
    let columns: Vec<String> = preview.columns.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    let mut lines = vec![
        fact("data set", &preview.id),
        fact("splits", splits.collect::<Vec<_>>().join(", ")),
        fact("columns", columns.join(", ")),
    ];
    match &preview.statistics {
        None => lines.push(fact("statistics", "unknown: the viewer has none of this split")),
        Some(found) => {
            let part = if found.partial { ", the first part of the split" } else { "" };
            lines.push(fact("statistics", format!("of {} rows{part}", count(found.rows))));
            lines.extend(found.columns.iter().map(statistics));
        }
    }
    let shown = counted(preview.rows.len(), "row");
    let cut = if preview.cut { ", long cells cut by the viewer" } else { "" };
    lines.push(fact("shown", format!("the first {shown} of {}/{}{cut}", preview.config, preview.split)));
    for (n, row) in preview.rows.iter().enumerate() {
        lines.push(format!("row {n}"));
        lines.extend(row.iter().map(|(name, cell)| format!("  {}: {}", short(name, 40), short(&text(cell), CELL))));
    }
    lines
}

/// Values of a column that are named.
const VALUES: usize = 8;

/// What was counted over a column.
fn statistics(column: &Column) -> String {
    let mut said = Vec::new();
    if let Some(frequencies) = &column.frequencies {
        let mut values: Vec<(&String, &u64)> = frequencies.iter().collect();
        values.sort_by_key(|(name, rows)| (Reverse(**rows), *name));
        let more = values.len().saturating_sub(VALUES);
        let named = values.iter().take(VALUES).map(|(name, rows)| format!("{} {}", short(name, 40), count(**rows)));
        let named: Vec<String> = named.chain((more > 0).then(|| format!("and {more} more"))).collect();
        said.push(format!("{}: {}", counted(values.len(), "value"), named.join(", ")));
    }
    if let (Some(min), Some(max)) = (&column.min, &column.max) {
        let of = match column.kind.as_str() {
            "string_text" => " characters",
            "list" => " items",
            _ => "",
        };
        said.push(format!("{} to {}{of}", text(min), text(max)));
    }
    said.extend(column.mean.map(|mean| format!("mean {mean:.1}")));
    said.extend(column.median.map(|median| format!("median {median:.1}")));
    said.extend(column.missing.filter(|missing| *missing > 0).map(|missing| format!("{} missing", count(missing))));
    format!("  {}: {}", short(&column.name, 40), short(&said.join(", "), CELL))
}

fn text(cell: &Value) -> String {
    cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)
}
