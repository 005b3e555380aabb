//! The package's own tasks with Python functions: what our ports make of them, and how many can be used.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    path::PathBuf,
};

use serde_json::{Value, json};
use tunesmith_harness::eval::{
    aggregate::Bootstrap,
    config::{Field, TaskConfig},
    filters::Pipeline,
    functions::Functions,
    journal::key,
    metrics::Metric,
    registry::{Entry, Registry},
    request::{Doc, Instance, Request, Response},
    scored::Planned,
    task::{Asking, EvalTask},
};

use crate::eval_prompts::written;

/// All functions that a task names.
fn functions(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(map) if map.contains_key("!function") => vec![value.clone()],
        Value::Object(map) => map.values().flat_map(functions).collect(),
        Value::Array(items) => items.iter().flat_map(functions).collect(),
        _ => Vec::new(),
    }
}

/// Why a task cannot be asked or scored, as far as its file tells.
fn lacks(config: &TaskConfig, ports: &Functions) -> Option<String> {
    for named in functions(&serde_json::to_value(config).unwrap()) {
        let Ok(Field::Function { function }) = serde_json::from_value(named) else { continue };
        if let Err(why) = ports.port(&function) {
            return Some(why);
        }
    }
    let metrics = Metric::read(config, ports).err();
    let filters = Pipeline::read(config.filter_list.as_deref()).err();
    metrics.or(filters).map(|refusal| refusal.to_string())
}

fn registry() -> Registry {
    let folder = PathBuf::from(env::var_os("TUNESMITH_PEER_LM_EVAL_TASKS").expect("TUNESMITH_PEER_LM_EVAL_TASKS"));
    Registry::index(&[folder.canonicalize().unwrap()]).unwrap()
}

/// `TUNESMITH_PEER_LM_EVAL_TASKS` is the folder `lm_eval/tasks` of the package.
#[test]
#[ignore = "needs an installed lm-eval"]
fn soak_ports_make_more_of_the_package_s_tasks_usable() {
    let registry = registry();
    let names = registry.entries().iter().filter(|(_, entry)| matches!(entry, Entry::Task(_))).map(|(name, _)| name);
    let (mut all, mut before, mut after) = (0, 0, 0);
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        all += 1;
        let selected = match registry.select(std::slice::from_ref(name)) {
            Ok(selected) => selected,
            Err(_) => {
                *missing.entry("the task file is refused".into()).or_default() += 1;
                continue;
            }
        };
        let [config] = selected.tasks.as_slice() else { continue };
        before += usize::from(lacks(config, &Functions::default()).is_none());
        match lacks(config, &Functions::native()) {
            None => after += 1,
            Some(why) => {
                // The same function in another folder is the same reason.
                let words = why.split(' ').filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ");
                *missing.entry(words).or_default() += 1;
            }
        }
    }
    println!("of {all} tasks {before} are usable without ports, {after} with them");
    let mut missing: Vec<_> = missing.into_iter().collect();
    missing.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    missing.iter().take(20).for_each(|(why, n)| println!("{n:6} {why}"));
    assert!(after >= before + 60, "{before} without, {after} with");
}

/// The answers that lm-eval's model gave, or which request differs from lm-eval's.
fn answers(instances: &[Instance], samples: &[&Value]) -> Result<HashMap<String, Response>, String> {
    let mut answers = HashMap::new();
    for instance in instances {
        let sample = samples.iter().find(|sample| sample["doc_id"] == instance.doc_id).ok_or("a row more")?;
        let (theirs, given) = (&sample["arguments"][instance.idx], &sample["resps"][instance.idx][0]);
        let (ours, answer) = match &instance.request {
            Request::Loglikelihood { context, continuation } => {
                let (sum, greedy) = (given[0].as_f64().unwrap(), given[1].as_bool().unwrap());
                (json!([context, continuation]), Response::Loglikelihood { sum, greedy })
            }
            Request::LoglikelihoodRolling { text } => (json!([text]), Response::Rolling(given.as_f64().unwrap())),
            // How text is generated is compared elsewhere.
            Request::GenerateUntil { context, .. } => {
                (json!([context, theirs[1]]), Response::Text(given.as_str().unwrap().into()))
            }
        };
        if ours != *theirs {
            return Err(format!("row {}:\n  ours   {ours}\n  theirs {theirs}", instance.doc_id));
        }
        answers.insert(key(&instance.request, 0), answer);
    }
    match samples.iter().map(|sample| sample["arguments"].as_array().unwrap().len()).sum::<usize>() == instances.len() {
        true => Ok(answers),
        false => Err("the number of requests differs".into()),
    }
}

