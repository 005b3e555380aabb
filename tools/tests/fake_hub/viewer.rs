//! The data-set viewer: rows of data sets without downloading them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tunesmith_harness::rows::{self, Table};

use super::{
    Shared,
    http::{Answer, Request},
    store::{Kind, Repo},
};

impl Shared {
    pub fn view(&self, what: &str, request: &Request, user: Option<&str>) -> Answer {
        let id = request.get("dataset").unwrap_or_default();
        let message = "The dataset does not exist, or is not accessible without authentication (private or gated). Please \
            check the spelling of the dataset name or retry with authentication.";
        let repo = match self.visible(Kind::Dataset, id, user) {
            Ok(repo) if repo.gated.is_none() || user.is_some_and(|user| repo.readers.contains(user)) => repo,
            _ if user.is_none() => return Answer::refused(401, "ExternalUnauthenticatedError", message),
            _ => return Answer::refused(404, "ExternalAuthenticatedError", message),
        };
        let splits = splits(&repo);
        if splits.is_empty() {
            return Answer::refused(404, "EmptyDatasetError", "The dataset is empty.");
        }
        let named = |split: &str| json!({"dataset": id, "config": "default", "split": split});
        match what {
            "splits" => {
                let all: Vec<Value> = splits.keys().map(|split| named(split)).collect();
                return Answer::json(&json!({"splits": all, "pending": [], "failed": []}));
            }
            "size" => return Answer::json(&size(id, &splits)),
            _ => {}
        }
        let Some(table) = request.get("split").and_then(|split| splits.get(split)) else {
            return Answer::refused(404, "SplitNotFoundError", "The split does not exist.");
        };
        let features: Vec<Value> = features(table);
        let row = |(n, row): (usize, &tunesmith_harness::recipe::Row)| json!({"row_idx": n, "row": row, "truncated_cells": []});
        let rows = table.rows.iter().enumerate();
        Answer::json(&match what {
            "first-rows" => {
                let (shown, cut) = (rows.take(100).map(row).collect::<Vec<_>>(), table.rows.len() > 100);
                json!({"dataset": id, "config": "default", "split": request.get("split"), "features": features,
                    "rows": shown, "truncated": cut})
            }
            "rows" => {
                let number = |name: &str, or: usize| request.get(name).and_then(|n| n.parse().ok()).unwrap_or(or);
                let (offset, length) = (number("offset", 0), number("length", 100));
                if length > 100 {
                    return Answer::refused(
                        422,
                        "UnexpectedApiError",
                        "Parameter 'length' must not be greater than 100",
                    );
                }
                let shown: Vec<Value> = rows.skip(offset).take(length).map(row).collect();
                json!({"features": features, "rows": shown, "num_rows_total": table.rows.len(), "num_rows_per_page": 100,
                    "partial": false})
            }
            _ => statistics(table),
        })
    }
}

/// Each file of rows is a part of the split of its name.
fn splits(repo: &Repo) -> BTreeMap<String, Table> {
    let mut splits = BTreeMap::<String, Table>::new();
    for (path, blob) in &repo.head().files {
        let name = path.rsplit('/').next().unwrap();
        let Some((stem, "jsonl" | "csv" | "parquet")) = name.rsplit_once('.') else { continue };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), &blob.bytes).unwrap();
        let Ok(table) = rows::read(&dir.path().join(name)) else { continue };
        let split = stem.split('-').next().unwrap().to_owned();
        splits.entry(split).and_modify(|known| known.rows.extend(table.rows.clone())).or_insert(table);
    }
    splits
}

fn kind(table: &Table, column: &str) -> &'static str {
    match table.rows.iter().find_map(|row| row.get(column).filter(|cell| !cell.is_null())) {
        Some(Value::Number(number)) if number.is_i64() => "int64",
        Some(Value::Number(_)) => "float64",
        Some(Value::Bool(_)) => "bool",
        _ => "string",
    }
}

fn features(table: &Table) -> Vec<Value> {
    let feature = |(n, name): (usize, &String)| json!({"feature_idx": n, "name": name, "type": {"dtype": kind(table, name), "_type": "Value"}});
    table.columns.iter().enumerate().map(feature).collect()
}

fn size(id: &str, splits: &BTreeMap<String, Table>) -> Value {
    let bytes = |table: &Table| serde_json::to_vec(&table.rows).unwrap().len();
    let (rows, all): (usize, usize) = (splits.values().map(|t| t.rows.len()).sum(), splits.values().map(bytes).sum());
    let each = splits.iter().map(|(split, table)| {
        json!({"dataset": id, "config": "default", "split": split, "num_bytes_parquet_files": bytes(table),
            "num_bytes_memory": bytes(table), "num_rows": table.rows.len(), "num_columns": table.columns.len()})
    });
    let each: Vec<Value> = each.collect();
    json!({"size": {"dataset": {"dataset": id, "num_bytes_original_files": all, "num_bytes_parquet_files": all,
        "num_bytes_memory": all, "num_rows": rows}, "configs": [], "splits": each},
        "pending": [], "failed": [], "partial": false})
}

fn statistics(table: &Table) -> Value {
    let column = |name: &String| {
        let cells = table.rows.iter().filter_map(|row| row.get(name)?.as_str());
        let lengths: Vec<usize> = cells.map(|text| text.chars().count()).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        json!({"column_name": name, "column_type": "string_text", "column_statistics": {
            "nan_count": table.rows.len() - lengths.len(), "nan_proportion": 0.0, "min": lengths.iter().min(),
            "max": lengths.iter().max(), "mean": mean}})
    };
    let columns: Vec<Value> = table.columns.iter().map(column).collect();
    json!({"num_examples": table.rows.len(), "statistics": columns, "partial": false})
}
