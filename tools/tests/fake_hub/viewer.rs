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

/// As the viewer counts: strings of few values are labels, of others the lengths are counted.
fn statistics(table: &Table) -> Value {
    let rows = table.rows.len();
    let column = |name: &String| {
        let cells: Vec<&Value> = table.rows.iter().filter_map(|row| row.get(name)).filter(|c| !c.is_null()).collect();
        let texts: Vec<&str> = cells.iter().filter_map(|cell| cell.as_str()).collect();
        let mut values = BTreeMap::<String, usize>::new();
        texts.iter().for_each(|text| *values.entry((*text).to_owned()).or_default() += 1);
        let few = values.len() <= 10 || values.len() < 1000 && values.len() * 5 <= rows;
        let numbers = || cells.iter().filter_map(|cell| cell.as_f64()).collect::<Vec<f64>>();
        let (kind, mut counted) = match kind(table, name) {
            "int64" => ("int", measured(numbers(), true)),
            "float64" => ("float", measured(numbers(), false)),
            "bool" => {
                let of = |value: bool| cells.iter().filter(|cell| **cell == value).count();
                ("bool", json!({"frequencies": {"False": of(false), "True": of(true)}}))
            }
            _ if few => ("string_label", json!({"n_unique": values.len(), "frequencies": values})),
            _ => ("string_text", measured(texts.iter().map(|text| text.chars().count() as f64).collect(), true)),
        };
        counted["nan_count"] = json!(rows - cells.len());
        counted["nan_proportion"] = rounded((rows - cells.len()) as f64 / rows as f64);
        json!({"column_name": name, "column_type": kind, "column_statistics": counted})
    };
    let columns: Vec<Value> = table.columns.iter().map(column).collect();
    json!({"num_examples": rows, "statistics": columns, "partial": false})
}

fn rounded(value: f64) -> Value {
    json!((value * 1e5).round() / 1e5)
}

/// Extremes, moments and a histogram of ten bins; whole numbers get bins of whole width.
fn measured(mut values: Vec<f64>, whole: bool) -> Value {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let (min, max, mean) = (values[0], values[n - 1], values.iter().sum::<f64>() / n as f64);
    let median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let width = if whole { ((max - min + 1.0) / 10.0).ceil() } else { (max - min) / 10.0 };
    let bins = if whole { ((max - min + 1.0) / width).ceil() as usize } else { 10 };
    let mut edges: Vec<f64> = (0..bins).map(|bin| min + bin as f64 * width).collect();
    let mut hist = vec![0; bins];
    values.iter().for_each(|value| hist[edges.partition_point(|edge| edge <= value).max(1) - 1] += 1);
    edges.push(max);
    let plain = |value: f64| if whole { json!(value as i64) } else { rounded(value) };
    let edges: Vec<Value> = edges.into_iter().map(plain).collect();
    json!({"min": plain(min), "max": plain(max), "mean": rounded(mean), "median": rounded(median),
        "std": rounded((squares / (n as f64 - 1.0)).sqrt()), "histogram": {"hist": hist, "bin_edges": edges}})
}

#[test]
fn whole_numbers_are_counted_as_the_viewer_documents_it() {
    // The example of its documentation: the index of a split of 8,551 rows.
    let counted = measured((0..8551).map(f64::from).collect(), true);
    let mut hist = vec![856; 9];
    hist.push(847);
    let edges: Vec<i64> = (0..10).map(|bin| bin * 856).chain([8550]).collect();
    assert_eq!(
        counted,
        json!({"min": 0, "max": 8550, "mean": 4275.0, "median": 4275.0, "std": 2468.60541,
            "histogram": {"hist": hist, "bin_edges": edges}})
    );
}
