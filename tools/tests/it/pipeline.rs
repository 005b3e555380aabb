//! From rows to a shipped file, tool by tool, on a base that learns in seconds.

use std::fs;

use serde_json::{Value, json};
use tunesmith_harness::{model::Models, recipe::Recipe, score::Verdict};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{grading, models::LmModels};

use crate::support::{Place, base, tickets};

async fn prepared(each: usize) -> Place {
    let place = Place::with(tickets(each));
    let args = json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.2});
    place.ok("data_prepare", args).await;
    place
}

fn failures(place: &Place, tool: &str, output: &Value) -> Vec<String> {
    let scores = place.scores(tool, output).into_iter();
    scores
        .filter(|score| score.verdict == Verdict::Fail)
        .map(|score| format!("{}: {}", score.scorer, score.why))
        .collect()
}

#[tokio::test]
async fn rows_become_a_tuned_model_that_is_shipped_and_graded() {
    let place = prepared(40).await;
    let before = place.ok("evaluate", json!({})).await;
    let trained = place.ok("train", json!({"epochs": 14, "learning_rate": 0.01, "patience": 0})).await;
    assert_eq!(trained["adapter"], "train-1");
    assert_eq!(trained["audit"], json!({"reached": 28, "tensors": 28}));
    assert_eq!(failures(&place, "train", &trained), [""; 0]);
    let steps = trained["steps"][0].as_u64().unwrap();
    assert_eq!(fs::read_to_string(place.path("train-1/log.jsonl")).unwrap().lines().count() as u64, steps);

    let after = place.ok("evaluate", json!({"adapter": "train-1"})).await;
    let value = |output: &Value| output["value"].as_f64().unwrap();
    assert!(value(&after) > value(&before) && value(&after) > 0.9, "{} to {}", value(&before), value(&after));
    assert_eq!((&after["n"], &after["metric"], &after["adapter"]), (&json!(24), &json!("accuracy"), &json!("train-1")));
    assert!(after["baselines"]["naive_bayes"].as_f64().unwrap() > 0.9);
    assert_eq!(failures(&place, "evaluate", &after), [""; 0]);

    let prompt = "Nora asks number 99: my phone is the problem, can you find it\nLabel:";
    let said = place.ok("generate", json!({"prompts": [prompt], "adapter": "train-1"})).await;
    assert_eq!(said["answers"][0]["text"], "lost phone", "{said}");

    let shipped = place.ok("convert", json!({"adapter": "train-1", "quant": "q8_0"})).await;
    assert_eq!(shipped["path"], "model-q8_0.gguf");
    let template = "<|endoftext|>{{- range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>";
    assert_eq!((&shipped["ollama_template"], &shipped["stop"]), (&json!(template), &json!(["<|end|>"])));
    assert_eq!(failures(&place, "convert", &shipped), [""; 0]);
    let folder = place.ok("convert", json!({"adapter": "train-1", "to": "safetensors", "quant": "f32"})).await;
    assert_eq!((&folder["path"], &folder["agreement"]), (&json!("model-f32"), &json!(1.0)));
    assert_eq!(folder["max_logit_difference"], 0.0);

    let hand_in = json!({"summary": "done", "adapter": "train-1", "artifacts": ["model-q8_0.gguf", "model-f32"]});
    let finished = place.ok("finish", hand_in).await;
    assert_eq!(finished["artifacts"][0]["kind"], "gguf");
    assert_eq!(finished["artifacts"][0]["sha256"], shipped["sha256"]);
    assert_eq!(finished["artifacts"][1]["kind"], "safetensors");

    graded(&place).await;
}

