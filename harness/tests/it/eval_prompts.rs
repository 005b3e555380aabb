//! Requests of eval tasks against those that lm-eval builds, byte for byte.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::{Value, json};
use tunesmith_harness::{
    eval::{
        functions::Functions,
        request::{Doc, Instance, Request},
        task::{Asking, EvalTask, Hashes},
    },
    model::{Message, ModelError},
};

/// The template of the maker script.
fn chat(messages: &[Message]) -> Result<String, ModelError> {
    let mut text: String = messages.iter().map(|m| format!("<{}>{}</>", m.role, m.content)).collect();
    match messages.last().is_some_and(|last| last.role == "assistant") {
        true => text.truncate(text.len() - "</>".len()),
        false => text.push_str("<assistant>"),
    }
    Ok(text)
}

fn shown(instance: &Instance) -> Value {
    let arguments = match &instance.request {
        Request::Loglikelihood { context, continuation } => json!([context, continuation]),
        Request::LoglikelihoodRolling { text } => json!([text]),
        Request::GenerateUntil { context, settings } => {
            let mut settings = serde_json::to_value(settings).unwrap();
            // What the model decides is 256 in lm-eval.
            settings["max_gen_toks"] = settings["max_gen_toks"].as_u64().unwrap_or(256).into();
            json!([context, settings])
        }
    };
    json!({"doc_id": instance.doc_id, "idx": instance.idx, "repeats": instance.repeats, "arguments": arguments})
}

/// What differs between one line of the maker script and ours.
fn difference(line: &Value) -> Option<String> {
    let config = serde_json::from_value(line["config"].clone()).unwrap();
    let splits: BTreeMap<String, Vec<Doc>> = serde_json::from_value(line["splits"].clone()).unwrap();
    let task = match EvalTask::new(config, &splits, &Functions::default()) {
        Ok(task) => task,
        Err(e) => return Some(e.to_string()),
    };
    for answer in line["answers"].as_array().unwrap() {
        let asking = Asking {
            num_fewshot: answer["num_fewshot"].as_u64().map(|n| n as usize),
            system: answer["system"].as_str(),
            chat: if answer["chat"] == true { Some(&chat) } else { None },
            multiturn: answer["multiturn"] == true,
            ..Asking::default()
        };
        let asked = json!({"n": answer["num_fewshot"], "chat": answer["chat"], "multiturn": answer["multiturn"]});
        let instances = match task.instances(&asking) {
            Ok(instances) => instances,
            Err(e) => return Some(format!("{asked}: {e}")),
        };
        let (ours, theirs) = (instances.iter().map(shown), answer["instances"].as_array().unwrap());
        if instances.len() != theirs.len() {
            return Some(format!("{asked}: {} requests instead of {}", instances.len(), theirs.len()));
        }
        if let Some((ours, theirs)) = ours.zip(theirs).find(|(ours, theirs)| ours != *theirs) {
            return Some(format!("{asked}:\n  ours   {ours}\n  theirs {theirs}"));
        }
        for (doc_id, theirs) in answer["hashes"].as_array().unwrap().iter().enumerate() {
            let first = instances.iter().find(|i| i.doc_id == doc_id).unwrap();
            let Hashes { doc, prompt, target } = task.hashes(&task.docs[doc_id], &first.request).unwrap();
            if json!([doc, prompt, target]) != *theirs {
                return Some(format!("{asked}: hashes of row {doc_id} differ"));
            }
        }
    }
    None
}

fn differences(lines: &str) -> (usize, Vec<String>) {
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong = lines.iter().filter_map(|line| Some(format!("{}: {}", line["config"]["task"], difference(line)?)));
    (lines.len(), wrong.collect())
}

/// Give the interpreter that has lm-eval as `LM_EVAL_PYTHON`; or a file that the script made as `LM_EVAL_PROMPTS`.
#[test]
#[ignore = "needs lm-eval"]
fn soak_requests_of_the_package_s_tasks_are_lm_evals() {
    let lines = match std::env::var("LM_EVAL_PROMPTS") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => {
            let out = tempfile::NamedTempFile::new().unwrap();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lm_eval/prompts.py");
            let python = std::env::var("LM_EVAL_PYTHON").expect("LM_EVAL_PYTHON names an interpreter with lm-eval");
            assert!(Command::new(python).arg(script).arg(out.path()).status().unwrap().success());
            std::fs::read_to_string(out.path()).unwrap()
        }
    };
    let (count, wrong) = differences(&lines);
    assert!(count >= 40, "only {count} tasks");
    assert!(wrong.is_empty(), "{} of {count} tasks differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} tasks agree");
}
