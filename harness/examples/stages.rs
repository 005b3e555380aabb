//! The stages that `tools/benches/data/compare.py` times: load, map, filter, exact de-duplication, split, Parquet.
//!
//!     stages ROWS OUT
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::exit};

use serde_json::{Value, json};
use tunesmith_harness::{
    recipe::Row,
    rows::{Layout, Reading, Source, Stages, Writer, key},
};

/// Fewest characters of a text that is kept.
const SHORTEST: usize = 200;
/// The parts and their shares.
const PARTS: [(&str, f64); 2] = [("train.parquet", 0.9), ("valid.parquet", 0.1)];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, rows, out] = &args[..] else {
        eprintln!("usage: stages ROWS OUT");
        exit(2);
    };
    let text = |row: &Row| row.get("text").and_then(Value::as_str).unwrap_or_default().chars().count();
    let content = |row: &Row| key(row, &["text".to_owned()]);
    let source = Source::find(&[rows.into()], &Reading::default()).unwrap();
    let mut flow = Stages::new()
        .map("lower case", |row| {
            if let Some(Value::String(text)) = row.get_mut("text") {
                *text = text.trim().to_lowercase();
            }
        })
        .filter("length", move |row| text(row) >= SHORTEST)
        .distinct("repeated", content)
        .split(&PARTS.map(|(_, share)| share), 1, content)
        .run(&source);
    let create = |(name, _)| {
        let path = Path::new(out).join(name);
        Writer::create(&path, Layout::of(&path).unwrap()).unwrap()
    };
    let mut writers = PARTS.map(create);
    for passed in flow.by_ref() {
        for (writer, rows) in writers.iter_mut().zip(passed.unwrap().divided(PARTS.len())) {
            writer.write(rows).unwrap();
        }
    }
    let parts: Vec<u64> = writers.into_iter().map(|writer| writer.finish().unwrap().rows).collect();
    let counts: Vec<u64> = flow.counts().iter().skip(1).map(|count| count.after).collect();
    println!("{}", json!({"read": flow.read, "counts": counts, "parts": parts}));
}
