//! Requests of eval tasks against those that lm-eval builds, byte for byte.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::{Value, json};
use tunesmith_harness::{
    eval::{
        config::TaskConfig,
        functions::{Functions, Port},
        python::source::function_source,
        request::{Doc, Instance, Request},
        task::{Asking, EvalTask, Hashes},
    },
    hash::sha256,
    model::{Message, ModelError},
};
use tunesmith_jinja::{Options, Template};

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

/// Give the interpreter that has lm-eval as `TUNESMITH_PEER_LM_EVAL`; or a file that the script made as
/// `TUNESMITH_PEER_LM_EVAL_PROMPTS`.
#[test]
#[ignore = "needs lm-eval"]
fn soak_requests_of_the_package_s_tasks_are_lm_evals() {
    let lines = written("prompts.py", &[], "TUNESMITH_PEER_LM_EVAL_PROMPTS");
    let (count, wrong) = differences(&lines);
    assert!(count >= 40, "only {count} tasks");
    assert!(wrong.is_empty(), "{} of {count} tasks differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} tasks agree");
}

/// The tasks in `golden/eval/tasks`; their requests in `prompts.jsonl` are lm-eval's.
#[test]
fn requests_of_our_own_tasks_are_lm_evals() {
    let (count, wrong) = differences(include_str!("../golden/eval/prompts.jsonl"));
    assert!(wrong.is_empty(), "{} of {count} tasks differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(count, 9);
}

fn rows(text: &str) -> BTreeMap<String, Vec<Doc>> {
    BTreeMap::from([("test".to_string(), serde_json::from_str(text).unwrap())])
}

fn config(change: Value) -> TaskConfig {
    let mut config = json!({
        "task": "own", "tag": [], "dataset_kwargs": {}, "test_split": "test", "description": "", "target_delimiter": " ",
        "fewshot_delimiter": "\n\n", "fewshot_config": {}, "output_type": "generate_until", "repeats": 1,
        "should_decontaminate": false, "metadata": {}, "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
    });
    config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

fn refusal(change: Value) -> String {
    let rows = rows(r#"[{"q": "1+1", "a": "2"}]"#);
    let asking = Asking { num_fewshot: None, ..Asking::default() };
    let task = EvalTask::new(config(change), &rows, &Functions::default());
    task.and_then(|task| task.instances(&asking)).unwrap_err().to_string()
}

#[test]
fn what_a_task_asks_in_vain_is_said_in_one_line() {
    let told = [
        (json!({"doc_to_text": "{{question}}"}), "doc_to_text: the template failed: undefined value"),
        (json!({"doc_to_text": "{% if %}"}), "doc_to_text: the template does not parse"),
        (json!({"doc_to_choice": "{{q}}", "output_type": "multiple_choice"}), "doc_to_choice: not a Python literal"),
        (json!({"num_fewshot": 2}), "cannot ask row 1: 2 few-shot examples are asked for, and there are only 1 rows"),
        (json!({"fewshot_config": {"sampler": "balanced"}}), "other than `default` and `first_n`"),
        (json!({"generation_kwargs": {"num_beams": 4}}), "generation_kwargs: `num_beams: 4` is not supported"),
        (json!({"test_split": "validation"}), "evaluates the split `validation`, which was not loaded"),
        (
            json!({"process_docs": {"!function": {"file": "/nowhere/utils.py", "name": "clean"}}}),
            "process_docs: names the Python function `clean` of /nowhere/utils.py, which cannot be read",
        ),
    ];
    for (change, needle) in told {
        let error = refusal(change);
        assert!(error.starts_with("the task `own` ") && error.contains(needle), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_python_function_is_known_by_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("utils.py");
    let source = "@cache\ndef process_docs(dataset):\n    return dataset\n";
    std::fs::write(&file, format!("import re\n\n{source}\n\nX = 1\n")).unwrap();
    let change = json!({"process_docs": {"!function": {"file": file, "name": "process_docs"}}});
    let mut functions = Functions::default();
    let double = |docs: Vec<Doc>| Ok(docs.iter().chain(&docs).cloned().collect());
    functions.add("process_docs", &sha256(source.as_bytes()), Port::Docs(double));
    let rows = rows(r#"[{"q": "1+1", "a": "2"}]"#);
    let task = EvalTask::new(config(change.clone()), &rows, &functions).unwrap();
    assert_eq!(task.instances(&Asking::default()).unwrap().len(), 2);
    std::fs::write(&file, source.replace("return", "return 2 *")).unwrap();
    let error = EvalTask::new(config(change), &rows, &functions).err().unwrap().to_string();
    assert!(
        error.contains("`process_docs`") && error.contains("utils.py") && error.contains("no native port"),
        "{error}"
    );
}

/// What a script of `tests/lm_eval` writes, run by the interpreter in `TUNESMITH_PEER_LM_EVAL`, or the file in the variable
/// `made`.
pub fn written(script: &str, options: &[&str], made: &str) -> String {
    if let Ok(file) = std::env::var(made) {
        return std::fs::read_to_string(file).unwrap();
    }
    let out = tempfile::NamedTempFile::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lm_eval").join(script);
    let python =
        std::env::var("TUNESMITH_PEER_LM_EVAL").expect("TUNESMITH_PEER_LM_EVAL names an interpreter with lm-eval");
    assert!(Command::new(python).arg(script).arg(out.path()).args(options).status().unwrap().success());
    std::fs::read_to_string(out.path()).unwrap()
}

#[test]
#[ignore = "needs lm-eval"]
fn soak_templates_of_the_package_render_as_jinja2_renders_them() {
    let lines = written("templates.py", &[], "TUNESMITH_PEER_LM_EVAL_TEMPLATES");
    let mut wrong = Vec::new();
    let mut templates = std::collections::BTreeSet::new();
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let source = case["template"].as_str().unwrap();
        templates.insert(source.to_string());
        let rendered = Template::new(source, &Options::eval()).map(|template| template.render(&case["doc"]));
        match (rendered, case["text"].as_str()) {
            (Err(e), _) => wrong.push(format!("{source:?}: {e}")),
            (Ok(Ok(ours)), Some(theirs)) if ours == theirs => {}
            (Ok(Err(_)), None) => {}
            (Ok(ours), theirs) => wrong.push(format!("{source:?} with {}\n  {ours:?}\n  {theirs:?}", case["doc"])),
        }
    }
    assert!(templates.len() > 1000, "only {} templates", templates.len());
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), lines.lines().count(), wrong.join("\n"));
    println!("{} renderings of {} templates agree", lines.lines().count(), templates.len());
}

#[test]
#[ignore = "needs lm-eval"]
fn soak_sources_of_functions_are_what_inspect_cuts_out() {
    let lines = written("sources.py", &[], "TUNESMITH_PEER_LM_EVAL_SOURCES");
    let mut wrong = Vec::new();
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let file = std::fs::read_to_string(case["file"].as_str().unwrap()).unwrap();
        let source = function_source(&file, case["name"].as_str().unwrap());
        if json!(source.as_ref().map(|text| sha256(text.as_bytes()))) != case["sha256"] {
            wrong.push(format!("{line}\n{}", source.unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), lines.lines().count(), wrong.join("\n"));
    println!("{} functions agree", lines.lines().count());
}
