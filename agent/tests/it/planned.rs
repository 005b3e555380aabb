//! A whole run planned by a language model: the real binary, the real tools, a scripted server with faults.

use std::process::Command;

use serde_json::{Value, json};
use tunesmith_harness::{
    event::{Event, Kind},
    log,
    rows::write_jsonl,
    run::Run,
    task::Outcome,
};

use crate::server::{Answer, Server};

fn call(id: &str, tool: &str, arguments: Value) -> Answer {
    Answer::calls("", &[(id, tool, &arguments.to_string())])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_plans_a_run_through_a_429_a_cut_stream_and_a_malformed_call() {
    let suite = tunesmith_evals::suite("smoke").unwrap();
    let task = suite.tasks.iter().find(|task| task.id == "routing").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("messages.jsonl");
    write_jsonl(&file, task.rows(7)).unwrap();

    let [input, target] = task.data.columns;
    let prepare = json!({ "kind": "classification", "input": input, "target": target });
    let plan = json!({ "kind": "classification", "input": input, "target": target, "max_length": 256,
        "metric": "accuracy", "why": "four teams" });
    let server = Server::start(vec![
        // Before all else it is asked how much the model reads.
        Answer::status(200, &json!({"data": [{"id": "m", "max_model_len": 32_768}]}).to_string()),
        Answer::status(429, "slow down").header("retry-after", "0"),
        call("c1", "data_inspect", json!({})),
        // A plan that lacks most of what a plan has.
        call("c2", "plan", json!({ "kind": "sorting" })),
        call("c3", "plan", plan.clone()).cut_after(2),
        call("c3", "plan", plan),
        call("c4", "data_prepare", prepare),
        call("c5", "train", json!({ "learning_rate": 3e-3, "epochs": 6, "name": "first" })),
        call("c6", "evaluate", json!({ "adapter": "first" })),
        call("c7", "convert", json!({ "adapter": "first", "quant": "q8_0" })),
        call("c8", "finish", json!({ "summary": "done", "adapter": "first", "artifacts": ["model-q8_0.gguf"] })),
    ])
    .await;

    let runs = dir.path().join("runs");
    let mut run = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    run.env("XDG_STATE_HOME", dir.path().join("state"));
    run.args(["run", &task.request, "--approve", "auto", "--json", "--planner"]);
    run.arg(format!("url:{}#m", server.base)).arg("--file").arg(&file).arg("--dir").arg(&runs);
    run.env("TUNESMITH_API_KEY", "sk-secret-of-the-test").env("OPENAI_API_KEY", "sk-of-another-provider");
    let output = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));

    let events: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["kind"], "ended");
    let summary = &Run::list(&runs).unwrap()[0];
    assert_eq!(summary.outcome, Some(Outcome::Met));
    let run = Run::open(&summary.dir).unwrap();
    let events = log::read(&run.log()).unwrap();
    let returned: Vec<(&str, bool)> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Returned { tool, ok, .. } => Some((tool.as_str(), *ok)),
            _ => None,
        })
        .collect();
    let tools = ["data_inspect", "plan", "plan", "data_prepare", "train", "evaluate", "convert", "finish"];
    let expected: Vec<(&str, bool)> = tools.iter().enumerate().map(|(at, tool)| (*tool, at != 1)).collect();
    assert_eq!(returned, expected);
    let grade = events.iter().find_map(|event| match &event.kind {
        Kind::Graded { grade, jobs } => Some((grade, jobs)),
        _ => None,
    });
    let (grade, jobs) = grade.unwrap();
    assert!(!jobs.is_empty() && jobs.iter().all(|job| job.ended == serde_json::json!({"exit": 0})), "{jobs:?}");
    assert!(grade.gain.as_ref().unwrap().interval.0 > 0.0 && grade.artifacts.iter().all(|a| a.failed.is_none()));

    // The malformed call was answered with every field that is wrong.
    let asked = server.asked();
    assert_eq!(asked.len(), 11);
    assert_eq!(asked[0].line, "GET /v1/models HTTP/1.1");
    let answer = asked[4].body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    for wrong in ["/kind", "input", "target", "max_length", "metric", "why"] {
        assert!(answer.contains(wrong), "{wrong} is not in {answer}");
    }
    // No row left the machine, and only the key of this endpoint went to it.
    let sent: String = asked.iter().map(|request| request.body.to_string()).collect();
    let rows = task.rows(7);
    assert!(rows.iter().all(|row| !sent.contains(row[input].as_str().unwrap())));
    assert!(asked.iter().all(|request| request.headers["authorization"] == "Bearer sk-secret-of-the-test"));
    // Nothing of the key is in the run's directory or in any output.
    let log = std::fs::read_to_string(run.log()).unwrap();
    assert!(!log.contains("sk-secret") && !shown.contains("sk-secret"));

    // The recording plans the same run again, without a server.
    let mut again = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    again.env("XDG_STATE_HOME", dir.path().join("state"));
    again.args(["run", &task.request, "--approve", "auto", "--json", "--planner"]);
    again.arg(format!("replay:{}", summary.dir.display())).arg("--file").arg(&file);
    again.arg("--dir").arg(dir.path().join("again"));
    let output = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let replayed = Run::list(&dir.path().join("again")).unwrap();
    let replayed = log::read(&Run::open(&replayed[0].dir).unwrap().log()).unwrap();
    let said = |events: &[Event]| -> Vec<Kind> {
        let said = events.iter().map(|event| event.kind.clone());
        said.filter_map(|kind| match kind {
            Kind::Said { text, calls, repairs, finish, opaque, .. } => {
                Some(Kind::Said { text, tokens: None, usd: None, calls, repairs, finish, opaque })
            }
            Kind::Called { .. } => Some(kind),
            _ => None,
        })
        .collect()
    };
    assert_eq!(said(&replayed), said(&events));
    let gain = |events: &[Event]| {
        events.iter().find_map(|event| match &event.kind {
            Kind::Graded { grade, .. } => grade.gain.clone(),
            _ => None,
        })
    };
    assert_eq!(gain(&replayed), gain(&events));
    assert_eq!(server.asked().len(), 11);
}