/// Grades in a worker on rows that were not in the workdir, then with an adapter of another base.
async fn graded(place: &Place) {
    let outside = tempfile::tempdir().unwrap();
    let sealed = outside.path().join("sealed.jsonl");
    let rows: String = tickets(52).into_iter().skip(120).map(|row| format!("{row}\n")).collect();
    fs::write(&sealed, rows).unwrap();
    let recipe: Recipe =
        serde_json::from_str(&fs::read_to_string(place.path("prepared/recipe.json")).unwrap()).unwrap();
    let job = grading::Job {
        root: place.dir.path().into(),
        recipe,
        base: base().into(),
        adapter: Some(place.path("train-1")),
        artifacts: vec![(place.path("model-q8_0.gguf"), "gguf".into())],
        refused: Default::default(),
        trained: Vec::new(),
        sealed,
        open: place.path("data/train.jsonl"),
    };
    let scratch = tunesmith_sandbox::Workdir::create(&outside.path().join("scratch")).unwrap();
    let graded = grading::run(&place.jobs, &scratch, &job, (None, &Cancel::default()), &|_| {}).await;
    assert!(graded.cut_short.is_none(), "{:?}", graded.cut_short);
    let grade = graded.grade.unwrap();
    assert_eq!(grade.base.n, 36);
    assert!(grade.tuned.as_ref().unwrap().value > 0.9, "{:?}", grade.tuned);
    let gguf = grade.artifacts.iter().find(|artifact| artifact.kind == "gguf").unwrap();
    assert!(gguf.failed.is_none() && gguf.measured.as_ref().unwrap().value > 0.9, "{gguf:?}");

    let record = place.path("train-1/training.json");
    let other = fs::read_to_string(&record).unwrap().replace("base_sha256\": \"", "base_sha256\": \"0");
    fs::write(&record, other).unwrap();
    let error = LmModels.check_adapter(base(), &place.path("train-1")).unwrap_err().to_string();
    assert!(error.starts_with("the adapter was trained on another base"), "{error}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let place = prepared(8).await;
    let args = |name: &str| json!({"epochs": 2, "name": name, "warmup": 2});
    for name in ["one", "two"] {
        place.ok("train", args(name)).await;
    }
    place.call_seeded(8, "train", args("three")).await.unwrap();
    let read = |name: &str, file: &str| fs::read(place.path(&format!("{name}/{file}"))).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json", "training.json", "README.md"] {
        assert_eq!(read("one", file), read("two", file), "{file}");
    }
    // The log also says what was measured, which is no result.
    let log = |name: &str| {
        let text = String::from_utf8(read(name, "log.jsonl")).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let measured = ["tokens_per_second", "utilisation", "peak_rss_bytes"];
            measured.iter().for_each(|name| drop(line.as_object_mut().unwrap().remove(*name).unwrap()));
        }
        lines
    };
    assert_eq!(log("one"), log("two"));
    assert_ne!(read("one", "adapter_model.safetensors"), read("three", "adapter_model.safetensors"));
}

#[tokio::test]
async fn training_reports_progress_and_stops_at_its_deadline() {
    let mut place = prepared(40).await;
    place.deadline = Some(std::time::Instant::now() + std::time::Duration::from_secs(4));
    let output = place.ok("train", json!({"epochs": 1000, "patience": 0})).await;
    assert_eq!(output["stopped"], "deadline");
    assert!(place.path("train-1/adapter_model.safetensors").exists());
    let progress = place.progress.lock().unwrap();
    let last = progress.iter().rfind(|progress| progress.what == "train").unwrap();
    assert!(last.loss.is_some() && last.tokens_per_second.is_some() && last.eta_seconds.is_some(), "{last:?}");
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_errors() {
    let place = prepared(8).await;
    place.write("prepared/train.jsonl", "{\"prompt\":[{\"role\":\"user\",\"content\":\"\"}]}\n");
    let said = place.error("train", json!({})).await;
    assert!(said.starts_with("train.jsonl, line 1: missing field `completion`"), "{said}");
    place.write("bad/adapter_config.json", "{}");
    let said = place.error("evaluate", json!({"adapter": "bad"})).await;
    assert!(said.contains("adapter_config.json: peft_type = missing is not supported"), "{said}");
    let long = json!({"prompt": [{"role": "user", "content": "word ".repeat(200)}], "completion": "x", "label": 0});
    place.write("prepared/train.jsonl", &format!("{long}\n{long}\n"));
    let said = place.error("train", json!({})).await;
    assert_eq!(said, "2 rows of train.jsonl have more than 192 tokens with this base; prepare the data again");
}

#[tokio::test]
async fn a_base_whose_files_are_links_is_read_in_the_sandbox() {
    let (outside, place) = (tempfile::tempdir().unwrap(), Place::new());
    let (blobs, linked) = (outside.path().join("blobs"), outside.path().join("snapshot"));
    [&blobs, &linked].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    for (at, entry) in fs::read_dir(base()).unwrap().enumerate() {
        let (from, blob) = (entry.unwrap().path(), blobs.join(at.to_string()));
        fs::copy(&from, &blob).unwrap();
        std::os::unix::fs::symlink(&blob, linked.join(from.file_name().unwrap())).unwrap();
    }
    let said = place.call_on(&linked, 7, "generate", json!({"prompts": ["hi"], "max_new_tokens": 2})).await.unwrap();
    assert_eq!(said, place.ok("generate", json!({"prompts": ["hi"], "max_new_tokens": 2})).await);
}