/// Numbers may differ in their last digit, and Python's truth values are numbers.
fn same(ours: &Value, theirs: &Value) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|truth| f64::from(u8::from(truth))));
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        _ => match (number(ours), number(theirs)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * b.abs(),
            _ => ours == theirs,
        },
    }
}

/// What differs between one task of lm-eval and ours.
fn difference(registry: &Registry, line: &Value) -> Result<(), String> {
    let name = line["task"].as_str().unwrap().to_owned();
    let selected = registry.select(&[name]).map_err(|e| e.to_string())?;
    let config = selected.tasks.into_iter().next().ok_or("there is no such task")?;
    let splits: BTreeMap<String, Vec<Doc>> = serde_json::from_value(line["splits"].clone()).unwrap();
    let task = EvalTask::new(config, &splits, &Functions::native()).map_err(|e| e.to_string())?;
    let num_fewshot = line["shots"].as_u64().filter(|shots| *shots > 0).map(|shots| shots as usize);
    let asking = Asking { num_fewshot, ..Asking::default() };
    let instances = task.instances(&asking).map_err(|e| e.to_string())?;
    let theirs = line["samples"].as_array().unwrap();
    let first: Vec<&Value> = theirs.iter().filter(|sample| sample["filter"] == theirs[0]["filter"]).collect();
    let answers = answers(&instances, &first)?;
    let firsts = instances.iter().filter(|instance| instance.idx == 0);
    let hashes = firsts.map(|first| task.hashes(&task.docs[first.doc_id], &first.request).unwrap()).collect();
    let planned = Planned { n_shot: task.num_fewshot(num_fewshot), task, instances, hashes, clusters: None };
    let bootstrap = Bootstrap { iterations: 10, threads: 1 };
    let scored = planned.score(&planned.instances, &answers, bootstrap).map_err(|e| e.to_string())?;
    if scored.samples.len() != theirs.len() {
        return Err(format!("{} samples, not {}", scored.samples.len(), theirs.len()));
    }
    for theirs in theirs {
        let same_row = |ours: &&serde_json::Map<String, Value>| {
            ours["doc_id"] == theirs["doc_id"] && ours["filter"] == theirs["filter"]
        };
        let ours = scored.samples.iter().find(same_row).ok_or("a sample is missing")?;
        let metrics = theirs["metrics"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        for key in ["doc_hash", "prompt_hash", "target_hash"].into_iter().chain(metrics) {
            if !ours.get(key).is_some_and(|ours| same(ours, &theirs[key])) {
                return Err(format!("{key} of row {} is {:?}, not {}", theirs["doc_id"], ours.get(key), theirs[key]));
            }
        }
    }
    for score in &scored.scores {
        let stderr = score.stderr.map_or(json!("N/A"), |stderr| json!(stderr));
        for (kind, ours) in [("", json!(score.value)), ("_stderr", stderr)] {
            let theirs = &line["results"][format!("{}{kind},{}", score.metric, score.filter)];
            if !same(&ours, theirs) {
                return Err(format!("{}{kind} is {ours}, not {theirs}", score.metric));
            }
        }
    }
    match line["results"].as_object().unwrap().len() == 2 * scored.scores.len() {
        true => Ok(()),
        false => Err("there are other metrics".into()),
    }
}

/// Give `TUNESMITH_PEER_LM_EVAL` and `TUNESMITH_PEER_LM_EVAL_TASKS`; or instead of the first, what the script wrote as
/// `TUNESMITH_PEER_LM_EVAL_PORTS`.
#[test]
#[ignore = "needs lm-eval"]
fn soak_whole_tasks_with_ports_are_lm_evals() {
    let registry = registry();
    let lines = written("ports.py", &["--tasks"], "TUNESMITH_PEER_LM_EVAL_PORTS");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| difference(&registry, line).err().map(|why| format!("{}: {why}", line["task"])))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    assert_eq!(lines.len(), 12);
    println!("{} tasks agree: prompts, values of rows, results and standard errors", lines.len());
}
