//! `--planner local:MODEL`: a model in files plans, however little it knows.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tunesmith_lm::constrain::Grammar;

use crate::cli::{Said, base, command, tickets, tunesmith};

/// A base of the tests with a window of so many tokens, and a chat template of its own.
pub fn planner(dir: &Path, window: usize, template: Option<&str>) {
    let to = dir.join("planner");
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(base()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let change = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&fs::read_to_string(to.join(name)).unwrap()).unwrap();
        change(&mut value);
        fs::write(to.join(name), value.to_string()).unwrap();
    };
    change("config.json", &|config| config["max_position_embeddings"] = window.into());
    if let Some(template) = template {
        change("tokenizer_config.json", &|config| config["chat_template"] = template.into());
    }
}

/// The arguments of a run of two steps that it plans.
fn arguments<'a>(runs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = base().to_str().unwrap();
    let request = "Fine-tune a small model to sort these messages by intent";
    let args = ["run", request, "--file", "rows.csv", "--base", base, "--planner", "local:planner", "--dir", runs];
    [&args[..], &["--steps", "2", "--seed", "3", "--approve", "auto", "--json"], more].concat()
}

/// Plans with it; the run's log, and what was said.
fn run(dir: &Path, runs: &str, more: &[&str]) -> (Said, Vec<Value>) {
    let said = tunesmith(dir, &arguments(runs, more));
    (said, log_in(&dir.join(runs)))
}

/// The only run in a directory, where there is one.
fn only(runs: &Path) -> Option<PathBuf> {
    fs::read_dir(runs).unwrap().flatten().next().map(|run| run.path())
}

fn log_in(runs: &Path) -> Vec<Value> {
    let log = only(runs).map_or_else(String::new, |run| fs::read_to_string(run.join("events.jsonl")).unwrap());
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_kind<'a>(log: &'a [Value], kind: &str) -> Vec<&'a Value> {
    log.iter().filter(|event| event["kind"] == kind).collect()
}

/// What the model said, without what differs from run to run.
fn speech(log: &[Value]) -> Vec<(Value, Value, Value)> {
    of_kind(log, "said")
        .iter()
        .map(|said| (said["text"].clone(), said["calls"].clone(), said["tokens"].clone()))
        .collect()
}

/// A template that writes tools and calls in its own way.
const TEMPLATE: &str = "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{{ eos_token }}{% endif %}\
{% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>{{ m.content }}\
{% for call in m.tool_calls or [] %}[CALL]{\"tool\": \"{{ call.function.name }}\", \"with\": {{ call.function.arguments | tojson }}}\
{% endfor %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

#[test]
fn calls_of_every_tool_can_be_kept_to_its_schema() {
    for tool in tunesmith_tools::all().iter() {
        let kept = Grammar::of_schema(tool.strict());
        assert!(kept.is_ok(), "{}: {:?}", tool.name(), kept.err());
    }
}

#[test]
fn calls_of_a_model_that_knows_nothing_fit_their_tools_and_its_run_ends_as_it_should() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(30)).unwrap();
    for template in [None, Some(TEMPLATE)] {
        planner(dir.path(), 16_384, template);
        let runs = if template.is_some() { "own" } else { "plain" };
        let (said, log) = run(dir.path(), runs, &[]);
        assert!([4, 6].contains(&said.code), "{said:?}");
        let calls: Vec<Value> = of_kind(&log, "said")
            .iter()
            .flat_map(|said| said["calls"].as_array().cloned().unwrap_or_default())
            .collect();
        assert!(!calls.is_empty(), "{log:?}");
        let registry = tunesmith_tools::all();
        for call in &calls {
            let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
            if let Some(tool) = registry.get(call["name"].as_str().unwrap()) {
                assert!(fits(tool.strict(), &arguments), "{call}");
            }
        }
        assert!(of_kind(&log, "returned").len() <= 2);
        let ended = log.last().unwrap();
        assert_eq!(ended["outcome"], if said.code == 4 { "budget" } else { "planner_failed" }, "{ended}");
        // The same seed says the same, and the log is enough to play it again.
        let (_, again) = run(dir.path(), &format!("{runs}-again"), &[]);
        assert_eq!(speech(&again), speech(&log));
        let place = fs::read_dir(dir.path().join(runs)).unwrap().flatten().next().unwrap().path();
        let replayed =
            tunesmith(dir.path(), &["runs", "replay", place.to_str().unwrap(), "--dir", "replayed", "--json"]);
        assert_eq!(replayed.code, 0, "{replayed:?}");
    }
}

