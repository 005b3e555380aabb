//! The suites `smoke` and `quick`: their oracles pass every task, their null agents and cheats get nothing in any.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Said, tunesmith};

fn bench(suite: &str, more: &[&str]) -> (Said, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["bench", suite, "--json", "--junit", "made/junit.xml", "--sealed-seed", "11"];
    args.extend(more);
    (tunesmith(dir.path(), &args), dir)
}

fn outcomes(results: &Value) -> Vec<(&str, &str)> {
    let tasks = results["tasks"].as_array().unwrap().iter();
    tasks.map(|task| (task["id"].as_str().unwrap(), task["outcome"].as_str().unwrap_or("none"))).collect()
}

/// The score of every task.
fn scores(results: &Value) -> Vec<(&str, f64)> {
    let tasks = results["tasks"].as_array().unwrap().iter();
    tasks.map(|task| (task["id"].as_str().unwrap(), task["score"].as_f64().unwrap_or(f64::NAN))).collect()
}

/// The tasks of `smoke`.
const SMOKE: [&str; 3] = ["orders", "reports", "routing"];

/// The tasks of `quick`.
const QUICK: [&str; 8] = [
    "arithmetic",
    "classification",
    "extraction",
    "format",
    "multiple_choice",
    "raw_text",
    "tool_calls",
    "transformation",
];

#[test]
fn the_null_agent_fails_every_task() {
    let (said, dir) =
        bench("smoke", &["--planner", "null", "--markdown", "made/board.md", "--html", "made/board.html"]);
    assert_eq!(said.code, 3, "{said:?}");
    let results = said.json();
    assert_eq!(outcomes(&results), [("orders", "not_met"), ("reports", "not_met"), ("routing", "not_met")]);
    let head = ["suite", "planner", "seed", "sealed_seed", "met"].map(|field| results[field].clone());
    assert_eq!(head, [json!("smoke"), json!("null"), json!(0), json!(11), json!(false)]);
    let fields: Vec<&String> = results["tasks"][0].as_object().unwrap().keys().collect();
    let want = [
        "id",
        "seed",
        "outcome",
        "why",
        "metric",
        "goal",
        "base",
        "tuned",
        "interval",
        "rows",
        "chance",
        "score",
        "score_interval",
        "tokens",
        "usd",
        "repairs",
        "seconds",
        "cpu_seconds",
        "run",
        "right",
    ];
    assert_eq!(fields, want);
    let total = &results["total"];
    let of_all = ["met", "runs", "share", "score", "score_interval"].map(|field| total[field].clone());
    assert_eq!(of_all, [json!(0), json!(3), json!(0.0), json!(0.0), json!([0.0, 0.0])]);
    assert_eq!(scores(&results), SMOKE.map(|id| (id, 0.0)));
    let made = |name: &str| fs::read_to_string(dir.path().join("made").join(name)).unwrap();
    let xml = made("junit.xml");
    assert_eq!(xml.matches("<failure message=\"goal not met\">").count(), 3, "{xml}");
    assert!(xml.contains("tests=\"3\" failures=\"3\" errors=\"0\""), "{xml}");
    assert!(made("board.md").contains("| orders | exact match |") && made("board.html").contains("<td>orders</td>"));
    let (said, _) = bench("quick", &["--planner", "null"]);
    let results = said.json();
    assert_eq!((said.code, outcomes(&results)), (3, QUICK.map(|id| (id, "not_met")).to_vec()));
    assert_eq!(scores(&results), QUICK.map(|id| (id, 0.0)));
}

#[test]
fn a_forged_adapter_with_a_verdict_beside_it_gets_nothing_in_any_task() {
    for (suite, tasks) in [("smoke", &SMOKE[..]), ("quick", &QUICK)] {
        let (said, _) = bench(suite, &["--planner", "cheat", "--minutes", "10"]);
        let results = said.json();
        assert_eq!(scores(&results), tasks.iter().map(|id| (*id, 0.0)).collect::<Vec<_>>(), "{results:#}");
        for task in results["tasks"].as_array().unwrap() {
            assert!(
                task["why"].as_str().unwrap().contains("adapter_model.safetensors is not what the training step wrote"),
                "{task:#}"
            );
        }
        assert_eq!(said.code, 3);
    }
}

#[test]
fn the_oracle_passes_every_task() {
    let (said, dir) = bench("smoke", &["--planner", "oracle", "--minutes", "10"]);
    let results = said.json();
    assert_eq!(outcomes(&results), SMOKE.map(|id| (id, "met")), "{results:#}");
    assert_eq!((said.code, &results["met"], scores(&results)), (0, &json!(true), SMOKE.map(|id| (id, 1.0)).to_vec()));
    let xml = fs::read_to_string(dir.path().join("made/junit.xml")).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"0\" errors=\"0\""), "{xml}");
    for task in results["tasks"].as_array().unwrap() {
        assert_eq!(task["right"].as_str().unwrap().len() as u64, task["rows"].as_u64().unwrap(), "{task:#}");
        assert!(task["cpu_seconds"].as_f64().unwrap() > 0.0, "{task:#}");
    }
    let of = |field: &str| results["total"][field].clone();
    assert_eq!(["tokens", "usd", "share"].map(of), [json!(0), json!(0.0), json!(1.0)]);
    worse_than(&results, &dir);
}

/// The null agent is a regression from these results, on the same rows.
fn worse_than(results: &Value, dir: &tempfile::TempDir) {
    fs::write(dir.path().join("stored.json"), results.to_string()).unwrap();
    let null = ["bench", "smoke", "--planner", "null", "--sealed-seed", "11", "--baseline", "stored.json"];
    let said = tunesmith(dir.path(), &null);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("\norders: worse than the baseline, "), "{said:?}");
    let other = tunesmith(dir.path(), &["bench", "quick", "--baseline", "stored.json"]);
    assert!(other.refused(2).contains("it holds results of the suite \"smoke\""), "{other:?}");
}

#[test]
fn the_oracle_passes_every_task_of_the_quick_suite() {
    let (said, _) = bench("quick", &["--planner", "oracle", "--minutes", "10"]);
    let results = said.json();
    assert_eq!(outcomes(&results), QUICK.map(|id| (id, "met")), "{results:#}");
    assert_eq!((said.code, scores(&results)), (0, QUICK.map(|id| (id, 1.0)).to_vec()));
}

#[test]
#[ignore = "three draws of eight trainings; prints what each came to"]
fn soak_the_oracle_passes_every_task_of_the_quick_suite_whatever_is_drawn() {
    for seed in ["11", "12", "13"] {
        let dir = tempfile::tempdir().unwrap();
        let args = ["bench", "quick", "--planner", "oracle", "--minutes", "20", "--sealed-seed", seed, "--json"];
        let results = tunesmith(dir.path(), &args).json();
        for task in results["tasks"].as_array().unwrap() {
            println!("{seed} {} {} {} {}", task["id"], task["tuned"], task["goal"], task["cpu_seconds"]);
        }
        assert_eq!(outcomes(&results), QUICK.map(|id| (id, "met")), "{results:#}");
    }
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
