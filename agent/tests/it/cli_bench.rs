//! The suite `smoke`: its oracle passes every task, its null agent fails every task.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Said, tunesmith};

fn bench(more: &[&str]) -> (Said, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["bench", "smoke", "--json", "--junit", "made/junit.xml", "--sealed-seed", "11"];
    args.extend(more);
    (tunesmith(dir.path(), &args), dir)
}

fn outcomes(results: &Value) -> Vec<(&str, &str)> {
    let tasks = results["tasks"].as_array().unwrap().iter();
    tasks.map(|task| (task["id"].as_str().unwrap(), task["outcome"].as_str().unwrap_or("none"))).collect()
}

#[test]
fn the_null_agent_fails_every_task() {
    let (said, dir) = bench(&["--planner", "null"]);
    assert_eq!(said.code, 3, "{said:?}");
    let results = said.json();
    assert_eq!(outcomes(&results), [("routing", "not_met"), ("orders", "not_met"), ("reports", "not_met")]);
    let head = ["suite", "planner", "seed", "sealed_seed", "met"].map(|field| results[field].clone());
    assert_eq!(head, [json!("smoke"), json!("null"), json!(0), json!(11), json!(false)]);
    let fields: Vec<&String> = results["tasks"][0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["id", "outcome", "why", "metric", "goal", "base", "tuned", "seconds", "run"]);
    let xml = fs::read_to_string(dir.path().join("made/junit.xml")).unwrap();
    assert_eq!(xml.matches("<failure message=\"goal not met\">").count(), 3, "{xml}");
    assert!(xml.contains("tests=\"3\" failures=\"3\" errors=\"0\""), "{xml}");
}

#[test]
fn the_oracle_passes_every_task() {
    let (said, dir) = bench(&["--planner", "oracle"]);
    let results = said.json();
    assert_eq!(outcomes(&results), [("routing", "met"), ("orders", "met"), ("reports", "met")], "{results:#}");
    assert_eq!((said.code, &results["met"]), (0, &json!(true)));
    let xml = fs::read_to_string(dir.path().join("made/junit.xml")).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"0\" errors=\"0\""), "{xml}");
}

#[test]
fn the_same_sealed_seed_draws_the_same_rows_and_another_draws_others() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |seed: &str| {
        tunesmith(dir.path(), &["bench", "smoke", "--planner", "null", "--only", "orders", "--sealed-seed", seed]);
        fs::read(dir.path().join(format!("runs/bench-smoke-{seed}/orders.jsonl"))).unwrap()
    };
    let first = rows("5");
    assert!(first == rows("5") && first != rows("6"));
    let drawn = tunesmith(dir.path(), &["bench", "smoke", "--planner", "null", "--only", "orders", "--json"]).json();
    assert_ne!(drawn["sealed_seed"], 5);
}