#[test]
fn a_run_that_is_killed_goes_on_with_what_its_model_would_have_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(30)).unwrap();
    planner(dir.path(), 16_384, None);
    let (whole, log) = run(dir.path(), "whole", &[]);
    assert!(of_kind(&log, "said").len() > 1, "{log:?}");

    let mut killed = command(dir.path(), &arguments("killed", &[]));
    let mut child = killed.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let spoke = lines.map_while(Result::ok).any(|line| line.contains("\"kind\":\"said\""));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(spoke);

    let place = only(&dir.path().join("killed")).unwrap();
    let said = tunesmith(dir.path(), &["resume", place.to_str().unwrap(), "--json"]);
    let again = log_in(&dir.path().join("killed"));
    assert_eq!((said.code, speech(&again)), (whole.code, speech(&log)), "{said:?}");
    assert_eq!(of_kind(&again, "resumed").len(), 1);
}

/// Whether the required arguments are there and no others than are known.
fn fits(schema: &Value, arguments: &Value) -> bool {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let known = |name: &String| schema["properties"].get(name).is_some();
    required.iter().all(|name| arguments.get(name.as_str().unwrap()).is_some())
        && arguments.as_object().unwrap().keys().all(known)
}

#[test]
fn a_model_that_cannot_plan_is_refused_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(30)).unwrap();
    planner(dir.path(), 600, None);
    let (said, log) = run(dir.path(), "small", &[]);
    assert_eq!(said.code, 6, "{said:?}");
    let why = log.last().unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains(" tokens and the answer do not fit the 600 tokens of planner; take a model"), "{why}");
    let refused = |model: &str| {
        let args = ["run", "sort these", "--file", "rows.csv", "--planner", model];
        tunesmith(dir.path(), &args).refused(2).to_owned()
    };
    assert_eq!(
        refused("local:gone.gguf"),
        "error: --planner local: there is no model at gone.gguf; use nano, a model directory or a GGUF file\n"
    );
    assert!(refused("local:").starts_with("error: planner \"local:\" is incomplete; write local:MODEL"));
    fs::write(dir.path().join("planner/tokenizer_config.json"), json!({"eos_token": "<|end|>"}).to_string()).unwrap();
    let (said, log) = run(dir.path(), "mute", &[]);
    assert_eq!(said.code, 6, "{said:?}");
    let why = log.last().unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("planner: chat template: the base has none"), "{why}");
}

#[test]
fn doctor_tries_a_model_in_files() {
    let dir = tempfile::tempdir().unwrap();
    planner(dir.path(), 8_192, None);
    let said = tunesmith(dir.path(), &["doctor", "--planner", "local:planner", "--json"]);
    let found = said.json();
    let check = |name: &str| found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
    assert_eq!(check("answers").unwrap()["works"], true, "{found}");
    assert_eq!(check("structured output").unwrap()["works"], true, "{found}");
    assert_eq!(check("window").unwrap()["found"], "8192 tokens, from its configuration");
    assert_eq!((&found["usd"], &found["price"]["read"]), (&json!(0.0), &json!(0.0)));
    assert!([0, 5].contains(&said.code) && found["tokens"].as_u64().is_some(), "{said:?}");
    assert_eq!(
        tunesmith(dir.path(), &["doctor", "--planner", "local:gone"]).refused(2),
        "error: --planner local: there is no model at gone; use nano, a model directory or a GGUF file\n"
    );
}
