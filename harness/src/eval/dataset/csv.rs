//! CSV with the types that pandas finds in it, which is what `datasets` reads it with.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{DatasetError, files, setting};
use crate::eval::request::Doc;

/// What pandas takes for a missing value.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// What separates the fields: a comma where the task does not say.
pub(super) fn delimiter(format: &str, settings: &Map<String, Value>) -> Result<u8, DatasetError> {
    for key in ["sep", "delimiter"] {
        match settings.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.len() == 1 => return Ok(text.as_bytes()[0]),
            Some(_) => return Err(setting(key, "takes one character")),
        }
    }
    Ok(if format == "tsv" { b'\t' } else { b',' })
}

/// Reads a header and records. A record that is too short ends in missing values.
pub(super) fn read(path: &Path, delimiter: u8) -> Result<Vec<Doc>, DatasetError> {
    let fail = |what: String| DatasetError::File { path: path.to_owned(), what };
    let text = files::text(path)?;
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(record.map_err(|e| fail(e.to_string()))?);
    }
    let Some((header, records)) = records.split_first() else {
        return Err(fail("is empty; give a header and rows".into()));
    };
    let names = names(header);
    if let Some((n, long)) = records.iter().enumerate().find(|(_, record)| record.len() > names.len()) {
        return Err(fail(format!("row {}: {} fields where the header has {}", n + 1, long.len(), names.len())));
    }
    let mut docs = vec![Doc::new(); records.len()];
    for (at, name) in names.iter().enumerate() {
        let cells: Vec<Option<&str>> =
            records.iter().map(|record| record.get(at).filter(|cell| !MISSING.contains(cell))).collect();
        for (doc, value) in docs.iter_mut().zip(typed(&cells)) {
            doc.insert(name.clone(), value);
        }
    }
    Ok(docs)
}

/// The names as pandas makes them different: `Unnamed: 0` for none, `x.1` for a second `x`.
fn names(header: &StringRecord) -> Vec<String> {
    let (mut taken, mut repeats): (HashSet<String>, HashMap<String, usize>) = Default::default();
    let mut names = Vec::with_capacity(header.len());
    for (n, name) in header.iter().enumerate() {
        let name = if name.is_empty() { format!("Unnamed: {n}") } else { name.to_owned() };
        let mut own = name.clone();
        while !taken.insert(own.clone()) {
            let repeat = repeats.entry(name.clone()).or_default();
            *repeat += 1;
            own = format!("{name}.{repeat}");
        }
        names.push(own);
    }
    names
}

/// A column: of booleans, of whole numbers if none is missing, of numbers, or of texts.
fn typed(cells: &[Option<&str>]) -> Vec<Value> {
    let whole = |cell: &str| -> Option<Value> {
        let digits = cell.trim().strip_prefix('+').unwrap_or(cell.trim());
        digits.parse::<i64>().map(Value::from).or_else(|_| digits.parse::<u64>().map(Value::from)).ok()
    };
    let number = |cell: &str| -> Option<Value> {
        let plain = cell.trim();
        // Rust reads "infinity" and "nan" in every spelling; what is no number in JSON is missing.
        let begins = plain.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let infinite = matches!(plain.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str(), "inf" | "infinity");
        if infinite { Some(Value::Null) } else { plain.parse::<f64>().ok().filter(|_| begins).map(Value::from) }
    };
    let flag = |cell: &str| match cell {
        "True" | "TRUE" | "true" => Some(Value::Bool(true)),
        "False" | "FALSE" | "false" => Some(Value::Bool(false)),
        _ => None,
    };
    let text = |cell: &str| Some(Value::from(cell));
    let complete = cells.iter().all(Option::is_some);
    let column = |each: &dyn Fn(&str) -> Option<Value>| -> Option<Vec<Value>> {
        cells.iter().map(|cell| cell.map_or(Some(Value::Null), each)).collect()
    };
    let column = column(&flag).or_else(|| column(&whole).filter(|_| complete)).or_else(|| column(&number));
    column.unwrap_or_else(|| cells.iter().map(|cell| cell.and_then(text).unwrap_or(Value::Null)).collect())
}
