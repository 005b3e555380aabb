//! Every task file of an installed lm-eval, read and resolved as PyYAML and lm-eval's `TaskManager` do.
//!
//! `TUNESMITH_PEER_LM_EVAL_TASKS` is the folder `lm_eval/tasks` of the package, `TUNESMITH_PEER_LM_EVAL` its interpreter.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use tunesmith_harness::eval::{
    config::TaskConfig,
    registry::{Entry, Registry, RegistryError},
    yaml,
};

/// Each line that the script beside the golden files prints.
fn peer(what: &str, mut each: impl FnMut(Value)) -> Option<PathBuf> {
    let tasks = PathBuf::from(env::var_os("TUNESMITH_PEER_LM_EVAL_TASKS")?).canonicalize().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lm_eval_tasks.py");
    let python = env::var_os("TUNESMITH_PEER_LM_EVAL").unwrap_or_else(|| "python3".into());
    let mut child = Command::new(python).arg(script).arg(what).arg(&tasks).stdout(Stdio::piped()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        each(serde_json::from_str(&line.unwrap()).unwrap());
    }
    assert!(child.wait().unwrap().success());
    Some(tasks)
}

#[test]
#[ignore = "needs an installed lm-eval"]
fn soak_every_yaml_file_of_lm_eval_is_read_as_pyyaml_reads_it() {
    let (mut equal, mut wrong) = (0, Vec::new());
    let compare = |line: Value| {
        let path = Path::new(line["path"].as_str().unwrap());
        let read = yaml::parse(&fs::read_to_string(path).unwrap(), path.parent().unwrap());
        match (read, line.get("value")) {
            (Ok(ours), Some(theirs)) if ours == *theirs && order(&ours) == order(theirs) => equal += 1,
            (ours, _) => wrong.push(format!("{}: {ours:?}\n  PyYAML: {line}", path.display())),
        }
    };
    peer("yaml", compare).expect("TUNESMITH_PEER_LM_EVAL_TASKS");
    println!("{equal} files are read as PyYAML reads them, {} are not", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal > 13_000);
}

/// All keys in their order, which equality of values leaves out.
fn order(value: &Value) -> String {
    value.to_string()
}

#[test]
#[ignore = "needs an installed lm-eval"]
fn soak_every_name_of_lm_eval_stands_for_the_same_tasks_and_settings() {
    let mut lines = Vec::new();
    let tasks = peer("select", |line| lines.push(line)).expect("TUNESMITH_PEER_LM_EVAL_TASKS");
    let began = Instant::now();
    let registry = Registry::index(&[tasks]).unwrap();
    println!("indexed {} names in {:?}", registry.entries().len(), began.elapsed());
    let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(registry.entries().keys().collect::<Vec<_>>(), names);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in &lines {
        match compare(&registry, line) {
            Ok(what) => *counts.entry(what).or_default() += 1,
            Err(why) => wrong.push(format!("{}: {why}", line["name"])),
        }
    }
    println!("{counts:#?}");
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// The one group that names another with changed keys: lm-eval then gives all 57 tasks in it that one's name.
const COLLAPSED: &str = "openllm";

/// In which way a name agrees, or how it differs.
fn compare(registry: &Registry, line: &Value) -> Result<String, String> {
    let name = line["name"].as_str().unwrap();
    let kind = match &registry.entries()[name] {
        Entry::Task(_) => "TASK",
        Entry::Class(_) => "PY_TASK",
        Entry::Group(_) => "GROUP",
        Entry::Tag(_) => "TAG",
    };
    if line["kind"] != kind {
        return Err(format!("{kind} here, {} there", line["kind"]));
    }
    let ours = match (registry.select(&[name.to_owned()]), line.get("error")) {
        (Err(_), Some(_)) => return Ok(format!("{kind}: refused by both")),
        (Ok(_), Some(error)) => return Err(format!("lm-eval says {error}")),
        (Err(error), None) => return refused(kind, &error),
        (Ok(ours), None) => ours,
    };
    if name == COLLAPSED {
        return Ok(format!("{kind}: kept apart here"));
    }
    let tasks: Vec<&str> = ours.tasks.iter().map(|task| task.task.as_str()).collect();
    if json!(tasks) != line["tasks"] {
        return Err(format!("tasks {tasks:?}, lm-eval {}", line["tasks"]));
    }
    let groups: serde_json::Map<String, Value> =
        ours.groups.iter().map(|group| (group.name.clone(), json!(group.members))).collect();
    if Value::from(groups.clone()) != line["groups"] {
        return Err(format!("groups {groups:?}, lm-eval {}", line["groups"]));
    }
    match (line.get("config"), ours.tasks.as_slice()) {
        (Some(theirs), [task]) => same_settings(task, theirs)?,
        (Some(_), _) => return Err("no single task".into()),
        (None, _) => {}
    }
    Ok(format!("{kind}: equal"))
}

/// What is refused here on purpose, by the words with which it is.
fn refused(kind: &str, error: &RegistryError) -> Result<String, String> {
    let text = error.to_string();
    let reasons = [
        "custom_dataset",
        "doc_to_image",
        "doc_to_audio",
        "unsafe_code",
        // A typing error in one file, `truez`, which Python takes for true.
        "weight_by_size",
        "is a Python function",
    ];
    match reasons.iter().find(|reason| text.contains(*reason)) {
        Some(reason) => Ok(format!("{kind}: refused here ({reason})")),
        None => Err(text),
    }
}

fn same_settings(task: &TaskConfig, theirs: &Value) -> Result<(), String> {
    let ours = serde_json::to_value(task).unwrap();
    let different = |key: &&String| {
        let (mut ours, mut theirs) = (ours[key.as_str()].clone(), theirs[key.as_str()].clone());
        for value in [&mut ours, &mut theirs] {
            // Nothing given, in the form that each side keeps it in.
            if *value == json!({}) || *value == json!([]) || *value == json!("") {
                *value = Value::Null;
            }
            // Names such as 2024, which Python leaves numbers.
            if let Value::Number(number) = value
                && ["dataset_name", "task_alias"].contains(&key.as_str())
            {
                *value = number.to_string().into();
            }
        }
        // lm-eval takes the tags away before it makes the settings.
        key.as_str() != "tag" && ours != theirs
    };
    match ours.as_object().unwrap().keys().filter(|key| key.as_str() != "fewshot_config").find(different) {
        Some(key) => Err(format!("{key} is {}, lm-eval {}", ours[key], theirs[key])),
        None => Ok(()),
    }
}
