//! Requests that others wrote, planned by `run --dry-run`; see `tests/requests/README.md`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde_json::Value;

use crate::cli::{Said, base, command};

/// Fewest that must be right, and most that may start a wrong plan, of the first set and of the second.
const BOUNDS: [(usize, usize); 2] = [(39, 0), (33, 0)];

/// How a request went.
#[derive(Debug, PartialEq)]
enum Verdict {
    Right,
    /// A plan that is not the one expected, and in what.
    Wrong(String),
    /// Refused although it can be planned, or refused for another reason.
    Refused(String),
}

fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut texts: Vec<String> =
        value.as_array().map_or_else(|| vec![text(value)], |all| all.iter().map(text).collect());
    texts.sort();
    texts
}

/// What of a plan differs from what is expected; a field that is not there expects nothing.
fn differences(expect: &Value, plan: &Value, models: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, fits: bool, got: &Value| {
        if !fits {
            wrong.push(format!("{what} {got}"));
        }
    };
    // A call of a function is a JSON object that is taken out of a sentence.
    let kind =
        if expect["kind"] == "tool_calling" { "extraction" } else { expect["kind"].as_str().unwrap_or_default() };
    check("kind", plan["kind"] == kind, &plan["kind"]);
    // Answers in several columns are read as one object.
    let target = if expect["target"].is_array() { &plan["answers"] } else { &plan["target"] };
    for (field, got) in [("input", &plan["inputs"]), ("target", target)] {
        check(field, expect[field].is_null() || texts(&expect[field]) == texts(got), got);
    }
    for field in ["minutes", "max_bytes"] {
        let fits = expect.get(field).is_none() || expect[field].as_f64() == plan[field].as_f64();
        check(field, fits, &plan[field]);
    }
    check("licence", expect["licence"].is_null() || expect["licence"] == plan["licence"], &plan["licence"]);
    check("publish", expect.get("publish").is_none() || plan["publish"].is_null(), &plan["publish"]);
    if let Some(base) = expect["base"].as_str() {
        check("base", plan["base"] == base.replace("{models}", models), &plan["base"]);
    }
    if let Some(exports) = expect["exports"].as_array() {
        let got = plan["exports"].as_array().unwrap().iter();
        let mut got: Vec<String> =
            got.map(|e| format!("{} {}", e["format"].as_str().unwrap(), e["quant"].as_str().unwrap())).collect();
        // A limit of size asks for a file that has it.
        if exports.is_empty() && !expect["max_bytes"].is_null() {
            got.clear();
        }
        got.sort();
        // llama.cpp's other name of the same mixture.
        let mut wanted: Vec<String> = texts(&expect["exports"]);
        wanted.iter_mut().filter(|wanted| wanted.ends_with(" q4_k")).for_each(|wanted| wanted.push_str("_m"));
        check("exports", got == wanted, &plan["exports"]);
    }
    if let Some(goals) = expect["goals"].as_array() {
        let got = plan["goals"].as_array().unwrap();
        let met = |goal: &Value| {
            let (names, least) = goal.as_str().unwrap().split_once(">=").unwrap();
            let least: f64 = least.parse().unwrap();
            got.iter().any(|got| {
                let metric = got["metric"].as_str().unwrap();
                names.split('|').any(|name| metric == name || name == "f1" && metric == "macro_f1")
                    && (got["at_least"].as_f64().unwrap() - least).abs() < 1e-9
            })
        };
        check("goals", got.len() == goals.len() && goals.iter().all(met), &plan["goals"]);
    }
    wrong
}

fn judge(expect: &Value, said: &Said, models: &str) -> Verdict {
    let error = said.err.lines().last().unwrap_or_default().to_owned();
    let offline = expect["offline_outcome"] == "refuse";
    if expect["outcome"] == "refuse" || offline {
        return match said.code {
            0 => Verdict::Wrong(said.out.clone()),
            // A file that is not there is a wrong command line.
            2 if error.contains("there is no such file") => Verdict::Right,
            5 if !offline || error.contains("--allow ") => Verdict::Right,
            _ => Verdict::Refused(error),
        };
    }
    if said.code != 0 {
        return Verdict::Refused(error);
    }
    let wrong = differences(expect, &said.json(), models);
    if wrong.is_empty() { Verdict::Right } else { Verdict::Wrong(wrong.join("; ")) }
}

/// A directory with the data and three models of different licences.
fn place(source: &Path) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    copy(&source.join("data"), &place.path().join("data"));
    for (name, licence) in [("acorn-small", "apache-2.0"), ("bramble-medium", "cc-by-nc-4.0"), ("cedar-large", "mit")] {
        let model = place.path().join("models").join(name);
        copy(base(), &model);
        fs::write(model.join("README.md"), format!("---\nlicense: {licence}\n---\n# {name}\n")).unwrap();
    }
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(drop).unwrap() }
    }
}

#[test]
fn requests_of_others_are_planned_or_refused_as_they_expect() {
    meets("", BOUNDS[0]);
}

#[test]
fn a_second_set_of_requests_is_too() {
    meets("second", BOUNDS[1]);
}

/// Plans all requests of a set, and holds what comes of them against the bounds.
fn meets(set: &str, (least, most): (usize, usize)) {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/requests").join(set);
    let place = place(&source);
    let models = place.path().join("models").display().to_string();
    let lines = fs::read_to_string(source.join("requests.jsonl")).unwrap();
    let requests: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (todo, done) = (Mutex::new(requests.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(request) = { todo.lock().unwrap().next() } {
                    let (id, task) = (request["id"].as_str().unwrap(), request["task"].as_str().unwrap());
                    let (task, runs) = (task.replace("{models}", &models), format!("runs-{id}"));
                    let files = texts(&request["files"]);
                    let mut args = vec!["run", &task, "--dir", &runs, "--dry-run", "--json"];
                    args.extend(files.iter().flat_map(|file| ["--file", file]));
                    let said: Said = command(place.path(), &args).output().unwrap().into();
                    done.lock().unwrap().push((id, judge(&request["expect"], &said, &models)));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(id, _)| *id);
    let count = |is: fn(&Verdict) -> bool| done.iter().filter(|(_, verdict)| is(verdict)).count();
    let (right, wrong) = (count(|v| *v == Verdict::Right), count(|v| matches!(v, Verdict::Wrong(_))));
    let others: Vec<_> = done.iter().filter(|(_, verdict)| *verdict != Verdict::Right).collect();
    println!("{right} of {} right, {wrong} wrong plans: {others:#?}", done.len());
    assert!(right >= least && wrong <= most, "{right} right, {wrong} wrong plans: {others:#?}");
}
